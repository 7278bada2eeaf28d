//! The command `changed`, by its entry in the library.

use auto_dispatcher::cli::changed::{self, Args, Context};
use auto_dispatcher::error::ErrorKind;

use crate::servers::svn::{Svn, program};
use crate::testenv::TestEnv;

fn output(svn: &Svn, revision: u64, all: bool, json: bool) -> String {
    let svnlook = program("svnlook");
    let context = Context {
        svnlook: &svnlook,
        copied_directories: false,
    };
    let args = Args {
        repository: svn.repository.clone(),
        revision,
        all,
        json,
    };
    let mut out = Vec::new();
    changed::run(&args, &context, &mut out).expect("changed");
    String::from_utf8(out).expect("UTF-8")
}

fn hostile_repository(env: &TestEnv) -> (Svn, u64) {
    let svn = Svn::create(env);
    svn.write("gone", "x");
    svn.commit();
    svn.svn(&["remove", "-q", "gone"]);
    svn.write("中文\u{202e}包", "abc");
    svn.write("dir/ b", "");
    let revision = svn.commit();
    (svn, revision)
}

#[test]
fn json_shows_names_as_they_are_with_size_and_digest() {
    let env = TestEnv::new();
    let (svn, revision) = hostile_repository(&env);
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let dispatched = [
        format!(r#"{{"path":"dir/ b","action":"added","size":0,"sha256":"{empty}"}}"#),
        format!(
            "{{\"path\":\"中文\u{202e}包\",\"action\":\"added\",\"size\":3,\"sha256\":\"{abc}\"}}"
        ),
    ];
    let mut shown: Vec<String> = output(&svn, revision, false, true)
        .lines()
        .map(str::to_owned)
        .collect();
    shown.sort();
    assert_eq!(shown, dispatched);
    let all = output(&svn, revision, true, true);
    assert_eq!(all.lines().count(), 4, "{all}");
    for line in [
        r#"{"path":"dir","action":"added","skipped":"directory"}"#,
        r#"{"path":"gone","action":"deleted","skipped":"deleted"}"#,
    ] {
        assert!(
            all.lines().any(|shown| shown == line),
            "{line} is not in {all}"
        );
    }
}

#[test]
fn people_see_names_escaped_and_how_many_are_skipped() {
    let env = TestEnv::new();
    let (svn, revision) = hostile_repository(&env);
    let shown = output(&svn, revision, false, false);
    assert!(shown.contains("中文\\u{202e}包\n"), "{shown}");
    assert!(shown.contains("2 to dispatch, 2 skipped"), "{shown}");
    let all = output(&svn, revision, true, false);
    assert!(all.contains("skipped: deleted"), "{all}");
    assert_eq!(
        output(&svn, 0, false, false),
        "revision 0 changes nothing\n"
    );
}

#[test]
fn a_revision_that_is_not_there_prints_nothing_on_stdout() {
    let env = TestEnv::new();
    let (svn, _) = hostile_repository(&env);
    let svnlook = program("svnlook");
    let context = Context {
        svnlook: &svnlook,
        copied_directories: false,
    };
    let args = Args {
        repository: svn.repository.clone(),
        revision: 77,
        all: true,
        json: true,
    };
    let mut out = Vec::new();
    let error = changed::run(&args, &context, &mut out).expect_err("an error");
    assert_eq!((error.kind, out.len()), (ErrorKind::Source, 0));
}
