//! How far running deliveries are, for other processes to see: one small file for each worker, beside its lock, written
//! twice a second at most and never synced. It proves nothing: what cannot be written is left out, what cannot be read,
//! or belongs to a dead worker, is not there. The journal alone says what state a delivery is in.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use serde::{Deserialize, Serialize};

use crate::domain::event::Event;
use crate::state_dir::StateDir;

/// Pause between two writes.
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// The rate is that of the last moments.
const RATE_OVER: Duration = Duration::from_secs(5);
/// A file that is longer is none of ours.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// A running delivery. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underway {
    /// Its number.
    pub delivery: i64,
    /// The step that it is at.
    pub step: String,
    /// When that step began.
    pub since_ms: i64,
    /// Bytes of the package that are over.
    pub bytes: Option<u64>,
    /// Bytes in all.
    pub total: Option<u64>,
    /// Bytes a second, lately.
    pub rate: Option<u64>,
    /// When the last of those bytes went over.
    pub moved_ms: Option<i64>,
}

/// What a worker tells of its running deliveries.
#[derive(Debug, Default)]
pub struct Board(Mutex<Option<Inner>>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    entries: BTreeMap<i64, Entry>,
    is_changed: bool,
    written: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    shown: Underway,
    /// When how many bytes were over, the oldest first.
    samples: VecDeque<(Instant, u64)>,
}

fn path(state: &StateDir, worker: i64) -> PathBuf {
    state.workers().join(format!("{worker}.progress"))
}

fn new_path(path: &Path) -> PathBuf {
    path.with_extension("progress-new")
}

/// Removes what a dead worker told.
pub(super) fn bury(state: &StateDir, worker: i64) {
    let path = path(state, worker);
    let _ = fs::remove_file(new_path(&path));
    let _ = fs::remove_file(path);
}

/// What a worker that lives has told last.
pub fn of(state: &StateDir, worker: i64) -> Vec<Underway> {
    let mut text = Vec::new();
    File::open(path(state, worker))
        .and_then(|file| file.take(FILE_MAX_BYTES).read_to_end(&mut text))
        .ok()
        .and_then(|_| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

impl Board {
    /// From here on it is told for worker `worker`.
    pub(super) fn open(&self, state: &StateDir, worker: i64) {
        let path = path(state, worker);
        // Left by a worker of that number in a journal that was moved away.
        let _ = fs::remove_file(&path);
        *self.inner() = Some(Inner {
            path,
            entries: BTreeMap::new(),
            is_changed: false,
            written: None,
        });
    }

    /// Nothing is told any more.
    pub(super) fn close(&self) {
        if let Some(inner) = self.inner().take() {
            let _ = fs::remove_file(inner.path);
        }
    }

    /// Notes what happens.
    pub(super) fn hear(&self, event: &Event) {
        if let Some(inner) = &mut *self.inner() {
            inner.hear(event);
            inner.tell();
        }
    }

    /// Writes what was held back because the last write was a moment ago.
    pub(super) fn catch_up(&self) {
        if let Some(inner) = &mut *self.inner() {
            inner.tell();
        }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Option<Inner>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::StepStarted { subject, step } => {
                let shown = Underway {
                    delivery: subject.delivery,
                    step: step.as_str().to_owned(),
                    since_ms: Utc::now().timestamp_millis(),
                    bytes: None,
                    total: None,
                    rate: None,
                    moved_ms: None,
                };
                let samples = VecDeque::new();
                self.entries
                    .insert(subject.delivery, Entry { shown, samples });
            }
            Event::Progress {
                subject,
                bytes,
                total,
            } => {
                let Some(entry) = self.entries.get_mut(&subject.delivery) else {
                    return;
                };
                entry.moved(*bytes, *total);
            }
            Event::Settled { subject, .. } | Event::Parted { subject } => {
                if self.entries.remove(&subject.delivery).is_none() {
                    return;
                }
            }
            _ => return,
        }
        self.is_changed = true;
    }

    fn tell(&mut self) {
        let is_early = self
            .written
            .is_some_and(|written| written.elapsed() < WRITE_EVERY);
        if !self.is_changed || is_early {
            return;
        }
        self.is_changed = false;
        self.written = Some(Instant::now());
        if self.entries.is_empty() {
            let _ = fs::remove_file(&self.path);
            return;
        }
        let shown: Vec<&Underway> = self.entries.values().map(|entry| &entry.shown).collect();
        if let Ok(text) = serde_json::to_vec(&shown) {
            // A full disk is told by whoever cannot do without it.
            let _ = replace(&self.path, &text);
        }
    }
}

impl Entry {
    fn moved(&mut self, bytes: u64, total: u64) {
        let now = Instant::now();
        self.samples.push_back((now, bytes));
        while self.samples.len() > 2 && now - self.samples[0].0 > RATE_OVER {
            self.samples.pop_front();
        }
        let (then, before) = self.samples[0];
        let passed = u64::try_from((now - then).as_millis()).unwrap_or(u64::MAX);
        self.shown.rate = (passed > 0).then(|| bytes.saturating_sub(before) * 1000 / passed);
        self.shown.bytes = Some(bytes);
        self.shown.total = Some(total);
        self.shown.moved_ms = Some(Utc::now().timestamp_millis());
    }
}

/// Whole or not at all, for those who read; whether it lasts is no matter.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = new_path(path);
    let write = || {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text)?;
        fs::rename(&new, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&new);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::{Step, Transition};
    use crate::domain::event::Subject;

    fn subject(delivery: i64) -> Subject {
        Subject {
            delivery,
            batch: 1,
            package: "app".to_owned(),
            lane: "l@h".to_owned(),
        }
    }

    fn state() -> (tempfile::TempDir, StateDir) {
        let root = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(&root.path().join("state")).expect("a state directory");
        (root, state)
    }

    /// Says when the last write was, so that nobody has to wait for the pause to pass.
    fn wrote(board: &Board, when: Option<Instant>) {
        board.inner().as_mut().expect("opened").written = when;
    }

    #[test]
    fn what_runs_is_told_and_what_is_settled_is_not() {
        let (_root, state) = state();
        let board = Board::default();
        let started = |delivery| Event::StepStarted {
            subject: subject(delivery),
            step: Step::Upload,
        };
        board.hear(&started(1));
        assert_eq!(of(&state, 7), [], "nobody has opened it");
        board.open(&state, 7);
        board.hear(&started(1));
        wrote(&board, Instant::now().checked_add(RATE_OVER * 1000));
        board.hear(&Event::Progress {
            subject: subject(1),
            bytes: 3,
            total: 9,
        });
        let first = of(&state, 7);
        assert_eq!(
            (first.len(), first[0].bytes),
            (1, None),
            "one write at once"
        );
        wrote(&board, None);
        board.catch_up();
        let shown = of(&state, 7);
        assert_eq!((shown[0].bytes, shown[0].total), (Some(3), Some(9)));
        board.hear(&Event::Settled {
            subject: subject(1),
            attempt: 1,
            transition: Transition::Done,
            exit_status: None,
        });
        wrote(&board, None);
        board.catch_up();
        assert_eq!(of(&state, 7), []);
        board.hear(&started(2));
        board.close();
        let left = fs::read_dir(state.workers()).expect("a directory").count();
        assert_eq!(left, 0);
    }

    #[test]
    fn a_file_that_is_torn_strange_or_cannot_be_written_does_no_harm() {
        let (_root, state) = state();
        for text in ["", "[{\"delivery\":", "null", "{}", "[1]"] {
            fs::write(path(&state, 7), text).expect("written");
            assert_eq!(of(&state, 7), [], "{text:?}");
        }
        let board = Board::default();
        board.open(&state, 7);
        fs::remove_dir(state.workers()).expect("removed");
        board.hear(&Event::StepStarted {
            subject: subject(1),
            step: Step::Export,
        });
        board.close();
    }
}
