//! What a worker does beside planning and delivering: takes up what dead workers left, and sweeps. Decides
//! nothing about a delivery of its own.

use chrono::Utc;

use super::{Context, presence};
use crate::domain::event::Event;
use crate::error::Result;
use crate::fail_points;
use crate::journal::Journal;

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
