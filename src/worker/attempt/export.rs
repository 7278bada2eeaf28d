//! The step export: a package's bytes, from the spool if they are there, else out of the repository.

use super::{Attempt, ours};
use crate::domain::event::Event;
use crate::domain::fault::Fault;
use crate::domain::text::escape;
use crate::error::{Error, ErrorKind};
use crate::fail_points;
use crate::journal::Source;
use crate::spool::{Artifact, Found, Outside};
use crate::worker::counting::Counting;

impl Attempt<'_> {
    /// The package's bytes: from the spool if they are there, else out of the repository.
    pub(super) fn artifact(&mut self) -> Result<Artifact, Fault> {
        let context = self.context;
        context
            .exports
            .one_at_a_time(self.work.package_id, || self.find_or_export())
            .map_err(export_fault)
    }

    fn find_or_export(&mut self) -> Result<Artifact, Error> {
        let spooled = self.spooled()?;
        if let Ok(artifact) = spooled {
            return Ok(artifact);
        }
        let batch = &self.work.batch;
        let (Some(path), Some(revision), Source::Revision | Source::Replay) =
            (&batch.repository, batch.revision, batch.source)
        else {
            let what = spooled.err().unwrap_or_default();
            let path = escape(&self.work.path);
            return Err(Error::new(
                ErrorKind::Delivery,
                format!("the spool {what} {path}; send the file again"),
            ));
        };
        self.export_ahead(path, revision);
        if let Ok(artifact) = self.spooled()? {
            return Ok(artifact);
        }
        let repository = self.context.svnlook.known_repository(path)?;
        crate::worker::planner::check_uuid(&repository, batch).map_err(|error| {
            error.with_hint("put the recorded repository back, or `cancel` the delivery")
        })?;
        let spool = &self.context.spool;
        // Nobody purges it before the journal knows that it is needed.
        let keep = spool.keep()?;
        // What it is to hold, and the bytes, are asked for at the same time: each costs a process.
        let (size, stored) = repository.exporting(revision, &self.work.path, |export| {
            let size = repository.file_size(revision, &self.work.path)?;
            let journal = &*self.journal;
            let outside = Outside {
                want: &|sha256| journal.artifact_want(sha256),
                tell: &|message| self.context.emit(&Event::Notice { message }),
                is_its_turn: true,
            };
            let mut tell = |bytes| {
                self.context.emit(&Event::Exporting {
                    subject: self.subject.clone(),
                    bytes,
                    total: size,
                });
            };
            let stored = spool.store(&keep, size, &outside, |out| {
                let mut out = Counting::new(out, &mut tell);
                export.give(size, &mut out)
            });
            Ok((size, stored))
        })?;
        let artifact = stored.map_err(|error| self.wait_for_room(size, error))?;
        if let Some(recorded) = &self.work.sha256
            && *recorded != artifact.sha256
        {
            return Err(Error::new(
                ErrorKind::Delivery,
                format!(
                    "r{revision} gives other bytes for {} than before",
                    escape(&self.work.path)
                ),
            ));
        }
        fail_points::hit("attempt.exported");
        self.journal
            .record_artifact(self.work.package_id, &artifact.sha256, artifact.size)?;
        fail_points::hit("attempt.artifact_noted");
        Ok(artifact)
    }

    /// The recorded artifact, checked; else what the spool does with it, for people.
    pub(super) fn spooled(&self) -> Result<Result<Artifact, String>, Error> {
        let Some((sha256, size)) = self.journal.artifact_of(self.work.package_id)? else {
            return Ok(Err("never held".to_owned()));
        };
        let go_on = || !self.context.stop.is_raised();
        match self.context.spool.find(&sha256, size, &go_on)? {
            Found::Whole(artifact) => Ok(Ok(artifact)),
            Found::Missing => Ok(Err("no longer holds".to_owned())),
            Found::Damaged(why) => {
                self.context.emit(&Event::Notice {
                    message: format!(
                        "the spool held a damaged copy of {} ({sha256}): {why}; it was removed",
                        self.work.path
                    ),
                });
                Ok(Err(format!(
                    "held a damaged copy, since removed ({why}), of"
                )))
            }
        }
    }

    /// Has the journal know for how much room the delivery waits, so that it goes on when there is some. Where the
    /// spool counts enough already (a quota, no inodes), counting again says nothing: it waits as for anything else.
    fn wait_for_room(&mut self, size: u64, error: Error) -> Error {
        let room = || {
            let journal = &*self.journal;
            self.context
                .spool
                .room(&|sha256| journal.artifact_want(sha256))
        };
        if error.kind == ErrorKind::NoRoom && !room().is_ok_and(|room| room >= size.max(1)) {
            self.record.wants_room = size.max(1);
        }
        error
    }
}

/// What a failed export means: the disk, the journal or Subversion may recover; lost bytes do not.
fn export_fault(error: Error) -> Fault {
    match error.kind {
        ErrorKind::Delivery => Fault::permanent(error.message),
        _ => ours(error),
    }
}
