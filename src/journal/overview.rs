//! What `status` and `show` ask beyond deliveries themselves: how many stand where, what runs since when, which hosts
//! cannot be reached, where a batch came from. Each answer reads what it tells of, never the whole record.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension as _, params};

use super::rows::{Source, Word};
use super::{Journal, time};
use crate::domain::delivery::State;
use crate::error::Result;

/// A lane that has something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneRow {
    /// Its name.
    pub lane: String,
    /// How many of it are queued, running or waiting.
    pub open: u64,
    /// The first of them.
    pub first: i64,
}

/// An attempt that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningRow {
    /// The delivery.
    pub delivery: i64,
    /// Who is at it.
    pub worker: i64,
    /// When the attempt began.
    pub started_at: DateTime<Utc>,
}

/// Where a batch came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginRow {
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// When the revision was committed.
    pub committed_at: Option<DateTime<Utc>>,
    /// What the committer wrote.
    pub message: Option<String>,
    /// The batch that it repeats.
    pub cites: Option<i64>,
}

/// A delivery that brought the same package to the same target for another batch of the same revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRow {
    /// The delivery.
    pub delivery: i64,
    /// Its batch.
    pub batch: i64,
    /// When it was queued.
    pub queued_at: DateTime<Utc>,
    /// Where it stands.
    pub state: State,
}

const COUNTS: &str = "SELECT state, count(*) FROM deliveries INDEXED BY deliveries_by_state
    WHERE state <> 'done' AND state IN ('queued', 'running', 'waiting', 'failed', 'unknown')
    AND dismissed_at IS NULL
    GROUP BY state";

const LANES: &str =
    "SELECT lane, count(*), min(id) AS first FROM deliveries INDEXED BY deliveries_open
    WHERE state IN ('queued', 'running', 'waiting') GROUP BY lane ORDER BY first";

const RUNNING: &str =
    "SELECT d.id, d.worker_id, a.started_at FROM deliveries d INDEXED BY deliveries_one_at_a_time
    JOIN attempts a ON a.delivery_id = d.id AND a.number = d.attempts
    WHERE d.state = 'running'";

const TROUBLED: &str = "SELECT id FROM deliveries INDEXED BY deliveries_troubled
    WHERE state IN ('failed', 'unknown') AND dismissed_at IS NULL ORDER BY id DESC LIMIT ?1";

impl Journal {
    /// How many deliveries are queued, running, waiting, or failed or unknown and not dismissed.
    pub fn unsettled_counts(&self) -> Result<Vec<(State, u64)>> {
        self.read("cannot count the deliveries of", |connection| {
            connection
                .prepare(COUNTS)?
                .query_map([], |row| Ok((row.get::<_, Word<State>>(0)?.0, row.get(1)?)))?
                .collect()
        })
    }

    /// The lanes that have something to do, those first that have waited longest.
    pub fn busy_lanes(&self) -> Result<Vec<LaneRow>> {
        self.read("cannot read the lanes of", |connection| {
            connection
                .prepare(LANES)?
                .query_map([], |row| {
                    Ok(LaneRow {
                        lane: row.get(0)?,
                        open: row.get(1)?,
                        first: row.get(2)?,
                    })
                })?
                .collect()
        })
    }

    /// The attempts that are under way.
    pub fn running(&self) -> Result<Vec<RunningRow>> {
        self.read("cannot read the attempts of", |connection| {
            connection
                .prepare(RUNNING)?
                .query_map([], |row| {
                    Ok(RunningRow {
                        delivery: row.get(0)?,
                        worker: row.get(1)?,
                        started_at: time(row.get(2)?),
                    })
                })?
                .collect()
        })
    }

    /// The newest deliveries that failed or are unknown and that nobody has dismissed.
    pub fn troubled(&self, limit: u64) -> Result<Vec<i64>> {
        self.read("cannot read the deliveries of", |connection| {
            connection
                .prepare(TROUBLED)?
                .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| row.get(0))?
                .collect()
        })
    }

    /// Since when a host cannot be reached, if an attempt at this delivery found that and no later delivery was done
    /// there.
    pub fn unreachable_since(&self, delivery: i64) -> Result<Option<DateTime<Utc>>> {
        self.read("cannot read the attempts of", |connection| {
            let found: Option<(String, i64, i64)> = connection
                .prepare_cached(
                    "SELECT d.host, d.queued_at, min(a.started_at) FROM deliveries d
                     JOIN attempts a ON a.delivery_id = d.id AND a.fault = 'unreachable'
                     WHERE d.id = ?1 GROUP BY d.id",
                )?
                .query_row([delivery], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()?;
            let Some((host, queued_at, since)) = found else {
                return Ok(None);
            };
            let is_back: bool = connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM deliveries d INDEXED BY deliveries_by_facet
                       WHERE d.facet_id IN (SELECT id FROM facets WHERE host = ?1) AND d.queued_at >= ?2
                         AND d.state = 'done' AND d.settled_at > ?3)",
                )?
                .query_row(params![host, queued_at, since], |row| row.get(0))?;
            Ok((!is_back).then(|| time(since)))
        })
    }

    /// Where a batch came from.
    pub fn origin(&self, batch: i64) -> Result<Option<OriginRow>> {
        self.read("cannot read the batches of", |connection| {
            connection
                .query_row(
                    "SELECT recorded_at, committed_at, message, cites FROM batches WHERE id = ?1",
                    [batch],
                    |row| {
                        Ok(OriginRow {
                            recorded_at: time(row.get(0)?),
                            committed_at: row.get::<_, Option<i64>>(1)?.map(time),
                            message: row.get(2)?,
                            cites: row.get(3)?,
                        })
                    },
                )
                .optional()
        })
    }

    /// Deliveries of the same package to the same target for another batch of the same revision: what this one
    /// repeats, and what repeats it.
    pub fn replays(&self, delivery: i64) -> Result<Vec<ReplayRow>> {
        let replay = Source::Replay.as_str();
        self.read("cannot read the deliveries of", |connection| {
            connection
                .prepare(
                    "SELECT n.id, n.batch_id, n.queued_at, n.state FROM deliveries d
                     JOIN batches b ON b.id = d.batch_id
                     JOIN batches o ON o.repository_id = b.repository_id AND o.revision = b.revision
                       AND o.id <> b.id
                     JOIN deliveries n ON n.batch_id = o.id AND n.package = d.package AND n.host = d.host
                       AND n.login = d.login
                     WHERE d.id = ?1 AND (b.source = ?2 OR o.source = ?2) ORDER BY n.id",
                )?
                .query_map(params![delivery, replay], |row| {
                    Ok(ReplayRow {
                        delivery: row.get(0)?,
                        batch: row.get(1)?,
                        queued_at: time(row.get(2)?),
                        state: row.get::<_, Word<State>>(3)?.0,
                    })
                })?
                .collect()
        })
    }

    /// Bytes that the journal takes on its disk, its log included.
    pub fn bytes(&self) -> u64 {
        let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |file| file.len());
        size(&self.path) + size(&super::opening::beside(&self.path, "-wal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_screen_asks_reads_all_deliveries() {
        let (_dir, journal) = super::super::fixture::journal();
        for sql in [COUNTS, LANES, RUNNING, TROUBLED] {
            let mut statement = journal
                .connection
                .prepare(&format!("EXPLAIN QUERY PLAN {}", sql.replace("?1", "9")))
                .expect("a plan");
            let lines: Vec<String> = statement
                .query_map([], |row| row.get(3))
                .and_then(Iterator::collect)
                .expect("lines");
            // Of partial indices, which hold what is open or in trouble.
            let is_whole = |line: &&String| {
                line.starts_with("SCAN")
                    && !line.contains("deliveries_o")
                    && !line.contains("deliveries_troubled")
            };
            assert_eq!(lines.iter().find(is_whole), None, "{sql}");
        }
    }
}
