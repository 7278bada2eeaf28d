//! What is known of a drop directory's files while it is scanned: how each looked when it was judged. Knows neither
//! files nor journal.

use std::cell::Cell;
use std::collections::HashMap;

use crate::domain::change::base_name;
use crate::domain::drop_directory::{FileStamp, is_within, join, parent_of};

/// A file that was judged.
#[derive(Debug)]
pub(super) struct Judged {
    /// As it looked then.
    pub(super) stamp: FileStamp,
    /// The reading of its directory at which it was there last; 0: none yet, and nobody has asked whether the terms
    /// reach it.
    pub(super) seen: Cell<u64>,
}

/// One directory.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// The files that were judged.
    pub(super) files: HashMap<Box<str>, Judged>,
    /// Names of the sub-directories.
    pub(super) directories: Vec<Box<str>>,
    /// How it looked when it was last read; none: not yet, or it is to be read again in any case.
    pub(super) read_as: Option<FileStamp>,
    /// Its device and inode then.
    pub(super) is: (u64, u64),
    /// Whether the kernel tells what happens in it.
    pub(super) is_watched: bool,
    /// Whether symbolic links are followed from here: what happens behind them is told by nobody.
    pub(super) has_links: bool,
}

/// All of them, by their paths.
#[derive(Debug, Default)]
pub(super) struct Tree {
    directories: HashMap<String, Directory>,
}

impl Tree {
    pub(super) fn directory(&self, path: &str) -> Option<&Directory> {
        self.directories.get(path)
    }

    pub(super) fn count(&self) -> usize {
        self.directories.len()
    }

    /// The paths of all directories.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.directories.keys().map(String::as_str)
    }

    /// How many files were judged.
    pub(super) fn files(&self) -> usize {
        self.directories.values().map(|one| one.files.len()).sum()
    }

    /// How many directories are read only when they are walked.
    pub(super) fn unwatched(&self) -> usize {
        let unwatched = |known: &&Directory| !known.is_watched;
        self.directories.values().filter(unwatched).count()
    }

    /// The directory, known from now on, also to the one above it.
    pub(super) fn enter(&mut self, path: &str) -> &mut Directory {
        if !self.directories.contains_key(path) && !path.is_empty() {
            let name = base_name(path);
            let above = self.enter(parent_of(path));
            if above.directories.iter().all(|known| &**known != name) {
                above.directories.push(name.into());
            }
        }
        self.directories.entry(path.to_owned()).or_default()
    }

    /// How a file looked when it was judged.
    pub(super) fn judged(&self, path: &str) -> Option<FileStamp> {
        let files = &self.directories.get(parent_of(path))?.files;
        files.get(base_name(path)).map(|judged| judged.stamp)
    }

    /// A file was judged as it looks now.
    pub(super) fn judge(&mut self, path: &str, stamp: FileStamp) {
        let files = &mut self.enter(parent_of(path)).files;
        let name = base_name(path);
        if let Some(judged) = files.get_mut(name) {
            judged.stamp = stamp;
        } else {
            let seen = Cell::default();
            files.insert(name.into(), Judged { stamp, seen });
        }
    }

    /// A file is not there any more. Whether it was known.
    pub(super) fn remove_file(&mut self, path: &str) -> bool {
        self.directories
            .get_mut(parent_of(path))
            .is_some_and(|above| above.files.remove(base_name(path)).is_some())
    }

    /// A directory is not there any more. The files that were known in it and below.
    pub(super) fn remove_directory(&mut self, path: &str) -> Vec<String> {
        if let Some(above) = self.directories.get_mut(parent_of(path)) {
            let name = base_name(path);
            above.directories.retain(|known| &**known != name);
        }
        let mut gone = Vec::new();
        self.directories.retain(|directory, known| {
            let stays = !is_within(directory, path);
            if !stays {
                gone.extend(known.files.keys().map(|name| join(directory, name)));
            }
            stays
        });
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_with_everything_below_it() {
        let stamp = FileStamp {
            device: 1,
            inode: 1,
            size: 1,
            modified_ns: 1,
            changed_ns: 1,
        };
        let mut tree = Tree::default();
        for path in ["a", "s/b", "s/t/c", "ss/d"] {
            tree.judge(path, stamp);
        }
        assert_eq!(tree.enter("s").directories, ["t".into()]);
        let mut gone = tree.remove_directory("s");
        gone.sort();
        assert_eq!(gone, ["s/b", "s/t/c"]);
        assert_eq!(tree.enter("").directories, ["ss".into()]);
        assert_eq!((tree.files(), tree.count()), (2, 2));
        assert!(tree.remove_file("a") && !tree.remove_file("a"));
        assert_eq!(tree.judged("ss/d"), Some(stamp));
    }
}
