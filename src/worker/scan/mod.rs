//! Scanning a drop directory: what comes there and settles becomes a batch, once. Decides nothing that `domain` can
//! decide; delivers nothing, for that is the lanes' business.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;

use super::Context;
use crate::domain::drop_directory::{DropTerms, FileStamp, FormerReach, Reach, Settling};
use crate::domain::event::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::fail_points;
use crate::journal::{DropDirectoryRow, Journal};
use crate::source::directory::Watch;

mod copying;
mod digests;
mod happen;
mod held;
mod jobs;
mod known;
mod leaving;
mod lock;
mod place;
mod preview;
mod reading;
mod record;
mod stock;
mod take;
mod told;
mod tree;
mod walk;

pub use jobs::{Job, finish_once, forget, scan_once, work_and_scan};
pub use preview::{Fate, Preview, Previewed, preview};

use copying::{Copying, LOOK_EVERY};
use digests::Digests;
use held::Held;
use leaving::Leaving;
use tree::Tree;

/// Longest sleep while the directory is not there, or something else is waited for that nobody tells.
const SLEEP_WAITING: Duration = Duration::from_millis(500);
/// Longest sleep: how soon it is noticed that something was mounted upon the directory.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// Pause after trouble with our own journal or disk, and before a directory's lock is tried again.
const REST: Duration = Duration::from_secs(2);
/// What happens within this time is heard at once: the longer, the longer it goes on.
const BREATH_MIN: Duration = Duration::from_millis(1);
const BREATH_MAX: Duration = Duration::from_millis(16);
/// Files that are looked at in one go.
const AT_ONCE: usize = 1000;

struct Scanner<'a> {
    context: &'a Arc<Context>,
    job: &'a Job,
    terms: &'a DropTerms,
    journal: Journal,
    row: DropDirectoryRow,
    /// Held, so that nobody else scans the directory; none: nothing is recorded.
    _lock: Option<File>,
    begun: Instant,
    tree: Tree,
    settling: Settling,
    /// Device and inode of the directory as it is scanned now; none: it is not there.
    identity: Option<(u64, u64)>,
    watch: Option<Watch>,
    /// Why the walk is all there is, in words: nothing tells what happens, or not everything.
    blind: Option<String>,
    /// Directories where something changed that no event told yet.
    suspects: HashMap<String, Instant>,
    /// The kernel watches no more directories for us.
    no_watches_left: bool,
    /// How many directories were said to be without.
    unwatched_told: usize,
    walks: u64,
    /// How many directories were read.
    readings: u64,
    next_walk: Instant,
    /// When the last walk ended, and how long it took.
    walked_at: Instant,
    walk_took: Duration,
    /// When it was last told that events were lost.
    overflow_told: Option<Instant>,
    /// The next walk reads every directory: something may have been missed.
    reads_all: bool,
    /// Files of the stock that the journal does not know yet.
    stock: Vec<(String, FileStamp)>,
    stock_told: Instant,
    /// How many files were taken stock of in this walk.
    stocked: u64,
    /// What a walk has found; the last word is whether it is whole.
    found: Vec<(String, FileStamp, bool)>,
    /// Which files the terms reach, and which the former ones did, until a walk is over.
    reach: Reach,
    former: Option<FormerReach>,
    /// Directories that could not be read when stock was taken.
    unread: HashSet<String>,
    /// A file system that has come between: what is on it is taken stock of.
    new_mount: Option<PathBuf>,
    /// Files that got their names back from us.
    returned: HashSet<String>,
    /// When broken rules are read again.
    rules_again: Option<Instant>,
    /// Files that went and of which the journal does not know that yet.
    gone: Vec<String>,
    digests: Digests,
    leaving: Leaving,
    /// What keeps it from scanning or dispatching, by its kind.
    troubles: BTreeMap<&'static str, String>,
    /// Files that found no room, or wait behind one, with their lanes: nothing overtakes them there.
    held: Held,
    copying: Option<Copying>,
    /// How long it is waited for more of what has begun to happen.
    breath: Duration,
    /// Whether it says how it scans.
    greets: bool,
    /// What was complained of, and of which file.
    told: HashSet<(String, String)>,
}

impl<'a> Scanner<'a> {
    fn new(context: &'a Arc<Context>, job: &'a Job) -> Result<Self> {
        let terms = &job.terms;
        let mut journal = context.journal()?;
        let row = journal.drop_directory(&terms.directory, Utc::now())?;
        let lock = lock::lock(&context.state, &row, terms.sub_directories)?;
        let others = journal.drop_directories()?;
        others
            .iter()
            .try_for_each(|other| lock::look_for_overlap(&context.state, terms, other))?;
        // What an earlier process complained of may be no more.
        journal.note_drop_trouble(row.id, None)?;
        Self::with(context, job, journal, row, Some(lock))
    }

    fn with(
        context: &'a Arc<Context>,
        job: &'a Job,
        mut journal: Journal,
        row: DropDirectoryRow,
        lock: Option<File>,
    ) -> Result<Self> {
        let terms = &job.terms;
        if terms.existing {
            journal.forget_stock(row.id)?;
        }
        let reach = Reach::of(terms);
        // Terms that cannot be read were written by somebody else: then nothing is known of them.
        let former = row
            .terms
            .as_ref()
            .and_then(|terms| serde_json::from_str(terms).ok());
        let former = former.and_then(|former| FormerReach::new(former, &reach));
        let now = Instant::now();
        Ok(Self {
            context,
            job,
            terms,
            journal,
            row,
            _lock: lock,
            begun: now,
            tree: Tree::default(),
            settling: Settling::default(),
            identity: None,
            watch: None,
            blind: None,
            suspects: HashMap::new(),
            no_watches_left: false,
            unwatched_told: 0,
            walks: 0,
            readings: 0,
            next_walk: now,
            walked_at: now,
            walk_took: Duration::ZERO,
            overflow_told: None,
            reads_all: false,
            stock: Vec::new(),
            stock_told: now,
            stocked: 0,
            found: Vec::new(),
            reach,
            former,
            unread: HashSet::new(),
            new_mount: None,
            returned: HashSet::new(),
            rules_again: None,
            gone: Vec::new(),
            digests: Digests::default(),
            leaving: Leaving::default(),
            troubles: BTreeMap::new(),
            held: Held::default(),
            copying: None,
            breath: BREATH_MIN,
            greets: true,
            told: HashSet::new(),
        })
    }

    /// Scans until told to stop.
    fn run(&mut self) -> Result<()> {
        while !self.context.stop.is_raised() {
            let pause = match self.turn() {
                Ok(pause) => {
                    self.trouble("journal", None);
                    pause
                }
                Err(error) if error.kind == ErrorKind::Interrupted => break,
                Err(error) if error.kind == ErrorKind::Damaged => return Err(error),
                Err(error) => {
                    self.journal.check_that_it_is_still_there()?;
                    self.trouble("journal", Some(error.one_line()));
                    REST
                }
            };
            self.rest(pause);
        }
        Ok(())
    }

    /// Does what there is to do now. How long nothing will be, unless something happens.
    fn turn(&mut self) -> Result<Duration> {
        let Some(root) = self.look()? else {
            return Ok(SLEEP_WAITING);
        };
        self.hear(&root)?;
        if self.next_walk <= Instant::now() {
            self.walk(&root)?;
        }
        self.flush_gone()?;
        // Before anything is taken: what stepped aside when somebody was killed must not meet its successor.
        let is_more = self.let_leave(&root)?;
        self.finish_copying(&root)?;
        self.take_what_is_due(&root)?;
        self.see_whether_there_is_room();
        if is_more {
            return Ok(Duration::ZERO);
        }
        let until_walk = self.next_walk.saturating_duration_since(Instant::now());
        let mut pause = self.until_due().min(SLEEP_MAX).min(until_walk);
        if self.copying.is_some() {
            pause = pause.min(LOOK_EVERY);
        }
        if let Some(until) = self.until_somebody_may_leave() {
            pause = pause.min(until);
        }
        if !self.suspects.is_empty() {
            pause = pause.min(SLEEP_WAITING);
        }
        if !pause.is_zero()
            && let Some(breath) = self.digest_some(&root)?
        {
            pause = pause.min(breath);
        }
        Ok(pause)
    }

    /// How long until something may be taken.
    fn until_due(&self) -> Duration {
        let due = self.settling.next_due();
        let until_due = due.map_or(SLEEP_MAX, |due| due.saturating_sub(self.now()));
        let until_rules = self.rules_again.map_or(Duration::ZERO, |again| {
            again.saturating_duration_since(Instant::now())
        });
        until_due.max(until_rules)
    }

    /// One walk; then waits for what it found until that has settled, or for long enough. Whether something cannot be
    /// taken.
    fn scan_once(&mut self) -> Result<bool> {
        let patience = Duration::from_secs(self.terms.settle_s) * 2 + Duration::from_secs(2);
        let mut end = Instant::now();
        loop {
            if self.context.stop.is_raised() {
                return Ok(false);
            }
            let Some(root) = self.look()? else {
                let why = self.troubles.values().cloned().collect::<Vec<_>>();
                return Err(Error::source(format!("cannot scan: {}", why.join("; "))));
            };
            self.hear(&root)?;
            if self.walks == 0 {
                self.walk(&root)?;
                end = Instant::now() + patience;
            }
            self.flush_gone()?;
            while !self.context.stop.is_raised() && self.let_leave(&root)? {}
            self.finish_copying(&root)?;
            self.take_what_is_due(&root)?;
            if self.settling.is_empty() {
                return Ok(false);
            }
            if self.copying.is_some() {
                end = Instant::now() + patience;
                self.rest(LOOK_EVERY);
                continue;
            }
            let until_due = self.until_due();
            if Instant::now() >= end && !until_due.is_zero() {
                return Ok(self.leave_for_next_time());
            }
            self.rest(until_due.min(SLEEP_WAITING));
        }
    }

    /// Tells of what is not taken, unless it was complained of. Whether it was.
    fn leave_for_next_time(&self) -> bool {
        let mut is_left = !self.held.is_empty();
        for path in self.settling.paths() {
            if self.told.iter().any(|(told, _)| told == path) {
                is_left = true;
                continue;
            }
            let file = self.terms.directory.join(path);
            let message = format!(
                "{}: still changes, or waits for room; it is left for the next time",
                file.display()
            );
            self.context.emit(&Event::Notice { message });
        }
        is_left
    }

    fn finish_once(&mut self) -> Result<()> {
        self.greets = false;
        let Some(root) = self.look()? else {
            return Ok(());
        };
        while !self.context.stop.is_raised() && self.let_leave(&root)? {}
        while !self.context.stop.is_raised() && self.digest_some(&root)?.is_some() {}
        Ok(())
    }

    /// The time on a clock that never goes back.
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Sleeps so long, or until something happens. Whoever writes without end wakes us now and then, and not each time.
    fn rest(&mut self, pause: Duration) {
        let begun = Instant::now();
        let watch = self.watch.as_ref().map(Watch::descriptor);
        self.context.stop.wait(pause, watch);
        self.breath = if begun.elapsed() < BREATH_MAX {
            (self.breath * 2).min(BREATH_MAX)
        } else {
            BREATH_MIN
        };
        std::thread::sleep(self.breath.min(pause.saturating_sub(begun.elapsed())));
    }

    /// Whether the directory's files of before the first start are known.
    fn is_stocked(&self) -> bool {
        self.row.stocked_at.is_some()
    }

    fn flush_gone(&mut self) -> Result<()> {
        for paths in self.gone.chunks(AT_ONCE) {
            self.journal.note_gone(self.row.id, paths, Utc::now())?;
        }
        self.gone.clear();
        Ok(())
    }

    fn flush_stock(&mut self) -> Result<()> {
        if self.stock.is_empty() {
            return Ok(());
        }
        self.journal.take_stock(self.row.id, &self.stock)?;
        fail_points::hit("scan.stock");
        self.stock.clear();
        Ok(())
    }
}
