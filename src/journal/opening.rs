//! The journal's file: made whole under another name and then renamed, so that a file of that name that is
//! no journal is a damaged one and never an unfinished one; its settings, and its schema brought up to date.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::trouble::{damaged, explain};
use super::{patience, schema};
use crate::error::{Error, ErrorKind, Result};

/// Pause between two looks at a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// How many statements a connection keeps compiled.
const STATEMENTS_KEPT: usize = 128;
/// What is left of a log (`-wal`) that had grown while somebody read for long.
const WAL_KEPT: i64 = 8 << 20;

/// A connection to the journal, and its identity.
pub(super) fn open(path: &Path) -> Result<(Connection, String)> {
    if !path.exists() {
        make(path)?;
    }
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0) {
        return Err(damaged(path, "cannot open", "it is empty"));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)
        .map_err(|error| explain(path, "cannot open", &error))?;
    prepare(&connection).map_err(|error| explain(path, "cannot prepare", &error))?;
    migrate(&mut connection, path)?;
    let id = identity(&connection, path)?;
    Ok((connection, id))
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(patience::wait))?;
    // A lane goes through some thirty.
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // FULL: a recorded revision stays recorded when the machine is reset.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", "on")?;
    // Damage is to be found before it spreads.
    connection.pragma_update(None, "cell_size_check", "on")?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_KEPT, |_| Ok(()))
}

/// Has the log stay when the connection is closed as the last one; what is committed is as durable there. Somebody else
/// will move it into the file, while nobody waits.
pub(super) fn leave_log(connection: &Connection) -> rusqlite::Result<()> {
    let is_kept = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    debug_assert!(is_kept);
    Ok(())
}

/// Makes a journal, one process at a time: the first hooks of a new site come together.
fn make(path: &Path) -> Result<()> {
    let _lock = lock(path)?;
    if path.exists() {
        return Ok(());
    }
    // SQLite would take the log of another journal for that of the new one.
    let stale = beside(path, "-wal");
    if stale.exists() {
        return Err(Error::new(
            ErrorKind::Damaged,
            format!(
                "the journal {} is missing, but its log {} is there",
                path.display(),
                stale.display()
            ),
        )
        .with_hint(format!(
            "put the journal back beside it; or, to begin a new one, move {0}-wal and {0}-shm away, too",
            path.display()
        )));
    }
    let new = path.with_extension("new");
    let failed = |what: &str, error: &io::Error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::io(ErrorKind::NoRoom, what, path, error)
                .with_hint("make room on that file system; nothing was changed")
        }
        _ => Error::io(ErrorKind::State, what, path, error),
    };
    for left in [
        beside(&new, ""),
        beside(&new, "-journal"),
        beside(&new, "-wal"),
    ] {
        match fs::remove_file(&left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("cannot make the journal", &error));
            }
            _ => {}
        }
    }
    write_new(&new, path)?;
    File::open(&new)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| File::open(path.parent().unwrap_or(Path::new("/"))))
        .and_then(|dir| dir.sync_all())
        .map_err(|error| failed("cannot make the journal", &error))
}

/// `path` is for messages.
fn write_new(new: &Path, path: &Path) -> Result<()> {
    let failed = |error: &rusqlite::Error| explain(path, "cannot make", error);
    let mut connection = Connection::open(new).map_err(|error| failed(&error))?;
    prepare(&connection).map_err(|error| failed(&error))?;
    to_latest(&mut connection, path)?;
    give_identity(&connection).map_err(|error| failed(&error))?;
    // WAL survives in the file. Last, so that everything lies in the file itself.
    connection
        .pragma_update(None, "journal_mode", "wal")
        .map_err(|error| failed(&error))?;
    connection.close().map_err(|(_, error)| failed(&error))
}

/// Brings the schema up to date, one process at a time.
fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    if version(connection, path)? == schema::LATEST {
        return Ok(());
    }
    let _lock = lock(path)?;
    let found = version(connection, path)?;
    if found > schema::LATEST {
        return Err(Error::state(format!(
            "the journal {} was written by a newer auto-dispatcher (version {found}; this one knows {})",
            path.display(),
            schema::LATEST
        ))
        .with_hint("install the newer one again, or name another `state_dir` in auto-dispatcher.cfg"));
    }
    connection
        .pragma_update(None, "journal_mode", "wal")
        .map_err(|error| explain(path, "cannot prepare", &error))?;
    to_latest(connection, path)
}

pub(super) fn to_latest(connection: &mut Connection, path: &Path) -> Result<()> {
    schema::migrations()
        .to_latest(connection)
        .map_err(|error| match error {
            rusqlite_migration::Error::RusqliteError { err, .. } => {
                explain(path, "cannot bring up to date", &err)
            }
            other => damaged(path, "cannot bring up to date", &other.to_string()),
        })
}

pub(super) fn version(connection: &Connection, path: &Path) -> Result<i64> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| explain(path, "cannot read the version of", &error))
}

fn identity(connection: &Connection, path: &Path) -> Result<String> {
    let failed = |error: &rusqlite::Error| explain(path, "cannot read the identity of", error);
    if let Some(id) = read_identity(connection).map_err(|error| failed(&error))? {
        return Ok(id);
    }
    // Another identity would have installs that are under way run again.
    let is_used: bool = connection
        .query_row("SELECT EXISTS (SELECT 1 FROM deliveries)", [], |row| {
            row.get(0)
        })
        .map_err(|error| failed(&error))?;
    if is_used {
        return Err(damaged(path, "cannot read the identity of", "it is gone"));
    }
    give_identity(connection)
        .and_then(|()| read_identity(connection))
        .map_err(|error| failed(&error))?
        .ok_or_else(|| damaged(path, "cannot read the identity of", "it is gone"))
}

pub(super) fn read_identity(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let read = "SELECT value FROM meta WHERE key = 'journal_id'";
    connection.query_row(read, [], |row| row.get(0)).optional()
}

/// Two processes may be first: the insert that comes second does nothing.
fn give_identity(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .execute(
            "INSERT INTO meta (key, value) VALUES ('journal_id', lower(hex(randomblob(8))))
             ON CONFLICT DO NOTHING",
            [],
        )
        .map(|_| ())
}

fn lock(path: &Path) -> Result<File> {
    let path = path.with_extension("lock");
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .and_then(wait_for)
        .map_err(|error| Error::io(ErrorKind::State, "cannot lock", &path, &error))
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
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
}

/// The file of that name with `suffix` behind it, as SQLite names its own.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
