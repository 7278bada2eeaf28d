//! Workers that are killed, told to stop, or many: nothing is lost, nothing is installed twice.

use auto_dispatcher::domain::delivery::State;
use rustix::process::Signal;

use super::gate::Gate;
use super::host::Host;
use super::{LIMIT, Pipeline, field, holds, inode, signal};
use crate::testenv::wait_until;

#[test]
fn a_worker_killed_during_an_install_leaves_it_running_and_the_next_one_collects_it() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host
        .rule("app")
        .with("install_command", host.long_command())]);
    pipeline.commit(&[("app", b"x")]);
    wait_until("the command began", LIMIT, || host.file("began").exists());
    let uploaded = inode(&host.file("in/app"));
    for pid in pipeline.workers() {
        signal(pid, Signal::KILL);
    }
    pipeline.no_worker_lives();
    assert_eq!(pipeline.delivery("app")["state"], "running");
    let mut next = pipeline.spawn(&["worker", "--until-idle"]);
    wait_until("the next worker is at it", LIMIT, || {
        pipeline.delivery("app")["attempts"] == 2
    });
    host.go();
    assert_eq!(next.ends(), Some(0));
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["exit_status"]),
        (&"done".into(), &0.into()),
        "{row}"
    );
    assert_eq!(host.lines("ran"), [row["id"].to_string()]);
    assert_eq!(
        inode(&host.file("in/app")),
        uploaded,
        "it was not uploaded again"
    );
    let shown = pipeline.show(&row);
    assert_eq!(shown["attempt_list"][0]["error"], "the worker died");
    assert_eq!(shown["attempt_list"][1]["output"], "went\n");
}

#[test]
fn a_command_that_ended_while_no_worker_lived_is_collected_and_not_run_again() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app").with(
        "install_command",
        format!("{}; exit 3", host.long_command()),
    )]);
    pipeline.commit(&[("app", b"x")]);
    wait_until("the command began", LIMIT, || host.file("began").exists());
    for pid in pipeline.workers() {
        signal(pid, Signal::KILL);
    }
    pipeline.no_worker_lives();
    host.go();
    pipeline.ad(&["worker", "--until-idle"]).exits(1);
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["exit_status"]),
        (&"failed".into(), &3.into()),
        "{row}"
    );
    assert_eq!(host.lines("ran").len(), 1);
}

#[test]
fn an_attached_install_whose_worker_died_is_unknown_and_not_run_again() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host
        .rule("app")
        .with("install_mode", "plain")
        .with("install_command", host.long_command())]);
    pipeline.commit(&[("app", b"x")]);
    wait_until("the command began", LIMIT, || host.file("began").exists());
    for pid in pipeline.workers() {
        signal(pid, Signal::KILL);
    }
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["fault"]),
        (&"unknown".into(), &"unknown".into()),
        "{row}"
    );
    assert_eq!(host.lines("ran").len(), 1);
}

#[test]
fn a_worker_killed_during_an_upload_leaves_no_half_file_and_the_next_one_brings_it_whole() {
    let host = Host::up();
    let gate = Gate::to(host.port, 1_000_000);
    let pipeline = Pipeline::new(&[host.rule("app").with("ssh_port", gate.port)]);
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    pipeline.commit(&[("app", &bytes)]);
    gate.holds();
    for pid in pipeline.workers() {
        signal(pid, Signal::KILL);
    }
    pipeline.no_worker_lives();
    assert!(!host.file("in/app").exists());
    gate.open();
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["attempts"]),
        (&"done".into(), &2.into()),
        "{row}"
    );
    holds(&host.file("in/app"), &bytes);
    assert_eq!(host.list("in"), ["app"]);
}

#[test]
fn a_worker_told_to_stop_during_an_install_ends_and_leaves_it_resumable() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host
        .rule("app")
        .with("install_command", host.long_command())]);
    let mut worker = pipeline.spawn(&["worker"]);
    wait_until("the worker lives", LIMIT, || !pipeline.workers().is_empty());
    pipeline.commit(&[("app", b"x")]);
    pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
    wait_until("the command began", LIMIT, || host.file("began").exists());
    let uploaded = inode(&host.file("in/app"));
    worker.terminate();
    assert_eq!(worker.ends(), Some(0));
    assert!(!host.file("go").exists(), "the command still runs");
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["step"]),
        (&"queued".into(), &"install".into()),
        "{row}"
    );
    host.go();
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["exit_status"]),
        (&"done".into(), &0.into()),
        "{row}"
    );
    assert_eq!(host.lines("ran").len(), 1);
    assert_eq!(
        inode(&host.file("in/app")),
        uploaded,
        "it was not uploaded again"
    );
}

#[test]
fn a_worker_told_to_stop_during_an_upload_leaves_it_resumable() {
    let host = Host::up();
    let gate = Gate::to(host.port, 1_000_000);
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host
        .rule("app")
        .with("ssh_port", gate.port)
        .with("retries", 0)]);
    let bytes = vec![7; 4_000_000];
    pipeline.commit(&[("app", &bytes)]);
    let mut worker = pipeline.spawn(&["worker"]);
    wait_until("the worker lives", LIMIT, || !pipeline.workers().is_empty());
    pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
    gate.holds();
    worker.terminate();
    assert_eq!(worker.ends(), Some(0));
    assert_eq!(pipeline.delivery("app")["state"], "queued");
    gate.open();
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    assert_eq!(
        pipeline.delivery("app")["state"],
        "done",
        "an interruption is no attempt"
    );
    holds(&host.file("in/app"), &bytes);
    assert_eq!(host.list("in"), ["app"]);
}

#[test]
fn two_workers_and_a_replay_on_one_journal_install_each_delivery_once() {
    let host = Host::up();
    let ran = host.file("ran");
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host
        .rule("p-")
        .with("host", "127.0.0.1 127.0.0.2 127.0.0.3")
        .with("dest_dir", format!("{}/$(x)", host.file("in").display()))
        .with(
            "install_command",
            format!("echo $AD_DELIVERY >> {}", ran.display()),
        )]);
    let workers = [pipeline.spawn(&["worker"]), pipeline.spawn(&["worker"])];
    wait_until("two workers live", LIMIT, || pipeline.workers().len() == 2);
    let mut replays = Vec::new();
    for revision in 1..=3 {
        let names: Vec<String> = (0..4).map(|n| format!("p-{revision}-{n}")).collect();
        let files: Vec<(&str, &[u8])> = names
            .iter()
            .map(|name| (name.as_str(), name.as_bytes()))
            .collect();
        pipeline.commit(&files);
        let revision = revision.to_string();
        pipeline
            .ad(&["hook", pipeline.repository(), &revision])
            .exits(0);
        replays.push(pipeline.spawn(&["replay", pipeline.repository(), &revision]));
    }
    for mut replay in replays {
        assert_eq!(replay.ends(), Some(0));
    }
    let rows = pipeline.settled(72);
    assert_eq!(
        field(&rows, "state"),
        vec![State::Done.as_str(); 72],
        "{rows:?}"
    );
    assert_eq!(field(&rows, "attempts"), vec!["1"; 72]);
    let mut installed: Vec<u64> = host
        .lines("ran")
        .iter()
        .map(|id| id.parse().unwrap())
        .collect();
    installed.sort_unstable();
    let ids: Vec<u64> = rows.iter().map(|row| row["id"].as_u64().unwrap()).collect();
    assert_eq!(installed, ids);
    drop(workers);
}

#[test]
fn somebody_who_sends_a_file_is_not_kept_waiting_by_a_host_of_others() {
    let host = Host::up();
    let gate = Gate::to(host.port, 1_000_000);
    let pipeline = Pipeline::bare();
    pipeline.rules(&[
        host.rule("slow").with("ssh_port", gate.port),
        host.rule("quick"),
    ]);
    let slow = pipeline.env.write("slow", vec![0; 4_000_000]);
    let quick = pipeline.env.write("quick", "x");
    let first = pipeline.spawn(&["send", slow.to_str().unwrap()]);
    gate.holds();
    first.kill();
    // Finds the delivery of the dead one, and leaves it to a worker.
    pipeline.ad(&["send", quick.to_str().unwrap()]).exits(0);
    assert_eq!(pipeline.delivery("quick")["state"], "done");
    assert_eq!(pipeline.delivery("slow")["attempts"], 1);
    gate.open();
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    assert_eq!(pipeline.delivery("slow")["state"], "done");
}

#[test]
fn an_interrupted_command_says_so_and_a_worker_goes_on() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host
        .rule("app")
        .with("install_command", host.long_command())]);
    let file = pipeline.env.write("app", "x");
    let mut sending = pipeline.spawn(&["send", file.to_str().unwrap()]);
    wait_until("the command began", LIMIT, || host.file("began").exists());
    sending.terminate();
    assert_eq!(sending.ends(), Some(130));
    host.go();
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    assert_eq!(pipeline.delivery("app")["state"], "done");
    assert_eq!(host.lines("ran").len(), 1);
}

#[test]
fn what_the_killed_leave_behind_is_swept() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host
        .rule("app")
        .with("install_command", host.long_command())]);
    let worker = pipeline.spawn(&["worker"]);
    wait_until("the worker lives", LIMIT, || !pipeline.workers().is_empty());
    worker.kill();
    pipeline
        .env
        .write("state/spool/incoming-half", "an export that was cut");
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    let names = |dir: &str| {
        let entries = std::fs::read_dir(pipeline.state().join(dir)).expect("readable");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("spool"), [".lock"]);
    assert!(
        !names("workers").contains(&"1.lock".to_owned()),
        "{:?}",
        names("workers")
    );
    assert!(
        !names("workers").contains(&"1.wake".to_owned()),
        "{:?}",
        names("workers")
    );
}

#[test]
fn an_install_that_began_and_cannot_be_collected_is_unknown_and_never_failed() {
    let mut host = Host::up();
    let pipeline = Pipeline::new(&[host
        .rule("app")
        .with("retries", 0)
        .with("install_command", host.long_command())]);
    pipeline.commit(&[("app", b"x")]);
    wait_until("the command began", LIMIT, || host.file("began").exists());
    for pid in pipeline.workers() {
        signal(pid, Signal::KILL);
    }
    pipeline.no_worker_lives();
    host.stop();
    pipeline.ad(&["worker", "--until-idle"]).exits(1);
    let row = pipeline.delivery("app");
    assert_eq!(row["state"], "unknown", "{row}");
    assert!(
        row["error"]
            .as_str()
            .is_some_and(|error| error.contains("had begun")),
        "{row}"
    );
    host.go();
}
