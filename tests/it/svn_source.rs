//! What `source::svnlook` reads from real repositories: one test for each fact that it is built on.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use auto_dispatcher::domain::change::{Action, Change, SkipReason};
use auto_dispatcher::source::repository_files::read_uuid;
use auto_dispatcher::source::svnlook::{Commit, Repository, Svnlook};

use crate::servers::svn::{Dump, Svn, fake_svnlook, program};
use crate::testenv::TestEnv;

pub fn change(path: &str, action: Action, skipped: Option<SkipReason>) -> Change {
    Change {
        path: path.to_owned(),
        action,
        skipped,
    }
}

pub fn added(path: &str) -> Change {
    change(path, Action::Added, None)
}

pub fn directory(path: &str) -> Change {
    change(path, Action::Added, Some(SkipReason::Directory))
}

pub fn bytes(repository: &Repository, revision: u64, path: &str) -> Vec<u8> {
    let mut content = Vec::new();
    let length = repository
        .export(revision, path, &mut content)
        .expect("an export");
    assert_eq!(length, content.len() as u64);
    content
}

#[track_caller]
pub fn assert_changes(svn: &Svn, revision: u64, copied_directories: bool, expected: &[Change]) {
    let mut changes = svn
        .open()
        .changes(revision, copied_directories)
        .expect("changes");
    let mut expected = expected.to_vec();
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    expected.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(changes, expected);
}

#[test]
fn every_kind_of_change_is_told_apart() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    for name in [
        "modified",
        "both",
        "properties",
        "gone",
        "replaced",
        "moved",
        "dir/inside",
    ] {
        svn.write(&format!("trunk/{name}"), name);
    }
    svn.commit();
    svn.write("trunk/modified", "new");
    svn.write("trunk/both", "new");
    svn.write("trunk/fresh", "new");
    svn.svn(&[
        "propset",
        "-q",
        "a",
        "b",
        "trunk/both",
        "trunk/properties",
        "trunk/dir",
        ".",
    ]);
    svn.svn(&["remove", "-q", "trunk/gone", "trunk/replaced"]);
    svn.write("trunk/replaced", "another");
    svn.svn(&["move", "-q", "trunk/moved", "trunk/target"]);
    let revision = svn.commit();
    let properties = Some(SkipReason::PropertiesOnly);
    assert_changes(
        &svn,
        revision,
        false,
        &[
            change("/", Action::Properties, properties.clone()),
            change("trunk/both", Action::Modified, None),
            change("trunk/dir", Action::Properties, properties.clone()),
            added("trunk/fresh"),
            change("trunk/gone", Action::Deleted, Some(SkipReason::Deleted)),
            change("trunk/modified", Action::Modified, None),
            change("trunk/moved", Action::Deleted, Some(SkipReason::Deleted)),
            change("trunk/properties", Action::Properties, properties),
            change("trunk/replaced", Action::Replaced, None),
            added("trunk/target"),
        ],
    );
    assert_eq!(bytes(&svn.open(), revision, "trunk/replaced"), b"another");
    assert_eq!(bytes(&svn.open(), revision, "trunk/target"), b"moved");
}

#[test]
fn names_that_trouble_shells_and_line_parsers_arrive_as_they_are() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    let names = [
        " leading",
        "trailing ",
        "  two  each  ",
        "-r",
        "--version",
        "a@2.tar",
        "a@",
        "per%20cent",
        "#hash",
        "it's \"quoted\"",
        "back\\slash",
        "$(touch x);`y`&|<>",
        "a -> b",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{85}next line",
        "line\u{2028}separator",
        "\u{3000}ideographic\u{3000}",
        "\u{202e}reversed",
        "\u{1f600}",
        "中文包-1.0.tar.gz",
        "A   trunk",
        "*?[a]",
        "~",
    ];
    for name in names {
        svn.write(name, name);
    }
    svn.write("(from trunk/f.txt:r7)", "(from trunk/f.txt:r7)");
    let revision = svn.commit();
    let mut expected: Vec<Change> = names.iter().map(|name| added(name)).collect();
    expected.extend([directory("(from trunk"), added("(from trunk/f.txt:r7)")]);
    assert_changes(&svn, revision, false, &expected);
    let repository = svn.open();
    for change in expected.iter().filter(|change| change.skipped.is_none()) {
        assert_eq!(
            bytes(&repository, revision, &change.path),
            change.path.as_bytes()
        );
        assert_eq!(
            repository.file_size(revision, &change.path),
            Ok(change.path.len() as u64)
        );
    }
}

#[test]
fn control_characters_and_names_of_a_thousand_bytes_arrive_as_they_are() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    let long = "包".repeat(333) + "x";
    let names = [
        "tab\there",
        "cr\r",
        "\u{1b}[31mred",
        "del\u{7f}",
        "\r\tA   x",
        long.as_str(),
    ];
    let mut dump = Dump::after(0);
    dump.revision(&[]);
    let mut path = String::new();
    let mut expected = Vec::new();
    for _ in 0..5 {
        path = format!("{path}{long}");
        dump.directory(&path);
        expected.push(directory(&path));
        path.push('/');
    }
    let deep = format!("{path}file");
    dump.file(&deep, &[], b"deep");
    expected.push(added(&deep));
    for name in names {
        let name = if name == long {
            "x".to_owned() + name
        } else {
            name.to_owned()
        };
        dump.file(&name, &[], name.as_bytes());
        expected.push(added(&name));
    }
    let revision = svn.load(&dump);
    assert_changes(&svn, revision, false, &expected);
    assert_eq!(bytes(&svn.open(), revision, &deep), b"deep");
    assert_eq!(bytes(&svn.open(), revision, "cr\r"), b"cr\r");
    assert_eq!(
        bytes(&svn.open(), revision, "\u{1b}[31mred"),
        "\u{1b}[31mred".as_bytes()
    );
}

#[test]
fn an_empty_environment_would_falsify_names_and_does_not_here() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    svn.write("中文包", "x");
    let revision = svn.commit();
    let raw = Command::new(program("svnlook"))
        .env_clear()
        .args(["changed", "--"])
        .arg(&svn.repository)
        .stdin(Stdio::null())
        .output()
        .expect("svnlook");
    assert!(raw.status.success());
    assert!(
        !String::from_utf8_lossy(&raw.stdout).contains("中文包"),
        "svnlook has changed: revise the locale"
    );
    assert_changes(&svn, revision, false, &[added("中文包")]);
}

#[test]
fn a_repository_may_be_called_like_an_option() {
    let env = TestEnv::new();
    let svn = Svn::create_named(&env, "-x");
    svn.write("f", "x");
    let revision = svn.commit();
    assert_changes(&svn, revision, false, &[added("f")]);
    assert_eq!(bytes(&svn.open(), revision, "f"), b"x");
}

#[test]
fn keywords_inside_a_package_are_delivered_as_stored() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    let content = b"\x1f\x8b\x08 $Id$ $Revision$ \x00\xff\r\n$Author: x $";
    svn.write("p.tar.gz", content);
    svn.svn(&["add", "-q", "p.tar.gz"]);
    svn.svn(&[
        "propset",
        "-q",
        "svn:keywords",
        "Id Revision Author",
        "p.tar.gz",
    ]);
    let revision = svn.commit();
    let stored = bytes(&svn.open(), revision, "p.tar.gz");
    assert!(
        stored.starts_with(b"\x1f\x8b\x08 $Id$ $Revision$ \x00\xff\r\n"),
        "{stored:?}"
    );
    assert!(
        stored.ends_with(b"$Author$") || stored.ends_with(b"$Author: x $"),
        "{stored:?}"
    );
}

#[test]
fn ten_thousand_files_in_one_commit_are_ten_thousand_changes() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    let mut dump = Dump::after(0);
    dump.revision(&[]);
    for number in 0..10_000 {
        dump.file(
            &format!("package-{number:05}.tar"),
            &[],
            number.to_string().as_bytes(),
        );
    }
    let first = svn.load(&dump);
    let changes = svn.open().changes(first, false).expect("changes");
    assert_eq!(changes.len(), 10_000);
    assert!(
        changes
            .iter()
            .all(|change| change.action == Action::Added && change.skipped.is_none())
    );
    assert_eq!(changes[4321].path, "package-04321.tar");
    assert_eq!(bytes(&svn.open(), first, "package-09999.tar"), b"9999");
}

#[test]
fn a_large_file_is_exported_whole() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    let mut random = fastrand::Rng::with_seed(7);
    let content: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(9_000_001)
        .collect();
    svn.write("large", &content);
    svn.write("empty", "");
    let revision = svn.commit();
    assert!(
        bytes(&svn.open(), revision, "large") == content,
        "the bytes differ"
    );
    assert_eq!(bytes(&svn.open(), revision, "empty"), b"");
}

#[test]
fn who_when_which_and_how_far() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    let mut dump = Dump::after(0);
    dump.revision(&[
        ("svn:author", "王 wu"),
        ("svn:date", "2016-07-25T02:07:33.123456Z"),
    ]);
    dump.revision(&[]);
    dump.revision(&[("svn:author", "")]);
    assert_eq!(svn.load(&dump), 3);
    let repository = svn.open();
    assert_eq!(repository.author(1).expect("r1"), Some("王 wu".to_owned()));
    assert_eq!(repository.author(2).expect("r2"), None);
    assert_eq!(repository.author(3).expect("r3"), None);
    assert_eq!(repository.author(0).expect("r0"), None);
    let date = repository.date(1).expect("r1").expect("a date");
    assert_eq!(date.to_rfc3339(), "2016-07-25T02:07:33.123456+00:00");
    assert_eq!(repository.date(2).expect("r2"), None);
    assert_eq!(repository.youngest().expect("youngest"), 3);
    assert_eq!(repository.changes(0, true).expect("r0"), []);
    assert_eq!(
        repository.uuid(),
        read_uuid(&svn.repository).expect("the UUID")
    );
}

#[test]
fn a_repository_is_known_by_its_canonical_path() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    let link = env.path("by link");
    symlink(&svn.repository, &link).expect("a link");
    let svnlook = Svnlook::new(program("svnlook"));
    let repository = svnlook
        .repository(&link.join("../by link/."))
        .expect("a repository");
    assert_eq!(
        repository.path(),
        svn.repository.canonicalize().expect("a path")
    );
    assert_eq!(repository.uuid(), svn.open().uuid());
}

#[test]
fn who_committed_is_read_from_files_as_svnlook_tells_it() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    // Two revisions are packed together, the properties of which are in no file of their own then.
    let format = svn.open().path().join("db/format");
    let text = fs::read_to_string(&format).expect("the format");
    assert!(text.contains("layout sharded 1000\n"), "{text}");
    fs::write(&format, text.replace("sharded 1000", "sharded 2")).expect("write");
    let commits: [&[(&str, &str)]; 6] = [
        &[
            ("svn:author", "张三"),
            ("svn:date", "2026-11-24T23:42:38.999999Z"),
            ("svn:log", "first\n\n核心\nEND\nK 3\n \n"),
        ],
        &[("svn:author", "o'neil\n$x"), ("svn:log", "")],
        &[("svn:date", "2026-11-24T23:42:38.000000Z")],
        &[],
        &[("svn:author", " a "), ("svn:log", "\n\nx")],
        &[("svn:log", " \t"), ("other", "svn:author")],
    ];
    let mut dump = Dump::after(0);
    for properties in commits {
        dump.revision(properties);
    }
    svn.load(&dump);
    let told = |repository: &Repository| -> Vec<Commit> {
        let commits = (1..=6).map(|revision| repository.commit(revision));
        commits.map(|commit| commit.expect("a commit")).collect()
    };
    let asked = env.path("asked");
    let counting = format!("echo \"$1\" >>{}\nexec $SVNLOOK \"$@\"", asked.display());
    let counting = Svnlook::new(fake_svnlook(&env, "counting", &counting));
    let counting = counting.repository(svn.open().path()).expect("opened");
    fs::remove_file(&asked).expect("the question for the UUID");
    let read = told(&counting);
    assert!(!asked.exists(), "no process is needed");
    assert_eq!(read[0].author.as_deref(), Some("张三"));
    assert_eq!(read[0].message.as_deref(), Some("first\n\n核心\nEND\nK 3"));
    assert!(read[0].committed_at.is_some());
    let packed = Command::new(program("svnadmin"))
        .args(["pack", "-q"])
        .arg(svn.open().path())
        .status();
    assert!(packed.expect("svnadmin").success());
    assert_eq!(told(&counting), read);
    let asked = fs::read_to_string(&asked).expect("svnlook is asked");
    // The last one has nobody to be packed with.
    assert_eq!(asked.lines().count(), 5);
    assert!(asked.lines().all(|line| line == "info"), "{asked}");
}
