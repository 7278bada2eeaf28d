//! One directory, read: its files as they look now, its sub-directories, and what is neither.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, statat};

use super::{Root, is_nothing};
use crate::domain::drop_directory::FileStamp;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file, perhaps behind a symbolic link.
    File(FileStamp),
    /// A directory, perhaps behind a symbolic link.
    Directory {
        /// Its device, as in [`FileStamp`].
        device: u64,
        /// Whether a symbolic link leads there.
        is_link: bool,
    },
}

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub kind: Kind,
}

/// What a directory holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// Files and directories, as the file system gives them. No special files, and no symbolic links unless they
    /// are followed.
    pub entries: Vec<Entry>,
    /// Names that are none we can carry, made harmless, with the reason.
    pub unusable: Vec<(String, String)>,
    /// Whether a symbolic link was followed: what changes behind it is told by no event.
    pub has_links: bool,
}

/// Reads an open directory below `root`. `wanted` is asked before a name is looked at.
pub fn list(
    root: &Root,
    directory: &OwnedFd,
    wanted: &dyn Fn(&str) -> bool,
) -> io::Result<Listing> {
    let follow = root.follow;
    let mut listing = Listing::default();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Ok(text) = name.to_str() else {
            listing
                .unusable
                .push((shown(name.to_bytes()), "its name is not UTF-8".to_owned()));
            continue;
        };
        let file_type = entry.file_type();
        let may_be = match file_type {
            FileType::RegularFile | FileType::Directory | FileType::Unknown => true,
            FileType::Symlink => follow,
            _ => false,
        };
        if !may_be || text == "." || text == ".." || !wanted(text) {
            continue;
        }
        let flags = if follow {
            AtFlags::empty()
        } else {
            AtFlags::SYMLINK_NOFOLLOW
        };
        let stat = match statat(directory, name, flags) {
            Ok(stat) => stat,
            Err(error) => {
                let error = io::Error::from(error);
                // It went meanwhile, or the link leads nowhere.
                if !is_nothing(&error) {
                    listing.unusable.push((text.to_owned(), error.to_string()));
                }
                continue;
            }
        };
        let is_link = file_type == FileType::Symlink;
        listing.has_links |= is_link;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File(root.stamp_of(&stat)),
            FileType::Directory => Kind::Directory {
                device: root.stamp_of(&stat).device,
                is_link,
            },
            _ => continue,
        };
        listing.entries.push(Entry {
            name: text.to_owned(),
            kind,
        });
    }
    Ok(listing)
}

/// A name that is no text, with the bytes that are none as `\xff`.
fn shown(name: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in name.utf8_chunks() {
        shown.push_str(chunk.valid());
        shown.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    shown
}
