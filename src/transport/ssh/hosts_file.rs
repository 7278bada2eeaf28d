//! Files of known host keys on disk: read within bounds, and our own judged as it was opened (whoever can write to it
//! decides whom we trust), and added to or rewritten under a lock that all processes take. What the lines mean is told by `known_hosts`, what becomes of a key by `trust`.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Result, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::domain::fault::Fault;
use crate::domain::text::shell_quote;

/// No file that people keep is nearly as large.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A file to be read; nothing where there is none.
pub(super) fn open(path: &Path) -> Result<Option<File>> {
    // A FIFO must not be waited for.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags(OFlags::NONBLOCK))
        .open(path);
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// What a file holds.
pub(super) fn content(file: &File) -> Result<Vec<u8>> {
    if !file.metadata()?.is_file() {
        return Err(Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    let mut from = file;
    from.seek(SeekFrom::Start(0))?;
    from.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Error::other(format!(
            "it is larger than {} MiB",
            BYTES_MAX / 1024 / 1024
        )));
    }
    Ok(bytes)
}

/// A fault where everybody can write to the file, or where it is somebody else's and he is not root.
pub(super) fn judge(file: &File, path: &Path) -> std::result::Result<(), Fault> {
    let shown = path.display();
    let refused = |why: &str, command: &str| {
        let quoted = shell_quote(&path.to_string_lossy());
        Err(Fault::permanent(format!(
            "the known host keys in {shown} are not trusted: {why}; mend it with: {command} {quoted}"
        )))
    };
    let metadata = file
        .metadata()
        .map_err(|error| Fault::permanent(format!("cannot look at {shown}: {error}")))?;
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != me {
        let why = format!("the file belongs to uid {}", metadata.uid());
        return refused(&why, &format!("chown {me}"));
    }
    if metadata.mode() & 0o002 != 0 {
        return refused("everybody can write to the file", "chmod 600");
    }
    Ok(())
}

/// A file of ours, locked until this is dropped.
pub(super) struct Locked {
    /// For judging it.
    pub(super) file: File,
    /// Where it lies, symbolic links resolved.
    path: PathBuf,
    /// What it holds.
    pub(super) bytes: Vec<u8>,
}

impl Locked {
    /// Opens the file, making it (mode 0600) where there is none, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)?;
        }
        loop {
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(flags(OFlags::NONBLOCK))
                .open(path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            // Whoever had the lock may have put another file in its place.
            let (held, there) = (file.metadata()?, fs::metadata(path));
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())) {
                let bytes = content(&file)?;
                return Ok(Self {
                    file,
                    path: fs::canonicalize(path)?,
                    bytes,
                });
            }
        }
    }

    /// Adds lines at the end, to last.
    pub(super) fn append(mut self, lines: &str) -> Result<()> {
        let separator = match self.bytes.last() {
            Some(&last) if last != b'\n' => "\n",
            _ => "",
        };
        self.file
            .write_all(format!("{separator}{lines}").as_bytes())?;
        self.file.sync_all()?;
        if self.bytes.is_empty() {
            // The file is new, and is to last as what it says.
            self.sync_directory()?;
        }
        Ok(())
    }

    /// Puts other content in its place, all or nothing. Owner and mode stay.
    pub(super) fn replace(self, bytes: &[u8]) -> Result<()> {
        let mut new = tempfile::Builder::new()
            .prefix(".ad-known-hosts-")
            .tempfile_in(self.directory())?;
        let known = self.file.metadata()?;
        let mine = new.as_file().metadata()?;
        if (known.uid(), known.gid()) != (mine.uid(), mine.gid()) {
            std::os::unix::fs::fchown(new.as_file(), Some(known.uid()), Some(known.gid()))?;
        }
        new.as_file().set_permissions(known.permissions())?;
        new.write_all(bytes)?;
        new.as_file().sync_all()?;
        new.persist(&self.path).map_err(|failed| failed.error)?;
        self.sync_directory()
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn sync_directory(&self) -> Result<()> {
        File::open(self.directory())?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waited_for_the_lock_sees_the_file_that_took_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known_hosts");
        fs::write(&path, "old\n").unwrap();
        let held = Locked::open(&path).unwrap();
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || Locked::open(&path).unwrap().append("added\n")
        });
        // It holds the old file open by then, and waits for its lock.
        let old = fs::metadata(&path).unwrap().ino().to_string();
        let waits = || {
            let locks = fs::read_to_string("/proc/locks").unwrap();
            locks
                .lines()
                .any(|line| line.contains("->") && line.split([' ', ':']).any(|word| word == old))
        };
        while !waits() {
            std::thread::yield_now();
        }
        held.replace(b"new\n").unwrap();
        waiting.join().unwrap().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\nadded\n");
    }

    #[test]
    fn what_is_no_file_or_too_large_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let large = dir.path().join("large");
        File::create(&large)
            .unwrap()
            .set_len(BYTES_MAX + 1)
            .unwrap();
        for path in [&fifo, &large, &dir.path().to_path_buf()] {
            let read = open(path).and_then(|file| content(&file.expect("it is there")));
            assert!(read.is_err(), "{}", path.display());
        }
        assert!(Locked::open(&fifo).is_err());
        assert!(open(&dir.path().join("missing")).unwrap().is_none());
    }
}
