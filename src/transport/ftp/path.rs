//! Paths on FTP servers: always absolute, because a name that begins with `-` or a blank is then literal.
//! Pure.

use crate::domain::fault::Fault;

/// The longest path that a server is believed.
const PATH_MAX_BYTES: usize = 4096;

/// Refuses what would end a command line or a C string: nothing of it is ever sent.
pub(super) fn check(what: &str, text: &str) -> Result<(), Fault> {
    if text.contains(['\r', '\n', '\0']) {
        return Err(Fault::permanent(format!(
            "{what} \"{text}\" holds a line break or NUL, which FTP cannot carry: rename it"
        )));
    }
    Ok(())
}

/// Whether what a server tells as a path can be one.
pub(super) fn is_plausible(path: &str) -> bool {
    !path.is_empty() && path.len() <= PATH_MAX_BYTES && !path.contains(['\r', '\n', '\0'])
}

/// The absolute form of `dest_dir`, without a trailing slash: a leading `~` or `~/` and what is relative
/// begin at `home`.
pub(super) fn resolve(dest_dir: &str, home: &str) -> String {
    let whole = if dest_dir == "~" {
        home.to_owned()
    } else if let Some(rest) = dest_dir.strip_prefix("~/") {
        format!("{home}/{rest}")
    } else if dest_dir.starts_with('/') {
        dest_dir.to_owned()
    } else {
        format!("{home}/{dest_dir}")
    };
    let mut path = String::new();
    for part in whole.split('/').filter(|part| !part.is_empty()) {
        path.push('/');
        path.push_str(part);
    }
    if path.is_empty() {
        path.push('/');
    }
    path
}

/// Whether [`resolve`] asks for the login's home.
pub(super) fn needs_home(dest_dir: &str) -> bool {
    !dest_dir.starts_with('/')
}

/// `name` in `dir`.
pub(super) fn join(dir: &str, name: &str) -> String {
    format!("{}/{name}", dir.trim_end_matches('/'))
}

/// The directories above and including an absolute path, from the top, without `/` itself.
pub(super) fn levels(path: &str) -> Vec<&str> {
    let mut levels: Vec<&str> = path
        .match_indices('/')
        .skip(1)
        .map(|(at, _)| &path[..at])
        .collect();
    if path != "/" {
        levels.push(path);
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_and_relative_paths_begin_at_home_and_all_else_is_literal() {
        let cases = [
            ("~", "/home/u"),
            ("~/", "/home/u"),
            ("~/a/b/", "/home/u/a/b"),
            ("a/ b", "/home/u/a/ b"),
            ("~x", "/home/u/~x"),
            ("/a//b~/", "/a/b~"),
            ("/", "/"),
        ];
        for (dest_dir, expected) in cases {
            assert_eq!(resolve(dest_dir, "/home/u"), expected, "{dest_dir}");
        }
        assert_eq!(resolve("~", "/"), "/");
        assert_eq!(resolve("~/a", "/"), "/a");
    }

    #[test]
    fn a_server_is_believed_paths_of_bounded_length_and_one_line() {
        assert!(is_plausible("/") && is_plausible("/home/u v"));
        for told in ["", "/a\r\nDELE x", "/a\0", &"/a".repeat(3000)] {
            assert!(!is_plausible(told), "{told:?}");
        }
    }

    #[test]
    fn levels_go_from_the_top_down() {
        assert_eq!(levels("/a/ b/c"), ["/a", "/a/ b", "/a/ b/c"]);
        assert!(levels("/").is_empty());
        assert_eq!(join("/", "-x"), "/-x");
        assert_eq!(join("/a", " x "), "/a/ x ");
    }

    #[test]
    fn a_name_that_would_end_the_command_is_refused() {
        for name in ["a\rDELE b", "a\nb", "a\0b"] {
            assert!(check("the name", name).is_err());
        }
        assert!(check("the name", " - 中文\t").is_ok());
    }
}
