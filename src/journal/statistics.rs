//! What the page and the figures of a site are made of. Nothing here reads all deliveries: it asks what was counted
//! when it happened, covering indices, and the last so many. Each question is a short read of its own, so that nobody
//! who looks keeps the log from being folded into the file. Judges nothing.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::rows::{Source, Word};
use super::{Journal, millis, time};
use crate::domain::delivery::State;
use crate::error::Result;

const HOUR_MS: i64 = 3_600_000;

/// Deliveries that settled within an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourTally {
    /// When the hour began.
    pub from: DateTime<Utc>,
    /// How they ended.
    pub outcome: State,
    /// How many.
    pub deliveries: u64,
    /// Bytes that arrived.
    pub bytes: u64,
}

/// Attempts of about the same length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationTally {
    /// None took longer; none: there is no limit.
    pub up_to_ms: Option<u64>,
    /// How many, without those of shorter rows.
    pub attempts: u64,
    /// How long they took together.
    pub total_ms: u64,
}

/// How a target stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaneTally {
    /// Name of the lane.
    pub lane: String,
    /// When something last was done there.
    pub done_at: Option<DateTime<Utc>>,
    /// Which delivery that was.
    pub done_id: Option<i64>,
    /// When the first failed that nothing has followed that went well.
    pub failing_since: Option<DateTime<Utc>>,
    /// Queued deliveries.
    pub queued: u64,
    /// Running ones.
    pub running: u64,
    /// Those that wait for a retry.
    pub waiting: u64,
    /// When the oldest of these was queued.
    pub open_since: Option<DateTime<Utc>>,
    /// Failed or unknown ones that nobody has decided about.
    pub undecided: u64,
}

/// A batch, as a column of the time line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchBrief {
    /// Its number.
    pub id: i64,
    /// What it came from.
    pub source: Source,
    /// Path of the repository.
    pub repository: Option<String>,
    /// The revision.
    pub revision: Option<u64>,
    /// Who committed it.
    pub author: Option<String>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

/// Deliveries of one batch to one target that stand alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchLane {
    /// The batch.
    pub batch: i64,
    /// The lane.
    pub lane: String,
    /// Where they stand.
    pub state: State,
    /// How many.
    pub deliveries: u64,
    /// One of them.
    pub example: i64,
}

fn settled(row: &Row<'_>) -> rusqlite::Result<HourTally> {
    Ok(HourTally {
        from: time(row.get::<_, i64>(0)?.saturating_mul(HOUR_MS)),
        outcome: row.get::<_, Word<State>>(1)?.0,
        deliveries: row.get(2)?,
        bytes: row.get(3)?,
    })
}

impl Journal {
    /// What settled since, hour by hour.
    pub fn settled_hours(&self, since: DateTime<Utc>) -> Result<Vec<HourTally>> {
        self.read("cannot read the tally of", |connection| {
            connection
                .prepare_cached(
                    "SELECT hour, outcome, deliveries, bytes FROM settled_hours WHERE hour >= ?1 ORDER BY hour",
                )?
                .query_map([millis(since).div_euclid(HOUR_MS)], settled)?
                .collect()
        })
    }

    /// What ever settled, in one row for each outcome that there was.
    pub fn settled_in_all(&self) -> Result<Vec<HourTally>> {
        self.read("cannot read the tally of", |connection| {
            connection
                .prepare_cached(
                    "SELECT 0, outcome, sum(deliveries), sum(bytes) FROM settled_hours GROUP BY outcome",
                )?
                .query_map([], settled)?
                .collect()
        })
    }

    /// How long attempts took, the shortest first.
    pub fn attempt_durations(&self) -> Result<Vec<DurationTally>> {
        self.read("cannot read the tally of", |connection| {
            connection
                .prepare_cached(
                    "SELECT up_to_ms, attempts, total_ms FROM attempt_durations ORDER BY up_to_ms",
                )?
                .query_map([], |row| {
                    let up_to: i64 = row.get(0)?;
                    Ok(DurationTally {
                        up_to_ms: (up_to != i64::MAX).then_some(up_to.cast_unsigned()),
                        attempts: row.get(1)?,
                        total_ms: row.get(2)?,
                    })
                })?
                .collect()
        })
    }

    /// How each target stands that anything ever went to, by name.
    pub fn lane_rows(&self) -> Result<Vec<LaneTally>> {
        self.read("cannot read the lanes of", |connection| {
            let mut rows: BTreeMap<String, LaneTally> = BTreeMap::new();
            for row in known_lanes(connection)? {
                rows.insert(row.lane.clone(), row);
            }
            for (lane, state, count, since) in lanes_by_state(connection)? {
                let row = rows.entry(lane).or_default();
                match state {
                    State::Queued => row.queued = count,
                    State::Running => row.running = count,
                    State::Waiting => row.waiting = count,
                    _ => {
                        row.undecided += count;
                        continue;
                    }
                }
                row.open_since = row
                    .open_since
                    .map_or(Some(since), |one| Some(one.min(since)));
            }
            Ok(rows
                .into_iter()
                .map(|(lane, row)| LaneTally { lane, ..row })
                .collect())
        })
    }

    /// The youngest failed and unknown deliveries that nobody has decided about.
    pub fn undecided(&self, most: u64) -> Result<Vec<i64>> {
        self.read("cannot read the deliveries of", |connection| {
            connection
                .prepare_cached(
                    "SELECT id FROM deliveries INDEXED BY deliveries_troubled
                     WHERE state IN ('failed', 'unknown') AND dismissed_at IS NULL ORDER BY id DESC LIMIT ?1",
                )?
                .query_map([most], |row| row.get(0))?
                .collect()
        })
    }

    /// The youngest batches that came to deliveries, and how those stand; youngest first.
    pub fn batch_lanes(&self, most: u64) -> Result<(Vec<BatchBrief>, Vec<BatchLane>)> {
        self.read("cannot read the batches of", |connection| {
            let mut batches = Vec::new();
            let mut lanes = Vec::new();
            let mut below = i64::MAX;
            while (batches.len() as u64) < most {
                let Some(batch) = batch_below(connection, below)? else {
                    break;
                };
                below = batch.id;
                lanes.extend(lanes_of(connection, batch.id)?);
                batches.push(batch);
            }
            Ok((batches, lanes))
        })
    }

    /// How long those of the last `most` attempts took that brought something to its end: lane and milliseconds.
    pub fn recent_durations(&self, most: u64) -> Result<Vec<(String, u64)>> {
        self.read("cannot read the attempts of", |connection| {
            connection
                .prepare_cached(
                    "SELECT d.lane, max(a.ended_at - a.started_at, 0) FROM attempts a
                     JOIN deliveries d ON d.id = a.delivery_id
                     WHERE a.id > (SELECT coalesce(max(id), 0) FROM attempts) - ?1
                       AND a.outcome = 'done' AND a.ended_at IS NOT NULL",
                )?
                .query_map([most], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }
}

fn known_lanes(connection: &Connection) -> rusqlite::Result<Vec<LaneTally>> {
    connection
        .prepare_cached("SELECT lane, done_at, done_id, failing_since FROM settled_lanes")?
        .query_map([], |row| {
            Ok(LaneTally {
                lane: row.get(0)?,
                done_at: row.get::<_, Option<i64>>(1)?.map(time),
                done_id: row.get(2)?,
                failing_since: row.get::<_, Option<i64>>(3)?.map(time),
                ..LaneTally::default()
            })
        })?
        .collect()
}

/// Lane, state, how many, and when the oldest was queued.
type LaneCount = (String, State, u64, DateTime<Utc>);

/// How many of each state that somebody has to do with, by lane, and since when the oldest is queued.
fn lanes_by_state(connection: &Connection) -> rusqlite::Result<Vec<LaneCount>> {
    connection
        .prepare_cached(
            "SELECT lane, state, count(*), min(queued_at) FROM deliveries INDEXED BY deliveries_standing
             WHERE settled_at IS NULL GROUP BY lane, state
             UNION ALL
             SELECT lane, state, count(*), min(queued_at) FROM deliveries INDEXED BY deliveries_troubled
             WHERE state IN ('failed', 'unknown') AND dismissed_at IS NULL GROUP BY lane, state",
        )?
        .query_map([], |row| {
            let state = row.get::<_, Word<State>>(1)?.0;
            Ok((row.get(0)?, state, row.get(2)?, time(row.get(3)?)))
        })?
        .collect()
}

/// The youngest batch below `below` that came to deliveries.
fn batch_below(connection: &Connection, below: i64) -> rusqlite::Result<Option<BatchBrief>> {
    connection
        .prepare_cached(
            "SELECT b.id, b.source, r.path, b.revision, b.author, b.recorded_at
             FROM batches b LEFT JOIN repositories r ON r.id = b.repository_id
             WHERE b.id = (SELECT max(batch_id) FROM deliveries WHERE batch_id < ?1)",
        )?
        .query_row([below], |row| {
            Ok(BatchBrief {
                id: row.get(0)?,
                source: row.get(1)?,
                repository: row.get(2)?,
                revision: row.get(3)?,
                author: row.get(4)?,
                recorded_at: time(row.get(5)?),
            })
        })
        .optional()
}

fn lanes_of(connection: &Connection, batch: i64) -> rusqlite::Result<Vec<BatchLane>> {
    connection
        .prepare_cached(
            "SELECT lane, state, count(*), min(id) FROM deliveries WHERE batch_id = ?1 GROUP BY lane, state",
        )?
        .query_map([batch], |row| {
            Ok(BatchLane {
                batch,
                lane: row.get(0)?,
                state: row.get::<_, Word<State>>(1)?.0,
                deliveries: row.get(2)?,
                example: row.get(3)?,
            })
        })?
        .collect()
}
