//! The checks of the state directory, the journal in it, what is recorded of the repository, and the disk. Makes nothing
//! that is not there.

use std::path::Path;

use rustix::fs::Access;

use super::here::{Here, nearest, quoted, us};
use super::hook::may;
use crate::cli::lines::bytes;
use crate::journal::Journal;
use crate::source::repository_files;
use crate::state_dir::StateDir;

/// With less room the journal cannot be written for long.
const FREE_MIN_BYTES: u64 = 64 << 20;
const FREE_MIN_FILES: u64 = 1000;

impl Here<'_> {
    /// The state directory and the journal in it, where they are there.
    pub(super) fn state(&self) -> Option<(StateDir, Option<Journal>)> {
        let path = match self.setup.state_path() {
            Ok(path) => path,
            Err(error) => {
                self.teller.error(("state", "state_dir"), &error);
                return None;
            }
        };
        let shown = path.to_string_lossy().into_owned();
        let about = ("state", shown.as_str());
        if path.symlink_metadata().is_err() {
            let above = nearest(&path);
            if may(above, Access::WRITE_OK | Access::EXEC_OK) {
                self.teller.ok(
                    about,
                    format!("{shown} is not there yet; the first commit makes it"),
                );
                self.disk(above);
            } else {
                let why = format!(
                    "{shown} is not there, and this user cannot make it in {}",
                    above.display()
                );
                let user = rustix::process::geteuid().as_raw();
                let mend = format!("install -d -m 700 -o {user} {}", quoted(&path));
                self.teller.fail(about, why, Some(mend));
            }
            return None;
        }
        let state = match StateDir::open(&path) {
            Ok(state) => state,
            Err(error) => {
                self.teller.error(about, &error);
                return None;
            }
        };
        if !may(&path, Access::WRITE_OK | Access::EXEC_OK) {
            self.teller.fail(
                about,
                format!("this user cannot write to {shown}"),
                Some(format!("chmod 700 {}", quoted(&path))),
            );
            return None;
        }
        self.teller.ok(about, format!("{shown}, ours alone"));
        self.disk(&path);
        let journal = self.journal(&state);
        Some((state, journal))
    }

    fn journal(&self, state: &StateDir) -> Option<Journal> {
        let path = state.journal();
        let shown = path.to_string_lossy().into_owned();
        let about = ("journal", shown.as_str());
        if !path.exists() {
            self.teller
                .ok(about, "there is none yet; the first commit makes it");
            return None;
        }
        let opened = Journal::open(&path).and_then(|journal| {
            journal.check_whole()?;
            let schema = journal.schema_version()?;
            Ok((journal, schema))
        });
        match opened {
            Ok((journal, schema)) => {
                self.teller
                    .ok(about, format!("{shown}, schema {schema}, whole"));
                self.ledger(&journal);
                Some(journal)
            }
            Err(error) => {
                self.teller.error(about, &error);
                None
            }
        }
    }

    /// The youngest revision against what is recorded.
    fn ledger(&self, journal: &Journal) {
        let Some(path) = self.repository else { return };
        let subject = path.to_string_lossy();
        let about = ("ledger", subject.as_ref());
        let rows = match journal.repositories() {
            Ok(rows) => rows,
            Err(error) => return self.teller.error(about, &error),
        };
        let Some(row) = rows.iter().find(|row| row.path == path) else {
            return self.teller.ok(
                about,
                "nothing of this repository is recorded yet: it begins with the next commit",
            );
        };
        if let Ok(uuid) = repository_files::read_uuid(path)
            && uuid != row.uuid
        {
            let why = format!(
                "another repository was recorded under this path (UUID {})",
                row.uuid
            );
            let mend = format!("{} dismiss {} --former", us(self.setup), quoted(path));
            return self.teller.fail(about, why, Some(mend));
        }
        let youngest = repository_files::youngest(path);
        let last = row.last_revision;
        match (youngest, last) {
            (Some(youngest), Some(last)) if youngest > last => {
                let why = format!(
                    "r{last} is the last that is recorded, and r{youngest} the youngest: the next commit brings the rest"
                );
                self.teller.warn(
                    about,
                    why,
                    Some(format!(
                        "{} hook {} {youngest}",
                        us(self.setup),
                        quoted(path)
                    )),
                );
            }
            (_, Some(last)) if row.unplanned > 0 => {
                let why = format!("recorded up to r{last}; {} not planned yet", row.unplanned);
                self.teller
                    .warn(about, why, Some(format!("{} status", us(self.setup))));
            }
            (_, Some(last)) => self
                .teller
                .ok(about, format!("recorded up to r{last}, the youngest")),
            _ => self.teller.ok(about, "nothing is recorded yet"),
        }
    }

    fn disk(&self, path: &Path) {
        let shown = path.to_string_lossy().into_owned();
        let about = ("disk", shown.as_str());
        let found = match rustix::fs::statvfs(path) {
            Ok(found) => found,
            Err(error) => {
                return self.teller.fail(
                    about,
                    format!("cannot look at the disk of {shown}: {error}"),
                    None,
                );
            }
        };
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let files = found.f_favail;
        // Some file systems count no files.
        let counts_files = found.f_files > 0;
        let wanted = self.setup.settings.spool_max_bytes;
        let says = if counts_files {
            format!("{} and {files} files free", bytes(free))
        } else {
            format!("{} free", bytes(free))
        };
        let mend = Some(format!("df -h {0}; df -i {0}", quoted(path)));
        if free < FREE_MIN_BYTES || (counts_files && files < FREE_MIN_FILES) {
            self.teller.fail(
                about,
                format!("{says} for {shown}: commits cannot be recorded for long"),
                mend,
            );
        } else if free < wanted {
            let why = format!(
                "{says} for {shown}, less than `spool_max` ({}): large packages wait for room",
                bytes(wanted)
            );
            self.teller.warn(about, why, mend);
        } else {
            self.teller
                .ok(about, format!("{says}, spool_max {}", bytes(wanted)));
        }
    }
}
