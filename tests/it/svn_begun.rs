//! A dump that is begun before anybody wants it: only that of a small new revision with something in it that may be
//! wanted, once, and what is wrong with it costs nothing but the time to read it again.

use std::fs;
use std::process::Command;

use auto_dispatcher::error::Result;
use auto_dispatcher::source::svnlook::{Begun, Choice, Dumped, End, Revision, Svnlook};

use crate::servers::svn::{Svn, fake_svnadmin, program};
use crate::testenv::TestEnv;

/// Subversion whose svnadmin notes that it was called, and does what `script` says.
fn noting(env: &TestEnv, script: &str) -> Svnlook {
    let script = format!("echo \"$1\" >> {}\n{script}", env.path("calls").display());
    Svnlook::new(program("svnlook")).with_svnadmin(fake_svnadmin(env, "svnadmin", &script))
}

const REAL: &str = r#"exec "$SVNADMIN" "$@""#;

fn calls(env: &TestEnv) -> usize {
    let calls = fs::read_to_string(env.path("calls")).unwrap_or_default();
    calls.lines().count()
}

/// Reads the last revision by what was begun.
fn read(svnlook: &Svnlook, svn: &Svn, begun: Option<Begun>) -> (Result<End>, Vec<(String, usize)>) {
    let revision = Revision {
        repository: &svn.repository,
        uuid: None,
        number: svn.youngest(),
    };
    let mut files = Vec::new();
    let end = svnlook.dump(revision, begun, &mut |dumped| {
        if let Dumped::File { path, bytes } = dumped {
            files.push((path.to_owned(), bytes.len()));
        }
        Ok(Choice::Take)
    });
    (end, files)
}

#[test]
fn the_newest_revision_is_begun_where_it_may_bring_what_is_wanted() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    svn.write("trunk/first", "1");
    svn.commit();
    svn.write("trunk/部署 1.tar", "content");
    svn.write("trunk/other", "/trunk/named");
    svn.commit();
    let svnlook = noting(&env, REAL);
    for version in ["1.14", "1.8", "1.6", "1.4", "packed"] {
        let repository = env.path(version);
        let compatible = if version == "packed" { "1.14" } else { version };
        let script = format!(
            "set -e; svnadmin create --compatible-version {compatible} \"$2\"\n\
             [ {version} != packed ] || sed -i 's/sharded 1000/sharded 3/' \"$2/db/format\"\n\
             svnadmin dump -q \"$1\" | svnadmin load -q \"$2\"\n\
             [ {version} != packed ] || svnadmin pack -q \"$2\""
        );
        let made = Command::new("sh")
            .args(["-c", &script, "sh"])
            .args([&svn.repository, &repository])
            .status();
        assert!(made.expect("sh").success(), "{version}");
        let opened = svnlook.repository(&repository).expect("opened");
        let begins = |revision, wanted: &dyn Fn(&str) -> bool| {
            let begun = opened.begin_dump(revision, wanted);
            let is_begun = begun.is_some();
            // It ends before the next one begins.
            let _ = read(&svnlook, &svn, begun);
            is_begun
        };
        let is_kept_apart = version != "packed";
        let package = |path: &str| path == "trunk/部署 1.tar";
        assert_eq!(begins(2, &package), is_kept_apart, "{version}");
        assert!(!begins(1, &|_| true), "{version}: r1 is not the newest");
        assert!(!begins(3, &|_| true), "{version}: there is no r3");
        assert!(!begins(2, &|_| false), "{version}: nothing is wanted");
        let elsewhere = |path: &str| path.starts_with("branches/");
        assert!(!begins(2, &elsewhere), "{version}");
    }
    let opened = Svnlook::new(program("svnlook")).repository(&svn.repository);
    let begun = opened.expect("opened").begin_dump(2, &|_| true);
    assert!(begun.is_none(), "without svnadmin");
}

#[test]
fn what_was_begun_is_read_once() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    svn.write("app", "content");
    let revision = svn.commit();
    let svnlook = noting(&env, REAL);
    let opened = svnlook.repository(&svn.repository).expect("opened");
    let begun = opened.begin_dump(revision, &|path| path == "app");
    assert!(begun.is_some());
    let (end, files) = read(&svnlook, &svn, begun);
    assert_eq!((end, files), (Ok(End::Whole), vec![("app".to_owned(), 7)]));
    assert_eq!(calls(&env), 1);
}

#[test]
fn a_dump_that_is_longer_than_the_revision_looks_is_not_held() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    // Compressed it is small.
    svn.write("app", vec![b'x'; 3 << 20]);
    let revision = svn.commit();
    let svnlook = noting(&env, REAL);
    let opened = svnlook.repository(&svn.repository).expect("opened");
    let begun = opened.begin_dump(revision, &|path| path == "app");
    assert!(begun.is_some());
    let (end, files) = read(&svnlook, &svn, begun);
    assert_eq!(
        (end, files),
        (Ok(End::Whole), vec![("app".to_owned(), 3 << 20)])
    );
    assert_eq!(calls(&env), 2);
    // What cannot be compressed is not begun at all.
    let mut random = fastrand::Rng::with_seed(1);
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(1 << 20)
        .collect();
    svn.write("app", bytes);
    let revision = svn.commit();
    assert!(opened.begin_dump(revision, &|_| true).is_none());
}

#[test]
fn a_begun_dump_that_goes_wrong_is_read_again() {
    for once in [
        // Fails at its end, is ended, says nothing.
        r#""$SVNADMIN" "$@"; exit 1"#,
        r"kill -9 $$",
        "exit 1",
    ] {
        let env = TestEnv::new();
        let svn = Svn::create(&env);
        svn.write("app", "content");
        let revision = svn.commit();
        let first = env.path("first");
        let script = format!("if mkdir {}; then {once}; else {REAL}; fi", first.display());
        let svnlook = noting(&env, &script);
        let opened = svnlook.repository(&svn.repository).expect("opened");
        let begun = opened.begin_dump(revision, &|_| true);
        let (end, files) = read(&svnlook, &svn, begun);
        let whole = (Ok(End::Whole), vec![("app".to_owned(), 7)]);
        assert_eq!((end, files), whole, "{once}");
        assert_eq!(calls(&env), 2, "{once}");
    }
}
