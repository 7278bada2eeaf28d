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
    site.serves();
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
    site.work();
    site.commit("alice", "app-a", "1").exits(0);
    site.commit("bob", "app-b", "2").exits(0);
    assert_eq!(site.notes().len(), 2);
    assert!(site.history().is_empty());
    site.work();
    assert_eq!(site.delivered(2), done(&["app-a", "app-b"]));
    assert!(site.notes().is_empty());
}

#[test]
fn a_note_that_arrives_twice_or_late_is_no_second_delivery_and_gaps_are_filled_in_order() {
    needs_root!();
    let site = Site::new();
    site.work();
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
    // By another process: a child that another test starts just then would hold the file open for writing.
    let mut copy = std::process::Command::new("cp");
    Ran::of(copy.arg(site.path("bin/auto-dispatcher")).arg(&program)).exits(0);
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

#[test]
fn hooks_that_race_at_the_first_contact_lose_no_revision() {
    needs_root!();
    let site = Site::new();
    let service = site.serve();
    site.serves();
    std::thread::scope(|scope| {
        for number in 0..6 {
            let site = &site;
            scope.spawn(move || {
                let user = ["alice", "bob", "mallory"][number % 3];
                site.commit(user, &format!("app-{number}"), user).exits(0);
            });
        }
    });
    let rows = site.delivered(6);
    assert!(rows.iter().all(|(_, state)| state == "done"), "{rows:?}");
    wait_until("no note is left", LIMIT, || site.notes().is_empty());
    drop(service);
}

#[test]
fn a_revision_below_the_beginning_of_its_ledger_is_recorded_when_its_note_comes() {
    needs_root!();
    let site = Site::new();
    site.work();
    for name in ["app-1", "app-2"] {
        site.commit("alice", name, name).exits(0);
    }
    let first = site.note(1).text();
    let is_first = |name: &String| {
        fs::read_to_string(site.incoming().join(name)).is_ok_and(|text| text == first)
    };
    let slow = site.notes().into_iter().find(is_first).expect("a note");
    fs::remove_file(site.incoming().join(slow)).expect("remove");
    site.work();
    assert_eq!(site.delivered(1), done(&["app-2"]));
    site.leave(ALICE, "slow", first.trim_end()).exits(0);
    site.work();
    assert_eq!(site.delivered(2), done(&["app-2", "app-1"]));
    assert!(site.notes().is_empty());
}

#[test]
fn a_note_waits_for_a_repository_that_is_away() {
    needs_root!();
    let site = Site::new();
    site.work();
    site.commit("alice", "app-1", "1").exits(0);
    let repository = &site.pipeline.svn.repository;
    let away = repository.with_extension("away");
    fs::rename(repository, &away).expect("rename");
    fs::create_dir(site.path("etc")).expect("mkdir");
    for name in ["general-dispatch-info.cfg", "auto-dispatcher.cfg"] {
        let copy = site.path("etc").join(name);
        fs::copy(away.join("conf").join(name), &copy).expect("copy");
        std::os::unix::fs::chown(copy, Some(DISPATCHER), None).expect("chown");
    }
    let mut command = std::process::Command::new(site.path("bin/auto-dispatcher"));
    command
        .env_clear()
        .env("HOME", site.path("dispatcher"))
        .arg("--config")
        .arg(site.path("etc/general-dispatch-info.cfg"))
        .args(["worker", "--until-idle"]);
    let ran = Ran::of(&mut super::by(command, DISPATCHER)).exits(0);
    assert!(ran.stderr.contains("waits: one of uid"), "{ran}");
    assert_eq!(site.notes().len(), 1);
    fs::rename(&away, repository).expect("rename");
    site.work();
    assert_eq!(site.delivered(1), done(&["app-1"]));
}

#[test]
fn a_service_that_is_killed_when_it_has_recorded_loses_and_doubles_nothing() {
    needs_root!();
    let site = Site::new();
    site.work();
    for name in ["app-1", "app-2", "app-3"] {
        site.commit("alice", name, name).exits(0);
    }
    // The first note begins the ledger; each of the others, and that one again, is taken up by one who dies of it.
    for _ in 0..3 {
        let mut dies = site.command(DISPATCHER, &["worker", "--until-idle"]);
        let ran = Ran::of(dies.env("AUTO_DISPATCHER_FAIL_POINT", "incoming.recorded"));
        assert_eq!(ran.code, None, "{ran}");
    }
    assert!(!site.notes().is_empty());
    site.work();
    assert_eq!(site.delivered(3), done(&["app-1", "app-2", "app-3"]));
    assert!(site.notes().is_empty());
}
