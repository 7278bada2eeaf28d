//! From svnlook's listing to changes: replaced paths, copied directories and symbolic links are
//! told apart here, because no single line of the listing does.

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{mem, thread};

use super::super::repository_files::may_have_properties;
use super::Repository;
use super::begun::Begun;
use super::listing::{Entry, Listing, Status, split_path};
use super::process::run;
use crate::domain::change::{Action, Change, SkipReason};
use crate::domain::text::escape;
use crate::error::Result;

/// The property that makes a file a symbolic link.
const SPECIAL: &[u8] = b"svn:special";
/// From so many added files on, one look at all their properties is cheaper than one for each.
const MANY: usize = 8;
/// How long a begun dump is waited for: it began when the listing did.
const PATIENCE: Duration = Duration::from_millis(20);
/// Processes that look properties up at the same time, at most.
const LOOKUPS_MAX: usize = 4;

impl Repository {
    /// What a revision changed, in the order of the tree, and why paths are left out. With
    /// `copied_directories` the files inside a copied directory are listed as well.
    pub fn changes(&self, revision: u64, copied_directories: bool) -> Result<Vec<Change>> {
        self.changes_wanted(revision, copied_directories, &|_| true, None)
    }

    /// The same for somebody who cares about some paths alone, such as those that a rule matches:
    /// whether a file is a symbolic link may cost a process for each (3 ms, in a directory of 10,000
    /// files 15), and is asked for `wanted` paths only. A link that is not wanted is not marked as one. The dump that was
    /// `begun` may say that there is none.
    pub fn changes_wanted(
        &self,
        revision: u64,
        copied_directories: bool,
        wanted: &dyn Fn(&str) -> bool,
        begun: Option<&mut Begun>,
    ) -> Result<Vec<Change>> {
        let mut entries = self.listing(revision)?;
        let replaced = take_replaced(&mut entries);
        if copied_directories {
            entries = self.expand(revision, entries)?;
        }
        let links = self.links(revision, &entries, wanted, &replaced, begun)?;
        let mut changes = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let skipped = if links.contains(&index) {
                Some(SkipReason::SymbolicLink)
            } else {
                self.skipped(revision, &entry, copied_directories)?
            };
            let action = match entry.status {
                Status::Added | Status::Copied if replaced.contains(&entry.path) => {
                    Action::Replaced
                }
                Status::Added | Status::Copied => Action::Added,
                Status::Deleted => Action::Deleted,
                Status::Content => Action::Modified,
                Status::Properties => Action::Properties,
            };
            changes.push(Change {
                path: entry.path,
                action,
                skipped,
            });
        }
        Ok(changes)
    }

    fn listing(&self, revision: u64) -> Result<Vec<Entry>> {
        let what = "list the changes";
        let mut listing = Listing::default();
        let command = ["changed".as_ref(), "--copy-info".as_ref()];
        self.lines(what, revision, &command, None, &mut |line| {
            listing.line(line)
        })?;
        listing
            .end()
            .map_err(|why| self.failed(what, Some(revision), &why))
    }

    fn skipped(
        &self,
        revision: u64,
        entry: &Entry,
        copied_directories: bool,
    ) -> Result<Option<SkipReason>> {
        let reason = match entry.status {
            Status::Deleted => Some(SkipReason::Deleted),
            Status::Properties => Some(SkipReason::PropertiesOnly),
            Status::Copied if entry.directory && !copied_directories => {
                let mut files = 0;
                self.files_inside(revision, &entry.path, &mut |_| files += 1)?;
                Some(SkipReason::CopiedDirectory { files })
            }
            _ if entry.directory => Some(SkipReason::Directory),
            _ => None,
        };
        Ok(reason)
    }

    /// Names every file below a directory, as the revision left it.
    fn files_inside(
        &self,
        revision: u64,
        directory: &str,
        each: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let what = format!("list the directory {}", escape(directory));
        let command = ["tree".as_ref(), "--full-paths".as_ref()];
        self.lines(&what, revision, &command, Some(directory), &mut |line| {
            if let (path, false) = split_path(line) {
                each(path);
            }
            Ok(())
        })
    }

    /// Puts the files of each copied directory behind it, unless the listing has them already. There
    /// a file whose properties alone were changed after the copy is a new one all the same.
    fn expand(&self, revision: u64, entries: Vec<Entry>) -> Result<Vec<Entry>> {
        let listed: HashMap<&str, Status> = entries
            .iter()
            .map(|entry| (entry.path.as_str(), entry.status))
            .collect();
        let mut copied: HashSet<String> = HashSet::new();
        let mut inserted: HashMap<usize, Vec<Entry>> = HashMap::new();
        let mut outermost: Option<String> = None;
        for (index, entry) in entries.iter().enumerate() {
            let is_inside = outermost
                .as_ref()
                .is_some_and(|outer| entry.path.starts_with(outer));
            if entry.status != Status::Copied || !entry.directory || is_inside {
                continue;
            }
            outermost = Some(format!("{}/", entry.path));
            let mut files = Vec::new();
            self.files_inside(revision, &entry.path, &mut |path| match listed.get(path) {
                Some(Status::Added | Status::Copied | Status::Content) => {}
                Some(Status::Properties) => {
                    copied.insert(path.to_owned());
                }
                Some(Status::Deleted) | None => {
                    files.push(Entry {
                        status: Status::Copied,
                        path: path.to_owned(),
                        directory: false,
                    });
                }
            })?;
            inserted.insert(index, files);
        }
        let mut all = Vec::with_capacity(entries.len());
        for (index, mut entry) in entries.into_iter().enumerate() {
            if copied.contains(&entry.path) {
                entry.status = Status::Copied;
            }
            all.push(entry);
            all.extend(inserted.remove(&index).unwrap_or_default());
        }
        Ok(all)
    }

    /// The indices of the wanted entries that are symbolic links.
    fn links(
        &self,
        revision: u64,
        entries: &[Entry],
        wanted: &dyn Fn(&str) -> bool,
        replaced: &HashSet<String>,
        begun: Option<&mut Begun>,
    ) -> Result<HashSet<usize>> {
        let mut asked = Vec::new();
        let mut added = Vec::new();
        let mut is_copied = false;
        for (index, entry) in entries.iter().enumerate() {
            match entry.status {
                _ if entry.directory || !wanted(&entry.path) => {}
                // What a replaced file is compared with is svnlook's choice: better asked about.
                Status::Added if !replaced.contains(&entry.path) => added.push(index),
                Status::Added | Status::Copied | Status::Content => {
                    is_copied |= entry.status == Status::Copied;
                    asked.push(index);
                }
                Status::Deleted | Status::Properties => {}
            }
        }
        // What was written anew without properties is no link, in particular.
        if !is_copied && !may_have_properties(&self.path, revision) {
            return Ok(HashSet::new());
        }
        // All properties of plainly added files are in the dump.
        let dump = begun.and_then(|begun| begun.look(PATIENCE));
        let is_none_special = dump.is_some_and(|dump| !mentions_special(dump));
        if !is_none_special && (added.len() < MANY || self.mentions_special(revision)?) {
            asked.append(&mut added);
        }
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = cores.min(LOOKUPS_MAX).min(asked.len());
        let next = AtomicUsize::new(0);
        let look_up = || -> Result<Vec<usize>> {
            let mut links = Vec::new();
            while let Some(index) = asked.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Some(entry) = entries.get(*index)
                    && self.is_special(revision, &entry.path)?
                {
                    links.push(*index);
                }
            }
            Ok(links)
        };
        let found = thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(look_up)).collect();
            let mut found = vec![look_up()];
            for other in others {
                let result = other.join();
                found.push(result.unwrap_or_else(|_| {
                    Err(self.failed(
                        "read the properties",
                        Some(revision),
                        "a thread that did so broke down",
                    ))
                }));
            }
            found
        });
        let mut links = HashSet::new();
        for part in found {
            links.extend(part?);
        }
        Ok(links)
    }

    /// Whether the properties that a revision set or removed mention `svn:special` anywhere. The
    /// properties of plainly added files are all among them, those of copies and modified files not.
    fn mentions_special(&self, revision: u64) -> Result<bool> {
        let number = revision.to_string();
        let command = ["diff".as_ref(), "--properties-only".as_ref()];
        let words = super::words(&command, Some(&number), None, &self.path, None);
        let call = self.call(&words, self.svnlook.limits.listing);
        let mut mentioned = false;
        let mut window = Vec::new();
        let finished = run(&call, &mut |chunk| {
            // The word may be cut in two by the end of a chunk.
            window.extend_from_slice(chunk);
            mentioned = mentioned || mentions_special(&window);
            let kept = window.len().saturating_sub(SPECIAL.len() - 1);
            window.drain(..kept);
            Ok(())
        })?;
        // This look is a short cut; where svnlook cannot take it, each file is asked about.
        Ok(mentioned || !finished.succeeded())
    }
}

fn mentions_special(bytes: &[u8]) -> bool {
    bytes.windows(SPECIAL.len()).any(|part| part == SPECIAL)
}

/// Takes the deletions out whose path was added again, and returns those paths.
fn take_replaced(entries: &mut Vec<Entry>) -> HashSet<String> {
    let mut added = HashSet::new();
    for entry in entries.iter() {
        if matches!(entry.status, Status::Added | Status::Copied) {
            added.insert(entry.path.clone());
        }
    }
    let mut replaced = HashSet::new();
    let all = mem::take(entries);
    for entry in all {
        if entry.status == Status::Deleted && added.contains(&entry.path) {
            replaced.insert(entry.path);
        } else {
            entries.push(entry);
        }
    }
    replaced
}
