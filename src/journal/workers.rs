//! Worker processes in the journal. Whether one lives is told by its lock file, not here.

use chrono::{DateTime, Utc};
use rusqlite::params;

use super::{Journal, millis};
use crate::error::Result;

/// A worker process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    /// Its process.
    pub pid: u32,
    /// `worker`, `detached` or `foreground`.
    pub role: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
}

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

    /// A worker by its number.
    pub fn worker(&self, worker: i64) -> Result<Option<WorkerRow>> {
        use rusqlite::OptionalExtension as _;
        self.read("cannot read", |connection| {
            connection
                .query_row(
                    "SELECT pid, role, started_at FROM workers WHERE id = ?1",
                    [worker],
                    |row| {
                        Ok(WorkerRow {
                            pid: row.get(0)?,
                            role: row.get(1)?,
                            started_at: super::time(row.get(2)?),
                        })
                    },
                )
                .optional()
        })
    }
}
