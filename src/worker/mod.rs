//! The worker: plans what is recorded, claims lanes, runs attempts, settles them, and shuts down. It
//! decides nothing that `domain` can decide, and prints nothing: it reports events.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
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
mod exports;
mod incoming;
mod lane;
mod leftovers;
pub mod parking;
mod pause;
pub mod planner;
mod planners;
pub mod presence;
mod pruner;
mod role;
pub mod scan;
mod sessions;
pub mod tellers;
pub mod underway;
mod upkeep;

pub use coordinator::work;
pub use ending::{Ended, Until};
pub use exports::Exports;
pub use incoming::Notes;
pub use role::Role;

/// How many connections to the journal are kept for the next thread that wants one.
const IDLE_JOURNALS_MAX: usize = 4;

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
    /// Set when a delivery was settled as failed or unknown.
    pub trouble: AtomicBool,
    /// Who exports what just now, so that the targets of a package share one export.
    pub exports: Exports,
    /// Tells other processes how far running deliveries are.
    pub board: underway::Board,
    /// Connections to the journal that nobody uses at the moment.
    pub idle_journals: Mutex<Vec<Journal>>,
    /// Sessions that lanes have left open.
    pub parking: parking::Parking,
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

    /// Has `work` done on a connection to the journal that another thread may have had before: one that is open knows
    /// the schema and its statements already.
    pub(crate) fn with_journal<T>(
        &self,
        work: impl FnOnce(&mut Journal) -> Result<T>,
    ) -> Result<T> {
        let idle = lock(&self.idle_journals).pop();
        let mut journal = match idle.filter(Journal::is_still_there) {
            Some(journal) => journal,
            None => self.journal()?,
        };
        let done = work(&mut journal);
        let mut idle = lock(&self.idle_journals);
        if done.is_ok() && idle.len() < IDLE_JOURNALS_MAX {
            idle.push(journal);
        }
        done
    }

    pub(crate) fn emit(&self, event: &Event) {
        self.board.hear(event);
        (self.report)(event);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        *lock(&self.0) = Instant::now();
    }

    /// How long ago that was.
    pub fn age(&self) -> Duration {
        let last = *lock(&self.0);
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
