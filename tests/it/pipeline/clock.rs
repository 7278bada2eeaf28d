//! The wall clock jumps: what waits goes all the same, and not more often than it should.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use auto_dispatcher::domain::delivery::State;

use super::host::Host;
use super::{LIMIT, Pipeline};
use crate::testenv::wait_until;

/// A worker whose clock a file shifts.
struct Clock<'a> {
    pipeline: &'a Pipeline,
    worker: Child,
}

const SHIFT: &str = "shift";

/// What `faketime` preloads; its own command line takes one time alone.
fn library() -> PathBuf {
    let of_machine = |entry: std::fs::DirEntry| entry.path().join("faketime/libfaketimeMT.so.1");
    let entries = std::fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let mut places = entries.map(of_machine);
    places
        .find(|path| path.exists())
        .expect("libfaketimeMT.so.1 (Debian package faketime)")
}

impl<'a> Clock<'a> {
    fn start(pipeline: &'a Pipeline, shift: &str) -> Self {
        set(pipeline, shift);
        let worker = pipeline
            .command(&["worker"])
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", pipeline.env.path(SHIFT))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary");
        Self { pipeline, worker }
    }

    fn jump(&self, shift: &str) {
        set(self.pipeline, shift);
    }
}

impl Drop for Clock<'_> {
    fn drop(&mut self) {
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

fn set(pipeline: &Pipeline, shift: &str) {
    // Renamed, for it is read at any moment.
    let new = pipeline.env.write("shift.new", format!("{shift}\n"));
    std::fs::rename(new, pipeline.env.path(SHIFT)).expect("rename");
}

/// A recorded package for a host that is down, whose first attempt is over and whose next one is far away.
fn waiting(host: &Host) -> Pipeline {
    let pipeline = Pipeline::bare();
    pipeline.rules(&[
        host.rule("app")
            .with("retries", 3)
            .with("retry_delay", "5m"),
        Host::rule(host, "other").with("host", "127.0.0.2"),
    ]);
    pipeline.commit(&[("app", b"x")]);
    pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
    pipeline.awaits("app", State::Waiting);
    for pid in pipeline.workers() {
        super::signal(pid, rustix::process::Signal::KILL);
    }
    pipeline.no_worker_lives();
    pipeline
}

fn due_at(pipeline: &Pipeline) -> i64 {
    pipeline.sql("SELECT due_at FROM deliveries")[0].expect("a time")
}

#[test]
fn a_clock_that_jumps_back_a_day_stalls_no_retry() {
    let mut host = Host::down();
    let pipeline = waiting(&host);
    host.resume();
    let due = due_at(&pipeline);
    let clock = Clock::start(&pipeline, "+0");
    wait_until("the worker lives", LIMIT, || !pipeline.workers().is_empty());
    assert_eq!(pipeline.delivery("app")["state"], "waiting");
    clock.jump("-1d");
    pipeline.awaits("app", State::Done);
    let ended = pipeline.sql("SELECT ended_at FROM attempts WHERE number = 2")[0];
    assert!(
        ended.expect("an end") < due - 80_000_000,
        "the clock did not jump"
    );
}

#[test]
fn a_clock_that_jumps_forward_costs_one_attempt_and_no_more() {
    let mut host = Host::down();
    let pipeline = waiting(&host);
    let first = due_at(&pipeline);
    let _clock = Clock::start(&pipeline, "+1d");
    wait_until("the second attempt is over", LIMIT, || {
        pipeline.sql("SELECT attempts FROM deliveries WHERE state = 'waiting' AND attempts > 1")
            == [Some(2)]
    });
    assert!(
        due_at(&pipeline) > first + 80_000_000,
        "the clock did not jump"
    );
    host.resume();
    // The worker goes on and does something else: it had every chance to try again.
    pipeline.commit(&[("other", b"y")]);
    pipeline.ad(&["hook", pipeline.repository(), "2"]).exits(0);
    pipeline.awaits("other", State::Done);
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["attempts"]),
        (&"waiting".into(), &2.into()),
        "{row}"
    );
}
