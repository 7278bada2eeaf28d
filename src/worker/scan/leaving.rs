//! Files leave the drop directory once all their deliveries are done, if `after` says so.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Scanner;
use crate::domain::drop_directory::After;
use crate::domain::event::Event;
use crate::error::Result;
use crate::fail_points;
use crate::journal::DroppedRow;
use crate::source::directory::{Departure, Left, Root, finish_departure};

/// How often it is looked whether deliveries are done.
const EVERY: Duration = Duration::from_secs(1);

/// Who may leave.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Whether any file may.
    may_be: bool,
    next: Option<Instant>,
    /// Files that could not leave, and when they are tried again.
    stuck: HashMap<i64, Instant>,
}

impl Leaving {
    /// Somebody may be waiting to leave.
    pub(super) fn new() -> Self {
        Self {
            may_be: true,
            ..Self::default()
        }
    }

    /// A file was dispatched that may leave one day.
    pub(super) fn wake(&mut self) {
        self.may_be = true;
    }
}

impl Scanner<'_> {
    /// Has those leave whose deliveries are done.
    pub(super) fn let_leave(&mut self, root: &Root) -> Result<()> {
        let is_time = self.leaving.next.is_none_or(|next| next <= Instant::now());
        if self.terms.after == After::Keep || !self.leaving.may_be || !is_time {
            return Ok(());
        }
        self.leaving.next = Some(Instant::now() + EVERY);
        self.leaving
            .stuck
            .retain(|_, until| *until > Instant::now());
        for row in self.journal.ready_to_leave(self.row.id)? {
            if !self.leaving.stuck.contains_key(&row.id) && !self.context.stop.is_raised() {
                self.leave(root, &row)?;
            }
        }
        Ok(())
    }

    fn leave(&mut self, root: &Root, row: &DroppedRow) -> Result<()> {
        let destination = match &self.terms.after {
            After::Move(destination) => Some(destination.as_path()),
            _ => None,
        };
        let marker = self.terms.filter.marker_of(&row.path);
        let token = format!("{}-{}", self.journal.id(), row.id);
        fail_points::hit("scan.leaving");
        let left = finish_departure(
            root,
            &Departure {
                path: &row.path,
                marker: marker.as_deref(),
                stamp: row.stamp,
                token: &token,
                destination,
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
            // What has changed is a package of its own, or is found to be the same and may leave then.
            Ok(Left::Changed | Left::Written) => self.later(row),
            Err(error) => {
                self.complain(
                    &row.path,
                    &format!("cannot leave the directory: {error}; it is tried again"),
                );
                self.later(row);
            }
        }
        Ok(())
    }

    fn forget(&mut self, row: &DroppedRow) -> Result<()> {
        self.journal.forget_dropped(row.id)?;
        self.tree.remove_file(&row.path);
        Ok(())
    }

    fn later(&mut self, row: &DroppedRow) {
        let pause = Duration::from_secs(self.terms.interval_s.min(60));
        self.leaving.stuck.insert(row.id, Instant::now() + pause);
    }
}
