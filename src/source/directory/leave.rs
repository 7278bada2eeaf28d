//! How a file leaves a drop directory, only if it is still the one that was dispatched: it steps aside under a name
//! of ours, which takes whatever lies there in one go; only then is it looked at, and goes, or gets its name back.
//! Its marker steps aside before it: whoever sees that the file has gone, and drops the next one, finds no marker of
//! the last one to write to. Whoever is killed in between begins again with the same token.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Stat, Uid, fchown, fstat, openat, unlinkat};
use rustix::io::Errno;

use super::marker::Marker;
use super::spot::{Spot, rename};
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
}

/// Where a file goes to that leaves.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    /// None: it is deleted.
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
pub fn finish_departure(root: &Root, departure: &Departure<'_>, way: Way<'_>) -> io::Result<Left> {
    let parent = match root.directory(parent_of(departure.path)) {
        // Of a file system that is not mounted nothing is missing.
        Err(error) if is_nothing(&error) && departure.stamp.device == 0 => {
            return Ok(Left::Missing);
        }
        other => other?,
    };
    let file = departure.file(root, &parent)?;
    let marker = departure.marker(root, &parent)?;
    let left = leave(root, (&file, marker.as_ref()), departure, way, &parent);
    let Some(marker) = marker else {
        return left;
    };
    let settled = match &left {
        Ok(Left::Gone(_) | Left::Missing) => marker.remove(),
        _ => marker.comes_back(file.has_content_of(departure.stamp)),
    };
    left.and_then(|left| settled.map(|()| left))
}

/// What stepped aside when somebody was killed gets its name back: it is to stay now. Whether there was a file.
pub fn cancel_departure(root: &Root, departure: &Departure<'_>) -> io::Result<bool> {
    let parent = root.directory(parent_of(departure.path))?;
    let file = departure.file(root, &parent)?;
    let is_aside = file.look_aside().is_some();
    if is_aside {
        file.give_back()?;
    }
    if let Some(marker) = departure.marker(root, &parent)? {
        marker.comes_back(file.has_content_of(departure.stamp))?;
    }
    Ok(is_aside)
}

impl<'a> Departure<'a> {
    /// Where it lies, and stands aside.
    fn file(&'a self, root: &'a Root, parent: &'a OwnedFd) -> io::Result<Spot<'a>> {
        let aside = format!(".ad-{}.leaving", self.token);
        Ok(Spot::new(root, parent, name_of(self.path)?, aside))
    }

    /// Its marker as it is now: to be asked for before the file is looked at.
    fn marker(&'a self, root: &'a Root, parent: &'a OwnedFd) -> io::Result<Option<Marker<'a>>> {
        let Some(marker) = self.marker else {
            return Ok(None);
        };
        let aside = format!(".ad-{}.marker", self.token);
        let spot = Spot::new(root, parent, name_of(marker)?, aside);
        Ok(Some(Marker::seen(spot)))
    }
}

fn leave(
    root: &Root,
    (file, marker): (&Spot<'_>, Option<&Marker<'_>>),
    departure: &Departure<'_>,
    way: Way<'_>,
    parent: &OwnedFd,
) -> io::Result<Left> {
    // Else somebody was killed when it had stepped aside.
    if file.look_aside().is_none() {
        match file.look() {
            None => {
                let is_there = root.stamp_of(&fstat(parent)?).device == departure.stamp.device;
                return if is_there {
                    Ok(Left::Missing)
                } else {
                    Err(io::Error::other("its file system is not there"))
                };
            }
            // Whoever changes it is not disturbed.
            Some((stamp, _)) if stamp != departure.stamp => return Ok(Left::Changed),
            Some((stamp, _)) if is_written(root, stamp) => return Ok(Left::Written),
            Some(_) => {}
        }
        if let Some(marker) = marker
            && !marker.steps_aside()?
        {
            return Ok(Left::Changed);
        }
        file.step_aside()?;
    }
    let Some((stamp, stat)) = file.look_aside() else {
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
        file.give_back()?;
        return Ok(stays);
    }
    let Some(destination) = way.destination else {
        file.remove()?;
        return Ok(Left::Gone(None));
    };
    let directory = match parent_of(departure.path) {
        "" => destination.to_owned(),
        below => destination.join(below),
    };
    let part = format!(".ad-{}.part", departure.token);
    match go_to(root, (parent, file, &stat), (&directory, &part), way.go_on) {
        Ok(to) => Ok(Left::Gone(Some(to))),
        Err(error) => {
            file.give_back()?;
            Err(error)
        }
    }
}

fn is_written(root: &Root, stamp: FileStamp) -> bool {
    !writers_of(&HashSet::from([root.file_of(stamp)])).is_empty()
}

fn go_to(
    root: &Root,
    (parent, file, stat): (&OwnedFd, &Spot<'_>, &Stat),
    (directory, part): (&Path, &str),
    go_on: &dyn Fn() -> bool,
) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
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
    let target = openat(CWD, directory, flags, Mode::empty())?;
    let (name, aside) = (file.name(), file.aside());
    let moved = free_name(name, |name| rename(parent, aside, &target, name));
    let name = match moved {
        Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
            let copied = copy_to((parent, aside), stat, (&target, part), go_on);
            if copied.is_err() {
                // What is half there takes room, and is of no use.
                let _ = unlinkat(&target, part, AtFlags::empty());
            }
            copied?;
            let name = free_name(name, |name| rename(&target, part, &target, name))?;
            rustix::fs::fsync(&target)?;
            file.remove()?;
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

#[cfg(test)]
mod tests;
