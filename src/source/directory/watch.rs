//! What happens in directories, as the kernel tells it (inotify). Each directory is watched by itself, by its open
//! descriptor: neither a rename nor a symbolic link can make us watch another one than was listed.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::domain::drop_directory::{is_within, join};

/// What happened to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A file was made or written to, or has other permissions now.
    Changed,
    /// Somebody who could write to a file has closed it.
    Closed,
    /// A file was renamed to this name.
    Arrived,
    /// A file has gone, or has another name now.
    Gone,
    /// A directory was made, or got this name.
    DirectoryCame,
    /// A directory has gone, or has another name now.
    DirectoryGone,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// To the file or directory at this path.
    To(String, What),
    /// To the watched directory itself: it was deleted, moved or unmounted.
    Ceased(String),
    /// So much that the kernel has forgotten some of it.
    Overflow,
}

/// Directories that are watched.
#[derive(Debug)]
pub struct Watch {
    fd: OwnedFd,
    directories: HashMap<i32, String>,
}

/// Only what matters: everything more, such as every open(2), would fill the kernel's queue when we walk.
const MASK: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            fd: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            directories: HashMap::new(),
        })
    }

    /// Watches an open directory, which is called `path`. Whoever lists it afterwards misses nothing.
    pub fn add(&mut self, directory: &OwnedFd, path: &str) -> io::Result<()> {
        let place = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let watch = inotify::add_watch(&self.fd, place, MASK)?;
        self.directories.insert(watch, path.to_owned());
        Ok(())
    }

    /// Watches no directory at `path` or below any more.
    pub fn remove(&mut self, path: &str) {
        let fd = &self.fd;
        self.directories.retain(|&watch, directory| {
            let stays = !is_within(directory, path);
            if !stays {
                // A directory that is gone is watched no more anyway.
                let _ = inotify::remove_watch(fd, watch);
            }
            stays
        });
    }

    /// To be read from when something has happened.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What has happened, in its order, about `most` of it; the rest is there at the next call.
    pub fn read(&mut self, most: usize) -> io::Result<Vec<Happening>> {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        let mut found = Vec::new();
        // What is in the buffer already is lost with the reader.
        while found.len() < most || !reader.is_buffer_empty() {
            let event = match reader.next() {
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                other => other?,
            };
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                found.push(Happening::Overflow);
                continue;
            }
            let Some(directory) = self.directories.get(&event.wd()) else {
                continue;
            };
            if flags.intersects(
                ReadFlags::IGNORED
                    | ReadFlags::UNMOUNT
                    | ReadFlags::DELETE_SELF
                    | ReadFlags::MOVE_SELF,
            ) {
                found.push(Happening::Ceased(directory.clone()));
                if flags.contains(ReadFlags::IGNORED) {
                    self.directories.remove(&event.wd());
                }
                continue;
            }
            let name = event.file_name().and_then(|name| name.to_str().ok());
            if let (Some(name), Some(what)) = (name, what(flags)) {
                found.push(Happening::To(join(directory, name), what));
            }
        }
        Ok(found)
    }
}

fn what(flags: ReadFlags) -> Option<What> {
    let is_directory = flags.contains(ReadFlags::ISDIR);
    let has = |flag: ReadFlags| flags.contains(flag);
    if has(ReadFlags::MOVED_FROM) || has(ReadFlags::DELETE) {
        return Some(if is_directory {
            What::DirectoryGone
        } else {
            What::Gone
        });
    }
    if is_directory {
        // Its permissions, too: it may be readable now.
        return Some(What::DirectoryCame);
    }
    if has(ReadFlags::MOVED_TO) {
        return Some(What::Arrived);
    }
    if has(ReadFlags::CLOSE_WRITE) {
        return Some(What::Closed);
    }
    (has(ReadFlags::CREATE) || has(ReadFlags::MODIFY) || has(ReadFlags::ATTRIB))
        .then_some(What::Changed)
}
