//! Who lives: a lock file for each worker, released by the kernel when it dies, and a FIFO by which
//! others wake it. Knows nothing of deliveries.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use super::underway;
use crate::error::{Error, ErrorKind, Result};
use crate::state_dir::StateDir;

/// How long a hook waits for its turn to look whether a worker lives.
const TURN_MAX: Duration = Duration::from_millis(200);

/// A living worker's marks in the state directory; dropping it takes them away.
#[derive(Debug)]
pub struct Presence {
    lock_path: PathBuf,
    wake_path: PathBuf,
    /// Held for as long as the process lives; the kernel releases it.
    _lock: File,
    /// Held shared by workers that serve everybody; the hook starts one where none holds it.
    background: Option<File>,
    /// Held by the one that hooks started.
    detached: Option<File>,
}

impl Presence {
    /// Marks worker `id` as living and forwards wake-ups to `wake`.
    pub fn enter(
        state: &StateDir,
        id: i64,
        background: bool,
        detached: Option<File>,
        wake: &Sender<()>,
    ) -> Result<Self> {
        let lock_path = state.workers().join(format!("{id}.lock"));
        let wake_path = state.workers().join(format!("{id}.wake"));
        // First: a hook that sees it has recorded before, and whoever sees that this worker lives sees that none has to
        // be started.
        let background = background.then(|| share_background(state)).transpose()?;
        let lock = lock_that_stays(&lock_path)?;
        // Left by a worker of that number in a journal that was moved away; the lock says that it is dead.
        let _ = fs::remove_file(&wake_path);
        mknodat(CWD, &wake_path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(|error| {
            Error::io(ErrorKind::State, "cannot make", &wake_path, &error.into())
        })?;
        listen(&wake_path, wake.clone())?;
        Ok(Self {
            lock_path,
            wake_path,
            _lock: lock,
            background,
            detached,
        })
    }

    /// Ceases to count as a worker that serves everybody. Who does this looks for work once more
    /// afterwards: a hook that recorded before saw a worker and started none.
    pub fn resign(&mut self) {
        self.background = None;
        self.detached = None;
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // What cannot be removed is found dead by its lock and removed by another worker.
        let _ = fs::remove_file(&self.wake_path);
        let _ = fs::remove_file(&self.lock_path);
    }
}

/// Whether a worker that serves everybody lives.
pub fn a_worker_lives(state: &StateDir) -> Result<bool> {
    // The test takes the lock for a moment. Two hooks testing at once would take each other for a worker,
    // so they test one after the other. A hook that was stopped in its turn keeps nobody waiting: one
    // worker more does no harm.
    let turn = open(&state.workers().join("turn.lock"))?;
    let end = Instant::now() + TURN_MAX;
    while turn.try_lock().is_err() {
        if Instant::now() >= end {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(open(&background_path(state))?.try_lock().is_err())
}

/// The right to be the one worker that hooks started; none while another one has it.
pub fn be_the_detached_one(state: &StateDir) -> Result<Option<File>> {
    let file = open(&state.workers().join("detached.lock"))?;
    Ok(file.try_lock().is_ok().then_some(file))
}

/// Removes the marks of every worker that is dead.
pub fn bury_the_dead(state: &StateDir) {
    let Ok(entries) = fs::read_dir(state.workers()) else {
        return;
    };
    for entry in entries.flatten() {
        if let Some(id) = number_of(&entry.path()) {
            bury_if_dead(state, id);
        }
    }
}

/// The number in `12.lock`.
fn number_of(path: &Path) -> Option<i64> {
    path.file_name()?
        .to_str()?
        .strip_suffix(".lock")?
        .parse()
        .ok()
}

/// Keeps why a worker that a hook started could not work: nobody sees its stderr. `status` shows it.
pub fn keep_failure(state: &StateDir, message: &str) {
    // Where even this cannot be written, there is nobody left to tell.
    let _ = fs::write(failure_path(state), message);
}

/// Forgets the failure: a worker works.
pub fn forget_failure(state: &StateDir) {
    let _ = fs::remove_file(failure_path(state));
}

/// Why the last worker that a hook started could not work, if that is how it stands.
pub fn last_failure(state: &StateDir) -> Option<String> {
    fs::read_to_string(failure_path(state)).ok()
}

fn failure_path(state: &StateDir) -> PathBuf {
    state.workers().join("last-failure")
}

/// Whether worker `id` is dead; removes its marks if so.
pub fn bury_if_dead(state: &StateDir, id: i64) -> bool {
    let lock_path = state.workers().join(format!("{id}.lock"));
    let file = match OpenOptions::new().write(true).open(&lock_path) {
        Ok(file) => file,
        Err(error) => return error.kind() == io::ErrorKind::NotFound,
    };
    if file.try_lock().is_err() {
        return false;
    }
    // The lock is held until the marks are gone: one that is about to live has opened it and not got it yet. It then makes
    // others, which are not to be removed in place of those.
    if is_at(&file, &lock_path) {
        let _ = fs::remove_file(state.workers().join(format!("{id}.wake")));
        underway::bury(state, id);
        let _ = fs::remove_file(&lock_path);
        return true;
    }
    // Somebody else has buried it meanwhile, and perhaps one of its number lives.
    !lock_path.exists()
}

/// Whether this open file is the one at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(mine), Ok(there)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    (mine.dev(), mine.ino()) == (there.dev(), there.ino())
}

/// Wakes every living worker. A FIFO that nobody reads, or that is full of wake-ups, is passed over.
pub fn wake_all(state: &StateDir) {
    let Ok(entries) = fs::read_dir(state.workers()) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wake")
        {
            let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
            if let Ok(mut fifo) = OpenOptions::new()
                .write(true)
                .custom_flags(flags)
                .open(&path)
            {
                let _ = fifo.write(b"!");
            }
        }
    }
}

/// Opens and locks the file at `path`, and makes sure that it is still the one there: between the two,
/// somebody may have taken it for a dead worker's and removed it.
fn lock_that_stays(path: &Path) -> Result<File> {
    let failed = |error: &io::Error| Error::io(ErrorKind::State, "cannot lock", path, error);
    loop {
        let file = open(path)?;
        // Not try_lock: somebody who lists the workers may hold it for a moment.
        file.lock().map_err(|error| failed(&error))?;
        if is_at(&file, path) {
            return Ok(file);
        }
    }
}

fn share_background(state: &StateDir) -> Result<File> {
    let path = background_path(state);
    let file = open(&path)?;
    file.lock_shared()
        .map_err(|error| Error::io(ErrorKind::State, "cannot lock", &path, &error))?;
    Ok(file)
}

fn background_path(state: &StateDir) -> PathBuf {
    state.workers().join("background.lock")
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Error::io(ErrorKind::State, "cannot open", path, &error))
}

/// Reads the FIFO in a thread of its own, which ends with the process. Opened for reading and writing,
/// so that it never sees an end of file.
fn listen(path: &Path, wake: Sender<()>) -> Result<()> {
    let mut fifo = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| Error::io(ErrorKind::State, "cannot open", path, &error))?;
    std::thread::Builder::new()
        .name("wake".to_owned())
        .spawn(move || {
            let mut bytes = [0_u8; 64];
            while fifo.read(&mut bytes).is_ok_and(|n| n > 0) {
                // Full means that a wake-up is under way already.
                let _ = wake.try_send(());
            }
        })
        .map(|_| ())
        .map_err(|error| Error::state(format!("cannot start the wake-up thread: {error}")))
}

/// The numbers of the workers that live, lowest first.
pub fn living(state: &StateDir) -> Vec<i64> {
    let Ok(entries) = fs::read_dir(state.workers()) else {
        return Vec::new();
    };
    let mut ids: Vec<i64> = entries
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let id = number_of(&path)?;
            let file = File::open(&path).ok()?;
            file.try_lock_shared().is_err().then_some(id)
        })
        .collect();
    ids.sort_unstable();
    ids
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn who_begins_while_the_dead_are_buried_keeps_its_lock() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::open(&root.path().join("state")).unwrap();
        let path = state.workers().join("1.lock");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::SeqCst) {
                        bury_the_dead(&state);
                    }
                });
            }
            let lost = (0..10_000).find(|_| {
                let lock = lock_that_stays(&path).unwrap();
                std::thread::yield_now();
                !is_at(&lock, &path)
            });
            is_over.store(true, Ordering::SeqCst);
            assert_eq!(lost, None);
        });
    }
}
