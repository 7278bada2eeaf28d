//! Where file systems are mounted: whether the one that a drop directory lies on is there, and whether it tells
//! what happens to it. Knows what the system's tables say, and nothing else.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

/// The place where the file system is mounted that `path` lies on; none where the system does not tell. A place where
/// a part of the same file system is mounted once more, as services see it that may write nowhere else, is none.
pub fn mount_point_of(path: &Path) -> Option<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").ok()?;
    let mut above: Vec<PathBuf> = points(&table, 4)
        .filter(|point| path.starts_with(point))
        .collect();
    above.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    above.into_iter().find(|point| is_of_its_own(point))
}

/// Whether another file system begins at `point` than lies above it.
fn is_of_its_own(point: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    match point.parent() {
        Some(parent) => device(point) != device(parent),
        None => true,
    }
}

/// The place above `path` where `/etc/fstab` wants a file system that is not mounted.
pub fn missing_mount(path: &Path) -> Option<PathBuf> {
    let wanted = deepest(points(&fs::read("/etc/fstab").ok()?, 1), path)?;
    let mounted = deepest(points(&fs::read("/proc/self/mountinfo").ok()?, 4), path)?;
    // Something may be mounted deeper than what is wanted.
    (!mounted.starts_with(&wanted)).then_some(wanted)
}

/// The name of the kind of file system, where it is one that others change without events coming here.
pub fn eventless_file_system(path: &Path) -> Option<&'static str> {
    // linux/magic.h and the file systems' own.
    const KINDS: [(u32, &str); 14] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB"),
        (0x6573_5546, "FUSE"),
        (0x0102_1997, "9P"),
        (0x5346_414f, "AFS"),
        (0x6b41_4653, "AFS"),
        (0x00c3_6400, "Ceph"),
        (0x0bd0_0bd0, "Lustre"),
        (0x0116_1970, "GFS2"),
        (0x7461_636f, "OCFS2"),
        (0x7375_7245, "Coda"),
        (0x4750_4653, "GPFS"),
    ];
    let found = i128::from(statfs(path).ok()?.f_type) & 0xffff_ffff;
    KINDS
        .iter()
        .find(|(magic, _)| i128::from(*magic) == found)
        .map(|(_, name)| *name)
}

/// The paths in a column of a table, from 0, without comments.
fn points(table: &[u8], column: usize) -> impl Iterator<Item = PathBuf> {
    table
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii_start().starts_with(b"#"))
        .filter_map(move |line| {
            let mut words = line
                .split(|byte| matches!(byte, b' ' | b'\t'))
                .filter(|word| !word.is_empty());
            let word = words.nth(column)?;
            word.starts_with(b"/")
                .then(|| PathBuf::from(OsString::from_vec(unescape(word))))
        })
}

fn deepest(points: impl Iterator<Item = PathBuf>, path: &Path) -> Option<PathBuf> {
    points
        .filter(|point| path.starts_with(point))
        .max_by_key(|point| point.components().count())
}

/// `\040` and its like made bytes.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, behind)) = rest.split_first() {
        let code = behind
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = code {
            bytes.push(byte);
            rest = behind.get(3..).unwrap_or_default();
        } else {
            bytes.push(first);
            rest = behind;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_point_above_a_path_counts() {
        let table = b"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /srv/in rw - tmpfs t rw\n3 1 0:6 / /srv/a\\040b rw - tmpfs t rw\n";
        let of = |path: &str| deepest(points(table, 4), Path::new(path));
        assert_eq!(of("/srv/in/deep"), Some("/srv/in".into()));
        assert_eq!(of("/srv/inn"), Some("/".into()));
        assert_eq!(of("/srv/a b"), Some("/srv/a b".into()));
        let fstab = b"# /dev/x /no ext4\nUUID=1 / ext4 defaults 0 1\nserver:/x\t/mnt/x  nfs\n";
        assert_eq!(
            deepest(points(fstab, 1), Path::new("/mnt/x/in")),
            Some("/mnt/x".into())
        );
    }

    #[test]
    fn this_machine_tells_where_its_root_is() {
        assert!(mount_point_of(Path::new("/")).is_some());
        assert_eq!(eventless_file_system(Path::new("/")), None);
    }
}
