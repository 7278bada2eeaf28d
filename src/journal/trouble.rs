//! What is wrong with the journal, told from what SQLite says, each with its way out; and whether it is whole.

use std::fs;
use std::path::Path;

use rusqlite::ErrorCode;

use super::Journal;
use super::opening::beside;
use crate::error::{Error, ErrorKind, Result};

/// A larger journal is not read through when a worker starts.
const CHECKED_MAX: u64 = 64 << 20;
/// Fewer free bytes than this are none: SQLite does not say of every failed write that the disk was full.
const FULL_BELOW: u64 = 64 << 10;

impl Journal {
    /// Reads the whole file, if it is not large, and says so if it is damaged.
    pub fn check_whole(&self) -> Result<()> {
        let size = |suffix: &str| {
            let path = beside(&self.path, suffix);
            fs::metadata(path).map_or(0, |metadata| metadata.len())
        };
        if size("") + size("-wal") > CHECKED_MAX {
            return Ok(());
        }
        let found: String = self.read("cannot check", |connection| {
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        })?;
        if found == "ok" {
            return Ok(());
        }
        let found = found.split_whitespace().collect::<Vec<_>>().join(" ");
        Err(damaged(&self.path, "cannot work on", &found))
    }
}

pub(super) fn explain(path: &Path, what: &str, error: &rusqlite::Error) -> Error {
    let shown = path.display();
    let message = format!("{what} the journal {shown}: {error}");
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => no_room(message),
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if is_full(path) => {
            no_room(message)
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::state(message).with_hint(
            "another process has held the journal for more than 5 s; find it with `fuser` and try again",
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            Error::state(message).with_hint(format!(
                "file and directory have to be ours and writable (`ls -la {}`), and the file system not mounted read-only",
                path.parent().unwrap_or(path).display()
            ))
        }
        Some(ErrorCode::SystemIoFailure) => Error::state(message).with_hint(
            "the disk could not be read or written; the kernel's log (`dmesg`) says why",
        ),
        // SQL that every test runs does not fit what is there (`Unknown`), or a value is not what was written.
        Some(
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::Unknown
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch,
        )
        | None => damaged(path, what, &error.to_string()),
        Some(_) => Error::state(message),
    }
}

fn no_room(message: String) -> Error {
    Error::new(ErrorKind::NoRoom, message)
        .with_hint("make room on that file system; nothing was changed")
}

fn is_full(path: &Path) -> bool {
    let dir = path.parent().unwrap_or(path);
    rustix::fs::statvfs(dir)
        .is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) < FULL_BELOW)
}

/// The one message about a damaged journal.
pub(super) fn damaged(path: &Path, what: &str, why: &str) -> Error {
    let shown = path.display();
    Error::new(
        ErrorKind::Damaged,
        format!("{what} the journal {shown}, which is damaged: {why}"),
    )
    .with_hint(format!(
        "stop the workers, move {shown}, {shown}-wal and {shown}-shm away, and `replay` what was not delivered; \
         see \"A damaged journal\" in README.md"
    ))
}
