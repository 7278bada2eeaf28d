//! Catching up with hooks that could not record: compares each repository's youngest revision, read from
//! its files, with the ledger. Starts no process. What it records is planned like anything else.

use std::path::Path;
use std::thread::Scope;
use std::time::{Duration, Instant};

use chrono::Utc;

use super::{Context, upkeep};
use crate::domain::event::Event;
use crate::error::Result;
use crate::fail_points;
use crate::journal::{LedgerRow, Missing};
use crate::source::repository_files;

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(30);

/// When to look next.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    is_at_work: bool,
    last: Option<Instant>,
}

impl CatchUp {
    /// Whether a look is under way.
    pub(super) fn is_at_work(&self) -> bool {
        self.is_at_work
    }

    /// Looks in a thread of its own, for a file system that hangs must hold up nothing else; `done` hears of
    /// its end. Does nothing before the next look is due.
    pub(super) fn start<'scope, 'env: 'scope>(
        &mut self,
        context: &'env Context,
        scope: &'scope Scope<'scope, 'env>,
        done: impl FnOnce(Result<()>) + Send + 'scope,
    ) {
        let rests = self.last.is_some_and(|last| last.elapsed() < EVERY);
        if !self.is_at_work && !rests {
            self.is_at_work = true;
            scope.spawn(move || done(upkeep::catch(|| look(context))));
        }
    }

    /// A look has ended.
    pub(super) fn ended(&mut self) {
        self.is_at_work = false;
        self.last = Some(Instant::now());
    }
}

/// Records what is missing above the ledger of each repository.
fn look(context: &Context) -> Result<()> {
    let mut journal = context.journal()?;
    for ledger in journal.ledgers()? {
        if context.stop.is_raised() {
            return Ok(());
        }
        let Some(youngest) = youngest_of(&ledger) else {
            continue;
        };
        let most = context.settings.catch_up_max;
        let missing = journal.catch_up(&ledger, youngest, most, Utc::now())?;
        if let Missing::Recorded(count) = missing {
            context.emit(&Event::Notice {
                message: format!(
                    "{}: {count} revisions up to r{youngest} were committed and not recorded by the hook; they are \
                     recorded now",
                    ledger.path.display()
                ),
            });
        }
        tell_of_gaps(context, &ledger.path, &missing);
        if missing != Missing::Nothing {
            fail_points::hit("worker.caught_up");
            context.wake.now();
        }
    }
    Ok(())
}

/// The youngest revision, if the repository is there and still the one of the ledger.
fn youngest_of(ledger: &LedgerRow) -> Option<u64> {
    // Before the UUID: should another repository take the place between the two, the UUID tells.
    let youngest = repository_files::youngest(&ledger.path)?;
    let uuid = repository_files::read_uuid(&ledger.path).ok()?;
    // A path that is a symbolic link now belongs to another repository's ledger.
    let is_itself = repository_files::canonical(&ledger.path).ok()? == ledger.path;
    (uuid == ledger.uuid && is_itself).then_some(youngest)
}

/// Says once that revisions are too many to be dispatched unasked.
pub(super) fn tell_of_gaps(context: &Context, repository: &Path, missing: &Missing) {
    let Missing::Gaps(gaps) = missing else {
        return;
    };
    for &(low, high) in gaps {
        context.emit(&Event::Notice {
            message: format!(
                "{}: no hook recorded r{low}:r{high} (revisions: {}), past catch_up_max ({}): they are not dispatched; \
                 `replay` or `dismiss` them (`status` shows the commands)",
                repository.display(),
                high - low + 1,
                context.settings.catch_up_max
            ),
        });
    }
}
