//! With how much power this process runs, and whether that is too much.

use std::os::unix::fs::PermissionsExt as _;

use crate::error::{Error, Result};

/// Refuses to run where the program gives everybody its owner's rights: whoever may call it names files to send, and
/// the hosts to send them to. Rights that were inherited, as from a set-gid svnserve, are the caller's business.
pub(super) fn check() -> Result<()> {
    let Ok(program) = std::env::current_exe() else {
        return Ok(());
    };
    let lends = std::fs::metadata(&program)
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o6000 != 0);
    if lends {
        return Err(Error::state(format!(
            "{} is set-uid or set-gid: whoever may run it could send any file that its owner can read",
            program.display()
        ))
        .with_hint(format!(
            "chmod u-s,g-s {}; hooks of other users leave notes instead (`incoming`)",
            program.display()
        )));
    }
    Ok(())
}

/// What a worker says about its power, if it has more than it needs.
pub(super) fn excess() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some(
        "this worker runs as root, which nothing of its work needs: an ordinary user does (README, Least power)",
    )
}
