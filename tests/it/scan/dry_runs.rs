//! `scan --dry-run`: it tells exactly what the real scan then does, and touches nothing.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;

use auto_dispatcher::domain::delivery::State;
use serde_json::Value;

use super::Inbox;
use crate::pipeline::dry_runs::{Trap, done, skips, told, touches_nothing};

/// The object that counts the files.
#[track_caller]
fn counts(lines: &[Value]) -> Value {
    let counts = lines.iter().find(|line| line["files"].is_object());
    counts.expect("an object of files")["files"].clone()
}

#[track_caller]
fn is(counts: &Value, expected: &[(&str, u64)]) {
    for name in [
        "stock", "known", "filtered", "unmarked", "new", "changed", "touched", "settling",
        "written", "stuck",
    ] {
        let wanted = expected.iter().find(|(known, _)| *known == name);
        let wanted = wanted.map_or(0, |(_, count)| *count);
        assert_eq!(counts[name], wanted, "{name} in {counts}");
    }
}

impl Inbox {
    #[track_caller]
    fn dry(&self, args: &[&str]) -> Vec<Value> {
        let mut all = self.args(args);
        all.extend(["--dry-run", "--json"]);
        touches_nothing(&self.pipeline, &all).json()
    }
}

#[test]
fn before_the_first_scan_all_is_stock_unless_it_is_told_otherwise() {
    let trap = Trap::new();
    let inbox = Inbox::new();
    let asked = inbox.pipeline.env.path("asked").display().to_string();
    inbox.pipeline.rules(&[trap.rule("app", &asked)]);
    inbox.write("app-1", "1");
    inbox.write("sub/app-2", "2");
    inbox.write("app-3.part", "3");
    is(&counts(&inbox.dry(&[])), &[("stock", 2), ("filtered", 1)]);
    let lines = inbox.dry(&["--existing", "--settle", "0"]);
    is(&counts(&lines), &[("new", 2), ("filtered", 1)]);
    assert_eq!(told(&lines).len(), 2);
    let lines = inbox.dry(&["--existing", "--settle", "500"]);
    is(&counts(&lines), &[("settling", 2), ("filtered", 1)]);
    let lines = inbox.dry(&["--existing", "--marker", ".done"]);
    is(&counts(&lines), &[("unmarked", 2), ("filtered", 1)]);
    assert!(!inbox.pipeline.state().exists());
    trap.was_not_dialled();
    assert!(
        !inbox.pipeline.env.path("asked").exists(),
        "a password was asked for"
    );
}

#[test]
fn a_scan_does_what_its_dry_run_told() {
    let inbox = Inbox::new();
    inbox.pipeline.rules(&[
        inbox
            .rule("^app")
            .with("install_command", "true {package} {path}"),
        inbox.host.rule("^lib").without("dest_dir"),
        inbox.host.rule("^odd").without("host"),
    ]);
    inbox.write("app-stock", "s");
    inbox.once(&[]).exits(0);
    inbox.write("app-old", "old");
    inbox.write("app-same", "same");
    inbox.once(&[]).exits(0);
    let before = done(&inbox.pipeline).len();
    inbox.write("app-old", "new");
    inbox.write("app-same", "same");
    inbox.write("deep/er/lib-1", "l");
    inbox.write("stranger", "x");
    inbox.write("odd-1", "x");
    inbox.write(".hidden", "x");
    let mut open = File::create(inbox.file("app-open")).expect("create");
    open.write_all(b"half").expect("write");
    let lines = inbox.dry(&["--settle", "0"]);
    is(
        &counts(&lines),
        &[
            ("known", 1),
            ("new", 3),
            ("changed", 1),
            ("touched", 1),
            ("written", 1),
            ("filtered", 1),
        ],
    );
    drop(open);
    let expected = told(&lines);
    assert_eq!(expected.len(), 3, "{expected:?}");
    let real = inbox.once(&["--json"]).exits(1).json();
    let mut found = done(&inbox.pipeline).split_off(before);
    let mut expected = expected;
    // What was open is closed now, and was written last; what settles together keeps its order.
    expected.sort();
    found.sort();
    assert_eq!(expected, found);
    let mut skipped: Vec<(String, String)> = real
        .iter()
        .filter_map(|line| {
            let dropped = &line["dropped"];
            let reason = dropped["skipped"].as_str()?;
            Some((dropped["path"].as_str()?.to_owned(), reason.to_owned()))
        })
        .collect();
    skipped.sort();
    let mut wanted = skips(&lines);
    wanted.sort();
    assert_eq!(skipped, wanted);
    is(&counts(&inbox.dry(&[])), &[("known", 7), ("filtered", 1)]);
}

#[test]
fn a_dry_run_tells_which_files_would_leave_and_leaves_them() {
    let mut inbox = Inbox::new();
    inbox.once(&[]).exits(0);
    inbox.host.stop();
    inbox.write("app-1", "1");
    let args = ["--once", "--after", "delete"];
    let mut scan = inbox.pipeline.spawn(&inbox.args(&args));
    inbox.pipeline.awaits("app-1", State::Waiting);
    scan.terminate();
    scan.ends();
    inbox.host.resume();
    inbox.pipeline.ad(&["worker", "--until-idle"]).exits(0);
    let shown = counts(&inbox.dry(&["--after", "delete"]));
    assert_eq!(shown["leaving"], serde_json::json!(["app-1"]));
    assert_eq!(shown["known"], 1);
    let shown = counts(&inbox.dry(&["--after", "keep"]));
    assert_eq!(shown["leaving"], serde_json::json!([]));
    inbox.once(&["--after", "delete"]).exits(0);
    assert!(!inbox.file("app-1").exists());
}

#[test]
fn a_directory_that_is_scanned_is_told_to_be_and_one_that_is_not_there_is_an_error() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&[]);
    let mut all = inbox.args(&["--dry-run"]);
    let ran = inbox.pipeline.ad(&all).exits(0);
    assert!(ran.stdout.contains("another process scans it"), "{ran}");
    let missing = inbox.pipeline.env.path("missing");
    all[1] = missing.to_str().expect("UTF-8");
    let ran = inbox.pipeline.ad(&all).exits(4);
    assert!(ran.stderr.contains("missing"), "{ran}");
}

#[test]
fn what_a_dry_scan_shows_fits_eighty_and_a_hundred_and_twenty_columns() {
    let inbox = Inbox::new();
    inbox.pipeline.rules_text(
        "[^app-]\nhost = 10.1.2.3\nlogin = deploy\npassword = x\ninstall_command = sh install.sh {path}\n",
    );
    inbox.write("app-1.0.tar", "1");
    inbox.write("release/2026/app-核心系统升级包-2026.11.24.tar.gz", "2");
    inbox.write("x.part", "3");
    inbox.write("stranger", "4");
    let times = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    for name in [
        "app-1.0.tar",
        "release/2026/app-核心系统升级包-2026.11.24.tar.gz",
    ] {
        let file = OpenOptions::new()
            .write(true)
            .open(inbox.file(name))
            .expect("open");
        file.set_times(times).expect("times");
    }
    for (columns, name) in [("80", "scan_dry_run_80"), ("120", "scan_dry_run_120")] {
        let args = [
            "--dry-run",
            "--existing",
            "--settle",
            "0",
            "--after",
            "delete",
        ];
        let mut command = inbox.pipeline.command(&inbox.args(&args));
        let ran = crate::testenv::Ran::of(command.env("COLUMNS", columns)).exits(1);
        let (head, rest) = ran.stdout.split_once('\n').expect("lines");
        assert!(
            head.contains("1 left out by their names, 3 to look at"),
            "{head}"
        );
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(r"\d{8}_\d{6}", "20261124_101010");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_snapshot_path("../snapshots");
        settings.bind(|| insta::assert_snapshot!(name, rest));
    }
}
