//! `scan` as a command: `--once`, its exit codes and lines, sections of the settings, `--forget`, and what it refuses.

use std::fs::{self, File};
use std::io::Write as _;

use auto_dispatcher::domain::artifact::Digester;
use serde_json::{Value, json};

use super::Inbox;
use crate::pipeline::{LIMIT, field, holds};
use crate::testenv::wait_until;

/// For files that nobody writes to any more.
const AT_ONCE: [&str; 2] = ["--settle", "0"];

fn at_once<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&AT_ONCE[..], more].concat()
}

#[test]
fn the_first_run_takes_stock_and_later_ones_dispatch_what_came_once() {
    let inbox = Inbox::new();
    inbox.write("app-old", "old");
    inbox.write("deep/app-old", "old");
    inbox.once(&[]).exits(0);
    assert_eq!(inbox.installed(), [""; 0]);
    inbox.write("app-1", "one");
    inbox.write("deep/app-2", "two");
    let second = inbox.once(&[]).exits(0);
    assert!(second.stdout.contains("app-1"), "{second}");
    inbox.arrived_once("app-1", "one");
    inbox.arrived_once("app-2", "two");
    let third = inbox.once(&[]).exits(0);
    assert_eq!(third.stdout, "nothing new\n", "{third}");
    inbox.write("app-1", "one more");
    inbox.once(&[]).exits(0);
    assert_eq!(inbox.installed().len(), 3);
    holds(&inbox.host.file("in/app-1"), b"one more");
}

#[test]
fn what_was_there_before_the_first_start_is_dispatched_where_that_is_asked_for() {
    let inbox = Inbox::new();
    inbox.write("app-old", "old");
    inbox.once(&at_once(&["--existing"])).exits(0);
    inbox.arrived_once("app-old", "old");
    inbox.once(&at_once(&["--existing"])).exits(0);
    inbox.once(&AT_ONCE).exits(0);
    inbox.arrived_once("app-old", "old");
}

#[test]
fn stock_is_dispatched_when_that_is_asked_for_later() {
    let inbox = Inbox::new();
    inbox.write("app-old", "old");
    inbox.once(&AT_ONCE).exits(0);
    inbox.write("app-1", "one");
    inbox.once(&AT_ONCE).exits(0);
    assert_eq!(inbox.installed(), ["app-1"]);
    inbox.once(&at_once(&["--existing"])).exits(0);
    inbox.once(&at_once(&["--existing"])).exits(0);
    assert_eq!(inbox.installed(), ["app-1", "app-old"]);
}

#[test]
fn a_file_that_no_rule_takes_is_told_of_once_and_makes_it_exit_1() {
    let inbox = Inbox::new();
    inbox.once(&AT_ONCE).exits(0);
    inbox.write("other", "no rule's");
    inbox.write("app-1", "one");
    let ran = inbox.once(&AT_ONCE).exits(1);
    assert!(ran.stdout.contains("other"), "{ran}");
    inbox.arrived_once("app-1", "one");
    inbox.once(&AT_ONCE).exits(0);
    // Once there is a rule for it, it takes a new version, and not what was skipped.
    inbox
        .pipeline
        .rules(&[inbox.rule("app"), inbox.rule("other")]);
    inbox.once(&AT_ONCE).exits(0);
    inbox.write("other", "a new version");
    inbox.once(&AT_ONCE).exits(0);
    inbox.arrived_once("other", "a new version");
}

#[test]
fn a_delivery_that_fails_makes_it_exit_1() {
    let inbox = Inbox::new();
    inbox
        .pipeline
        .rules(&[inbox.rule("app").with("install_command", "exit 3")]);
    inbox.once(&AT_ONCE).exits(0);
    inbox.write("app-1", "one");
    inbox.once(&AT_ONCE).exits(1);
    assert_eq!(inbox.pipeline.delivery("app-1")["state"], "failed");
    // It is known; `retry` is the operator's.
    inbox.once(&AT_ONCE).exits(0);
    assert_eq!(inbox.pipeline.history().len(), 1);
}

#[test]
fn a_file_that_is_still_open_is_left_for_the_next_time() {
    let inbox = Inbox::new();
    inbox.once(&[]).exits(0);
    let mut file = File::create(inbox.file("app-open")).expect("create");
    file.write_all(b"one, ").expect("write");
    inbox.write("app-1", "one");
    let ran = inbox.once(&[]).exits(0);
    assert!(format!("{ran}").contains("app-open"), "{ran}");
    assert_eq!(inbox.installed(), ["app-1"]);
    file.write_all(b"two").expect("write");
    drop(file);
    inbox.once(&[]).exits(0);
    inbox.arrived_once("app-open", "one, two");
}

#[test]
fn a_directory_that_is_not_there_is_an_error_of_the_source() {
    let inbox = Inbox::new();
    inbox.write("file", "no directory");
    let missing = inbox.file("missing");
    let file = inbox.file("file");
    for place in [&missing, &file] {
        let place = place.to_str().expect("UTF-8");
        for args in [&["scan", place, "--once"][..], &["scan", place]] {
            let ran = inbox.pipeline.ad(args).exits(4);
            assert!(ran.stderr.contains(place), "{ran}");
        }
    }
    assert_eq!(inbox.pipeline.history(), [Value::Null; 0]);
}

#[test]
fn a_directory_that_is_not_there_ends_it_before_anything_is_dispatched_from_another() {
    let inbox = Inbox::new();
    inbox.write("app-1", "one");
    let missing = inbox.pipeline.env.path("missing");
    let missing = missing.to_str().expect("UTF-8");
    let ran = inbox.once(&at_once(&[missing, "--existing"])).exits(4);
    assert!(ran.stderr.contains(missing), "{ran}");
    assert_eq!(inbox.pipeline.history(), [Value::Null; 0]);
}

#[test]
fn what_cannot_be_meant_is_an_error_of_usage() {
    let inbox = Inbox::new();
    let ran = inbox.pipeline.ad(&["scan"]).exits(2);
    assert!(ran.stderr.contains("[scan:NAME]"), "{ran}");
    inbox.pipeline.ad(&["scan", "--forget"]).exits(2);
    for wrong in [
        ["--interval", "0"],
        ["--interval", "2d"],
        ["--settle", "soon"],
        ["--include", "a["],
        ["--exclude", "{"],
        ["--marker", "a/b"],
        ["--after", "burn"],
        ["--after", "move"],
    ] {
        let args = [&["scan", inbox.arg(), "--once"][..], &wrong].concat();
        let ran = inbox.pipeline.ad(&args).exits(2);
        assert!(ran.stderr.contains(wrong[0]), "{ran}");
    }
    assert!(!inbox.pipeline.state().join("journal.sqlite").exists());
}

#[test]
fn directories_that_overlap_are_refused() {
    let inbox = Inbox::new();
    let deep = inbox.file("deep");
    fs::create_dir(&deep).expect("mkdir");
    let link = inbox.pipeline.env.path("link");
    std::os::unix::fs::symlink(&deep, &link).expect("symlink");
    let roundabout = format!("{}/../in/", inbox.arg());
    for other in [
        inbox.arg(),
        deep.to_str().expect("UTF-8"),
        link.to_str().expect("UTF-8"),
        &roundabout,
    ] {
        for pair in [[inbox.arg(), other], [other, inbox.arg()]] {
            let ran = inbox
                .pipeline
                .ad(&["scan", pair[0], pair[1], "--once"])
                .exits(2);
            assert!(ran.stderr.contains("overlap"), "{ran}");
        }
    }
}

#[test]
fn each_line_of_json_tells_of_stock_a_file_or_a_delivery() {
    let inbox = Inbox::new();
    inbox.write("app-old", "old");
    let json = at_once(&["--json"]);
    let first = inbox.once(&json).exits(0);
    let stock = json!({"stock": {"directory": inbox.arg(), "files": 1}});
    assert_eq!(first.json(), [stock], "{first}");
    assert_eq!(inbox.once(&json).exits(0).json(), [Value::Null; 0]);
    inbox.write("deep/app-1", "one");
    let ran = inbox.once(&json).exits(0);
    let lines = ran.json();
    assert_eq!(lines.len(), 2, "{ran}");
    let batch = &lines[0]["dropped"]["batch"];
    let dropped = json!({"dropped": {
        "directory": inbox.arg(), "path": "deep/app-1", "batch": batch, "size": 3, "deliveries": 1, "skipped": null
    }});
    assert!(batch.is_i64(), "{ran}");
    assert_eq!(lines[0], dropped, "{ran}");
    assert_eq!(lines[1], inbox.pipeline.delivery("app-1"), "{ran}");
    assert_eq!(lines[1]["state"], "done");
    inbox.write("other", "no rule's");
    let ran = inbox.once(&json).exits(1);
    let lines = ran.json();
    assert_eq!(lines.len(), 1, "{ran}");
    assert_eq!(lines[0]["dropped"]["deliveries"], 0, "{ran}");
    assert!(lines[0]["dropped"]["skipped"].is_string(), "{ran}");
}

#[test]
fn the_record_names_directory_and_path() {
    let inbox = Inbox::new();
    inbox.once(&AT_ONCE).exits(0);
    inbox.write("deep/down/app-1", "one");
    inbox.once(&AT_ONCE).exits(0);
    let row = inbox.pipeline.delivery("app-1");
    assert_eq!(row["source"], "directory");
    assert_eq!(row["directory"], inbox.arg());
    assert_eq!(row["path"], "deep/down/app-1");
    assert_eq!(row["sha256"], Digester::of(b"one"));
    assert_eq!(row["size"], 3);
    assert_eq!(
        (&row["repository"], &row["revision"]),
        (&Value::Null, &Value::Null)
    );
    let shown = inbox.pipeline.show(&row);
    assert_eq!(shown["directory"], inbox.arg(), "{shown}");
    let ran = inbox.pipeline.ad(&["history"]).exits(0);
    assert!(ran.stdout.contains("app-1"), "{ran}");
}

#[test]
fn a_directory_is_scanned_by_one_process_alone() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&[]);
    for args in [&[][..], &["--existing"]] {
        let ran = inbox.once(args).exits(5);
        assert!(ran.stderr.contains("scanned by another process"), "{ran}");
    }
    let mut second = inbox.pipeline.spawn(&inbox.args(&[]));
    assert_eq!(second.ends(), Some(5));
    inbox
        .pipeline
        .ad(&["scan", inbox.arg(), "--forget"])
        .exits(5);
    inbox.write("app-1", "one");
    inbox.arrives_once("app-1", "one");
    inbox.installs_only(&["app-1"]);
}

#[test]
fn after_a_scan_that_was_killed_the_next_one_goes_on() {
    let inbox = Inbox::new();
    let scan = inbox.scan(&[]);
    inbox.write("app-1", "one");
    inbox.arrives_once("app-1", "one");
    scan.kill();
    inbox.write("app-2", "while nobody scans");
    let _scan = inbox.scan(&[]);
    inbox.arrives_once("app-2", "while nobody scans");
    inbox.installs_only(&["app-1", "app-2"]);
}

#[test]
fn a_scan_that_is_told_to_end_ends_well() {
    let inbox = Inbox::new();
    let mut scan = inbox.scan(&[]);
    scan.terminate();
    let code = scan.ends();
    assert_eq!(code, Some(0));
    inbox.write("app-1", "one");
    inbox.once(&[]).exits(0);
    inbox.arrived_once("app-1", "one");
}

fn section(name: &str, directory: &str) -> String {
    format!("[scan:{name}]\ndirectory = {directory}\nsettle = 1\n")
}

#[test]
fn sections_of_the_settings_are_scanned_without_a_directory_on_the_command_line() {
    let inbox = Inbox::new();
    let other = inbox.pipeline.env.path("other");
    fs::create_dir(&other).expect("mkdir");
    let sections =
        section("one", inbox.arg()) + &section("two", "../../other") + "exclude = *.zip\n";
    inbox.pipeline.settings(&sections);
    let _scan = inbox.pipeline.spawn(&["scan"]);
    inbox.is_scanned(&inbox.dir);
    inbox.is_scanned(&other);
    inbox.write("app-1", "one");
    fs::write(other.join("app-2"), "two").expect("write");
    fs::write(other.join("app-3.zip"), "left out").expect("write");
    inbox.arrives_once("app-1", "one");
    inbox.arrives_once("app-2", "two");
    inbox.installs_only(&["app-1", "app-2"]);
}

#[test]
fn a_worker_scans_the_sections_of_the_settings_and_waits_for_directories() {
    let inbox = Inbox::new();
    let other = inbox.pipeline.env.path("other");
    let shown = other.to_str().expect("UTF-8");
    let sections = section("one", inbox.arg()) + &section("two", shown);
    inbox.pipeline.settings(&sections);
    let _worker = inbox.pipeline.spawn(&["worker"]);
    inbox.is_scanned(&inbox.dir);
    inbox.write("app-1", "one");
    inbox.arrives_once("app-1", "one");
    wait_until("the other directory is missed", LIMIT, || {
        let status = inbox.pipeline.status();
        let row = status.iter().find(|row| row["drop_directory"] == shown);
        row.is_some_and(|row| row["trouble"].is_string())
    });
    fs::create_dir(&other).expect("mkdir");
    inbox.is_scanned(&other);
    fs::write(other.join("app-2"), "two").expect("write");
    inbox.arrives_once("app-2", "two");
    let status = inbox.pipeline.status();
    let row = status.iter().find(|row| row["drop_directory"] == shown);
    assert_eq!(row.expect("a row")["trouble"], Value::Null);
    inbox.installs_only(&["app-1", "app-2"]);
}

#[test]
fn what_is_typed_goes_before_the_section_of_that_directory() {
    let inbox = Inbox::new();
    let terms = section("in", inbox.arg()) + "include = *.tar app-last*\nmarker = .done\n";
    inbox.pipeline.settings(&terms);
    inbox.once(&[]).exits(0);
    for name in [
        "app-1.tar",
        "app-1.tar.ok",
        "app-2.zip",
        "app-2.zip.ok",
        "app-3.tar",
        "app-3.tar.done",
    ] {
        inbox.write(name, name);
    }
    inbox.once(&["--marker", ".ok"]).exits(0);
    assert_eq!(inbox.installed(), ["app-1.tar"]);
    inbox
        .once(&["--marker", ".ok", "--include", "*.zip"])
        .exits(0);
    assert_eq!(inbox.installed(), ["app-1.tar", "app-2.zip"]);
    inbox.once(&[]).exits(0);
    assert_eq!(inbox.installed(), ["app-1.tar", "app-2.zip", "app-3.tar"]);
}

#[test]
fn two_directories_are_scanned_at_once() {
    let inbox = Inbox::new();
    let other = inbox.pipeline.env.path("other");
    fs::create_dir(&other).expect("mkdir");
    let shown = other.to_str().expect("UTF-8");
    let _scan = inbox.pipeline.spawn(&inbox.args(&[shown]));
    inbox.is_scanned(&inbox.dir);
    inbox.is_scanned(&other);
    // The same name in both: one of them is no copy of the other that was moved.
    inbox.write("app-1", "one");
    inbox.arrives_once("app-1", "one");
    fs::write(other.join("app-1"), "one").expect("write");
    inbox.arrives("app-1", 2);
    fs::write(other.join("app-2"), "two").expect("write");
    inbox.arrives_once("app-2", "two");
    inbox.installs_only(&["app-1", "app-1", "app-2"]);
    let rows = inbox.pipeline.history();
    let directories = field(&rows, "directory");
    assert_eq!(directories[..3], [inbox.arg(), shown, shown], "{rows:?}");
}

#[test]
fn what_is_forgotten_is_taken_stock_of_again() {
    let inbox = Inbox::new();
    let ran = inbox.pipeline.ad(&["scan", inbox.arg(), "--forget"]);
    assert_ne!(ran.code, Some(0), "{ran}");
    inbox.once(&AT_ONCE).exits(0);
    inbox.write("app-1", "one");
    inbox.once(&AT_ONCE).exits(0);
    inbox.write("app-2", "two");
    let ran = inbox
        .pipeline
        .ad(&["scan", inbox.arg(), "--forget"])
        .exits(0);
    assert!(ran.stdout.contains(inbox.arg()), "{ran}");
    assert!(
        inbox
            .pipeline
            .status()
            .iter()
            .all(|row| row["drop_directory"].is_null())
    );
    inbox
        .pipeline
        .ad(&["scan", inbox.arg(), "--forget"])
        .exits(4);
    inbox.once(&AT_ONCE).exits(0);
    inbox.write("app-3", "three");
    inbox.once(&AT_ONCE).exits(0);
    assert_eq!(inbox.installed(), ["app-1", "app-3"]);
    // What was delivered from there stays in the record.
    assert_eq!(inbox.pipeline.history().len(), 2);
}

#[test]
fn files_leave_when_all_their_deliveries_are_done() {
    let inbox = Inbox::new();
    inbox.once(&AT_ONCE).exits(0);
    inbox.write("app-1", "one");
    inbox.once(&at_once(&["--after", "delete"])).exits(0);
    inbox.arrived_once("app-1", "one");
    assert!(!inbox.file("app-1").exists());
    let away = inbox.pipeline.env.path("away");
    let moved = format!("move {}", away.display());
    inbox.write("deep/app-2", "two");
    inbox.write("other", "no rule's");
    inbox.once(&at_once(&["--after", &moved])).exits(1);
    inbox.arrived_once("app-2", "two");
    holds(&away.join("deep/app-2"), b"two");
    assert!(!inbox.file("deep/app-2").exists() && inbox.file("other").exists());
    inbox
        .pipeline
        .rules(&[inbox.rule("app").with("install_command", "exit 3")]);
    inbox.write("app-3", "three");
    inbox.once(&at_once(&["--after", "delete"])).exits(1);
    assert!(inbox.file("app-3").exists());
    // The same once more is a package once more, for it had left.
    inbox.pipeline.rules(&[inbox.rule("app")]);
    inbox.write("app-1", "one");
    inbox.once(&AT_ONCE).exits(0);
    inbox.arrives("app-1", 2);
}

#[test]
fn the_marker_leaves_with_its_file() {
    let inbox = Inbox::new();
    let args = ["--marker", ".done", "--after", "delete"];
    inbox.once(&args).exits(0);
    inbox.write("app-1", "one");
    inbox.write("app-1.done", "");
    inbox.write("app-2", "not ready");
    inbox.once(&args).exits(0);
    inbox.arrived_once("app-1", "one");
    let mut left: Vec<_> = fs::read_dir(&inbox.dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["app-2"]);
}

#[test]
fn lines_of_json_come_while_it_scans() {
    let inbox = Inbox::new();
    let path = inbox.elsewhere();
    let out = File::create(&path).expect("create");
    let mut command = inbox.pipeline.command(&inbox.args(&["--json"]));
    let mut scan = command.stdout(out).spawn().expect("the binary");
    let lines = || -> Vec<Value> {
        let text = fs::read_to_string(&path).expect("readable");
        let whole = text.lines().map(serde_json::from_str);
        whole.collect::<Result<_, _>>().unwrap_or_default()
    };
    wait_until("stock is taken", LIMIT, || lines().len() == 1);
    inbox.write("app-1", "one");
    wait_until("a file is delivered", LIMIT, || lines().len() == 3);
    scan.kill().expect("kill");
    scan.wait().expect("wait");
    let lines = lines();
    assert_eq!(
        lines[0],
        json!({"stock": {"directory": inbox.arg(), "files": 0}})
    );
    assert_eq!(lines[1]["dropped"]["path"], "app-1");
    assert_eq!(
        (&lines[2]["package"], &lines[2]["state"]),
        (&json!("app-1"), &json!("done"))
    );
}

#[test]
fn it_scans_once_beside_a_worker_that_lives() {
    let inbox = Inbox::new();
    inbox.once(&AT_ONCE).exits(0);
    let _worker = inbox.pipeline.spawn(&["worker"]);
    wait_until("the worker lives", LIMIT, || {
        !inbox.pipeline.workers().is_empty()
    });
    inbox.write("app-1", "one");
    let ran = inbox.once(&AT_ONCE).exits(0);
    assert!(ran.stdout.contains("app-1"), "{ran}");
    inbox.arrived_once("app-1", "one");
}

#[test]
fn a_file_that_failed_leaves_once_it_was_retried() {
    let inbox = Inbox::new();
    let command = format!("test -e {}", inbox.host.file("ok").display());
    inbox
        .pipeline
        .rules(&[inbox.host.rule("app").with("install_command", command)]);
    let args = at_once(&["--after", "delete"]);
    inbox.once(&args).exits(0);
    inbox.write("app-1", "one");
    inbox.write("app-2", "two");
    inbox.once(&args).exits(1);
    assert!(inbox.file("app-1").exists() && inbox.file("app-2").exists());
    fs::write(inbox.host.file("ok"), "").expect("write");
    // What was dispatched needs its file no more, and what is new there has nothing to do with it.
    fs::write(inbox.file("app-2"), "another two").expect("write");
    for package in ["app-1", "app-2"] {
        let id = inbox.pipeline.delivery(package)["id"].to_string();
        inbox.pipeline.ad(&["retry", &id, "--wait"]).exits(0);
    }
    holds(&inbox.host.file("in/app-2"), b"two");
    assert!(inbox.file("app-1").exists() && inbox.file("app-2").exists());
    inbox.once(&args).exits(0);
    holds(&inbox.host.file("in/app-2"), b"another two");
    let left = fs::read_dir(&inbox.dir).expect("a directory").count();
    assert_eq!(left, 0);
    assert_eq!(inbox.pipeline.history().len(), 3);
}
