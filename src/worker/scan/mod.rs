//! Scanning a drop directory: what comes there and settles becomes a batch, once. Decides nothing that `domain` can
//! decide; delivers nothing, for that is the lanes' business.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;

use super::Context;
use super::coordinator::{Role, work};
use super::ending::{Ended, Until};
use crate::domain::drop_directory::{DropTerms, FileStamp, Settling};
use crate::domain::event::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::fail_points;
use crate::journal::{DropDirectoryRow, Journal};
use crate::source::directory::{Root, Watch, eventless_file_system, missing_mount, mount_point_of};

use crate::state_dir::StateDir;

mod digests;
mod happen;
mod leaving;
mod take;
mod tree;
mod walk;

use digests::Digests;
use leaving::Leaving;
use tree::Tree;

/// Longest sleep: how soon a request to end, or a directory that is back, is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// Pause after trouble with our own journal or disk, and before a directory's lock is tried again.
const REST: Duration = Duration::from_secs(2);
/// Files that are looked at in one go.
const AT_ONCE: usize = 1000;
/// Complaints that are remembered, so that each is made once.
const TOLD_MAX: usize = 10_000;

/// A drop directory to scan.
#[derive(Debug, Clone)]
pub struct Job {
    /// Which, and how.
    pub terms: DropTerms,
    /// The rules that its files are dispatched by.
    pub rules_file: PathBuf,
    /// The netrc that was named on the command line.
    pub netrc_file: Option<PathBuf>,
    /// Whether a person waits at a terminal: who has mistyped a directory is told so, and not kept waiting.
    pub typed: bool,
}

/// Scans the directories, and works the journal like any worker, until it is told to stop.
pub fn work_and_scan(context: &Arc<Context>, jobs: &[Job]) -> Result<Ended> {
    std::thread::scope(|scope| {
        let scanners: Vec<_> = jobs
            .iter()
            .map(|job| {
                scope.spawn(move || end_all_on_error(context, || keep_scanning(context, job)))
            })
            .collect();
        let ended = work(context, Role::Background, &Until::Told);
        context.stop.raise();
        let scanned = scanners
            .into_iter()
            .try_for_each(|scanner| scanner.join().unwrap_or_else(|_| Err(bug())));
        scanned.and(ended)
    })
}

/// Looks through the directories once, and records what is new and settles; what still changes after a while is
/// left for the next time.
pub fn scan_once(context: &Arc<Context>, jobs: &[Job]) -> Result<()> {
    at_the_same_time(context, jobs, &|scanner| scanner.scan_once())
}

/// Has the files leave whose deliveries are done, and reads what was not read yet.
pub fn finish_once(context: &Arc<Context>, jobs: &[Job]) -> Result<()> {
    at_the_same_time(context, jobs, &|scanner| scanner.finish_once())
}

/// Forgets what is known of a directory, so that the next scan takes stock of it again. Whether it was known.
pub fn forget(state: &StateDir, journal: &mut Journal, directory: &Path) -> Result<bool> {
    let known = journal.drop_directories()?;
    let Some(row) = known.iter().find(|row| row.path == directory) else {
        return Ok(false);
    };
    let _lock = lock(state, row)?;
    journal.forget_drop_directory(directory)
}

fn at_the_same_time(
    context: &Arc<Context>,
    jobs: &[Job],
    scan: &(dyn Fn(&mut Scanner<'_>) -> Result<()> + Sync),
) -> Result<()> {
    std::thread::scope(|scope| {
        let scanners: Vec<_> = jobs
            .iter()
            .map(|job| {
                scope.spawn(move || Scanner::new(context, job).and_then(|mut one| scan(&mut one)))
            })
            .collect();
        scanners
            .into_iter()
            .try_for_each(|scanner| scanner.join().unwrap_or_else(|_| Err(bug())))
    })
}

fn end_all_on_error(context: &Context, scan: impl FnOnce() -> Result<()>) -> Result<()> {
    let result =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(scan)).unwrap_or_else(|_| Err(bug()));
    if result.is_err() {
        context.stop.raise();
        context.wake.now();
    }
    result
}

fn bug() -> Error {
    Error::state("a bug in auto-dispatcher: a scanner panicked; please report it with the log")
}

/// A scanner that lives as long as the process, whatever becomes of disks meanwhile.
fn keep_scanning(context: &Context, job: &Job) -> Result<()> {
    let mut is_told = false;
    while !context.stop.is_raised() {
        let error = match Scanner::new(context, job).and_then(|mut scanner| scanner.run()) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if job.typed || error.kind == ErrorKind::Damaged {
            return Err(error);
        }
        if !std::mem::replace(&mut is_told, true) {
            let message = format!("{}; trying on", error.one_line());
            context.emit(&Event::Notice { message });
        }
        sleep(context, REST);
    }
    Ok(())
}

/// Sleeps so long, or until told to stop.
fn sleep(context: &Context, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end && !context.stop.is_raised() {
        std::thread::sleep(SLEEP_MAX.min(end.saturating_duration_since(Instant::now())));
    }
}

struct Scanner<'a> {
    context: &'a Context,
    job: &'a Job,
    terms: &'a DropTerms,
    journal: Journal,
    row: DropDirectoryRow,
    /// Held, so that nobody else scans the directory.
    _lock: File,
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
    next_walk: Instant,
    /// The next walk reads every directory: something may have been missed.
    reads_all: bool,
    /// Files of the stock that the journal does not know yet.
    stock: Vec<(String, FileStamp)>,
    stock_told: Instant,
    /// Files that went and of which the journal does not know that yet.
    gone: Vec<String>,
    digests: Digests,
    leaving: Leaving,
    /// What keeps it from scanning or dispatching, by its kind.
    troubles: BTreeMap<&'static str, String>,
    /// Files that found no room, or wait behind one, with their lanes: nothing overtakes them there.
    held: BTreeMap<(i64, String), Vec<String>>,
    /// Whether it says how it scans.
    greets: bool,
    /// What was complained of, and of which file.
    told: HashSet<(String, String)>,
}

impl<'a> Scanner<'a> {
    fn new(context: &'a Context, job: &'a Job) -> Result<Self> {
        let terms = &job.terms;
        let mut journal = context.journal()?;
        if job.typed {
            look_for(&terms.directory)?;
        }
        let row = journal.drop_directory(&terms.directory, Utc::now())?;
        let lock = lock(&context.state, &row)?;
        // What an earlier process complained of may be no more.
        journal.note_drop_trouble(row.id, None)?;
        if terms.existing {
            journal.forget_stock(row.id)?;
        }
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
            next_walk: now,
            reads_all: false,
            stock: Vec::new(),
            stock_told: now,
            gone: Vec::new(),
            digests: Digests::default(),
            leaving: Leaving::default(),
            troubles: BTreeMap::new(),
            held: BTreeMap::new(),
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
            return Ok(SLEEP_MAX);
        };
        self.hear(&root)?;
        if self.next_walk <= Instant::now() {
            self.walk(&root)?;
        }
        let is_more = self.take_what_is_due(&root)?;
        self.flush_gone()?;
        self.let_leave(&root)?;
        if is_more {
            return Ok(Duration::ZERO);
        }
        let until_walk = self.next_walk.saturating_duration_since(Instant::now());
        let until_due = self
            .settling
            .next_due()
            .map(|due| due.saturating_sub(self.now()));
        let mut pause = SLEEP_MAX
            .min(until_walk)
            .min(until_due.unwrap_or(SLEEP_MAX));
        if !pause.is_zero()
            && let Some(breath) = self.digest_some(&root)?
        {
            pause = pause.min(breath);
        }
        Ok(pause)
    }

    /// One walk; then waits for what it found until that has settled, or for long enough.
    fn scan_once(&mut self) -> Result<()> {
        let quiet = Duration::from_secs(self.terms.settle_s);
        let end = Instant::now() + quiet * 2 + Duration::from_secs(2);
        loop {
            if self.context.stop.is_raised() {
                return Ok(());
            }
            let Some(root) = self.look()? else {
                let why = self
                    .troubles
                    .values()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join("; ");
                return Err(Error::source(format!("cannot scan: {why}")));
            };
            self.hear(&root)?;
            if self.walks == 0 {
                self.walk(&root)?;
            }
            let is_more = self.take_what_is_due(&root)?;
            self.flush_gone()?;
            if self.settling.is_empty() {
                return Ok(());
            }
            let is_late = Instant::now() >= end && !is_more;
            if is_late {
                for path in self.settling.paths() {
                    let file = self.terms.directory.join(path);
                    let message = format!(
                        "{} still changes, or cannot be taken; it is left for the next time",
                        file.display()
                    );
                    self.context.emit(&Event::Notice { message });
                }
                return Ok(());
            }
            let until_due = self
                .settling
                .next_due()
                .map(|due| due.saturating_sub(self.now()));
            self.rest(until_due.unwrap_or(SLEEP_MAX).min(SLEEP_MAX));
        }
    }

    fn finish_once(&mut self) -> Result<()> {
        self.greets = false;
        let Some(root) = self.look()? else {
            return Ok(());
        };
        self.let_leave(&root)?;
        while !self.context.stop.is_raised() && self.digest_some(&root)?.is_some() {}
        Ok(())
    }

    /// The time on a clock that never goes back.
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn rest(&self, pause: Duration) {
        match &self.watch {
            Some(watch) => watch.wait(pause),
            None => std::thread::sleep(pause),
        }
    }

    /// Opens the directory, if it is there. It is not kept open, so that its file system can be unmounted. Where it
    /// is another one than before, everything that was known is read from the journal again.
    fn look(&mut self) -> Result<Option<Root>> {
        let directory = &self.terms.directory;
        let root = match Root::open(directory, self.terms.follow_symlinks) {
            Ok(root) => root,
            Err(error) => {
                self.lose(&format!("{}: {error}", directory.display()));
                return Ok(None);
            }
        };
        if self.identity == Some(root.identity) {
            return Ok(Some(root));
        }
        let mounted = mount_point_of(directory);
        let missing = match (&self.row.mount_point, &mounted) {
            (Some(known), Some(now)) => {
                (known != now && known.starts_with(now)).then(|| known.clone())
            }
            (Some(_), None) => None,
            (None, _) => missing_mount(directory),
        };
        if let Some(missing) = missing {
            self.lose(&format!(
                "{}: the file system at {} is not mounted (if it is never to be again: `scan --forget {}`)",
                directory.display(),
                missing.display(),
                directory.display()
            ));
            return Ok(None);
        }
        if self.row.mount_point != mounted {
            self.journal
                .note_mount_point(self.row.id, mounted.as_deref())?;
            self.row.mount_point = mounted;
        }
        self.begin(&root)?;
        Ok(Some(root))
    }

    /// The directory is not there: it is waited for, and nothing that was in it counts as deleted.
    fn lose(&mut self, why: &str) {
        if self.identity.take().is_some() || self.watch.is_some() {
            self.forget_all();
        }
        self.trouble("directory", Some(format!("{why}; waiting for it")));
    }

    fn forget_all(&mut self) {
        self.tree = Tree::default();
        self.settling = Settling::new(Duration::from_secs(self.terms.settle_s));
        self.watch = None;
        self.suspects.clear();
        self.stock.clear();
        self.gone.clear();
        self.held.clear();
        self.digests = Digests::default();
    }

    /// Begins with the directory that is there now.
    fn begin(&mut self, root: &Root) -> Result<()> {
        self.forget_all();
        let tree = &mut self.tree;
        self.journal
            .each_known_file(self.row.id, &mut |path, stamp| tree.judge(path, stamp))?;
        self.leaving = Leaving::new();
        let shown = self.terms.directory.display();
        self.blind = match Watch::new() {
            Ok(watch) => {
                self.watch = Some(watch);
                eventless_file_system(&self.terms.directory)
                    .map(|kind| format!("{kind} does not tell what happens"))
            }
            Err(error) => Some(format!("the kernel tells nothing (inotify: {error})")),
        };
        let known = match self.row.stocked_at {
            Some(_) => format!("{} files known", self.tree.files()),
            None if self.terms.existing => {
                "for the first time, everything counts as new".to_owned()
            }
            None => "for the first time".to_owned(),
        };
        let how = match &self.blind {
            Some(why) => format!("walked every {} s: {why}", self.terms.interval_s),
            None => format!(
                "events come; walked every {} s besides",
                self.terms.interval_s
            ),
        };
        if self.greets {
            let message = format!("{shown}: scanning ({known}; {how})");
            self.context.emit(&Event::News { message });
        }
        self.identity = Some(root.identity);
        self.walks = 0;
        self.reads_all = true;
        self.next_walk = Instant::now();
        self.trouble("directory", None);
        Ok(())
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

    /// Something keeps it from scanning or dispatching, or does so no more. Told, and shown by `status`.
    fn trouble(&mut self, kind: &'static str, what: Option<String>) {
        let is_news = match &what {
            Some(what) => self.troubles.get(kind) != Some(what),
            None => self.troubles.contains_key(kind),
        };
        if !is_news {
            return;
        }
        match what {
            Some(what) => {
                self.context.emit(&Event::Notice {
                    message: what.clone(),
                });
                self.troubles.insert(kind, what);
            }
            None => {
                self.troubles.remove(kind);
            }
        }
        let all: Vec<&str> = self.troubles.values().map(String::as_str).collect();
        let all = all.join("; ");
        // A journal that cannot be written to is trouble that was told already.
        let _ = self
            .journal
            .note_drop_trouble(self.row.id, (!all.is_empty()).then_some(&all));
    }

    /// Complains of a file or directory, once for each reason.
    fn complain(&mut self, path: &str, why: &str) {
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        if self.told.insert((path.to_owned(), why.to_owned())) {
            let shown = self.terms.directory.join(path);
            let message = format!("{}: {why}", shown.display());
            self.context.emit(&Event::Notice { message });
        }
    }

    /// Nothing is wrong with a file or directory any more.
    fn praise(&mut self, path: &str) {
        if !self.told.is_empty() {
            self.told.retain(|(known, _)| known != path);
        }
    }
}

/// An error where a directory that somebody has named was never there.
fn look_for(directory: &Path) -> Result<()> {
    let failed = |error: &std::io::Error| {
        Error::io(ErrorKind::Source, "cannot scan", directory, error)
            .with_hint("name a directory that is there and can be read")
    };
    let metadata = std::fs::metadata(directory).map_err(|error| failed(&error))?;
    if !metadata.is_dir() {
        return Err(failed(&std::io::ErrorKind::NotADirectory.into()));
    }
    std::fs::read_dir(directory)
        .map(drop)
        .map_err(|error| failed(&error))
}

/// The right to scan the directory, which the kernel takes back when we die.
fn lock(state: &StateDir, row: &DropDirectoryRow) -> Result<File> {
    let path = state.workers().join(format!("drop-{}.scan", row.id));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| Error::io(ErrorKind::State, "cannot open", &path, &error))?;
    if file.try_lock().is_err() {
        return Err(Error::state(format!(
            "{} is scanned by another process already",
            row.path.display()
        ))
        .with_hint("one is enough: a `worker` scans what auto-dispatcher.cfg names; `status` lists those that live"));
    }
    Ok(file)
}
