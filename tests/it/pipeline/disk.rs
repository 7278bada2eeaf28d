//! Our own disk full: what cannot go on waits, says so, and goes on when there is room; nothing is lost or done
//! twice.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auto_dispatcher::domain::delivery::State;

use super::host::Host;
use super::{LIMIT, Pipeline, field, holds};
use crate::servers::mounts::Mounted;
use crate::testenv::{Ran, needs_root, run_under, wait_until};

/// A state directory on a disk of its own.
fn on_a_small_disk(pipeline: &Pipeline, size: &str) -> Mounted {
    Mounted::disk(&pipeline.state(), &format!("size={size},mode=700"))
}

#[test]
fn a_full_disk_under_the_spool_makes_deliveries_wait_and_say_so() {
    needs_root!();
    let host = Host::up();
    let rule = host.rule("app").with("retries", 0);
    let pipeline = Pipeline::new(&[rule.with("retry_delay", "1h")]);
    let _disk = on_a_small_disk(&pipeline, "4m");
    let ballast = pipeline.state().join("ballast");
    std::fs::write(&ballast, vec![b'b'; 2 << 20]).unwrap();
    let bytes = vec![b'x'; 2 << 20];
    pipeline.commit(&[("app", &bytes)]);
    let waiting = pipeline.awaits("app", State::Waiting);
    let error = waiting["error"].as_str().unwrap();
    assert!(error.contains("on the disk of the spool"), "{error}");
    assert!(error.contains("make room"), "{error}");
    let shown = pipeline.ad(&["status"]).exits(0);
    assert!(shown.stdout.contains("on the disk of the spool"), "{shown}");
    std::fs::remove_file(ballast).unwrap();
    let rows = pipeline.settled(1);
    assert_eq!(field(&rows, "state"), ["done"]);
    holds(&host.file("in/app"), &bytes);
    assert_eq!(pipeline.sql("SELECT tries_used FROM deliveries"), [Some(1)]);
}

#[test]
fn files_are_not_sent_over_a_full_disk() {
    needs_root!();
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app")]);
    let _disk = on_a_small_disk(&pipeline, "4m");
    let file = pipeline.env.write("app", vec![b'x'; 5 << 20]);
    let ran = pipeline.ad(&["send", file.to_str().unwrap()]).exits(5);
    assert!(ran.stderr.contains("nothing was sent"), "{ran}");
    assert_eq!(pipeline.sql("SELECT count(*) FROM batches"), [Some(0)]);
}

/// Fills the disk to its last byte.
fn fill(path: &std::path::Path) {
    let mut size = 1 << 20;
    let mut bytes = std::fs::read(path).unwrap_or_default();
    while size >= 512 {
        let mut more = bytes.clone();
        more.resize(bytes.len() + size, b'b');
        if std::fs::write(path, &more).is_ok() {
            bytes = more;
        } else {
            // What was cut off half-way takes its room all the same.
            size /= 2;
        }
    }
}

/// Tells what there was when a test fails.
struct Tell<'a>(&'a Pipeline);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.0.state().join("auto-dispatcher.log"));
            eprintln!("{}{}", self.0.ad(&["status"]), log.unwrap_or_default());
        }
    }
}

#[test]
fn a_disk_that_fills_up_at_any_moment_loses_nothing_and_doubles_nothing() {
    needs_root!();
    let host = Host::up();
    let ran = host.file("ran");
    let command = format!("echo $AD_PACKAGE >> {}", ran.display());
    let pipeline = Pipeline::new(&[host
        .rule("app")
        .with("retries", 0)
        .with("install_command", command)]);
    let _disk = on_a_small_disk(&pipeline, "6m");
    let _tell = Tell(&pipeline);
    let ballast = pipeline.state().join("ballast");
    let seed = std::env::var("DISK_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(5);
    let over = AtomicBool::new(false);
    let count = 12;
    // The ledger begins with the first revision that is recorded.
    pipeline.commit(&[("app-01", &vec![1; 200_000])]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(seed);
            while !over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(random.u64(0..300)));
                fill(&ballast);
                std::thread::sleep(Duration::from_millis(random.u64(0..700)));
                std::fs::remove_file(&ballast).expect("remove");
            }
        });
        for n in 2..=count {
            // The hook may find the disk full; the commit stands, and the next one that records catches it up.
            pipeline.commit(&[(&format!("app-{n:02}"), &vec![n; 200_000])]);
        }
        over.store(true, Ordering::SeqCst);
    });
    pipeline.commit(&[("last-of-all", b"")]);
    let every = [Some(i64::from(count) + 1)];
    let planned = "SELECT count(*) FROM batches WHERE state = 'planned'";
    wait_until("every revision is planned", LIMIT, || {
        pipeline.sql(planned) == every
    });
    let rows = pipeline.settled(usize::from(count));
    let names: Vec<String> = (1..=count).map(|n| format!("app-{n:02}")).collect();
    assert_eq!(field(&rows, "state"), vec!["done"; names.len()], "{rows:?}");
    assert_eq!(host.lines("ran"), names, "in order, once each");
    for (n, name) in (1..=count).zip(&names) {
        holds(&host.file(format!("in/{name}")), &vec![n; 200_000]);
    }
    assert_eq!(host.list("in"), names, "no temporary file stays");
}

/// Asserts that these calls were made in this order; each is told by what its line holds.
#[track_caller]
fn in_order(calls: &[String], wanted: &[(&str, &str)]) {
    let mut at = 0;
    for (call, path) in wanted {
        let found = calls[at..]
            .iter()
            .position(|line| line.contains(call) && line.contains(path));
        let found = found.unwrap_or_else(|| {
            panic!(
                "no {call} of {path} from line {at} on:\n{}",
                calls.join("\n")
            )
        });
        at += found + 1;
    }
}

#[test]
fn what_is_renamed_is_synced_before_and_its_directory_afterwards() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    let deep = pipeline.env.path("var/deep/state");
    let text = format!("[auto-dispatcher]\nstate_dir = {}\n", deep.display());
    pipeline
        .env
        .write("repository/conf/auto-dispatcher.cfg", text);
    pipeline.rules(&[host.rule("app")]);
    let file = pipeline.env.write("app", "the bytes");
    let trace = pipeline.env.path("trace");
    let ours = pipeline.command(&["send", file.to_str().unwrap()]);
    let mut strace = Command::new("strace");
    strace
        .args([
            "-f",
            "-y",
            "-e",
            "trace=mkdir,fsync,fdatasync,rename,renameat,renameat2,write",
        ])
        .args(["-s", "16", "-o"])
        .arg(&trace);
    run_under(&mut strace, &ours);
    // (Debian package strace)
    Ran::of(&mut strace).exits(0);
    let text = std::fs::read_to_string(trace).expect("the trace");
    let calls: Vec<String> = text.lines().map(str::to_owned).collect();
    in_order(
        &calls,
        &[("mkdir(", "/var/deep/state\""), ("sync(", "/var/deep>")],
    );
    in_order(
        &calls,
        &[("mkdir(", "/var/deep/state\""), ("sync(", "/var>")],
    );
    in_order(
        &calls,
        &[
            ("sync(", "/journal.new>"),
            ("rename", "/journal.sqlite\""),
            ("sync(", "/var/deep/state>"),
            ("write(", "/spool/incoming-"),
            ("sync(", "/spool/incoming-"),
            ("rename", "/spool/incoming-"),
            ("sync(", "/spool>"),
            ("sync(", "/journal.sqlite-wal>"),
        ],
    );
    in_order(
        &calls,
        &[
            ("write(", "/known_hosts>"),
            ("sync(", "/known_hosts>"),
            ("sync(", "/var/deep/state>"),
        ],
    );
}

#[test]
fn packages_that_are_exported_together_are_synced_before_they_are_named_and_noted() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app")]);
    let names: Vec<String> = (0..20).map(|n| format!("app-{n}")).collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .map(|name| (name.as_str(), name.as_bytes()))
        .collect();
    pipeline.commit(&files);
    let trace = pipeline.env.path("trace");
    let ours = pipeline.command(&["replay", pipeline.repository(), "1"]);
    let mut strace = Command::new("strace");
    strace
        .args([
            "-f",
            "-y",
            "-e",
            "trace=fsync,rename,renameat,renameat2,write",
        ])
        .args(["-s", "200", "-o"])
        .arg(&trace);
    run_under(&mut strace, &ours);
    Ran::of(&mut strace).exits(0);
    let text = std::fs::read_to_string(trace).expect("the trace");
    let calls: Vec<String> = text.lines().map(str::to_owned).collect();
    let is_rename = |line: &&String| line.contains("rename") && line.contains("/spool/incoming-");
    let renames: Vec<&String> = calls.iter().filter(is_rename).collect();
    assert_eq!(renames.len(), names.len(), "{}", calls.join("\n"));
    for rename in renames {
        let name = rename.split("/spool/").nth(1).expect("a name");
        let name = name.split('"').next().expect("its end");
        let file = format!("/spool/{name}>");
        in_order(
            &calls,
            &[
                ("write(", &file),
                ("sync(", &file),
                ("rename", name),
                ("sync(", "/spool>"),
                ("sync(", "/journal.sqlite-wal>"),
            ],
        );
    }
    // One sync of the directory for all of them.
    let of_names = calls
        .iter()
        .filter(|line| line.contains("fsync(") && line.contains("/spool>"));
    assert_eq!(of_names.count(), 1, "{}", calls.join("\n"));
}
