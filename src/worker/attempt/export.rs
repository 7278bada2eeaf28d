//! The step export: a package's bytes, from the spool if they are there, else out of the repository.

use super::{Attempt, ours};
use crate::domain::fault::Fault;
use crate::error::{Error, ErrorKind};
use crate::fail_points;
use crate::journal::Source;
use crate::spool::Artifact;

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
        let spool = &self.context.spool;
        let keep = spool.keep()?;
        if let Some((sha256, size)) = self.journal.artifact_of(self.work.package_id)?
            && let Some(artifact) = spool.find(&sha256, size)
        {
            return Ok(artifact);
        }
        let batch = &self.work.batch;
        let (Some(path), Some(revision), Source::Revision | Source::Replay) =
            (&batch.repository, batch.revision, batch.source)
        else {
            return Err(Error::new(
                ErrorKind::Delivery,
                format!(
                    "the spool no longer holds {}; send the file again",
                    self.work.path
                ),
            ));
        };
        let repository = self.context.svnlook.repository(path)?;
        crate::worker::planner::check_uuid(&repository, batch).map_err(|error| {
            error.with_hint("put the recorded repository back, or `cancel` the delivery")
        })?;
        let artifact = spool.store(&keep, |out| {
            repository
                .export(revision, &self.work.path, out)
                .map(|_| ())
        })?;
        if let Some(recorded) = &self.work.sha256
            && *recorded != artifact.sha256
        {
            return Err(Error::new(
                ErrorKind::Delivery,
                format!(
                    "r{revision} gives other bytes for {} than before",
                    self.work.path
                ),
            ));
        }
        fail_points::hit("attempt.exported");
        self.journal
            .record_artifact(self.work.package_id, &artifact.sha256, artifact.size)?;
        fail_points::hit("attempt.artifact_noted");
        Ok(artifact)
    }
}

/// What a failed export means: the disk, the journal or Subversion may recover; lost bytes do not.
fn export_fault(error: Error) -> Fault {
    match error.kind {
        ErrorKind::Delivery => Fault::permanent(error.message),
        _ => ours(error),
    }
}
