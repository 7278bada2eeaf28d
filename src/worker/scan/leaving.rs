//! Files leave the drop directory once all their deliveries are done, if `after` says so.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use chrono::Utc;

use super::Scanner;
use crate::domain::drop_directory::After;
use crate::domain::event::Event;
use crate::error::Result;
use crate::fail_points;
use crate::journal::DroppedRow;
use crate::source::directory::{Departure, Left, Root, Way, cancel_departure, finish_departure};

/// How often it is looked whether deliveries are done: seldom where they never are.
const EVERY_MIN: Duration = Duration::from_secs(1);
const EVERY_MAX: Duration = Duration::from_secs(15);
/// How long files leave in one go: others want to be taken.
const AT_WORK: Duration = Duration::from_millis(100);
/// Complaints that are made, at most.
const TOLD_MAX: usize = 1000;

/// Who may leave.
#[derive(Debug)]
pub(super) struct Leaving {
    next: Instant,
    pause: Duration,
    /// Files that could not leave, and when they are tried again.
    stuck: HashMap<i64, Instant>,
    /// What was complained of. Such a file may be seen again meanwhile, and still not leave.
    told: HashSet<(i64, String)>,
    /// Whether those were seen to that stepped aside when somebody was killed.
    has_begun: bool,
}

impl Default for Leaving {
    fn default() -> Self {
        Self {
            next: Instant::now(),
            pause: EVERY_MIN,
            stuck: HashMap::new(),
            told: HashSet::new(),
            has_begun: false,
        }
    }
}

impl Leaving {
    /// A file was dispatched that may leave one day.
    pub(super) fn wake(&mut self) {
        self.pause = EVERY_MIN;
        self.next = self.next.min(Instant::now() + EVERY_MIN);
    }
}

impl Scanner<'_> {
    /// Has those leave whose deliveries are done.
    /// Whether there are more of them.
    pub(super) fn let_leave(&mut self, root: &Root) -> Result<bool> {
        let begins = !std::mem::replace(&mut self.leaving.has_begun, true);
        if self.terms.after == After::Keep {
            if begins {
                self.let_stay(root)?;
            }
            return Ok(false);
        }
        if self.leaving.next > Instant::now() {
            return Ok(false);
        }
        let end = Instant::now() + AT_WORK;
        self.leaving
            .stuck
            .retain(|_, until| *until > Instant::now());
        let ready = self.journal.ready_to_leave(self.row.id)?;
        let mut is_any = false;
        for row in ready {
            if self.leaving.stuck.contains_key(&row.id) {
                continue;
            }
            if self.context.stop.is_raised() || Instant::now() >= end {
                return Ok(true);
            }
            is_any = true;
            self.leave(root, &row)?;
        }
        self.leaving.pause = if is_any {
            EVERY_MIN
        } else {
            (self.leaving.pause * 2).min(EVERY_MAX)
        };
        self.leaving.next = Instant::now() + self.leaving.pause;
        Ok(false)
    }

    /// How long until it is looked whether somebody may leave; none: nobody ever may.
    pub(super) fn until_somebody_may_leave(&self) -> Option<Duration> {
        let until = self.leaving.next.saturating_duration_since(Instant::now());
        (self.terms.after != After::Keep).then_some(until)
    }

    /// `after` is `keep` by now: what stepped aside when somebody was killed comes back.
    fn let_stay(&mut self, root: &Root) -> Result<()> {
        for row in self.journal.ready_to_leave(self.row.id)? {
            self.returned.insert(row.path.clone());
            let (marker, token) = (self.terms.filter.marker_of(&row.path), self.token(&row));
            let departure = Departure {
                path: &row.path,
                marker: marker.as_deref(),
                stamp: row.stamp,
                token: &token,
            };
            if let Err(error) = cancel_departure(root, &departure) {
                self.complain(&row.path, &format!("cannot get its name back: {error}"));
            }
        }
        Ok(())
    }

    /// Of this file in this version.
    fn token(&self, row: &DroppedRow) -> String {
        format!(
            "{}-{}-{}",
            self.journal.id(),
            row.id,
            row.batch.unwrap_or_default()
        )
    }

    fn leave(&mut self, root: &Root, row: &DroppedRow) -> Result<()> {
        if !row.is_departing {
            match root.stamp(&row.path) {
                Ok(Some(stamp)) if stamp == row.stamp && !self.settling.has(&row.path) => {}
                // Moved or removed by somebody else: should it be seen again, it is known.
                Ok(None) if row.stamp.device == 0 => {
                    self.is_gone(&row.path);
                    return self.journal.note_gone(
                        self.row.id,
                        std::slice::from_ref(&row.path),
                        Utc::now(),
                    );
                }
                // What has changed is a package of its own, or is found to be the same and may leave then.
                _ => {
                    self.later(row);
                    return Ok(());
                }
            }
            self.journal.note_departing(row.id)?;
        }
        let destination = match &self.terms.after {
            After::Move(destination) => Some(destination.as_path()),
            _ => None,
        };
        let marker = self.terms.filter.marker_of(&row.path);
        let token = self.token(row);
        fail_points::hit("scan.leaving");
        let left = finish_departure(
            root,
            &Departure {
                path: &row.path,
                marker: marker.as_deref(),
                stamp: row.stamp,
                token: &token,
            },
            Way {
                destination,
                go_on: &|| !self.context.stop.is_raised(),
            },
        );
        fail_points::hit("scan.left");
        let shown = self.terms.directory.join(&row.path);
        match left {
            Ok(Left::Gone(to)) => {
                let what = match to {
                    Some(to) => format!("moved to {}", to.display()),
                    None => "deleted".to_owned(),
                };
                let message = format!("{}: all its deliveries are done; {what}", shown.display());
                self.forget(row)?;
                self.context.emit(&Event::News { message });
            }
            Ok(Left::Missing) => self.forget(row)?,
            // That it has its name back does not make it whole.
            Ok(Left::Changed | Left::Written) => {
                self.returned.insert(row.path.clone());
                self.later(row);
            }
            Err(error) => {
                self.returned.insert(row.path.clone());
                let is_told = self.leaving.told.len() >= TOLD_MAX
                    || !self.leaving.told.insert((row.id, error.to_string()));
                if !self.context.stop.is_raised() && !is_told {
                    let shown = shown.display();
                    let message =
                        format!("{shown}: cannot leave the directory: {error}; it is tried again");
                    self.context.emit(&Event::Notice { message });
                }
                self.later(row);
            }
        }
        Ok(())
    }

    fn forget(&mut self, row: &DroppedRow) -> Result<()> {
        self.journal.forget_dropped(row.id)?;
        if self.tree.judged(&row.path) == Some(row.stamp) {
            self.tree.remove_file(&row.path);
        }
        Ok(())
    }

    fn later(&mut self, row: &DroppedRow) {
        let pause = Duration::from_secs(self.terms.interval_s.min(60));
        self.leaving.stuck.insert(row.id, Instant::now() + pause);
    }
}
