//! The directory in which hooks of other users leave their notes. Everybody may write there and only its owner, the
//! worker, may list it: names are not to be guessed, the sticky bit keeps others from removing them, and whatever lies
//! there is taken for hostile. Decides nothing about a revision.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::domain::incoming::{LENGTH_MAX, Note, Read};
use crate::error::{Error, ErrorKind, Result};

/// What a directory that the worker makes allows: everybody may write and enter, nobody else list; sticky.
const MODE: u32 = 0o1733;
/// How old what is no whole note may become before it goes.
const BEGINNING_MAX: Duration = Duration::from_mins(1);
/// Notes, and what is none, that one look deals with. What cannot be removed does not count: it must hide nothing.
const LOOK_MAX: usize = 1000;

/// The directory, opened.
#[derive(Debug)]
pub struct Incoming {
    path: PathBuf,
    fd: OwnedFd,
    owner: u32,
    mode: u32,
}

/// A note that lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The name of its file.
    pub name: CString,
    /// The user who left it.
    pub uid: u32,
    /// What it says.
    pub note: Note,
}

/// What one look found.
#[derive(Debug, Default)]
pub struct Look {
    /// Notes.
    pub left: Vec<Left>,
    /// What was removed because it is no note: whose it was, and why.
    pub refused: Vec<(u32, String)>,
    /// What cannot be removed, such as somebody's directory with something in it.
    pub stuck: usize,
    /// Whether there may be more.
    pub more: bool,
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoRoom,
        _ => ErrorKind::State,
    };
    Error::io(kind, what, path, error)
}

impl Incoming {
    /// Opens it for somebody who leaves a note. Errors: it is missing, or no directory.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_as(path, OFlags::PATH).map_err(|error| {
            failed("cannot enter", path, &error).with_hint(
                "the worker makes it when it starts (`incoming` in auto-dispatcher.cfg names it); start the service",
            )
        })
    }

    /// Opens it for the worker, who makes it where it is missing and has it such as it must be: ours, sticky, and
    /// listed by nobody else. Whether others or a group may write there is left as the operator has it.
    pub fn own(path: &Path) -> Result<Self> {
        let made = rustix::fs::mkdir(path, Mode::RWXU);
        if let Err(error) = made
            && error != Errno::EXIST
        {
            return Err(failed("cannot make", path, &error.into()).with_hint(
                "make its parent, or name another place by `incoming` in auto-dispatcher.cfg",
            ));
        }
        let mut opened = Self::open_as(path, OFlags::RDONLY)
            .map_err(|error| failed("cannot open", path, &error))?;
        if !opened.is_ours() {
            let me = rustix::process::geteuid().as_raw();
            return Err(Error::state(format!(
                "{} belongs to uid {}, and this runs as uid {me}",
                path.display(),
                opened.owner
            ))
            .with_hint(
                "the worker has to own `incoming`: chown it, or run the worker as its owner",
            ));
        }
        let wanted = if made.is_ok() {
            MODE
        } else {
            (opened.mode | 0o1300) & !0o044
        };
        if wanted != opened.mode {
            rustix::fs::fchmod(&opened.fd, Mode::from_raw_mode(wanted))
                .map_err(|error| failed("cannot change the mode of", path, &error.into()))?;
            opened.mode = wanted;
        }
        Ok(opened)
    }

    fn open_as(path: &Path, flags: OFlags) -> io::Result<Self> {
        let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Self {
            path: path.to_owned(),
            fd,
            owner: stat.st_uid,
            mode: stat.st_mode & 0o7777,
        })
    }

    /// Whether it is this process's user who takes up what lies there.
    pub fn is_ours(&self) -> bool {
        self.owner == rustix::process::geteuid().as_raw()
    }

    /// Leaves a note, which lies on the disk when this returns.
    pub fn leave(&self, note: &Note) -> Result<()> {
        let cannot = |error: io::Error| failed("cannot leave a note in", &self.path, &error);
        let (name, file) = self.new_file().map_err(cannot)?;
        let written = (|| {
            let mut file = File::from(file);
            file.write_all(note.text().as_bytes())?;
            // The worker is another user; the name tells nobody else where it is.
            rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
            file.sync_all()
        })();
        if let Err(error) = written {
            let _ = rustix::fs::unlinkat(&self.fd, &name, AtFlags::empty());
            return Err(cannot(error));
        }
        self.sync();
        Ok(())
    }

    /// Who may not list the directory cannot sync it either; common file systems write a new file's name with it.
    /// Should a reset lose one all the same, the worker finds the revision above its ledger.
    fn sync(&self) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(fd) = rustix::fs::openat(&self.fd, ".", flags, Mode::empty()) {
            let _ = rustix::fs::fsync(fd);
        }
    }

    fn new_file(&self) -> io::Result<(CString, OwnedFd)> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let name = random_name()?;
            match rustix::fs::openat(&self.fd, &name, flags, Mode::RUSR | Mode::WUSR) {
                Err(Errno::EXIST) => {}
                other => return Ok((name, other?)),
            }
        }
    }

    /// Looks at what lies there until it has dealt with a thousand entries, and removes what is no note.
    pub fn look(&self) -> Result<Look> {
        let cannot = |error: Errno| failed("cannot list", &self.path, &error.into());
        let mut look = Look::default();
        for entry in Dir::read_from(&self.fd).map_err(cannot)? {
            if look.left.len() + look.refused.len() >= LOOK_MAX {
                look.more = true;
                break;
            }
            let entry = entry.map_err(cannot)?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                self.look_at(name, &mut look);
            }
        }
        Ok(look)
    }

    fn look_at(&self, name: &CStr, look: &mut Look) {
        // Nothing in this can hang: neither a FIFO, nor a lease that somebody holds.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.fd, name, flags, Mode::empty());
        let stat = match &opened {
            Ok(fd) => rustix::fs::fstat(fd),
            Err(_) => rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW),
        };
        let Ok(stat) = stat else {
            // Gone again.
            return;
        };
        let refusal = match opened
            .map_err(io::Error::from)
            .and_then(|fd| read(fd, &stat))
        {
            Ok(Read::Whole(note)) => {
                look.left.push(Left {
                    name: name.to_owned(),
                    uid: stat.st_uid,
                    note,
                });
                return;
            }
            Ok(Read::Wrong(why)) => why.to_owned(),
            // Somebody may be at it.
            Ok(Read::Beginning) if !is_old(&stat) => return,
            Ok(Read::Beginning) => "it is no whole note".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_old(&stat) => {
                return;
            }
            Err(error) => format!("it cannot be read: {error}"),
        };
        match self.remove(name) {
            Ok(()) => look.refused.push((stat.st_uid, refusal)),
            Err(_) => look.stuck += 1,
        }
    }

    /// Removes an entry. One that is gone is no trouble.
    pub fn remove(&self, name: &CStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {
                rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?;
            }
            Err(Errno::NOENT) => {}
            other => other?,
        }
        Ok(())
    }

    /// Calls `wake` whenever something came, in a thread that ends with the process.
    pub fn watch(&self, wake: impl Fn() + Send + 'static) -> io::Result<()> {
        let watching = inotify::init(CreateFlags::CLOEXEC)?;
        let place = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        // A note's mode changes when it is whole.
        let events = WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB | WatchFlags::MOVED_TO;
        inotify::add_watch(&watching, place, events | WatchFlags::ONLYDIR)?;
        std::thread::Builder::new()
            .name("incoming".to_owned())
            .spawn(move || {
                let mut events = [0; 4096];
                loop {
                    match rustix::io::read(&watching, &mut events) {
                        Ok(_) => wake(),
                        Err(Errno::INTR) => {}
                        // It is looked at every second all the same.
                        Err(_) => return,
                    }
                }
            })
            .map(|_| ())
    }
}

/// What an opened file says; as much of it is read as a note may be long.
fn read(fd: OwnedFd, stat: &Stat) -> io::Result<Read> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(Read::Wrong("it is no regular file"));
    }
    if stat.st_nlink > 1 {
        return Ok(Read::Wrong("it has another name elsewhere"));
    }
    let mut bytes = Vec::new();
    File::from(fd)
        .take(LENGTH_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(Note::read(&bytes))
}

/// Whether it is long since it was changed in any way: that time its owner cannot set.
fn is_old(stat: &Stat) -> bool {
    let changed = UNIX_EPOCH + Duration::from_secs(stat.st_ctime.try_into().unwrap_or(0));
    SystemTime::now()
        .duration_since(changed)
        .is_ok_and(|age| age > BEGINNING_MAX)
}

/// 32 hexadecimal digits that nobody guesses.
fn random_name() -> io::Result<CString> {
    let mut bytes = [0_u8; 16];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    let name = format!("{:032x}", u128::from_ne_bytes(bytes));
    CString::new(name).map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
