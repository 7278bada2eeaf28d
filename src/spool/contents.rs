//! What lies in the spool: artifacts, artifacts in the making, and who is about to register which. Read
//! anew each time, under the spool's lock, for other processes write there, too.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::RawDir;

use super::{KEEP_PREFIX, TEMPORARY_PREFIX, remove, trouble};
use crate::error::Result;

/// Room for names that the kernel tells at a time.
const LISTING_BYTES: usize = 32 * 1024;

/// One artifact.
pub(super) struct Lying {
    pub(super) sha256: String,
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
}

/// A listing.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) artifacts: Vec<Lying>,
    /// In the making, each with the bytes that it takes or has reserved.
    pub(super) temporaries: Vec<(PathBuf, u64)>,
    keeps: Vec<PathBuf>,
}

impl Contents {
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let failed = |error: &io::Error| trouble("cannot look into the spool", dir, error);
        let mut contents = Self::default();
        for entry in fs::read_dir(dir).map_err(|error| failed(&error))? {
            let entry = entry.map_err(|error| failed(&error))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                continue;
            };
            if name.starts_with(KEEP_PREFIX) {
                contents.keeps.push(entry.path());
            } else if name.starts_with(TEMPORARY_PREFIX) {
                let bytes = metadata(&entry).map_err(|error| failed(&error))?;
                let bytes = bytes.map_or(0, |metadata| metadata.len());
                contents.temporaries.push((entry.path(), bytes));
            } else if name.len() == 64
                && name.bytes().all(|byte| byte.is_ascii_hexdigit())
                && let Some(metadata) = metadata(&entry).map_err(|error| failed(&error))?
            {
                contents.artifacts.push(Lying {
                    sha256: name.to_owned(),
                    bytes: metadata.len(),
                    modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                });
            }
        }
        Ok(contents)
    }

    /// Who is about to register something, alone: it costs no look at every artifact.
    pub(super) fn keeps(dir: &Path) -> Result<Self> {
        let failed = |error: io::Error| trouble("cannot look into the spool", dir, &error);
        let mut contents = Self::default();
        let opened = File::open(dir).map_err(failed)?;
        let mut buffer = Vec::with_capacity(LISTING_BYTES);
        let mut entries = RawDir::new(&opened, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|error| failed(error.into()))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name.as_bytes().starts_with(KEEP_PREFIX.as_bytes()) {
                contents.keeps.push(dir.join(name));
            }
        }
        Ok(contents)
    }

    /// Bytes that it all takes.
    pub(super) fn bytes(&self) -> u64 {
        let artifacts = self.artifacts.iter().map(|artifact| artifact.bytes);
        let temporaries = self.temporaries.iter().map(|(_, bytes)| *bytes);
        artifacts.chain(temporaries).sum()
    }

    /// Digests of what somebody who lives is about to register.
    pub(super) fn kept(&self) -> Result<HashSet<String>> {
        let mut kept = HashSet::new();
        for path in &self.keeps {
            if let Some(mut file) = owned(path)? {
                let mut text = String::new();
                file.read_to_string(&mut text)
                    .map_err(|error| trouble("cannot read", path, &error))?;
                kept.extend(text.lines().map(str::to_owned));
            }
        }
        Ok(kept)
    }

    /// Removes what processes left that are dead.
    pub(super) fn remove_orphans(&mut self) -> Result<()> {
        let mut temporaries = Vec::new();
        for (path, bytes) in std::mem::take(&mut self.temporaries) {
            if owned(&path)?.is_some() {
                temporaries.push((path, bytes));
            } else {
                remove(&path)?;
            }
        }
        self.temporaries = temporaries;
        for path in &self.keeps {
            if owned(path)?.is_none() {
                remove(path)?;
            }
        }
        Ok(())
    }
}

/// None for what was removed meanwhile.
fn metadata(entry: &fs::DirEntry) -> io::Result<Option<Metadata>> {
    match entry.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// The file, if the process that made it lives: that one holds it locked.
fn owned(path: &Path) -> Result<Option<File>> {
    let file = match OpenOptions::new().read(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| trouble("cannot open", path, &error))?,
    };
    Ok(file.try_lock_shared().is_err().then_some(file))
}
