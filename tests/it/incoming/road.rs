//! The way of a revision from another user's hook through a note to its hosts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{ALICE, BOB, DISPATCHER, Site, run};
use crate::pipeline::LIMIT;
use crate::testenv::{Ran, needs_root, wait_until};

fn done(names: &[&str]) -> Vec<(String, String)> {
    let row = |name: &&str| ((*name).to_owned(), "done".to_owned());
    names.iter().map(row).collect()
}

#[test]
fn what_three_users_commit_over_svn_ssh_is_delivered_in_order_by_the_service_of_a_fourth() {
    needs_root!();
    let site = Site::new();
    let service = site.serve();
    wait_until("the service is there", LIMIT, || site.incoming().exists());
    let mode = fs::metadata(site.incoming())
        .expect("stat")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o1733);
    for (number, user) in ["alice", "bob", "mallory", "alice"].iter().enumerate() {
        let ran = site.commit(user, &format!("app-{number}"), user).exits(0);
        assert!(ran.stdout.contains(&format!("by {user} ")), "{ran}");
        assert!(!ran.stdout.contains("hook"), "{ran}");
    }
    let rows = site.delivered(4);
    assert_eq!(rows, done(&["app-0", "app-1", "app-2", "app-3"]));
    wait_until("no note is left", LIMIT, || site.notes().is_empty());
    assert_eq!(fs::read(site.host.file("in/app-1")).expect("read"), b"bob");
    drop(service);
}

#[test]
fn notes_wait_for_the_service_and_cron_takes_them_up_too() {
    needs_root!();
    let site = Site::new();
    // The directory is made at the first start.
    let mut idle = site.command(DISPATCHER, &["worker", "--until-idle"]);
    Ran::of(&mut idle).exits(0);
    site.commit("alice", "app-a", "1").exits(0);
    site.commit("bob", "app-b", "2").exits(0);
    assert_eq!(site.notes().len(), 2);
    assert!(site.history().is_empty());
    let mut idle = site.command(DISPATCHER, &["worker", "--until-idle"]);
    Ran::of(&mut idle).exits(0);
    assert_eq!(site.delivered(2), done(&["app-a", "app-b"]));
    assert!(site.notes().is_empty());
}

#[test]
fn a_note_that_arrives_twice_or_late_is_no_second_delivery_and_gaps_are_filled_in_order() {
    needs_root!();
    let site = Site::new();
    let mut idle = site.command(DISPATCHER, &["worker", "--until-idle"]);
    Ran::of(&mut idle).exits(0);
    for name in ["app-1", "app-2", "app-3"] {
        site.commit("alice", name, name).exits(0);
    }
    // The second one's hook is slow; the third and the first were faster.
    for name in site.notes() {
        let path = site.incoming().join(&name);
        let text = fs::read_to_string(&path).expect("read");
        if text.contains("\"revision\":2") {
            fs::remove_file(path).expect("remove");
        }
    }
    let service = site.serve();
    assert_eq!(site.delivered(3), done(&["app-1", "app-2", "app-3"]));
    for revision in [2, 2, 1, 3] {
        let note = site.note(revision).text();
        let name = format!("again-{revision}");
        site.leave(BOB, &name, note.trim_end());
    }
    wait_until("all are taken up", LIMIT, || site.notes().is_empty());
    site.commit("bob", "app-4", "4").exits(0);
    assert_eq!(site.delivered(4).len(), 4);
    assert!(!site.log().contains("refused"), "{}", site.log());
    drop(service);
}

#[test]
fn a_hook_of_another_user_says_what_is_missing_and_the_commit_stands() {
    needs_root!();
    let site = Site::new();
    let ran = site.commit("alice", "app-1", "1");
    assert!(ran.stdout.contains("auto-dispatcher: r1:"), "{ran}");
    assert!(ran.stdout.contains("incoming"), "{ran}");
    // Nothing has made the state directory of ours for somebody else.
    let repository = site.pipeline.repository();
    let mut hook = site.command(ALICE, &["hook", repository, "1"]);
    let ran = Ran::of(&mut hook).exits(5);
    assert!(ran.stderr.contains("cannot enter"), "{ran}");
    // The service's own user records as ever.
    let mut hook = site.command(DISPATCHER, &["hook", repository, "1", "--wait"]);
    Ran::of(&mut hook).exits(0);
    assert_eq!(site.delivered(1), done(&["app-1"]));
}

#[test]
fn a_program_that_lends_its_owners_rights_does_nothing_and_root_is_told_of_its_power() {
    needs_root!();
    let site = Site::new();
    let program = site.path("bin/lends");
    fs::copy(site.path("bin/auto-dispatcher"), &program).expect("copy");
    for mode in [0o4755, 0o2755] {
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).expect("chmod");
        let ran = run(ALICE, &[program.to_str().expect("UTF-8"), "status"]).exits(5);
        assert!(ran.stderr.contains("chmod u-s,g-s"), "{ran}");
    }
    let said = |uid: u32| {
        let mut worker = site.command(uid, &["worker", "--until-idle"]);
        let ran = Ran::of(&mut worker).exits(0);
        ran.stderr.contains("runs as root")
    };
    assert!(!said(DISPATCHER));
    fs::remove_dir_all(site.path("state")).expect("remove");
    fs::remove_dir_all(site.incoming()).expect("remove");
    assert!(said(0));
}
