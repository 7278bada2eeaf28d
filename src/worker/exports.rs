//! Who exports what just now, over all lanes of this process: one export for all targets of a package, one dump for
//! all packages of a batch. Knows nothing of how a package is exported.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::lock;
use crate::domain::ahead::Progress;
use crate::source::svnlook::Begun;

/// How often somebody who waits for another lane's dump looks whether to go on without it.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// More batches than this are not remembered: a forgotten one costs a dump.
const REMEMBERED_MAX: usize = 1000;

/// Locks by package, and dumps by batch.
#[derive(Debug, Default)]
pub struct Exports {
    packages: Mutex<HashMap<i64, Arc<Mutex<()>>>>,
    batches: Mutex<HashMap<i64, Arc<Ahead>>>,
    /// The last dump that was begun, and for which batch.
    begun: Mutex<Option<(i64, Begun)>>,
}

/// What is exported ahead of a batch.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_running: bool,
    progress: Progress,
}

/// The turn of one lane to export ahead for all.
pub(super) struct Turn<'a> {
    ahead: &'a Ahead,
    /// Which packages were looked for; none where it broke off, and there is to be no other one.
    read: Option<(i64, i64)>,
}

impl Exports {
    /// Runs `export` while no other thread of this process exports the same package.
    pub(super) fn one_at_a_time<T>(&self, package_id: i64, export: impl FnOnce() -> T) -> T {
        let own = Arc::clone(lock(&self.packages).entry(package_id).or_default());
        let result = {
            let _turn = lock(&own);
            export()
        };
        let mut locks = lock(&self.packages);
        if Arc::strong_count(&own) <= 2 {
            locks.remove(&package_id);
        }
        result
    }

    /// A dump was begun for a batch; the one before is forgotten.
    pub(super) fn begin(&self, batch: i64, dump: Begun) {
        *lock(&self.begun) = Some((batch, dump));
    }

    /// Takes the dump that was begun for a batch, if there is one.
    pub(super) fn begun(&self, batch: i64) -> Option<Begun> {
        let mut begun = lock(&self.begun);
        begun.take_if(|(of, _)| *of == batch).map(|(_, dump)| dump)
    }

    /// What is exported ahead of a batch.
    pub(super) fn ahead(&self, batch: i64) -> Arc<Ahead> {
        let mut batches = lock(&self.batches);
        if batches.len() >= REMEMBERED_MAX {
            batches.retain(|_, ahead| Arc::strong_count(ahead) > 1);
        }
        Arc::clone(batches.entry(batch).or_default())
    }
}

impl Ahead {
    /// The turn to export ahead, if that may bring the package. While another lane has it, this one waits until
    /// `may_go`, which is asked whenever that one has got something, says that there is no need to wait.
    pub(super) fn turn(&self, package: i64, mut may_go: impl FnMut() -> bool) -> Option<Turn<'_>> {
        let mut state = lock(&self.state);
        while state.is_running {
            drop(state);
            if may_go() {
                return None;
            }
            state = lock(&self.state);
            if state.is_running {
                let waited = self.changed.wait_timeout(state, LOOK_EVERY);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        if !state.progress.may_bring(package) {
            return None;
        }
        state.is_running = true;
        Some(Turn {
            ahead: self,
            read: None,
        })
    }
}

impl Turn<'_> {
    /// Something is there now.
    pub(super) fn tell(&self) {
        self.ahead.changed.notify_all();
    }

    /// Ends it in order: what lies between these two was looked for, and another turn may bring what does not. One that
    /// merely ends is the batch's last one.
    pub(super) fn end(mut self, first: i64, last: i64) {
        self.read = Some((first, last));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.ahead.state);
        state.is_running = false;
        match self.read {
            Some((first, last)) => state.progress.read(first, last),
            None => state.progress.end(),
        }
        drop(state);
        self.ahead.changed.notify_all();
    }
}
