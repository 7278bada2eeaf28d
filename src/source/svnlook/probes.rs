//! Doors for the fuzz targets, and for nothing else: the feature `probes`, which tests alone turn on, builds
//! them. They hand bytes to the readers of svnlook's output and give plain types back; they decide nothing.

use std::ops::ControlFlow;

use super::dump::{Piece, Reader};
use super::listing::{Lines, Listing, split_path};

/// What `svnlook changed --copy-info` said of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What happened: `Added`, `Copied`, `Deleted`, `Content`, `Properties`.
    pub status: String,
    /// Without the slash of a directory.
    pub path: String,
    /// Whether the slash was there.
    pub directory: bool,
}

/// Reads the output of `svnlook changed --copy-info`, which comes in `pieces`.
pub fn changed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Line>, String> {
    let (mut lines, mut listing) = (Lines::default(), Listing::default());
    for piece in pieces {
        lines.feed(piece, &mut |line| listing.line(line))?;
    }
    lines.end()?;
    let entries = listing.end()?.into_iter().map(|entry| Line {
        status: format!("{:?}", entry.status),
        path: entry.path,
        directory: entry.directory,
    });
    Ok(entries.collect())
}

/// Reads the output of `svnlook tree --full-paths`: each path, and whether it is a directory.
pub fn tree<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<(String, bool)>, String> {
    let (mut lines, mut paths) = (Lines::default(), Vec::new());
    for piece in pieces {
        lines.feed(piece, &mut |line| {
            let (path, directory) = split_path(line);
            paths.push((path.to_owned(), directory));
            Ok(())
        })?;
    }
    lines.end()?;
    Ok(paths)
}

/// A path of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpedPath {
    /// Its name.
    pub path: String,
    /// The SHA-1 that is told of a text.
    pub sha1: Option<String>,
    /// The text, if there is one.
    pub text: Option<Vec<u8>>,
    /// What was told to follow on the headers.
    pub bytes: u64,
}

/// Reads the dump of revision 1, which comes in `pieces`: the UUID, and every path.
pub fn dump<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(String, Vec<DumpedPath>), String> {
    let (mut uuid, mut paths) = (String::new(), Vec::<DumpedPath>::new());
    let mut open = None;
    let mut reader = Reader::new(1);
    for piece in pieces {
        let _ = reader.feed(piece, &mut |piece| {
            match piece {
                Piece::Uuid(told) => told.clone_into(&mut uuid),
                Piece::Path { path, text, bytes } => {
                    assert!(open.is_none(), "a path within a text");
                    open = text.map(|text| text.size);
                    paths.push(DumpedPath {
                        path: path.to_owned(),
                        sha1: text.and_then(|text| text.sha1).map(str::to_owned),
                        text: text.map(|_| Vec::new()),
                        bytes,
                    });
                }
                Piece::Bytes(bytes) => {
                    if let Some(text) = paths.last_mut().and_then(|path| path.text.as_mut()) {
                        text.extend_from_slice(bytes);
                    }
                }
                Piece::End => {
                    let text = paths.last().and_then(|path| path.text.as_ref());
                    assert_eq!(text.map(|text| text.len() as u64), open.take());
                }
            }
            ControlFlow::Continue(())
        })?;
    }
    reader.end()?;
    assert!(open.is_none(), "a text without an end");
    Ok((uuid, paths))
}
