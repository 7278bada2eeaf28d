//! Who scans a directory: one process, which alone scans what lies below it.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::domain::drop_directory::DropTerms;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::DropDirectoryRow;
use crate::state_dir::StateDir;

/// How long those who look whether a directory is scanned may keep one from beginning.
const LOOK_MAX: Duration = Duration::from_millis(200);

/// The right to scan the directory, which the kernel takes back when we die. The file tells whether its
/// sub-directories are scanned, too.
pub(super) fn lock(state: &StateDir, row: &DropDirectoryRow, is_deep: bool) -> Result<File> {
    let path = lock_path(state, row);
    let failed = |error: &std::io::Error| Error::io(ErrorKind::State, "cannot lock", &path, error);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| failed(&error))?;
    // Somebody who only looks whether it is held holds it for a moment.
    let end = Instant::now() + LOOK_MAX;
    while file.try_lock().is_err() {
        if Instant::now() >= end {
            return Err(is_scanned_already(&row.path));
        }
        std::thread::sleep(LOOK_MAX / 20);
    }
    file.set_len(0)
        .and_then(|()| file.write_all(if is_deep { DEEP } else { b"" }))
        .map_err(|error| failed(&error))?;
    Ok(file)
}

/// Whether somebody scans the directory. Makes nothing.
pub(super) fn is_held(state: &StateDir, row: &DropDirectoryRow) -> bool {
    File::open(lock_path(state, row)).is_ok_and(|file| file.try_lock_shared().is_err())
}

/// What the lock of a directory holds whose sub-directories are scanned, too.
const DEEP: &[u8] = b"deep";

fn lock_path(state: &StateDir, row: &DropDirectoryRow) -> PathBuf {
    state.workers().join(format!("drop-{}.scan", row.id))
}

/// An error where somebody scans another directory in which the same files lie.
pub(super) fn look_for_overlap(
    state: &StateDir,
    terms: &DropTerms,
    other: &DropDirectoryRow,
) -> Result<()> {
    let ours_below = terms.directory.starts_with(&other.path);
    let theirs_below = other.path.starts_with(&terms.directory);
    if other.path == terms.directory || !(ours_below || (theirs_below && terms.sub_directories)) {
        return Ok(());
    }
    let is_deep = || std::fs::read(lock_path(state, other)).is_ok_and(|held| held == DEEP);
    if is_held(state, other) && (theirs_below || is_deep()) {
        return Err(is_scanned_already(&other.path));
    }
    Ok(())
}

fn is_scanned_already(directory: &Path) -> Error {
    Error::state(format!(
        "{} is scanned by another process already",
        directory.display()
    ))
    .with_hint(
        "one is enough: a `worker` scans what auto-dispatcher.cfg names; `status` lists those that live",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_looks_keeps_nobody_from_scanning_and_who_scans_does() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::open(&root.path().join("state")).unwrap();
        let row = DropDirectoryRow {
            id: 1,
            path: root.path().to_owned(),
            first_at: chrono::Utc::now(),
            stocked_at: None,
            mount_point: None,
            trouble: None,
            terms: None,
            files: 0,
        };
        drop(lock(&state, &row, true).unwrap());
        let looks = File::open(lock_path(&state, &row)).unwrap();
        looks.try_lock_shared().unwrap();
        let held = std::thread::scope(|scope| {
            let beginning = scope.spawn(|| lock(&state, &row, true));
            // Not before it has been refused once.
            std::thread::sleep(LOOK_MAX / 4);
            drop(looks);
            beginning.join().unwrap()
        });
        let _held = held.unwrap();
        assert!(is_held(&state, &row));
        let error = lock(&state, &row, true).unwrap_err();
        assert!(error.to_string().contains("is scanned by another process"));
    }
}
