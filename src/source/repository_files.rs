//! What a hook and a worker need to know of a repository, read from its files without any process: a committer
//! waits for the hook, and svnlook costs more than everything else that it does. Reads nothing that a
//! commit can make large.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind as Io, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::domain::revision;
use crate::domain::text::escape;
use crate::error::{Error, ErrorKind, Result};

/// Longer lists of a revision's properties are svnlook's to read.
const PROPERTIES_MAX_BYTES: u64 = 64 * 1024;
/// Larger revisions take longer to read than svnlook does to answer.
const REVISION_MAX_BYTES: u64 = 1 << 20;
/// Revisions up to this size are small.
const SMALL_MAX_BYTES: u64 = 128 << 10;
/// So many names are looked at in one.
const NAMES_MAX: usize = 100;
/// More than any UUID that Subversion ever wrote.
const UUID_MAX_BYTES: usize = 200;

/// The absolute path of the repository in `path`, with every symbolic link resolved. It is checked to
/// be a repository directory: not a file, a working copy, a URL or anything else.
pub fn canonical(path: &Path) -> Result<PathBuf> {
    let shown = show(path);
    let resolved = fs::canonicalize(path).map_err(|error| {
        let missing = Error::io(
            ErrorKind::Source,
            "cannot find the repository",
            path,
            &error,
        );
        if shown.contains("://") {
            return missing
                .with_hint("name the repository's directory on this machine, not its URL");
        }
        missing
    })?;
    let metadata = fs::metadata(&resolved)
        .map_err(|error| Error::io(ErrorKind::Source, "cannot look at", &resolved, &error))?;
    if !metadata.is_dir() {
        return Err(Error::source(format!(
            "{shown} is not a repository: it is no directory"
        )));
    }
    for name in ["format", "db/format"] {
        let file = resolved.join(name);
        match fs::metadata(&file) {
            Ok(found) if found.is_file() => {}
            Ok(_) => {
                return Err(Error::source(format!(
                    "{shown} is not a repository: {name} is no file"
                )));
            }
            Err(error) if error.kind() == Io::NotFound => {
                return Err(no_repository(&resolved, name));
            }
            Err(error) => {
                return Err(Error::io(
                    ErrorKind::Source,
                    "cannot look at",
                    &file,
                    &error,
                ));
            }
        }
    }
    if resolved.to_str().is_none() {
        return Err(
            Error::source(format!("the path of the repository, {shown}, is not UTF-8"))
                .with_hint("move the repository, or use a path without such bytes"),
        );
    }
    Ok(resolved)
}

/// The UUID of the repository in `path`: the first line of `db/uuid`. The second, the identity of this
/// copy of the repository, is not asked for.
pub fn read_uuid(path: &Path) -> Result<String> {
    let file = canonical(path)?.join("db/uuid");
    let failed = |error| {
        let error = Error::io(
            ErrorKind::Source,
            "cannot read the repository's UUID from",
            &file,
            &error,
        );
        error.with_hint(
            "only repositories of the kind FSFS (or FSX) keep it there; `svnadmin info` tells",
        )
    };
    let mut start = Vec::new();
    let limit = UUID_MAX_BYTES as u64 + 1;
    open_file(&file)
        .and_then(|open| open.take(limit).read_to_end(&mut start))
        .map_err(failed)?;
    let line = start
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    check_uuid(&String::from_utf8_lossy(line), path)
}

/// The newest revision, as the first word of `db/current` says; none where it cannot be read or is no
/// number, for svnlook will tell.
pub fn youngest(repository: &Path) -> Option<u64> {
    let mut start = Vec::new();
    open_file(&repository.join("db/current"))
        .and_then(|open| open.take(64).read_to_end(&mut start))
        .ok()?;
    let text = String::from_utf8(start).ok()?;
    revision::parse(text.split_ascii_whitespace().next()?)
}

/// The properties of a revision itself, such as `svn:author`, where the repository keeps them in a file for each revision:
/// FSFS does, until they are packed. None where that is not so, where they are long, or where they are not text: svnlook
/// will tell.
pub(super) fn revision_properties(
    repository: &Path,
    revision: u64,
) -> Option<HashMap<String, String>> {
    let list = read_of_revision(repository, "revprops", revision, PROPERTIES_MAX_BYTES)?;
    properties(&list)
}

/// Whether a file or directory that a revision wrote anew may have properties. FSFS names them in a line of what it writes
/// of each, which is plain text in all of its formats; the line may stand in a file's content, too. True where that is
/// not so or not to be read soon: svnlook will tell.
pub(super) fn may_have_properties(repository: &Path, revision: u64) -> bool {
    const LINE: &[u8] = b"\nprops: ";
    let written = read_of_revision(repository, "revs", revision, REVISION_MAX_BYTES);
    written.is_none_or(|written| {
        let mut lines = written.windows(LINE.len());
        lines.any(|part| part == LINE)
    })
}

/// Whether a revision is small, and a line of what FSFS wrote of it ends in a path, without the slash in front, that is
/// `wanted`. In all of its formats it lists what was changed that way, towards the end, but nothing says that other lines
/// end in no paths.
pub(super) fn names_any(repository: &Path, revision: u64, wanted: &dyn Fn(&str) -> bool) -> bool {
    let written = read_of_revision(repository, "revs", revision, SMALL_MAX_BYTES);
    written.is_some_and(|written| {
        let lines = written.rsplit(|byte| *byte == b'\n');
        let mut paths = lines.filter_map(path_in).take(NAMES_MAX);
        paths.any(|path| std::str::from_utf8(path).is_ok_and(wanted))
    })
}

/// What follows on the first slash behind a blank.
fn path_in(line: &[u8]) -> Option<&[u8]> {
    let at = line.windows(2).position(|pair| pair == b" /")?;
    line.get(at + 2..)
}

/// What FSFS keeps of one revision in a file of its own. None where it is packed, longer than `most`, or no FSFS.
fn read_of_revision(repository: &Path, kind: &str, revision: u64, most: u64) -> Option<Vec<u8>> {
    let read = |name: &str, most: u64| {
        let mut text = Vec::new();
        let file = open_file(&repository.join("db").join(name)).ok()?;
        if file.metadata().ok()?.len() > most {
            return None;
        }
        file.take(most + 1).read_to_end(&mut text).ok()?;
        (text.len() as u64 <= most).then_some(text)
    };
    if read("fs-type", 64)? != b"fsfs\n" {
        return None;
    }
    let format = String::from_utf8(read("format", 4096)?).ok()?;
    let layout = format.lines().find_map(|line| line.strip_prefix("layout "));
    let name = match layout.and_then(|layout| layout.strip_prefix("sharded ")) {
        Some(size) => {
            let size: u64 = size.parse().ok().filter(|size| *size > 0)?;
            format!("{kind}/{}/{revision}", revision / size)
        }
        None => format!("{kind}/{revision}"),
    };
    read(&name, most)
}

/// Subversion's list of names and values: `K 3`, the name, `V 5`, the value, and so on to `END`.
fn properties(mut list: &[u8]) -> Option<HashMap<String, String>> {
    let mut found = HashMap::new();
    while list != b"END\n" {
        let name = property(&mut list, b"K ")?;
        found.insert(name, property(&mut list, b"V ")?);
    }
    Some(found)
}

/// Takes one name or value from the beginning of the list.
fn property(list: &mut &[u8], kind: &[u8]) -> Option<String> {
    let rest = list.strip_prefix(kind)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let length: usize = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    let (text, rest) = rest[end + 1..].split_at_checked(length)?;
    *list = rest.strip_prefix(b"\n")?;
    String::from_utf8(text.to_vec()).ok()
}

/// Opens a regular file. Committers may write to `db/`: a FIFO there must not hang whoever serves other repositories.
fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

/// `text` as the UUID of the repository in `path`; an error if no UUID looks like that.
pub(super) fn check_uuid(text: &str, path: &Path) -> Result<String> {
    let fits = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || text.len() > UUID_MAX_BYTES || !fits {
        let start: String = text.chars().take(60).collect();
        let (shown, start) = (show(path), escape(&start).into_owned());
        return Err(Error::source(format!("the UUID of the repository {shown} is damaged: `{start}`"))
            .with_hint("`svnadmin setuuid` gives it a new one; its revisions then count as another repository's"));
    }
    Ok(text.to_owned())
}

/// `path` for a message.
pub(super) fn show(path: &Path) -> String {
    escape(&path.to_string_lossy()).into_owned()
}

fn no_repository(path: &Path, missing: &str) -> Error {
    let shown = show(path);
    let error = Error::source(format!(
        "{shown} is not a Subversion repository: it has no {missing}"
    ));
    if path.join(".svn").exists() {
        return error.with_hint(
            "this is a working copy; name the repository's own directory (`svn info --show-item repos-root-url`)",
        );
    }
    error.with_hint("name the directory that `svnadmin create` made")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_properties_are_read_by_their_lengths() {
        let list =
            "K 10\nsvn:author\nV 4\nroot\nK 7\nsvn:log\nV 12\nEND\nK 1\n升\n\nK 1\nx\nV 0\n\nEND\n";
        let found = properties(list.as_bytes()).expect("a list");
        assert_eq!(found["svn:author"], "root");
        assert_eq!(found["svn:log"], "END\nK 1\n升\n");
        assert_eq!(found["x"], "");
        assert_eq!(properties(b"END\n"), Some(HashMap::new()));
        for end in 0..list.len() {
            assert_eq!(properties(&list.as_bytes()[..end]), None, "cut after {end}");
        }
        for wrong in [
            &b"K 99999999999999999999\nx\nV 0\n\nEND\n"[..],
            b"K 5\nx\nV 0\n\nEND\n",
            b"D 1\nx\nEND\n",
            b"K 1\n\xff\nV 0\n\nEND\n",
            b"END\nEND\n",
        ] {
            assert_eq!(properties(wrong), None, "{}", wrong.escape_ascii());
        }
    }
}
