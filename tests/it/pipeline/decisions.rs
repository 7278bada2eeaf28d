//! `retry`, `cancel` and `dismiss`, on real hosts: what is done is not redone, what is decided holds.

use std::fs;

use auto_dispatcher::domain::delivery::State;
use serde_json::Value;

use super::host::Host;
use super::{LIMIT, Pipeline, field, holds, inode};
use crate::testenv::{Ran, wait_until};

/// A command that counts its runs in `ran` and fails until somebody makes `go`.
fn failing(host: &Host) -> String {
    let home = host.home();
    let home = home.display();
    format!("echo $AD_DELIVERY >> {home}/ran; [ -e {home}/go ] || exit 7")
}

fn decide(pipeline: &Pipeline, command: &str, row: &Value, more: &[&str]) -> Ran {
    let id = row["id"].to_string();
    let mut args = vec![command, &id];
    args.extend(more);
    pipeline.ad(&args)
}

fn send(pipeline: &Pipeline, name: &str, code: i32) -> Value {
    let file = pipeline.env.write(name, name);
    let sent = pipeline.ad(&["send", file.to_str().expect("UTF-8")]);
    sent.exits(code);
    pipeline.delivery(name)
}

/// A host, and a delivery to it that is unknown: its command runs there, but the host is gone.
fn unknown() -> (Host, Pipeline, Value) {
    let mut host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host
        .rule("app")
        .with("retries", 0)
        .with("install_command", host.long_command())]);
    let file = pipeline.env.write("app", "x");
    let sending = pipeline.spawn(&["send", file.to_str().expect("UTF-8")]);
    wait_until("the command began", LIMIT, || host.file("began").exists());
    sending.kill();
    host.stop();
    pipeline.ad(&["worker", "--until-idle"]).exits(1);
    let row = pipeline.delivery("app");
    assert_eq!(row["state"], "unknown", "{row}");
    assert!(
        row["error"]
            .as_str()
            .is_some_and(|error| error.contains("`retry`"))
    );
    host.resume();
    (host, pipeline, row)
}

/// Removes the host's record of the command that began last, as a restored home does.
fn lose_outcome(host: &Host) {
    let mut tokens = host.list(".auto-dispatcher");
    let token = tokens.pop().expect("a record");
    fs::remove_dir_all(host.file(format!(".auto-dispatcher/{token}"))).expect("removed");
}

#[test]
fn a_retried_install_runs_once_more_and_nothing_is_uploaded_again() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app").with("install_command", failing(&host))]);
    pipeline.commit(&[("app", b"x")]);
    let row = pipeline.settled(1).remove(0);
    assert_eq!(
        (&row["state"], &row["exit_status"]),
        (&"failed".into(), &7.into())
    );
    let uploaded = inode(&host.file("in/app"));
    host.go();
    let ran = decide(&pipeline, "retry", &row, &[]).exits(0);
    assert!(
        ran.stdout
            .contains("at the install; the command runs again"),
        "{ran}"
    );
    let row = pipeline.settled(1).remove(0);
    assert_eq!(
        (&row["state"], &row["attempts"]),
        (&"done".into(), &2.into()),
        "{row}"
    );
    assert_eq!(
        (&row["exit_status"], &row["error"]),
        (&0.into(), &Value::Null)
    );
    assert_eq!(host.lines("ran"), vec![row["id"].to_string(); 2]);
    assert_eq!(
        inode(&host.file("in/app")),
        uploaded,
        "it was uploaded again"
    );
    assert!(!host.file(".auto-dispatcher").exists());
}

#[test]
fn somebody_who_waits_for_a_retry_gets_the_exit_codes_of_replay() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app").with("install_command", failing(&host))]);
    let row = send(&pipeline, "app", 1);
    let ran = decide(&pipeline, "retry", &row, &["--wait"]).exits(1);
    assert!(ran.stdout.contains("exit status 7"), "{ran}");
    assert!(ran.stdout.contains("`retry` runs it again"), "{ran}");
    host.go();
    let ran = decide(&pipeline, "retry", &row, &["--wait"]).exits(0);
    assert!(ran.stdout.contains(" done"), "{ran}");
    assert_eq!(host.lines("ran").len(), 3);
}

#[test]
fn a_retry_of_an_unknown_install_whose_outcome_is_on_the_host_collects_it() {
    let (host, pipeline, row) = unknown();
    host.go();
    let ran = decide(&pipeline, "retry", &row, &["--wait"]).exits(0);
    assert!(
        ran.stdout.contains("only if the host has lost that"),
        "{ran}"
    );
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["exit_status"]),
        (&"done".into(), &0.into()),
        "{row}"
    );
    assert_eq!(host.lines("ran").len(), 1, "the command ran again");
    assert_eq!(
        pipeline.sql("SELECT run + rerun FROM deliveries"),
        [Some(1)]
    );
}

#[test]
fn a_retry_of_an_unknown_install_whose_outcome_is_lost_runs_it_again_once() {
    let (host, pipeline, row) = unknown();
    lose_outcome(&host);
    // Without the operator's word nothing runs again.
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    assert_eq!(host.lines("ran").len(), 1);
    host.go();
    decide(&pipeline, "retry", &row, &["--wait"]).exits(0);
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["exit_status"]),
        (&"done".into(), &0.into()),
        "{row}"
    );
    assert_eq!(host.lines("ran").len(), 2);
    assert_eq!(
        pipeline.sql("SELECT run FROM deliveries WHERE rerun = 0"),
        [Some(2)]
    );
    assert!(
        !host.file(".auto-dispatcher").exists(),
        "both records are gone"
    );
}

#[test]
fn one_retry_starts_a_command_once_also_when_workers_die_and_its_outcome_is_lost_again() {
    let (host, pipeline, row) = unknown();
    lose_outcome(&host);
    let id = row["id"].to_string();
    // The old outcome is lost, and it is about to run again.
    let mut command = pipeline.command(&["retry", &id, "--wait"]);
    command.env("AUTO_DISPATCHER_FAIL_POINT", "attempt.install_noted");
    let mut killed = Pipeline::started(command);
    assert_eq!(killed.ends(), None, "it was killed");
    assert_eq!(host.lines("ran").len(), 1);
    let mut worker = pipeline.spawn(&["worker", "--until-idle"]);
    wait_until("it runs again", LIMIT, || host.lines("ran").len() == 2);
    lose_outcome(&host);
    assert_eq!(worker.ends(), Some(1));
    assert_eq!(pipeline.delivery("app")["state"], "unknown");
    assert_eq!(host.lines("ran").len(), 2, "nobody said again");
    host.go();
    decide(&pipeline, "retry", &row, &["--wait"]).exits(0);
    assert_eq!(host.lines("ran").len(), 3);
}

#[test]
fn a_retry_of_what_ran_attached_runs_it_again() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host
        .rule("app")
        .with("install_mode", "plain")
        .with("install_command", host.long_command())]);
    let file = pipeline.env.write("app", "x");
    let sending = pipeline.spawn(&["send", file.to_str().expect("UTF-8")]);
    wait_until("the command began", LIMIT, || host.file("began").exists());
    sending.kill();
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    let row = pipeline.delivery("app");
    assert_eq!(row["state"], "unknown", "{row}");
    host.go();
    decide(&pipeline, "retry", &row, &["--wait"]).exits(0);
    assert_eq!(host.lines("ran").len(), 2);
}

#[test]
fn a_retry_of_a_failed_upload_exports_again_and_delivers() {
    let host = Host::up();
    fs::write(host.file("in"), "in the way").expect("write");
    let pipeline = Pipeline::new(&[host.rule("app").with("install_command", failing(&host))]);
    host.go();
    pipeline.commit(&[("app", b"the bytes")]);
    let row = pipeline.settled(1).remove(0);
    assert_eq!(
        (&row["state"], &row["fault"]),
        (&"failed".into(), &"permanent".into()),
        "{row}"
    );
    // Its artifact is kept; should it be lost, Subversion has the bytes.
    let artifact = format!("spool/{}", row["sha256"].as_str().expect("a digest"));
    fs::remove_file(pipeline.state().join(artifact)).expect("the artifact was kept");
    fs::remove_file(host.file("in")).expect("remove");
    let ran = pipeline.ad(&["retry", "--host", "127.0.0.1"]).exits(0);
    assert!(ran.stdout.contains("from the export on"), "{ran}");
    assert_eq!(pipeline.settled(1)[0]["state"], "done");
    holds(&host.file("in/app"), b"the bytes");
    assert_eq!(host.lines("ran").len(), 1);
    let ran = pipeline.ad(&["retry", "--host", "127.0.0.1"]).exits(0);
    assert!(
        ran.stdout.contains("no delivery to 127.0.0.1 has failed"),
        "{ran}"
    );
}

#[test]
fn a_package_that_a_newer_one_replaced_is_brought_again_only_if_the_operator_insists() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app").with(
        "install_command",
        format!(
            "sha256sum {{path}} | grep -q $AD_SHA256 || exit 9; {}",
            failing(&host)
        ),
    )]);
    pipeline.commit(&[("app", b"first")]);
    assert_eq!(pipeline.settled(1)[0]["exit_status"], 7);
    host.go();
    pipeline.commit(&[("app", b"second")]);
    let rows = pipeline.settled(2);
    assert_eq!(field(&rows, "state"), ["failed", "done"], "{rows:?}");
    let ran = decide(&pipeline, "retry", &rows[0], &["--wait"]).exits(1);
    assert!(ran.stdout.contains("`retry --older`"), "{ran}");
    assert_eq!(pipeline.history()[0]["state"], "failed");
    holds(&host.file("in/app"), b"second");
    decide(&pipeline, "retry", &rows[0], &["--older", "--wait"]).exits(0);
    let row = &pipeline.history()[0];
    assert_eq!(
        (&row["state"], &row["exit_status"]),
        (&"done".into(), &0.into())
    );
    holds(&host.file("in/app"), b"first");
}

#[test]
fn a_cancelled_delivery_lets_the_next_of_its_lane_go() {
    let mut host = Host::down();
    let pipeline = Pipeline::new(&[host.rule("app").with("retry_delay", "10m")]);
    pipeline.commit(&[("app-1", b"1")]);
    pipeline.awaits("app-1", State::Waiting);
    host.resume();
    pipeline.commit(&[("app-2", b"2")]);
    let behind = pipeline.awaits("app-2", State::Queued);
    assert_eq!(behind["attempts"], 0);
    let ran = decide(&pipeline, "cancel", &pipeline.delivery("app-1"), &[]).exits(0);
    assert!(ran.stdout.ends_with(": cancelled\n"), "{ran}");
    let rows = pipeline.settled(2);
    assert_eq!(field(&rows, "state"), ["cancelled", "done"]);
    assert!(rows[0]["settled_at"].is_string(), "{rows:?}");
    assert_eq!(host.list("in"), ["app-2"]);
    let ran = decide(&pipeline, "retry", &rows[0], &[]).exits(1);
    assert!(
        ran.stdout.contains("not retried: it was cancelled"),
        "{ran}"
    );
    assert!(!pipeline.ad(&["status"]).exits(0).stdout.contains("app-1"));
}

#[test]
fn a_cancelled_delivery_whose_command_runs_says_so() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host
        .rule("app")
        .with("install_command", host.long_command())]);
    let file = pipeline.env.write("app", "x");
    let mut sending = pipeline.spawn(&["send", file.to_str().expect("UTF-8")]);
    wait_until("the command began", LIMIT, || host.file("began").exists());
    let running = pipeline.delivery("app");
    let ran = decide(&pipeline, "cancel", &running, &[]).exits(1);
    assert!(ran.stdout.contains("not cancelled: it is running"), "{ran}");
    sending.terminate();
    assert_eq!(sending.ends(), Some(130));
    let ran = decide(&pipeline, "cancel", &running, &[]).exits(0);
    let expected = "the install command had begun on 127.0.0.1; it is not stopped";
    assert!(ran.stdout.contains(expected), "{ran}");
    host.go();
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    assert_eq!(pipeline.delivery("app")["state"], "cancelled");
}

#[test]
fn a_retry_takes_its_place_in_a_lane_that_is_being_worked() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    let order = format!("echo $AD_PACKAGE >> {}; ", host.file("order").display());
    pipeline.rules(&[
        host.rule("app-1")
            .with("install_command", format!("{order}{}", failing(&host))),
        host.rule("app-2")
            .with("install_command", format!("{order}{}", host.long_command())),
        host.rule("app-3").with("install_command", order.clone()),
    ]);
    let first = send(&pipeline, "app-1", 1);
    let names = ["app-2", "app-3"];
    let files = names.map(|name| pipeline.env.write(name, name));
    let mut sending = pipeline.spawn(&[
        "send",
        files[0].to_str().expect("UTF-8"),
        files[1].to_str().expect("UTF-8"),
    ]);
    wait_until("the second began", LIMIT, || host.file("began").exists());
    decide(&pipeline, "retry", &first, &[]).exits(0);
    assert_eq!(
        pipeline.delivery("app-1")["state"],
        "queued",
        "one at a time"
    );
    host.go();
    assert_eq!(sending.ends(), Some(0));
    let rows = pipeline.settled(3);
    assert_eq!(field(&rows, "state"), ["done"; 3], "{rows:?}");
    assert_eq!(host.lines("order"), ["app-1", "app-2", "app-1", "app-3"]);
}

#[test]
fn a_lane_that_a_failure_stopped_goes_on_after_a_retry_that_succeeds_or_a_dismissal() {
    for decision in ["retry", "dismiss"] {
        let host = Host::up();
        let pipeline = Pipeline::bare();
        pipeline.rules(&[
            host.rule("bad")
                .with("install_command", failing(&host))
                .with("on_failure", "stop"),
            host.rule("good"),
        ]);
        let bad = send(&pipeline, "bad", 1);
        // Held, and so told at once.
        send(&pipeline, "good", 1);
        let id = &bad["id"];
        let status = pipeline.ad(&["status"]).exits(0);
        let hint = format!("`retry {id}` or `dismiss {id}` lets it go on");
        assert!(status.stdout.contains(&hint), "{status}");
        decide(&pipeline, "retry", &bad, &["--wait"]).exits(1);
        pipeline.ad(&["worker", "--until-idle"]).exits(0);
        assert_eq!(pipeline.delivery("good")["state"], "queued", "not before");
        host.go();
        decide(&pipeline, decision, &bad, &[]).exits(0);
        pipeline.awaits("good", State::Done);
        let (state, runs) = match decision {
            "retry" => ("done", 3),
            _ => ("failed", 2),
        };
        assert_eq!(pipeline.delivery("bad")["state"], state);
        assert_eq!(host.lines("ran").len(), runs);
    }
}

#[test]
fn what_is_dismissed_leaves_status_and_spool_and_can_be_retried_still() {
    let host = Host::up();
    fs::write(host.file("in"), "in the way").expect("write");
    let pipeline = Pipeline::new(&[host.rule("app")]);
    pipeline.commit(&[("app-1", b"1")]);
    pipeline.commit(&[("app-2", b"2")]);
    let rows = pipeline.settled(2);
    assert_eq!(field(&rows, "state"), ["failed"; 2]);
    pipeline.no_worker_lives();
    let spooled = || -> Vec<String> {
        let entries = fs::read_dir(pipeline.state().join("spool")).expect("readable");
        let names = entries.map(|entry| entry.expect("entry").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        names.filter(|name| name.len() == 64).collect()
    };
    assert_eq!(spooled().len(), 2);
    decide(&pipeline, "dismiss", &rows[0], &[]).exits(0);
    assert_eq!(spooled(), [rows[1]["sha256"].as_str().expect("a digest")]);
    let unsettled = || -> Vec<Value> {
        let mut rows = pipeline.status();
        rows.retain(|row| row["package"].is_string());
        rows
    };
    assert_eq!(field(&unsettled(), "package"), ["app-2"]);
    let shown = pipeline.show(&rows[0]);
    assert!(shown["dismissed_at"].is_string(), "{shown}");
    assert_eq!(pipeline.show(&rows[1])["dismissed_at"], Value::Null);
    // By revision.
    let ran = pipeline
        .ad(&["dismiss", pipeline.repository(), "1:1"])
        .exits(0);
    assert!(
        ran.stdout.contains("nothing of these revisions waits"),
        "{ran}"
    );
    let ran = pipeline
        .ad(&["dismiss", pipeline.repository(), "1:2", "--json"])
        .exits(0);
    let mut lines = ran.json();
    assert_eq!(lines.remove(0)["unplanned"], 0);
    assert_eq!(field(&lines, "package"), ["app-2"]);
    assert!(unsettled().is_empty() && spooled().is_empty());
    // Subversion has the bytes.
    fs::remove_file(host.file("in")).expect("remove");
    decide(&pipeline, "retry", &rows[0], &["--wait"]).exits(0);
    holds(&host.file("in/app-1"), b"1");
    assert_eq!(pipeline.show(&rows[0])["dismissed_at"], Value::Null);
}

#[test]
fn somebody_who_waits_for_a_retry_is_not_kept_by_what_stands_behind_it() {
    let host = Host::up();
    fs::write(host.file("in"), "in the way").expect("write");
    let pipeline = Pipeline::bare();
    pipeline.rules(&[
        host.rule("bad").with("on_failure", "stop"),
        host.rule("slow")
            .with("dest_dir", host.file("elsewhere").display())
            .with("install_command", host.long_command()),
    ]);
    let bad = send(&pipeline, "bad", 1);
    send(&pipeline, "slow", 1);
    fs::remove_file(host.file("in")).expect("remove");
    decide(&pipeline, "retry", &bad, &["--wait"]).exits(0);
    // That one is a worker's, which was started for it.
    wait_until("the next began", LIMIT, || host.file("began").exists());
    host.go();
    pipeline.awaits("slow", State::Done);
}

#[test]
fn each_of_several_deliveries_is_decided_and_told_by_itself() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[
        host.rule("bad").with("install_command", "exit 7"),
        host.rule("good"),
    ]);
    let (bad, good) = (send(&pipeline, "bad", 1), send(&pipeline, "good", 0));
    let (bad, good) = (bad["id"].to_string(), good["id"].to_string());
    let ran = pipeline.ad(&["dismiss", &good, &bad, "999"]).exits(1);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{ran}");
    assert!(
        lines[0].ends_with("not dismissed: it is settled already"),
        "{ran}"
    );
    assert!(lines[1].ends_with(": dismissed"), "{ran}");
    assert!(
        lines[2].starts_with("#999: there is no such delivery"),
        "{ran}"
    );
    let rows = pipeline
        .ad(&["cancel", &good, "999", "--json"])
        .exits(1)
        .json();
    assert_eq!(field(&rows, "decided"), ["false", "false"]);
    assert_eq!(field(&rows, "state"), ["done", "null"]);
    assert_eq!(field(&rows, "decision"), ["cancel", "cancel"]);
    for usage in [
        &["retry"][..],
        &["cancel"],
        &["dismiss"],
        &["retry", "x"],
        &["dismiss", "x"],
        &["dismiss", "x", "9:8"],
    ] {
        pipeline.ad(usage).exits(2);
    }
    let empty = Pipeline::bare();
    empty.ad(&["retry", "1"]).exits(5);
}

#[test]
fn decisions_that_race_with_workers_leave_legal_states_and_every_run_is_counted() {
    let host = Host::up();
    let ran = host.file("ran");
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host
        .rule("p-")
        .with("host", "127.0.0.1 127.0.0.2")
        .with("dest_dir", format!("{}/$(x)", host.file("in").display()))
        .with(
            "install_command",
            format!(
                "echo $AD_DELIVERY >> {}; [ $((AD_DELIVERY % 3)) != 0 ]",
                ran.display()
            ),
        )]);
    let names: Vec<String> = (0..12).map(|n| format!("p-{n}")).collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .map(|name| (name.as_str(), name.as_bytes()))
        .collect();
    pipeline.commit(&files);
    let workers = [pipeline.spawn(&["worker"]), pipeline.spawn(&["worker"])];
    pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
    wait_until("it is planned", LIMIT, || pipeline.history().len() == 24);
    let ids: Vec<String> = (1..=24).map(|id| id.to_string()).collect();
    std::thread::scope(|scope| {
        for command in ["retry", "retry", "dismiss", "cancel"] {
            let (pipeline, ids) = (&pipeline, &ids);
            scope.spawn(move || {
                for round in 0..6 {
                    // Cancels begin at the end of the lanes, so that not everything is cancelled at once.
                    let ids = if command == "cancel" {
                        &ids[22 - round..]
                    } else {
                        &ids[..]
                    };
                    let mut args = vec![command];
                    args.extend(ids.iter().map(String::as_str));
                    let ran = pipeline.ad(&args);
                    assert!(matches!(ran.code, Some(0 | 1)), "{ran}");
                    assert_eq!(ran.stdout.lines().count(), ids.len(), "{ran}");
                }
            });
        }
    });
    let rows = pipeline.settled(24);
    drop(workers);
    let mut cancelled = 0;
    for row in &rows {
        let id = row["id"].as_i64().expect("a number");
        let count = |sql: &str| pipeline.sql(&sql.replace('?', &id.to_string()))[0];
        let runs = host
            .lines("ran")
            .iter()
            .filter(|line| **line == id.to_string())
            .count();
        let collected =
            count("SELECT count(*) FROM attempts WHERE delivery_id = ? AND output IS NOT NULL");
        assert_eq!(i64::try_from(runs).ok(), collected, "{row}");
        let allowed = count("SELECT run FROM deliveries WHERE id = ?");
        assert!(collected <= allowed, "{row}");
        match row["state"].as_str() {
            Some("done") => assert!(id % 3 != 0 && runs == 1, "{row}"),
            Some("failed") => assert!(id % 3 == 0 && runs > 0, "{row}"),
            Some("cancelled") => cancelled += 1,
            _ => panic!("{row}"),
        }
    }
    assert!(cancelled < 24, "something was left to the workers");
    assert_eq!(
        pipeline.sql("SELECT count(*) FROM attempts WHERE ended_at IS NULL"),
        [Some(0)]
    );
}
