//! The hook file in its directory: looked at, put in and taken out, each in one step, and with nothing lost between two.
//! Knows nothing of what a hook says.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind as Io, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::text::KEPT;
use crate::domain::text::escape;
use crate::error::{Error, ErrorKind, Result};

/// More than any hook has.
const LENGTH_MAX: u64 = 64 << 20;

/// REPOS/hooks, locked against others who do the same.
#[derive(Debug)]
pub(super) struct Hooks {
    directory: PathBuf,
    lock: File,
}

/// A hook file that is there.
#[derive(Debug)]
pub(super) struct Found {
    /// Its bytes, or those of what it is a link to.
    pub bytes: Vec<u8>,
    /// Of the file, or of what it is a link to.
    pub metadata: Metadata,
}

impl Found {
    /// Whether anybody may run it.
    pub(super) fn is_executable(&self) -> bool {
        self.metadata.mode() & 0o111 != 0
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    let error_shown = Error::io(ErrorKind::Source, what, path, error);
    match error.kind() {
        Io::PermissionDenied => error_shown
            .with_hint("run it as the owner of the repository or as root; nothing was changed"),
        Io::StorageFull | Io::QuotaExceeded => {
            error_shown.with_hint("make room on that file system; nothing was changed")
        }
        _ => error_shown,
    }
}

impl Hooks {
    /// Those of a repository.
    pub(super) fn of(repository: &Path) -> Result<Self> {
        let named = repository.join("hooks");
        let directory = fs::canonicalize(&named)
            .map_err(|error| failed("cannot find the directory of hooks", &named, &error))?;
        let lock =
            File::open(&directory).map_err(|error| failed("cannot open", &directory, &error))?;
        lock.lock()
            .map_err(|error| failed("cannot lock", &directory, &error))?;
        Ok(Self { directory, lock })
    }

    /// Absolute, links resolved.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn hook(&self) -> PathBuf {
        self.directory.join("post-commit")
    }

    pub(super) fn kept(&self) -> PathBuf {
        self.directory.join(KEPT)
    }

    /// The hook file of that path, if there is one.
    pub(super) fn look(path: &Path) -> Result<Option<Found>> {
        let is_there = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == Io::NotFound => return Ok(None),
            other => other.map_err(|error| failed("cannot look at", path, &error))?,
        };
        let metadata = fs::metadata(path).map_err(|error| {
            let error_shown = failed("cannot look at", path, &error);
            if is_there.is_symlink() {
                return error_shown.with_hint(
                    "it is a symbolic link that leads nowhere: mend it, or take it away",
                );
            }
            error_shown
        })?;
        if !metadata.is_file() || metadata.len() > LENGTH_MAX {
            let shown = escape(&path.to_string_lossy()).into_owned();
            return Err(
                Error::source(format!("{shown} is no hook: it is no regular file"))
                    .with_hint("take it away first"),
            );
        }
        let bytes = fs::read(path).map_err(|error| failed("cannot read", path, &error))?;
        Ok(Some(Found { bytes, metadata }))
    }

    /// Gives the hook that is there a second name. The same file, where the file system can: nothing of it changes.
    pub(super) fn keep(&self) -> Result<()> {
        let (hook, kept) = (self.hook(), self.kept());
        match fs::hard_link(&hook, &kept) {
            Ok(()) => return self.sync(),
            Err(error) if error.kind() == Io::AlreadyExists => {
                // An earlier run that was cut off here.
                let same = |path: &Path| {
                    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
                };
                if same(&hook).ok() == same(&kept).ok() {
                    return Ok(());
                }
                return Err(Error::source(format!(
                    "{} is there already, and the hook {} is not ours: nothing is put over either",
                    kept.display(),
                    hook.display()
                ))
                .with_hint("somebody has replaced our hook; move the one that is not wanted away, and repeat"));
            }
            Err(error) if error.kind() == Io::PermissionDenied && !is_root() && !is_mine(&hook) => {
                return Err(failed(
                    "cannot keep, with its owner, the hook",
                    &hook,
                    &error,
                ));
            }
            Err(_) => {}
        }
        let cannot = |error: io::Error| failed("cannot keep the hook as", &kept, &error);
        if let Ok(target) = fs::read_link(&hook) {
            std::os::unix::fs::symlink(target, &kept).map_err(cannot)?;
        } else {
            let bytes = fs::read(&hook).map_err(cannot)?;
            let metadata = fs::metadata(&hook).map_err(cannot)?;
            let owner = (metadata.uid(), metadata.gid());
            let copy = self.written(&bytes, metadata.mode() & 0o7777, owner)?;
            copy.persist_noclobber(&kept)
                .map_err(|error| cannot(error.error))?;
        }
        self.sync()
    }

    /// Puts a hook in the place of what is there, whole and executable.
    pub(super) fn put(&self, text: &str, mode: u32, owner: (u32, u32)) -> Result<()> {
        let hook = self.hook();
        self.written(text.as_bytes(), mode, owner)?
            .persist(&hook)
            .map_err(|error| failed("cannot put the hook in as", &hook, &error.error))?;
        self.sync()
    }

    fn written(
        &self,
        bytes: &[u8],
        mode: u32,
        owner: (u32, u32),
    ) -> Result<tempfile::NamedTempFile> {
        let cannot = |error: io::Error| failed("cannot write to", &self.directory, &error);
        let mut file = tempfile::Builder::new()
            .prefix(".post-commit.")
            .tempfile_in(&self.directory)
            .map_err(cannot)?;
        file.write_all(bytes).map_err(cannot)?;
        let open = file.as_file();
        if is_root() {
            std::os::unix::fs::fchown(open, Some(owner.0), Some(owner.1)).map_err(cannot)?;
        }
        open.set_permissions(fs::Permissions::from_mode(mode))
            .map_err(cannot)?;
        open.sync_all().map_err(cannot)?;
        Ok(file)
    }

    /// Puts the kept hook back in its place.
    pub(super) fn put_back(&self) -> Result<()> {
        let (hook, kept) = (self.hook(), self.kept());
        fs::rename(&kept, &hook).map_err(|error| failed("cannot put back", &kept, &error))?;
        self.sync()
    }

    /// Takes the hook away.
    pub(super) fn remove(&self) -> Result<()> {
        let hook = self.hook();
        fs::remove_file(&hook).map_err(|error| failed("cannot remove", &hook, &error))?;
        self.sync()
    }

    fn sync(&self) -> Result<()> {
        self.lock
            .sync_all()
            .map_err(|error| failed("cannot sync", &self.directory, &error))
    }

    /// The mode and owner of a new hook: whoever could run the one that was there can run it. Without one it is
    /// everybody's to run, and belongs to whom the directory does.
    pub(super) fn terms(&self, before: Option<&Found>) -> Result<(u32, (u32, u32))> {
        if let Some(found) = before.filter(|found| found.is_executable()) {
            let mode = found.metadata.mode();
            // A script has to be read by who runs it.
            let mode = (mode & 0o755) | (mode & 0o111) << 2;
            return Ok((mode, (found.metadata.uid(), found.metadata.gid())));
        }
        let metadata = self
            .lock
            .metadata()
            .map_err(|error| failed("cannot look at", &self.directory, &error))?;
        Ok((0o755, (metadata.uid(), metadata.gid())))
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn is_mine(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw())
}
