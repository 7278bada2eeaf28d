//! Uploads that go on where they were cut, counted on the wire; and what is removed from the hosts of attempts
//! that will not go on.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use auto_dispatcher::domain::delivery::State;
use rusqlite::Connection;
use serde_json::json;

use super::host::Host;
use super::rule::Rule;
use super::{LIMIT, Pipeline, holds};
use crate::servers::pyftpdlib::{LOGIN, PASSWORD, Pyftpdlib};
use crate::servers::relay::Relay;
use crate::servers::vsftpd::{self, Vsftpd};
use crate::testenv::{needs_root, wait_until};

const SIZE: usize = 8_000_000;
const CUT_AT: u64 = 5_000_000;
/// More than three eighths of the package with everything around it, and clearly less than the package.
const CLEARLY_LESS: u64 = 5_500_000;

fn bytes() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(11);
    std::iter::repeat_with(|| random.u8(..))
        .take(SIZE)
        .collect()
}

fn ftp_rule(port: u16, login: &str, password: &str) -> Rule {
    Rule::new("app")
        .with("host", "127.0.0.1")
        .with("login", login)
        .with("password", password)
        .with("transports", "ftp")
        .with("ftp_port", port)
        .with("dest_dir", "~/in")
        .with("retry_delay", 1)
}

/// Names in a directory, sorted; none where there is no directory.
fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into())
        .collect();
    names.sort();
    names
}

fn parts(dir: &Path) -> usize {
    let is_part = |name: &&String| name.starts_with(".ad-") && name.contains(".part");
    names(dir).iter().filter(is_part).count()
}

/// Brings the package over a line that is cut once, and asserts that little travels afterwards.
fn is_resumed(rule: Rule, relay: &Relay, dir: &Path) {
    let pipeline = Pipeline::bare();
    pipeline.rules(&[rule.with("retries", 0)]);
    let bytes = bytes();
    let file = pipeline.env.write("app", &bytes);
    let mut sending = pipeline.spawn(&["send", file.to_str().unwrap()]);
    relay.is_spent();
    wait_until("the host has written what it got", LIMIT, || {
        let there = names(dir).first().map(|name| fs::metadata(dir.join(name)));
        there.is_some_and(|there| there.expect("a file").len() > CUT_AT - 500_000)
    });
    relay.cut();
    assert_eq!(sending.ends(), Some(1));
    assert_eq!(pipeline.delivery("app")["state"], "failed");
    assert_eq!((parts(dir), names(dir).len()), (1, 1), "{:?}", names(dir));
    assert!(relay.take_count() >= CUT_AT - 100_000);
    decide(&pipeline, &["retry", "--wait"]);
    let row = pipeline.delivery("app");
    assert_eq!(row["state"], "done", "{row}");
    holds(&dir.join("app"), &bytes);
    assert_eq!(names(dir), ["app"]);
    let travelled = relay.take_count();
    eprintln!("{travelled} bytes travelled after the cut");
    assert!(
        travelled < CLEARLY_LESS,
        "{travelled} bytes travelled for the rest"
    );
    let shown = pipeline.show(&row);
    let detail = shown["attempt_list"][1]["detail"].as_str().expect("detail");
    assert!(
        detail.contains("resumed at ") && detail.contains(&format!(" of {SIZE} bytes")),
        "{detail}"
    );
    assert_eq!(leftovers(&pipeline), 0);
}

fn sql(pipeline: &Pipeline, statement: &str) {
    let path = pipeline.state().join("journal.sqlite");
    let connection = Connection::open(path).expect("SQLite");
    connection.busy_timeout(LIMIT).expect("a time-out");
    connection.execute_batch(statement).expect("SQL");
}

/// The operator decides about the first delivery.
fn decide(pipeline: &Pipeline, decision: &[&str]) {
    let id = pipeline.history()[0]["id"].to_string();
    pipeline.ad(&[decision, &[id.as_str()]].concat()).exits(0);
}

fn leftovers(pipeline: &Pipeline) -> i64 {
    pipeline.sql("SELECT count(*) FROM leftovers")[0].expect("a number")
}

#[test]
fn over_sftp_only_the_rest_travels_after_a_cut() {
    let host = Host::up();
    let relay = Relay::to(host.port, CUT_AT);
    let rule = host.rule("app").with("ssh_port", relay.port);
    is_resumed(rule, &relay, &host.file("in"));
}

#[test]
fn without_sftp_only_the_rest_travels_after_a_cut() {
    let host = Host::with("Subsystem sftp /bin/false");
    let relay = Relay::to(host.port, CUT_AT);
    let rule = host.rule("app").with("ssh_port", relay.port);
    is_resumed(rule, &relay, &host.file("in"));
}

#[test]
fn over_ftp_only_the_rest_travels_after_a_cut() {
    let env = crate::testenv::TestEnv::new();
    let ftp = Pyftpdlib::start(env.root(), None, json!({}));
    let relay = Relay::to(ftp.port, CUT_AT);
    let rule = ftp_rule(relay.port, LOGIN, PASSWORD);
    is_resumed(rule, &relay, &ftp.home().join("in"));
}

#[test]
fn on_vsftpd_only_the_rest_travels_after_a_cut() {
    needs_root!();
    let env = crate::testenv::TestEnv::new();
    let ftp = Vsftpd::start(env.root(), None, "");
    let relay = Relay::to(ftp.port, CUT_AT);
    let rule = ftp_rule(relay.port, vsftpd::LOGIN, vsftpd::PASSWORD);
    is_resumed(rule, &relay, &ftp.home().join("in"));
}

#[test]
fn a_stop_leaves_what_arrived_and_the_next_worker_goes_on_behind_it() {
    let env = crate::testenv::TestEnv::new();
    let ftp = Pyftpdlib::start(env.root(), None, json!({"digest": "HASH"}));
    let host = Host::up();
    let by_ftp = Relay::to(ftp.port, 2_000_000);
    let by_ssh = Relay::to(host.port, 2_000_000);
    let sessions = [
        (
            ftp_rule(by_ftp.port, LOGIN, PASSWORD),
            by_ftp,
            ftp.home().join("in"),
        ),
        (
            host.rule("app").with("ssh_port", by_ssh.port),
            by_ssh,
            host.file("in"),
        ),
    ];
    for (rule, relay, dir) in sessions {
        let pipeline = Pipeline::bare();
        pipeline.rules(&[rule]);
        let bytes = bytes();
        let file = pipeline.env.write("app", &bytes);
        let mut sending = pipeline.spawn(&["send", file.to_str().unwrap()]);
        relay.is_spent();
        wait_until("the host has written what it got", LIMIT, || {
            let there = names(&dir).first().map(|name| fs::metadata(dir.join(name)));
            there.is_some_and(|there| there.expect("a file").len() > 1_500_000)
        });
        sending.terminate();
        assert_eq!(sending.ends(), Some(130));
        assert_eq!(parts(&dir), 1, "{:?}", names(&dir));
        relay.cut();
        pipeline.ad(&["worker", "--until-idle"]).exits(0);
        holds(&dir.join("app"), &bytes);
        assert_eq!(names(&dir), ["app"]);
        let shown = pipeline.show(&pipeline.delivery("app"));
        let detail = shown["attempt_list"][1]["detail"].as_str().expect("detail");
        assert!(detail.contains("resumed at "), "{detail}");
    }
}

/// A worker that was killed in the middle of its upload, and whose delivery is not open any more.
fn dies_in_mid_upload(rule: &Rule, relay: &Relay, dir: &Path, fate: &str) -> Pipeline {
    let pipeline = Pipeline::bare();
    pipeline.rules(std::slice::from_ref(rule));
    let file = pipeline.env.write("app-1", bytes());
    let sending = pipeline.spawn(&["send", file.to_str().unwrap()]);
    relay.is_spent();
    // A connection that is reset takes with it what the host has not read.
    wait_until("the host has made the file", LIMIT, || parts(dir) == 1);
    sending.kill();
    relay.cut();
    assert_eq!(leftovers(&pipeline), 1);
    if fate == "cancelled" {
        // As the next worker does, who finds it.
        sql(&pipeline, "UPDATE deliveries SET state = 'queued'");
        decide(&pipeline, &["cancel"]);
    } else {
        sql(
            &pipeline,
            &format!("UPDATE deliveries SET state = '{fate}', settled_at = 1"),
        );
    }
    pipeline
}

fn next_one_removes_it(pipeline: &Pipeline, dir: &Path, stay: &[&str]) {
    let file = pipeline.env.write("app-2", "x");
    pipeline.ad(&["send", file.to_str().unwrap()]).exits(0);
    assert_eq!(names(dir), stay);
    assert_eq!(leftovers(pipeline), 0);
}

#[test]
fn a_temporary_file_of_a_cancelled_delivery_goes_when_its_lane_is_next_worked() {
    let host = Host::up();
    let relay = Relay::to(host.port, 1_000_000);
    let rule = host.rule("app").with("ssh_port", relay.port);
    let dir = host.file("in");
    let pipeline = dies_in_mid_upload(&rule, &relay, &dir, "cancelled");
    next_one_removes_it(&pipeline, &dir, &["app-2"]);
}

#[test]
fn over_ftp_it_goes_too() {
    let env = crate::testenv::TestEnv::new();
    let ftp = Pyftpdlib::start(env.root(), None, json!({}));
    let relay = Relay::to(ftp.port, 1_000_000);
    let rule = ftp_rule(relay.port, LOGIN, PASSWORD);
    let dir = ftp.home().join("in");
    let pipeline = dies_in_mid_upload(&rule, &relay, &dir, "failed");
    next_one_removes_it(&pipeline, &dir, &["app-2"]);
}

#[test]
fn a_temporary_file_of_a_delivery_that_failed_meanwhile_goes() {
    let mut host = Host::up();
    let relay = Relay::to(host.port, 1_000_000);
    let rule = host
        .rule("app")
        .with("ssh_port", relay.port)
        .with("retries", 0);
    let dir = host.file("in");
    let pipeline = dies_in_mid_upload(&rule, &relay, &dir, "queued");
    host.stop();
    pipeline.ad(&["worker", "--until-idle"]).exits(1);
    assert_eq!(pipeline.delivery("app-1")["state"], "failed");
    assert_eq!(parts(&dir), 1);
    host.resume();
    next_one_removes_it(&pipeline, &dir, &["app-2"]);
}

#[test]
fn another_transport_leaves_alone_what_it_did_not_leave() {
    let host = Host::up();
    let relay = Relay::to(host.port, 1_000_000);
    let rule = host.rule("app").with("ssh_port", relay.port);
    let dir = host.file("in");
    let pipeline = dies_in_mid_upload(&rule, &relay, &dir, "failed");
    let ftp = Pyftpdlib::start(
        pipeline.env.root(),
        None,
        json!({"login": super::host::me()}),
    );
    pipeline.rules(&[rule
        .with("transports", "ftp")
        .with("password", PASSWORD)
        .with("ftp_port", ftp.port)
        .with("dest_dir", "~/in")]);
    let file = pipeline.env.write("app-3", "x");
    pipeline.ad(&["send", file.to_str().unwrap()]).exits(0);
    sql(
        &pipeline,
        "UPDATE leftovers SET lane = (SELECT lane FROM deliveries ORDER BY id DESC LIMIT 1)",
    );
    let file = pipeline.env.write("app-4", "x");
    pipeline.ad(&["send", file.to_str().unwrap()]).exits(0);
    assert_eq!((parts(&dir), leftovers(&pipeline)), (1, 1));
    assert!(!ftp.commands().iter().any(|line| line.starts_with("DELE")));
}

#[test]
fn what_cannot_be_removed_is_told_once_and_is_nobodys_fault() {
    let env = crate::testenv::TestEnv::new();
    let ftp = Pyftpdlib::start(env.root(), None, json!({"refuse": {"DELE": "550 Never."}}));
    let relay = Relay::to(ftp.port, 1_000_000);
    let rule = ftp_rule(relay.port, LOGIN, PASSWORD);
    let dir = ftp.home().join("in");
    let pipeline = dies_in_mid_upload(&rule, &relay, &dir, "failed");
    for name in ["app-2", "app-3"] {
        let file = pipeline.env.write(name, "x");
        pipeline.ad(&["send", file.to_str().unwrap()]).exits(0);
    }
    let deletions = ftp.commands();
    let deletions = deletions.iter().filter(|line| line.starts_with("DELE"));
    assert_eq!(deletions.count(), 1);
    assert_eq!((parts(&dir), leftovers(&pipeline)), (1, 0));
    let log = fs::read_to_string(pipeline.state().join("auto-dispatcher.log")).expect("the log");
    assert_eq!(log.matches("550 Never.").count(), 1, "{log}");
}

/// Sends a package; the process is killed at a fail point.
fn dies_at(pipeline: &Pipeline, point: &str, name: &str, bytes: &[u8]) {
    let file = pipeline.env.write(name, bytes);
    let ran = pipeline
        .command(&["send", file.to_str().unwrap()])
        .env("AUTO_DISPATCHER_FAIL_POINT", point)
        .stderr(Stdio::null())
        .status()
        .expect("the binary");
    assert_eq!(ran.code(), None, "not killed at {point}");
}

#[test]
fn an_upload_that_was_complete_when_the_worker_died_is_taken_over() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app")]);
    let bytes = bytes();
    dies_at(&pipeline, "attempt.uploaded", "app", &bytes);
    assert_eq!(parts(&host.file("in")), 1);
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    holds(&host.file("in/app"), &bytes);
    assert_eq!(host.list("in"), ["app"]);
    let shown = pipeline.show(&pipeline.delivery("app"));
    let detail = shown["attempt_list"][1]["detail"].as_str().expect("detail");
    assert!(detail.contains("resumed at 79"), "{detail}");
}

#[test]
fn the_first_attempt_asks_nothing_about_what_is_there() {
    let env = crate::testenv::TestEnv::new();
    let ftp = Pyftpdlib::start(env.root(), None, json!({}));
    let pipeline = Pipeline::bare();
    pipeline.rules(&[ftp_rule(ftp.port, LOGIN, PASSWORD)]);
    for name in ["app-1", "app-2"] {
        let file = pipeline.env.write(name, "x");
        pipeline.ad(&["send", file.to_str().unwrap()]).exits(0);
    }
    let commands = ftp.commands();
    let count = |verb: &str| {
        commands
            .iter()
            .filter(|line| line.starts_with(verb))
            .count()
    };
    assert_eq!((count("STOR"), count("SIZE")), (2, 2), "{commands:?}");
    assert_eq!((count("REST"), count("DELE")), (0, 0), "{commands:?}");
}

/// A process that was killed at a fail point, when the host had a record of the install of `app-1`.
fn leaves_a_record(point: &str) -> (Host, Pipeline) {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app").with("install_command", "true")]);
    dies_at(&pipeline, point, "app-1", b"x");
    assert_eq!(names(&host.file(".auto-dispatcher")).len(), 1);
    (host, pipeline)
}

#[test]
fn the_record_of_an_install_whose_outcome_is_had_goes_when_the_lane_is_next_worked() {
    let (host, pipeline) = leaves_a_record("lane.settled");
    assert_eq!(pipeline.delivery("app-1")["state"], "done");
    next_one_removes_it(&pipeline, &host.file("in"), &["app-1", "app-2"]);
    assert!(!host.file(".auto-dispatcher").exists());
}

#[test]
fn the_record_of_an_install_that_never_began_goes_with_its_cancelled_delivery() {
    let (host, pipeline) = leaves_a_record("attempt.install_prepared");
    // As the next worker does, who finds it.
    sql(&pipeline, "UPDATE deliveries SET state = 'queued'");
    decide(&pipeline, &["cancel"]);
    next_one_removes_it(&pipeline, &host.file("in"), &["app-1", "app-2"]);
    assert!(!host.file(".auto-dispatcher").exists());
}

#[test]
fn the_record_of_an_unknown_install_stays_until_that_is_dismissed() {
    let mut host = Host::up();
    let pipeline = Pipeline::bare();
    let rule = host.rule("app").with("retries", 0);
    pipeline.rules(&[rule.clone().with("install_command", host.long_command())]);
    let file = pipeline.env.write("app-1", "x");
    let sending = pipeline.spawn(&["send", file.to_str().unwrap()]);
    wait_until("the command began", LIMIT, || host.file("began").exists());
    sending.kill();
    host.stop();
    pipeline.ad(&["worker", "--until-idle"]).exits(1);
    assert_eq!(pipeline.delivery("app-1")["state"], "unknown");
    host.go();
    wait_until("the command has ended", LIMIT, || {
        let records = names(&host.file(".auto-dispatcher"));
        let record = &records[0];
        host.file(format!(".auto-dispatcher/{record}/status"))
            .exists()
    });
    host.resume();
    pipeline.rules(&[rule]);
    let send = |name: &str| {
        let file = pipeline.env.write(name, "x");
        pipeline.ad(&["send", file.to_str().unwrap()]).exits(0);
    };
    send("app-2");
    assert_eq!(names(&host.file(".auto-dispatcher")).len(), 1);
    assert_eq!(leftovers(&pipeline), 1);
    decide(&pipeline, &["dismiss"]);
    send("app-3");
    assert!(!host.file(".auto-dispatcher").exists());
    assert_eq!(leftovers(&pipeline), 0);
}

#[test]
fn the_record_of_a_command_that_still_runs_stays_whoever_dismisses_it_and_a_retry_runs_no_second_one()
 {
    let mut host = Host::up();
    let pipeline = Pipeline::bare();
    let rule = host.rule("app").with("retries", 0);
    pipeline.rules(&[rule.clone().with("install_command", host.long_command())]);
    let file = pipeline.env.write("app-1", "x");
    let sending = pipeline.spawn(&["send", file.to_str().unwrap()]);
    wait_until("the command began", LIMIT, || host.file("began").exists());
    sending.kill();
    host.stop();
    pipeline.ad(&["worker", "--until-idle"]).exits(1);
    host.resume();
    pipeline.rules(&[rule]);
    decide(&pipeline, &["dismiss"]);
    let next = pipeline.env.write("app-2", "x");
    pipeline.ad(&["send", next.to_str().unwrap()]).exits(0);
    assert_eq!(names(&host.file(".auto-dispatcher")).len(), 1);
    assert_eq!(leftovers(&pipeline), 1);
    let retrying = pipeline.spawn(&["retry", "1", "--wait"]);
    pipeline.awaits("app-1", State::Running);
    host.go();
    assert_eq!({ retrying }.ends(), Some(0));
    let row = pipeline.delivery("app-1");
    assert_eq!(
        (&row["state"], &row["exit_status"]),
        (&"done".into(), &0.into())
    );
    assert_eq!(host.lines("ran").len(), 1, "nothing ran beside it");
    assert!(!host.file(".auto-dispatcher").exists());
}
