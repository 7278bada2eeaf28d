//! Everything that `status` tells of, gathered at one moment. Reads, and decides nothing.

use chrono::{DateTime, Utc};

use crate::cli::setup::Setup;
use crate::domain::delivery::State;
use crate::domain::fault::FaultClass;
use crate::error::Result;
use crate::journal::{
    BatchRow, DeliveryRow, DropDirectoryRow, GapRow, HistoryFilter, Journal, LaneRow,
    RepositoryRow, Unsent, WorkerRow,
};
use crate::spool::Spool;
use crate::state_dir::StateDir;
use crate::worker::presence;
use crate::worker::underway::{self, Underway};

/// So many deliveries that failed or are unknown are read at most for a screen.
const TROUBLED_MAX: u64 = 200;
/// So many hosts are asked about at most.
const HOSTS_MAX: usize = 50;

/// A worker that lives.
pub(super) struct Worker {
    pub(super) id: i64,
    pub(super) row: WorkerRow,
    /// Deliveries that it is at.
    pub(super) running: u64,
}

/// A delivery that runs.
pub(super) struct Running {
    pub(super) row: DeliveryRow,
    pub(super) worker: i64,
    pub(super) started_at: DateTime<Utc>,
    /// What its worker tells, if it lives.
    pub(super) told: Option<Underway>,
}

/// A lane in which something waits.
pub(super) struct Lane {
    pub(super) row: LaneRow,
    pub(super) first: DeliveryRow,
    /// The failure that stops it.
    pub(super) stopped_by: Option<i64>,
}

impl Lane {
    /// How many wait behind what runs, or for their turn.
    pub(super) fn waiting(&self) -> u64 {
        self.row.open - u64::from(self.first.state == State::Running).min(self.row.open)
    }
}

/// Room on the disk of the state directory.
pub(super) struct Disk {
    pub(super) path: String,
    pub(super) free: u64,
    pub(super) total: u64,
    pub(super) spool_used: u64,
    pub(super) spool_max: u64,
    pub(super) journal: u64,
}

impl Disk {
    /// Whether the file system is nearly full.
    pub(super) fn is_short(&self) -> bool {
        self.free < (self.total / 10).min(1 << 30)
    }

    /// Whether the spool is.
    pub(super) fn spool_is_short(&self) -> bool {
        self.spool_used > self.spool_max / 10 * 9
    }
}

pub(super) struct Standing {
    pub(super) now: DateTime<Utc>,
    pub(super) workers: Vec<Worker>,
    /// Why the last worker that a hook started could not work.
    pub(super) last_failure: Option<String>,
    pub(super) repositories: Vec<RepositoryRow>,
    pub(super) unplanned: Vec<BatchRow>,
    pub(super) gaps: Vec<GapRow>,
    pub(super) drop_directories: Vec<DropDirectoryRow>,
    counts: Vec<(State, u64)>,
    pub(super) running: Vec<Running>,
    pub(super) lanes: Vec<Lane>,
    /// Lanes that are not among those.
    pub(super) lanes_more: usize,
    /// Newest first.
    pub(super) troubled: Vec<DeliveryRow>,
    /// Hosts that cannot be reached, and since when.
    pub(super) unreachable: Vec<(String, DateTime<Utc>)>,
    pub(super) disk: Option<Disk>,
    /// Notices that could not be sent.
    pub(super) unsent: Vec<Unsent>,
}

impl Standing {
    /// `most`: lanes that are looked at, the longest waiting ones; none: all, and all that failed.
    pub(super) fn gather(setup: &Setup, most: Option<usize>) -> Result<Self> {
        let (state, journal) = setup.look()?;
        let running = running(&state, &journal)?;
        let mut workers = Vec::new();
        for id in presence::living(&state) {
            if let Some(row) = journal.worker(id)? {
                let busy = running.iter().filter(|one| one.worker == id).count() as u64;
                workers.push(Worker {
                    id,
                    row,
                    running: busy,
                });
            }
        }
        let troubled = journal.troubled(most.map_or(u64::MAX, |_| TROUBLED_MAX))?;
        let mut troubled = rows(&journal, &troubled)?;
        troubled.reverse();
        let (lanes, lanes_more) = lanes(&journal, most)?;
        let unreachable = unreachable(&journal, &lanes, &troubled)?;
        Ok(Self {
            now: Utc::now(),
            workers,
            last_failure: presence::last_failure(&state),
            repositories: journal.repositories()?,
            unplanned: journal.unplanned_batches()?,
            gaps: journal.gaps()?,
            drop_directories: journal.drop_directories()?,
            counts: journal.unsettled_counts()?,
            running,
            lanes,
            lanes_more,
            troubled,
            unreachable,
            disk: disk(setup, &state, &journal),
            unsent: journal.unsent_messages()?,
        })
    }

    /// How many deliveries are in `state` and not dismissed.
    pub(super) fn count(&self, state: State) -> u64 {
        let mut counts = self.counts.iter();
        counts
            .find(|(counted, _)| *counted == state)
            .map_or(0, |(_, count)| *count)
    }
}

/// The deliveries of these numbers, oldest first.
fn rows(journal: &Journal, ids: &[i64]) -> Result<Vec<DeliveryRow>> {
    let mut found = Vec::with_capacity(ids.len());
    // Empty means all to the filter, and SQL takes so many values at once and no more.
    for some in ids.chunks(500) {
        found.extend(journal.deliveries(&HistoryFilter {
            deliveries: some.to_vec(),
            oldest_first: true,
            ..HistoryFilter::default()
        })?);
    }
    found.sort_by_key(|row| row.id);
    Ok(found)
}

fn running(state: &StateDir, journal: &Journal) -> Result<Vec<Running>> {
    let mut told: Vec<Underway> = presence::living(state)
        .into_iter()
        .flat_map(|worker| underway::of(state, worker))
        .collect();
    let attempts = journal.running()?;
    let ids: Vec<i64> = attempts.iter().map(|attempt| attempt.delivery).collect();
    let mut found = Vec::new();
    for row in rows(journal, &ids)? {
        // One may have ended between two questions.
        let Some(attempt) = attempts.iter().find(|attempt| attempt.delivery == row.id) else {
            continue;
        };
        let told = told
            .iter()
            .position(|one| one.delivery == row.id)
            .map(|place| told.swap_remove(place));
        found.push(Running {
            worker: attempt.worker,
            started_at: attempt.started_at,
            told,
            row,
        });
    }
    Ok(found)
}

fn lanes(journal: &Journal, most: Option<usize>) -> Result<(Vec<Lane>, usize)> {
    let mut waiting = journal.busy_lanes()?;
    let stopped = journal.stopped_lanes()?;
    let stops = |lane: &str| {
        let mut stopped = stopped.iter();
        stopped.find(|(name, _)| name == lane).map(|&(_, id)| id)
    };
    // What is stopped waits for somebody.
    waiting.sort_by_key(|row| stops(&row.lane).is_none());
    let shown = most.unwrap_or(usize::MAX).min(waiting.len());
    let more = waiting.len() - shown;
    waiting.truncate(shown);
    let ids: Vec<i64> = waiting.iter().map(|row| row.first).collect();
    let firsts = rows(journal, &ids)?;
    let lanes = waiting.into_iter().filter_map(|row| {
        let first = firsts.iter().find(|first| first.id == row.first)?.clone();
        let stopped_by = stops(&row.lane);
        Some(Lane {
            row,
            first,
            stopped_by,
        })
    });
    Ok((lanes.collect(), more))
}

fn unreachable(
    journal: &Journal,
    lanes: &[Lane],
    troubled: &[DeliveryRow],
) -> Result<Vec<(String, DateTime<Utc>)>> {
    let mut hosts: Vec<(String, DateTime<Utc>)> = Vec::new();
    let firsts = lanes.iter().map(|lane| &lane.first);
    let candidates = firsts
        .chain(troubled)
        .filter(|row| row.fault.as_deref() == Some(FaultClass::Unreachable.as_str()));
    for row in candidates.take(HOSTS_MAX) {
        let Some(since) = journal.unreachable_since(row.id)? else {
            continue;
        };
        match hosts.iter_mut().find(|(host, _)| *host == row.host) {
            Some((_, known)) => *known = since.min(*known),
            None => hosts.push((row.host.clone(), since)),
        }
    }
    Ok(hosts)
}

fn disk(setup: &Setup, state: &StateDir, journal: &Journal) -> Option<Disk> {
    let (free, total) = state.room()?;
    Some(Disk {
        path: state.path().to_string_lossy().into_owned(),
        free,
        total,
        spool_used: Spool::used(&state.spool()),
        spool_max: setup.settings.spool_max_bytes,
        journal: journal.bytes(),
    })
}

impl Running {
    /// What its worker tells of the step that the journal says it is at; an older word would mislead.
    pub(super) fn told_of_step(&self) -> Option<&Underway> {
        let told = self.told.as_ref()?;
        (told.step == self.row.step.as_str()).then_some(told)
    }
}
