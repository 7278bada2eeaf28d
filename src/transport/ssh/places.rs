//! Where files of a directory would lie, and how much room there is, by SFTP and by scripts. Makes nothing.

use std::path::Path;

use super::exec::ExecError;
use super::link::{Link, refused};
use super::sftp::{FAILURE, NO_SUCH_FILE, Trouble, ask, fault, is_dir};
use super::shell;
use super::wire::{Halt, is_lost};
use crate::domain::fault::Fault;
use crate::domain::text::shell_quote;
use crate::transport::Space;

/// The directory if it is there, else the nearest one above it that is.
pub(super) fn nearest_by_sftp(link: &mut Link, path: &str) -> Result<String, Fault> {
    let mut at = path;
    loop {
        match is_dir(link, at) {
            Ok(Some(true)) => return Ok(at.to_owned()),
            Ok(Some(false)) => {
                let doing = "cannot make the directory";
                return Err(refused(&link.place, doing, at, "a file is in the way"));
            }
            // A component that is a file answers "failure": the levels above tell.
            Ok(None) | Err(Trouble::Status(FAILURE | 19)) if at.len() > 1 => {}
            Ok(None) => {
                return Err(fault(
                    link,
                    &Trouble::Status(NO_SUCH_FILE),
                    "looking at",
                    at,
                ));
            }
            Err(trouble) => return Err(fault(link, &trouble, "cannot look at", at)),
        }
        at = match at.rfind('/') {
            Some(slash) if slash > 0 => &at[..slash],
            _ => "/",
        };
    }
}

/// The room of the file system that a file lies on; nothing where the server does not tell.
pub(super) fn space_by_sftp(link: &mut Link, path: &str) -> Result<Option<Space>, Fault> {
    let mut file = match ask(link, |sftp| sftp.open(Path::new(path))) {
        Ok(file) => file,
        Err(Trouble::Status(_)) => return Ok(None),
        Err(trouble) => return Err(fault(link, &trouble, "cannot look at", path)),
    };
    match link.wire.run(link.stall, || file.statvfs()) {
        Ok(fs) => Ok(Some(Space {
            free: fs.f_bavail.saturating_mul(fs.f_frsize),
            total: fs.f_blocks.saturating_mul(fs.f_frsize),
        })),
        Err(Halt::Ssh(error)) if !is_lost(&error) => Ok(None),
        Err(halt) => Err(link.halt_fault(&halt, "asking for the free space")),
    }
}

/// The directory if it is there, else the nearest one above it that is.
pub(super) fn nearest_by_script(link: &mut Link, path: &str) -> Result<String, Fault> {
    let script = format!(
        "p={}\nwhile [ ! -d \"$p\" ]; do\n[ ! -e \"$p\" ] || {{ echo 'a file is in the way'; exit 1; }}\n\
         p=${{p%/*}}\n[ -n \"$p\" ] || p=/\ndone\nprintf '%s' \"$p\"",
        shell_quote(path)
    );
    shell::run(link, &script, "cannot make the directory", path)
}

/// The room of the file system that a file lies on, by `df`; nothing where the host has none, or no shell.
pub(super) fn space_by_df(link: &mut Link, path: &str) -> Result<Option<Space>, Fault> {
    let script = format!("df -Pk {} 2>/dev/null", shell_quote(path));
    match link.script(&script) {
        Ok(ran) => Ok(read_df(&ran.text())),
        Err(ExecError::Halt(Halt::Ssh(error))) if is_lost(&error) => {
            Err(link.halt_fault(&Halt::Ssh(error), "asking for the free space"))
        }
        Err(ExecError::Halt(halt)) => Err(link.halt_fault(&halt, "asking for the free space")),
        Err(_) => Ok(None),
    }
}

/// The last line of `df -Pk`: device, blocks, used, available, share, place; the device may hold blanks.
fn read_df(said: &str) -> Option<Space> {
    let words: Vec<&str> = said.lines().last()?.split_ascii_whitespace().collect();
    let share = words.iter().rposition(|word| word.ends_with('%'))?;
    let kilobytes = |at: Option<usize>| -> Option<u64> { words.get(at?)?.parse().ok() };
    Some(Space {
        free: kilobytes(share.checked_sub(1))?.saturating_mul(1024),
        total: kilobytes(share.checked_sub(3))?.saturating_mul(1024),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_df_says_is_read_from_its_end() {
        let said = "Filesystem 1024-blocks Used Available Capacity Mounted on\n//a server/x  100 40 60 40% /mnt/a b\n";
        let space = Space {
            free: 60 * 1024,
            total: 100 * 1024,
        };
        assert_eq!(read_df(said), Some(space));
        assert_eq!(read_df("df: no"), None);
    }
}
