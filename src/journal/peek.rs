//! Looking at a journal without leaving a trace: for dry runs, which change no file of the state directory, also none
//! of those that SQLite keeps beside a database. And a draft: a journal in memory that a dry run may write to.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::opening::{beside, read_identity, to_latest, version};
use super::trouble::explain;
use super::{Journal, file_of, schema};
use crate::error::{Error, Result};

/// How long a reader waits while others fold the log into the file.
const PATIENCE: Duration = Duration::from_secs(2);

impl Journal {
    /// Opens a journal for reading alone. Errors: it cannot be read, or another version has written it.
    pub fn peek(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |error: &rusqlite::Error| explain(path, "cannot look at", error);
        let connection =
            Connection::open_with_flags(address(path), flags).map_err(|error| failed(&error))?;
        connection
            .busy_timeout(PATIENCE)
            .map_err(|error| failed(&error))?;
        let found = version(&connection, path)?;
        if found != schema::LATEST {
            return Err(Error::state(format!(
                "the journal {} is of version {found}, and this auto-dispatcher knows {}",
                path.display(),
                schema::LATEST
            ))
            .with_hint("any command that is no dry run brings an older one up to date"));
        }
        let id = read_identity(&connection)
            .map_err(|error| failed(&error))?
            .unwrap_or_default();
        Ok(Self {
            connection,
            path: path.to_owned(),
            id,
            file: file_of(path),
            subscriptions: Arc::default(),
        })
    }

    /// A journal in memory that knows of the drop directory `directory` what the one at `path` knows, if there is one.
    pub fn draft(path: Option<&Path>, directory: &Path) -> Result<Self> {
        let shown = path.unwrap_or(Path::new(":memory:"));
        let failed = |error: &rusqlite::Error| explain(shown, "cannot look at", error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection =
            Connection::open_with_flags(":memory:", flags).map_err(|error| failed(&error))?;
        to_latest(&mut connection, shown)?;
        if let Some(path) = path {
            // The batches that files became stay where they are.
            connection
                .pragma_update(None, "foreign_keys", "off")
                .and_then(|()| connection.busy_timeout(PATIENCE))
                .and_then(|()| connection.execute("ATTACH ?1 AS kept", [address(path)]))
                .and_then(|_| copy(&connection, directory))
                .map_err(|error| failed(&error))?;
        }
        Ok(Self {
            connection,
            path: shown.to_owned(),
            id: String::new(),
            file: None,
            subscriptions: Arc::default(),
        })
    }
}

fn copy(connection: &Connection, directory: &Path) -> rusqlite::Result<()> {
    let directory = directory.to_string_lossy();
    connection.execute(
        "INSERT INTO drop_directories SELECT * FROM kept.drop_directories WHERE path = ?1",
        [&directory],
    )?;
    connection.execute(
        "INSERT INTO dropped SELECT f.* FROM kept.dropped f JOIN kept.drop_directories s ON s.id = f.directory_id
         WHERE s.path = ?1",
        [&directory],
    )?;
    connection.execute_batch("DETACH kept")
}

/// The file as SQLite opens it without making or changing anything: by the log and its index where there are any, and
/// else as a file that nobody changes.
fn address(path: &Path) -> String {
    let mut address = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                address.push(char::from(byte));
            }
            // Writing to a String does not fail.
            byte => drop(write!(address, "%{byte:02x}")),
        }
    }
    let log = std::fs::metadata(beside(path, "-wal"));
    address.push_str(if log.is_ok_and(|log| log.len() > 0) {
        "?mode=ro&readonly_shm=1"
    } else {
        "?mode=ro&immutable=1"
    });
    address
}
