//! Lanes: claiming the next delivery, and taking away what a dead worker had claimed. Claims are atomic.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::notices::{self, Settled};
use super::rows::{BatchRow, Word, Work};
use super::{Journal, millis};
use crate::domain::delivery::{State, Step, rescue};
use crate::domain::notice::Subscription;
use crate::domain::target::Target;
use crate::error::{Error, ErrorKind, Result};

/// The right to work one delivery; only the journal makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The delivery.
    pub delivery: i64,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Attempts that count against `retries`, this one included.
    pub tries_used: u32,
    /// Who claimed it.
    pub worker: i64,
}

/// The delivery that a lane stands at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneHead {
    /// The lane.
    pub lane: String,
    /// Queued or waiting; running where any delivery of the lane is.
    pub state: State,
    /// When a waiting one is due.
    pub due_at: DateTime<Utc>,
    /// When it began to wait.
    pub waits_from: DateTime<Utc>,
    /// Whether it waits for room in the spool.
    pub wants_room: bool,
}

impl LaneHead {
    /// Whether it can be claimed now.
    pub fn is_ready(&self, now: DateTime<Utc>) -> bool {
        match self.state {
            State::Queued => true,
            State::Waiting => is_due(self.waits_from, self.due_at, now),
            _ => false,
        }
    }
}

/// Whether a wait is over. A clock that stands before its beginning was set back meanwhile: nobody knows how
/// much of it has passed, and nobody waits for a clock.
fn is_due(from: DateTime<Utc>, until: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    until <= now || now < from
}

/// The first open delivery of a lane. Whether it can be claimed says [`LaneHead::is_ready`] and [`IS_HELD`].
const FIRST_OF_LANE: &str = "
    SELECT id, state, due_at, waits_from FROM deliveries
    WHERE lane = ?1 AND state IN ('queued', 'running', 'waiting') ORDER BY id LIMIT 1";

/// Whether a lane's first open delivery has to wait: behind a failure that stops the lane, or, where the operator
/// has retried it, until one ends that began meanwhile, although its place is behind.
const IS_HELD: &str = "
    SELECT EXISTS (SELECT 1 FROM deliveries WHERE lane = ?1 AND id < ?2
      AND stops_lane = 1 AND state IN ('failed', 'unknown') AND dismissed_at IS NULL)
    OR EXISTS (SELECT 1 FROM deliveries WHERE lane = ?1 AND state = 'running')";

impl Journal {
    /// The first open delivery of every lane that has one and that no failure stops, oldest first.
    pub fn lane_heads(&self) -> Result<Vec<LaneHead>> {
        self.read("cannot read the lanes of", |connection| {
            connection
                .prepare_cached(
                    // From lane to lane by the index: a lane may hold a hundred thousand, and this is asked often.
                    "WITH RECURSIVE lanes (lane) AS (
                       SELECT min(lane) FROM deliveries WHERE state IN ('queued', 'running', 'waiting')
                       UNION ALL SELECT
                         (SELECT min(n.lane) FROM deliveries n
                          WHERE n.state IN ('queued', 'running', 'waiting') AND n.lane > l.lane)
                         FROM lanes l WHERE l.lane IS NOT NULL),
                     first AS (SELECT
                         (SELECT min(o.id) FROM deliveries o
                          WHERE o.state IN ('queued', 'running', 'waiting') AND o.lane = l.lane) AS id
                         FROM lanes l WHERE l.lane IS NOT NULL)
                     SELECT d.lane, CASE WHEN EXISTS (SELECT 1 FROM deliveries r INDEXED BY deliveries_one_at_a_time
                           WHERE r.state = 'running' AND r.lane = d.lane) THEN 'running' ELSE d.state END,
                         d.due_at, d.waits_from, d.room > 0
                     FROM first f JOIN deliveries d ON d.id = f.id
                     WHERE NOT EXISTS (SELECT 1 FROM deliveries s WHERE s.lane = d.lane AND s.id < d.id
                         AND s.stops_lane = 1 AND s.state IN ('failed', 'unknown') AND s.dismissed_at IS NULL)
                     ORDER BY d.id",
                )?
                .query_map([], |row| {
                    Ok(LaneHead {
                        lane: row.get(0)?,
                        state: row.get::<_, Word<State>>(1)?.0,
                        due_at: super::time(row.get(2)?),
                        waits_from: super::time(row.get(3)?),
                        wants_room: row.get(4)?,
                    })
                })?
                .collect()
        })
    }

    /// Claims the lane's next delivery for a worker, or nothing when there is none to claim now. The clock is read once
    /// nobody else writes: what others have written is not from later.
    pub fn claim(
        &mut self,
        lane: &str,
        worker: i64,
        clock: impl Fn() -> DateTime<Utc>,
    ) -> Result<Option<(Claim, Work)>> {
        let claimed = self.write("cannot claim a delivery in", |tx| {
            let now = clock();
            let first: Option<(i64, LaneHead)> = tx
                .prepare_cached(FIRST_OF_LANE)?
                .query_row([lane], |row| {
                    let head = LaneHead {
                        lane: lane.to_owned(),
                        state: row.get::<_, Word<State>>(1)?.0,
                        due_at: super::time(row.get(2)?),
                        waits_from: super::time(row.get(3)?),
                        wants_room: false,
                    };
                    Ok((row.get(0)?, head))
                })
                .optional()?;
            let Some((id, head)) = first else {
                return Ok(None);
            };
            let due = head.is_ready(now);
            let is_held: bool = tx
                .prepare_cached(IS_HELD)?
                .query_row(params![lane, id], |row| row.get(0))?;
            if !due || is_held {
                return Ok(None);
            }
            tx.prepare_cached(
                "UPDATE deliveries SET state = 'running', grouped = 0, worker_id = ?2, attempts = attempts + 1,
                   tries_used = tries_used + 1 WHERE id = ?1",
            )?
            .execute(params![id, worker])?;
            let claim = tx
                .prepare_cached("SELECT attempts, tries_used FROM deliveries WHERE id = ?1")?
                .query_row([id], |row| {
                    Ok(Claim {
                        delivery: id,
                        attempt: row.get(0)?,
                        tries_used: row.get(1)?,
                        worker,
                    })
                })?;
            tx.prepare_cached(
                "INSERT INTO attempts (delivery_id, number, worker_id, started_at) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![id, claim.attempt, worker, millis(now)])?;
            let sql = format!("{} WHERE d.id = ?1", work_sql());
            let work = tx.prepare_cached(&sql)?.query_row([id], work_from_row)?;
            Ok(Some((claim, work)))
        })?;
        match claimed {
            None => Ok(None),
            Some((claim, (mut work, connection, service))) => {
                work.connection = thaw(&connection, claim.delivery)?;
                work.service = thaw(&service, claim.delivery)?;
                Ok(Some((claim, work)))
            }
        }
    }

    /// Workers that hold running deliveries, other than `me`.
    pub fn workers_with_running(&self, me: i64) -> Result<Vec<i64>> {
        self.read("cannot read", |connection| {
            connection
                .prepare_cached(
                    "SELECT DISTINCT worker_id FROM deliveries
                     WHERE state = 'running' AND worker_id <> ?1",
                )?
                .query_map([me], |row| row.get(0))?
                .collect()
        })
    }

    /// Takes the running deliveries of a dead worker away from it. Returns which.
    pub fn rescue(&mut self, dead_worker: i64, now: DateTime<Utc>) -> Result<Vec<i64>> {
        let wanted = self.subscriptions.clone();
        self.write("cannot rescue deliveries in", |tx| {
            let lanes = (dead_worker, None);
            let rescued = take_away(tx, lanes, "the worker died", &wanted, now)?;
            tx.execute(
                "UPDATE workers SET ended_at = ?2 WHERE id = ?1 AND ended_at IS NULL",
                params![dead_worker, millis(now)],
            )?;
            Ok(rescued)
        })
    }

    /// The same for one lane of a living worker, nobody of whom is at it any more: its thread broke off.
    pub fn rescue_lane(&mut self, worker: i64, lane: &str, now: DateTime<Utc>) -> Result<Vec<i64>> {
        let wanted = self.subscriptions.clone();
        self.write("cannot rescue deliveries in", |tx| {
            let lanes = (worker, Some(lane));
            take_away(tx, lanes, "the attempt broke off", &wanted, now)
        })
    }
}

/// Takes a worker's running deliveries, of one lane or of all, away from it. Returns which.
fn take_away(
    tx: &Transaction<'_>,
    (worker, lane): (i64, Option<&str>),
    why: &str,
    wanted: &[Subscription],
    now: DateTime<Utc>,
) -> rusqlite::Result<Vec<i64>> {
    let stranded: Vec<(i64, Word<Step>, bool)> = tx
        .prepare(
            "SELECT id, step, attached FROM deliveries
             WHERE state = 'running' AND worker_id = ?1 AND (?2 IS NULL OR lane = ?2)",
        )?
        .query_map(params![worker, lane], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (id, Word(step), attached) in &stranded {
        let transition = rescue(*step, *attached);
        let state = transition.state();
        tx.execute(
            // What a worker's death ended says nothing about the delivery, and counts for nothing.
            "UPDATE deliveries SET state = ?2, attached = 0, fault = ?3, error = ?4, settled_at = ?5,
               tries_used = tries_used - (?5 IS NULL AND tries_used > 0)
             WHERE id = ?1",
            params![
                id,
                state.as_str(),
                transition.fault().map(|fault| fault.class.as_str()),
                transition.fault().map(|fault| &fault.message),
                (!state.is_open()).then(|| millis(now))
            ],
        )?;
        tx.execute(
            "UPDATE attempts SET ended_at = ?2, step = ?3, outcome = ?4, error = ?5
             WHERE delivery_id = ?1 AND ended_at IS NULL",
            params![id, millis(now), step.as_str(), state.as_str(), why],
        )?;
        let settled = Settled {
            delivery: *id,
            state,
            fault: transition.fault(),
            attempt: 0,
        };
        notices::settled(tx, wanted, &settled, now)?;
    }
    Ok(stranded.into_iter().map(|(id, ..)| id).collect())
}

pub(super) fn thaw<T: serde::de::DeserializeOwned>(json: &str, delivery: i64) -> Result<T> {
    serde_json::from_str(json).map_err(|error| {
        Error::new(
            ErrorKind::Damaged,
            format!(
                "the journal is damaged: the terms of delivery {delivery} cannot be read: {error}"
            ),
        )
    })
}

/// Asks for everything that an attempt needs; which deliveries are meant comes behind it.
pub(super) fn work_sql() -> String {
    format!(
        "SELECT {}, d.id, d.package_id, d.package, p.path, d.rule, d.host, d.login, d.ssh_port, d.ftp_port,
           d.dest_dir, CASE WHEN d.replaced THEN 'export' ELSE d.step END, d.remote_path, p.sha256, p.size,
           d.run, d.install_began, d.rerun, d.connection, d.service,
           d.state = 'queued' AND d.attempts = 0 AS is_new
         FROM deliveries d JOIN batches b ON b.id = d.batch_id JOIN packages p ON p.id = d.package_id
           LEFT JOIN repositories r ON r.id = b.repository_id",
        BatchRow::COLUMNS
    )
}

/// The work, and its terms still as JSON.
pub(super) fn work_from_row(row: &Row<'_>) -> rusqlite::Result<(Work, String, String)> {
    let work = Work {
        batch: BatchRow::from_row(row)?,
        delivery: row.get(15)?,
        package_id: row.get(16)?,
        package: row.get(17)?,
        path: row.get(18)?,
        rule: row.get(19)?,
        target: Target {
            host: row.get(20)?,
            login: row.get(21)?,
            ssh_port: row.get(22)?,
            ftp_port: row.get(23)?,
        },
        dest_dir: row.get(24)?,
        step: row.get::<_, Word<Step>>(25)?.0,
        remote_path: row.get(26)?,
        sha256: row.get(27)?,
        size: row.get(28)?,
        run: row.get(29)?,
        install_began: row.get(30)?,
        rerun: row.get(31)?,
        connection: crate::domain::target::ConnectionTerms::default(),
        service: crate::domain::target::ServiceTerms::default(),
    };
    Ok((work, row.get(32)?, row.get(33)?))
}
