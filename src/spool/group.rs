//! Writing many small artifacts at once: what each of them would wait for alone (the lock, the listing, the disk) is
//! waited for once for all. They come ahead of their turn, so they take only room that nothing else is near to want.

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::NamedTempFile;

use super::check::Stamp;
use super::{Artifact, Keep, Spool, trouble};
use crate::domain::artifact::Digester;
use crate::error::{Error, Result};
use crate::fail_points;

/// Syncs under way at the same time: a disk has done with several as soon as with one.
const SYNCS_AT_ONCE: usize = 8;

impl Spool {
    /// Writes an artifact for each of `files`, and returns them in that order. Nothing that lies there is given up for
    /// them, and as much room stays free as they take; where there is less, the error is of the kind
    /// [`NoRoom`](crate::error::ErrorKind::NoRoom), and nothing is written.
    pub fn store_all(&self, keep: &Keep, files: &[Vec<u8>]) -> Result<Vec<Artifact>> {
        let sizes: Vec<u64> = files.iter().map(|bytes| bytes.len() as u64).collect();
        let temporaries = self.reserve_all(&sizes)?;
        for (file, bytes) in temporaries.iter().zip(files) {
            file.as_file()
                .write_all(bytes)
                .map_err(|error| trouble("cannot write to the spool", file.path(), &error))?;
        }
        fail_points::hit("spool.all_written");
        sync_all(&temporaries.iter().collect::<Vec<_>>())?;
        fail_points::hit("spool.all_synced");
        let digests: Vec<String> = files.iter().map(|bytes| Digester::of(bytes)).collect();
        let turn = self.turn()?;
        keep.add(digests.iter())
            .map_err(|error| trouble("cannot write to", &keep.path, &error))?;
        let mut artifacts = Vec::with_capacity(files.len());
        for ((temporary, sha256), size) in temporaries.into_iter().zip(digests).zip(sizes) {
            artifacts.push(self.name(temporary, sha256, size)?);
        }
        drop(turn);
        self.sync_names()?;
        fail_points::hit("spool.all_renamed");
        Ok(artifacts)
    }

    /// Gives a synced file the name that it is to have.
    pub(super) fn name(
        &self,
        temporary: NamedTempFile,
        sha256: String,
        size: u64,
    ) -> Result<Artifact> {
        let path = self.path(&sha256);
        let renamed = temporary
            .persist(&path)
            .map_err(|error| trouble("cannot rename in the spool to", &path, &error.error))?;
        let metadata = renamed
            .metadata()
            .map_err(|error| trouble("cannot look at", &path, &error))?;
        self.remember(&sha256, Stamp::of(&metadata));
        Ok(Artifact { sha256, size, path })
    }

    /// From here on the names outlast a power cut.
    pub(super) fn sync_names(&self) -> Result<()> {
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|error| trouble("cannot sync the spool", &self.dir, &error))
    }
}

/// From here on the bytes outlast a power cut.
pub(super) fn sync_all(files: &[&NamedTempFile]) -> Result<()> {
    let next = AtomicUsize::new(0);
    let sync = || -> Result<()> {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            file.as_file()
                .sync_all()
                .map_err(|error| trouble("cannot sync", file.path(), &error))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..SYNCS_AT_ONCE.min(files.len()))
            .map(|_| scope.spawn(sync))
            .collect();
        let mut synced = sync();
        for other in others {
            let other = other.join();
            let broke_down = |_| Err(Error::state("a thread that synced the spool broke down"));
            synced = synced.and(other.unwrap_or_else(broke_down));
        }
        synced
    })
}
