//! What becomes of a file once it is delivered: it stays, goes, or moves; never before, and never another one.

use std::fs;

use auto_dispatcher::domain::delivery::State;
use rustix::fs::inotify;

use super::Inbox;
use crate::crash::disks::Disk;
use crate::pipeline::host::Host;
use crate::pipeline::{LIMIT, holds};
use crate::testenv::{needs_root, wait_until};

#[test]
fn a_delivered_file_is_deleted_and_may_come_again() {
    let inbox = Inbox::new();
    inbox.write("app-stock", b"was there");
    let _scan = inbox.scan(&["--after", "delete"]);
    inbox.write("sub/app-one", b"one");
    inbox.write("readme", b"no rule takes it");
    inbox.settled(&["app-one"]);
    wait_until("it is gone", LIMIT, || {
        inbox.names() == ["app-stock", "readme"]
    });
    // Whoever drops the same again means it.
    inbox.write("sub/app-one", b"one");
    inbox.settled(&["app-one", "app-one"]);
    wait_until("it is gone again", LIMIT, || {
        inbox.names() == ["app-stock", "readme"]
    });
}

#[test]
fn a_file_stays_until_every_delivery_is_done() {
    let mut inbox = Inbox::new();
    let up = Host::up();
    inbox
        .pipeline
        .rules(&[inbox.rule("app").with("retries", 100), up.rule("other")]);
    inbox.host.stop();
    let _scan = inbox.scan(&["--after", "delete"]);
    inbox.write("app-one", b"one");
    inbox.pipeline.awaits("app-one", State::Waiting);
    inbox.write("other", b"to a host that is up");
    // By then both were looked at.
    wait_until("the other one leaves", LIMIT, || {
        inbox.names() == ["app-one"]
    });
    inbox.host.resume();
    inbox.settled(&["app-one", "other"]);
    wait_until("it is gone", LIMIT, || inbox.names().is_empty());
}

#[test]
fn a_file_that_changed_since_is_a_new_package_and_leaves_after_that_alone() {
    let mut inbox = Inbox::new();
    inbox.host.stop();
    let scan = inbox.scan(&["--after", "delete"]);
    inbox.write("app-one", b"one");
    inbox.pipeline.awaits("app-one", State::Waiting);
    scan.kill();
    inbox.write("app-one", b"another one");
    inbox.host.resume();
    // The first is delivered while the second is not known yet: it must not take the second with it.
    inbox.pipeline.ad(&["worker", "--until-idle"]).exits(0);
    inbox.once(&["--after", "delete"]).exits(0);
    inbox.settled(&["app-one", "app-one"]);
    holds(&inbox.host.file("in/app-one"), b"another one");
    assert!(inbox.names().is_empty(), "{:?}", inbox.names());
}

#[test]
fn a_delivered_file_is_moved_with_its_path_and_takes_nobodys_name() {
    let inbox = Inbox::new();
    let done = inbox.pipeline.env.path("done");
    let after = format!("move {}", done.display());
    let _scan = inbox.scan(&["--after", &after, "--marker", ".ok"]);
    for bytes in [b"first", b"other"] {
        inbox.write("sub/app-one", bytes);
        inbox.write("sub/app-one.ok", b"");
        wait_until("it is moved", LIMIT, || {
            !inbox.dir.join("sub/app-one").exists()
        });
    }
    inbox.settled(&["app-one", "app-one"]);
    // The marker went with it, and what was moved is no package.
    wait_until("both are there, and nothing is left", LIMIT, || {
        done.join("sub/app-one.1").exists() && inbox.names().is_empty()
    });
    holds(&done.join("sub/app-one"), b"first");
    holds(&done.join("sub/app-one.1"), b"other");
}

#[test]
fn whoever_sees_that_a_file_has_gone_finds_nothing_of_its_marker() {
    let inbox = Inbox::new();
    let args = ["--settle", "0", "--marker", ".ok", "--after", "delete"];
    inbox.once(&args).exits(0);
    inbox.write("app-one", b"one");
    inbox.write("app-one.ok", b"");
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).expect("inotify");
    let going = inotify::WatchFlags::MOVED_FROM | inotify::WatchFlags::DELETE;
    inotify::add_watch(&watch, &inbox.dir, going).expect("a watch");
    inbox.once(&args).exits(0);
    inbox.settled(&["app-one"]);
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    let mut gone = Vec::new();
    while let Ok(event) = events.next() {
        let name = event.file_name().expect("a name");
        gone.push(name.to_str().expect("UTF-8").to_owned());
    }
    gone.retain(|name| name.starts_with("app-one"));
    assert_eq!(gone, ["app-one.ok", "app-one"]);
    assert!(inbox.names().is_empty(), "{:?}", inbox.names());
}

#[test]
fn a_file_that_cannot_leave_keeps_its_marker_and_leaves_with_it_later() {
    let inbox = Inbox::new();
    let done = inbox.pipeline.env.write("done", "a file in the way");
    let after = format!("move {}", done.display());
    let args = ["--settle", "0", "--marker", ".ok", "--after", &after];
    inbox.once(&args).exits(0);
    inbox.write("app-one", b"one");
    inbox.write("app-one.ok", b"");
    inbox.once(&args).exits(0);
    assert!(inbox.log().contains("cannot leave the directory"));
    assert_eq!(inbox.names(), ["app-one", "app-one.ok"]);
    fs::remove_file(&done).expect("rm");
    inbox.once(&args).exits(0);
    holds(&done.join("app-one"), b"one");
    assert!(inbox.names().is_empty(), "{:?}", inbox.names());
    inbox.settled(&["app-one"]);
}

#[test]
fn a_delivered_file_is_moved_to_another_file_system() {
    needs_root!();
    let inbox = Inbox::new();
    let done = inbox.pipeline.env.path("done");
    let _disk = Disk::mount(&done, "4m", "0755");
    let after = format!("move {}", done.display());
    inbox.once(&[]).exits(0);
    inbox.write("sub/app-one", b"one");
    let written = fs::metadata(inbox.dir.join("sub/app-one")).expect("metadata");
    inbox.once(&["--after", &after]).exits(0);
    holds(&done.join("sub/app-one"), b"one");
    let moved = fs::metadata(done.join("sub/app-one")).expect("metadata");
    assert_eq!(
        moved.modified().expect("time"),
        written.modified().expect("time")
    );
    assert!(inbox.names().is_empty());
}

#[test]
fn a_file_that_is_written_to_when_it_is_to_leave_is_not_taken_half() {
    let mut inbox = Inbox::new();
    inbox.host.stop();
    let _scan = inbox.scan(&["--after", "delete", "--settle", "6", "--interval", "1"]);
    inbox.write("app-one", b"one");
    inbox.pipeline.awaits("app-one", State::Waiting);
    // By name, again and again, as a log is written; while the first version is delivered and would leave.
    let mut bytes = b"one".to_vec();
    for _ in 0..40 {
        use std::io::Write as _;
        let file = inbox.file("app-one");
        let mut file = fs::File::options().append(true).open(file).expect("there");
        file.write_all(b"more").expect("write");
        bytes.extend(b"more");
        if bytes.len() == 7 {
            inbox.host.resume();
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    wait_until("it has left", LIMIT, || inbox.names().is_empty());
    inbox.settled(&["app-one", "app-one"]);
    holds(&inbox.host.file("in/app-one"), &bytes);
}

#[test]
fn a_file_that_somebody_moves_before_it_leaves_is_still_known() {
    let mut inbox = Inbox::new();
    inbox.host.stop();
    let _scan = inbox.scan(&["--after", "delete", "--settle", "0"]);
    inbox.write("a/app-one", b"one");
    inbox.pipeline.awaits("app-one", State::Waiting);
    fs::rename(inbox.file("a"), inbox.file("b")).expect("rename");
    inbox.host.resume();
    wait_until("it has left from there", LIMIT, || inbox.names().is_empty());
    inbox.settled(&["app-one"]);
}

#[test]
fn a_destination_in_the_way_of_the_drop_directory_is_refused() {
    let inbox = Inbox::new();
    for place in [
        inbox.dir.clone(),
        inbox.dir.join("done"),
        inbox.pipeline.env.root().to_owned(),
    ] {
        let after = format!("move {}", place.display());
        let ran = inbox.once(&["--after", &after]).exits(2);
        assert!(ran.stderr.contains("in the way"), "{ran}");
    }
}

#[test]
fn what_stands_aside_when_scanning_is_killed_leaves_afterwards_and_a_successor_is_new() {
    let inbox = Inbox::new();
    let args = ["--settle", "0", "--after", "delete"];
    inbox.once(&args).exits(0);
    inbox.write("app-one", b"one");
    inbox.once(&["--settle", "0"]).exits(0);
    inbox.settled(&["app-one"]);
    // As somebody leaves it who is killed in the midst of it.
    let row = inbox.pipeline.sql("SELECT id FROM dropped")[0].expect("a row");
    let batch = inbox
        .pipeline
        .sql("UPDATE dropped SET leaves = 2 RETURNING batch_id")[0];
    let journal =
        auto_dispatcher::journal::Journal::open(&inbox.pipeline.state().join("journal.sqlite"));
    let token = format!(
        "{}-{row}-{}",
        journal.expect("a journal").id(),
        batch.expect("a batch")
    );
    let aside = inbox.dir.join(format!(".ad-{token}.leaving"));
    fs::rename(inbox.file("app-one"), &aside).expect("rename");
    inbox.once(&args).exits(0);
    assert!(!aside.exists());
    assert!(inbox.names().is_empty());
    // It has left: whoever drops the same again means it.
    inbox.write("app-one", b"one");
    inbox.once(&args).exits(0);
    inbox.settled(&["app-one", "app-one"]);
}
