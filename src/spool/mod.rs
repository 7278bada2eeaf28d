//! Artifacts at rest: a package's bytes under their SHA-256, written to a temporary name, fsynced and
//! renamed; checked before they are used; never more of them than there is room for. Knows nothing of
//! deliveries: what is still wanted is asked through a function that is passed in.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::artifact::Want;
use crate::error::{Error, ErrorKind, Result};
use crate::fail_points;

mod check;
mod contents;
mod group;
mod hashing;
mod room;
mod store;
#[cfg(test)]
mod tests;

pub use check::Found;
use check::Stamp;
use contents::Contents;
pub use store::Storing;

/// How the names of artifacts begin that are not whole yet.
const TEMPORARY_PREFIX: &str = "incoming-";
/// How the names of files begin that say which artifacts are being registered.
const KEEP_PREFIX: &str = ".keep-";

/// How many bytes lie in the spool at `dir`, those in the making included; for who only looks.
pub fn bytes_in(dir: &Path) -> Result<u64> {
    Ok(Contents::read(dir)?.bytes())
}

/// A package's bytes in the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Lower-case hex.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// Where they lie.
    pub path: PathBuf,
}

/// The directory of artifacts. Several processes share it: what must not happen at once is done under a
/// lock that is held for moments only, never while bytes are copied.
#[derive(Debug, Clone)]
pub struct Spool {
    dir: PathBuf,
    max_bytes: u64,
    /// What this process wrote or checked, and how the file looked then.
    checked: Arc<Mutex<HashMap<String, Stamp>>>,
}

/// What the spool asks and tells while it makes room.
pub struct Outside<'a> {
    /// How badly an artifact is wanted.
    pub want: &'a dyn Fn(&str) -> Result<Want>,
    /// Hears what was given up for want of room.
    pub tell: &'a dyn Fn(String),
    /// Whether the artifact is for a delivery whose turn it is, out of a repository. Such a one may lie in the spool
    /// beyond `spool_max` where nothing else would make room: all that is there was sent or dropped and waits behind
    /// others, perhaps behind this very delivery.
    pub is_its_turn: bool,
}

/// While one of these lives, no artifact that was stored with it is purged: held from the writing of an
/// artifact until the journal knows of it. The kernel ends it with its process.
#[derive(Debug)]
pub struct Keep {
    /// Locked; holds the digests, one a line.
    file: File,
    path: PathBuf,
}

impl Drop for Keep {
    fn drop(&mut self) {
        // What stays is found without an owner and removed by the next one who looks.
        let _ = fs::remove_file(&self.path);
    }
}

/// The turn of one process to change what lies in the spool.
struct Turn(#[expect(dead_code, reason = "holding the file open holds the lock")] File);

impl Spool {
    /// Opens the spool, making its directory if it is missing. It holds `max_bytes` at most.
    pub fn open(dir: &Path, max_bytes: u64) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| Error::io(ErrorKind::State, "cannot make the spool", dir, &error))?;
        Ok(Self::unused(dir, max_bytes))
    }

    /// The spool for a dry run, which puts nothing there: its directory need not be there, and is not made.
    pub fn unused(dir: &Path, max_bytes: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            max_bytes,
            checked: Arc::default(),
        }
    }

    /// Keeps purges away from what is stored with the returned value, until it is dropped.
    pub fn keep(&self) -> Result<Keep> {
        let _turn = self.turn()?;
        let made = tempfile::Builder::new()
            .prefix(KEEP_PREFIX)
            .tempfile_in(&self.dir)
            .and_then(|file| file.keep().map_err(|error| error.error));
        let (file, path) = made.map_err(|error| trouble("cannot write to", &self.dir, &error))?;
        let keep = Keep { file, path };
        keep.file
            .lock()
            .map_err(|error| trouble("cannot lock", &keep.path, &error))?;
        Ok(keep)
    }

    /// Removes artifacts unless `is_needed` says of one that something may still want it, or somebody is about to
    /// register it.
    pub fn purge(
        &self,
        artifacts: &[String],
        is_needed: &dyn Fn(&str) -> Result<bool>,
    ) -> Result<()> {
        if artifacts.is_empty() {
            return Ok(());
        }
        let _turn = self.turn()?;
        let kept = Contents::keeps(&self.dir)?.kept()?;
        for sha256 in artifacts {
            if kept.contains(sha256) || is_needed(sha256)? {
                continue;
            }
            fail_points::hit("spool.purging");
            self.remove(sha256)?;
        }
        Ok(())
    }

    /// Removes every artifact that nothing wants any more, and what the dead left.
    pub fn sweep(&self, is_needed: &dyn Fn(&str) -> Result<bool>) -> Result<()> {
        let _turn = self.turn()?;
        let mut contents = Contents::read(&self.dir)?;
        contents.remove_orphans()?;
        let kept = contents.kept()?;
        for artifact in &contents.artifacts {
            if !kept.contains(&artifact.sha256) && !is_needed(&artifact.sha256)? {
                self.remove(&artifact.sha256)?;
            }
        }
        Ok(())
    }

    fn path(&self, sha256: &str) -> PathBuf {
        self.dir.join(sha256)
    }

    fn remove(&self, sha256: &str) -> Result<()> {
        self.forget(sha256);
        remove(&self.path(sha256))
    }

    fn forget(&self, sha256: &str) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.remove(sha256);
    }

    fn turn(&self) -> Result<Turn> {
        let path = self.dir.join(".lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| trouble("cannot open", &path, &error))?;
        file.lock()
            .map_err(|error| trouble("cannot lock", &path, &error))?;
        Ok(Turn(file))
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(trouble("cannot remove from the spool", path, &error))
        }
        _ => Ok(()),
    }
}

/// What went wrong with a file of the spool; a full disk is told from the rest.
fn trouble(operation: &str, path: &Path, error: &io::Error) -> Error {
    if is_full(error) {
        return Error::io(ErrorKind::NoRoom, operation, path, error).with_hint(
            "make room on that file system, or move state_dir; what waits for it goes on by itself",
        );
    }
    Error::io(ErrorKind::State, operation, path, error)
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl Keep {
    fn add<'s>(&self, artifacts: impl Iterator<Item = &'s String>) -> io::Result<()> {
        let lines: String = artifacts.flat_map(|sha256| [sha256, "\n"]).collect();
        (&self.file).write_all(lines.as_bytes())
    }
}
