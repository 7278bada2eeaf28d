//! A revision's files out of one dump: those that are chosen come byte by byte as svnlook gives them, and whatever is
//! wrong with a dump is an error and no file.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use auto_dispatcher::error::{Error, Result};
use auto_dispatcher::source::svnlook::{Choice, Dumped, End, Limits, Revision, Svnlook};

use crate::servers::svn::{Dump, Svn, fake_svnadmin, program};
use crate::testenv::{TestEnv, wait_until};

type Files = Vec<(String, Vec<u8>)>;

/// All files that a dump brings, and every path that it names.
fn read(svn: &Svn, svnadmin: PathBuf, revision: u64) -> (Result<End>, Files, Vec<String>) {
    let svnlook = Svnlook::new(program("svnlook")).with_svnadmin(svnadmin);
    read_by(&svnlook, svn, revision)
}

fn read_by(svnlook: &Svnlook, svn: &Svn, revision: u64) -> (Result<End>, Files, Vec<String>) {
    let (mut files, mut paths) = (Vec::new(), Vec::new());
    let revision = Revision {
        repository: &svn.repository,
        uuid: None,
        number: revision,
    };
    let end = svnlook.dump(revision, None, &mut |dumped| {
        match dumped {
            Dumped::Path { path, text, bytes } => {
                assert!(text.is_none_or(|size| size <= bytes));
                paths.push(path.to_owned());
            }
            Dumped::File { path, bytes } => files.push((path.to_owned(), bytes)),
        }
        Ok(Choice::Take)
    });
    (end, files, paths)
}

#[track_caller]
fn whole(svn: &Svn, revision: u64) -> (Files, Vec<String>) {
    let (end, files, paths) = read(svn, program("svnadmin"), revision);
    assert_eq!(end, Ok(End::Whole));
    let repository = svn.open();
    for (path, bytes) in &files {
        let mut expected = Vec::new();
        repository
            .export(revision, path, &mut expected)
            .expect("exported");
        assert!(*bytes == expected, "{path} has other bytes");
    }
    (files, paths)
}

fn names(files: &Files) -> Vec<&str> {
    files.iter().map(|(path, _)| path.as_str()).collect()
}

#[test]
fn what_a_revision_brings_is_what_svnlook_gives() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    let mut random = fastrand::Rng::with_seed(3);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(300_000)
        .collect();
    for name in ["changed", "copied", "moved", "props", "replaced", "gone"] {
        svn.write(name, format!("{name}\n"));
    }
    svn.write("dir/inner", "inner");
    svn.commit();
    svn.write("changed", "now other");
    svn.write("empty", "");
    svn.write(
        "a dump",
        "SVN-fs-dump-format-version: 2\n\nNode-path: x\nNode-action: add\n\n\nPROPS-END\n\n\n",
    );
    svn.write("-r 7@2 ünïx 中文包 😀\u{85}.tar", "named");
    svn.svn(&["copy", "-q", "copied", "unchanged-copy"]);
    svn.svn(&["copy", "-q", "copied", "changed-copy"]);
    svn.write("changed-copy", "copied, and more");
    svn.svn(&["move", "-q", "moved", "moved-away"]);
    svn.svn(&["copy", "-q", "dir", "dir2"]);
    svn.write("dir/deep/noise.tar", &noise);
    svn.svn(&["propset", "-q", "p", "PROPS-END\n\nK 1", "props"]);
    svn.svn(&["delete", "-q", "replaced", "gone"]);
    svn.write("replaced", "anew");
    let revision = svn.commit();
    let (files, paths) = whole(&svn, revision);
    let expected = [
        "-r 7@2 ünïx 中文包 😀\u{85}.tar",
        "a dump",
        "changed",
        "changed-copy",
        "dir/deep/noise.tar",
        "empty",
        "replaced",
    ];
    let mut found = names(&files);
    found.sort_unstable();
    assert_eq!(found, expected);
    for name in ["unchanged-copy", "moved-away", "dir2", "props", "gone"] {
        assert!(paths.iter().any(|path| path == name), "{name}: {paths:?}");
    }
}

#[test]
fn names_that_no_client_would_commit_come_through() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    let mut dump = Dump::after(0);
    let odd = [
        "tab\there",
        "cr\rhere",
        "esc\u{1b}[2J",
        "del\u{7f}",
        "a: b",
        " blanks ",
    ];
    dump.revision(&[]);
    for name in odd {
        dump.file(name, &[("svn:special", "*")], name.as_bytes());
    }
    let revision = svn.load(&dump);
    let (files, _) = whole(&svn, revision);
    let mut found = names(&files);
    found.sort_unstable();
    let mut odd = odd.to_vec();
    odd.sort_unstable();
    assert_eq!(found, odd);
}

#[test]
fn a_revision_that_changed_no_file_brings_none() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    svn.svn(&["propset", "-q", "p", "v", "."]);
    let revision = svn.commit();
    let (files, paths) = whole(&svn, revision);
    assert_eq!((files.len(), paths), (0, vec![String::new()]));
    assert_eq!(whole(&svn, 0).0.len(), 0);
}

/// A repository with three files, and what a stand-in for svnadmin makes of its dump.
fn read_through(script: &str) -> (Result<End>, Files) {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    for name in ["f1", "f2", "f3"] {
        svn.write(name, format!("the bytes of {name}"));
    }
    let revision = svn.commit();
    let (end, files, _) = read(&svn, fake_svnadmin(&env, "svnadmin", script), revision);
    for (path, bytes) in &files {
        assert_eq!(*bytes, format!("the bytes of {path}").as_bytes());
    }
    (end, files)
}

#[track_caller]
fn refused(script: &str, files: usize, part: &str) {
    let (end, found) = read_through(script);
    let error: Error = end.expect_err("an error");
    assert!(error.message.contains(part), "{error}");
    assert!(!error.message.chars().any(char::is_control), "{error}");
    assert_eq!(found.len(), files, "{:?}", names(&found));
}

#[test]
fn bytes_that_are_not_those_of_their_sha1_are_refused() {
    refused(
        r#""$SVNADMIN" "$@" | sed 's/bytes of f2/bytes of fX/'"#,
        1,
        "the SHA-1 of f2 is",
    );
}

#[test]
fn a_text_without_a_sha1_is_none_that_could_be_taken() {
    let (end, files) = read_through(r#""$SVNADMIN" "$@" | grep -v Text-content-sha1"#);
    assert_eq!((end, files.len()), (Ok(End::Whole), 0));
}

#[test]
fn a_dump_that_breaks_off_or_is_none_is_refused() {
    let dump = r#""$SVNADMIN" "$@""#;
    refused(&format!("{dump} | head -c -5"), 2, "ends too soon");
    refused(
        &format!("{dump}; echo no more >&2; exit 3"),
        3,
        "no more (exit status: 3)",
    );
    refused(&format!("{dump}; kill -9 $$"), 3, "signal: 9");
    refused(&format!("{dump} | head -c 700; kill -9 $$"), 1, "signal: 9");
    refused("echo; echo hello; echo", 0, "hello");
    refused("head -c 300000 /dev/zero", 0, "more than 65536 bytes");
    refused("exit 0", 0, "ends too soon");
    refused(
        &format!("{dump} | sed 's/version: 2/version: 3/'"),
        0,
        "version: 3",
    );
    refused(
        &format!("{dump} | sed 's/^Revision-number: 1/Revision-number: 2/'"),
        0,
        "revision 2 in place of 1",
    );
    refused(
        &format!("{dump}; echo 'Node-path: f4'; echo 'Node-trick: x'; echo"),
        3,
        "Node-trick",
    );
}

#[test]
fn a_svnadmin_that_hangs_is_ended_with_its_children() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    svn.write("f", "x");
    let revision = svn.commit();
    let pid = env.path("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
    let limits = Limits {
        stall: Duration::from_secs(3),
        ..Limits::default()
    };
    let svnlook = Svnlook::new(program("svnlook"))
        .with_svnadmin(fake_svnadmin(&env, "svnadmin", &script))
        .with_limits(limits);
    let (end, files, _) = read_by(&svnlook, &svn, revision);
    let error = end.expect_err("an error");
    assert!(error.message.contains("nothing was heard of it"), "{error}");
    assert!(files.is_empty());
    let child = std::fs::read_to_string(pid).expect("a pid");
    wait_until("the child is gone", Duration::from_secs(30), || {
        !std::path::Path::new("/proc").join(child.trim()).exists()
    });
}

#[test]
fn whoever_has_had_enough_does_not_wait_for_the_rest() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    svn.write("f", "x");
    let revision = svn.commit();
    let script = r#""$SVNADMIN" "$@"; sleep 1000"#;
    let svnlook =
        Svnlook::new(program("svnlook")).with_svnadmin(fake_svnadmin(&env, "svnadmin", script));
    let asked = Revision {
        repository: &svn.repository,
        uuid: None,
        number: revision,
    };
    let since = Instant::now();
    let end = svnlook.dump(asked, None, &mut |_| Ok(Choice::Stop));
    assert_eq!(end, Ok(End::Stopped));
    let own = svnlook.dump(asked, None, &mut |_| Err(Error::state("my own")));
    assert_eq!(own, Err(Error::state("my own")));
    let other = Revision {
        uuid: Some("another"),
        ..asked
    };
    let end = svnlook.dump(other, None, &mut |dumped| panic!("{dumped:?}"));
    assert_eq!(end, Ok(End::Stopped));
    assert!(since.elapsed() < Duration::from_secs(500));
    let none = Svnlook::new(program("svnlook"));
    let nowhere = none.clone().with_svnadmin(env.path("nowhere"));
    for svnlook in [none, nowhere] {
        let end = svnlook.dump(asked, None, &mut |dumped| panic!("{dumped:?}"));
        assert_eq!(end, Ok(End::Untried));
    }
}
