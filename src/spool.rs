//! Artifacts at rest: a package's bytes under their SHA-256, written to a temporary name, fsynced and
//! renamed. Knows nothing of deliveries; whether an artifact is still needed is asked through a
//! function that is passed in.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::fail_points;

/// How the names of artifacts begin that are not whole yet.
const TEMPORARY_PREFIX: &str = "incoming-";

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

/// The directory of artifacts.
#[derive(Debug, Clone)]
pub struct Spool {
    dir: PathBuf,
}

/// While one of these lives, no artifact is purged: held from the writing of an artifact until the
/// journal knows of it.
#[derive(Debug)]
pub struct Keep(#[expect(dead_code, reason = "holding the file open holds the lock")] File);

impl Spool {
    /// Opens the spool, making its directory if it is missing.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| Error::io(ErrorKind::State, "cannot make the spool", dir, &error))?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// Keeps purges away until the returned value is dropped.
    pub fn keep(&self) -> Result<Keep> {
        let file = self.lock_file()?;
        file.lock_shared().map_err(|error| {
            Error::io(ErrorKind::State, "cannot lock the spool", &self.dir, &error)
        })?;
        Ok(Keep(file))
    }

    /// Writes an artifact: `fill` writes the bytes. What is there already is not written twice.
    /// Nothing is left behind when `fill` fails.
    pub fn store<E>(
        &self,
        _keep: &Keep,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<Artifact, E>
    where
        E: From<Error>,
    {
        let failed = |operation: &str, path: &Path, error: &io::Error| -> E {
            let mut failure = Error::io(ErrorKind::State, operation, path, error);
            if error.kind() == io::ErrorKind::StorageFull {
                failure = failure
                    .with_hint("make room for the spool, or move state_dir; the delivery waits");
            }
            failure.into()
        };
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .tempfile_in(&self.dir)
            .map_err(|error| failed("cannot write to the spool", &self.dir, &error))?;
        let mut writer = Hashing {
            file: temporary.as_file(),
            hash: Sha256::new(),
            size: 0,
        };
        fill(&mut writer)?;
        fail_points::hit("spool.written");
        let (sha256, size) = (hex(&writer.hash.finalize()), writer.size);
        let path = self.path(&sha256);
        temporary
            .as_file()
            .sync_all()
            .map_err(|error| failed("cannot sync", temporary.path(), &error))?;
        fail_points::hit("spool.synced");
        temporary
            .persist(&path)
            .map_err(|error| failed("cannot rename in the spool to", &path, &error.error))?;
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|error| failed("cannot sync the spool", &self.dir, &error))?;
        fail_points::hit("spool.renamed");
        Ok(Artifact { sha256, size, path })
    }

    /// The artifact, if it is there with the recorded size.
    pub fn find(&self, sha256: &str, size: u64) -> Option<Artifact> {
        let path = self.path(sha256);
        let metadata = fs::symlink_metadata(&path).ok()?;
        (metadata.is_file() && metadata.len() == size).then(|| Artifact {
            sha256: sha256.to_owned(),
            size,
            path,
        })
    }

    /// Removes an artifact unless `is_needed` says that something may still want it. Does nothing while
    /// somebody keeps purges away: the next purge of the same artifact, or a later sweep, gets it.
    pub fn purge(&self, sha256: &str, is_needed: impl FnOnce() -> Result<bool>) -> Result<()> {
        let file = self.lock_file()?;
        if file.try_lock().is_err() || is_needed()? {
            return Ok(());
        }
        fail_points::hit("spool.purging");
        remove(&self.path(sha256))
    }

    /// Removes every artifact that nothing wants any more, and what interrupted exports left. Does
    /// nothing while somebody writes an artifact.
    pub fn sweep(&self, is_needed: &dyn Fn(&str) -> Result<bool>) -> Result<()> {
        let lock = self.lock_file()?;
        if lock.try_lock().is_err() {
            return Ok(());
        }
        let failed = |error: &io::Error| {
            Error::io(
                ErrorKind::State,
                "cannot look into the spool",
                &self.dir,
                error,
            )
        };
        for entry in fs::read_dir(&self.dir).map_err(|error| failed(&error))? {
            let path = entry.map_err(|error| failed(&error))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let is_artifact = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            if name.starts_with(TEMPORARY_PREFIX) || (is_artifact && !is_needed(name)?) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn path(&self, sha256: &str) -> PathBuf {
        self.dir.join(sha256)
    }

    fn lock_file(&self) -> Result<File> {
        let path = self.dir.join(".lock");
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Error::io(ErrorKind::State, "cannot open", &path, &error))
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(
            ErrorKind::State,
            "cannot remove from the spool",
            path,
            &error,
        )),
        _ => Ok(()),
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

struct Hashing<'a> {
    file: &'a File,
    hash: Sha256,
    size: u64,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        if let Some(bytes) = bytes.get(..written) {
            self.hash.update(bytes);
        }
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool() -> (tempfile::TempDir, Spool) {
        let dir = tempfile::tempdir().expect("a directory");
        let spool = Spool::open(&dir.path().join("spool")).expect("a spool");
        (dir, spool)
    }

    fn store(spool: &Spool, bytes: &[u8]) -> Artifact {
        let keep = spool.keep().expect("a lock");
        spool
            .store::<Error>(&keep, |out| {
                out.write_all(bytes)
                    .map_err(|error| Error::io(ErrorKind::State, "write", Path::new("x"), &error))
            })
            .expect("stored")
    }

    #[test]
    fn an_artifact_lies_under_its_digest() {
        let (_dir, spool) = spool();
        let artifact = store(&spool, b"abc");
        assert_eq!(
            artifact.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(spool.find(&artifact.sha256, 3), Some(artifact.clone()));
        assert_eq!(spool.find(&artifact.sha256, 4), None);
    }

    #[test]
    fn a_failed_export_leaves_nothing() {
        let (_dir, spool) = spool();
        let keep = spool.keep().expect("a lock");
        let failed = spool.store::<Error>(&keep, |out| {
            out.write_all(b"half").expect("write");
            Err(Error::source("cut"))
        });
        assert_eq!(failed, Err(Error::source("cut")));
        let left: Vec<_> = fs::read_dir(&spool.dir)
            .expect("readable")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        assert_eq!(left, [".lock"]);
    }

    #[test]
    fn a_purge_spares_what_is_needed_or_being_registered() {
        let (_dir, spool) = spool();
        let artifact = store(&spool, b"abc");
        spool.purge(&artifact.sha256, || Ok(true)).expect("purge");
        assert!(artifact.path.exists());
        let keep = spool.keep().expect("a lock");
        spool.purge(&artifact.sha256, || Ok(false)).expect("purge");
        assert!(artifact.path.exists());
        drop(keep);
        spool.purge(&artifact.sha256, || Ok(false)).expect("purge");
        assert!(!artifact.path.exists());
    }

    #[test]
    fn a_sweep_removes_what_nothing_wants_and_what_was_interrupted() {
        let (_dir, spool) = spool();
        let wanted = store(&spool, b"wanted");
        let unwanted = store(&spool, b"unwanted");
        let half = spool.dir.join("incoming-xyz");
        fs::write(&half, "half").expect("write");
        let keep = spool.keep().expect("a lock");
        let is_needed = |sha256: &str| Ok(sha256 == wanted.sha256);
        spool.sweep(&is_needed).expect("sweep");
        assert!(half.exists(), "swept under somebody's hands");
        drop(keep);
        spool.sweep(&is_needed).expect("sweep");
        assert!(wanted.path.exists());
        assert!(!unwanted.path.exists());
        assert!(!half.exists());
    }
}
