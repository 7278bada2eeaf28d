//! Reading one directory: whether it is looked at, and what is not as it was judged. Where nothing has changed
//! nothing is kept of what was read.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use super::Scanner;
use crate::domain::drop_directory::{FileStamp, join};
use crate::source::directory::{Entry, Interest, Kind, Listing, Root, list};

/// A directory that is watched is read again, whatever it looks like, at one walk in so many.
const READ_AGAIN: u64 = 30;

impl Scanner<'_> {
    /// Whether the directory at `path` is read in this walk: from without it may look as it did although its files do
    /// not, and only where the kernel tells what happens in it that need not be seen by us.
    pub(super) fn is_to_be_read(&self, root: &Root, path: &str) -> io::Result<bool> {
        let Some(known) = self.tree.directory(path) else {
            return Ok(true);
        };
        let Some(read_as) = known.read_as else {
            return Ok(true);
        };
        let place: u64 = path.bytes().map(u64::from).sum();
        let comes_up = (place + self.walks).is_multiple_of(READ_AGAIN);
        let is_told = known.is_watched && self.blind.is_none();
        let is_in_any_case = self.reads_all || comes_up || !is_told || known.has_links;
        Ok(is_in_any_case || root.directory_stamp(path)? != read_as)
    }

    /// What an open directory holds that is not as it was judged.
    pub(super) fn list(&self, root: &Root, directory: &OwnedFd, path: &str) -> io::Result<Listing> {
        let files = self.tree.directory(path).map(|known| &known.files);
        let filter = &self.terms.filter;
        list(root, directory, &|name| {
            let judged = files.and_then(|files| files.get(name));
            if let Some(judged) = judged.filter(|judged| judged.seen.get() != 0) {
                judged.seen.set(self.readings);
                return Interest::Unless(judged.stamp);
            }
            let path = join(path, name);
            if filter.takes(&path) || filter.enters(&path) || filter.marked_by(name).is_some() {
                Interest::Any
            } else {
                Interest::None
            }
        })
    }

    /// Compares the files of a directory with what was judged. Whether there was something new.
    pub(super) fn look_at_files(&mut self, root: &Root, path: &str, listing: &Listing) -> bool {
        let markers = self.markers_in(&listing.entries);
        let mut found = false;
        let mut there = listing.as_known;
        for entry in &listing.entries {
            let Kind::File(stamp) = entry.kind else {
                continue;
            };
            let file = join(path, &entry.name);
            if !self.terms.filter.takes(&file) {
                continue;
            }
            let marker = markers.get(entry.name.as_str()).copied();
            let was = self.tree.judged(&file);
            let is_new = self.see(root, &file, stamp, marker, None);
            // Links and permissions change without a word to the directory.
            found |= is_new && was.is_none_or(|was| !was.has_content_of(&stamp));
            let known = self.tree.enter(path);
            if let Some(judged) = known.files.get(entry.name.as_str()) {
                judged.seen.set(self.readings);
                there += 1;
            }
        }
        let known = self.tree.enter(path);
        for name in &listing.no_files {
            if let Some(judged) = known.files.get(name.as_str()) {
                judged.seen.set(0);
            }
        }
        if there == known.files.len() {
            return found;
        }
        let gone: Vec<Box<str>> = known
            .files
            .extract_if(|_, judged| judged.seen.get() != self.readings)
            .map(|(name, _)| name)
            .collect();
        found |= !gone.is_empty();
        self.gone.extend(gone.iter().map(|name| join(path, name)));
        found
    }

    /// How the markers look, by the names of their files.
    fn markers_in<'e>(&self, entries: &'e [Entry]) -> HashMap<&'e str, FileStamp> {
        let filter = &self.terms.filter;
        let marker = |entry: &'e Entry| match entry.kind {
            Kind::File(stamp) => Some((filter.marked_by(&entry.name)?, stamp)),
            Kind::Directory { .. } => None,
        };
        entries.iter().filter_map(marker).collect()
    }
}
