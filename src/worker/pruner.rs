//! Pruning beside the work: a thread at a worker's start and then once in a while, which gives way to everybody
//! who writes. What may go is the journal's to say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};

use super::Context;
use super::upkeep::catch;
use crate::domain::event::Event;
use crate::error::Result;
use crate::journal::{PruneCursor, Pruned};

/// How often a worker looks for something to prune.
const EVERY: Duration = Duration::from_hours(1);
/// Between two transactions, at least: hooks and lanes write there.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// And at most, for a worker that is to end does so soon.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often as long as a transaction took the lock is left to others: who wants it looks in moments only.
const PAUSE_FACTOR: u32 = 4;

/// When it is pruned.
pub(super) struct Pruner {
    next_at: Instant,
    /// Whether the thread is at it.
    pub(super) is_busy: bool,
}

impl Pruner {
    pub(super) fn new() -> Self {
        Self {
            next_at: Instant::now(),
            is_busy: false,
        }
    }

    /// Starts the thread if it is time; `done` is told how it ended.
    pub(super) fn start<'scope, 'a>(
        &mut self,
        scope: &'scope Scope<'scope, 'a>,
        context: &'a Context,
        finishing: &'a AtomicBool,
        done: impl FnOnce(Result<()>) + Send + 'scope,
    ) {
        if self.is_busy || Instant::now() < self.next_at {
            return;
        }
        self.is_busy = true;
        self.next_at = Instant::now() + EVERY;
        scope.spawn(move || done(catch(|| prune(context, finishing))));
    }

    /// The thread has ended.
    pub(super) fn note(&mut self, context: &Context, result: Result<()>) {
        self.is_busy = false;
        if let Err(error) = result {
            context.emit(&Event::Notice {
                message: format!("pruning: {}", error.one_line()),
            });
        }
    }
}

/// Prunes dropped files that went and what was settled longer ago than `keep_history`, until nothing is left to prune or the worker ends.
fn prune(context: &Context, finishing: &AtomicBool) -> Result<()> {
    let now = Utc::now();
    let keep = i64::try_from(context.settings.keep_history_s)
        .ok()
        .and_then(TimeDelta::try_seconds);
    let Some(before) = keep.and_then(|keep| now.checked_sub_signed(keep)) else {
        return Ok(());
    };
    let mut journal = context.journal()?;
    while !context.stop.is_raised()
        && !finishing.load(Ordering::SeqCst)
        && !journal.prune_dropped(before)?
    {
        std::thread::sleep(PAUSE_MIN);
    }
    journal.prune_notices(before)?;
    let mut cursor = PruneCursor::default();
    let mut all = Pruned::default();
    while !all.is_over && !context.stop.is_raised() && !finishing.load(Ordering::SeqCst) {
        let begun = Instant::now();
        let pruned = journal.prune(before, &mut cursor, now)?;
        all.deliveries += pruned.deliveries;
        all.batches += pruned.batches;
        all.is_over = pruned.is_over;
        if !all.is_over {
            let held = begun.elapsed() * PAUSE_FACTOR;
            std::thread::sleep(held.clamp(PAUSE_MIN, PAUSE_MAX));
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
