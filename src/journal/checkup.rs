//! What `doctor` asks the journal: its schema, and how large packages are.

use chrono::{DateTime, Utc};

use super::{Journal, millis};
use crate::error::Result;

impl Journal {
    /// The number of the schema that the file has.
    pub fn schema_version(&self) -> Result<u32> {
        self.read("cannot read the schema of", |connection| {
            connection.query_row("PRAGMA user_version", [], |row| row.get(0))
        })
    }

    /// The size in bytes of the largest package that was recorded since `since`; 0: there was none.
    pub fn largest_package(&self, since: DateTime<Utc>) -> Result<u64> {
        self.read("cannot read the packages of", |connection| {
            connection.query_row(
                "SELECT coalesce(max(p.size), 0) FROM packages p JOIN batches b ON b.id = p.batch_id
                 WHERE b.recorded_at >= ?1",
                [millis(since)],
                |row| row.get(0),
            )
        })
    }
}
