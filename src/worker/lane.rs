//! Working a lane: its deliveries in order, over one session, until none can be claimed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;

use super::Context;
use super::attempt::{Attempt, Left};
use super::leftovers;
use super::sessions::Sessions;
use crate::domain::delivery::{Outcome, Standing, Transition, settle};
use crate::domain::event::{Event, Subject};
use crate::domain::fault::Fault;
use crate::domain::retry::RetryPolicy;
use crate::error::{Error, Result};
use crate::fail_points;
use crate::journal::{Awaited, Claim, Journal, Settling, Work};

/// Pause between two tries to write the end of an attempt to a journal that refuses it.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);

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
        let Some((claim, work)) = journal.claim(lane, worker, Utc::now())? else {
            break;
        };
        fail_points::hit("lane.claimed");
        if let Some(parked) = context.parking.fetch(lane) {
            *sessions = parked.awake();
        }
        one(context, journal, sessions, &claim, &work)?;
    }
    Ok(())
}

fn one(
    context: &Context,
    journal: &mut Journal,
    sessions: &mut Sessions,
    claim: &Claim,
    work: &Work,
) -> Result<()> {
    let subject = Subject {
        delivery: work.delivery,
        batch: work.batch.id,
        package: work.package.clone(),
        lane: work.target.lane(),
    };
    context.emit(&Event::AttemptStarted {
        subject: subject.clone(),
        attempt: claim.attempt,
    });
    let mut attempt = Attempt::new(context, journal, sessions, claim, work, &subject);
    // A bug in one delivery must not take the worker and all other lanes with it.
    let outcome = catch_unwind(AssertUnwindSafe(|| attempt.run())).unwrap_or_else(|_| {
        attempt.drop_sessions();
        Outcome::Faulted(Fault::permanent(
            "a bug in auto-dispatcher (the attempt panicked); please report it with the log",
        ))
    });
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
    let exit_status = left.record.exit_status;
    let transition = settle(outcome, standing, jitter);
    fail_points::hit("lane.settling");
    settle_durably(context, journal, claim, &transition, &left)?;
    fail_points::hit("lane.settled");
    if let Some(token) = &left.collected {
        sessions.forget_install(token);
        fail_points::hit("attempt.forgotten");
    }
    if matches!(
        transition,
        Transition::Fail { .. } | Transition::Lose { .. }
    ) {
        context.trouble.store(true, Ordering::SeqCst);
    }
    if transition == Transition::Done {
        tidy_spool(context, journal, work);
        fail_points::hit("lane.purged");
    }
    context.emit(&Event::Settled {
        subject,
        attempt: claim.attempt,
        transition,
        exit_status,
    });
    Ok(())
}

/// Writes the end of an attempt, again and again while the journal refuses: what was done on the host
/// must not be forgotten because our disk is full for a minute. Gives up when the worker has to stop;
/// the next worker then takes the delivery up where the journal says it stands.
fn settle_durably(
    context: &Context,
    journal: &mut Journal,
    claim: &Claim,
    transition: &Transition,
    left: &Left,
) -> Result<()> {
    let step = if transition.state().is_open() {
        left.resume_at
    } else {
        left.step
    };
    let mut reported = false;
    loop {
        let settling = Settling {
            claim,
            transition,
            step,
            install_began: left.install_began,
            record: &left.record,
        };
        let error = match journal.settle(&settling, Utc::now()) {
            Ok(true) => return Ok(()),
            Ok(false) => {
                return Err(Error::state(format!(
                    "delivery {} was taken over by another process; what this one did is not recorded",
                    claim.delivery
                )));
            }
            Err(error) => error,
        };
        if context.stop.is_raised() {
            return Err(error);
        }
        if !reported {
            context.emit(&Event::Notice {
                message: format!(
                    "delivery {}: {}; trying on",
                    claim.delivery,
                    error.one_line()
                ),
            });
            reported = true;
        }
        std::thread::sleep(SETTLE_PAUSE);
    }
}

fn tidy_spool(context: &Context, journal: &Journal, work: &Work) {
    let purge = || -> Result<()> {
        let Some((sha256, _)) = journal.artifact_of(work.package_id)? else {
            return Ok(());
        };
        context
            .spool
            .purge(&sha256, || journal.artifact_is_needed(&sha256))
    };
    if let Err(error) = purge() {
        context.emit(&Event::Notice {
            message: format!(
                "the spool keeps an artifact that nobody needs: {}",
                error.one_line()
            ),
        });
    }
}
