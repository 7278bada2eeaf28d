//! Doors for the fuzz targets, and for nothing else: the feature `probes`, which tests alone turn on, builds
//! them. They hand bytes to the readers of svnlook's output and give plain types back; they decide nothing.

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
