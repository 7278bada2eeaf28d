//! Copied directories and symbolic links, which no single line of svnlook's listing gives away.

use std::os::unix::fs::symlink;

use auto_dispatcher::domain::change::{Action, Change, SkipReason};
use auto_dispatcher::source::svnlook::Svnlook;

use crate::servers::svn::{FORMATS, Svn, fake_svnlook};
use crate::svn_source::{added, assert_changes, bytes, change, directory};
use crate::testenv::TestEnv;

#[test]
fn a_copied_directory_is_one_skip_that_counts_its_files_or_all_of_them() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    for name in [
        "kept",
        "modified",
        "gone",
        "properties",
        "sub/deep",
        "sub/replaced",
    ] {
        svn.write(&format!("old/{name}"), name);
    }
    symlink("target", svn.working_copy.join("old/link")).expect("a link");
    svn.write("other/x", "x");
    svn.commit();
    svn.svn(&["copy", "-q", "old", "new"]);
    svn.svn(&["copy", "-q", "other", "new/nested"]);
    svn.write("new/modified", "changed");
    svn.write("new/fresh", "fresh");
    svn.svn(&["propset", "-q", "a", "b", "new/properties"]);
    svn.svn(&["remove", "-q", "new/gone", "new/sub/replaced"]);
    svn.write("new/sub/replaced", "again");
    let revision = svn.commit();
    let listed = [
        change("new/modified", Action::Modified, None),
        added("new/fresh"),
        change("new/gone", Action::Deleted, Some(SkipReason::Deleted)),
        change("new/sub/replaced", Action::Replaced, None),
    ];
    let copied = |files| Some(SkipReason::CopiedDirectory { files });
    let mut skipped = listed.to_vec();
    skipped.extend([
        change("new", Action::Added, copied(8)),
        change("new/nested", Action::Added, copied(1)),
        change(
            "new/properties",
            Action::Properties,
            Some(SkipReason::PropertiesOnly),
        ),
    ]);
    assert_changes(&svn, revision, false, &skipped);
    let mut whole = listed.to_vec();
    whole.extend([
        directory("new"),
        directory("new/nested"),
        added("new/nested/x"),
        added("new/kept"),
        added("new/sub/deep"),
        added("new/properties"),
        change("new/link", Action::Added, Some(SkipReason::SymbolicLink)),
    ]);
    assert_changes(&svn, revision, true, &whole);
    assert_eq!(bytes(&svn.open(), revision, "new/sub/deep"), b"sub/deep");
}

#[test]
fn a_moved_and_a_replaced_directory_are_copies_beside_deletions() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    svn.write("old/f", "f");
    svn.write("replaced/was", "was");
    svn.commit();
    svn.svn(&["move", "-q", "old", "moved"]);
    svn.svn(&["remove", "-q", "replaced"]);
    svn.svn(&[
        "copy",
        "-q",
        "-r",
        "1",
        &format!("{}/old", svn.url()),
        "replaced",
    ]);
    let revision = svn.commit();
    let one = Some(SkipReason::CopiedDirectory { files: 1 });
    let gone = change("old", Action::Deleted, Some(SkipReason::Deleted));
    assert_changes(
        &svn,
        revision,
        false,
        &[
            gone.clone(),
            change("moved", Action::Added, one.clone()),
            change("replaced", Action::Replaced, one),
        ],
    );
    let replaced = change("replaced", Action::Replaced, Some(SkipReason::Directory));
    let whole = [
        gone,
        directory("moved"),
        added("moved/f"),
        replaced,
        added("replaced/f"),
    ];
    assert_changes(&svn, revision, true, &whole);
}

#[test]
fn a_symbolic_link_is_found_among_few_and_among_many_files() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    let link =
        |name: &str, target: &str| symlink(target, svn.working_copy.join(name)).expect("a link");
    let is_link = Some(SkipReason::SymbolicLink);
    svn.write("alone", "link is how this text begins");
    link("link", "alone");
    let first = svn.commit();
    assert_changes(
        &svn,
        first,
        false,
        &[
            added("alone"),
            change("link", Action::Added, is_link.clone()),
        ],
    );

    let many: Vec<String> = (0..40).map(|number| format!("many/{number}")).collect();
    for path in &many {
        svn.write(path, path);
    }
    link("many/link", "0");
    let second = svn.commit();
    let mut expected: Vec<Change> = many.iter().map(|path| added(path)).collect();
    expected.extend([
        directory("many"),
        change("many/link", Action::Added, is_link.clone()),
    ]);
    assert_changes(&svn, second, false, &expected);

    std::fs::remove_file(svn.working_copy.join("link")).expect("rm");
    link("link", "elsewhere");
    svn.svn(&["copy", "-q", "many/link", "copied"]);
    let third = svn.commit();
    let changed = change("link", Action::Modified, is_link.clone());
    assert_changes(
        &svn,
        third,
        false,
        &[changed, change("copied", Action::Added, is_link)],
    );
}

#[test]
fn a_copied_link_is_found_where_the_properties_mention_no_link() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    symlink("x", svn.working_copy.join("link")).expect("a link");
    svn.commit();
    svn.svn(&["copy", "-q", "link", "again"]);
    let names: Vec<String> = (0..20).map(|number| format!("f{number}")).collect();
    for name in &names {
        svn.write(name, name);
    }
    let revision = svn.commit();
    let mut expected: Vec<Change> = names.iter().map(|name| added(name)).collect();
    expected.push(change(
        "again",
        Action::Added,
        Some(SkipReason::SymbolicLink),
    ));
    assert_changes(&svn, revision, false, &expected);
}

#[test]
fn links_are_asked_for_among_wanted_paths_alone() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    for name in ["wanted", "other"] {
        symlink("x", svn.working_copy.join(name)).expect("a link");
    }
    let revision = svn.commit();
    // A svnlook that writes down what it is asked.
    let asked = env.path("asked");
    let script = format!(
        "printf '%s ' \"$@\" >> {0}; echo >> {0}; exec \"$SVNLOOK\" \"$@\"",
        asked.display()
    );
    let fake = fake_svnlook(&env, "writing", &script);
    let repository = Svnlook::new(fake)
        .repository(&svn.repository)
        .expect("a repository");
    let changes = repository
        .changes_wanted(revision, false, &|path| path == "wanted", None)
        .expect("changes");
    let is_link = Some(SkipReason::SymbolicLink);
    assert_eq!(
        changes,
        [added("other"), change("wanted", Action::Added, is_link)]
    );
    let asked = std::fs::read_to_string(asked).expect("the questions");
    let propgets: Vec<&str> = asked
        .lines()
        .filter(|line| line.starts_with("propget"))
        .collect();
    assert!(
        propgets.len() == 1 && propgets[0].ends_with("svn:special wanted "),
        "{asked}"
    );
}

#[test]
fn a_link_that_replaces_a_file_or_a_link_is_found_among_many_files() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    let link = |name: &str| symlink(name, svn.working_copy.join(name)).expect("a link");
    svn.write("was file", "x");
    link("was link");
    svn.commit();
    for name in ["was link", "was file"] {
        svn.svn(&["remove", "-q", name]);
        link(name);
        svn.svn(&["add", "-q", name]);
        for number in 0..20 {
            svn.write(&format!("{name} {number}"), "x");
        }
        let revision = svn.commit();
        let changes = svn.open().changes(revision, false).expect("changes");
        let expected = change(name, Action::Replaced, Some(SkipReason::SymbolicLink));
        assert_eq!(changes.len(), 21);
        assert!(changes.contains(&expected), "{changes:?}");
    }
}

#[test]
fn where_nothing_has_properties_no_process_looks_for_links() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    svn.write("plain", "link is how this text begins");
    svn.write("modified", "1");
    let plain = svn.commit();
    svn.write("modified", "2");
    let modified = svn.commit();
    symlink("plain", svn.working_copy.join("link")).expect("a link");
    let link = svn.commit();
    svn.write("looks", "so\nprops: 1 2 3\n");
    svn.write("large", vec![b'x'; 3 << 20]);
    let looks = svn.commit();
    std::fs::remove_file(svn.working_copy.join("link")).expect("rm");
    symlink("elsewhere", svn.working_copy.join("link")).expect("a link");
    let again = svn.commit();
    svn.write("packed", "x");
    symlink("x", svn.working_copy.join("packed link")).expect("a link");
    let packed = svn.commit();
    let log = env.path("asked");
    let script = format!("echo \"$1\" >>{}\nexec $SVNLOOK \"$@\"", log.display());
    let counting = Svnlook::new(fake_svnlook(&env, "counting", &script));
    for version in FORMATS {
        let repository = svn.in_format(&env, version, 7);
        let opened = counting.repository(&repository).expect("opened");
        let look = |revision: u64| {
            std::fs::write(&log, "").expect("write");
            let changes = opened.changes(revision, false).expect("changes");
            let asked = std::fs::read_to_string(&log).expect("the questions");
            let links = changes
                .into_iter()
                .filter(|change| change.skipped == Some(SkipReason::SymbolicLink))
                .map(|change| change.path);
            (links.collect::<Vec<_>>(), asked.contains("propget"))
        };
        let is_packed = version == "packed";
        assert_eq!(look(plain), (vec![], is_packed), "{version}");
        assert_eq!(look(modified), (vec![], is_packed), "{version}");
        assert_eq!(look(link), (vec!["link".to_owned()], true), "{version}");
        assert_eq!(look(looks), (vec![], true), "{version}");
        assert_eq!(look(again), (vec!["link".to_owned()], true), "{version}");
        let last = (vec!["packed link".to_owned()], true);
        assert_eq!(look(packed), last, "{version}");
    }
}
