//! Files over SFTP. What SFTP says vaguely ("failure") is asked again by a script where the host runs some.

use std::fs::File as LocalFile;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use ssh2::{FileStat, OpenFlags, OpenType, Sftp};

use super::link::{Link, refused};
use super::shell;
use super::wire::{Code, Halt, code};
use crate::domain::fault::{Fault, FaultClass};
use crate::transport::Upload;
use crate::transport::replace::{self, Failed, Files};

pub(super) const NO_SUCH_FILE: i32 = 2;
const PERMISSION_DENIED: i32 = 3;
/// Anything else, in OpenSSH's words: "exists", "no space", "is a directory".
pub(super) const FAILURE: i32 = 4;

/// Write buffers grow from here while the line is fast.
const SMALLEST_WRITE: usize = 128 * 1024;
/// Larger ones bring nothing.
const LARGEST_WRITE: usize = 2 * 1024 * 1024;

/// Why an SFTP request failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server's status.
    Status(i32),
    /// The connection's end.
    Halt(Halt),
}

/// Runs one SFTP request, opening the channel where it is closed.
pub(super) fn ask<T>(
    link: &mut Link,
    mut request: impl FnMut(&Sftp) -> Result<T, ssh2::Error>,
) -> Result<T, Trouble> {
    link.open_sftp().map_err(Trouble::Halt)?;
    let Some(sftp) = &link.sftp else {
        return Err(Trouble::Status(FAILURE));
    };
    link.wire
        .run(link.stall, || request(sftp))
        .map_err(|halt| match halt {
            Halt::Ssh(error) => match code(&error) {
                Code::Sftp(status) => Trouble::Status(status),
                Code::Session(_) => Trouble::Halt(Halt::Ssh(error)),
            },
            other => Trouble::Halt(other),
        })
}

/// The fault of a request.
pub(super) fn fault(link: &Link, trouble: &Trouble, doing: &str, path: &str) -> Fault {
    match trouble {
        Trouble::Halt(halt) => link.halt_fault(halt, doing),
        Trouble::Status(status) => {
            let why = match *status {
                NO_SUCH_FILE | 10 => "no such file or directory",
                PERMISSION_DENIED => "permission denied",
                12 => "the file system is read-only",
                14 => "no space left on the host",
                15 => "quota exceeded",
                19 => "not a directory",
                20 => "the name is not valid",
                _ => "the server only says: failure",
            };
            refused(&link.place, doing, path, why)
        }
    }
}

/// The login's home.
pub(super) fn home(link: &mut Link) -> Result<String, Fault> {
    let path = ask(link, |sftp| sftp.realpath(Path::new(".")))
        .map_err(|t| fault(link, &t, "resolving", "~"))?;
    match path.into_os_string().into_string() {
        Ok(home) => Ok(home),
        Err(_) => Err(Fault::permanent(format!(
            "{}: the home directory's name is not UTF-8",
            link.place
        ))),
    }
}

/// Whether it is a directory; nothing where there is none of that name.
pub(super) fn is_dir(link: &mut Link, path: &str) -> Result<Option<bool>, Trouble> {
    match ask(link, |sftp| sftp.stat(Path::new(path))) {
        Ok(stat) => Ok(Some(stat.is_dir())),
        Err(Trouble::Status(NO_SUCH_FILE | 10)) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// Makes what is missing of an absolute directory.
pub(super) fn make_dir(link: &mut Link, path: &str) -> Result<(), Fault> {
    let mut missing: Vec<&str> = Vec::new();
    let mut at = path;
    loop {
        match is_dir(link, at) {
            Ok(Some(true)) => break,
            Ok(Some(false)) => {
                return Err(refused(
                    &link.place,
                    "cannot make the directory",
                    at,
                    "a file is in the way",
                ));
            }
            Ok(None) => missing.push(at),
            // A component that is a file answers "failure": the levels above tell.
            Err(Trouble::Status(FAILURE | 19)) if at.len() > 1 => missing.push(at),
            Err(trouble) => return Err(fault(link, &trouble, "cannot look at", at)),
        }
        at = match at.rfind('/') {
            Some(slash) if slash > 0 => &at[..slash],
            _ if at.len() > 1 => "/",
            _ => break,
        };
    }
    for level in missing.into_iter().rev() {
        if let Err(trouble) = ask(link, |sftp| sftp.mkdir(Path::new(level), 0o777)) {
            // Somebody else may have been faster.
            if matches!(is_dir(link, level), Ok(Some(true))) {
                continue;
            }
            if matches!(trouble, Trouble::Status(FAILURE)) && link.shell != Some(false) {
                return shell::make_dir(link, path);
            }
            return Err(fault(link, &trouble, "cannot make the directory", level));
        }
    }
    Ok(())
}

/// Brings the bytes from `from` on to the temporary name; returns how many were there already, which is none where
/// the file cannot be gone on with.
pub(super) fn upload(
    link: &mut Link,
    upload: &Upload<'_>,
    path: &str,
    mut from: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, Fault> {
    let mut local = shell::open_local(upload)?;
    let reopened = if from > 0 {
        reopen(link, path, from)?
    } else {
        None
    };
    let mut file = if let Some(file) = reopened {
        file
    } else {
        from = 0;
        create(link, upload, path)?
    };
    let written = local
        .seek(SeekFrom::Start(from))
        .map_err(|error| shell::local_fault(&error))
        .and_then(|_| write_all(link, &mut file, &mut local, path, (from, progress)));
    let result = written.and_then(|()| finish(link, &mut file, upload, path));
    if result.is_err() {
        // The space it takes may be what is missing. After a stop or a cut nothing reaches the host any more, and
        // the file stays for the next attempt.
        drop(file);
        let _ = ask(link, |sftp| sftp.unlink(Path::new(path)));
    }
    result.map(|()| from)
}

/// The file that is there, to be written from `from` on; nothing where the host refuses.
fn reopen(link: &mut Link, path: &str, from: u64) -> Result<Option<ssh2::File>, Fault> {
    let opened = ask(link, |sftp| {
        sftp.open_mode(Path::new(path), OpenFlags::WRITE, 0o600, OpenType::File)
    });
    match opened {
        Ok(mut file) => Ok(file.seek(SeekFrom::Start(from)).is_ok().then_some(file)),
        Err(Trouble::Status(_)) => Ok(None),
        Err(trouble) => Err(fault(link, &trouble, "cannot open", path)),
    }
}

fn create(link: &mut Link, upload: &Upload<'_>, path: &str) -> Result<ssh2::File, Fault> {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    let mode = if upload.mode.is_some() { 0o600 } else { 0o666 };
    let open = |link: &mut Link| {
        ask(link, |sftp| {
            sftp.open_mode(Path::new(path), flags, mode, OpenType::File)
        })
    };
    match open(link) {
        Ok(file) => Ok(file),
        Err(Trouble::Status(FAILURE | 11)) => {
            match ask(link, |sftp| sftp.unlink(Path::new(path))) {
                Ok(()) | Err(Trouble::Status(NO_SUCH_FILE)) => {}
                Err(trouble) => return Err(fault(link, &trouble, "cannot create", path)),
            }
            open(link).map_err(|trouble| fault(link, &trouble, "cannot create", path))
        }
        Err(trouble) => Err(fault(link, &trouble, "cannot create", path)),
    }
}

fn write_all(
    link: &Link,
    file: &mut ssh2::File,
    local: &mut LocalFile,
    path: &str,
    (mut total, progress): (u64, &mut dyn FnMut(u64)),
) -> Result<(), Fault> {
    let mut size = SMALLEST_WRITE;
    let mut buffer = vec![0; LARGEST_WRITE];
    loop {
        let filled =
            fill(local, &mut buffer[..size]).map_err(|error| shell::local_fault(&error))?;
        if filled == 0 {
            progress(total);
            return Ok(());
        }
        let begun = Instant::now();
        let mut from = 0;
        let mut end = Instant::now() + link.stall;
        while from < filled {
            match link
                .wire
                .transfer(link.stall, || file.write(&buffer[from..filled]))
            {
                Ok(count) => {
                    from += count;
                    total += count as u64;
                    progress(total);
                    end = Instant::now() + link.stall;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    link.wire
                        .pause(end, link.stall)
                        .map_err(|halt| link.halt_fault(&halt, "uploading"))?;
                }
                Err(error) => return Err(write_fault(link, file, path, &error)),
            }
        }
        if begun.elapsed() < Duration::from_millis(500) {
            size = (size * 2).min(LARGEST_WRITE);
        }
    }
}

fn fill(local: &mut LocalFile, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match local.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// OpenSSH answers a full disk with "failure": the free space tells.
fn write_fault(link: &Link, file: &mut ssh2::File, path: &str, error: &std::io::Error) -> Fault {
    let last = ssh2::Error::last_session_error(&link.wire.session);
    if let Some(last) = last.filter(super::wire::is_lost) {
        return link.halt_fault(&Halt::Ssh(last), "uploading");
    }
    let free = link
        .wire
        .run(link.stall, || file.statvfs())
        .map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    let why = match free {
        Ok(free) if free < LARGEST_WRITE as u64 => {
            format!("no space left on the host ({free} bytes are free)")
        }
        _ => format!("{error} (no space, a quota, or an error of the disk)"),
    };
    Fault::transient(format!("{}: cannot write {path}: {why}", link.place))
}

/// Has the host write the bytes to its disk, so that a power cut finds them there; a server that does not offer
/// it, or fails, is not asked again.
fn to_disk(link: &mut Link, file: &mut ssh2::File) -> Result<(), Halt> {
    if !link.fsync {
        return Ok(());
    }
    match link.wire.run(link.stall, || file.fsync()) {
        Ok(()) => Ok(()),
        Err(Halt::Ssh(error)) if !super::wire::is_lost(&error) => {
            link.fsync = false;
            Ok(())
        }
        Err(halt) => Err(halt),
    }
}

fn finish(
    link: &mut Link,
    file: &mut ssh2::File,
    upload: &Upload<'_>,
    path: &str,
) -> Result<(), Fault> {
    let map = |halt: Halt| match halt {
        Halt::Ssh(error) => match code(&error) {
            Code::Sftp(status) => Trouble::Status(status),
            Code::Session(_) => Trouble::Halt(Halt::Ssh(error)),
        },
        other => Trouble::Halt(other),
    };
    if let Some(mode) = upload.mode {
        let stat = FileStat {
            size: None,
            uid: None,
            gid: None,
            perm: Some(mode),
            atime: None,
            mtime: None,
        };
        let set = link
            .wire
            .run(link.stall, || file.setstat(stat.clone()))
            .map_err(map);
        set.map_err(|trouble| {
            fault(
                link,
                &trouble,
                &format!("cannot set mode {mode:o} of"),
                path,
            )
        })?;
    }
    to_disk(link, file).map_err(|halt| link.halt_fault(&halt, "uploading"))?;
    let closed = link.wire.run(link.stall, || file.close()).map_err(map);
    closed.map_err(|trouble| match trouble {
        // A file system may only notice at the end that it is full.
        Trouble::Status(_) => Fault::transient(format!(
            "{}: cannot finish {path}: no space, or a quota",
            link.place
        )),
        Trouble::Halt(halt) => link.halt_fault(&halt, "uploading"),
    })
}

/// The length of a file; nothing where there is none.
pub(super) fn length(link: &mut Link, path: &str) -> Result<Option<u64>, Fault> {
    match ask(link, |sftp| sftp.stat(Path::new(path))) {
        Ok(stat) => Ok(stat.size),
        Err(Trouble::Status(NO_SUCH_FILE)) => Ok(None),
        Err(trouble) => Err(fault(link, &trouble, "cannot look at", path)),
    }
}

/// SFTP's own renaming and removing.
pub(super) struct Plain<'a>(pub(super) &'a mut Link);

impl Files for Plain<'_> {
    fn rename(&mut self, from: &str, to: &str) -> Result<(), Fault> {
        ask(self.0, |sftp| {
            sftp.rename(Path::new(from), Path::new(to), None)
        })
        .map_err(|trouble| fault(self.0, &trouble, &format!("cannot rename {from} to"), to))
    }

    fn remove(&mut self, path: &str) -> Result<(), Fault> {
        ask(self.0, |sftp| sftp.unlink(Path::new(path)))
            .map_err(|trouble| fault(self.0, &trouble, "cannot remove", path))
    }

    fn exists(&mut self, path: &str) -> Result<bool, Fault> {
        match ask(self.0, |sftp| sftp.lstat(Path::new(path))) {
            Ok(_) => Ok(true),
            Err(Trouble::Status(NO_SUCH_FILE | 10)) => Ok(false),
            Err(trouble) => Err(fault(self.0, &trouble, "cannot look at", path)),
        }
    }

    fn remove_if_there(&mut self, path: &str) -> Result<(), Fault> {
        remove(self.0, path)
    }
}

/// Renames `temporary` to `name`. Where something has that name, a script's `mv` replaces it in one step; on a
/// host without a shell it steps aside first, which leaves a moment without the file.
pub(super) fn publish(link: &mut Link, temporary: &str, name: &str) -> Result<(), Failed> {
    let untouched = |fault| Failed {
        fault,
        keep_new: false,
    };
    let there = match is_dir(link, name) {
        Ok(Some(true)) => {
            return Err(untouched(refused(
                &link.place,
                "cannot publish",
                name,
                "a directory has that name",
            )));
        }
        Ok(there) => there.is_some(),
        Err(trouble) => return Err(untouched(fault(link, &trouble, "cannot look at", name))),
    };
    if !there {
        let renamed = ask(link, |sftp| {
            sftp.rename(Path::new(temporary), Path::new(name), None)
        });
        match renamed {
            Ok(()) => return Ok(()),
            Err(Trouble::Status(FAILURE | 11)) => {}
            Err(trouble) => return Err(untouched(fault(link, &trouble, "cannot publish", name))),
        }
    }
    if link.shell != Some(false) {
        match shell::publish(link, temporary, name, false) {
            Err(fault) if fault.class == FaultClass::Unsupported => {}
            other => return other.map_err(untouched),
        }
    }
    let mut files = Plain(link);
    if !there {
        return files.rename(temporary, name).map_err(untouched);
    }
    // Nothing is touched unless there is a new file; what an attempt that was cut off put aside is older than
    // the file that has the name.
    match length(files.0, temporary) {
        Ok(Some(_)) => {}
        Ok(None) => {
            return Err(untouched(refused(
                &files.0.place,
                "cannot publish",
                temporary,
                "no such file",
            )));
        }
        Err(fault) => return Err(untouched(fault)),
    }
    remove(files.0, &replace::aside(temporary)).map_err(untouched)?;
    replace::replace(&mut files, temporary, name)
}

/// Removes a file if it is there.
pub(super) fn remove(link: &mut Link, path: &str) -> Result<(), Fault> {
    match ask(link, |sftp| sftp.unlink(Path::new(path))) {
        Ok(()) | Err(Trouble::Status(NO_SUCH_FILE)) => Ok(()),
        Err(trouble) => Err(fault(link, &trouble, "cannot remove", path)),
    }
}
