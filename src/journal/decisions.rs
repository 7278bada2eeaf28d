//! What the operator decides about a delivery, written. Each decision is one transaction that reads the state
//! and writes the next one, so that a worker that claims or settles at the same moment comes either before,
//! and is seen, or behind, and sees what was decided. What may be decided says [`Decision::of`], how a retried
//! delivery goes on [`resume`]; this module knows neither hosts nor files.
//!
//! Why a retry keeps "at most once unless the operator says again": a token (journal, delivery, run) names one
//! start of the command, and the host starts each token once. So everything depends on when `run` grows:
//!
//! - The command was never begun (its upload failed, the login was refused, the host would not start it): the
//!   token is fresh, `run` stays.
//! - It has ended and its outcome is in the journal (exit status, time limit): the host may still hold the
//!   record, and would give the old outcome for the old token. The operator says again: `run` grows here.
//! - It has begun and its outcome may be on the host (`install_began`): `run` stays, so that the next attempt
//!   follows or collects that very run. `rerun` says that the operator bears a second one. Only when the host
//!   answers that the outcome is lost does the attempt spend `rerun` and let `run` grow, in one durable step
//!   before the new run can begin ([`Journal::note_rerun`]); so one word of the operator starts the command at
//!   most once, however often attempts are cut. What ends the delivery otherwise takes `rerun` back.
//! - It ran attached and its outcome is lost with the connection: nothing is on the host, `run` grows.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::query::delivery_by_id;
use super::rows::{DeliveryRow, Word};
use super::{Journal, millis, notices};
use crate::domain::delivery::{Decision, Past, Resumption, State, Step, resume};
use crate::error::Result;

/// What came of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// It was written.
    Made {
        /// The delivery as it is now.
        delivery: Box<DeliveryRow>,
        /// Whether an install command has begun on the host whose outcome was never had.
        install_began: bool,
        /// How a retried one goes on.
        resumption: Option<Resumption>,
    },
    /// Nothing was written.
    Refused {
        /// The delivery.
        delivery: Box<DeliveryRow>,
        /// Why, and the way out.
        reason: &'static str,
    },
    /// There is no such delivery; nothing was written.
    Missing,
}

/// What of a delivery a decision depends on.
struct Standing {
    state: State,
    install_began: bool,
    past: Past,
}

impl Journal {
    /// Whether a failed or unknown delivery was overtaken: a later one has brought the package of the same name
    /// to the same directory of the same target.
    pub fn newer_in_its_place(&self, id: i64) -> Result<bool> {
        self.read("cannot read the deliveries of", |connection| {
            connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM deliveries d JOIN deliveries n ON n.id > d.id
                       AND n.package = d.package AND n.lane = d.lane AND n.dest_dir = d.dest_dir
                       AND n.state = 'done'
                     WHERE d.id = ?1 AND d.state IN ('failed', 'unknown'))",
                )?
                .query_row([id], |row| row.get(0))
        })
    }

    /// failed | unknown -> queued, at its place in the lane. What is done is not redone.
    pub fn retry(&mut self, id: i64) -> Result<Decided> {
        self.decide(Decision::Retry, id, |tx, standing| {
            let resumption = resume(standing.past);
            tx.execute(
                "UPDATE deliveries SET state = 'queued', step = ?2, run = run + ?3, rerun = ?4, tries_used = 0,
                   dismissed_at = NULL, settled_at = NULL, due_at = 0, waits_from = 0, room = 0, fault = NULL,
                   error = NULL, exit_status = NULL
                 WHERE id = ?1",
                params![
                    id,
                    resumption.step.as_str(),
                    resumption.is_new_run,
                    resumption.reruns_if_lost
                ],
            )?;
            Ok(Some(resumption))
        })
    }

    /// queued | waiting -> cancelled. An install command that has begun on the host is not stopped.
    pub fn cancel(&mut self, id: i64, now: DateTime<Utc>) -> Result<Decided> {
        let wanted = self.subscriptions.clone();
        self.decide(Decision::Cancel, id, |tx, _| {
            tx.execute(
                "UPDATE deliveries SET state = 'cancelled', settled_at = ?2, due_at = 0, waits_from = 0,
                   room = 0, rerun = 0
                 WHERE id = ?1",
                params![id, millis(now)],
            )?;
            let settled = notices::Settled {
                delivery: id,
                state: State::Cancelled,
                fault: None,
                attempt: 0,
            };
            notices::settled(tx, &wanted, &settled, now)?;
            Ok(None)
        })
    }

    /// failed | unknown stays, and needs nobody any more.
    pub fn dismiss(&mut self, id: i64, now: DateTime<Utc>) -> Result<Decided> {
        self.decide(Decision::Dismiss, id, |tx, _| {
            tx.execute(
                "UPDATE deliveries SET dismissed_at = coalesce(dismissed_at, ?2) WHERE id = ?1",
                params![id, millis(now)],
            )?;
            Ok(None)
        })
    }

    /// Failed deliveries to a host that nobody has dismissed, in lane order. Not unknown ones, each of which
    /// wants a look at the host first.
    pub fn failed_at(&self, host: &str) -> Result<Vec<i64>> {
        self.read("cannot read the deliveries of", |connection| {
            connection
                .prepare_cached(
                    "SELECT id FROM deliveries WHERE state IN ('failed', 'unknown') AND dismissed_at IS NULL
                       AND state = 'failed' AND host = ?1 ORDER BY id",
                )?
                .query_map([host], |row| row.get(0))?
                .collect()
        })
    }

    /// Failed and unknown deliveries that nobody has dismissed, of these revisions of the repository at
    /// `path` and of their replays.
    pub fn troubled_of_revisions(&self, path: &str, low: u64, high: u64) -> Result<Vec<i64>> {
        self.read("cannot read the deliveries of", |connection| {
            connection
                .prepare_cached(
                    "SELECT d.id FROM deliveries d JOIN batches b ON b.id = d.batch_id
                       JOIN repositories r ON r.id = b.repository_id
                     WHERE d.state IN ('failed', 'unknown') AND d.dismissed_at IS NULL
                       AND b.source IN ('revision', 'replay') AND r.path = ?1 AND b.revision BETWEEN ?2 AND ?3
                     ORDER BY d.id",
                )?
                .query_map(params![path, low, high], |row| row.get(0))?
                .collect()
        })
    }

    fn decide(
        &mut self,
        decision: Decision,
        id: i64,
        write: impl FnOnce(&Transaction<'_>, &Standing) -> rusqlite::Result<Option<Resumption>>,
    ) -> Result<Decided> {
        self.write("cannot write a decision to", |tx| {
            let Some(standing) = standing(tx, id)? else {
                return Ok(Decided::Missing);
            };
            let next = decision.of(standing.state);
            let resumption = match next {
                Ok(_) => write(tx, &standing)?,
                Err(_) => None,
            };
            let Some(row) = delivery_by_id(tx, id)? else {
                return Ok(Decided::Missing);
            };
            let delivery = Box::new(row);
            Ok(match next {
                Ok(_) => Decided::Made {
                    delivery,
                    install_began: standing.install_began,
                    resumption,
                },
                Err(reason) => Decided::Refused { delivery, reason },
            })
        })
    }
}

fn standing(tx: &Transaction<'_>, id: i64) -> rusqlite::Result<Option<Standing>> {
    tx.prepare_cached(
        // Only an attempt that has collected an outcome keeps an output, be it empty.
        "SELECT state, step, remote_path IS NOT NULL AND NOT replaced, install_began,
           EXISTS (SELECT 1 FROM attempts a
                   WHERE a.delivery_id = d.id AND a.number = d.attempts AND a.output IS NOT NULL)
         FROM deliveries d WHERE id = ?1",
    )?
    .query_row([id], |row| {
        let state = row.get::<_, Word<State>>(0)?.0;
        let step = row.get::<_, Word<Step>>(1)?.0;
        let (lies_there, install_began, has_outcome): (bool, bool, bool) =
            (row.get(2)?, row.get(3)?, row.get(4)?);
        Ok(Standing {
            state,
            install_began,
            past: Past {
                is_uploaded: step == Step::Install && lies_there,
                install_began,
                command_ended: has_outcome || (state == State::Unknown && !install_began),
            },
        })
    })
    .optional()
}

#[cfg(test)]
mod tests;
