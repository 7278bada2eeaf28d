//! Scanners as processes want them: beside a worker until it is told to stop, or once. Knows what a scanner is asked
//! for, and not how it does that.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::lock::lock;
use super::{REST, Scanner};
use crate::domain::drop_directory::DropTerms;
use crate::domain::event::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::state_dir::StateDir;
use crate::worker::coordinator::work;
use crate::worker::ending::{Ended, Until};
use crate::worker::{Context, Role};

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
    look_for_all(jobs)?;
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
/// left for the next time. Whether there is something that cannot be taken.
pub fn scan_once(context: &Arc<Context>, jobs: &[Job]) -> Result<bool> {
    look_for_all(jobs)?;
    let is_left = AtomicBool::new(false);
    at_the_same_time(context, jobs, &|scanner| {
        is_left.fetch_or(scanner.scan_once()?, Ordering::SeqCst);
        Ok(())
    })?;
    Ok(is_left.into_inner())
}

/// Has the files leave whose deliveries are done, and reads what was not read yet. Where another process has begun to
/// scan meanwhile, that is its business.
pub fn finish_once(context: &Arc<Context>, jobs: &[Job]) -> Result<()> {
    match at_the_same_time(context, jobs, &|scanner| scanner.finish_once()) {
        Err(error) if error.kind == ErrorKind::State => Ok(()),
        other => other,
    }
}

/// Forgets what is known of a directory, so that the next scan takes stock of it again. Whether it was known.
pub fn forget(state: &StateDir, journal: &mut Journal, directory: &Path) -> Result<bool> {
    let known = journal.drop_directories()?;
    let Some(row) = known.iter().find(|row| row.path == directory) else {
        return Ok(false);
    };
    let _lock = lock(state, row, false)?;
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
fn keep_scanning(context: &Arc<Context>, job: &Job) -> Result<()> {
    let mut told = String::new();
    while !context.stop.is_raised() {
        let error = match Scanner::new(context, job).and_then(|mut scanner| scanner.run()) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if job.typed || error.kind == ErrorKind::Damaged {
            return Err(error);
        }
        let message = format!("{}; trying on", error.one_line());
        if message != told {
            told.clone_from(&message);
            context.emit(&Event::Notice { message });
        }
        context.stop.wait(REST, None);
    }
    Ok(())
}

/// Looks before anything is done whether all directories are there that somebody has typed.
pub(super) fn look_for_all(jobs: &[Job]) -> Result<()> {
    jobs.iter()
        .filter(|job| job.typed)
        .try_for_each(|job| look_for(&job.terms.directory))
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
