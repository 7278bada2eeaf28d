//! One directory, read: its files as they look now, its sub-directories, and what is neither.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, RawDir, statat};

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

/// What is asked about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Nothing.
    None,
    /// What it stands for.
    Any,
    /// What it stands for, if that is not the file that looks like this.
    Unless(FileStamp),
}

/// Bytes of names that are read in one go.
const NAMES_BYTES: usize = 32 << 10;

/// What a directory holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// Files and directories, as the file system gives them. No special files, and no symbolic links unless they
    /// are followed.
    pub entries: Vec<Entry>,
    /// How many files look as they were said to: they are not among the entries.
    pub as_known: usize,
    /// Names that stood for a file and do not any more.
    pub no_files: Vec<String>,
    /// Names that are none we can carry, made harmless, with the reason.
    pub unusable: Vec<(String, String)>,
    /// Whether a symbolic link was followed: what changes behind it is told by no event.
    pub has_links: bool,
}

/// Reads an open directory below `root`, from where it stands. `interest` is asked before a name is looked at, with the
/// inode that the directory itself tells.
pub fn list(
    root: &Root,
    directory: &OwnedFd,
    interest: &dyn Fn(&str) -> Interest,
) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut names = Vec::with_capacity(NAMES_BYTES);
    let mut reader = RawDir::new(directory, names.spare_capacity_mut());
    while let Some(entry) = reader.next() {
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
            FileType::Symlink => root.follow,
            _ => false,
        };
        if !may_be || text == "." || text == ".." {
            continue;
        }
        let known = match interest(text) {
            Interest::None => continue,
            Interest::Any => None,
            Interest::Unless(stamp) => Some(stamp),
        };
        listing.look(root, directory, (name, text, file_type), known);
    }
    Ok(listing)
}

impl Listing {
    fn look(
        &mut self,
        root: &Root,
        directory: &OwnedFd,
        (name, text, file_type): (&CStr, &str, FileType),
        known: Option<FileStamp>,
    ) {
        let mut kind = None;
        match statat(directory, name, root.stat_flags()) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {
                    let stamp = root.stamp_of(&stat);
                    if known == Some(stamp) {
                        self.as_known += 1;
                        return;
                    }
                    kind = Some(Kind::File(stamp));
                }
                FileType::Directory => {
                    kind = Some(Kind::Directory {
                        device: root.stamp_of(&stat).device,
                        is_link: file_type == FileType::Symlink,
                    });
                }
                _ => {}
            },
            Err(error) => {
                let error = io::Error::from(error);
                // It went meanwhile, or the link leads nowhere.
                if !is_nothing(&error) {
                    self.unusable.push((text.to_owned(), error.to_string()));
                }
            }
        }
        self.has_links |= file_type == FileType::Symlink;
        if known.is_some() && !matches!(kind, Some(Kind::File(_))) {
            self.no_files.push(text.to_owned());
        }
        if let Some(kind) = kind {
            self.entries.push(Entry {
                name: text.to_owned(),
                kind,
            });
        }
    }
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
