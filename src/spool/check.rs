//! Whether an artifact still is what was recorded: its bytes are read against their digest, unless this very
//! process wrote or read the same file and nobody has touched it since.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::PoisonError;

use super::{Artifact, Spool, remove, trouble};
use crate::domain::artifact::Digester;
use crate::error::{Error, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// More than this many remembered files are forgotten: each costs one reading.
const REMEMBERED_MAX: usize = 10_000;

/// What there is of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is there, with the recorded bytes.
    Whole(Artifact),
    /// It is not there.
    Missing,
    /// It was there with other bytes, and is no more; why, for people.
    Damaged(String),
}

/// How a file looked: as long as it looks the same, it holds the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Spool {
    /// The artifact, if it is there with the recorded size and digest; one that is damaged is removed.
    /// `go_on` is asked while bytes are read; where it says no, the answer is an error.
    pub fn find(&self, sha256: &str, size: u64, go_on: &dyn Fn() -> bool) -> Result<Found> {
        let path = self.path(sha256);
        let failed = |error: &io::Error| trouble("cannot read", &path, error);
        let file = match self.open_artifact(&path)? {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                remove(&path)?;
                return Ok(Found::Damaged("it is a symbolic link".to_owned()));
            }
            other => other.map_err(|error| failed(&error))?,
        };
        let before = Stamp::of(&file.metadata().map_err(|error| failed(&error))?);
        if before.size != size {
            let why = format!("it has {} bytes instead of {size}", before.size);
            return self.give_up(sha256, before, why);
        }
        let whole = Found::Whole(Artifact {
            sha256: sha256.to_owned(),
            size,
            path: path.clone(),
        });
        if self.remembers(sha256, before) {
            return Ok(whole);
        }
        let found = match digest_of(&file, size, go_on) {
            Ok(found) => found.ok_or_else(|| Error::state("told to stop"))?,
            // A sector that cannot be read is as bad as a wrong one.
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                return self.give_up(sha256, before, format!("it cannot be read: {error}"));
            }
            Err(error) => return Err(failed(&error)),
        };
        if found != sha256 {
            return self.give_up(sha256, before, format!("its SHA-256 is {found}"));
        }
        if Stamp::of(&file.metadata().map_err(|error| failed(&error))?) == before {
            self.remember(sha256, before);
        }
        Ok(whole)
    }

    /// Opened in a turn: whoever gives it up for want of room has done so by now, or sees who wants it.
    fn open_artifact(&self, path: &Path) -> Result<io::Result<File>> {
        let _turn = self.turn()?;
        // Neither what a link leads to, nor a FIFO without a writer.
        let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits();
        Ok(OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from(flags).unwrap_or(0))
            .open(path))
    }

    /// Whether something lies under that digest, unread.
    pub fn has(&self, sha256: &str) -> bool {
        self.path(sha256).exists()
    }

    pub(super) fn remember(&self, sha256: &str, stamp: Stamp) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.len() >= REMEMBERED_MAX {
            checked.clear();
        }
        checked.insert(sha256.to_owned(), stamp);
    }

    fn remembers(&self, sha256: &str, stamp: Stamp) -> bool {
        let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.get(sha256) == Some(&stamp)
    }

    /// Removes what is damaged, unless somebody has put something else in its place meanwhile.
    fn give_up(&self, sha256: &str, seen: Stamp, why: String) -> Result<Found> {
        let _turn = self.turn()?;
        self.forget(sha256);
        let path = self.path(sha256);
        let is_same = |metadata: &Metadata| Stamp::of(metadata).file == seen.file;
        if path.symlink_metadata().is_ok_and(|there| is_same(&there)) {
            remove(&path)?;
        }
        Ok(Found::Damaged(why))
    }
}

/// The SHA-256 of a file of `size` bytes; none when told to stop.
fn digest_of(mut file: &File, size: u64, go_on: &dyn Fn() -> bool) -> io::Result<Option<String>> {
    let mut hash = Digester::default();
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let mut buffer = vec![0_u8; most.clamp(1, 1 << 20)];
    loop {
        if !go_on() {
            return Ok(None);
        }
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Some(hash.finish())),
            Ok(count) => hash.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
