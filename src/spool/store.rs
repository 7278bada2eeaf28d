//! Writing artifacts: reserved, written and hashed in one go, synced, renamed. Many small ones share what each would
//! cost: one look at the room, one sync, one turn at the spool's lock.

use std::fs::File;
use std::io::{self, Write};

use tempfile::NamedTempFile;

use super::group::sync_all;
use super::hashing::Hashing;
use super::room::Reservation;
use super::{Artifact, Keep, Outside, Spool, is_full, trouble};
use crate::error::{Error, ErrorKind, Result};
use crate::fail_points;

/// How much more is reserved at a time when a source turns out larger than it said.
const GROWTH: u64 = 16 << 20;
/// An artifact that is larger shares nothing with others.
const SMALL_MAX_BYTES: u64 = 1 << 20;
/// How many are written before they are synced and renamed: so many files are open meanwhile.
const PENDING_MAX: usize = 64;
/// For how much room is reserved at once.
const RESERVED_MAX_BYTES: u64 = 64 << 20;

/// Writes artifacts one after the other. Those that it has taken lie in the spool once [`Storing::finish`] says so.
pub struct Storing<'a> {
    spool: &'a Spool,
    keep: &'a Keep,
    outside: &'a Outside<'a>,
    /// How many small ones are still to come, and their bytes.
    to_come: (usize, u64),
    reserved: Option<Reservation>,
    /// Files for the next ones.
    blanks: Vec<NamedTempFile>,
    pending: Vec<Written>,
    stored: Vec<Artifact>,
}

/// An artifact that is whole, under a temporary name.
struct Written {
    file: NamedTempFile,
    sha256: String,
    size: u64,
}

impl Spool {
    /// Writes an artifact of `size` bytes, which `fill` writes; should they become more, room is made for
    /// those, too. Nothing is left behind when it fails. Where there is no room, the error is of the kind
    /// [`NoRoom`](crate::error::ErrorKind::NoRoom).
    pub fn store(
        &self,
        keep: &Keep,
        size: u64,
        outside: &Outside<'_>,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<Artifact> {
        let mut storing = self.storing(keep, outside, &[]);
        storing.add(size, fill)?;
        let mut stored = storing.finish()?;
        stored
            .pop()
            .ok_or_else(|| Error::state("a bug in auto-dispatcher: an artifact is missing"))
    }

    /// Begins to write artifacts of these sizes, or of others.
    pub fn storing<'a>(
        &'a self,
        keep: &'a Keep,
        outside: &'a Outside<'a>,
        sizes: &[u64],
    ) -> Storing<'a> {
        let small = || sizes.iter().filter(|size| **size <= SMALL_MAX_BYTES);
        Storing {
            spool: self,
            keep,
            outside,
            to_come: (small().count(), small().sum()),
            reserved: None,
            blanks: Vec::new(),
            pending: Vec::new(),
            stored: Vec::new(),
        }
    }
}

impl Storing<'_> {
    /// The same as [`Spool::store`] for one of many.
    pub fn add(
        &mut self,
        size: u64,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let temporary = self.temporary(size)?;
        let mut filling = Filling {
            spool: self.spool,
            outside: self.outside,
            file: temporary.as_file(),
            hash: Hashing::new(size),
            size: 0,
            reserved: size,
            trouble: None,
        };
        // What the disk says is nearer to the truth than what the source makes of it.
        fill(&mut filling).map_err(|error| filling.trouble.take().unwrap_or(error))?;
        fail_points::hit("spool.written");
        let (written, reserved) = (filling.size, filling.reserved);
        let sha256 = filling.hash.finish();
        let sha256 = sha256.ok_or_else(|| Error::state("a thread that hashed broke down"))?;
        if written != reserved {
            temporary
                .as_file()
                .set_len(written)
                .map_err(|error| trouble("cannot write to", temporary.path(), &error))?;
        }
        self.pending.push(Written {
            file: temporary,
            sha256,
            size: written,
        });
        if self.pending.len() >= PENDING_MAX || size > SMALL_MAX_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Sees to it that all are there, in the order in which they came.
    pub fn finish(mut self) -> Result<Vec<Artifact>> {
        self.flush()?;
        self.spool.sync_names()?;
        fail_points::hit("spool.renamed");
        Ok(self.stored)
    }

    /// A temporary file of `size` bytes, which are ours.
    fn temporary(&mut self, size: u64) -> Result<NamedTempFile> {
        if size <= SMALL_MAX_BYTES && self.to_come.0 > 0 {
            let file = self.shared(size)?;
            self.to_come.0 = self.to_come.0.saturating_sub(1);
            self.to_come.1 = self.to_come.1.saturating_sub(size);
            if let Some(file) = file {
                return Ok(file);
            }
        }
        self.spool.reserve(size, self.outside)
    }

    /// The same out of what is reserved for many; none where there is no room for many: what is the same again needs
    /// less than it seems.
    fn shared(&mut self, size: u64) -> Result<Option<NamedTempFile>> {
        if self.reserved.as_ref().is_none_or(|own| own.bytes() < size) {
            self.reserved = None;
            let bytes = self.to_come.1.min(RESERVED_MAX_BYTES);
            match self.spool.reserve(bytes, self.outside) {
                Ok(file) => self.reserved = Some(Reservation::new(file, bytes)),
                Err(error) if error.kind == ErrorKind::NoRoom => {
                    self.to_come = (0, 0);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        let Some(reserved) = self.reserved.as_mut().filter(|own| own.bytes() >= size) else {
            return Ok(None);
        };
        if self.blanks.is_empty() {
            self.blanks = self.spool.blanks(self.to_come.0.clamp(1, PENDING_MAX))?;
        }
        let Some(file) = self.blanks.pop() else {
            return Ok(None);
        };
        reserved
            .give(size, file.as_file())
            .map_err(|error| trouble("cannot write to", file.path(), &error))?;
        Ok(Some(file))
    }

    /// Gives those that are whole their names.
    fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let files: Vec<_> = self.pending.iter().map(|written| &written.file).collect();
        sync_all(&files)?;
        fail_points::hit("spool.synced");
        let spool = self.spool;
        let _turn = spool.turn()?;
        self.keep
            .add(self.pending.iter().map(|written| &written.sha256))
            .map_err(|error| trouble("cannot write to", &self.keep.path, &error))?;
        for Written { file, sha256, size } in self.pending.drain(..) {
            self.stored.push(spool.name(file, sha256, size)?);
        }
        Ok(())
    }
}

/// What writes one artifact, and hashes it.
struct Filling<'a> {
    spool: &'a Spool,
    outside: &'a Outside<'a>,
    file: &'a File,
    hash: Hashing,
    size: u64,
    reserved: u64,
    /// Why the bytes could not be taken.
    trouble: Option<Error>,
}

impl Filling<'_> {
    fn grow(&mut self, needed: u64) -> io::Result<()> {
        let to = needed.max(self.reserved + GROWTH);
        self.spool
            .grow(self.file, self.reserved, to, self.outside)
            .map_err(|error| {
                let told = io::Error::other(error.message.clone());
                self.trouble = Some(error);
                told
            })?;
        self.reserved = to;
        Ok(())
    }
}

impl Write for Filling<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let needed = self.size + bytes.len() as u64;
        if needed > self.reserved {
            self.grow(needed)?;
        }
        let written = self.file.write(bytes).inspect_err(|error| {
            if is_full(error) {
                self.trouble = Some(trouble("cannot write to the spool", &self.spool.dir, error));
            }
        })?;
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
