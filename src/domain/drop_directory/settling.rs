//! Which files have stopped changing: each is looked at by itself, so that one that grows holds up no other.
//! Times are those of a clock that never goes back, handed in.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::FileStamp;

/// Pauses between two looks at a file that somebody has open for writing.
const OPEN_PAUSE_MIN: Duration = Duration::from_secs(1);
const OPEN_PAUSE_MAX: Duration = Duration::from_secs(10);

/// What a look at a file that is due has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It did not change: it may be taken.
    Settled,
    /// It did; it is looked at again later.
    Restless,
}

/// A file that is not taken yet.
#[derive(Debug, Clone, Copy)]
struct Unsettled {
    stamp: FileStamp,
    due: Duration,
    /// Since when somebody was seen to have it open for writing.
    open: Option<(Duration, Duration)>,
}

/// The files of a drop directory that are not taken yet, by their paths.
#[derive(Debug, Clone, Default)]
pub struct Settling {
    quiet: Duration,
    files: HashMap<String, Unsettled>,
    queue: BTreeSet<(Duration, String)>,
}

impl Settling {
    /// Files settle when they did not change for `quiet`.
    pub fn new(quiet: Duration) -> Self {
        Self {
            quiet,
            ..Self::default()
        }
    }

    /// How many are not taken yet.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether the file is one of them.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// A file that is to be taken was found with this stamp. Seeing it again as it was changes nothing.
    pub fn saw(&mut self, path: &str, stamp: FileStamp, now: Duration) {
        match self.files.get(path) {
            Some(known) if known.stamp == stamp => {}
            _ => self.put(path, stamp, now + self.quiet),
        }
    }

    /// The file is whole: it was renamed into place, or its marker is there.
    pub fn is_whole(&mut self, path: &str, stamp: FileStamp, now: Duration) {
        self.put(path, stamp, now);
    }

    /// Somebody has written to the file, which looks like this now.
    pub fn wrote(&mut self, path: &str, stamp: FileStamp, now: Duration) {
        self.put(path, stamp, now + self.quiet);
    }

    /// The file has changed, nobody knows how.
    pub fn changes(&mut self, path: &str, now: Duration) {
        if let Some(stamp) = self.files.get(path).map(|known| known.stamp) {
            self.put(path, stamp, now + self.quiet);
        }
    }

    /// Somebody who wrote to the file has closed it. If it waited for that alone, it is due.
    pub fn closed(&mut self, path: &str, stamp: FileStamp, now: Duration) {
        match self.files.get(path) {
            Some(known) if known.stamp != stamp => self.wrote(path, stamp, now),
            Some(known) if known.open.is_some() => self.put(path, stamp, now),
            _ => {}
        }
    }

    /// The file is gone, or taken.
    pub fn forget(&mut self, path: &str) {
        if let Some(known) = self.files.remove(path) {
            self.queue.remove(&(known.due, path.to_owned()));
        }
    }

    /// Looks at the file again after `pause`, however it looks then: it could not be taken.
    pub fn postpone(&mut self, path: &str, now: Duration, pause: Duration) {
        if let Some(known) = self.files.get(path) {
            self.put(path, known.stamp, now + pause);
        }
    }

    /// When the next file is to be looked at.
    pub fn next_due(&self) -> Option<Duration> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// The files that are to be looked at now, at most so many.
    pub fn due(&self, now: Duration, most: usize) -> Vec<String> {
        self.queue
            .iter()
            .take_while(|(due, _)| *due <= now)
            .take(most)
            .map(|(_, path)| path.clone())
            .collect()
    }

    /// What it means that a file that is due has this stamp.
    pub fn look(&mut self, path: &str, stamp: FileStamp, now: Duration) -> Look {
        match self.files.get(path) {
            Some(known) if known.stamp == stamp => Look::Settled,
            _ => {
                self.put(path, stamp, now + self.quiet);
                Look::Restless
            }
        }
    }

    /// A file that is due is open for writing: it is looked at again, ever more rarely. For how long it was, so far.
    pub fn is_open(&mut self, path: &str, now: Duration) -> Duration {
        let Some(known) = self.files.get(path).copied() else {
            return Duration::ZERO;
        };
        let (since, pause) = match known.open {
            Some((since, pause)) => (since, (pause * 2).min(OPEN_PAUSE_MAX)),
            None => (now, OPEN_PAUSE_MIN),
        };
        self.put(path, known.stamp, now + pause);
        if let Some(known) = self.files.get_mut(path) {
            known.open = Some((since, pause));
        }
        now.saturating_sub(since)
    }

    fn put(&mut self, path: &str, stamp: FileStamp, due: Duration) {
        let new = Unsettled {
            stamp,
            due,
            open: None,
        };
        if let Some(old) = self.files.insert(path.to_owned(), new) {
            self.queue.remove(&(old.due, path.to_owned()));
        }
        self.queue.insert((due, path.to_owned()));
    }
}
