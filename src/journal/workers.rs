//! Worker processes in the journal. Whether one lives is told by its lock file, not here.

use chrono::{DateTime, Utc};
use rusqlite::params;

use super::{Journal, millis};
use crate::error::Result;

impl Journal {
    /// Enters a worker and returns its number.
    pub fn enter_worker(&mut self, pid: u32, role: &str, now: DateTime<Utc>) -> Result<i64> {
        self.write("cannot enter the worker in", |tx| {
            tx.execute(
                "INSERT INTO workers (pid, role, started_at) VALUES (?1, ?2, ?3)",
                params![pid, role, millis(now)],
            )?;
            Ok(tx.last_insert_rowid())
        })
    }

    /// Notes that a worker ended by itself.
    pub fn leave_worker(&mut self, worker: i64, now: DateTime<Utc>) -> Result<()> {
        self.write("cannot note the worker's end in", |tx| {
            tx.execute(
                "UPDATE workers SET ended_at = ?2 WHERE id = ?1",
                params![worker, millis(now)],
            )
        })
        .map(|_| ())
    }

    /// Pid and start of a worker.
    pub fn worker(&self, worker: i64) -> Result<Option<(u32, DateTime<Utc>)>> {
        use rusqlite::OptionalExtension as _;
        self.read("cannot read", |connection| {
            connection
                .query_row(
                    "SELECT pid, started_at FROM workers WHERE id = ?1",
                    [worker],
                    |row| Ok((row.get(0)?, super::time(row.get(1)?))),
                )
                .optional()
        })
    }
}
