//! The checks that hostile names arrive as they are.

use super::checks::{assert_delivered, fresh_dir, names_in};
use super::{Package, ServerUnderTest, join};

/// Names that shells, option parsers, globs and line readers stumble over.
fn hostile_names(server: &dyn ServerUnderTest) -> Vec<String> {
    let mut names: Vec<String> = [
        "it's",
        "say \"so\"",
        "two  blanks",
        "$(touch pwned)",
        "`touch pwned`",
        "-rf",
        "--help",
        "a;touch pwned",
        "a&b|c",
        "a>b<c",
        "*",
        "?[x]",
        "~",
        "~root",
        "#hash",
        "!bang!",
        "a\\b",
        "a\\",
        "%s%n",
        "{path}",
        "$HOME",
        "a:b",
        "a=b",
        "中文包-1.0.tar",
        "paquet-é-ü",
        "📦🚀",
        "..a",
        "...",
        "a\u{a0}b",
        "^x^y",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("n".repeat(200));
    if server.capabilities().blanks_at_edges {
        names.extend([
            " leading".to_owned(),
            "trailing ".to_owned(),
            "tab\tinside".to_owned(),
        ]);
    }
    if server.capabilities().newline_in_names {
        names.extend(["new\nline".to_owned(), "ends with one\n".to_owned()]);
    }
    names
}

pub fn hostile_names_are_taken_literally(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "names");
    let package = Package::of_size(100);
    let mut names = hostile_names(server);
    for name in &names {
        let temporary = if name.len() < 200 {
            format!("{name}.tmp-1")
        } else {
            ".long.tmp".to_owned()
        };
        assert_delivered(
            server,
            &mut *session,
            &package.upload(&dir, name, &temporary),
            package.bytes(),
        );
    }
    names.sort();
    assert_eq!(names_in(server, &dir), names, "{}", server.name());
}

pub fn hostile_directories_are_taken_literally(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let above = fresh_dir(server, &mut *session, "directories");
    let package = Package::of_size(100);
    let mut names = hostile_names(server);
    for name in &names {
        let wanted = join(&above, name);
        let dir = session
            .prepare_dir(&wanted)
            .unwrap_or_else(|fault| panic!("{}: {fault}", server.name()));
        assert_eq!(dir, wanted);
        assert_delivered(
            server,
            &mut *session,
            &package.upload(&dir, "package", ".tmp"),
            package.bytes(),
        );
    }
    names.sort();
    assert_eq!(names_in(server, &above), names, "{}", server.name());
}
