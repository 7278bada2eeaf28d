//! How a file leaves a drop directory, only if it is still the one that was dispatched: it steps aside under a name
//! of ours, which takes whatever lies there in one go; only then is it looked at, and goes, or gets its name back.
//! Whoever is killed in between begins again with the same token.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchown, fstat, openat, renameat_with,
    statat, unlinkat,
};
use rustix::io::Errno;

use super::{Root, is_nothing, name_of, writers_of};
use crate::domain::drop_directory::{FileStamp, parent_of};
use crate::source::contents;

/// How many names are tried where a name is taken.
const NAMES_MAX: u32 = 10_000;

/// A file that is to leave.
#[derive(Clone, Copy)]
pub struct Departure<'a> {
    /// Below the drop directory.
    pub path: &'a str,
    /// Its marker, which goes with it.
    pub marker: Option<&'a str>,
    /// As it was dispatched.
    pub stamp: FileStamp,
    /// Its own among all that ever leave.
    pub token: &'a str,
    /// Where it goes to; none: it is deleted.
    pub destination: Option<&'a Path>,
    /// Asked while it is copied: whether to go on.
    pub go_on: &'a dyn Fn() -> bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// It has left; where to, if it was moved.
    Gone(Option<PathBuf>),
    /// It was not there any more.
    Missing,
    /// It is another one by now, or has other content: it stays.
    Changed,
    /// Somebody has it open for writing: it stays for now.
    Written,
}

/// Has a file leave.
pub fn finish_departure(root: &Root, departure: &Departure<'_>) -> io::Result<Left> {
    let parent = match root.directory(parent_of(departure.path)) {
        // Of a file system that is not mounted nothing is missing.
        Err(error) if is_nothing(&error) && departure.stamp.device == 0 => {
            return Ok(Left::Missing);
        }
        other => other?,
    };
    let name = name_of(departure.path)?;
    let aside = aside_name(departure.token);
    let look = |name: &str| {
        statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .map(|stat| (root.stamp_of(&stat), stat))
    };
    // Else somebody was killed when it had stepped aside.
    if look(&aside).is_none() {
        match look(name) {
            None => {
                let is_there = root.stamp_of(&fstat(&parent)?).device == departure.stamp.device;
                return if is_there {
                    Ok(Left::Missing)
                } else {
                    Err(io::Error::other("its file system is not there"))
                };
            }
            // Whoever changes it is not disturbed.
            Some((stamp, _)) if stamp != departure.stamp => return Ok(Left::Changed),
            Some((stamp, _)) if is_written(root, stamp) => return Ok(Left::Written),
            Some(_) => rename(&parent, name, &parent, &aside)?,
        }
    }
    let Some((stamp, stat)) = look(&aside) else {
        return Ok(Left::Missing);
    };
    let stays = if !stamp.has_content_of(&departure.stamp) {
        Some(Left::Changed)
    } else if is_written(root, stamp) {
        Some(Left::Written)
    } else {
        None
    };
    if let Some(stays) = stays {
        give_back(&parent, &aside, name)?;
        return Ok(stays);
    }
    let to = match departure.destination {
        None => {
            unlinkat(&parent, aside.as_str(), AtFlags::empty())?;
            None
        }
        Some(destination) => match go_to(root, &parent, &aside, &stat, destination, departure) {
            Ok(to) => Some(to),
            Err(error) => {
                give_back(&parent, &aside, name)?;
                return Err(error);
            }
        },
    };
    if let Some(marker) = departure.marker {
        // Only if it was there when the file stepped aside: the next file's marker is not this one's.
        remove_marker(
            root,
            &parent,
            name_of(marker)?,
            departure.token,
            stamp.changed_ns,
        )?;
    }
    Ok(Left::Gone(to))
}

/// A file that stepped aside when somebody was killed gets its name back: it is to stay now. Whether there was one.
pub fn cancel_departure(root: &Root, path: &str, token: &str) -> io::Result<bool> {
    let parent = root.directory(parent_of(path))?;
    let aside = aside_name(token);
    if statat(&parent, aside.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_err() {
        return Ok(false);
    }
    give_back(&parent, &aside, name_of(path)?).map(|()| true)
}

fn aside_name(token: &str) -> String {
    format!(".ad-{token}.leaving")
}

fn is_written(root: &Root, stamp: FileStamp) -> bool {
    !writers_of(&HashSet::from([root.file_of(stamp)])).is_empty()
}

/// Removes a marker that is older than `before_ns`, when its file stepped aside: a newer one is another file's.
fn remove_marker(
    root: &Root,
    parent: &OwnedFd,
    name: &str,
    token: &str,
    before_ns: i64,
) -> io::Result<()> {
    let look = |name: &str| {
        statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .map(|stat| root.stamp_of(&stat))
    };
    let Some(seen) = look(name).filter(|seen| seen.changed_ns < before_ns) else {
        return Ok(());
    };
    let aside = format!(".ad-{token}.marker");
    // What lies there was left by somebody who was killed.
    let _ = unlinkat(parent, aside.as_str(), AtFlags::empty());
    match rename(parent, name, parent, &aside) {
        Err(error) if is_nothing(&error) => return Ok(()),
        other => other?,
    }
    if look(&aside).is_some_and(|taken| taken.has_content_of(&seen)) {
        return Ok(unlinkat(parent, aside.as_str(), AtFlags::empty())?);
    }
    give_back(parent, &aside, name)
}

/// The name back. Where somebody has taken it meanwhile, nothing is overwritten, and no package is made of a name that
/// nobody chose: it stays aside.
fn give_back(parent: &OwnedFd, aside: &str, name: &str) -> io::Result<()> {
    rename(parent, aside, parent, name).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => io::Error::other(format!(
            "it had changed when it was to leave, and another file has its name by now: it stays as {aside}"
        )),
        _ => error,
    })
}

fn go_to(
    root: &Root,
    parent: &OwnedFd,
    aside: &str,
    stat: &Stat,
    destination: &Path,
    departure: &Departure<'_>,
) -> io::Result<PathBuf> {
    let below = parent_of(departure.path);
    let directory = if below.is_empty() {
        destination.to_owned()
    } else {
        destination.join(below)
    };
    fs::create_dir_all(&directory)?;
    // By a mount, too, nothing comes back to where it came from.
    let leads_back = |above: &Path| {
        fs::metadata(above).is_ok_and(|found| (found.dev(), found.ino()) == root.identity)
    };
    if directory.ancestors().any(leads_back) {
        return Err(io::Error::other(format!(
            "{} lies in the drop directory itself",
            directory.display()
        )));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = openat(CWD, &directory, flags, Mode::empty())?;
    let name = name_of(departure.path)?;
    let moved = free_name(name, |name| rename(parent, aside, &target, name));
    let name = match moved {
        Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
            let part = format!(".ad-{}.part", departure.token);
            let copied = copy_to((parent, aside), stat, (&target, &part), departure.go_on);
            if copied.is_err() {
                // What is half there takes room, and is of no use.
                let _ = unlinkat(&target, part.as_str(), AtFlags::empty());
            }
            copied?;
            let name = free_name(name, |name| rename(&target, &part, &target, name))?;
            rustix::fs::fsync(&target)?;
            unlinkat(parent, aside, AtFlags::empty())?;
            name
        }
        other => other?,
    };
    Ok(directory.join(name))
}

/// A copy with the same owner, permissions and time, synced.
fn copy_to(
    (parent, aside): (&OwnedFd, &str),
    stat: &Stat,
    (target, part): (&OwnedFd, &str),
    go_on: &dyn Fn() -> bool,
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut from = File::from(openat(parent, aside, flags, Mode::empty())?);
    // What lies there was left by somebody who was killed.
    let _ = unlinkat(target, part, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut copy = File::from(openat(target, part, flags, Mode::RUSR | Mode::WUSR)?);
    contents::copy(&mut from, Path::new(aside), go_on, &mut copy)
        .map_err(|error| io::Error::other(error.message))?;
    // Only root can give it away. Never the bits that make a program run as its owner.
    let _ = fchown(
        &copy,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    );
    copy.set_permissions(Permissions::from_mode(stat.st_mode & 0o777))?;
    copy.set_modified(from.metadata()?.modified()?)?;
    copy.sync_all()
}

/// Tries `name`, then `name.1` and so on, until one is not taken.
fn free_name(name: &str, attempt: impl Fn(&str) -> io::Result<()>) -> io::Result<String> {
    for number in 0..NAMES_MAX {
        let name = if number == 0 {
            name.to_owned()
        } else {
            format!("{name}.{number}")
        };
        match attempt(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| name),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Renames onto no existing name.
fn rename(from: &OwnedFd, name: &str, to: &OwnedFd, new: &str) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        root: Root,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let inbox = dir.path().join("in");
            fs::create_dir_all(inbox.join("sub")).expect("mkdir");
            let root = Root::open(&inbox, false).expect("open");
            Self { dir, root }
        }

        fn write(&self, path: &str, text: &str) -> FileStamp {
            fs::write(self.root.absolute(path), text).expect("write");
            self.root.stamp(path).expect("stat").expect("a file")
        }

        fn leaves(&self, path: &str, stamp: FileStamp, to: Option<&Path>) -> Left {
            let departure = Departure {
                path,
                marker: None,
                stamp,
                token: "7",
                destination: to,
                go_on: &|| true,
            };
            finish_departure(&self.root, &departure).expect("no error")
        }
    }

    #[test]
    fn the_file_that_was_dispatched_goes_and_another_one_stays() {
        let place = Place::new();
        let stamp = place.write("sub/a", "one");
        assert_eq!(place.leaves("sub/a", stamp, None), Left::Gone(None));
        assert_eq!(place.leaves("sub/a", stamp, None), Left::Missing);
        place.write("sub/a", "another");
        assert_eq!(place.leaves("sub/a", stamp, None), Left::Changed);
        let text = fs::read_to_string(place.root.absolute("sub/a")).expect("read");
        assert_eq!(text, "another");
    }

    #[test]
    fn what_is_moved_takes_no_name_that_is_taken() {
        let place = Place::new();
        let done = place.dir.path().join("done");
        for name in ["sub/a", "sub/a.1", "sub/a.2"] {
            let stamp = place.write("sub/a", name);
            let left = place.leaves("sub/a", stamp, Some(&done));
            assert_eq!(left, Left::Gone(Some(done.join(name))));
            assert_eq!(fs::read_to_string(done.join(name)).expect("read"), name);
        }
    }

    #[test]
    fn what_stepped_aside_when_somebody_was_killed_leaves_and_a_newer_one_stays() {
        let place = Place::new();
        let stamp = place.write("sub/a", "one");
        let aside = place.root.absolute("sub/.ad-7.leaving");
        fs::rename(place.root.absolute("sub/a"), &aside).expect("rename");
        place.write("sub/a", "two");
        assert_eq!(place.leaves("sub/a", stamp, None), Left::Gone(None));
        assert!(!aside.exists());
        let text = fs::read_to_string(place.root.absolute("sub/a")).expect("read");
        assert_eq!(text, "two");
    }

    #[test]
    fn what_somebody_writes_to_stays() {
        let place = Place::new();
        let stamp = place.write("a", "one");
        let writing = fs::OpenOptions::new()
            .append(true)
            .open(place.root.absolute("a"))
            .expect("open");
        assert_eq!(place.leaves("a", stamp, None), Left::Written);
        drop(writing);
        assert_eq!(place.leaves("a", stamp, None), Left::Gone(None));
    }
}
