//! Drop directories: what is known of a dropped file, on which terms a directory is scanned, and the pure
//! decisions about it. Knows neither clock nor files.

use std::path::PathBuf;

mod filter;
mod reach;
mod settling;
#[cfg(test)]
mod tests;

pub use filter::{DropFilter, FilterError};
pub use reach::{FormerReach, Reach};
pub use settling::{Look, Settling};

/// What tells that a file is still the same one with the same content. Any write, rename, link or change
/// of permissions changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileStamp {
    /// Of its file system; 0 for the one that the drop directory itself lies on, whose number may be another one
    /// after each mount.
    pub device: u64,
    /// On that file system.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of its content, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Last change of its inode, nanoseconds since 1970.
    pub changed_ns: i64,
}

impl FileStamp {
    /// Whether both are one file whose content nobody has written meanwhile, as far as its times tell: it
    /// may have been renamed, linked or given other permissions.
    pub fn has_content_of(&self, other: &Self) -> bool {
        (self.device, self.inode, self.size, self.modified_ns)
            == (other.device, other.inode, other.size, other.modified_ns)
    }
}

/// What becomes of a dropped file once all its deliveries are done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum After {
    /// It stays.
    #[default]
    Keep,
    /// It is deleted.
    Delete,
    /// It goes to this directory, under its path below the drop directory.
    Move(PathBuf),
}

/// On which terms a drop directory is scanned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "settings that are yes or no")]
pub struct DropTerms {
    /// The directory: absolute, symbolic links resolved as far as it is there.
    pub directory: PathBuf,
    /// Pause between two walks, in seconds.
    pub interval_s: u64,
    /// How long a file has to be unchanged, in seconds.
    pub settle_s: u64,
    /// Whether what was there before the first start is dispatched.
    pub existing: bool,
    /// Which files are packages.
    pub filter: DropFilter,
    /// Whether sub-directories are scanned.
    pub sub_directories: bool,
    /// Whether symbolic links are followed.
    pub follow_symlinks: bool,
    /// Whether file systems that are mounted below the directory are scanned.
    pub cross_file_systems: bool,
    /// What becomes of a file in the end.
    pub after: After,
}

impl DropTerms {
    /// The standard terms.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            interval_s: 60,
            settle_s: 5,
            existing: false,
            filter: DropFilter::default(),
            sub_directories: true,
            follow_symlinks: false,
            cross_file_systems: false,
            after: After::Keep,
        }
    }
}

/// The directory that a path below a drop directory lies in; "" is the drop directory itself.
pub fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// `name` in the directory `parent`, which is "" for the drop directory itself.
pub fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}/{name}")
    }
}

/// Whether `path` is `directory` or lies below it; everything lies below "".
pub fn is_within(path: &str, directory: &str) -> bool {
    directory.is_empty()
        || path == directory
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.starts_with('/'))
}
