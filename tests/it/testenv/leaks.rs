//! Looks for the secrets of the tests where none belongs: in files, and in what `/proc` shows of a process.

use std::fs;
use std::path::Path;

use super::MARK;

/// What is longer is no record of ours but a package.
const LOOKED_AT_MAX_BYTES: u64 = 32 << 20;

/// Whether a file of that name holds secrets by right: the configuration, what stands for a vault, and what the
/// servers of the tests know and have heard.
fn may_hold_secrets(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "cfg")
        || name.starts_with("vault")
        || [".netrc", "ftp-commands", "hostile-commands"].contains(&name)
}

/// The files below `dir` that show a secret and have no right to.
pub(super) fn in_files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    look(dir, &mut found);
    found
}

fn look(dir: &Path, found: &mut Vec<String>) {
    // What a process of the test removes meanwhile holds nothing any more.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            look(&path, found);
        } else if metadata.is_file()
            && metadata.len() <= LOOKED_AT_MAX_BYTES
            && !may_hold_secrets(&entry.file_name().to_string_lossy())
            && fs::read(&path).is_ok_and(|bytes| shows(&bytes))
        {
            found.push(path.display().to_string());
        }
    }
}

/// What shows a secret of these processes' command lines and, where we may look, environments.
pub fn in_processes(pids: &[i32]) -> Vec<String> {
    pids.iter()
        .flat_map(|pid| ["cmdline", "environ"].map(|name| format!("/proc/{pid}/{name}")))
        .filter(|path| fs::read(path).is_ok_and(|bytes| shows(&bytes)))
        .collect()
}

fn shows(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).contains(MARK)
}
