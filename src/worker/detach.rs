//! Starting a worker that outlives us: in a session of its own, fds 0-2 on /dev/null, cwd `/`. The one
//! module with `unsafe`.
#![expect(unsafe_code, reason = "setsid must run between fork and exec")]

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

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
