//! Starting a worker that outlives us: in a session of its own, fds 0-2 on /dev/null, cwd `/`. The one
//! module with `unsafe`.
#![expect(
    unsafe_code,
    reason = "setsid runs between fork and exec; inherited descriptors have numbers only"
)]

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

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

/// Starts `program` with `arguments`, detached from this process, its terminal and its group.
/// Returns its pid.
pub fn start(program: &Path, arguments: &[OsString]) -> Result<u32> {
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
