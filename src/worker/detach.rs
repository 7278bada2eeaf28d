//! Starting a worker that outlives us: in a session of its own, fds 0-2 on /dev/null, cwd `/`. The one
//! module with `unsafe`.
#![expect(
    unsafe_code,
    reason = "a session without a fork is had from C alone; inherited descriptors have numbers only"
)]

use std::ffi::{CString, OsString, c_char, c_int, c_short};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::error::{Error, Result};

/// Marks every descriptor but 0-2 as closed on exec: a lock or pipe that we inherited from whoever called us is
/// nobody's business whom we call, and would be held for a worker's whole life. What cannot be marked is as it was.
pub fn keep_descriptors_from_children() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers: Vec<i32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        // SAFETY: the descriptor is only used for one fcntl(2), which fails harmlessly on a closed one;
        // nothing else is done with it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = fcntl_setfd(descriptor, FdFlags::CLOEXEC);
    }
}

/// Starts `program` with `arguments` and these environment variables, detached from this process, its terminal and its
/// group.
pub fn start(
    program: &Path,
    arguments: &[OsString],
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<()> {
    spawn(program, arguments, variables).map_err(|error| {
        Error::state(format!(
            "cannot start a worker ({}): {error}",
            program.display()
        ))
        .with_hint("what was recorded is safe; start `auto-dispatcher worker` by hand")
    })
}

/// By posix_spawn(3), which copies no memory map: a committer waits for it. (The standard library forks where it is asked
/// for a session.)
fn spawn(
    program: &Path,
    arguments: &[OsString],
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> io::Result<()> {
    let program = CString::new(program.as_os_str().as_bytes())?;
    let mut words = vec![program.clone()];
    for argument in arguments {
        words.push(CString::new(argument.as_bytes())?);
    }
    let mut settings = Vec::new();
    for (name, value) in variables {
        let setting = [name.as_bytes(), b"=", value.as_bytes()].concat();
        settings.push(CString::new(setting)?);
    }
    let (actions, attributes) = (Actions::new()?, Attributes::new()?);
    let mut pid = 0;
    // SAFETY: everything that is pointed to lives until this returns, and the lists end with a null pointer.
    check(unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            pointers(&words).as_ptr(),
            pointers(&settings).as_ptr(),
        )
    })
}

/// A list as C has it, for as long as the strings live.
fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
    let pointers = strings.iter().map(|string| string.as_ptr().cast_mut());
    pointers.chain([ptr::null_mut()]).collect()
}

fn check(code: c_int) -> io::Result<()> {
    match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// What is done between the beginning of a process and its program.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: it is initialised where this function says that it was.
        let mut actions = Self(unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            actions.assume_init()
        });
        let raw = &raw mut actions.0;
        for (number, flags) in [
            (0, libc::O_RDONLY),
            (1, libc::O_WRONLY),
            (2, libc::O_WRONLY),
        ] {
            // SAFETY: the object is initialised, and the name is copied.
            check(unsafe {
                libc::posix_spawn_file_actions_addopen(raw, number, c"/dev/null".as_ptr(), flags, 0)
            })?;
        }
        // SAFETY: the same.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(raw, c"/".as_ptr()) })?;
        Ok(actions)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: it was initialised, and nobody uses it any more.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// What a process begins with: a session of its own, no signal blocked, and SIGPIPE as programs expect it.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let (mut attributes, mut signals) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: both are initialised where these functions say that they were.
        let (mut attributes, mut signals) = unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            libc::sigemptyset(signals.as_mut_ptr());
            (Self(attributes.assume_init()), signals.assume_init())
        };
        let raw = &raw mut attributes.0;
        // All of them are constants below 256.
        let flags = libc::c_int::from(libc::POSIX_SPAWN_SETSID)
            | libc::POSIX_SPAWN_SETSIGMASK
            | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = c_short::try_from(flags).map_err(io::Error::other)?;
        // SAFETY: both are initialised, and the sets are copied.
        unsafe {
            check(libc::posix_spawnattr_setsigmask(raw, &raw const signals))?;
            libc::sigaddset(&raw mut signals, libc::SIGPIPE);
            check(libc::posix_spawnattr_setsigdefault(raw, &raw const signals))?;
            check(libc::posix_spawnattr_setflags(raw, flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: it was initialised, and nobody uses it any more.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_is_started_has_a_session_of_its_own_reads_nothing_and_stands_at_the_root() {
        let place = tempfile::tempdir().unwrap();
        let told = place.path().join("told");
        let script = format!(
            "open=$(readlink /proc/$$/fd/[012]); cut -d' ' -f1,6 /proc/self/stat >{0}.new; pwd >>{0}.new
             echo \"$open\" >>{0}.new; mv {0}.new {0}",
            told.display()
        );
        let words = ["-c".into(), script.into()];
        let path = [("PATH".into(), "/usr/bin:/bin".into())];
        start(Path::new("/bin/sh"), &words, path.into_iter()).unwrap();
        let end = Instant::now() + Duration::from_mins(1);
        while !told.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        let told = std::fs::read_to_string(told).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        let ours = std::fs::read_to_string("/proc/self/stat").unwrap();
        let session = |stat: &str| stat.rsplit(' ').next().map(str::to_owned);
        let ours = ours.split(' ').nth(5).map(str::to_owned);
        assert_ne!(session(lines[0]), ours, "{told}");
        assert_eq!(lines[1..], ["/", "/dev/null", "/dev/null", "/dev/null"]);
        let error = start(Path::new("/nowhere/sh"), &[], std::iter::empty()).unwrap_err();
        assert!(error.message.contains("cannot start a worker"), "{error}");
    }
}
