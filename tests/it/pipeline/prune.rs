//! `keep_history`: what was settled long ago goes, with its bytes; what somebody may still need stays.

use std::fs;

use auto_dispatcher::domain::delivery::State;
use rusqlite::Connection;

use super::Pipeline;
use super::host::Host;

const TABLES: [&str; 4] = ["deliveries", "attempts", "packages", "leftovers"];

/// Makes everything that is in the journal two days older.
fn age(pipeline: &Pipeline) {
    let connection = Connection::open(pipeline.state().join("journal.sqlite")).expect("SQLite");
    connection
        .execute_batch(
            "UPDATE batches SET planned_at = planned_at - 172800000;
             UPDATE deliveries SET settled_at = settled_at - 172800000",
        )
        .expect("aged");
}

fn spooled(pipeline: &Pipeline) -> usize {
    let entries = fs::read_dir(pipeline.state().join("spool")).expect("readable");
    entries
        .filter(|entry| entry.as_ref().expect("entry").file_name().len() == 64)
        .count()
}

#[test]
fn what_was_settled_longer_ago_than_keep_history_goes_and_is_never_dispatched_again() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[
        host.rule("app"),
        host.rule("bad").with("install_command", "exit 7"),
    ]);
    pipeline.settings("keep_history = 1d");
    pipeline.commit(&[("app", b"1"), ("bad", b"2"), ("stranger", b"3")]);
    pipeline.settled(2);
    pipeline
        .ad(&["replay", pipeline.repository(), "1"])
        .exits(1);
    let file = pipeline.env.write("app-2", "x");
    pipeline
        .ad(&["send", file.to_str().expect("UTF-8")])
        .exits(0);
    pipeline.no_worker_lives();
    assert_eq!(spooled(&pipeline), 1, "what failed keeps its artifact");
    // Not yet.
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    assert_eq!(pipeline.history().len(), 5);
    age(&pipeline);
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    for table in TABLES {
        let count = pipeline.sql(&format!("SELECT count(*) FROM {table}"));
        assert_eq!(count, [Some(0)], "{table}");
    }
    let ledger = pipeline.sql("SELECT revision FROM batches WHERE pruned_at IS NOT NULL");
    assert_eq!(ledger, [Some(1)]);
    assert_eq!(pipeline.sql("SELECT count(*) FROM batches"), [Some(1)]);
    assert_eq!(spooled(&pipeline), 0);
    // A hook that comes late, or twice.
    pipeline
        .ad(&["hook", pipeline.repository(), "1", "--wait"])
        .exits(0);
    assert!(pipeline.history().is_empty());
    let status = pipeline.ad(&["status"]).exits(0);
    assert!(status.stdout.contains("r1 recorded"), "{status}");
}

#[test]
fn what_is_open_or_holds_up_a_lane_stays_however_old_it_is() {
    let mut host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.settings("keep_history = 1d");
    pipeline.rules(&[
        host.rule("bad")
            .with("install_command", "exit 7")
            .with("on_failure", "stop"),
        host.rule("good"),
        host.rule("elsewhere")
            .with("host", "127.0.0.2")
            .with("retry_delay", "10m"),
        host.rule("old").with("host", "127.0.0.3"),
    ]);
    let send = |name: &str, code| {
        let file = pipeline.env.write(name, name);
        pipeline
            .ad(&["send", file.to_str().expect("UTF-8")])
            .exits(code);
    };
    send("old", 0);
    send("bad", 1);
    send("good", 1);
    host.stop();
    let file = pipeline.env.write("elsewhere", "x");
    let sending = pipeline.spawn(&["send", file.to_str().expect("UTF-8")]);
    pipeline.awaits("elsewhere", State::Waiting);
    sending.terminate();
    drop(sending);
    age(&pipeline);
    // A worker that has looked for what it may prune says so by what it took.
    let worker = pipeline.spawn(&["worker"]);
    crate::testenv::wait_until("the old one is pruned", super::LIMIT, || {
        pipeline.history().len() == 3
    });
    drop(worker);
    for (package, state) in [
        ("bad", "failed"),
        ("good", "queued"),
        ("elsewhere", "waiting"),
    ] {
        assert_eq!(pipeline.delivery(package)["state"], state);
    }
    assert_eq!(spooled(&pipeline), 3);
}
