//! Writing an artifact: reserved, written and hashed in one go, synced, renamed.

use std::fs::File;
use std::io::{self, Write};

use super::{Artifact, Keep, Outside, Spool, is_full, trouble};
use crate::domain::artifact::Digester;
use crate::error::{Error, Result};
use crate::fail_points;

/// How much more is reserved at a time when a source turns out larger than it said.
const GROWTH: u64 = 16 << 20;

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
        let temporary = self.reserve(size, outside)?;
        let mut hashing = Hashing {
            spool: self,
            outside,
            file: temporary.as_file(),
            hash: Digester::default(),
            size: 0,
            reserved: size,
            trouble: None,
        };
        // What the disk says is nearer to the truth than what the source makes of it.
        fill(&mut hashing).map_err(|error| hashing.trouble.take().unwrap_or(error))?;
        fail_points::hit("spool.written");
        let (sha256, size) = (hashing.hash.finish(), hashing.size);
        let written = temporary.as_file();
        written
            .set_len(size)
            .and_then(|()| written.sync_all())
            .map_err(|error| trouble("cannot sync", temporary.path(), &error))?;
        fail_points::hit("spool.synced");
        let turn = self.turn()?;
        keep.add(std::slice::from_ref(&sha256))
            .map_err(|error| trouble("cannot write to", &keep.path, &error))?;
        let artifact = self.name(temporary, sha256, size)?;
        drop(turn);
        self.sync_names()?;
        fail_points::hit("spool.renamed");
        Ok(artifact)
    }
}

struct Hashing<'a> {
    spool: &'a Spool,
    outside: &'a Outside<'a>,
    file: &'a File,
    hash: Digester,
    size: u64,
    reserved: u64,
    /// Why the bytes could not be taken.
    trouble: Option<Error>,
}

impl Hashing<'_> {
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

impl Write for Hashing<'_> {
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
