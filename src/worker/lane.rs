//! Working a lane: its deliveries in order, over one session, until none can be claimed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;

use super::Context;
use super::attempt::{Attempt, Companions};
use super::leftovers;
use super::sessions::Sessions;
use crate::domain::delivery::{Outcome, Standing, settle};
use crate::domain::event::Event;
use crate::domain::fault::Fault;
use crate::domain::retry::RetryPolicy;
use crate::error::Result;
use crate::fail_points;
use crate::journal::{Awaited, Claim, Journal, Work};

mod settling;

/// When a lane is left although more of it could be claimed.
#[derive(Clone, Copy)]
pub(super) struct End<'a> {
    /// Set when the worker has seen through what it was there for.
    pub(super) finishing: &'a AtomicBool,
    /// What somebody waits for: what stands behind the last of it is not for this worker to begin.
    pub(super) awaited: Option<&'a Awaited>,
}

impl End<'_> {
    fn has_come(self, journal: &Journal, lane: &str) -> Result<bool> {
        if self.finishing.load(Ordering::SeqCst) {
            return Ok(true);
        }
        match self.awaited {
            Some(awaited) => Ok(!journal.lane_is_awaited(awaited, lane)?),
            None => Ok(false),
        }
    }
}

/// Works `lane` for `worker` until nothing of it can be claimed, the worker has to stop, or the end has come.
pub(super) fn run(context: &Context, lane: &str, worker: i64, end: End<'_>) -> Result<()> {
    let mut sessions = Sessions::default();
    let result = context.with_journal(|journal| {
        deliver_all(context, (lane, worker), end, journal, &mut sessions)?;
        leftovers::tidy(context, journal, &mut sessions, lane);
        leftovers::forget(context, journal, &mut sessions);
        Ok(())
    });
    if result.is_ok() && !context.stop.is_raised() {
        context.parking.leave(lane, sessions);
    } else {
        sessions.close();
    }
    result
}

fn deliver_all(
    context: &Context,
    (lane, worker): (&str, i64),
    end: End<'_>,
    journal: &mut Journal,
    sessions: &mut Sessions,
) -> Result<()> {
    while !context.stop.is_raised() && !end.has_come(journal, lane)? {
        let Some((claim, work)) = journal.claim(lane, worker, Utc::now)? else {
            break;
        };
        fail_points::hit("lane.claimed");
        if let Some(parked) = context.parking.fetch(lane) {
            *sessions = parked.awake();
        }
        one(context, end, journal, sessions, (&claim, &work))?;
    }
    Ok(())
}

/// Makes an attempt at a delivery, and at those behind it that travel with it.
fn one(
    context: &Context,
    end: End<'_>,
    journal: &mut Journal,
    sessions: &mut Sessions,
    (claim, work): (&Claim, &Work),
) -> Result<()> {
    let subject = work.subject();
    context.emit(&Event::AttemptStarted {
        subject: subject.clone(),
        attempt: claim.attempt,
    });
    let mut companions = Companions::behind(journal, sessions, end.awaited, (claim, work))?;
    let mut attempt = Attempt::new(context, journal, sessions, claim, work, &subject);
    let together = guarded(&mut attempt, |attempt| attempt.together(&mut companions));
    let outcome = if let Some(outcome) = together.unwrap_or_else(Some) {
        outcome
    } else {
        let others = settling::of(&mut companions);
        settling::settle_durably(context, attempt.journal(), &others, &companions)?;
        settling::tell(context, attempt.journal(), others);
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method is of one lifetime, the closure of any"
        )]
        let alone = guarded(&mut attempt, |attempt| attempt.run());
        alone.unwrap_or_else(|outcome| outcome)
    };
    let left = attempt.leave();
    let standing = Standing {
        policy: RetryPolicy {
            retries: work.service.retries,
            delay: Duration::from_secs(work.service.retry_delay_s),
        },
        tries_used: claim.tries_used,
        attempts: claim.attempt,
        install_began: left.install_began,
    };
    let jitter = f64::from(Utc::now().timestamp_subsec_micros() % 1000) / 1000.0;
    let transition = settle(outcome, standing, jitter);
    let collected = left.collected.clone();
    let first = settling::Ended {
        claim: claim.clone(),
        subject,
        package_id: work.package_id,
        arrived: companions.take_first(),
        transition,
        left,
        is_companion: false,
    };
    let mut ended = vec![first];
    ended.extend(settling::of(&mut companions));
    settling::settle_durably(context, journal, &ended, &companions)?;
    if let Some(token) = &collected {
        sessions.forget_install(token);
        fail_points::hit("attempt.forgotten");
    }
    settling::tell(context, journal, ended);
    Ok(())
}

/// A bug in one delivery must not take the worker and all other lanes with it.
fn guarded<T>(
    attempt: &mut Attempt<'_>,
    work: impl FnOnce(&mut Attempt<'_>) -> T,
) -> std::result::Result<T, Outcome> {
    catch_unwind(AssertUnwindSafe(|| work(attempt))).map_err(|_| {
        attempt.drop_sessions();
        Outcome::Faulted(Fault::permanent(
            "a bug in auto-dispatcher (the attempt panicked); please report it with the log",
        ))
    })
}
