//! The journal: batches, deliveries and attempts in SQLite, the only state that matters. It is
//! responsible for durable, atomic writes and for the rule that a delivery changes only by a
//! [`Transition`](crate::domain::delivery::Transition). Knows nothing of hosts, files or rules; SQL is
//! written nowhere else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, TimeZone as _, Utc};
use rusqlite::{Connection, TransactionBehavior};

use crate::domain::notice::Subscription;
use crate::error::{Error, Result};

use trouble::explain;

mod artifacts;
mod awaited;
mod batches;
mod checkup;
mod decisions;
mod drop_directories;
mod dropped;
#[cfg(test)]
mod dropped_tests;
#[cfg(test)]
mod fixture;
mod former;
#[cfg(test)]
mod former_tests;
mod gaps;
#[cfg(test)]
mod gaps_tests;
mod group;
mod lanes;
mod ledger;
mod leftovers;
mod notices;
#[cfg(test)]
mod notices_tests;
mod opening;
mod outbox;
mod outlook;
mod overview;
mod patience;
mod peek;
mod progress;
mod prune;
mod query;
mod rows;
mod schema;
mod search;
mod settling;
mod statistics;
#[cfg(test)]
mod statistics_tests;
#[cfg(test)]
mod tests;
mod trouble;
mod workers;

pub use artifacts::{RoomWanted, WantedPackage};
pub use awaited::Awaited;
pub use batches::{NewBatch, Origin, PlannedBatch};
pub use decisions::Decided;
pub use drop_directories::DropDirectoryRow;
pub use dropped::{Dropped, DroppedRow, Undigested};
pub use former::Retired;
pub use gaps::{Dismissal, DismissedRevisions, GapRow, LedgerRow, Missing};
pub use lanes::{Claim, LaneHead};
pub use ledger::{Recorded, Standing, UnplannedOutlook};
pub use leftovers::{Leftover, Remains, TemporaryFile};
pub use outbox::{MessageTerms, Outgoing, Unsent};
pub use outlook::{AtWork, LaneStanding, Tally};
pub use overview::{LaneRow, OriginRow, ReplayRow, RunningRow};
pub use patience::hurry;
pub use prune::{PruneCursor, Pruned};
pub use query::HistoryFilter;
pub use rows::{AttemptRow, BatchRow, DeliveryRow, PackageRow, RepositoryRow, Source, Work};
pub use search::Search;
pub use settling::{AttemptRecord, Settling};
pub use statistics::{BatchBrief, BatchLane, DurationTally, HourTally, LaneTally};
pub use workers::WorkerRow;

/// One connection to the journal. Each thread opens its own.
pub struct Journal {
    connection: Connection,
    path: PathBuf,
    id: String,
    /// Device and inode of the file: whoever moves it away leaves us behind with the old one.
    file: Option<(u64, u64)>,
    /// Who is told of what; nobody, unless whoever opened it says so.
    subscriptions: Arc<[Subscription]>,
}

fn file_of(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

impl Journal {
    /// Opens the journal file, makes it if it is missing, and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Self> {
        let (connection, id) = opening::open(path)?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            id,
            file: file_of(path),
            subscriptions: Arc::default(),
        })
    }

    /// The same; whoever closes it does not tidy up.
    pub fn closing_at_once(self) -> Result<Self> {
        opening::leave_log(&self.connection)
            .map_err(|error| self.explain("cannot prepare", &error))?;
        Ok(self)
    }

    /// The same; what it writes is told to these.
    #[must_use]
    pub fn telling(mut self, subscriptions: &Arc<[Subscription]>) -> Self {
        self.subscriptions = Arc::clone(subscriptions);
        self
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

    /// A number that is another one whenever somebody else has written to the journal meanwhile: what was read once need
    /// not be read again.
    pub fn version(&self) -> Result<i64> {
        self.read("cannot read the version of", |connection| {
            connection
                .prepare_cached("PRAGMA data_version")?
                .query_row([], |row| row.get(0))
        })
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

    /// The same for a transaction of very many statements. Each of them can be undone alone, because it has triggers:
    /// what that takes is kept in memory meanwhile, and not in a temporary file that all of it is written to.
    fn write_many<T>(
        &mut self,
        what: &str,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let keep = |connection: &Connection, place: &str| {
            connection.pragma_update(None, "temp_store", place)
        };
        keep(&self.connection, "memory").map_err(|error| self.explain(what, &error))?;
        let written = self.write(what, work);
        keep(&self.connection, "default").map_err(|error| self.explain(what, &error))?;
        written
    }

    fn read<T>(
        &self,
        what: &str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        work(&self.connection).map_err(|error| self.explain(what, &error))
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
