//! The state directory: where journal, spool, log and the workers' locks lie. Ours alone: mode 0700 and
//! our own, or it is not used.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::{Error, ErrorKind, Result};

/// A state directory that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Opens the directory, making it (mode 0700) if it is missing.
    pub fn open(path: &Path) -> Result<Self> {
        make(path)?;
        let state = Self::check(path)?;
        make(&state.workers())?;
        make(&state.spool())?;
        Ok(state)
    }

    /// The same for somebody who only looks: a directory that is not there is an error, and is not
    /// made, for whoever looks need not be who works there.
    pub fn look(path: &Path) -> Result<Self> {
        let state = Self {
            path: path.to_owned(),
        };
        if !state.journal().exists() {
            return Err(Error::state(format!(
                "there is no journal in {}: nothing was recorded there yet",
                path.display()
            ))
            .with_hint("`state_dir` in auto-dispatcher.cfg names the place; --config says which file that is"));
        }
        Self::check(path)
    }

    /// The directory for a dry run, which makes nothing; none where it is missing. Errors: as with [`Self::open`].
    pub fn peek(path: &Path) -> Result<Option<Self>> {
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => Self::check(path).map(Some),
        }
    }

    /// The directory as a name alone, for a dry run: neither looked at nor used.
    pub fn unused(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    fn check(path: &Path) -> Result<Self> {
        let shown = path.display();
        let metadata = opened(path)?;
        closed_ways(path)?;
        let me = rustix::process::geteuid().as_raw();
        if metadata.uid() != me {
            return Err(Error::state(format!(
                "the state directory {shown} belongs to uid {}, and this runs as uid {me}",
                metadata.uid()
            ))
            .with_hint(
                "run as its owner, or name another one by `state_dir` in auto-dispatcher.cfg",
            ));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(Error::state(format!(
                "the state directory {shown} is open to others (mode {:04o})",
                metadata.mode() & 0o7777
            ))
            .with_hint(format!("chmod 700 {shown}")));
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that its file system has free for us, and all its bytes; none where that cannot be told.
    pub fn room(&self) -> Option<(u64, u64)> {
        let stat = rustix::fs::statvfs(&self.path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Some((bytes(stat.f_bavail), bytes(stat.f_blocks)))
    }

    /// The journal file.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.sqlite")
    }

    /// The directory of artifacts.
    pub fn spool(&self) -> PathBuf {
        self.path.join("spool")
    }

    /// The directory of the workers' locks and wake-up pipes.
    pub fn workers(&self) -> PathBuf {
        self.path.join("workers")
    }

    /// The known_hosts file that accepted keys are added to.
    pub fn known_hosts(&self) -> PathBuf {
        self.path.join("known_hosts")
    }
}

/// What the directory is like, as it was opened: not what a name leads to at another moment, and no symbolic link.
fn opened(path: &Path) -> Result<fs::Metadata> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from);
    opened
        .and_then(|directory| File::from(directory).metadata())
        .map_err(|error| {
            let is_link = path.is_symlink();
            let why = if is_link || error.kind() == io::ErrorKind::NotADirectory {
                let what = if is_link {
                    "is a symbolic link"
                } else {
                    "is not a directory"
                };
                Error::state(format!("the state directory {} {what}", path.display()))
            } else {
                let doing = "cannot open the state directory";
                Error::io(ErrorKind::State, doing, path, &error)
            };
            why.with_hint("name another one by `state_dir` in auto-dispatcher.cfg")
        })
}

/// Refuses a state directory that everybody can put another one in the place of. So its path leads to what was
/// checked for as long as we run.
fn closed_ways(path: &Path) -> Result<()> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    for directory in real.ancestors().skip(1) {
        if directory
            .metadata()
            .is_ok_and(|metadata| metadata.mode() & 0o1002 == 0o002)
        {
            let (shown, open) = (path.display(), directory.display());
            return Err(Error::state(format!(
                "the state directory {shown} is not safe: everybody may write to {open} and put another in its place"
            ))
            .with_hint(format!("chmod o-w {open}")));
        }
    }
    Ok(())
}

fn make(path: &Path) -> Result<()> {
    // What is there and no directory is said so by whoever looks next.
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    // Each one on the way that is missing is to last, too.
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|ancestor| ancestor.symlink_metadata().is_err())
        .collect();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| missing.iter().try_for_each(|made| sync_parent(made)))
        .map_err(|error| {
            Error::io(
                ErrorKind::State,
                "cannot make the state directory",
                path,
                &error,
            )
            .with_hint("name a place that can be written by `state_dir` in auto-dispatcher.cfg")
        })
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    match File::open(parent) {
        // One may write there and not read: then nobody but the system can see to it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_that_others_may_enter_is_refused_with_the_chmod_that_mends_it() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("state");
        StateDir::open(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).expect("chmod");
        let error = StateDir::open(&path).expect_err("refused");
        assert_eq!(error.hint, Some(format!("chmod 700 {}", path.display())));
    }

    #[test]
    fn a_symbolic_link_and_a_directory_that_others_can_replace_are_refused() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("way/state");
        StateDir::open(&path).expect("made");
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("symlink");
        let error = StateDir::open(&link).expect_err("refused").to_string();
        assert!(error.contains("is a symbolic link"), "{error}");
        let way = root.path().join("way");
        fs::set_permissions(&way, fs::Permissions::from_mode(0o777)).expect("chmod");
        let error = StateDir::open(&path).expect_err("refused");
        assert_eq!(error.hint, Some(format!("chmod o-w {}", way.display())));
        fs::set_permissions(&way, fs::Permissions::from_mode(0o1777)).expect("chmod");
        StateDir::open(&path).expect("sticky");
    }
}
