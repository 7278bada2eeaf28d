//! The end of attempts. A finish needs `running` *and* the same worker and attempt number.

use chrono::{DateTime, Utc};
use rusqlite::{Transaction, params};

use super::group::{FIRST_ATTEMPT, list};
use super::leftovers::{self, TemporaryFile};
use super::notices::{self, Settled};
use super::{Claim, Journal, millis};
use crate::domain::delivery::{State, Step, Transition};
use crate::domain::notice::Subscription;
use crate::error::Result;

/// What an attempt leaves in the record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttemptRecord {
    /// The transport that served.
    pub transport: Option<&'static str>,
    /// Host key or certificate.
    pub fingerprint: Option<String>,
    /// What was negotiated.
    pub detail: Option<String>,
    /// `digest` or `length`.
    pub verified: Option<&'static str>,
    /// Exit status of the install command.
    pub exit_status: Option<i32>,
    /// Tail of its output.
    pub output: Option<Vec<u8>>,
    /// Bytes of output before the tail.
    pub output_cut: u64,
    /// Bytes for which there was no room in the spool; 0: that was not the trouble.
    pub wants_room: u64,
}

/// The end of an attempt.
#[derive(Debug)]
pub struct Settling<'a> {
    /// Whose.
    pub claim: &'a Claim,
    /// What happens to the delivery.
    pub transition: &'a Transition,
    /// The step it ended at.
    pub step: Step,
    /// Whether the outcome of an install command may still be on the host.
    pub install_began: bool,
    /// For the record.
    pub record: &'a AttemptRecord,
    /// Where the package lies, of one that came in a group: it was not noted before.
    pub arrived: Option<&'a str>,
}

impl Journal {
    /// Ends an attempt. False, and nothing is written, when the delivery is no longer this claim's: another
    /// process has taken it over.
    pub fn settle(&mut self, settling: &Settling<'_>, now: DateTime<Utc>) -> Result<bool> {
        self.settle_all(std::slice::from_ref(settling), None, now)
    }

    /// The same for all attempts of a group at once, with their directory, if it is gone from the host. False when
    /// any of them is no longer its claim's: of that one nothing is written.
    pub fn settle_all(
        &mut self,
        settlings: &[Settling<'_>],
        gone: Option<&TemporaryFile<'_>>,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let wanted = self.subscriptions.clone();
        let work = |tx: &Transaction<'_>| {
            let (same, others) = alike(settlings);
            let mut all = settle_alike(tx, &same, &wanted, now)?;
            for settling in others {
                all &= settle(tx, settling, &wanted, now)?;
            }
            if let Some(directory) = gone {
                leftovers::delete_group(tx, directory)?;
            }
            Ok(all)
        };
        let what = "cannot settle a delivery in";
        if settlings.len() > 1 {
            self.write_many(what, work)
        } else {
            self.write(what, work)
        }
    }
}

/// Those that have arrived together with the first one, and the rest.
fn alike<'a, 'b>(settlings: &'b [Settling<'a>]) -> (Vec<&'b Settling<'a>>, Vec<&'b Settling<'a>>) {
    let directory = |one: &Settling<'a>| Some(one.arrived?.rsplit_once('/')?.0);
    let is_first = |one: &Settling<'_>| {
        *one.transition == Transition::Done && one.claim.attempt == FIRST_ATTEMPT
    };
    let first = settlings
        .iter()
        .find(|one| is_first(one) && directory(one).is_some());
    settlings.iter().partition(|one| {
        first.is_some_and(|first| {
            is_first(one)
                && directory(one) == directory(first)
                && (one.step, one.claim.worker, one.record)
                    == (first.step, first.claim.worker, first.record)
        })
    })
}

/// Settles first attempts that have arrived in one directory, and whose record is the same.
fn settle_alike(
    tx: &Transaction<'_>,
    alike: &[&Settling<'_>],
    wanted: &[Subscription],
    now: DateTime<Utc>,
) -> rusqlite::Result<bool> {
    let Some(first) = alike.first() else {
        return Ok(true);
    };
    let (directory, _) = first
        .arrived
        .and_then(|path| path.rsplit_once('/'))
        .unwrap_or_default();
    let ids = list(alike.iter().map(|one| one.claim.delivery));
    let record = first.record;
    let updated = tx
        .prepare_cached(
            "UPDATE deliveries SET state = 'done', step = ?4, due_at = 0, transport = coalesce(?5, transport),
               exit_status = NULL, fault = NULL, error = NULL, settled_at = ?6, attached = 0, install_began = 0,
               waits_from = 0, room = 0, rerun = 0, remote_path = ?7 || '/' || package, replaced = 0
             WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'running' AND worker_id = ?2
               AND attempts = ?3",
        )?
        .execute(params![
            ids,
            first.claim.worker,
            FIRST_ATTEMPT,
            first.step.as_str(),
            record.transport,
            millis(now),
            directory
        ])?;
    tx.prepare_cached(
        "UPDATE attempts SET ended_at = ?3, step = ?4, outcome = 'done', transport = ?5, fingerprint = ?6,
           detail = ?7, verified = ?8, output_cut = 0
         WHERE delivery_id IN (SELECT value FROM json_each(?1)) AND number = ?2 AND ended_at IS NULL",
    )?
    .execute(params![
        ids,
        FIRST_ATTEMPT,
        millis(now),
        first.step.as_str(),
        record.transport,
        record.fingerprint,
        record.detail,
        record.verified
    ])?;
    for one in alike {
        let settled = Settled {
            delivery: one.claim.delivery,
            state: State::Done,
            fault: None,
            attempt: FIRST_ATTEMPT,
        };
        notices::settled(tx, wanted, &settled, now)?;
    }
    Ok(updated == alike.len())
}

fn settle(
    tx: &Transaction<'_>,
    settling: &Settling<'_>,
    wanted: &[Subscription],
    now: DateTime<Utc>,
) -> rusqlite::Result<bool> {
    let Settling {
        claim,
        transition,
        step,
        install_began,
        record,
        arrived,
    } = settling;
    let state = transition.state();
    let (waits_from, due_at, undo_try) = match transition {
        Transition::Wait { delay, counts, .. } => {
            let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
            let due_at = millis(now).saturating_add(delay);
            (millis(now), due_at, i32::from(!counts))
        }
        Transition::Release => (0, 0, 1),
        _ => (0, 0, 0),
    };
    let room = if state == State::Waiting {
        record.wants_room
    } else {
        0
    };
    let fault = transition.fault();
    let settled_at = (!state.is_open()).then(|| millis(now));
    let updated = tx
        .prepare_cached(
            "UPDATE deliveries SET state = ?4, step = ?5, due_at = ?6, tries_used = tries_used - ?7,
               transport = coalesce(?8, transport), exit_status = ?9, fault = ?10, error = ?11,
               settled_at = ?12, attached = 0, install_began = ?13, waits_from = ?14, room = ?15,
               rerun = CASE WHEN ?12 IS NULL THEN rerun ELSE 0 END
             WHERE id = ?1 AND state = 'running' AND worker_id = ?2 AND attempts = ?3",
        )?
        .execute(params![
            claim.delivery,
            claim.worker,
            claim.attempt,
            state.as_str(),
            step.as_str(),
            due_at,
            undo_try,
            record.transport,
            record.exit_status,
            fault.map(|fault| fault.class.as_str()),
            fault.map(|fault| &fault.message),
            settled_at,
            install_began,
            waits_from,
            room
        ])?;
    if updated != 1 {
        return Ok(false);
    }
    if let Some(remote_path) = arrived {
        tx.prepare_cached("UPDATE deliveries SET remote_path = ?2, replaced = 0 WHERE id = ?1")?
            .execute(params![claim.delivery, remote_path])?;
    }
    end_attempt(tx, settling, now)?;
    let settled = Settled {
        delivery: claim.delivery,
        state,
        fault,
        attempt: claim.attempt,
    };
    notices::settled(tx, wanted, &settled, now)?;
    Ok(true)
}

/// Writes the end of an attempt into its own row.
fn end_attempt(
    tx: &Transaction<'_>,
    settling: &Settling<'_>,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    let Settling { claim, record, .. } = settling;
    let fault = settling.transition.fault();
    tx.prepare_cached(
        "UPDATE attempts SET ended_at = ?3, step = ?4, outcome = ?5, transport = ?6,
           fingerprint = ?7, detail = ?8, verified = ?9, fault = ?10, error = ?11,
           exit_status = ?12, output = ?13, output_cut = ?14
         WHERE delivery_id = ?1 AND number = ?2",
    )?
    .execute(params![
        claim.delivery,
        claim.attempt,
        millis(now),
        settling.step.as_str(),
        settling.transition.state().as_str(),
        record.transport,
        record.fingerprint,
        record.detail,
        record.verified,
        fault.map(|fault| fault.class.as_str()),
        fault.map(|fault| &fault.message),
        record.exit_status,
        record.output,
        record.output_cut
    ])?;
    Ok(())
}
