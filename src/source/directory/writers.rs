//! Who has a file open for writing, as far as `/proc` tells: root sees everybody, others their own processes
//! alone. Where it tells nothing, nobody is seen.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// O_ACCMODE and O_RDONLY.
const ACCESS: u32 = 0o3;
const READ_ONLY: u32 = 0o0;

/// A process that has a file open for writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Its number.
    pub pid: u32,
    /// Its name, as far as it is known.
    pub name: String,
}

/// Of these files, by device and inode, those that somebody has open for writing. Looks at every process once.
#[expect(clippy::implicit_hasher, reason = "every caller has the standard one")]
pub fn writers_of(files: &HashSet<(u64, u64)>) -> HashMap<(u64, u64), Writer> {
    let mut found = HashMap::new();
    let inodes: HashSet<u64> = files.iter().map(|(_, inode)| *inode).collect();
    let Ok(processes) = fs::read_dir("/proc") else {
        return found;
    };
    for process in processes.flatten() {
        let Some(pid) = number(&process.path()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for descriptor in descriptors.flatten() {
            if let Some(file) = written_file(&process.path(), &descriptor.path(), &inodes)
                .filter(|file| files.contains(file))
            {
                found.entry(file).or_insert_with(|| Writer {
                    pid,
                    name: name_of(&process.path()),
                });
            }
        }
    }
    found
}

fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}

/// The file that a descriptor may write to, if it can be one of `inodes`.
fn written_file(process: &Path, descriptor: &Path, inodes: &HashSet<u64>) -> Option<(u64, u64)> {
    // Sockets, pipes and their like have no path.
    let target = fs::read_link(descriptor).ok()?;
    if !target.as_os_str().as_bytes().starts_with(b"/") {
        return None;
    }
    let info = process.join("fdinfo").join(descriptor.file_name()?);
    let info = fs::read_to_string(info).ok()?;
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().to_owned())
    };
    let flags = u32::from_str_radix(&field("flags:")?, 8).ok()?;
    // Opened by O_PATH, it reads as 0, too.
    if flags & ACCESS == READ_ONLY {
        return None;
    }
    // Newer kernels tell the inode here, without a look at the file, which may lie on a server that hangs.
    let inode: Option<u64> = field("ino:").and_then(|text| text.parse().ok());
    if inode.is_some_and(|inode| !inodes.contains(&inode)) {
        return None;
    }
    let metadata = fs::metadata(descriptor).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn name_of(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};

    use super::*;

    #[test]
    fn a_writer_is_seen_and_a_reader_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        let writing = File::create(&path).expect("a file");
        let metadata = writing.metadata().expect("metadata");
        let file = (metadata.dev(), metadata.ino());
        let found = writers_of(&HashSet::from([file]));
        assert_eq!(
            found.get(&file).map(|writer| writer.pid),
            Some(std::process::id())
        );
        drop(writing);
        let _reading = OpenOptions::new().read(true).open(&path).expect("open");
        assert!(writers_of(&HashSet::from([file])).is_empty());
    }
}
