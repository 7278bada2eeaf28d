//! A dump that is begun before anybody wants it: only that of a small new revision with something in it that may be
//! wanted, once, and what is wrong with it costs nothing but the time to read it again.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auto_dispatcher::domain::change::SkipReason;
use auto_dispatcher::error::Result;
use auto_dispatcher::source::svnlook::{Begun, Choice, Dumped, End, Revision, Svnlook};

use crate::servers::svn::{FORMATS, Svn, fake_svnadmin, fake_svnlook, program};
use crate::testenv::{TestEnv, wait_until};

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

/// Begins to read the last revision, which names `app`, and reads it.
fn begin_and_read(svnlook: &Svnlook, svn: &Svn) -> (Result<End>, Vec<(String, usize)>) {
    let opened = svnlook.repository(&svn.repository).expect("opened");
    let begun = opened.begin_dump(svn.youngest(), &|path| path == "app");
    assert!(begun.is_some());
    read(svnlook, svn, begun)
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
    for version in FORMATS {
        let repository = svn.in_format(&env, version, 3);
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
    svn.commit();
    let read = begin_and_read(&noting(&env, REAL), &svn);
    assert_eq!(read, (Ok(End::Whole), vec![("app".to_owned(), 7)]));
    assert_eq!(calls(&env), 1);
}

#[test]
fn a_dump_that_is_longer_than_the_revision_looks_is_not_held() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    // Compressed it is small.
    svn.write("app", vec![b'x'; 3 << 20]);
    svn.commit();
    let svnlook = noting(&env, REAL);
    let read = begin_and_read(&svnlook, &svn);
    assert_eq!(read, (Ok(End::Whole), vec![("app".to_owned(), 3 << 20)]));
    assert_eq!(calls(&env), 2);
    // What cannot be compressed is not begun at all.
    let mut random = fastrand::Rng::with_seed(1);
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(1 << 20)
        .collect();
    svn.write("app", bytes);
    let revision = svn.commit();
    let opened = svnlook.repository(&svn.repository).expect("opened");
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
        svn.commit();
        let first = env.path("first");
        let script = format!("if mkdir {}; then {once}; else {REAL}; fi", first.display());
        let read = begin_and_read(&noting(&env, &script), &svn);
        let whole = (Ok(End::Whole), vec![("app".to_owned(), 7)]);
        assert_eq!(read, whole, "{once}");
        assert_eq!(calls(&env), 2, "{once}");
    }
}

#[test]
fn what_was_begun_says_that_no_file_is_a_link() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    let asked = env.path("asked");
    let script = format!(
        "echo \"$1\" >> {}\nexec \"$SVNLOOK\" \"$@\"",
        asked.display()
    );
    let over = env.path("over");
    let dump = format!(
        "\"$SVNADMIN\" \"$@\"; echo $$ >{0}.new; mv {0}.new {0}",
        over.display()
    );
    let svnlook = Svnlook::new(fake_svnlook(&env, "svnlook", &script))
        .with_svnadmin(fake_svnadmin(&env, "svnadmin", &dump));
    let opened = svnlook.repository(&svn.repository).expect("opened");
    // Which paths are links, and whether svnlook was asked for properties.
    let look = |revision| {
        fs::write(&asked, "").expect("write");
        let mut begun = opened.begin_dump(revision, &|_| true);
        assert!(begun.is_some());
        // However busy the machine is.
        wait_until("the dump is over", Duration::from_mins(1), || {
            fs::read_to_string(&over).is_ok_and(|pid| !Path::new("/proc").join(pid.trim()).exists())
        });
        fs::remove_file(&over).expect("rm");
        let changes = opened.changes_wanted(revision, false, &|_| true, begun.as_mut());
        let links = changes.expect("changes").into_iter();
        let links = links.filter(|change| change.skipped == Some(SkipReason::SymbolicLink));
        let asked = fs::read_to_string(&asked).expect("the questions");
        let asked = asked.contains("propget") || asked.contains("diff");
        (links.map(|change| change.path).collect::<Vec<_>>(), asked)
    };
    let with_properties = |name: &str, content: &str| {
        svn.write(name, content);
        svn.svn(&["add", "-q", name]);
        svn.svn(&["propset", "-q", "svn:mime-type", "application/x-tar", name]);
    };
    with_properties("app-1", "1");
    assert_eq!(look(svn.commit()), (vec![], false));
    for many in 10..30 {
        with_properties(&format!("app-{many}"), "1");
    }
    assert_eq!(look(svn.commit()), (vec![], false));
    with_properties("app-2", "2");
    symlink("app-2", svn.working_copy.join("link")).expect("a link");
    assert_eq!(look(svn.commit()), (vec!["link".to_owned()], true));
    // What only says so is no link; what a copy or another content was made of is not in the dump.
    with_properties("app-3", "svn:special");
    assert_eq!(look(svn.commit()), (vec![], true));
    svn.svn(&["copy", "-q", "link", "copied"]);
    with_properties("app-4", "4");
    assert_eq!(look(svn.commit()), (vec!["copied".to_owned()], true));
    fs::remove_file(svn.working_copy.join("link")).expect("rm");
    symlink("elsewhere", svn.working_copy.join("link")).expect("a link");
    assert_eq!(look(svn.commit()), (vec!["link".to_owned()], true));
}

#[test]
fn nobody_waits_for_a_begun_dump_that_does_not_come() {
    for hangs in [
        "exec sleep 1000",
        "exec sleep 1000 >&- 2>&-",
        r#""$SVNADMIN" "$@"; exec sleep 1000"#,
    ] {
        let env = TestEnv::new();
        let svn = Svn::create(&env);
        svn.write("app", "content");
        svn.svn(&["add", "-q", "app"]);
        svn.svn(&["propset", "-q", "svn:mime-type", "application/x-tar", "app"]);
        let revision = svn.commit();
        let stopped = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopped);
        let svnlook = noting(&env, hangs).stopped_by(move || told.load(Ordering::Relaxed));
        let opened = svnlook.repository(&svn.repository).expect("opened");
        let mut begun = opened.begin_dump(revision, &|_| true);
        let changes = opened.changes_wanted(revision, false, &|_| true, begun.as_mut());
        assert_eq!(changes.expect("changes").len(), 1, "{hangs}");
        // Who wants the bytes, does; but not beyond the worker's end.
        stopped.store(true, Ordering::Relaxed);
        let (end, files) = read(&svnlook, &svn, begun);
        assert!(end.is_err() && files.is_empty(), "{hangs}");
    }
}
