//! Drop directories: what lies there, what happens there, and how a file leaves. Everything is reached from the
//! directory downwards, name by name, so that no symbolic link that somebody puts in the way leads outside.
//! Knows nothing of rules, journal or spool, and keeps nothing open: a file system in use can be unmounted.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, StatxFlags, fstat, openat, openat2,
    statat, statx,
};

use rustix::io::Errno;

use crate::domain::drop_directory::{FileStamp, parent_of};

mod leave;
mod listing;
mod marker;
mod mounts;
mod spot;
mod watch;
mod writers;

pub use leave::{Departure, Left, Way, cancel_departure, finish_departure};
pub use listing::{Entry, Interest, Kind, Listing, list};
pub use mounts::{eventless_file_system, missing_mount, mount_point_of};
pub use watch::{Happening, Watch, What};
pub use writers::{Writer, writers_of};

/// A drop directory that was there when it was opened.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
    follow: bool,
    /// Device and inode: another one, when something was mounted or unmounted.
    pub identity: (u64, u64),
}

impl Root {
    /// Opens the directory. `follow`: symbolic links below it are followed.
    pub fn open(path: &Path, follow: bool) -> io::Result<Self> {
        let fd = openat(CWD, path, directory_flags(), Mode::empty())?;
        let stat = fstat(&fd)?;
        Ok(Self {
            fd,
            path: path.to_owned(),
            follow,
            identity: (device_of(&stat), inode_of(&stat)),
        })
    }

    /// Where `path` lies, for messages and for what leaves.
    pub fn absolute(&self, path: &str) -> PathBuf {
        if path.is_empty() {
            self.path.clone()
        } else {
            self.path.join(path)
        }
    }

    /// Opens the directory at `path` below this one; "" is this one.
    pub fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = self.flags(directory_flags());
        if path.is_empty() {
            // Not a copy of the descriptor, which would share the place up to which names were read.
            return Ok(openat(&self.fd, ".", flags, Mode::empty())?);
        }
        for name in path.split('/') {
            checked(name)?;
        }
        if self.follow {
            return Ok(openat(&self.fd, path, flags, Mode::empty())?);
        }
        let resolve = ResolveFlags::NO_SYMLINKS;
        match openat2(&self.fd, path, flags, Mode::empty(), resolve) {
            // As for a link in the last place: it is no directory.
            Err(Errno::LOOP) => Err(io::ErrorKind::NotADirectory.into()),
            // An old kernel, or a sandbox that knows only old ones; or a path that goes by names alone.
            Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG) => self.name_by_name(path),
            other => Ok(other?),
        }
    }

    fn name_by_name(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = self.flags(directory_flags());
        let mut fd = openat(&self.fd, ".", flags, Mode::empty())?;
        for name in path.split('/') {
            fd = openat(&fd, name, flags, Mode::empty())?;
        }
        Ok(fd)
    }

    /// How the file at `path` looks; none where there is no regular file.
    pub fn stamp(&self, path: &str) -> io::Result<Option<FileStamp>> {
        let stat = match self.stat(path) {
            Err(error) if is_nothing(&error) => return Ok(None),
            other => other?,
        };
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(is_file.then(|| self.stamp_of(&stat)))
    }

    /// When the file at `path` was made, in nanoseconds since 1970, where the file system tells: neither a rename nor
    /// other permissions change that.
    pub fn born_ns(&self, path: &str) -> Option<i64> {
        let parent = self.directory(parent_of(path)).ok()?;
        let name = name_of(path).ok()?;
        let found = statx(&parent, name, self.stat_flags(), StatxFlags::BTIME).ok()?;
        let is_told = found.stx_mask & StatxFlags::BTIME.bits() != 0;
        is_told.then(|| nanoseconds(found.stx_btime.tv_sec, found.stx_btime.tv_nsec))
    }

    /// How the directory at `path` looks, without opening it.
    pub fn directory_stamp(&self, path: &str) -> io::Result<FileStamp> {
        let path = if path.is_empty() { "." } else { path };
        let stat = statat(&self.fd, path, self.stat_flags())?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(self.stamp_of(&stat))
    }

    /// How an open directory looks.
    pub fn stamp_of_directory(&self, directory: &OwnedFd) -> io::Result<FileStamp> {
        Ok(self.stamp_of(&fstat(directory)?))
    }

    /// Whether `path` is a directory now.
    pub fn is_directory(&self, path: &str) -> bool {
        self.stat(path)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Opens the regular file at `path`, and tells how it looked then.
    pub fn file(&self, path: &str) -> io::Result<(File, FileStamp)> {
        let parent = self.directory(parent_of(path))?;
        // A FIFO would block, and a device do who knows what.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = openat(&parent, name_of(path)?, self.flags(flags), Mode::empty())?;
        let stat = fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok((File::from(fd), self.stamp_of(&stat)))
    }

    /// How an open file of the drop directory looks now.
    pub fn stamp_of_file(&self, file: &File) -> io::Result<FileStamp> {
        Ok(self.stamp_of(&fstat(file.as_fd())?))
    }

    /// Device and inode of a file as the system knows them.
    pub fn file_of(&self, stamp: FileStamp) -> (u64, u64) {
        let device = match stamp.device {
            0 => self.identity.0,
            device => device,
        };
        (device, stamp.inode)
    }

    fn stamp_of(&self, stat: &Stat) -> FileStamp {
        let device = device_of(stat);
        FileStamp {
            device: if device == self.identity.0 { 0 } else { device },
            inode: inode_of(stat),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        let parent = self.directory(parent_of(path))?;
        Ok(statat(&parent, name_of(path)?, self.stat_flags())?)
    }

    fn flags(&self, flags: OFlags) -> OFlags {
        if self.follow {
            flags
        } else {
            flags | OFlags::NOFOLLOW
        }
    }

    fn stat_flags(&self) -> AtFlags {
        if self.follow {
            AtFlags::empty()
        } else {
            AtFlags::SYMLINK_NOFOLLOW
        }
    }
}

/// Whether an error means that nothing is there.
pub fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether an error means that a symbolic link is in the way.
pub fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

fn name_of(path: &str) -> io::Result<&str> {
    checked(crate::domain::change::base_name(path))
}

/// No name of the file system is refused by this; whatever else makes paths cannot lead upwards.
fn checked(name: &str) -> io::Result<&str> {
    if name.is_empty() || name == "." || name == ".." {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(name)
}

/// Its type differs between platforms.
#[expect(clippy::useless_conversion, reason = "it is no u64 everywhere")]
fn device_of(stat: &Stat) -> u64 {
    u64::from(stat.st_dev)
}

#[expect(clippy::useless_conversion, reason = "it is no u64 everywhere")]
fn inode_of(stat: &Stat) -> u64 {
    u64::from(stat.st_ino)
}

fn nanoseconds(seconds: impl Into<i64>, part: impl TryInto<i64>) -> i64 {
    seconds
        .into()
        .saturating_mul(1_000_000_000)
        .saturating_add(part.try_into().unwrap_or(0))
}
