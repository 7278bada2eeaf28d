//! What a worker does beside planning and delivering: takes up what dead workers left, sweeps, and prunes.
//! Decides nothing about a delivery of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{TimeDelta, Utc};

use super::{Context, presence};
use crate::domain::event::Event;
use crate::error::Result;
use crate::fail_points;
use crate::journal::{Journal, PruneCursor, Pruned};

/// How often a worker looks for something to prune.
pub(super) const PRUNE_EVERY: Duration = Duration::from_hours(1);
/// Between two transactions that prune: hooks and lanes write there.
const PRUNE_PAUSE: Duration = Duration::from_millis(20);

/// Takes the running deliveries of dead workers away from them.
pub(super) fn rescue(context: &Context, journal: &mut Journal, me: i64) -> Result<()> {
    for dead in journal.workers_with_running(me)? {
        if !presence::bury_if_dead(&context.state, dead) {
            continue;
        }
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

/// Prunes what was settled longer ago than `keep_history`, until nothing is left to prune or the worker ends.
pub(super) fn prune(context: &Context, finishing: &AtomicBool) -> Result<()> {
    let now = Utc::now();
    let keep = i64::try_from(context.settings.keep_history_s)
        .ok()
        .and_then(TimeDelta::try_seconds);
    let Some(before) = keep.and_then(|keep| now.checked_sub_signed(keep)) else {
        return Ok(());
    };
    let mut journal = context.journal()?;
    let mut cursor = PruneCursor::default();
    let mut all = Pruned::default();
    while !all.is_over && !context.stop.is_raised() && !finishing.load(Ordering::SeqCst) {
        let pruned = journal.prune(before, &mut cursor, now)?;
        all.deliveries += pruned.deliveries;
        all.batches += pruned.batches;
        all.is_over = pruned.is_over;
        if !all.is_over {
            std::thread::sleep(PRUNE_PAUSE);
        }
    }
    if all.batches > 0 || all.deliveries > 0 {
        context.emit(&Event::Pruned {
            batches: all.batches,
            deliveries: all.deliveries,
        });
    }
    Ok(())
}
