//! A log file that several processes write and rotate at the same time without losing or tearing a
//! line. The crate file-rotate and Python's `RotatingFileHandler`, whose names and limits these are,
//! both count on one process: a second one goes on writing to a file that was renamed under it, and
//! rotates what the first has just rotated. Here a lock file is held while a line is written, the
//! file's identity is compared before each line, and whoever finds it full rotates it under that lock.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fd_lock::RwLock;

use crate::domain::log_settings::FileSink;
use crate::error::{Error, ErrorKind, Result};

/// How long a line waits for the lock. A holder that was stopped must not stop everybody: a line that
/// waited in vain is appended all the same, and only the rotation is left to others.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_micros(200);
/// So much is held at most.
const HELD_MAX_BYTES: u64 = 32 << 10;

/// One log file, opened at its first line.
#[derive(Debug)]
pub struct RotatingFile {
    sink: FileSink,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    /// Lines that are written together with those that follow.
    held: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// None where no lock file can be had; such a file is appended to and never rotated.
    lock: Option<RwLock<File>>,
}

/// Whether the lock is held.
#[derive(Debug, Clone, Copy)]
enum Held {
    Yes,
    No,
}

impl State {
    fn hold(&mut self, line: &str) {
        self.held.extend_from_slice(line.as_bytes());
        self.held.push(b'\n');
    }
}

impl RotatingFile {
    /// Touches nothing yet.
    pub fn new(sink: FileSink) -> Self {
        Self {
            sink,
            state: Mutex::default(),
        }
    }

    /// Appends `line` and a line end, and what was held before. An error names the operation and the path; the next
    /// line is tried afresh.
    pub fn write_line(&self, line: &str) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.hold(line);
        self.write(&mut state)
    }

    /// Appends `line` together with those that follow, at [`RotatingFile::flush`] at the latest.
    pub fn hold_line(&self, line: &str) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let most = match self.sink.max_bytes {
            0 => HELD_MAX_BYTES,
            // A file is not made much fuller than it may be.
            max => max.min(HELD_MAX_BYTES * 8) / 8,
        };
        if (state.held.len() + line.len()) as u64 >= most {
            self.write(&mut state)?;
        }
        state.hold(line);
        Ok(())
    }

    /// Appends what was held.
    pub fn flush(&self) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&mut state)
    }

    fn write(&self, state: &mut State) -> Result<()> {
        let whole = std::mem::take(&mut state.held);
        if whole.is_empty() {
            return Ok(());
        }
        let mut open = match state.open.take() {
            Some(open) => open,
            None => self.open_first()?,
        };
        let Open { file, lock } = &mut open;
        match lock {
            Some(lock) => self.write_locked(file, lock, &whole)?,
            None => self.append(file, &whole, Held::No)?,
        }
        state.open = Some(open);
        Ok(())
    }

    fn write_locked(&self, file: &mut File, lock: &mut RwLock<File>, whole: &[u8]) -> Result<()> {
        let end = Instant::now() + LOCK_PATIENCE;
        loop {
            match lock.try_write() {
                Ok(_guard) => {
                    self.follow(file)?;
                    // A rotation that fails must not cost the line.
                    let rotated = self.rotate_if_full(file, whole.len() as u64);
                    self.append(file, whole, Held::Yes)?;
                    return rotated;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => {
                    thread::sleep(LOCK_PAUSE);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.follow(file)?;
                    return self.append(file, whole, Held::No);
                }
            }
        }
    }

    /// Opens the file that has the name now, if another process has rotated the one that we hold.
    fn follow(&self, file: &mut File) -> Result<()> {
        let ours = file
            .metadata()
            .map_err(|error| self.failed("cannot look at the log", &error))?;
        let is_same = |named: Metadata| named.ino() == ours.ino() && named.dev() == ours.dev();
        if !fs::metadata(&self.sink.path).is_ok_and(is_same) {
            *file = self.open_file(false)?;
        }
        Ok(())
    }

    fn rotate_if_full(&self, file: &mut File, coming: u64) -> Result<()> {
        if !self.rotates() {
            return Ok(());
        }
        let now = file
            .metadata()
            .map_err(|error| self.failed("cannot look at the log", &error))?;
        if now.len() == 0 || now.len() + coming < self.sink.max_bytes || !now.is_file() {
            return Ok(());
        }
        // Above a gap nothing has to move; without one the oldest is overwritten by its follower.
        let highest = (1..self.sink.backups).find(|number| !self.backup(*number).exists());
        let highest = highest.unwrap_or(self.sink.backups);
        let failed = |error| self.failed("cannot rotate the log", &error);
        for number in (1..highest).rev() {
            fs::rename(self.backup(number), self.backup(number + 1)).map_err(failed)?;
        }
        fs::rename(&self.sink.path, self.backup(1)).map_err(failed)?;
        *file = self.open_file(false)?;
        Ok(())
    }

    fn append(&self, file: &mut File, whole: &[u8], held: Held) -> Result<()> {
        let before = file.metadata().map(|now| now.len());
        file.write_all(whole).map_err(|error| {
            // A full disk takes half a line; the next one must not be glued to it. Without the lock
            // somebody else's line may stand behind it.
            if let (Ok(before), Held::Yes) = (before, held) {
                let _ = file.set_len(before);
            }
            self.failed("cannot write to the log", &error)
        })
    }

    fn rotates(&self) -> bool {
        self.sink.max_bytes > 0 && self.sink.backups > 0
    }

    fn open_first(&self) -> Result<Open> {
        if let Some(directory) = self.sink.path.parent() {
            let made = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory);
            made.map_err(|error| {
                Error::io(
                    ErrorKind::State,
                    "cannot make the directory",
                    directory,
                    &error,
                )
            })?;
        }
        let file = self.open_file(!self.sink.append && !self.rotates())?;
        let is_regular = file.metadata().is_ok_and(|found| found.is_file());
        let lock = is_regular
            .then(|| self.open_lock())
            .and_then(io::Result::ok);
        Ok(Open { file, lock })
    }

    fn open_file(&self, emptied: bool) -> Result<File> {
        let opened = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.sink.path);
        let file = opened.map_err(|error| self.failed("cannot open the log", &error))?;
        if emptied {
            file.set_len(0)
                .map_err(|error| self.failed("cannot empty the log", &error))?;
        }
        Ok(file)
    }

    fn open_lock(&self) -> io::Result<RwLock<File>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        options.open(self.beside(".lock")).map(RwLock::new)
    }

    fn backup(&self, number: u32) -> PathBuf {
        self.beside(&format!(".{number}"))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.sink.path);
        name.push(suffix);
        PathBuf::from(name)
    }

    fn failed(&self, operation: &str, error: &io::Error) -> Error {
        Error::io(ErrorKind::State, operation, &self.sink.path, error)
    }
}
