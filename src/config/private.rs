//! Reading a file that may hold passwords, or decides what goes where: its text, owner and permissions come
//! from one and the same open file, so that nobody can swap it in between.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::config::finding::Finding;
use crate::domain::text::{escape, shell_quote};

/// No configuration file is longer than this many bytes; a device or a wrong file is noticed early.
const LENGTH_MAX: u64 = 64 << 20;

/// A file as it was when it was opened.
pub(super) struct FileText {
    /// Its bytes, wiped on drop.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Its permission bits.
    pub(super) mode: u32,
    /// Whose it is.
    pub(super) owner: u32,
}

/// Reads `path`; `None`: there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<FileText>, Finding> {
    match try_read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => {
            let way_out = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "; let this user read it and enter its directories"
                }
                _ => "",
            };
            let text = format!("cannot be read: {error}{way_out}");
            Err(Finding::about(path, text))
        }
    }
}

fn try_read(path: &Path) -> io::Result<FileText> {
    // Without O_NONBLOCK a FIFO of that name would hang us.
    let flags =
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() > LENGTH_MAX {
        return Err(io::Error::other("it is longer than 64 MiB"));
    }
    // Room for the whole file at once: a growing buffer would leave copies behind.
    let capacity = usize::try_from(metadata.len()).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(LENGTH_MAX).read_to_end(&mut bytes)?;
    Ok(FileText {
        bytes,
        mode: metadata.mode(),
        owner: metadata.uid(),
    })
}

impl FileText {
    /// The mistake of a file that everybody can write to, or that `holds_password` and everybody can read.
    pub(super) fn in_the_open(&self, path: &Path, holds_password: bool) -> Option<Finding> {
        let is_shown = holds_password && self.mode & 0o004 != 0;
        let (what, bits) = match (is_shown, self.mode & 0o002 != 0) {
            (true, _) => ("holds a password and everybody can read it", "o-rwx"),
            (false, true) => (
                "everybody can write to it, and so decide what goes where",
                "o-w",
            ),
            (false, false) => return None,
        };
        let shown = shell_quote(&escape(&path.to_string_lossy()));
        let text = format!("{what}; mend it with: chmod {bits} {shown}");
        Some(Finding::about(path, text))
    }

    /// A warning where the file is somebody else's, who decides what stands in it.
    pub(super) fn of_another(&self, path: &Path) -> Option<Finding> {
        let me = rustix::process::geteuid().as_raw();
        (self.owner != 0 && self.owner != me).then(|| {
            let text = format!(
                "belongs to uid {}, which is neither root nor this user (uid {me}): its owner decides what stands \
                 in it, whatever its permissions are; mend it with: chown {me} {}",
                self.owner,
                shell_quote(&escape(&path.to_string_lossy()))
            );
            Finding::about(path, text)
        })
    }
}

/// A warning where somebody can put another file in the place of `path`: a directory on the way to it, or to what
/// it is a link to, that everybody may write to and that has no sticky bit.
pub fn open_way(path: &Path) -> Option<Finding> {
    let target = path.canonicalize().ok();
    let directories = [Some(path), target.as_deref()].into_iter().flatten();
    let mut directories = directories.flat_map(|path| path.ancestors().skip(1));
    let open = directories.find(|directory| {
        directory
            .metadata()
            .is_ok_and(|metadata| metadata.mode() & 0o1002 == 0o002)
    })?;
    let shown = shell_quote(&escape(&open.to_string_lossy()));
    let text = format!(
        "everybody may write to a directory on the way to it, and so put another file in its place; mend it with: \
         chmod o-w {shown}"
    );
    Some(Finding::about(path, text))
}

/// The text of a file in UTF-8, a byte order mark taken off, line ends made `\n` as Python's universal
/// newlines do.
pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Zeroizing<String>, Finding> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        Finding::at(
            path,
            newlines(good) + 1,
            "is not UTF-8 here; convert the file, for example with: iconv -f GBK -t UTF-8",
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(at) = rest.find('\r') {
        let (before, after) = rest.split_at(at);
        plain.push_str(before);
        plain.push('\n');
        rest = after
            .strip_prefix("\r\n")
            .or_else(|| after.strip_prefix('\r'))
            .unwrap_or(after);
    }
    plain.push_str(rest);
    Ok(plain)
}

/// How many lines end in `bytes`, whatever their ends are.
fn newlines(bytes: &[u8]) -> usize {
    let line_feeds = bytes.split(|&byte| byte == b'\n').count() - 1;
    let lone_returns = bytes
        .iter()
        .enumerate()
        .filter(|&(index, &byte)| byte == b'\r' && bytes.get(index + 1) != Some(&b'\n'))
        .count();
    line_feeds + lone_returns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_made_plain_and_a_byte_order_mark_goes() {
        let text = decode(Path::new("f"), "\u{feff}a\r\nb\rc\n\r\r\n".as_bytes()).unwrap();
        assert_eq!(text.as_str(), "a\nb\nc\n\n\n");
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_its_line() {
        let finding = decode(Path::new("f"), b"a\r\nb\rc \xd6\xd0").unwrap_err();
        assert_eq!(finding.line, Some(3));
    }
}
