//! What the kernel tells of, turned into what is known: it says where to look, and what is there is looked at.

use std::time::{Duration, Instant};

use super::{AT_ONCE, Scanner};
use crate::domain::drop_directory::{FileStamp, parent_of};
use crate::domain::event::Event;
use crate::error::Result;
use crate::source::directory::{Happening, Root, What};

/// Pause between two walks because of events that were lost: this, or so often as long as the last walk took.
const OVERFLOW_PAUSE: Duration = Duration::from_secs(2);
const OVERFLOW_FACTOR: u32 = 10;
/// How often that is worth a line.
const OVERFLOW_TOLD_EVERY: Duration = Duration::from_mins(10);

impl Scanner<'_> {
    /// Hears what has happened, and doubts whether anything is told where something should have been.
    pub(super) fn hear(&mut self, root: &Root) -> Result<()> {
        let heard = match &mut self.watch {
            Some(watch) => watch.read(AT_ONCE),
            None => return Ok(()),
        };
        let mut is_all = true;
        match heard {
            Ok(happenings) => {
                is_all = happenings.len() < AT_ONCE;
                for happening in happenings {
                    self.happened(root, happening)?;
                }
            }
            Err(error) => {
                self.watch = None;
                self.blind = Some(format!("the kernel tells nothing (inotify: {error})"));
            }
        }
        // What was not read yet may be what is missed.
        if is_all {
            self.doubt();
        }
        Ok(())
    }

    fn happened(&mut self, root: &Root, happening: Happening) -> Result<()> {
        let (path, what) = match happening {
            Happening::To(path, what) => (path, what),
            Happening::Ceased(path) => {
                if path.is_empty() {
                    // Whatever is there now is begun with anew.
                    self.identity = None;
                    self.next_walk = Instant::now();
                } else if self.tree.directory(&path).is_some() {
                    let known = self.tree.enter(&path);
                    known.is_watched = false;
                    known.read_as = None;
                }
                return Ok(());
            }
            Happening::Overflow => {
                self.overflowed();
                return Ok(());
            }
        };
        self.suspects.remove(parent_of(&path));
        if self.tree.directory(parent_of(&path)).is_none() {
            return Ok(());
        }
        match what {
            What::DirectoryCame => {
                if self.is_scanned(&path) {
                    // The one above has to agree, for it knows about file systems and links.
                    self.come(root, &path)?;
                }
            }
            What::DirectoryGone => {
                if self.tree.directory(&path).is_some() {
                    self.lose_directory(&path);
                    if root.is_directory(&path) {
                        self.come(root, &path)?;
                    }
                }
            }
            _ => self.happened_to_file(root, &path, what),
        }
        Ok(())
    }

    /// The kernel has forgotten some of what happened: everything is read, but not again and again.
    fn overflowed(&mut self) {
        let pause = OVERFLOW_PAUSE.max(self.walk_took * OVERFLOW_FACTOR);
        if !std::mem::replace(&mut self.reads_all, true) {
            let message = format!(
                "{}: more happened than the kernel could tell; everything is walked",
                self.terms.directory.display()
            );
            if self
                .overflow_told
                .is_none_or(|told| told.elapsed() >= OVERFLOW_TOLD_EVERY)
            {
                self.overflow_told = Some(Instant::now());
                self.context.emit(&Event::Notice { message });
            }
            self.next_walk = self.next_walk.min(self.walked_at + pause);
        }
    }

    /// A directory is there: with everything below it, if its own is scanned at all.
    fn come(&mut self, root: &Root, path: &str) -> Result<()> {
        let above = parent_of(path).to_owned();
        self.tree.enter(&above).read_as = None;
        let is_of_this_device = root
            .directory_stamp(path)
            .is_ok_and(|stamp| stamp.device == 0 || self.terms.cross_file_systems);
        if is_of_this_device {
            self.walk_from(root, path)?;
        }
        Ok(())
    }

    fn happened_to_file(&mut self, root: &Root, path: &str, what: What) {
        let now = self.now();
        if let Some(file) = self.terms.filter.marked_by(path) {
            let file = file.to_owned();
            if self.terms.filter.takes(&file) {
                self.see_now(root, &file, false);
            }
            return;
        }
        if !self.terms.filter.takes(path) {
            return;
        }
        // A name that we gave back to a file says nothing about it.
        let is_returned = what == What::Arrived && self.returned.remove(path);
        match what {
            // Where there are markers they say when it is whole, and not how long nothing happens.
            _ if self.terms.filter.marker.is_some() => self.see_now(root, path, false),
            What::Changed | What::Closed if self.settling.has(path) => match root.stamp(path) {
                Ok(Some(stamp)) if what == What::Changed => self.settling.wrote(path, stamp, now),
                Ok(Some(stamp)) => self.settling.closed(path, stamp, now),
                Ok(None) => self.is_gone(path),
                Err(_) => self.settling.changes(path, now),
            },
            _ => self.see_now(root, path, what == What::Arrived && !is_returned),
        }
    }

    /// Looks at a file. `arrived`: it was renamed into place, and so is whole.
    fn see_now(&mut self, root: &Root, path: &str, arrived: bool) {
        match root.stamp(path) {
            Ok(Some(stamp)) => {
                let marker = self.marker_now(root, path);
                let is_known = self.tree.judged(path) == Some(stamp);
                if arrived && !is_known && self.terms.filter.marker.is_none() && self.is_stocked() {
                    self.settling.is_whole(path, stamp, self.now());
                } else {
                    let now = self.now();
                    self.see(root, path, stamp, marker, Some(now));
                }
            }
            Ok(None) => self.is_gone(path),
            // No regular file, or not to be looked at; if it matters, the walk complains of it.
            Err(_) => {}
        }
    }

    /// How a file's marker looks now, where there are markers.
    pub(super) fn marker_now(&self, root: &Root, path: &str) -> Option<FileStamp> {
        let marker = self.terms.filter.marker_of(path)?;
        root.stamp(&marker).ok().flatten()
    }

    /// A file is not there any more.
    pub(super) fn is_gone(&mut self, path: &str) {
        self.settling.forget(path);
        if self.tree.remove_file(path) {
            self.gone.push(path.to_owned());
        }
    }
}
