//! Directories that vanish and come back, and places from where no events come.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use super::{Inbox, stop};
use crate::crash::disks::Disk;
use crate::pipeline::{LIMIT, Pipeline, signal};
use crate::servers::mounts::Mounted;
use crate::testenv::{Ran, needs_root, run_under, wait_until};

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let mut command = Command::new("cp");
    command.arg("-a").arg(from.join(".")).arg(to);
    Ran::of(&mut command).exits(0);
}

#[test]
fn an_unmounted_directory_is_waited_for_and_what_comes_back_with_it_is_not_new() {
    needs_root!();
    let inbox = Inbox::new();
    let disk = Disk::mount(&inbox.dir, "4m", "0755");
    inbox.write("app-stock", b"was there");
    let scan = inbox.scan(&["--interval", "1"]);
    inbox.write("sub/app-one", b"one");
    inbox.settled(&["app-one"]);
    let kept = inbox.pipeline.env.path("kept");
    fs::create_dir(&kept).expect("mkdir");
    copy(&inbox.dir, &kept);
    drop(disk);
    wait_until("the loss is told", LIMIT, || {
        inbox
            .trouble()
            .is_some_and(|text| text.contains("is not mounted"))
    });
    // Whatever is written here disappears under the mount, and is nobody's package.
    inbox.write("app-astray", b"no");
    let _disk = Disk::mount(&inbox.dir, "4m", "0755");
    copy(&kept, &inbox.dir);
    inbox.write("app-two", b"two");
    inbox.settled(&["app-one", "app-two"]);
    wait_until("nothing is wrong any more", LIMIT, || {
        inbox.trouble().is_none()
    });
    drop(scan);
    // Nor for whoever comes later.
    inbox.once(&[]).exits(0);
    inbox.settled(&["app-one", "app-two"]);
}

#[test]
fn a_directory_that_is_away_while_scanning_begins_is_waited_for() {
    needs_root!();
    let inbox = Inbox::new();
    let disk = Disk::mount(&inbox.dir, "4m", "0755");
    inbox.write("app-stock", b"was there");
    inbox.once(&[]).exits(0);
    let kept = inbox.pipeline.env.path("kept");
    fs::create_dir(&kept).expect("mkdir");
    copy(&inbox.dir, &kept);
    drop(disk);
    let ran = inbox.once(&[]).exits(4);
    assert!(ran.stderr.contains("is not mounted"), "{ran}");
    inbox.write("app-astray", b"no");
    let _scan = Pipeline::started(inbox.command(&["--settle", "1"]));
    wait_until("the loss is told", LIMIT, || inbox.trouble().is_some());
    let _disk = Disk::mount(&inbox.dir, "4m", "0755");
    copy(&kept, &inbox.dir);
    inbox.write("app-new", b"new");
    inbox.settled(&["app-new"]);
}

#[test]
fn a_directory_that_is_removed_and_made_again_goes_on_as_before() {
    let inbox = Inbox::new();
    inbox.write("app-stock", b"was there");
    let _scan = inbox.scan(&[]);
    let away = inbox.pipeline.env.path("away");
    fs::rename(&inbox.dir, &away).expect("rename");
    wait_until("the loss is told", LIMIT, || inbox.trouble().is_some());
    fs::create_dir(&inbox.dir).expect("mkdir");
    copy(&away, &inbox.dir);
    inbox.write("app-new", b"new");
    inbox.settled(&["app-new"]);
}

#[test]
fn where_no_events_come_that_is_noticed_and_the_walk_finds_what_is_new() {
    needs_root!();
    let inbox = Inbox::new();
    let below = inbox.pipeline.env.path("below");
    let _disk = Disk::mount(&below, "8m", "0755");
    for name in ["lower", "upper", "work"] {
        fs::create_dir(below.join(name)).expect("mkdir");
    }
    let options = format!(
        "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work",
        below.display()
    );
    let _over = Mounted::by(&["-t", "overlay", "-o", &options, "overlay"], &inbox.dir);
    let _scan = inbox.scan(&["--interval", "1"]);
    // Another machine's writer, as it were: this directory is not told of it.
    fs::write(below.join("upper/app-one"), "one").expect("write");
    inbox.settled(&["app-one"]);
    wait_until("it is noticed", LIMIT, || {
        inbox.log().contains("no event told")
    });
    fs::write(below.join("upper/app-one"), "another").expect("write");
    inbox.settled(&["app-one", "app-one"]);
}

#[test]
fn directories_for_which_no_watch_is_left_are_walked() {
    needs_root!();
    let inbox = Inbox::new();
    for number in 0..6 {
        inbox.write(format!("sub-{number}/app-stock"), b"was there");
    }
    let ours = inbox.command(&["--settle", "0", "--interval", "1"]);
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "sh", "-c"])
        .arg("echo 3 >/proc/sys/user/max_inotify_watches && exec \"$@\"")
        .arg("sh");
    run_under(&mut command, &ours);
    let _scan = Pipeline::started(command);
    inbox.is_scanned(&inbox.dir);
    wait_until("it is told", LIMIT, || {
        inbox.log().contains("4 of 7 directories are not watched")
    });
    for number in 0..6 {
        inbox.write(format!("sub-{number}/app-{number}"), b"new");
    }
    let names: Vec<String> = (0..6).map(|number| format!("app-{number}")).collect();
    inbox.settled(&names.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn where_nothing_is_told_at_all_what_is_new_overwritten_or_displaced_is_found_by_walking() {
    needs_root!();
    let inbox = Inbox::new();
    for number in 0..6 {
        inbox.write(format!("sub-{number}/app-in-place-{number}"), b"one");
        inbox.write(format!("sub-{number}/app-displaced-{number}"), b"one");
        inbox.write(format!("sub-{number}/app-gone-{number}"), b"gone");
    }
    let ours = inbox.command(&["--settle", "0", "--interval", "1"]);
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "sh", "-c"])
        .arg("echo 0 >/proc/sys/user/max_inotify_instances && exec \"$@\"")
        .arg("sh");
    run_under(&mut command, &ours);
    let _scan = Pipeline::started(command);
    inbox.is_scanned(&inbox.dir);
    inbox.stock_is_read();
    let mut expected = Vec::new();
    for number in 0..6 {
        let directory = inbox.dir.join(format!("sub-{number}"));
        let names = ["in-place", "displaced", "new"].map(|kind| format!("app-{kind}-{number}"));
        let [in_place, displaced, new] = &names;
        // As long as before.
        fs::write(directory.join(in_place), "two").expect("write");
        inbox.write(directory.join(".other"), b"two");
        fs::rename(directory.join(".other"), directory.join(displaced)).expect("rename");
        inbox.write(directory.join(new), b"new");
        fs::remove_file(directory.join(format!("app-gone-{number}"))).expect("remove");
        expected.extend(names);
    }
    inbox.settled(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    let there = "SELECT count(*) FROM dropped WHERE gone_at IS NULL";
    wait_until("what has gone is noticed", LIMIT, || {
        inbox.pipeline.sql(there) == [Some(18)]
    });
    // Once more, where something has changed a moment ago.
    let one = "app-in-place-0";
    fs::write(inbox.dir.join("sub-0").join(one), "three").expect("write");
    expected.push(one.to_owned());
    inbox.settled(&expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn more_events_than_the_kernel_keeps_lose_no_package() {
    let inbox = Inbox::new();
    let scan = inbox.scan(&["--interval", "3600"]);
    let pid = scan.pid();
    stop(pid);
    let queued = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("a number");
    let queued: usize = queued.trim().parse().expect("a number");
    let one = inbox.dir.join("one.tmp");
    let other = inbox.dir.join("other.tmp");
    fs::write(&one, "").expect("write");
    // Two events each.
    for number in 0..=queued / 2 {
        let (from, to) = if number % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        fs::rename(from, to).expect("rename");
    }
    inbox.write("app-unheard", b"unheard");
    signal(pid, Signal::CONT);
    inbox.settled(&["app-unheard"]);
    assert!(
        inbox
            .log()
            .contains("more happened than the kernel could tell"),
        "{}",
        inbox.log()
    );
}
