//! Progress of commands in the foreground: bars where stderr is a terminal, lines elsewhere. Nothing is drawn in the first
//! second, and nothing stays when it is over. Whatever else is written to the terminal goes through [`aside`].

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use chrono::Utc;

use super::screen::Screen;
use super::signals;
use crate::domain::event::Event;
use crate::journal::{Awaited, Journal};
use crate::state_dir::StateDir;

mod board;
mod layout;
mod lines;
mod rate;
mod surface;
#[cfg(test)]
mod tests;

use board::{Board, Now};
use layout::{Line, Space};
use lines::Reporter;
use surface::Drawing;

pub(super) use board::Unit;

/// What is over sooner needs no bars.
const QUIET: Duration = Duration::from_secs(1);
/// Pause between two frames.
const FRAME: Duration = Duration::from_millis(100);
/// Pause between two looks at the journal; longer where a look takes long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_FACTOR: u32 = 20;
/// Deliveries of others that are asked for.
const OTHERS_MAX: usize = 100;
/// How long somebody who ends in haste waits for a frame to be finished.
const HASTE: Duration = Duration::from_millis(200);

/// What is on the terminal; none: nobody draws.
static DRAWING: Mutex<Option<Drawing>> = Mutex::new(None);

/// The progress of one command.
#[derive(Clone)]
pub(super) struct Progress(Arc<Inner>);

struct Inner {
    start: Instant,
    /// None: there are no bars.
    board: Option<Mutex<Board>>,
    screen: Screen,
    followed: Mutex<Option<Followed>>,
    reporter: Reporter,
}

/// What the journal is asked about.
#[derive(Clone)]
struct Followed {
    journal: PathBuf,
    awaited: Option<Awaited>,
}

/// Something that takes long before any delivery; it is over when this is dropped.
pub(super) struct Stage {
    progress: Progress,
    what: String,
    id: Option<u64>,
}

impl Progress {
    /// Progress of a command that was just typed.
    pub(super) fn begin() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let has_bars = std::io::stderr().is_terminal() && !dumb;
        let inner = Arc::new(Inner {
            start: Instant::now(),
            board: has_bars.then(Mutex::default),
            screen: Screen::stderr(),
            followed: Mutex::default(),
            reporter: Reporter::new(has_bars),
        });
        if has_bars {
            *drawing() = Some(Drawing::new());
            // A terminal that is left unclean is no reason not to work.
            let _ = signals::watch_early();
            watch_for_panics();
            crate::logging::write_aside(aside);
            let drawn = Arc::clone(&inner);
            // Without bars, should there be no thread for them.
            let _ = std::thread::Builder::new()
                .name("progress".to_owned())
                .spawn(move || drawn.draw());
        }
        Self(inner)
    }

    /// Something begins that may take long.
    pub(super) fn stage(&self, what: &str, unit: Unit) -> Stage {
        let id = self.0.with_board(|board, now| board.begin(what, unit, now));
        Stage {
            progress: self.clone(),
            what: what.to_owned(),
            id,
        }
    }

    /// Follows deliveries: those that somebody waits for, or whatever there is. `prints`: the log does not tell on the
    /// terminal what happens.
    pub(super) fn follow(&self, state: &StateDir, awaited: Option<Awaited>, prints: bool) {
        self.0.with_board(|board, now| {
            board.follow(awaited.is_none(), now);
        });
        self.prints(prints);
        self.0.reporter.has_table(awaited.is_some());
        let mut followed = self
            .0
            .followed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *followed = Some(Followed {
            journal: state.journal(),
            awaited,
        });
    }

    /// Whether what happens is told in lines.
    pub(super) fn prints(&self, prints: bool) {
        self.0.reporter.prints(prints);
    }

    /// Hears of an event; `awaited` is what somebody waits for.
    pub(super) fn event(&self, event: &Event, awaited: Option<&Awaited>) {
        self.0.with_board(|board, now| board.event(event, now));
        if let Some(line) = self.0.reporter.line(event, awaited) {
            say(&line);
        }
    }
}

impl Stage {
    /// So much of it is done.
    pub(super) fn advance(&self, done: u64, total: u64) {
        let progress = &self.progress.0;
        match self.id {
            Some(id) => {
                progress.with_board(|board, now| board.advance(id, done, Some(total), now));
            }
            None => {
                if let Some(line) = progress.reporter.advance(&self.what, done, total) {
                    say(&line);
                }
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.progress.0.with_board(|board, _| board.end(id));
        }
    }
}

impl Inner {
    fn with_board<T>(&self, work: impl FnOnce(&mut Board, Now) -> T) -> Option<T> {
        let board = self.board.as_ref()?;
        let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
        Some(work(&mut board, self.now()))
    }

    fn now(&self) -> Now {
        Now {
            since_start: self.start.elapsed(),
            wall: Utc::now(),
        }
    }

    /// Draws until it is over.
    fn draw(&self) {
        let mut journal: Option<Journal> = None;
        let mut next_look = Instant::now();
        loop {
            std::thread::sleep(FRAME);
            if self.start.elapsed() >= QUIET && next_look <= Instant::now() {
                let began = Instant::now();
                self.look(&mut journal);
                next_look = Instant::now() + LOOK_EVERY.max(began.elapsed() * LOOK_FACTOR);
            }
            let (columns, rows) = surface::size();
            let space = Space {
                columns: columns.into(),
                rows: rows.into(),
            };
            let lines = self.with_board(|board, now| {
                board.tidy(now);
                layout::lines(board, space, now)
            });
            let Some(drawing) = &mut *drawing() else {
                return;
            };
            match lines {
                Some(lines) if self.start.elapsed() >= QUIET && !lines.is_empty() => {
                    let lines: Vec<String> = lines.iter().map(|line| self.painted(line)).collect();
                    drawing.show(&lines);
                }
                _ => drawing.clear(),
            }
        }
    }

    fn painted(&self, line: &Line) -> String {
        line.iter()
            .map(|(tone, text)| self.screen.paint(*tone, text))
            .collect()
    }

    /// Asks the journal how far everything is. Where it does not answer, events tell what they tell.
    fn look(&self, journal: &mut Option<Journal>) {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Followed {
            journal: path,
            awaited,
        }) = followed.clone()
        else {
            return;
        };
        drop(followed);
        if journal.is_none() {
            *journal = Journal::open(&path).ok();
        }
        let tally = journal
            .as_ref()
            .and_then(|journal| journal.tally(awaited.as_ref(), OTHERS_MAX).ok());
        if let Some(tally) = tally {
            self.with_board(|board, _| board.note(tally));
        }
    }
}

fn drawing() -> MutexGuard<'static, Option<Drawing>> {
    DRAWING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes something to the terminal while nothing is drawn there.
pub(super) fn aside(write: &mut dyn FnMut()) {
    match &mut *drawing() {
        Some(drawing) => drawing.aside(write),
        None => write(),
    }
}

/// Writes a line to stderr.
fn say(line: &str) {
    // In one piece: the stream holds nothing back.
    let line = format!("{line}\n");
    aside(&mut || {
        // Whoever waits may have gone; the work goes on.
        let _ = std::io::stderr().write_all(line.as_bytes());
    });
}

/// Nothing is drawn any more, and what was is taken away.
pub(super) fn over() {
    if let Some(mut drawing) = drawing().take() {
        drawing.clear();
    }
}

/// The same for a process that ends at once, whatever its threads are in the midst of.
pub(super) fn over_in_haste() {
    if let Some(mut held) = drawing_soon()
        && let Some(mut drawing) = held.take()
    {
        drawing.clear();
    }
}

fn drawing_soon() -> Option<MutexGuard<'static, Option<Drawing>>> {
    let end = Instant::now() + HASTE;
    loop {
        match DRAWING.try_lock() {
            Ok(held) => return Some(held),
            Err(TryLockError::Poisoned(held)) => return Some(held.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() >= end => return None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// What is written about a panic goes beside the bars; the thread that panics may be drawing itself.
fn watch_for_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match drawing_soon() {
        Some(mut held) if held.is_some() => {
            if let Some(drawing) = &mut *held {
                drawing.aside(&mut || before(panic));
            }
        }
        _ => before(panic),
    }));
}
