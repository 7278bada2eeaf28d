//! Putting a new file in an old one's place where the server does not rename onto a file: the old one steps
//! aside, the new one takes its name, and only then the old one goes. And what remains to be done where an attempt
//! was cut off in between. Shared by FTP and SFTP; knows neither.

use crate::domain::fault::{Fault, FaultClass};

/// What it takes: renaming and removing, by absolute paths.
pub(super) trait Files {
    /// Renames onto a name that is free.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), Fault>;
    /// Removes a file.
    fn remove(&mut self, path: &str) -> Result<(), Fault>;
    /// Whether something has this name.
    fn exists(&mut self, path: &str) -> Result<bool, Fault>;
    /// Removes a file if it is there.
    fn remove_if_there(&mut self, path: &str) -> Result<(), Fault>;
}

/// Why the new file did not get the name.
#[derive(Debug)]
pub(super) struct Failed {
    /// The fault.
    pub(super) fault: Fault,
    /// The old file does not have its name: the new one must stay where it is, for it may be the better of
    /// what is left.
    pub(super) keep_new: bool,
}

/// Where the old file waits meanwhile; as unique as the temporary name.
pub(super) fn aside(temporary: &str) -> String {
    format!("{temporary}.old")
}

/// Gives the file `temporary` the name `name`, which another file has. For a moment there is no file of that name.
pub(super) fn replace(files: &mut impl Files, temporary: &str, name: &str) -> Result<(), Failed> {
    let aside = aside(temporary);
    if let Err(fault) = files.rename(name, &aside) {
        // A lost connection leaves open whether it happened.
        let keep_new = fault.class != FaultClass::Permanent;
        return Err(Failed { fault, keep_new });
    }
    let Err(refused) = files.rename(temporary, name) else {
        if let Err(fault) = files.remove(&aside) {
            // What was asked for is done; a session that broke shows in its next step.
            log::warn!("{name} is replaced, but its old file stays at {aside}: {fault}");
        }
        return Ok(());
    };
    match files.rename(&aside, name) {
        Ok(()) => Err(Failed {
            fault: refused,
            keep_new: false,
        }),
        Err(back) => Err(Failed {
            fault: Fault::new(
                refused.class,
                format!(
                    "{}; and the old file could not be put back ({}): the old {name} is at {aside}, the new one at \
                     {temporary}, none is removed now; rename one of them by hand, or the old one gets its name back when \
                     the lane is next worked",
                    refused.message, back.message
                ),
            ),
            keep_new: true,
        }),
    }
}

/// Removes the temporary file of an attempt that will not go on. If it had put the old file aside and nothing has
/// taken the name since, the old file gets it back first: it may be the only one.
pub(super) fn tidy(files: &mut impl Files, temporary: &str, name: &str) -> Result<(), Fault> {
    let aside = aside(temporary);
    if files.exists(&aside)? {
        if files.exists(name)? {
            files.remove(&aside)?;
        } else {
            files.rename(&aside, name)?;
        }
    }
    files.remove_if_there(temporary)
}

/// Removes what an earlier attempt of a delivery that is now published put aside. A fault is for the log: what
/// was asked for is done.
pub(super) fn remove_aside(files: &mut impl Files, temporary: &str) {
    let aside = aside(temporary);
    let removed = match files.exists(&aside) {
        Ok(true) => files.remove(&aside),
        other => other.map(drop),
    };
    if let Err(fault) = removed {
        log::warn!("an old file may stay at {aside}: {fault}");
    }
}
