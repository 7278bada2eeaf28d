//! A name in a drop directory, and the name of ours to which what lies there steps aside on its way out. Nothing is
//! ever overwritten. Does not know why anything leaves.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, RenameFlags, Stat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

use super::Root;
use crate::domain::drop_directory::FileStamp;

/// A name, and the one aside.
pub(super) struct Spot<'a> {
    root: &'a Root,
    parent: &'a OwnedFd,
    name: &'a str,
    aside: String,
}

impl<'a> Spot<'a> {
    pub(super) fn new(root: &'a Root, parent: &'a OwnedFd, name: &'a str, aside: String) -> Self {
        Self {
            root,
            parent,
            name,
            aside,
        }
    }

    pub(super) fn name(&self) -> &'a str {
        self.name
    }

    pub(super) fn aside(&self) -> &str {
        &self.aside
    }

    /// What has the name now.
    pub(super) fn look(&self) -> Option<(FileStamp, Stat)> {
        self.look_at(self.name)
    }

    /// What stands aside now.
    pub(super) fn look_aside(&self) -> Option<(FileStamp, Stat)> {
        self.look_at(&self.aside)
    }

    fn look_at(&self, name: &str) -> Option<(FileStamp, Stat)> {
        let stat = statat(self.parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((self.root.stamp_of(&stat), stat))
    }

    /// Whether what has the name now has this content.
    pub(super) fn has_content_of(&self, stamp: FileStamp) -> bool {
        self.look()
            .is_some_and(|(now, _)| now.has_content_of(&stamp))
    }

    /// Whatever has the name steps aside.
    pub(super) fn step_aside(&self) -> io::Result<()> {
        rename(self.parent, self.name, self.parent, &self.aside)
    }

    /// The name back. Where somebody has taken it meanwhile, nothing is overwritten, and no package is made of a name
    /// that nobody chose: it stays aside.
    pub(super) fn give_back(&self) -> io::Result<()> {
        let aside = &self.aside;
        rename(self.parent, aside, self.parent, self.name).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!(
                    "it had changed when it was to leave, and another file has its name by now: it stays as {aside}"
                ),
            ),
            _ => error,
        })
    }

    /// Removes what stands aside, if anything does.
    pub(super) fn remove(&self) -> io::Result<()> {
        match unlinkat(self.parent, self.aside.as_str(), AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => Ok(other?),
        }
    }
}

/// Renames onto no existing name.
pub(super) fn rename(from: &OwnedFd, name: &str, to: &OwnedFd, new: &str) -> io::Result<()> {
    match renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        // A file system that cannot: as near to it as can be had.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            if statat(to, new, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Ok(rustix::fs::renameat(from.as_fd(), name, to.as_fd(), new)?)
        }
        other => Ok(other?),
    }
}
