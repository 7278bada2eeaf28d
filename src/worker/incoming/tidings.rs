//! What is said of notes: some of it, and how much more, once in a while. Whoever leaves thousands of them, or makes
//! trouble come and go, does not fill the log.

use std::path::Path;
use std::time::{Duration, Instant};

/// How many of a kind are told one by one.
const TOLD_MAX: usize = 3;
/// How often.
const EVERY: Duration = Duration::from_mins(1);

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct Tidings {
    refused: Kind,
    waiting: Kind,
    told_waiting: Vec<String>,
    /// What is wrong with the directory just now.
    trouble: Option<String>,
    told_trouble: Option<String>,
    trouble_told_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Kind {
    shown: Vec<String>,
    more: usize,
    told_at: Option<Instant>,
}

fn waits(told_at: Option<Instant>) -> bool {
    told_at.is_some_and(|at| at.elapsed() < EVERY)
}

impl Kind {
    fn add(&mut self, uid: u32, why: &str) {
        if self.shown.len() < TOLD_MAX {
            let line = format!("one of uid {uid}: {why}");
            if !self.shown.contains(&line) {
                self.shown.push(line);
            }
        } else {
            self.more += 1;
        }
    }

    fn tell(&mut self, what: &str, shown: &str, emit: &mut dyn FnMut(String)) -> bool {
        if self.shown.is_empty() || waits(self.told_at) {
            return false;
        }
        self.told_at = Some(Instant::now());
        for line in std::mem::take(&mut self.shown) {
            emit(format!("a note in {shown} {what}: {line}"));
        }
        let more = std::mem::take(&mut self.more);
        if more > 0 {
            emit(format!("{more} more notes in {shown}: each {what}"));
        }
        true
    }
}

impl Tidings {
    pub(super) fn add(&mut self, refused: Vec<(u32, String)>, waiting: Vec<(u32, String)>) {
        for (uid, why) in refused {
            self.refused.add(uid, &why);
        }
        // What waits is met by every look, and told when it is something else.
        self.waiting.shown.clear();
        self.waiting.more = 0;
        for (uid, why) in waiting {
            self.waiting.add(uid, &why);
        }
        self.waiting.shown.sort();
        if self.waiting.shown == self.told_waiting {
            self.waiting.shown.clear();
        } else if self.waiting.shown.is_empty() {
            self.told_waiting.clear();
        }
    }

    /// What is wrong with the directory as a whole; none: nothing any more.
    pub(super) fn set_trouble(&mut self, trouble: Option<String>) {
        self.trouble = trouble;
    }

    pub(super) fn tell(&mut self, directory: &Path, emit: &mut dyn FnMut(String)) {
        let shown = directory.display().to_string();
        self.refused.tell("was refused and removed", &shown, emit);
        let waiting = self.waiting.shown.clone();
        if self.waiting.tell("waits", &shown, emit) {
            self.told_waiting = waiting;
        }
        if self.trouble != self.told_trouble && !waits(self.trouble_told_at) {
            if let Some(trouble) = &self.trouble {
                self.trouble_told_at = Some(Instant::now());
                emit(format!("notes in {shown}: {trouble}"));
            }
            self.told_trouble.clone_from(&self.trouble);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_much_there_is_a_few_lines_tell_it() {
        let mut tidings = Tidings::default();
        let mut lines = Vec::new();
        for round in 0..1000 {
            let refused = (0..10).map(|n| (n, format!("no note {round}"))).collect();
            tidings.add(refused, vec![(7, "no repository".to_owned())]);
            tidings.set_trouble((round % 2 == 0).then(|| "stuck".to_owned()));
            tidings.tell(Path::new("/in"), &mut |line| lines.push(line));
        }
        assert_eq!(
            lines,
            [
                "a note in /in was refused and removed: one of uid 0: no note 0",
                "a note in /in was refused and removed: one of uid 1: no note 0",
                "a note in /in was refused and removed: one of uid 2: no note 0",
                "7 more notes in /in: each was refused and removed",
                "a note in /in waits: one of uid 7: no repository",
                "notes in /in: stuck",
            ]
        );
    }
}
