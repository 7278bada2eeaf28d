//! The journal: batches, deliveries and attempts in SQLite, the only state that matters. It is
//! responsible for durable, atomic writes and for the rule that a delivery changes only by a
//! [`Transition`](crate::domain::delivery::Transition). Knows nothing of hosts, files or rules; SQL is
//! written nowhere else.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeZone as _, Utc};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, TransactionBehavior};

use crate::error::{Error, ErrorKind, Result};

mod batches;
mod lanes;
mod ledger;
mod patience;
mod progress;
mod query;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod workers;

pub use batches::{NewBatch, PlannedBatch};
pub use lanes::{AttemptRecord, Claim, LaneHead, Settling};
pub use ledger::{Recorded, UnplannedOutlook};
pub use patience::hurry;
pub use query::HistoryFilter;
pub use rows::{AttemptRow, BatchRow, DeliveryRow, PackageRow, RepositoryRow, Source, Work};

/// One connection to the journal. Each thread opens its own.
pub struct Journal {
    connection: Connection,
    path: PathBuf,
    id: String,
    /// Device and inode of the file: whoever moves it away leaves us behind with the old one.
    file: Option<(u64, u64)>,
}

fn file_of(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

impl Journal {
    /// Opens the journal file, makes it if it is missing, and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Self> {
        let mut connection =
            Connection::open(path).map_err(|error| explain(path, "cannot open", &error))?;
        prepare(&mut connection).map_err(|error| explain(path, "cannot prepare", &error))?;
        migrate(&mut connection, path)?;
        let id = journal_id(&mut connection)
            .map_err(|error| explain(path, "cannot read the identity of", &error))?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            id,
            file: file_of(path),
        })
    }

    /// Whether the file that was opened is still the one under its path.
    pub fn is_still_there(&self) -> bool {
        file_of(&self.path) == self.file
    }

    /// An error when it is not.
    pub fn check_that_it_is_still_there(&self) -> Result<()> {
        if self.is_still_there() {
            return Ok(());
        }
        Err(Error::state(format!(
            "the journal {} was moved away or replaced while it was in use",
            self.path.display()
        ))
        .with_hint("whatever used the old one ends; the next hook or `worker` uses the new one"))
    }

    /// A random name that this journal got when it was made: `[0-9a-f]{16}`.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn explain(&self, what: &str, error: &rusqlite::Error) -> Error {
        explain(&self.path, what, error)
    }

    /// Runs `work` in a transaction that takes the write lock at once, so that it never fails half-way
    /// for want of it.
    fn write<T>(
        &mut self,
        what: &str,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let path = self.path.clone();
        let run = || {
            let transaction = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|error| explain(&path, what, &error))
    }

    fn read<T>(
        &self,
        what: &str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        work(&self.connection).map_err(|error| self.explain(what, &error))
    }
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(patience::wait))?;
    // FULL: a recorded revision stays recorded when the machine is reset.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", "on")?;
    Ok(())
}

/// Brings the schema up to date, one process at a time: the first hooks of a new site come together, and
/// neither a switch to WAL nor a migration waits for another one.
fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    if version(connection, path)? == schema::LATEST {
        return Ok(());
    }
    let lock_path = path.with_extension("lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock_path)
        .and_then(wait_for)
        .map_err(|error| Error::io(ErrorKind::State, "cannot lock", &lock_path, &error))?;
    let found = version(connection, path)?;
    if found > schema::LATEST {
        return Err(Error::state(format!(
            "the journal {} was written by a newer auto-dispatcher (version {found}; this one knows {})",
            path.display(),
            schema::LATEST
        ))
        .with_hint("install the newer one again, or name another `state_dir` in auto-dispatcher.cfg"));
    }
    // WAL survives in the file.
    connection
        .pragma_update(None, "journal_mode", "wal")
        .map_err(|error| explain(path, "cannot prepare", &error))?;
    let migrated = schema::migrations().to_latest(connection);
    drop(lock);
    migrated.map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => {
            explain(path, "cannot bring up to date", &err)
        }
        other => Error::state(format!(
            "cannot bring the journal {} up to date: {other}",
            path.display()
        )),
    })
}

/// Takes the lock, however long others migrate; only a process that is to end gives up.
fn wait_for(lock: File) -> io::Result<File> {
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if patience::is_hurried() => {
                return Err(io::Error::other(
                    "told to stop while another process holds it",
                ));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn version(connection: &Connection, path: &Path) -> Result<i64> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| explain(path, "cannot read the version of", &error))
}

fn journal_id(connection: &mut Connection) -> rusqlite::Result<String> {
    let read = "SELECT value FROM meta WHERE key = 'journal_id'";
    if let Some(id) = connection
        .query_row(read, [], |row| row.get(0))
        .optional()?
    {
        return Ok(id);
    }
    // Two processes may be first: the insert that comes second does nothing.
    connection.execute(
        "INSERT INTO meta (key, value) VALUES ('journal_id', lower(hex(randomblob(8))))
         ON CONFLICT DO NOTHING",
        [],
    )?;
    connection.query_row(read, [], |row| row.get(0))
}

fn explain(path: &Path, what: &str, error: &rusqlite::Error) -> Error {
    let shown = path.display();
    let message = format!("{what} the journal {shown}: {error}");
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            Error::state(message).with_hint("make room on that file system; nothing was changed")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::state(message).with_hint(
            "another process has held the journal for more than 5 s; find it with `fuser` and try again",
        ),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::state(message).with_hint(
            "the file is damaged: stop the workers, move it and its -wal and -shm away, and `replay` the revisions that were not yet delivered",
        ),
        _ => Error::state(message),
    }
}

fn millis(time: DateTime<Utc>) -> i64 {
    time.timestamp_millis()
}

fn time(millis: i64) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(millis)
        .single()
        .unwrap_or(DateTime::<Utc>::MIN_UTC)
}
