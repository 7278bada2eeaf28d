//! The command `changed`.

use crate::servers::svn::Svn;
use crate::testenv::{Ran, TestEnv};

fn changed(env: &TestEnv, svn: &Svn, revision: &str, options: &[&str]) -> Ran {
    let repository = svn.repository.to_str().expect("UTF-8");
    env.run(&[&["changed", repository, revision][..], options].concat())
}

fn output(env: &TestEnv, svn: &Svn, revision: u64, options: &[&str]) -> String {
    changed(env, svn, &revision.to_string(), options)
        .exits(0)
        .stdout
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
            "{{\"path\":\"中文\\u202e包\",\"action\":\"added\",\"size\":3,\"sha256\":\"{abc}\"}}"
        ),
    ];
    let mut shown: Vec<String> = output(&env, &svn, revision, &["--json"])
        .lines()
        .map(str::to_owned)
        .collect();
    shown.sort();
    assert_eq!(shown, dispatched);
    let all = output(&env, &svn, revision, &["--all", "--json"]);
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
    let shown = output(&env, &svn, revision, &[]);
    assert!(shown.contains("中文\\u{202e}包\n"), "{shown}");
    assert!(shown.contains("2 to dispatch, 2 skipped"), "{shown}");
    let all = output(&env, &svn, revision, &["--all"]);
    assert!(all.contains("skipped: deleted"), "{all}");
    assert_eq!(output(&env, &svn, 0, &[]), "revision 0 changes nothing\n");
}

#[test]
fn a_revision_that_is_not_there_prints_nothing_on_stdout() {
    let env = TestEnv::new();
    let (svn, _) = hostile_repository(&env);
    let ran = changed(&env, &svn, "77", &["--all", "--json"]).exits(4);
    assert_eq!(ran.stdout, "");
}
