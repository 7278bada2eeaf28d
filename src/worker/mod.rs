//! The worker: plans what is recorded, claims lanes, runs attempts, settles them, and shuts down. It
//! decides nothing that `domain` can decide, and prints nothing: it reports events.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::settings::Settings;
use crate::domain::event::Event;
use crate::error::Result;
use crate::journal::Journal;
use crate::source::svnlook::Svnlook;
use crate::spool::Spool;
use crate::state_dir::StateDir;
use crate::transport::{StopFlag, Surroundings};

mod attempt;
mod catch_up;
pub mod configurations;
mod coordinator;
pub mod counting;
pub mod detach;
mod ending;
mod incoming;
mod lane;
mod leftovers;
pub mod planner;
mod planners;
pub mod presence;
mod pruner;
pub mod scan;
mod sessions;
pub mod tellers;
pub mod underway;
mod upkeep;

pub use coordinator::{Role, work};
pub use ending::{Ended, Until};
pub use incoming::Notes;

/// What every thread of a worker shares.
pub struct Context {
    /// Where everything lies.
    pub state: StateDir,
    /// `workers`, `plan_retry` and so on.
    pub settings: Settings,
    /// Artifacts.
    pub spool: Spool,
    /// Subversion.
    pub svnlook: Svnlook,
    /// Home, agent and known_hosts files.
    pub surroundings: Surroundings,
    /// Rules, netrc and secrets, read when they are needed.
    pub configurations: configurations::Configurations,
    /// Told to end.
    pub stop: StopFlag,
    /// Wake-ups: a hook recorded something, a signal came.
    pub wake: Wake,
    /// Hears of everything that happens.
    pub report: Box<dyn Fn(&Event) + Send + Sync>,
    /// Runs something that reports very much at a stretch, which may be written in one go.
    pub together: fn(&mut dyn FnMut()),
    /// Set when a delivery was settled as failed or unknown.
    pub trouble: AtomicBool,
    /// One lock for each package that is being exported, so that its targets share one export.
    pub exports: Exports,
    /// Tells other processes how far running deliveries are.
    pub board: underway::Board,
    /// When the worker last looked at its work.
    pub pulse: Pulse,
    /// Where hooks of other users leave notes, if they may.
    pub notes: Option<Notes>,
    /// What it takes to tell people.
    pub telling: tellers::Telling,
}

impl Context {
    /// A connection to the journal for the calling thread.
    pub fn journal(&self) -> Result<Journal> {
        let journal = Journal::open(&self.state.journal())?;
        Ok(journal.telling(&self.telling.subscriptions))
    }

    /// Where the plans of a repository are serialised: one planner at a time, in all processes.
    pub fn plan_lock(&self, repository: i64) -> PathBuf {
        self.state.workers().join(format!("plan-{repository}.lock"))
    }

    pub(crate) fn emit(&self, event: &Event) {
        self.board.hear(event);
        (self.report)(event);
    }
}

/// When the main loop last went round: one that hangs is told by it.
#[derive(Debug)]
pub struct Pulse(Mutex<Instant>);

impl Default for Pulse {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Pulse {
    fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long ago that was.
    pub fn age(&self) -> Duration {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.elapsed()
    }
}

/// A channel that holds at most one wake-up.
#[derive(Debug, Clone)]
pub struct Wake {
    sender: Sender<()>,
    receiver: Receiver<()>,
}

impl Default for Wake {
    fn default() -> Self {
        let (sender, receiver) = bounded(1);
        Self { sender, receiver }
    }
}

impl Wake {
    /// Wakes the worker, now or when it next sleeps.
    pub fn now(&self) {
        // Full means that a wake-up is under way already.
        let _ = self.sender.try_send(());
    }
}

/// Locks by package.
#[derive(Debug, Default)]
pub struct Exports(Mutex<HashMap<i64, Arc<Mutex<()>>>>);

impl Exports {
    /// Runs `export` while no other thread of this process exports the same package.
    fn one_at_a_time<T>(&self, package_id: i64, export: impl FnOnce() -> T) -> T {
        let lock = Arc::clone(
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(package_id)
                .or_default(),
        );
        let result = {
            let _turn = lock.lock().unwrap_or_else(PoisonError::into_inner);
            export()
        };
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&lock) <= 2 {
            locks.remove(&package_id);
        }
        result
    }
}
