//! The spool: what lies in it is checked before it is used, it never holds more than it may, and what waits
//! for room goes on by itself.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use auto_dispatcher::domain::delivery::State;

use super::host::Host;
use super::{LIMIT, Pipeline, field, holds};
use crate::testenv::wait_until;

const PART: usize = 700_000;
const SPOOL_MAX: u64 = 1 << 20;

/// A pipeline whose spool holds one package of [`PART`] bytes, but not two.
fn tight() -> Pipeline {
    let pipeline = Pipeline::bare();
    pipeline.settings(&format!("spool_max = {SPOOL_MAX}"));
    pipeline
}

fn log(pipeline: &Pipeline) -> String {
    std::fs::read_to_string(pipeline.state().join("auto-dispatcher.log")).unwrap_or_default()
}

/// The names of the artifacts, whole ones and those in the making.
fn artifacts(pipeline: &Pipeline) -> Vec<String> {
    let entries = std::fs::read_dir(pipeline.state().join("spool")).expect("the spool");
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect()
}

/// Changes a byte of the only artifact and leaves its size.
fn spoil(pipeline: &Pipeline) {
    let names = artifacts(pipeline);
    assert_eq!(names.len(), 1, "{names:?}");
    let path = pipeline.state().join("spool").join(&names[0]);
    let first = std::fs::read(&path).unwrap()[0];
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[first ^ 1], 0).unwrap();
}

#[test]
fn a_spoilt_artifact_is_found_out_before_the_upload_and_exported_again() {
    let mut host = Host::down();
    let pipeline = Pipeline::new(&[host.rule("app").with("retries", 50)]);
    pipeline.commit(&[("app", b"the bytes")]);
    pipeline.awaits("app", State::Waiting);
    spoil(&pipeline);
    host.resume();
    assert_eq!(field(&pipeline.settled(1), "state"), ["done"]);
    holds(&host.file("in/app"), b"the bytes");
    let log = log(&pipeline);
    assert!(log.contains("a damaged copy of app"), "{log}");
    assert!(!log.contains("digest"), "it never left this machine: {log}");
}

#[test]
fn a_spoilt_copy_of_a_sent_file_fails_for_good_and_says_what_to_do() {
    let mut host = Host::down();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app").with("retries", 50)]);
    let file = pipeline.env.write("app", "the bytes");
    let mut sending = pipeline.spawn(&["send", file.to_str().unwrap()]);
    pipeline.awaits("app", State::Waiting);
    spoil(&pipeline);
    host.resume();
    assert_eq!(sending.ends(), Some(1));
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["fault"]),
        (&"failed".into(), &"permanent".into())
    );
    let error = row["error"].as_str().unwrap();
    assert!(error.contains("damaged copy"), "{error}");
    assert!(error.contains("SHA-256"), "{error}");
    assert!(error.ends_with("send the file again"), "{error}");
    assert!(host.list("in").is_empty());
    assert!(artifacts(&pipeline).is_empty());
}

#[test]
fn what_finds_no_room_waits_while_other_lanes_go_on_and_goes_when_there_is_some() {
    let mut slow = Host::down();
    let host = Host::up();
    let pipeline = tight();
    // What goes on by itself does not go on because its time has come.
    let lane = |name: &str, address: &str| {
        let rule = host.rule(name).with("host", address).with("retries", 0);
        rule.with("retry_delay", "1h")
    };
    pipeline.rules(&[
        slow.rule("first").with("retries", 50),
        lane("second", "127.0.0.2"),
        lane("small", "127.0.0.3"),
    ]);
    pipeline.install_hook();
    // Nobody can give its bytes again, so it stays.
    let file = pipeline.env.write("first", vec![b'1'; PART]);
    let mut sending = pipeline.spawn(&["send", file.to_str().unwrap()]);
    pipeline.awaits("first", State::Waiting);
    pipeline.commit(&[("second", &vec![b'2'; PART])]);
    let waiting = pipeline.awaits("second", State::Waiting);
    let error = waiting["error"].as_str().unwrap();
    for part in [
        "no room for 700000 bytes",
        "700000 of spool_max 1048576",
        "status",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(waiting["step"], "export", "{waiting}");
    let shown = pipeline.ad(&["status"]).exits(0);
    assert!(shown.stdout.contains("spool_max 1048576"), "{shown}");
    pipeline.commit(&[("small", b"x")]);
    pipeline.awaits("small", State::Done);
    assert_eq!(pipeline.delivery("second")["state"], "waiting");
    slow.resume();
    assert_eq!(sending.ends(), Some(0));
    let rows = pipeline.settled(3);
    assert_eq!(field(&rows, "state"), ["done"; 3]);
    holds(&host.file("in/second"), &vec![b'2'; PART]);
    let tries = pipeline.sql("SELECT tries_used FROM deliveries WHERE package = 'second'");
    assert_eq!(tries, [Some(1)], "waiting for room uses up no attempts");
}

#[test]
fn what_was_sent_and_waits_behind_another_package_leaves_it_room() {
    let mut host = Host::down();
    let pipeline = tight();
    let rule = host.rule("app").with("retries", 50);
    pipeline.rules(&[rule.with("retry_delay", 5)]);
    pipeline.install_hook();
    pipeline.commit(&[("app-1", &vec![b'1'; PART])]);
    pipeline.awaits("app-1", State::Waiting);
    // The first one's bytes go, for its repository has them.
    let file = pipeline.env.write("app-2", vec![b'2'; PART]);
    let mut sending = pipeline.spawn(&["send", file.to_str().unwrap()]);
    pipeline.awaits("app-2", State::Queued);
    host.resume();
    assert_eq!(sending.ends(), Some(0));
    assert_eq!(field(&pipeline.settled(2), "state"), ["done"; 2]);
    holds(&host.file("in/app-1"), &vec![b'1'; PART]);
    holds(&host.file("in/app-2"), &vec![b'2'; PART]);
}

#[test]
fn what_waits_for_a_host_keeps_no_room_from_others_if_its_repository_has_it() {
    let mut slow = Host::down();
    let host = Host::up();
    let pipeline = tight();
    pipeline.rules(&[
        slow.rule("first").with("retries", 50),
        host.rule("second").with("host", "127.0.0.2"),
    ]);
    pipeline.install_hook();
    pipeline.commit(&[("first", &vec![b'1'; PART])]);
    pipeline.awaits("first", State::Waiting);
    pipeline.commit(&[("second", &vec![b'2'; PART])]);
    pipeline.awaits("second", State::Done);
    assert!(log(&pipeline).contains("the spool is short of room"));
    slow.resume();
    assert_eq!(field(&pipeline.settled(2), "state"), ["done"; 2]);
    holds(&slow.file("in/first"), &vec![b'1'; PART]);
}

#[test]
fn what_failed_makes_room_if_its_repository_has_it() {
    let host = Host::up();
    let pipeline = tight();
    std::fs::write(host.file("file"), "").unwrap();
    pipeline.rules(&[
        host.rule("bad")
            .with("dest_dir", host.file("file/x").display()),
        host.rule("good"),
    ]);
    pipeline.install_hook();
    pipeline.commit(&[("bad", &vec![b'1'; PART])]);
    pipeline.awaits("bad", State::Failed);
    assert_eq!(artifacts(&pipeline).len(), 1, "kept for a retry");
    pipeline.commit(&[("good", &vec![b'2'; PART])]);
    pipeline.awaits("good", State::Done);
}

#[test]
fn a_package_larger_than_the_spool_waits_and_says_so_until_the_limit_is_raised() {
    let host = Host::up();
    let pipeline = tight();
    pipeline.rules(&[host.rule("app")]);
    pipeline.install_hook();
    let bytes = vec![b'x'; 2 * PART];
    pipeline.commit(&[("app", &bytes)]);
    let waiting = pipeline.awaits("app", State::Waiting);
    let error = waiting["error"].as_str().unwrap();
    assert!(
        error.contains("1400000 bytes are more than the spool"),
        "{error}"
    );
    assert!(error.contains("raise spool_max"), "{error}");
    for pid in pipeline.workers() {
        super::signal(pid, rustix::process::Signal::TERM);
    }
    pipeline.no_worker_lives();
    pipeline.settings("spool_max = 2M");
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    assert_eq!(pipeline.delivery("app")["state"], "done");
    holds(&host.file("in/app"), &bytes);
}

#[test]
fn files_that_find_no_room_are_not_sent_and_leave_nothing() {
    let host = Host::up();
    let pipeline = tight();
    pipeline.rules(&[host.rule("app")]);
    let paths: Vec<String> = (1..=2)
        .map(|n| {
            let file = pipeline.env.write(format!("app-{n}"), vec![n; PART]);
            file.to_str().unwrap().to_owned()
        })
        .collect();
    let ran = pipeline.ad(&["send", &paths[0], &paths[1]]).exits(5);
    for part in [
        "app-2",
        "no room for 700000 bytes",
        "nothing was sent",
        "spool_max",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {ran}");
    }
    assert!(artifacts(&pipeline).is_empty());
    assert_eq!(pipeline.sql("SELECT count(*) FROM batches"), [Some(0)]);
    pipeline.ad(&["send", &paths[0]]).exits(0);
    pipeline.ad(&["send", &paths[1]]).exits(0);
}

#[test]
fn a_worker_that_begins_with_work_sweeps_what_the_dead_left() {
    let host = Host::down();
    let rule = host.rule("app").with("retries", 50);
    let pipeline = Pipeline::new(&[rule.with("retry_delay", "1h")]);
    pipeline.commit(&[("app", b"x")]);
    pipeline.awaits("app", State::Waiting);
    for pid in pipeline.workers() {
        super::signal(pid, rustix::process::Signal::KILL);
    }
    pipeline.no_worker_lives();
    let half = pipeline.env.write("state/spool/incoming-half", "cut");
    let keep = pipeline.env.write("state/spool/.keep-half", "");
    let worker = pipeline.spawn(&["worker"]);
    wait_until("it is swept", LIMIT, || !half.exists() && !keep.exists());
    assert_eq!(pipeline.delivery("app")["state"], "waiting");
    assert_eq!(artifacts(&pipeline).len(), 1, "what is wanted stays");
    worker.kill();
}

fn size_of(spool: &Path) -> u64 {
    let entries = std::fs::read_dir(spool).expect("the spool").flatten();
    // What is renamed or removed meanwhile is counted once at most.
    let sizes = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
    sizes.sum()
}

#[test]
fn several_workers_together_keep_the_limit_and_finish_everything() {
    let host = Host::up();
    let pipeline = tight();
    let rules: Vec<_> = (0..6)
        .map(|n| {
            host.rule(&format!("app-{n}"))
                .with("host", format!("127.0.0.{}", n % 3 + 1))
                .with("retries", 0)
        })
        .collect();
    pipeline.rules(&rules);
    let part = 400_000;
    for n in 0..6_u8 {
        pipeline.commit(&[(&format!("app-{n}"), &vec![n; part])]);
    }
    let (over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let spool = pipeline.state().join("spool");
            while !over.load(Ordering::SeqCst) {
                if spool.exists() {
                    most.fetch_max(size_of(&spool), Ordering::SeqCst);
                }
            }
        });
        // Each starts a worker, if none lives.
        for revision in 1..=6 {
            let revision = revision.to_string();
            pipeline
                .ad(&["hook", pipeline.repository(), &revision])
                .exits(0);
        }
        let mut workers: Vec<_> = (0..3)
            .map(|_| pipeline.spawn(&["worker", "--until-idle"]))
            .collect();
        for worker in &mut workers {
            worker.ends();
        }
        over.store(true, Ordering::SeqCst);
    });
    wait_until("all is settled", LIMIT, || pipeline.history().len() == 6);
    assert_eq!(field(&pipeline.settled(6), "state"), ["done"; 6]);
    let most = most.load(Ordering::SeqCst);
    assert!(most > 0, "the spool was looked at");
    assert!(most <= SPOOL_MAX, "{most} bytes lay in the spool");
    pipeline.no_worker_lives();
    assert!(artifacts(&pipeline).is_empty());
}
