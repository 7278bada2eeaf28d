//! The planner threads of a worker: one a repository, so that a repository that hangs holds up no other.
//! Knows nothing of how a plan is made.

use std::collections::{HashMap, HashSet};
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::{Context, planner};
use crate::error::Result;

/// How many repositories are planned at the same time: each costs a thread and at most one svnlook.
const AT_ONCE: usize = 8;

/// Which repositories are being planned, and which rest.
#[derive(Debug, Default)]
pub(super) struct Planners {
    active: HashSet<i64>,
    resting: HashMap<i64, Instant>,
}

impl Planners {
    /// Whether any repository is being planned.
    pub(super) fn are_at_work(&self) -> bool {
        !self.active.is_empty()
    }

    /// Starts a thread for each of the repositories that are due; `done` hears of its end.
    pub(super) fn start<'scope, 'env: 'scope>(
        &mut self,
        context: &'env Context,
        scope: &'scope Scope<'scope, 'env>,
        due: &[i64],
        done: &(impl Fn(i64, Result<()>) + Clone + Send + 'scope),
    ) {
        self.resting.retain(|_, until| *until > Instant::now());
        for &repository in due {
            if self.active.len() >= AT_ONCE {
                return;
            }
            if self.resting.contains_key(&repository) || !self.active.insert(repository) {
                continue;
            }
            let done = done.clone();
            scope.spawn(move || {
                let result = super::upkeep::catch(|| planner::plan_all(context, repository));
                done(repository, result);
            });
        }
    }

    /// A repository's thread has ended; it is not planned again before `pause` is over.
    pub(super) fn ended(&mut self, repository: i64, pause: Duration) {
        self.active.remove(&repository);
        self.resting.insert(repository, Instant::now() + pause);
    }
}
