//! What the hook of a user who may not read the journal leaves for the worker: which repository, which revision. Anybody
//! may write such a note, so it is read strictly, and says nothing that the worker could not find out by itself.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

/// The longest note, in bytes: a path of PATH_MAX, each byte escaped, and the rest.
pub const LENGTH_MAX: usize = 26 << 10;
/// PATH_MAX.
const PATH_MAX_BYTES: usize = 4096;
/// No UUID that Subversion ever wrote is as long.
const UUID_MAX_BYTES: usize = 200;

/// One note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// Canonical path of the repository.
    pub repository: String,
    /// Its UUID.
    pub uuid: String,
    /// The revision that was committed.
    pub revision: u64,
}

/// What a file that should be a note is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// A note.
    Whole(Note),
    /// Perhaps the beginning of one.
    Beginning,
    /// None, and why.
    Wrong(&'static str),
}

impl Note {
    /// The file's whole text. Its last newline says that it is whole.
    pub fn text(&self) -> String {
        // A struct of two strings and a number is always JSON.
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads a file's bytes.
    pub fn read(bytes: &[u8]) -> Read {
        if bytes.len() > LENGTH_MAX {
            return Read::Wrong("it is longer than any note");
        }
        let Some(line) = bytes.strip_suffix(b"\n") else {
            return Read::Beginning;
        };
        let Ok(note) = serde_json::from_slice::<Self>(line) else {
            return Read::Wrong("it is no note");
        };
        if note.repository.len() > PATH_MAX_BYTES || !is_plain(&note.repository) {
            return Read::Wrong("the path of its repository is not absolute and plain");
        }
        let fits = note.uuid.bytes().all(|byte| byte.is_ascii_graphic());
        if note.uuid.is_empty() || note.uuid.len() > UUID_MAX_BYTES || !fits {
            return Read::Wrong("its UUID is none");
        }
        // The empty revision 0 is nobody's commit.
        if !(1..=i64::MAX.unsigned_abs()).contains(&note.revision) {
            return Read::Wrong("its revision is none");
        }
        Read::Whole(note)
    }
}

/// Whether a path is absolute, as `canonicalize` gives it: without `.`, `..`, doubled or trailing slashes.
fn is_plain(text: &str) -> bool {
    let path = Path::new(text);
    let mut components = path.components();
    components.next() == Some(Component::RootDir)
        && components.all(|component| matches!(component, Component::Normal(_)))
        && path.components().as_path().as_os_str().len() == text.len()
        && !text.contains("//")
        && !text.contains("/./")
        && !text.ends_with("/.")
        && !text.contains('\0')
}

/// Whether `path` is the repository that `pattern` names: that very path, or, where the pattern ends in `/*`, what
/// lies directly in that directory.
pub fn admits(pattern: &Path, path: &Path) -> bool {
    if pattern.file_name().is_some_and(|name| name == "*") {
        return pattern.parent().is_some() && pattern.parent() == path.parent();
    }
    pattern == path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(repository: &str) -> Note {
        Note {
            repository: repository.to_owned(),
            uuid: "1f3ab4e8-0000-11ee-be56-0242ac120002".to_owned(),
            revision: 7,
        }
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let long = format!("/{}", "\u{1}\u{5305}\n\"".repeat(680));
        for path in ["/srv/svn/a", "/a b/\u{5305}\n'\"\\", &long] {
            let note = note(path);
            let text = note.text();
            assert!(text.len() <= LENGTH_MAX, "{}", text.len());
            assert_eq!(Note::read(text.as_bytes()), Read::Whole(note));
        }
    }

    #[test]
    fn every_beginning_of_a_note_is_one() {
        let text = note("/srv/svn/a").text();
        for end in 0..text.len() {
            assert_eq!(
                Note::read(&text.as_bytes()[..end]),
                Read::Beginning,
                "{end}"
            );
        }
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let good = note("/srv/svn/a").text();
        for (from, to) in [
            ("/srv", "srv"),
            ("/srv", "/srv/../srv"),
            ("/srv", "/srv/."),
            ("/srv", "//srv"),
            ("/srv/svn/a", "/srv/svn/a/"),
            ("/srv/svn/a", "/srv/svn/."),
            ("/srv", "/\\u0000"),
            ("1f3a", "1f 3a"),
            ("1f3a", "1f\\u001b3a"),
            (":7", ":0"),
            (":7", ":-7"),
            (":7", ":7.5"),
            (":7", ":18446744073709551615"),
            (":7", ":\"7\""),
            (":7", ":7,\"rules\":\"/tmp/x\""),
            (":7", ":7,\"revision\":8"),
            ("{", "[{"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert!(
                matches!(Note::read(bad.as_bytes()), Read::Wrong(_)),
                "{bad} is {:?}",
                Note::read(bad.as_bytes())
            );
        }
        let endless = vec![b' '; LENGTH_MAX + 1];
        assert!(matches!(Note::read(&endless), Read::Wrong(_)));
        assert!(matches!(Note::read(b"\xff\xfe\n"), Read::Wrong(_)));
    }

    #[test]
    fn a_pattern_admits_a_path_or_what_lies_directly_in_a_directory() {
        for (pattern, path, expected) in [
            ("/srv/svn/a", "/srv/svn/a", true),
            ("/srv/svn/a", "/srv/svn/a/b", false),
            ("/srv/svn/a", "/srv/svn", false),
            ("/srv/svn/*", "/srv/svn/a", true),
            ("/srv/svn/*", "/srv/svn/a/b", false),
            ("/srv/svn/*", "/srv/svn", false),
            ("/srv/svn/*", "/srv/svnx/a", false),
            ("/*", "/a", true),
            ("/*", "/", false),
        ] {
            let told = admits(Path::new(pattern), Path::new(path));
            assert_eq!(told, expected, "{pattern} and {path}");
        }
    }
}
