//! Starting a worker that outlives us: in a session of its own, fds 0-2 on /dev/null, cwd `/`. The one
//! module with `unsafe`.
#![expect(
    unsafe_code,
    reason = "setsid must run between fork and exec, and descriptors that nobody owns must be closed by number"
)]

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// Starts `program` with `arguments`, detached from this process, its terminal and its group.
/// Returns its pid.
pub fn start(program: &Path, arguments: &[OsString]) -> Result<u32> {
    keep_strangers_out();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: setsid(2) is async-signal-safe, and the closure touches no memory but its own.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
    command.spawn().map(|child| child.id()).map_err(|error| {
        Error::state(format!(
            "cannot start a worker ({}): {error}",
            program.display()
        ))
        .with_hint("what was recorded is safe; start `auto-dispatcher worker` by hand")
    })
}

/// Descriptors that we inherited without knowing, a server's sockets or a pipe to a client, must not live on
/// in the worker: whoever waits for their end would wait for it.
fn keep_strangers_out() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    for number in numbers.filter(|&number| number > 2) {
        // SAFETY: the descriptor is borrowed for this one call, which touches nothing but its flag; one that
        // was closed meanwhile is an error that says so.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC);
    }
}
