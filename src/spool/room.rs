//! Room in the spool: never more than `spool_max` over all processes, and never so much that the file system
//! has none left for journal and log. What is in the making counts with the size that it will have, for that
//! is reserved before the first byte is written. What can be had again goes first when room is short. The one
//! exception keeps the lanes going: see [`Outside::is_its_turn`].

use std::fs::File;
use std::os::fd::AsFd as _;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::contents::{Contents, Lying};
use super::{Outside, Spool, TEMPORARY_PREFIX, trouble};
use crate::domain::artifact::Want;
use crate::error::{Error, ErrorKind, Result};

/// The most that is left free on the file system for journal and log; a sixteenth of a small one.
const SPARED_MAX: u64 = 64 << 20;

/// How full it is.
struct Level {
    /// Bytes in the spool.
    used: u64,
    /// Bytes that the file system has left for artifacts.
    disk: u64,
}

impl Spool {
    /// Bytes that lie in the spool `dir`, for somebody who only looks; 0 where there is none.
    pub fn used(dir: &std::path::Path) -> u64 {
        Contents::read(dir).map_or(0, |contents| contents.bytes())
    }

    /// Bytes that could be had for one more artifact whose turn it is, by giving up what can be had again.
    pub fn room(&self, want: &dyn Fn(&str) -> Result<Want>) -> Result<u64> {
        let _turn = self.turn()?;
        let mut contents = Contents::read(&self.dir)?;
        contents.remove_orphans()?;
        let level = self.level(contents.bytes())?;
        let wishes = Wishes::of(&contents, want)?;
        let spare = wishes.spare_bytes();
        let room = self.available(&level).saturating_add(spare);
        if wishes.nothing_moves {
            return Ok(room.max(level.disk.saturating_add(spare).min(self.max_bytes)));
        }
        Ok(room)
    }

    /// A temporary file of `bytes`, which are ours from then on.
    pub(super) fn reserve(&self, bytes: u64, outside: &Outside<'_>) -> Result<NamedTempFile> {
        let _turn = self.turn()?;
        self.make_room(bytes, bytes, outside)?;
        self.filled(bytes)
    }

    /// The same for many, for which nothing is given up.
    pub(super) fn reserve_all(&self, sizes: &[u64]) -> Result<Vec<NamedTempFile>> {
        let _turn = self.turn()?;
        let wanted: u64 = sizes.iter().sum();
        let level = self.level(Contents::read(&self.dir)?.bytes())?;
        if self.available(&level) / 2 < wanted {
            return Err(self.no_room(wanted, &level, 0));
        }
        sizes.iter().map(|&bytes| self.filled(bytes)).collect()
    }

    /// A file that holds this many bytes.
    fn filled(&self, bytes: u64) -> Result<NamedTempFile> {
        let failed =
            |error: &std::io::Error| trouble("cannot write to the spool", &self.dir, error);
        let file = self.temporary().map_err(|error| failed(&error))?;
        allocate(file.as_file(), bytes).map_err(|error| failed(&error))?;
        Ok(file)
    }

    /// So many temporary files that have nothing reserved.
    pub(super) fn blanks(&self, count: usize) -> Result<Vec<NamedTempFile>> {
        let _turn = self.turn()?;
        let blanks: std::io::Result<Vec<NamedTempFile>> =
            (0..count).map(|_| self.temporary()).collect();
        blanks.map_err(|error| trouble("cannot write to the spool", &self.dir, &error))
    }

    /// To be called in a turn: until it is locked, it looks as if nobody owned it.
    fn temporary(&self) -> std::io::Result<NamedTempFile> {
        let file = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .tempfile_in(&self.dir)?;
        file.as_file().lock()?;
        Ok(file)
    }

    /// Makes a reserved file larger: the source grew while it was read.
    pub(super) fn grow(
        &self,
        file: &File,
        from: u64,
        to: u64,
        outside: &Outside<'_>,
    ) -> Result<()> {
        let _turn = self.turn()?;
        self.make_room(to - from, to, outside)?;
        allocate(file, to).map_err(|error| trouble("cannot write to the spool", &self.dir, &error))
    }

    /// Sees to it that `more` bytes can be had; `whole` is the size of the artifact that wants them.
    fn make_room(&self, more: u64, whole: u64, outside: &Outside<'_>) -> Result<()> {
        let mut contents = Contents::read(&self.dir)?;
        if self.available(&self.level(contents.bytes())?) >= more {
            return Ok(());
        }
        contents.remove_orphans()?;
        let mut used = contents.bytes();
        let mut wishes = Wishes::of(&contents, outside.want)?;
        // What nobody wants, what only a retry could want, what is wanted later; the oldest first.
        wishes
            .spare
            .sort_by_key(|(want, artifact)| (*want, artifact.modified));
        let all = wishes.spare_bytes();
        let level = self.level(used)?;
        // Once all that is spare is gone, nothing that is left makes room by itself.
        let may_exceed = outside.is_its_turn
            && wishes.nothing_moves
            && whole <= self.max_bytes
            && level.disk.saturating_add(all) >= more;
        if self.available(&level).saturating_add(all) < more && !may_exceed {
            return Err(self.no_room(whole, &level, all));
        }
        for (want, artifact) in wishes.spare {
            if self.available(&self.level(used)?) >= more {
                break;
            }
            self.remove(&artifact.sha256)?;
            used -= artifact.bytes;
            if want > Want::Nobody {
                (outside.tell)(format!(
                    "the spool is short of room: {} ({} bytes) goes, and is exported again when it is wanted",
                    artifact.sha256, artifact.bytes
                ));
            }
        }
        Ok(())
    }

    fn level(&self, used: u64) -> Result<Level> {
        let stat = rustix::fs::statvfs(&self.dir)
            .map_err(|error| trouble("cannot look at the disk of", &self.dir, &error.into()))?;
        let spared = (stat.f_blocks.saturating_mul(stat.f_frsize) / 16).min(SPARED_MAX);
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        Ok(Level {
            used,
            disk: free.saturating_sub(spared),
        })
    }

    fn available(&self, level: &Level) -> u64 {
        self.max_bytes.saturating_sub(level.used).min(level.disk)
    }

    fn no_room(&self, wanted: u64, level: &Level, spare: u64) -> Error {
        let (dir, max) = (self.dir.display(), self.max_bytes);
        if wanted > max {
            return Error::new(
                ErrorKind::NoRoom,
                format!("{wanted} bytes are more than the spool {dir} may ever hold: spool_max is {max}"),
            )
            .with_hint("raise spool_max in auto-dispatcher.cfg and restart the worker, or cancel the delivery");
        }
        if max.saturating_sub(level.used).saturating_add(spare) < wanted {
            return Error::new(
                ErrorKind::NoRoom,
                format!(
                    "no room for {wanted} bytes in the spool {dir}: {} of spool_max {max} are taken by what is still wanted",
                    level.used
                ),
            )
            .with_hint(
                "it goes on when other deliveries are settled; `status` shows them; or raise spool_max in auto-dispatcher.cfg and restart the worker",
            );
        }
        Error::new(
            ErrorKind::NoRoom,
            format!(
                "no room for {wanted} bytes on the disk of the spool {dir}: {} are free beside what journal and log need",
                level.disk
            ),
        )
        .with_hint("make room on that file system, or move state_dir; what waits for it goes on by itself")
    }
}

/// Bytes of the spool for artifacts that are to come: a file as long as they are together.
pub(super) struct Reservation {
    file: NamedTempFile,
    bytes: u64,
}

impl Reservation {
    /// Of a file that [`Spool::reserve`] made.
    pub(super) fn new(file: NamedTempFile, bytes: u64) -> Self {
        Self { file, bytes }
    }

    /// What is left of it.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives bytes of it to a file that has none; at no moment is less reserved than before.
    pub(super) fn give(&mut self, bytes: u64, file: &File) -> std::io::Result<()> {
        file.set_len(bytes)?;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.file.as_file().set_len(self.bytes)
    }
}

/// What is wanted of what lies there.
struct Wishes<'a> {
    /// What may go, and how badly it is wanted.
    spare: Vec<(Want, &'a Lying)>,
    /// Whether nothing of the rest is in use, nor in the making.
    nothing_moves: bool,
}

impl<'a> Wishes<'a> {
    fn of(contents: &'a Contents, want: &dyn Fn(&str) -> Result<Want>) -> Result<Self> {
        let kept = contents.kept()?;
        let mut wishes = Self {
            spare: Vec::new(),
            nothing_moves: contents.temporaries.is_empty(),
        };
        for artifact in &contents.artifacts {
            if kept.contains(&artifact.sha256) {
                wishes.nothing_moves = false;
                continue;
            }
            match want(&artifact.sha256)? {
                Want::Now => wishes.nothing_moves = false,
                Want::Kept => {}
                want => wishes.spare.push((want, artifact)),
            }
        }
        Ok(wishes)
    }

    fn spare_bytes(&self) -> u64 {
        self.spare.iter().map(|(_, artifact)| artifact.bytes).sum()
    }
}

/// Takes the bytes on the disk, where the file system can, so that a full one is noticed before anything is
/// copied; the length says in any case how much is reserved.
fn allocate(file: &File, bytes: u64) -> std::io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    loop {
        match fallocate(file.as_fd(), FallocateFlags::empty(), 0, bytes) {
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return file.set_len(bytes),
            other => return other.map_err(Into::into),
        }
    }
}
