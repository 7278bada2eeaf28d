//! Taking stock: what was there before the first start, or came into view later though it was there, is not new.

use std::io;
use std::time::{Duration, Instant};

use chrono::Utc;

use super::Scanner;
use crate::domain::drop_directory::{FileStamp, is_within};
use crate::domain::event::Event;
use crate::error::{Error, Result};
use crate::fail_points;
use crate::source::directory::Root;

/// Pause between two lines about how far the stock-taking has come.
const STOCK_TOLD_EVERY: Duration = Duration::from_secs(2);

impl Scanner<'_> {
    /// Everything was seen: what counts as there before is known, and so is what the terms reach.
    pub(super) fn end_stock_taking(&mut self) -> Result<()> {
        let stocked = std::mem::take(&mut self.stocked);
        if !self.is_stocked() {
            let now = Utc::now();
            self.journal.end_stock_taking(self.row.id, now)?;
            self.row.stocked_at = Some(now);
            fail_points::hit("scan.stock_taken");
            if !self.terms.existing {
                let directory = self.terms.directory.to_string_lossy().into_owned();
                let files = self.tree.files() as u64;
                self.context.emit(&Event::StockTaken { directory, files });
            }
        } else if stocked > 0 {
            let message = format!(
                "{}: files that were there before come into view: {stocked}; they are not dispatched",
                self.terms.directory.display()
            );
            self.context.emit(&Event::News { message });
        }
        if let Some(mounted) = self.new_mount.take() {
            self.journal.note_mount_point(self.row.id, Some(&mounted))?;
            self.row.mount_point = Some(mounted);
        }
        // What is not there any more will not be read.
        let gone: Vec<String> = self
            .unread
            .extract_if(|path| self.tree.directory(path).is_none())
            .collect();
        for path in gone {
            self.journal.note_unread(self.row.id, &path, false)?;
        }
        if self.former.take().is_some() || self.row.terms.is_none() {
            let terms = serde_json::to_string(&self.reach)
                .map_err(|error| Error::state(format!("cannot write terms as JSON: {error}")))?;
            self.journal.note_drop_terms(self.row.id, &terms)?;
            self.row.terms = Some(terms);
        }
        Ok(())
    }

    /// A directory cannot be read. What was known in it stays known; what was there when stock was taken is not new
    /// when it can be.
    pub(super) fn cannot_list(&mut self, path: &str, error: &io::Error) -> Result<()> {
        self.complain(path, &format!("cannot be read: {error}"));
        self.tree.enter(path).read_as = None;
        let takes_stock = !self.is_stocked()
            || self.former.is_some()
            || self.new_mount.is_some()
            || self.is_in_unread(path);
        if takes_stock && !self.terms.existing && self.unread.insert(path.to_owned()) {
            self.journal.note_unread(self.row.id, path, true)?;
        }
        Ok(())
    }

    fn is_in_unread(&self, path: &str) -> bool {
        self.unread.iter().any(|unread| is_within(path, unread))
    }

    /// Whether a file that was never judged was there before: before the first start; or out of sight until now,
    /// because its directory could not be read, its file system was not mounted, or other terms did not reach it.
    pub(super) fn is_stock(&self, root: &Root, path: &str, stamp: FileStamp) -> bool {
        if self.terms.existing {
            return false;
        }
        if !self.is_stocked() || self.new_mount.is_some() {
            // Where another machine's clock sets the times, what comes during the first walk cannot be told from
            // what was there.
            return self.blind.is_some() || self.is_old(root, path, stamp);
        }
        // What came later and was left out until now is new: it is not lost.
        let is_unreached = || {
            self.former
                .as_ref()
                .is_some_and(|former| !former.reached(path, &self.reach, stamp.device != 0))
        };
        let was_out_of_sight = stamp.device != 0 || self.is_in_unread(path) || is_unreached();
        was_out_of_sight && self.is_old(root, path, stamp)
    }

    /// Whether a file is older than the first start. Other permissions, owners and links change its inode, and do not
    /// make it younger.
    fn is_old(&self, root: &Root, path: &str, stamp: FileStamp) -> bool {
        let first_ns = self.row.first_at.timestamp_nanos_opt().unwrap_or(i64::MAX);
        stamp.changed_ns < first_ns
            || (stamp.modified_ns < first_ns
                && root.born_ns(path).is_some_and(|born_ns| born_ns < first_ns))
    }

    pub(super) fn tell_of_stock(&mut self) {
        if self.stock_told.elapsed() >= STOCK_TOLD_EVERY {
            self.stock_told = Instant::now();
            self.context.emit(&Event::TakingStock {
                directory: self.terms.directory.to_string_lossy().into_owned(),
                files: self.tree.files() as u64,
                directories: self.tree.count() as u64,
            });
        }
    }
}
