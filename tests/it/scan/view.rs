//! What comes into view later although it was there before is not new; what came since is not lost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use rustix::fs::{Gid, Uid, chown};

use super::Inbox;
use crate::crash::disks::Disk;
use crate::pipeline::{LIMIT, Pipeline};
use crate::servers::mounts::Mounted;
use crate::testenv::{is_root, needs_root, wait_until};

#[test]
fn wider_terms_do_not_dispatch_what_was_there_before_the_first_start() {
    let inbox = Inbox::new();
    inbox.write("app-old.zip", "was there");
    inbox.write("sub/app-old.zip", "was there");
    inbox.once(&["--include", "*.tar"]).exits(0);
    // Left out when it came, but it came.
    inbox.write("app-new.zip", "came later");
    let ran = inbox.once(&[]).exits(0);
    assert_eq!(inbox.installed(), ["app-new.zip"]);
    assert!(ran.stderr.contains("come into view: 2;"), "{ran}");
    inbox.write("sub/app-old.zip", "another version");
    inbox.once(&[]).exits(0);
    assert_eq!(inbox.installed(), ["app-new.zip", "app-old.zip"]);
}

#[test]
fn a_file_system_that_is_mounted_after_the_first_start_is_taken_stock_of() {
    needs_root!();
    let inbox = Inbox::new();
    inbox.once(&[]).exits(0);
    let kept = inbox.pipeline.env.path("kept");
    fs::create_dir(&kept).expect("mkdir");
    let disk = Disk::mount(&kept, "4m", "0755");
    // Made before the first start, as far as it can tell: its clock is set back.
    fs::write(kept.join("app-old"), "was there").expect("write");
    inbox
        .pipeline
        .sql("UPDATE drop_directories SET first_at = first_at + 3600000 RETURNING id");
    let bound = Mounted::by(&["--bind", kept.to_str().expect("UTF-8")], &inbox.dir);
    let ran = inbox.once(&[]).exits(0);
    drop(bound);
    drop(disk);
    assert_eq!(inbox.installed(), Vec::<String>::new(), "{ran}");
    assert!(ran.stderr.contains("come into view: 1;"), "{ran}");
}

#[test]
fn a_directory_that_could_not_be_read_at_the_first_start_holds_nothing_new_when_it_can_be() {
    let inbox = Inbox::new();
    inbox.write("closed/deep/app-old", "was there");
    let mode = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(inbox.file("closed"), mode(0o000)).expect("chmod");
    let scan = || {
        let mut command = inbox.command(&["--settle", "0", "--interval", "1"]);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        Pipeline::started(command)
    };
    if is_root() {
        give_to_nobody(&inbox);
    }
    let first = scan();
    wait_until("stock is taken", LIMIT, || {
        inbox.log().contains("0 files there before")
    });
    drop(first);
    fs::set_permissions(inbox.file("closed"), mode(0o755)).expect("chmod");
    let _second = scan();
    wait_until("it comes into view", LIMIT, || {
        inbox.log().contains("come into view: 1;")
    });
    inbox.write("closed/deep/app-new", "came later");
    let readable = fs::set_permissions(inbox.file("closed/deep/app-new"), mode(0o644));
    readable.expect("chmod");
    wait_until("what is new is dispatched", LIMIT, || {
        inbox.log().contains("/app-new: ")
    });
    assert!(!inbox.log().contains("/app-old: "), "{}", inbox.log());
}

const NOBODY: u32 = 65_534;

/// Root reads everything: somebody else scans.
fn give_to_nobody(inbox: &Inbox) {
    let pipeline = &inbox.pipeline;
    let settings = pipeline.env.path("repository/conf/auto-dispatcher.cfg");
    fs::create_dir(pipeline.state()).expect("mkdir");
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(pipeline.state(), private).expect("chmod");
    for path in [pipeline.rules_file(), settings, pipeline.state()] {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        chown(&path, Some(uid), Some(gid)).expect("chown");
    }
}

#[test]
fn what_no_rule_took_is_new_when_it_comes_again_and_one_does() {
    let inbox = Inbox::new();
    inbox.once(&[]).exits(0);
    inbox.write("other-1", "nobody's");
    inbox.once(&[]).exits(1);
    let rules = [inbox.rule("app"), inbox.rule("other")];
    inbox.pipeline.rules(&rules);
    // By itself it is not tried again: somebody has to say so.
    inbox.once(&[]).exits(0);
    assert_eq!(inbox.installed(), Vec::<String>::new());
    inbox.drop_file("other-1", "nobody's");
    inbox.once(&[]).exits(0);
    assert_eq!(inbox.installed(), ["other-1"]);
}
