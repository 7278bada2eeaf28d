//! What is moved about in the drop directory, or only touched, is nothing new; what comes into it from elsewhere is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::Inbox;
use crate::testenv::Ran;

#[track_caller]
fn touch(path: &Path) {
    Ran::of(Command::new("touch").arg(path)).exits(0);
}

#[test]
fn the_files_of_a_directory_that_is_moved_into_the_tree_arrive() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1"]);
    let from = inbox.elsewhere();
    fs::create_dir_all(from.join("deep/down")).expect("mkdir");
    fs::write(from.join("app-1"), "one").expect("write");
    fs::write(from.join("deep/down/app-2"), "two").expect("write");
    fs::rename(&from, inbox.file("release")).expect("rename");
    inbox.arrives_once("app-1", "one");
    inbox.arrives_once("app-2", "two");
    // It is watched from now on, down to its ground.
    inbox.drop_file("release/deep/down/app-3", "three");
    inbox.arrives_once("app-3", "three");
    inbox.installs_only(&["app-1", "app-2", "app-3"]);
    // What leaves the tree and comes back is nothing new.
    fs::rename(inbox.file("release"), &from).expect("rename");
    inbox.installs_only(&["app-1", "app-2", "app-3"]);
    fs::rename(&from, inbox.file("release")).expect("rename");
    inbox.installs_only(&["app-1", "app-2", "app-3"]);
}

#[test]
fn a_directory_that_is_renamed_within_the_tree_brings_nothing_new() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1"]);
    inbox.write("new/app-1", "one");
    inbox.write("new/deep/app-2", "two");
    inbox.arrives_once("app-1", "one");
    inbox.arrives_once("app-2", "two");
    fs::rename(inbox.file("new"), inbox.file("old")).expect("rename");
    inbox.installs_only(&["app-1", "app-2"]);
    // Under the name that it had there is another one now.
    inbox.write("new/app-1", "one more");
    inbox.arrives("app-1", 2);
    inbox.write("old/deep/app-3", "three");
    inbox.arrives_once("app-3", "three");
    fs::create_dir(inbox.file("attic")).expect("mkdir");
    fs::rename(inbox.file("old"), inbox.file("attic/old")).expect("rename");
    inbox.installs_only(&["app-1", "app-1", "app-2", "app-3"]);
}

#[test]
fn a_file_that_is_moved_to_another_directory_and_back_is_nothing_new() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1"]);
    inbox.write("app-1", "one");
    inbox.arrives_once("app-1", "one");
    fs::create_dir(inbox.file("done")).expect("mkdir");
    fs::rename(inbox.file("app-1"), inbox.file("done/app-1")).expect("rename");
    inbox.installs_only(&["app-1"]);
    fs::rename(inbox.file("done/app-1"), inbox.file("app-1")).expect("rename");
    inbox.installs_only(&["app-1"]);
    // Out of the tree, and back.
    let away = inbox.elsewhere();
    fs::rename(inbox.file("app-1"), &away).expect("rename");
    inbox.installs_only(&["app-1"]);
    fs::rename(&away, inbox.file("app-1")).expect("rename");
    inbox.installs_only(&["app-1"]);
    inbox.write("app-1", "two");
    inbox.arrives("app-1", 2);
}

#[test]
fn a_file_that_is_moved_while_nobody_scans_is_nothing_new() {
    let inbox = Inbox::new();
    let scan = inbox.scan(&[]);
    inbox.write("app-1", "one");
    inbox.write("deep/app-2", "two");
    inbox.arrives_once("app-1", "one");
    inbox.arrives_once("app-2", "two");
    scan.kill();
    inbox.pipeline.no_worker_lives();
    fs::create_dir(inbox.file("done")).expect("mkdir");
    fs::rename(inbox.file("app-1"), inbox.file("done/app-1")).expect("rename");
    fs::rename(inbox.file("deep"), inbox.file("deeper")).expect("rename");
    touch(&inbox.file("deeper/app-2"));
    let _scan = inbox.scan(&[]);
    inbox.installs_only(&["app-1", "app-2"]);
}

#[test]
fn a_copy_beside_its_original_is_a_package_of_its_own() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&[]);
    inbox.write("app-1", "one");
    inbox.arrives_once("app-1", "one");
    fs::create_dir(inbox.file("again")).expect("mkdir");
    fs::copy(inbox.file("app-1"), inbox.file("again/app-1")).expect("copy");
    inbox.arrives("app-1", 2);
    // Another name of the very same file is another package, too; it was written to by nobody.
    fs::hard_link(inbox.file("app-1"), inbox.file("app-2")).expect("link");
    inbox.arrives_once("app-2", "one");
    inbox.installs_only(&["app-1", "app-1", "app-2"]);
}

#[test]
fn a_file_that_is_touched_is_nothing_new() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1"]);
    inbox.write("app-1", "one");
    inbox.arrives_once("app-1", "one");
    touch(&inbox.file("app-1"));
    inbox.installs_only(&["app-1"]);
    fs::set_permissions(inbox.file("app-1"), fs::Permissions::from_mode(0o640)).expect("chmod");
    inbox.installs_only(&["app-1"]);
    // Written anew by an editor, which keeps the old one.
    fs::rename(inbox.file("app-1"), inbox.file("app-1~")).expect("rename");
    inbox.write("app-1", "one");
    inbox.installs_only(&["app-1"]);
}

#[test]
fn what_was_there_before_the_first_start_is_new_when_its_content_changes_and_not_when_it_is_touched()
 {
    let inbox = Inbox::new();
    for name in [
        "app-touched",
        "app-overwritten",
        "app-moved",
        "deep/app-deep",
    ] {
        inbox.write(name, "old");
    }
    let _scan = inbox.scan(&["--interval", "1"]);
    inbox.stock_is_read();
    touch(&inbox.file("app-touched"));
    fs::rename(inbox.file("app-moved"), inbox.file("deep/app-moved")).expect("rename");
    fs::rename(inbox.file("deep"), inbox.file("deeper")).expect("rename");
    inbox.installs_only(&[]);
    inbox.write("app-overwritten", "new");
    inbox.write("deeper/app-deep", "new, and longer");
    inbox.arrives_once("app-overwritten", "new");
    inbox.arrives_once("app-deep", "new, and longer");
    inbox.installs_only(&["app-deep", "app-overwritten"]);
}

#[test]
fn a_file_that_is_moved_over_an_older_one_is_nothing_new() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1"]);
    fs::create_dir(inbox.file("done")).expect("mkdir");
    let mut times = 0;
    // As somebody does who puts away what was delivered, version by version, and goes back to the first in the end.
    for content in ["one", "two", "number three", "one"] {
        times += 1;
        inbox.write("app-1", content);
        inbox.arrives("app-1", times);
        fs::rename(inbox.file("app-1"), inbox.file("done/app-1")).expect("rename");
        inbox.installs_only(&vec!["app-1"; times]);
    }
}

#[test]
fn versions_that_are_moved_on_from_directory_to_directory_are_nothing_new() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1"]);
    for directory in ["1", "2", "3", "4"] {
        fs::create_dir(inbox.file(directory)).expect("mkdir");
    }
    let mut times = 0;
    for content in ["one", "two", "number three"] {
        times += 1;
        inbox.write("app-1", content);
        inbox.arrives("app-1", times);
        for (from, to) in [
            ("3/app-1", "4/app-1"),
            ("2/app-1", "3/app-1"),
            ("1/app-1", "2/app-1"),
            ("app-1", "1/app-1"),
        ] {
            if inbox.file(from).exists() {
                fs::rename(inbox.file(from), inbox.file(to)).expect("rename");
            }
        }
        inbox.installs_only(&vec!["app-1"; times]);
    }
}

#[test]
fn directories_that_change_places_bring_nothing_new() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1"]);
    inbox.write("a/app-1", "the older one");
    inbox.arrives("app-1", 1);
    inbox.write("b/app-1", "the newer one");
    inbox.arrives("app-1", 2);
    let (a, b) = (inbox.file("a"), inbox.file("b"));
    for _ in 0..2 {
        renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).expect("exchange");
        inbox.installs_only(&["app-1", "app-1"]);
    }
    fs::rename(&a, inbox.file("aside")).expect("rename");
    fs::rename(&b, &a).expect("rename");
    fs::rename(inbox.file("aside"), &b).expect("rename");
    inbox.installs_only(&["app-1", "app-1"]);
}

#[test]
fn a_directory_is_followed_under_its_new_name_and_not_out_of_the_tree() {
    let inbox = Inbox::new();
    fs::create_dir_all(inbox.file("new/deep")).expect("mkdir");
    // Neither the settle time nor a walk can explain what arrives.
    let _scan = inbox.scan(&["--settle", "1h", "--interval", "1h"]);
    inbox.drop_file("new/deep/app-1", "one");
    inbox.arrives_once("app-1", "one");
    fs::rename(inbox.file("new"), inbox.file("old")).expect("rename");
    // That this one arrives shows that the renaming was heard of.
    inbox.drop_file("app-2", "two");
    inbox.arrives_once("app-2", "two");
    inbox.drop_file("old/deep/app-3", "three");
    inbox.arrives_once("app-3", "three");
    assert_eq!(inbox.pipeline.delivery("app-3")["path"], "old/deep/app-3");
    let away = inbox.elsewhere();
    fs::rename(inbox.file("old"), &away).expect("rename");
    inbox.drop_file("app-4", "four");
    inbox.arrives_once("app-4", "four");
    let hidden = inbox.elsewhere();
    fs::write(&hidden, "outside").expect("write");
    fs::rename(&hidden, away.join("deep/app-outside")).expect("rename");
    inbox.drop_file("app-5", "five");
    inbox.arrives_once("app-5", "five");
    let installed = ["app-1", "app-2", "app-3", "app-4", "app-5"];
    assert_eq!(inbox.installed(), installed);
}
