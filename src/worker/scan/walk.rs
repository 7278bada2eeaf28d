//! Walking: from directory to directory, what is there now, against what was judged.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use chrono::Utc;
use rustix::io::Errno;

use super::Scanner;
use crate::domain::change::base_name;
use crate::domain::drop_directory::{FileStamp, join};
use crate::domain::event::Event;
use crate::error::Result;
use crate::source::directory::{Kind, Listing, Root, is_nothing};

/// Directories below each other, at most: deeper ones are somebody's joke.
const DEPTH_MAX: usize = 100;
/// Files of the stock that are recorded in one transaction.
const STOCK_AT_ONCE: usize = 2000;
/// How long an event may be on its way.
const EVENT_LATE: Duration = Duration::from_secs(2);
/// Finest time that any file system notes, at least: what happens within it may leave no trace.
const GRAIN_NS: i64 = 2_000_000_000;

impl Scanner<'_> {
    /// Looks through the whole directory.
    pub(super) fn walk(&mut self, root: &Root) -> Result<()> {
        let is_first = self.walks == 0;
        let begun = Instant::now();
        self.stock_told = begun;
        // There may be some again.
        self.no_watches_left = false;
        self.walk_from(root, "")?;
        if self.context.stop.is_raised() {
            return Ok(());
        }
        self.end_stock_taking()?;
        self.walks += 1;
        self.reads_all = false;
        self.walked_at = Instant::now();
        self.walk_took = begun.elapsed();
        self.next_walk = self.walked_at + Duration::from_secs(self.terms.interval_s);
        self.tell_of_watches(is_first);
        Ok(())
    }

    /// Looks through the directory at `path` and what is below.
    pub(super) fn walk_from(&mut self, root: &Root, path: &str) -> Result<()> {
        let mut left = vec![path.to_owned()];
        let mut links = HashSet::new();
        let mut read_at_last = Vec::new();
        while let Some(path) = left.pop() {
            if self.context.stop.is_raised() {
                return Ok(());
            }
            match self.visit(root, &path, &mut links) {
                Ok(below) => {
                    self.praise(&path);
                    if !self.unread.is_empty() && self.unread.contains(&path) {
                        read_at_last.push(path);
                    }
                    left.extend(below);
                }
                // It went meanwhile: who lists the one above sees that.
                Err(error) if is_nothing(&error) && !path.is_empty() => {}
                Err(error) => self.cannot_list(&path, &error)?,
            }
            if self.stock.len() >= STOCK_AT_ONCE {
                self.flush_stock()?;
                self.tell_of_stock();
            }
        }
        self.flush_stock()?;
        for path in read_at_last {
            self.journal.note_unread(self.row.id, &path, false)?;
            self.unread.remove(&path);
        }
        // All at the same time: what settles together is taken in the order in which it was written.
        let now = self.now();
        for (path, stamp, is_whole) in std::mem::take(&mut self.found) {
            if is_whole {
                self.settling.is_whole(&path, stamp, now);
            } else {
                self.settling.saw(&path, stamp, now);
            }
        }
        Ok(())
    }

    /// Looks at one directory. Returns the paths of those in it.
    fn visit(
        &mut self,
        root: &Root,
        path: &str,
        links: &mut HashSet<(u64, u64)>,
    ) -> io::Result<Vec<String>> {
        if !self.is_to_be_read(root, path)? {
            let known = self.tree.directory(path).into_iter();
            return Ok(known
                .flat_map(|known| &known.directories)
                .map(|name| join(path, name))
                .collect());
        }
        let directory = root.directory(path)?;
        let was = self.tree.directory(path);
        let was_watched_as = was.filter(|known| known.is_watched).map(|known| known.is);
        // First watched, then read: what comes in between is told.
        let is_watched = self.watch_directory(&directory, path);
        let stamp = root.stamp_of_directory(&directory)?;
        let is = (stamp.device, stamp.inode);
        self.readings += 1;
        let listing = self.list(root, &directory, path)?;
        for (name, why) in &listing.unusable {
            self.complain(&join(path, name), why);
        }
        let is_fresh = stamp.modified_ns.saturating_add(GRAIN_NS)
            > Utc::now().timestamp_nanos_opt().unwrap_or(i64::MAX);
        let found = self.look_at_files(root, path, &listing);
        let known = self.tree.enter(path);
        known.is_watched = is_watched;
        known.is = is;
        known.has_links = listing.has_links;
        // What changes in the same moment leaves the same time: then it is read once more.
        known.read_as = (!is_fresh).then_some(stamp);
        // Where something is mounted now, nobody was told that.
        let is_told =
            was_watched_as == Some(is) && is_watched && self.blind.is_none() && !self.reads_all;
        if is_told && found {
            self.suspects
                .entry(path.to_owned())
                .or_insert_with(Instant::now);
        }
        Ok(self.directories_below(root, path, &listing, links))
    }

    /// A file was found with this stamp, at this time or in the walk that is under way. Whether that is new.
    pub(super) fn see(
        &mut self,
        root: &Root,
        path: &str,
        stamp: FileStamp,
        marker: Option<FileStamp>,
        now: Option<Duration>,
    ) -> bool {
        if self.tree.judged(path) == Some(stamp) {
            return false;
        }
        let waits_for_marker = self.terms.filter.marker.is_some();
        if waits_for_marker && !is_marked(stamp, marker) {
            // Without its marker nobody waits for it.
            self.settling.forget(path);
            return false;
        }
        if self.tree.judged(path).is_none() && self.is_stock(root, path, stamp) {
            self.tree.judge(path, stamp);
            self.stock.push((path.to_owned(), stamp));
            self.stocked += 1;
            return true;
        }
        let is_new = !self.settling.has(path);
        match now {
            None => self.found.push((path.to_owned(), stamp, waits_for_marker)),
            Some(now) if waits_for_marker => self.settling.is_whole(path, stamp, now),
            Some(now) => self.settling.saw(path, stamp, now),
        }
        is_new
    }

    /// The directories in a directory that are scanned; those that are not there any more are forgotten.
    fn directories_below(
        &mut self,
        root: &Root,
        path: &str,
        listing: &Listing,
        links: &mut HashSet<(u64, u64)>,
    ) -> Vec<String> {
        let depth = path.split('/').count();
        let mut below = Vec::new();
        for entry in &listing.entries {
            let Kind::Directory { device, is_link } = entry.kind else {
                continue;
            };
            let directory = join(path, &entry.name);
            if !self.is_scanned(&directory) || (device != 0 && !self.terms.cross_file_systems) {
                continue;
            }
            if depth >= DEPTH_MAX {
                self.complain(&directory, "lies too deep to be scanned");
                continue;
            }
            // A link may lead upwards: each place is entered once by a link.
            if is_link
                && !root
                    .directory_stamp(&directory)
                    .is_ok_and(|stamp| links.insert((stamp.device, stamp.inode)))
            {
                continue;
            }
            below.push(directory);
        }
        let names: HashSet<&str> = below.iter().map(|path| base_name(path)).collect();
        let gone: Vec<String> = self
            .tree
            .enter(path)
            .directories
            .iter()
            .filter(|name| !names.contains(&***name))
            .map(|name| join(path, name))
            .collect();
        for directory in gone {
            self.lose_directory(&directory);
        }
        for directory in &below {
            self.tree.enter(directory);
        }
        below
    }

    /// Whether the directory at `path` is one to look into, by its name.
    pub(super) fn is_scanned(&self, path: &str) -> bool {
        self.terms.sub_directories && self.terms.filter.enters(path)
    }

    pub(super) fn lose_directory(&mut self, path: &str) {
        if let Some(watch) = &mut self.watch {
            watch.remove(path);
        }
        self.gone.extend(self.tree.remove_directory(path));
    }

    /// Again at each reading: another directory may have its name by now.
    fn watch_directory(&mut self, directory: &OwnedFd, path: &str) -> bool {
        let Some(watch) = &mut self.watch else {
            return false;
        };
        let was_watched = self
            .tree
            .directory(path)
            .is_some_and(|known| known.is_watched);
        if self.no_watches_left && !was_watched {
            return false;
        }
        match watch.add(directory, path) {
            Ok(()) => true,
            Err(error) => {
                self.no_watches_left |= error.raw_os_error() == Some(Errno::NOSPC.raw_os_error());
                false
            }
        }
    }

    /// Says which directories nothing tells about, when that changes.
    fn tell_of_watches(&mut self, is_first: bool) {
        if self.blind.is_some() {
            return;
        }
        let all = self.tree.count();
        let without = if self.no_watches_left {
            self.tree.unwatched()
        } else {
            0
        };
        let is_news = (without == 0) != (self.unwatched_told == 0);
        if is_news && (without > 0 || !is_first) {
            let message = if without == 0 {
                format!(
                    "{}: events come from everywhere again",
                    self.terms.directory.display()
                )
            } else {
                format!(
                    "{}: {without} of {all} directories are not watched but walked every {} s: no inotify watches are \
                     left (sysctl fs.inotify.max_user_watches raises their number)",
                    self.terms.directory.display(),
                    self.terms.interval_s
                )
            };
            self.context.emit(&Event::Notice { message });
        }
        self.unwatched_told = without;
    }

    /// Where something has changed and nobody told, nobody tells: from then on everything is walked.
    pub(super) fn doubt(&mut self) {
        let Some(path) = self
            .suspects
            .iter()
            .find(|(_, since)| since.elapsed() >= EVENT_LATE)
            .map(|(path, _)| path.clone())
        else {
            return;
        };
        self.suspects.clear();
        let shown = match path.as_str() {
            "" => self.terms.directory.clone(),
            path => self.terms.directory.join(path),
        };
        let why = format!("something changed in {} and no event told", shown.display());
        let message = format!(
            "{why}; everything is walked every {} s from now on",
            self.terms.interval_s
        );
        self.context.emit(&Event::Notice { message });
        self.blind = Some(why);
    }
}

/// Whether a file's marker says that it is whole: one that is older than the content speaks of what was there before.
pub(super) fn is_marked(file: FileStamp, marker: Option<FileStamp>) -> bool {
    // A time in the future was given to the file by whoever wrote it.
    let written_ns = file.modified_ns.min(file.changed_ns);
    marker.is_some_and(|marker| marker.changed_ns >= written_ns)
}
