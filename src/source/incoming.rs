//! The directory in which hooks of other users leave their notes. Everybody may write there and only its owner, the
//! worker, may list it: names are not to be guessed, the sticky bit keeps others from removing them, and whatever lies
//! there is taken for hostile. Decides nothing about a revision.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat, renameat_with};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::domain::incoming::{LENGTH_MAX, Note, Read};
use crate::error::{Error, ErrorKind, Result};

/// What a directory that the worker makes allows: everybody may write and enter, nobody else list; sticky.
const MODE: u32 = 0o1733;
/// How old what is no whole note may become before it goes.
const BEGINNING_MAX: Duration = Duration::from_mins(1);
/// Pause between two wake-ups: whoever makes events without end keeps nobody busy.
const REST: Duration = Duration::from_millis(200);
/// How often a watch asks whether it is still wanted.
const WATCH_CHECK: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// The directory, opened.
#[derive(Debug)]
pub struct Incoming {
    path: PathBuf,
    fd: OwnedFd,
    stat: Stat,
    /// How far a look has come.
    listing: Option<Dir>,
}

/// Has somebody woken whenever something came, until it is dropped.
#[derive(Debug)]
pub struct Watch(Arc<AtomicBool>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A note that lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The user who left it.
    pub uid: u32,
    /// How long it lies there.
    pub age: Duration,
    /// What it says.
    pub note: Note,
}

/// What becomes of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was taken up, and goes.
    Taken,
    /// It stays, for another look.
    Stays,
    /// It goes, for this reason.
    Refused(String),
}

/// What a look found, beside notes.
#[derive(Debug, Default)]
pub struct Look {
    /// What was removed: whose it was, and why.
    pub refused: Vec<(u32, String)>,
    /// How many cannot be removed, such as somebody's directory with something in it.
    pub stuck: usize,
    /// Whether it came to the end of the directory; the next one goes on where this one stopped otherwise.
    pub is_whole: bool,
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoRoom,
        _ => ErrorKind::State,
    };
    Error::io(kind, what, path, error)
}

/// Makes the directory where it is missing: under another name first, for a hook that finds it has to be let in.
fn make(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".new-{}", std::process::id()));
    let aside = Path::new(&aside);
    // Left by a process of that number that was killed here.
    let _ = fs::remove_dir(aside);
    rustix::fs::mkdir(aside, Mode::RWXU)?;
    let opened = Incoming::open_as(aside, OFlags::RDONLY).and_then(|made| {
        rustix::fs::fchmod(&made.fd, Mode::from_raw_mode(MODE))?;
        Ok(renameat_with(
            CWD,
            aside,
            CWD,
            path,
            RenameFlags::NOREPLACE,
        )?)
    });
    let Err(error) = opened else { return Ok(()) };
    fs::remove_dir(aside)?;
    match Errno::from_io_error(&error) {
        // Somebody else has made it.
        Some(Errno::EXIST) => Ok(()),
        // A file system that cannot rename so: it is opened to others a moment later.
        Some(Errno::INVAL) => match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        },
        _ => Err(error),
    }
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
        make(path).map_err(|error| {
            failed("cannot make", path, &error).with_hint(
                "make its parent, or name another place by `incoming` in auto-dispatcher.cfg",
            )
        })?;
        let opened = Self::open_as(path, OFlags::RDONLY)
            .map_err(|error| failed("cannot open", path, &error))?;
        if !opened.is_ours() {
            let me = rustix::process::geteuid().as_raw();
            return Err(Error::state(format!(
                "{} belongs to uid {}, and this runs as uid {me}",
                path.display(),
                opened.owner()
            ))
            .with_hint(
                "the worker has to own `incoming`: chown it, or run the worker as its owner",
            ));
        }
        let found = opened.stat.st_mode & 0o7777;
        // Where nobody else may write, it was made a moment ago, perhaps by a process that was killed then.
        let wanted = if found & 0o022 == 0 {
            MODE
        } else {
            (found | 0o1300) & !0o6044
        };
        if wanted != found {
            rustix::fs::fchmod(&opened.fd, Mode::from_raw_mode(wanted))
                .map_err(|error| failed("cannot change the mode of", path, &error.into()))?;
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
            stat,
            listing: None,
        })
    }

    /// The user who takes up what lies there.
    pub fn owner(&self) -> u32 {
        self.stat.st_uid
    }

    /// Whether it is the same directory as another one.
    pub fn is(&self, other: &Self) -> bool {
        (self.stat.st_dev, self.stat.st_ino) == (other.stat.st_dev, other.stat.st_ino)
    }

    /// Whether it is this process's user who takes up what lies there.
    pub fn is_ours(&self) -> bool {
        self.owner() == rustix::process::geteuid().as_raw()
    }

    /// Leaves a note, which lies on the disk when this returns.
    pub fn leave(&self, note: &Note) -> Result<()> {
        let cannot = |error: io::Error| failed("cannot leave a note in", &self.path, &error);
        loop {
            let (name, fd) = self.new_file().map_err(cannot)?;
            let mut file = File::from(fd);
            let written = (|| {
                file.write_all(note.text().as_bytes())?;
                // The worker is another user; the name tells nobody else where it is.
                rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
                file.sync_all()?;
                Ok(rustix::fs::fstat(&file)?.st_nlink)
            })();
            match written {
                // We were stopped for so long that it was removed for a beginning of which nothing comes.
                Ok(0) => {}
                Ok(_) => {
                    self.sync();
                    return Ok(());
                }
                Err(error) => {
                    let _ = rustix::fs::unlinkat(&self.fd, &name, AtFlags::empty());
                    return Err(cannot(error));
                }
            }
        }
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

    /// Looks at what lies there, from where the last look stopped, until the end or until `is_over`. `take` decides on
    /// notes; what is none goes. An error of `take` ends the look; the note stays.
    pub fn look(
        &mut self,
        is_over: &dyn Fn() -> bool,
        take: &mut dyn FnMut(&Left) -> Result<Fate>,
    ) -> Result<Look> {
        let mut look = Look::default();
        let mut listing = match self.listing.take() {
            Some(listing) => listing,
            None => Dir::read_from(&self.fd)
                .map_err(|error| failed("cannot list", &self.path, &error.into()))?,
        };
        while !is_over() {
            let Some(entry) = listing.next() else {
                look.is_whole = true;
                return Ok(look);
            };
            let entry = entry.map_err(|error| failed("cannot list", &self.path, &error.into()))?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                self.look_at(name, entry.file_type(), &mut look, take)?;
            }
        }
        self.listing = Some(listing);
        Ok(look)
    }

    fn look_at(
        &self,
        name: &CStr,
        kind: FileType,
        look: &mut Look,
        take: &mut dyn FnMut(&Left) -> Result<Fate>,
    ) -> Result<()> {
        if kind == FileType::Directory
            && rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).is_err()
        {
            look.stuck += 1;
            return Ok(());
        }
        // Nothing in this can hang: neither a FIFO, nor a lease that somebody holds.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.fd, name, flags, Mode::empty());
        let stat = match &opened {
            Ok(fd) => rustix::fs::fstat(fd),
            Err(_) => rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW),
        };
        let Ok(stat) = stat else {
            // Gone again.
            return Ok(());
        };
        let age = age(&stat);
        let fate = match opened
            .map_err(io::Error::from)
            .and_then(|fd| read(fd, &stat))
        {
            Ok(Read::Whole(note)) => {
                let uid = stat.st_uid;
                take(&Left { uid, age, note })?
            }
            Ok(Read::Wrong(why)) => Fate::Refused(why.to_owned()),
            // Somebody may be at it.
            Ok(Read::Beginning) if age <= BEGINNING_MAX => Fate::Stays,
            Ok(Read::Beginning) => Fate::Refused("it is no whole note".to_owned()),
            // Of ours, such as too many open files.
            Err(error) if is_passing(&error) => Fate::Stays,
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied && age <= BEGINNING_MAX =>
            {
                Fate::Stays
            }
            Err(error) => Fate::Refused(format!("it cannot be read: {error}")),
        };
        if fate != Fate::Stays && self.remove(name).is_err() {
            look.stuck += 1;
        } else if let Fate::Refused(why) = fate {
            look.refused.push((stat.st_uid, why));
        }
        Ok(())
    }

    /// Removes an entry. One that is gone is no trouble.
    fn remove(&self, name: &CStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {
                rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?;
            }
            Err(Errno::NOENT) => {}
            other => other?,
        }
        Ok(())
    }

    /// Calls `wake` whenever something came, in a thread that ends soon after the watch is dropped.
    pub fn watch(&self, wake: impl Fn() + Send + 'static) -> io::Result<Watch> {
        let watching = inotify::init(CreateFlags::CLOEXEC)?;
        let place = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        // A note's mode changes when it is whole.
        let events = WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB | WatchFlags::MOVED_TO;
        inotify::add_watch(&watching, place, events | WatchFlags::ONLYDIR)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let watch = Watch(Arc::clone(&is_over));
        std::thread::Builder::new()
            .name("incoming".to_owned())
            .spawn(move || {
                let mut events = [0; 4096];
                while !is_over.load(Ordering::SeqCst) {
                    let mut ready = [PollFd::new(&watching, PollFlags::IN)];
                    if poll(&mut ready, Some(&WATCH_CHECK)).is_ok_and(|ready| ready > 0)
                        && rustix::io::read(&watching, &mut events).is_ok()
                    {
                        wake();
                        std::thread::sleep(REST);
                    }
                }
            })?;
        Ok(watch)
    }
}

/// Whether something of ours, or of the disk, is in the way for now.
fn is_passing(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO | Errno::STALE | Errno::INTR)
    )
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

/// How long it is since it was changed in any way: that time its owner cannot set. What was changed in the future, for
/// the clock was set back, is as old as can be.
fn age(stat: &Stat) -> Duration {
    let changed = UNIX_EPOCH + Duration::from_secs(stat.st_ctime.try_into().unwrap_or(0));
    match SystemTime::now().duration_since(changed) {
        Ok(age) => age,
        Err(ahead) if ahead.duration() < BEGINNING_MAX => Duration::ZERO,
        Err(_) => Duration::MAX,
    }
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
