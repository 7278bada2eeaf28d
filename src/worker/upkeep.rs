//! What a worker does beside planning and delivering: takes up what dead workers left, and sweeps. Decides
//! nothing about a delivery of its own.

use std::time::Duration;

use chrono::Utc;

use super::{Context, Role, presence};
use crate::domain::event::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::fail_points;
use crate::journal::{Journal, LaneHead};

/// Pause of a worker that found no room to enter itself in the journal.
const ENTER_PAUSE: Duration = Duration::from_secs(1);

/// Opens the journal. A worker that serves everybody looks first whether it is whole, while nothing hangs
/// on it yet; somebody at a terminal is not kept waiting for that.
pub(super) fn journal_to_work_on(context: &Context, role: Role) -> Result<Journal> {
    let journal = context.journal()?;
    if role != Role::Foreground {
        journal.check_whole()?;
    }
    Ok(journal)
}

/// Enters this process as a worker. One that a hook started waits for room on a full disk: the hook is gone,
/// and nobody would start another one.
pub(super) fn enter(context: &Context, journal: &mut Journal, role: Role) -> Result<i64> {
    let mut reported = false;
    loop {
        match journal.enter_worker(std::process::id(), role.as_str(), Utc::now()) {
            Err(error)
                if error.kind == ErrorKind::NoRoom
                    && role == Role::Detached
                    && !context.stop.is_raised() =>
            {
                if !std::mem::replace(&mut reported, true) {
                    presence::keep_failure(&context.state, &error.one_line());
                    context.emit(&Event::Notice {
                        message: format!("{}; trying on", error.one_line()),
                    });
                }
                std::thread::sleep(ENTER_PAUSE);
            }
            other => return other,
        }
    }
}

/// Takes the running deliveries of dead workers away from them.
pub(super) fn rescue(context: &Context, journal: &mut Journal, me: i64) -> Result<()> {
    for dead in journal.workers_with_running(me)? {
        if !presence::bury_if_dead(&context.state, dead) {
            continue;
        }
        fail_points::hit("worker.rescuing");
        let rescued = journal.rescue(dead, Utc::now())?;
        fail_points::hit("worker.rescued");
        for delivery in rescued {
            context.emit(&Event::Rescued {
                delivery,
                worker: dead,
            });
        }
    }
    Ok(())
}

/// Removes what a purge had to leave in the spool because somebody was exporting.
pub(super) fn sweep(context: &Context, journal: &Journal) {
    let swept = context
        .spool
        .sweep(&|sha256| journal.artifact_is_needed(sha256));
    if let Err(error) = swept {
        context.emit(&Event::Notice {
            message: format!("sweeping the spool: {}", error.one_line()),
        });
    }
}

/// Has those go on that wait for room in the spool, the oldest first, as far as there is room now.
pub(super) fn see_to_room(
    context: &Context,
    journal: &mut Journal,
    heads: &mut [LaneHead],
) -> Result<()> {
    let now = Utc::now();
    let mut room = None;
    for head in heads {
        if !head.wants_room || head.is_ready(now) {
            continue;
        }
        let Some(wanted) = journal.room_wanted(&head.lane)? else {
            continue;
        };
        let is_there = wanted
            .sha256
            .is_some_and(|sha256| context.spool.has(&sha256));
        if !is_there {
            let left = match room {
                Some(left) => left,
                None => context
                    .spool
                    .room(&|sha256| journal.artifact_want(sha256))?,
            };
            room = Some(left);
            if left < wanted.bytes {
                continue;
            }
            room = Some(left - wanted.bytes);
        }
        journal.room_appeared(&head.lane, now)?;
        head.due_at = now;
    }
    Ok(())
}

/// A panic of a thread is a bug, and an error of that thread alone.
pub(super) fn catch<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::state("a bug in auto-dispatcher: a thread panicked")))
}
