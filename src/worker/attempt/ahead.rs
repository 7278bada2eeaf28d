//! Exporting ahead: whoever needs the first small package of a revision has all that its batch wants brought by one
//! dump, into the spool and into the journal by groups. Whatever goes wrong here, each package is exported by itself
//! afterwards: nothing but time hangs on it.

use std::collections::HashMap;
use std::path::Path;

use super::Attempt;
use crate::domain::ahead::{Enough, Next, Reading};
use crate::domain::artifact::Digester;
use crate::domain::event::Event;
use crate::error::{ErrorKind, Result};
use crate::fail_points;
use crate::journal::{Journal, WantedPackage};
use crate::source::svnlook::{Choice, Dumped, End, Revision};
use crate::spool::Keep;
use crate::worker::Context;
use crate::worker::exports::Turn;

/// As many packages are looked for in one dump.
const PACKAGES_MAX: usize = 4096;
/// A group goes into the spool when it has so many files (each is open until then) or so many bytes.
const GROUP_FILES_MAX: usize = 128;
const GROUP_BYTES_MAX: usize = 4 << 20;

impl Attempt<'_> {
    /// Has the batch exported ahead, if that may bring this package; or waits until another lane has done so. Whether
    /// the package is there now is to be seen.
    pub(super) fn export_ahead(&mut self, path: &Path, number: u64) {
        let context = self.context;
        let ahead = context.exports.ahead(self.work.batch.id);
        let Some(turn) = ahead.turn(self.work.package_id, || self.need_not_wait()) else {
            return;
        };
        let revision = Revision {
            repository: path,
            uuid: self.work.batch.uuid.as_deref(),
            number,
        };
        match self.read_dump(revision, &turn) {
            Ok(Some((first, last))) => turn.end(first, last),
            Ok(None) => {}
            // Where there is no room, one alone may find some, or waits for it.
            Err(error) if context.stop.is_raised() || error.kind == ErrorKind::NoRoom => {}
            Err(error) => context.emit(&Event::Notice {
                message: format!("{}; its packages are exported one by one", error.one_line()),
            }),
        }
    }

    fn need_not_wait(&self) -> bool {
        let known = self.journal.artifact_of(self.work.package_id);
        self.context.stop.is_raised()
            || known.is_err()
            || known
                .is_ok_and(|known| known.is_some_and(|(sha256, _)| self.context.spool.has(&sha256)))
    }

    /// Reads a dump for this package and those behind it; returns the first and the last one that were looked for, if
    /// another dump may bring others.
    fn read_dump(&mut self, revision: Revision<'_>, turn: &Turn<'_>) -> Result<Option<(i64, i64)>> {
        let context = self.context;
        let first = self.work.package_id;
        let listed = self
            .journal
            .packages_wanted(self.work.batch.id, first, PACKAGES_MAX)?;
        let last = listed.last().map_or(first, |package| package.id);
        let is_missing = |package: &WantedPackage| {
            let sha256 = package.sha256.as_ref();
            sha256.is_none_or(|sha256| !context.spool.has(sha256))
        };
        let wanted: HashMap<String, WantedPackage> = listed
            .into_iter()
            .filter(is_missing)
            .map(|package| (package.path.clone(), package))
            .collect();
        let mut group = Group {
            keep: context.spool.keep()?,
            reading: Reading::new(wanted.len()),
            wanted,
            taken: Vec::new(),
            bytes: 0,
            furthest: first,
            enough: None,
        };
        let begun = context.exports.begun(self.work.batch.id);
        let read = context.svnlook.dump(revision, begun, &mut |dumped| {
            let choice = group.hear(dumped);
            if group.is_full() {
                group.store(context, self.journal, turn)?;
            }
            Ok(choice)
        })?;
        group.store(context, self.journal, turn)?;
        Ok(match (read, group.enough) {
            // All that were looked for are there, or not in it.
            (End::Whole, _) => Some((first, last)),
            (End::Stopped, Some(Enough::ForNow)) if group.wanted.is_empty() => Some((first, last)),
            (End::Stopped, Some(Enough::ForNow)) => Some((first, group.furthest)),
            (End::Stopped | End::Untried, _) => None,
        })
    }
}

/// What is on its way into the spool.
struct Group {
    keep: Keep,
    reading: Reading,
    /// By path: what was not taken yet.
    wanted: HashMap<String, WantedPackage>,
    taken: Vec<(WantedPackage, Vec<u8>)>,
    bytes: usize,
    /// The last package that was taken.
    furthest: i64,
    enough: Option<Enough>,
}

impl Group {
    /// What becomes of it.
    fn hear(&mut self, dumped: Dumped<'_>) -> Choice {
        match dumped {
            Dumped::Path { path, text, bytes } => {
                let size = text.filter(|_| self.wanted.contains_key(path));
                match self.reading.next(size, bytes) {
                    Next::Take => Choice::Take,
                    Next::PassOver => Choice::PassOver,
                    Next::Stop(enough) => {
                        self.enough = Some(enough);
                        Choice::Stop
                    }
                }
            }
            Dumped::File { path, bytes } => {
                if let Some(package) = self.wanted.remove(path) {
                    self.furthest = self.furthest.max(package.id);
                    self.bytes += bytes.len();
                    self.taken.push((package, bytes));
                }
                Choice::PassOver
            }
        }
    }

    fn is_full(&self) -> bool {
        self.taken.len() >= GROUP_FILES_MAX || self.bytes >= GROUP_BYTES_MAX
    }

    /// Puts what was taken into the spool, and then into the journal.
    fn store(&mut self, context: &Context, journal: &mut Journal, turn: &Turn<'_>) -> Result<()> {
        self.bytes = 0;
        let mut ids = Vec::with_capacity(self.taken.len());
        let mut files = Vec::with_capacity(self.taken.len());
        for (package, bytes) in self.taken.drain(..) {
            // What has other bytes than before is exported alone, and says so.
            let recorded = package.sha256.as_ref();
            if recorded.is_none_or(|recorded| *recorded == Digester::of(&bytes)) {
                ids.push(package.id);
                files.push(bytes);
            }
        }
        if files.is_empty() {
            return Ok(());
        }
        let artifacts = context.spool.store_all(&self.keep, &files)?;
        let noted: Vec<(i64, &str, u64)> = ids
            .iter()
            .zip(&artifacts)
            .map(|(id, artifact)| (*id, artifact.sha256.as_str(), artifact.size))
            .collect();
        journal.record_artifacts(&noted)?;
        fail_points::hit("ahead.noted");
        turn.tell();
        Ok(())
    }
}
