//! Trouble on our side: no room, rules that are broken, files that cannot be read. It is said once, others go on,
//! and what waited goes when it can.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use rustix::fs::{Gid, Uid, chown};

use super::Inbox;
use crate::crash::disks::Disk;
use crate::pipeline::{LIMIT, Pipeline, holds};
use crate::testenv::{is_root, needs_root, wait_until};

#[test]
fn what_finds_no_room_in_the_spool_waits_and_others_go_on() {
    needs_root!();
    let inbox = Inbox::new();
    let other = inbox.host.rule("other").with("host", "127.0.0.2");
    inbox.pipeline.rules(&[inbox.rule("app"), other]);
    let disk = Disk::mount(&inbox.pipeline.state(), "8m", "0700");
    let _scan = inbox.scan(&[]);
    disk.fill();
    // Room for small things alone.
    fs::write(inbox.pipeline.state().join("filler"), vec![0; 5 << 20]).expect("write");
    let large = vec![7; 4 << 20];
    inbox.write("app-1-large", &large);
    wait_until("the lack is told", LIMIT, || {
        inbox
            .trouble()
            .is_some_and(|text| text.contains("app-1-large"))
    });
    inbox.write("app-2-behind", b"the same target");
    inbox.write("other", b"another target");
    wait_until("the other one arrives", LIMIT, || {
        inbox.host.file("in/other").exists()
    });
    assert!(
        !inbox.host.file("in/app-2-behind").exists(),
        "it overtook the one that waits"
    );
    disk.free();
    inbox.settled(&["app-1-large", "app-2-behind", "other"]);
    assert_eq!(
        inbox.installed(),
        ["app-1-large", "app-2-behind"],
        "in order"
    );
    holds(&inbox.host.file("in/app-1-large"), &large);
    wait_until("nothing is wrong any more", LIMIT, || {
        inbox.trouble().is_none()
    });
}

#[test]
fn broken_rules_hold_files_until_they_are_mended() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&[]);
    inbox.pipeline.rules_text("[app\nhost = nowhere\n");
    inbox.write("app-one", b"one");
    wait_until("it is told", LIMIT, || inbox.trouble().is_some());
    inbox.pipeline.rules(&[inbox.rule("app")]);
    inbox.settled(&["app-one"]);
    wait_until("nothing is wrong any more", LIMIT, || {
        inbox.trouble().is_none()
    });
}

#[test]
fn what_cannot_be_read_is_told_once_and_taken_when_it_can_be() {
    let inbox = Inbox::new();
    fs::create_dir(inbox.dir.join("closed")).expect("mkdir");
    inbox.write("closed/app-inside", b"inside");
    let mut command = inbox.command(&["--settle", "0", "--interval", "1", "--existing"]);
    if is_root() {
        // Root reads everything: somebody else scans.
        let nobody = 65_534;
        command.uid(nobody).gid(nobody);
        let (uid, gid) = (Uid::from_raw(nobody), Gid::from_raw(nobody));
        for path in [
            inbox.pipeline.rules_file(),
            inbox
                .pipeline
                .env
                .path("repository/conf/auto-dispatcher.cfg"),
        ] {
            chown(&path, Some(uid), Some(gid)).expect("chown");
        }
        fs::create_dir(inbox.pipeline.state()).expect("mkdir");
        fs::set_permissions(inbox.pipeline.state(), fs::Permissions::from_mode(0o700))
            .expect("chmod");
        chown(inbox.pipeline.state(), Some(uid), Some(gid)).expect("chown");
    }
    let closed = fs::Permissions::from_mode(0o000);
    let open = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(inbox.dir.join("closed"), closed.clone()).expect("chmod");
    inbox.write("app-closed", b"closed");
    fs::set_permissions(inbox.dir.join("app-closed"), closed).expect("chmod");
    inbox.write("app-open", b"open");
    fs::set_permissions(inbox.dir.join("app-open"), open(0o644)).expect("chmod");
    let _scan = Pipeline::started(command);
    let known = |name: &str| {
        let log = inbox.log();
        log.lines()
            .any(|line| line.contains(&format!("/{name}: ")) && line.contains("deliver"))
    };
    wait_until("the open one goes", LIMIT, || known("app-open"));
    wait_until("both are told of", LIMIT, || {
        let log = inbox.log();
        log.contains("app-closed: cannot be read")
            && log.contains("closed: cannot be read: Permission")
    });
    // Three more walks, one a second, say nothing more: there is nothing to wait for but time.
    std::thread::sleep(Duration::from_millis(3500));
    let told = |what: &str| inbox.log().matches(what).count();
    assert_eq!(told("/app-closed: cannot be read"), 1, "{}", inbox.log());
    assert_eq!(told("/closed: cannot be read"), 1, "{}", inbox.log());
    fs::set_permissions(inbox.dir.join("app-closed"), open(0o644)).expect("chmod");
    fs::set_permissions(inbox.dir.join("closed"), open(0o755)).expect("chmod");
    fs::set_permissions(inbox.dir.join("closed/app-inside"), open(0o644)).expect("chmod");
    wait_until("both go", LIMIT, || {
        known("app-closed") && known("app-inside")
    });
}

#[test]
fn a_spool_disk_that_fills_up_at_random_loses_nothing_and_doubles_nothing() {
    needs_root!();
    let seed = fastrand::u64(0..1_000_000_000);
    let mut random = fastrand::Rng::with_seed(seed);
    let inbox = Inbox::new();
    let disk = Disk::mount(&inbox.pipeline.state(), "6m", "0700");
    let _scan = inbox.scan(&[]);
    let mut names = Vec::new();
    for number in 0..12 {
        if number % 2 == 0 {
            disk.fill();
        }
        let name = format!("app-{number:02}");
        inbox.write(&name, vec![number; random.usize(0..400_000)]);
        names.push(name);
        std::thread::sleep(Duration::from_millis(random.u64(0..400)));
        if number % 2 == 1 {
            disk.free();
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    inbox.settled(&names);
    assert_eq!(inbox.installed(), names, "in order, once each, seed {seed}");
}

#[test]
fn what_waits_for_mended_rules_is_overtaken_by_nothing() {
    let inbox = Inbox::new();
    inbox.pipeline.settings("plan_retry = 3");
    let _scan = inbox.scan(&["--settle", "0"]);
    inbox.pipeline.rules_text("[app\nhost = nowhere\n");
    inbox.drop_file("app-first", "1");
    wait_until("it is told", LIMIT, || inbox.trouble().is_some());
    inbox.pipeline.rules(&[inbox.rule("app")]);
    inbox.drop_file("app-second", "2");
    inbox.settled(&["app-first", "app-second"]);
    assert_eq!(inbox.installed(), ["app-first", "app-second"]);
}

#[test]
fn a_file_that_never_fits_into_the_spool_holds_up_nobody() {
    let inbox = Inbox::new();
    inbox.pipeline.settings("spool_max = 1M");
    let _scan = inbox.scan(&["--settle", "0"]);
    inbox.drop_file("app-giant", vec![1; 2 << 20]);
    wait_until("it is told", LIMIT, || {
        inbox.log().contains("may ever hold")
    });
    inbox.drop_file("app-small", "small");
    inbox.settled(&["app-small"]);
    // It is a package as soon as it fits.
    inbox.drop_file("app-giant", "smaller");
    inbox.settled(&["app-giant", "app-small"]);
}

#[test]
fn a_file_that_waits_for_room_may_be_written_anew() {
    needs_root!();
    let inbox = Inbox::new();
    let disk = Disk::mount(&inbox.pipeline.state(), "8m", "0700");
    let _scan = inbox.scan(&["--settle", "0"]);
    fs::write(inbox.pipeline.state().join("filler"), vec![0; 5 << 20]).expect("write");
    inbox.drop_file("app-one", vec![7; 4 << 20]);
    wait_until("the lack is told", LIMIT, || inbox.trouble().is_some());
    inbox.drop_file("app-one", "small enough");
    inbox.drop_file("app-two", "two");
    inbox.settled(&["app-one", "app-two"]);
    wait_until("nothing is wrong any more", LIMIT, || {
        inbox.trouble().is_none()
    });
    drop(disk);
}

#[test]
fn two_processes_do_not_scan_directories_that_overlap() {
    let inbox = Inbox::new();
    inbox.write("sub/app-old", "was there");
    let _scan = inbox.scan(&[]);
    let sub = inbox.dir.join("sub");
    let ran = inbox
        .pipeline
        .ad(&["scan", sub.to_str().expect("UTF-8"), "--once"]);
    let ran = ran.exits(5);
    assert!(
        ran.stderr.contains("is scanned by another process"),
        "{ran}"
    );
}
