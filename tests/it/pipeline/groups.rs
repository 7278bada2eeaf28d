//! Small packages that travel together: each has its own record, as if it had come alone, and whatever goes wrong with
//! the group ends with each of them going alone.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::host::Host;
use super::rule::Rule;
use super::{LIMIT, Pipeline};
use crate::servers::mounts::Mounted;
use crate::servers::relay::Relay;
use crate::testenv::{Ran, needs_root, run_under, wait_until, write_program};

/// How many packages there are, as a rule.
const COUNT: usize = 60;

/// Files `NAME-1`, `NAME-2` and so on, each with other bytes.
fn files(pipeline: &Pipeline, name: &str, count: usize) -> Vec<PathBuf> {
    let file = |number| {
        let text = format!("{name} {number}\n").repeat(number % 500 + 1);
        pipeline.env.write(format!("files/{name}-{number}"), text)
    };
    (0..count).map(file).collect()
}

fn words<'a>(command: &'a str, files: &'a [PathBuf]) -> Vec<&'a str> {
    let names = files.iter().map(|file| file.to_str().expect("UTF-8"));
    std::iter::once(command).chain(names).collect()
}

fn pipeline(rules: &[Rule]) -> Pipeline {
    let pipeline = Pipeline::bare();
    pipeline.rules(rules);
    pipeline
}

/// Every file lies on the host as it is here, and nothing else does.
#[track_caller]
fn all_there(host: &Host, files: &[PathBuf]) {
    let mut names: Vec<String> = Vec::new();
    for file in files {
        let name = file.file_name().expect("a name").to_str().expect("UTF-8");
        let there = fs::read(host.file("in").join(name)).expect("a package");
        assert!(there == fs::read(file).expect("a file"), "{name}");
        names.push(name.to_owned());
    }
    names.sort();
    assert_eq!(host.list("in"), names);
}

/// The attempts of a delivery.
fn attempts(pipeline: &Pipeline, row: &Value) -> Vec<Value> {
    pipeline.show(row)["attempt_list"]
        .as_array()
        .expect("attempts")
        .clone()
}

/// How many packages came together with this one; none: it came alone.
fn together(attempt: &Value) -> Option<usize> {
    let detail = attempt["detail"].as_str()?;
    let (_, how) = detail.split_once("; ")?;
    how.strip_suffix(" packages together, by tar")?.parse().ok()
}

fn log(pipeline: &Pipeline) -> String {
    fs::read_to_string(pipeline.state().join("auto-dispatcher.log")).expect("the log")
}

/// What a query for one number gives.
fn number(number: usize) -> [Option<i64>; 1] {
    [i64::try_from(number).ok()]
}

fn leftovers(pipeline: &Pipeline) -> Option<i64> {
    pipeline.sql("SELECT count(*) FROM leftovers")[0]
}

#[test]
fn each_package_of_a_group_has_its_own_record() {
    let host = Host::up();
    let pipeline = pipeline(&[host.rule("p")]);
    let files = files(&pipeline, "p", COUNT);
    let ran = pipeline.ad(&words("send", &files)).exits(0);
    all_there(&host, &files);
    let rows = pipeline.history();
    assert_eq!(rows.len(), COUNT);
    for row in &rows {
        assert_eq!(
            (
                &row["state"],
                &row["attempts"],
                &row["transport"],
                &row["step"]
            ),
            (&"done".into(), &1.into(), &"ssh".into(), &"verify".into()),
            "{row}"
        );
        let name = row["package"].as_str().expect("a name");
        let path = host.file("in").join(name);
        assert_eq!(row["remote_path"], path.to_str().expect("UTF-8"));
        let id = &row["id"];
        for said in ["uploaded to", "done"] {
            let line = format!("#{id} {name} -> ");
            let is_it = |text: &&str| text.contains(&line) && text.contains(said);
            assert_eq!(ran.stderr.lines().filter(is_it).count(), 1, "{said}: {ran}");
        }
    }
    for row in [&rows[0], &rows[COUNT / 2], &rows[COUNT - 1]] {
        let attempts = attempts(&pipeline, row);
        assert_eq!(attempts.len(), 1);
        assert_eq!(attempts[0]["verified"], "digest");
        assert_eq!(together(&attempts[0]), Some(COUNT), "{attempts:?}");
        let key = attempts[0]["fingerprint"].as_str().expect("a key");
        assert!(key.starts_with("SHA256:"), "{key}");
    }
    assert_eq!(leftovers(&pipeline), Some(0));
    let settled = pipeline.sql("SELECT sum(deliveries) FROM settled_hours");
    assert_eq!(settled, number(COUNT));
    let spooled = fs::read_dir(pipeline.state().join("spool")).expect("the spool");
    let is_artifact = |name: &String| name.len() == 64;
    let names = spooled.map(|entry| {
        entry
            .expect("entry")
            .file_name()
            .into_string()
            .expect("UTF-8")
    });
    assert_eq!(
        names.filter(is_artifact).count(),
        0,
        "nobody needs them any more"
    );
}

#[test]
fn a_revision_of_small_packages_comes_together() {
    let host = Host::up();
    let pipeline = pipeline(&[host.rule("p")]);
    pipeline.install_hook();
    let files = files(&pipeline, "p", 20);
    let committed: Vec<(String, Vec<u8>)> = files
        .iter()
        .map(|file| {
            let name = file.file_name().expect("a name").to_str().expect("UTF-8");
            (format!("trunk/{name}"), fs::read(file).expect("a file"))
        })
        .collect();
    let committed: Vec<(&str, &[u8])> = committed
        .iter()
        .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
        .collect();
    pipeline.commit(&committed);
    let rows = pipeline.settled(20);
    all_there(&host, &files);
    for row in &rows {
        assert_eq!(together(&attempts(&pipeline, row)[0]), Some(20), "{row}");
    }
}

#[test]
fn packages_with_an_install_go_alone_and_in_their_place() {
    let host = Host::up();
    let home = host.home();
    let counts = format!("ls {0}/in | grep -c ^p- >>{0}/ran", home.display());
    let pipeline = pipeline(&[
        host.rule("p"),
        host.rule("install").with("install_command", counts),
    ]);
    let before = files(&pipeline, "p", 10);
    let installed = files(&pipeline, "install", 1);
    let behind = files(&pipeline, "p-later", 10);
    let all = [before, installed, behind].concat();
    pipeline.ad(&words("send", &all)).exits(0);
    all_there(&host, &all);
    assert_eq!(
        host.lines("ran"),
        ["10"],
        "it ran behind the first and before the last"
    );
    let rows = pipeline.history();
    let of = |index: usize| together(&attempts(&pipeline, &rows[index])[0]);
    assert_eq!((of(0), of(10), of(20)), (Some(10), None, Some(10)));
}

#[test]
fn on_a_host_without_tar_each_goes_alone_at_once() {
    let bin = tempfile::tempdir().expect("a directory");
    for name in ["sha256sum", "mkdir", "mv", "rm", "cat", "wc", "dd", "sh"] {
        let program = PathBuf::from("/usr/bin").join(name);
        std::os::unix::fs::symlink(program, bin.path().join(name)).expect("symlink");
    }
    let home = tempfile::tempdir().expect("a directory");
    let host = Host::with(&format!(
        "SetEnv PATH={} HOME={}",
        bin.path().display(),
        home.path().display()
    ));
    let pipeline = pipeline(&[host.rule("p")]);
    let files = files(&pipeline, "p", 8);
    let ran = pipeline.ad(&words("send", &files)).exits(0);
    all_there(&host, &files);
    for row in pipeline.history() {
        assert_eq!(
            (&row["attempts"], &row["state"]),
            (&1.into(), &"done".into()),
            "{row}"
        );
    }
    assert!(
        !log(&pipeline).contains("together"),
        "it is no trouble: {ran}"
    );
}

#[test]
fn what_is_in_the_way_of_one_keeps_no_other() {
    let host = Host::up();
    let pipeline = pipeline(&[host.rule("p")]);
    let files = files(&pipeline, "p", 12);
    fs::create_dir_all(host.file("in/p-0")).expect("mkdir");
    fs::create_dir_all(host.file("in/p-5")).expect("mkdir");
    pipeline.ad(&words("send", &files)).exits(1);
    let rows = pipeline.history();
    for (number, row) in rows.iter().enumerate() {
        let attempts = attempts(&pipeline, row);
        if number == 0 || number == 5 {
            assert_eq!(row["state"], "failed", "{row}");
            let error = row["error"].as_str().expect("an error");
            assert!(error.contains("a directory has that name"), "{error}");
            // The first one goes on alone in the same attempt.
            assert_eq!(
                attempts.len(),
                if number == 0 { 1 } else { 2 },
                "{attempts:?}"
            );
            continue;
        }
        assert_eq!(
            (&row["state"], &row["attempts"]),
            (&"done".into(), &1.into()),
            "{row}"
        );
        assert_eq!(together(&attempts[0]), Some(10), "{attempts:?}");
    }
    let names = host.list("in");
    assert_eq!(names.len(), 12, "{names:?}");
    assert_eq!(leftovers(&pipeline), Some(0));
}

#[test]
fn a_group_that_cannot_be_unpacked_goes_one_by_one() {
    let bin = tempfile::tempdir().expect("a directory");
    let tar = bin.path().join("tar");
    let script = "#!/bin/sh\ncase $1 in --version) echo 'tar (GNU tar)';; *) echo 'tar: broken'; exit 2;; esac\n";
    write_program(&tar, script);
    let home = tempfile::tempdir().expect("a directory");
    let host = Host::with(&format!(
        "SetEnv PATH={}:/usr/bin:/bin HOME={}",
        bin.path().display(),
        home.path().display()
    ));
    let pipeline = pipeline(&[host.rule("p")]);
    let files = files(&pipeline, "p", 8);
    let ran = pipeline.ad(&words("send", &files)).exits(0);
    all_there(&host, &files);
    assert!(!ran.stderr.contains("interrupted"), "{ran}");
    let told = "8 packages cannot be brought together and go one by one: cannot unpack; it said: tar: broken";
    assert_eq!(log(&pipeline).matches(told).count(), 1, "{ran}");
    let rows = pipeline.history();
    for (number, row) in rows.iter().enumerate() {
        let attempts = attempts(&pipeline, row);
        let outcomes: Vec<&str> = attempts
            .iter()
            .filter_map(|one| one["outcome"].as_str())
            .collect();
        let expected: &[&str] = if number == 0 {
            &["done"]
        } else {
            &["queued", "done"]
        };
        assert_eq!(outcomes, expected);
        assert_eq!(row["error"], Value::Null);
    }
    assert_eq!(leftovers(&pipeline), Some(0));
}

/// A `send` whose group is held amid its upload.
fn held(
    host: &Host,
    more: impl Fn(Rule) -> Rule,
) -> (Pipeline, Relay, Vec<PathBuf>, super::Process) {
    let relay = Relay::to(host.port, 40_000);
    let pipeline = pipeline(&[more(host.rule("p").with("ssh_port", relay.port))]);
    let files = files(&pipeline, "p", COUNT);
    let sending = pipeline.spawn(&words("send", &files));
    relay.is_spent();
    (pipeline, relay, files, sending)
}

#[test]
fn a_connection_that_breaks_amid_a_group_costs_one_attempt_of_one() {
    let host = Host::up();
    let (pipeline, relay, files, mut sending) = held(&host, |rule| rule);
    let running = pipeline.sql("SELECT count(*) FROM deliveries WHERE state = 'running'");
    assert_eq!(running, number(COUNT));
    let status = pipeline.ad(&["status"]).exits(0);
    assert!(status.stdout.contains("running"), "{status}");
    let id = pipeline.history()[COUNT / 2]["id"].to_string();
    let refused = pipeline.ad(&["cancel", &id]);
    assert!(
        refused.code != Some(0) && refused.to_string().contains("it is running"),
        "{refused}"
    );
    relay.cut();
    assert_eq!(sending.ends(), Some(0));
    all_there(&host, &files);
    let rows = pipeline.history();
    for (number, row) in rows.iter().enumerate() {
        let outcomes: Vec<String> = attempts(&pipeline, row)
            .iter()
            .map(|one| one["outcome"].as_str().expect("an outcome").to_owned())
            .collect();
        let first = if number == 0 { "waiting" } else { "queued" };
        assert_eq!(outcomes, [first, "done"], "{row}");
    }
    let used = pipeline.sql("SELECT tries_used FROM deliveries ORDER BY id");
    assert_eq!(
        (used[0], used[1], used[COUNT - 1]),
        (Some(2), Some(1), Some(1))
    );
    assert_eq!(leftovers(&pipeline), Some(0));
}

#[test]
fn a_stop_amid_a_group_sends_all_of_it_back_to_the_queue() {
    let host = Host::up();
    let (pipeline, relay, files, mut sending) = held(&host, |rule| rule);
    sending.terminate();
    assert_eq!(sending.ends(), Some(130));
    for row in pipeline.history() {
        assert_eq!(
            (&row["state"], &row["error"]),
            (&"queued".into(), &Value::Null),
            "{row}"
        );
    }
    let used = pipeline.sql("SELECT sum(tries_used) FROM deliveries");
    assert_eq!(used, [Some(0)]);
    relay.cut();
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    all_there(&host, &files);
    assert_eq!(leftovers(&pipeline), Some(0));
}

#[test]
fn a_worker_that_dies_amid_a_group_leaves_all_of_it_to_the_next() {
    let host = Host::up();
    let (pipeline, relay, files, sending) = held(&host, |rule| rule);
    sending.kill();
    relay.cut();
    assert_eq!(leftovers(&pipeline), Some(1));
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    all_there(&host, &files);
    for row in pipeline.history() {
        assert_eq!(
            (&row["state"], &row["attempts"]),
            (&"done".into(), &2.into()),
            "{row}"
        );
    }
    assert_eq!(leftovers(&pipeline), Some(0));
}

#[test]
fn a_full_disk_on_the_host_is_each_packages_own_trouble() {
    needs_root!();
    let host = Host::up();
    let _disk = Mounted::disk(&host.file("in"), "size=64k");
    let pipeline = pipeline(&[host.rule("p").with("retries", 0)]);
    let files = files(&pipeline, "p", COUNT);
    let ran = pipeline.ad(&words("send", &files)).exits(1);
    let done = pipeline.sql("SELECT count(*) FROM deliveries WHERE state = 'done'");
    let names = host.list("in");
    assert!(
        log(&pipeline).contains("cannot be brought together"),
        "{ran}"
    );
    let rows = pipeline.history();
    let failed = rows.iter().filter(|row| row["state"] == "failed");
    let errors: Vec<String> = failed.map(|row| row["error"].to_string()).collect();
    assert!(!errors.is_empty() && errors.len() < COUNT, "{errors:?}");
    assert!(
        errors.iter().all(|error| error.contains("space")),
        "{errors:?}"
    );
    assert_eq!(done, number(COUNT - errors.len()));
    assert_eq!(names.len(), COUNT - errors.len(), "{names:?}");
}

#[test]
fn who_waits_for_his_own_begins_nothing_that_stands_behind_it() {
    let host = Host::down();
    let pipeline = pipeline(&[host.rule("p").with("retries", 100).with("retry_delay", 1)]);
    let (first, second) = (
        files(&pipeline, "p-first", 4),
        files(&pipeline, "p-second", 4),
    );
    let mut host = host;
    let waiting = [&first, &second].map(|files| {
        let sending = pipeline.spawn(&words("send", files));
        let least = if files == &first { 4 } else { 8 };
        wait_until("it is recorded", LIMIT, || {
            pipeline.state().join("journal.sqlite").exists()
                && pipeline.sql("SELECT count(*) FROM deliveries")[0] >= Some(least)
        });
        sending
    });
    let [mut sending, other] = waiting;
    other.kill();
    host.resume();
    assert_eq!(sending.ends(), Some(0));
    let states = pipeline.sql("SELECT state = 'done' FROM deliveries ORDER BY id");
    assert_eq!(states[..4], [Some(1); 4]);
    assert_eq!(states[4..], [Some(0); 4], "nobody waits for those");
}

#[test]
fn thousands_of_files_are_sent_with_few_of_them_open() {
    let host = Host::up();
    let pipeline = pipeline(&[host.rule("p")]);
    let files: Vec<PathBuf> = (0..10_000)
        .map(|number| {
            pipeline
                .env
                .write(format!("files/p-{number}"), number.to_string())
        })
        .collect();
    let ours = pipeline.command(&words("send", &files));
    let mut command = Command::new("prlimit");
    command.arg("--nofile=256:256");
    run_under(&mut command, &ours);
    Ran::of(&mut command).exits(0);
    all_there(&host, &files);
    assert_eq!(leftovers(&pipeline), Some(0));
}
