//! Who has a file open for writing, as far as `/proc` tells: root sees everybody, others their own processes
//! alone. Where it tells nothing, nobody is seen.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, openat, readlinkat, statat};

/// Bytes of descriptors' names that are read in one go.
const NAMES_BYTES: usize = 8 << 10;

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
    let mut names = Vec::with_capacity(NAMES_BYTES);
    for process in processes.flatten() {
        let Some(pid) = number(&process.path()) else {
            continue;
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(descriptors) = openat(CWD, process.path().join("fd"), flags, Mode::empty()) else {
            continue;
        };
        let mut reader = RawDir::new(&descriptors, names.spare_capacity_mut());
        while let Some(Ok(descriptor)) = reader.next() {
            let name = descriptor.file_name();
            if let Some(file) = written_file(&process.path(), &descriptors, name, &inodes)
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
fn written_file(
    process: &Path,
    descriptors: &OwnedFd,
    name: &CStr,
    inodes: &HashSet<u64>,
) -> Option<(u64, u64)> {
    // The link itself has the permissions that the descriptor was opened with.
    let link = statat(descriptors, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    if !Mode::from_raw_mode(link.st_mode).contains(Mode::WUSR) {
        return None;
    }
    // Sockets, pipes and their like have no path.
    let target = readlinkat(descriptors, name, Vec::new()).ok()?;
    if !target.to_bytes().starts_with(b"/") {
        return None;
    }
    let name = name.to_str().ok()?;
    let info = fs::read_to_string(process.join("fdinfo").join(name)).ok()?;
    // Newer kernels tell the inode here, without a look at the file, which may lie on a server that hangs.
    let line = info.lines().find_map(|line| line.strip_prefix("ino:"));
    let inode: Option<u64> = line.and_then(|text| text.trim().parse().ok());
    if inode.is_some_and(|inode| !inodes.contains(&inode)) {
        return None;
    }
    let metadata = fs::metadata(process.join("fd").join(name)).ok()?;
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
