//! What the page and the figures are made of, read from the journal in a bounded number of short reads. Decides nothing
//! about it.

use chrono::{DateTime, Utc};

use crate::domain::delivery::State;
use crate::error::Result;
use crate::journal::{
    BatchBrief, BatchLane, BatchRow, DeliveryRow, DropDirectoryRow, DurationTally, GapRow,
    HistoryFilter, HourTally, Journal, LaneTally, RepositoryRow,
};

/// Failed and unknown deliveries that are read to be shown.
const UNDECIDED_MAX: u64 = 500;
/// Attempts that tell how long things take.
const TIMED: u64 = 10_000;

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that we may still write.
    pub free: u64,
    /// Its size.
    pub size: u64,
}

/// A worker that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerFact {
    /// Its number.
    pub id: i64,
    /// Its process.
    pub pid: u32,
    /// When it began.
    pub started_at: DateTime<Utc>,
}

/// What is to be known of this machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// How a command begins that reads the same configuration.
    pub program: String,
    /// The state directory.
    pub state_dir: String,
    /// Workers that live.
    pub workers: Vec<WorkerFact>,
    /// Why the last worker that a hook started could not work.
    pub worker_failure: Option<String>,
    /// The disk of the state directory.
    pub disk: Option<Disk>,
    /// Bytes in the spool.
    pub spool_bytes: Option<u64>,
    /// How many may be there.
    pub spool_max_bytes: u64,
    /// For how many seconds the worker that serves the page has not looked at its work; none: no worker does.
    pub stalled_s: Option<u64>,
    /// When this was.
    pub now: DateTime<Utc>,
}

/// How things stand: all that can be known without looking at what was.
#[derive(Debug)]
pub struct Standing {
    /// This machine.
    pub machine: Machine,
    /// How many deliveries are in each state that wants somebody.
    pub counts: Vec<(State, u64)>,
    /// Every target.
    pub lanes: Vec<LaneTally>,
    /// Lanes behind a failure that stops them, with the delivery that does.
    pub stopped: Vec<(String, i64)>,
    /// Batches that are not planned.
    pub unplanned: Vec<BatchRow>,
    /// Open gaps.
    pub gaps: Vec<GapRow>,
    /// Repositories.
    pub repositories: Vec<RepositoryRow>,
    /// Drop directories.
    pub drop_directories: Vec<DropDirectoryRow>,
    /// What ever settled.
    pub settled: Vec<HourTally>,
    /// How long attempts took.
    pub durations: Vec<DurationTally>,
}

impl Standing {
    /// Asks the journal.
    pub fn read(journal: &Journal, machine: Machine) -> Result<Self> {
        Ok(Self {
            machine,
            counts: journal.unsettled_counts()?,
            lanes: journal.lane_rows()?,
            stopped: journal.stopped_lanes()?,
            unplanned: journal.unplanned_batches()?,
            gaps: journal.gaps()?,
            repositories: journal.repositories()?,
            drop_directories: journal.drop_directories()?,
            settled: journal.settled_in_all()?,
            durations: journal.attempt_durations()?,
        })
    }

    /// How many deliveries are in a state.
    pub fn count(&self, state: State) -> u64 {
        let counts = self.counts.iter().filter(|(one, _)| *one == state);
        counts.map(|(_, count)| count).sum()
    }
}

/// How much of the past is shown.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Nothing that settled before.
    pub since: DateTime<Utc>,
    /// So many of the last deliveries.
    pub deliveries: u64,
    /// So many of the last batches, as columns of the time line.
    pub batches: u64,
}

/// Everything that the page shows.
#[derive(Debug)]
pub struct Facts {
    /// How things stand.
    pub standing: Standing,
    /// How much of the past is shown.
    pub bounds: Bounds,
    /// What failed or is unknown, youngest first; not all, if they are many.
    pub undecided: Vec<DeliveryRow>,
    /// The last deliveries, youngest first.
    pub recent: Vec<DeliveryRow>,
    /// What settled, by hours.
    pub hours: Vec<HourTally>,
    /// The last batches, youngest first.
    pub batches: Vec<BatchBrief>,
    /// How their deliveries stand.
    pub batch_lanes: Vec<BatchLane>,
    /// How long the last attempts took, by lane, in milliseconds.
    pub timed: Vec<(String, u64)>,
}

impl Facts {
    /// Asks the journal.
    pub fn read(journal: &Journal, machine: Machine, bounds: Bounds) -> Result<Self> {
        let ids = journal.undecided(UNDECIDED_MAX)?;
        let undecided = if ids.is_empty() {
            Vec::new()
        } else {
            journal.deliveries(&HistoryFilter {
                deliveries: ids,
                ..HistoryFilter::default()
            })?
        };
        let mut recent = journal.deliveries(&HistoryFilter {
            limit: Some(bounds.deliveries),
            ..HistoryFilter::default()
        })?;
        recent.retain(|row| row.state.is_open() || row.settled_at >= Some(bounds.since));
        let (mut batches, batch_lanes) = journal.batch_lanes(bounds.batches)?;
        batches.retain(|batch| batch.recorded_at >= bounds.since);
        Ok(Self {
            standing: Standing::read(journal, machine)?,
            bounds,
            undecided,
            recent,
            hours: journal.settled_hours(bounds.since)?,
            batches,
            batch_lanes,
            timed: journal.recent_durations(TIMED)?,
        })
    }
}
