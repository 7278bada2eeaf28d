//! The ledger: gaps that wait for the operator, workers that catch up, revisions that cannot be planned.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::host::Host;
use super::{LIMIT, Pipeline, field};
use crate::servers::svn::{Svn, fake_svnlook, program};
use crate::testenv::{Ran, wait_until};

/// A rule for every `app`, whose installs are counted.
fn pipeline(host: &Host) -> Pipeline {
    let pipeline = Pipeline::bare();
    let log = host.file("log");
    pipeline.rules(&[host.rule("app").with(
        "install_command",
        format!("echo r$AD_REVISION >> {}", log.display()),
    )]);
    pipeline
}

fn commit(pipeline: &Pipeline, revisions: std::ops::RangeInclusive<u64>) {
    for revision in revisions {
        pipeline.commit(&[(&format!("app-{revision}"), b"x")]);
        assert_eq!(pipeline.svn.youngest(), revision);
    }
}

fn hook(pipeline: &Pipeline, revision: u64) {
    let wait = [
        "hook",
        pipeline.repository(),
        &revision.to_string(),
        "--wait",
    ];
    pipeline.ad(&wait).exits(0);
}

/// The gaps that `status` shows.
fn gaps(pipeline: &Pipeline) -> Vec<(u64, u64)> {
    let rows = pipeline.status();
    let ends = |row: &Value| {
        assert!(row.get("id").is_none() && row["gap"]["noticed_at"].is_string());
        assert_eq!(row["gap"]["repository"], pipeline.repository());
        let (low, high) = (row["gap"]["low"].as_u64()?, row["gap"]["high"].as_u64()?);
        assert_eq!(row["gap"]["revisions"], high - low + 1);
        Some((low, high))
    };
    let shown = rows.iter().filter(|row| row.get("gap").is_some());
    shown.filter_map(ends).collect()
}

/// What `dismiss` says of revisions.
fn dismiss(pipeline: &Pipeline, low: u64, high: u64) -> Value {
    let revisions = format!("{low}:{high}");
    let ran = pipeline.ad(&["dismiss", pipeline.repository(), &revisions, "--json"]);
    ran.exits(0).json().remove(0)
}

fn works_until_idle(pipeline: &Pipeline) {
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
}

#[test]
fn a_large_gap_is_shown_until_the_operator_replays_or_dismisses_it() {
    let host = Host::up();
    let pipeline = pipeline(&host);
    pipeline.settings("catch_up_max = 2");
    commit(&pipeline, 1..=8);
    hook(&pipeline, 1);
    hook(&pipeline, 8);
    assert_eq!(host.lines("log"), ["r1", "r8"]);
    assert_eq!(gaps(&pipeline), [(2, 7)]);
    // A late hook splits it, and nothing around it is filled.
    hook(&pipeline, 4);
    works_until_idle(&pipeline);
    assert_eq!(gaps(&pipeline), [(2, 3), (5, 7)]);
    let log = fs::read_to_string(pipeline.state().join("auto-dispatcher.log")).expect("a log");
    let said = log.lines().filter(|line| line.contains("no hook recorded"));
    assert_eq!(said.count(), 1, "{log}");

    // A dry run decides nothing.
    let repository = pipeline.repository();
    pipeline
        .ad(&["replay", repository, "5:6", "--dry-run"])
        .exits(0);
    assert_eq!(gaps(&pipeline), [(2, 3), (5, 7)]);
    pipeline
        .ad(&["replay", repository, "6", "--host", "127.0.0.1"])
        .exits(0);
    assert_eq!(gaps(&pipeline), [(2, 3), (5, 7)], "only a part was decided");
    pipeline.ad(&["replay", repository, "6"]).exits(0);
    assert_eq!(gaps(&pipeline), [(2, 3), (5, 5), (7, 7)]);
    assert_eq!(
        dismiss(&pipeline, 5, 8)["gaps"],
        serde_json::json!([[5, 5], [7, 7]])
    );
    assert_eq!(gaps(&pipeline), [(2, 3)]);

    // The command that the table shows.
    let shown = pipeline.ad(&["status"]).exits(0).stdout;
    let rules = pipeline.rules_file();
    let typed = |word: &str| {
        format!(
            "auto-dispatcher --config '{}' {word} '{repository}' 2:3",
            rules.display()
        )
    };
    for word in ["r2:r3  2", &typed("replay"), &typed("dismiss")] {
        assert!(shown.contains(word), "{word} in {shown}");
    }
    types(&pipeline, &typed("replay")).exits(0);
    assert_eq!(gaps(&pipeline), []);
    works_until_idle(&pipeline);
    assert_eq!(
        host.lines("log"),
        ["r1", "r8", "r4", "r6", "r6", "r2", "r3"]
    );
}

/// What a person types, who finds the binary under test first.
fn types(pipeline: &Pipeline, line: &str) -> Ran {
    let directory = pipeline.env.path("typed");
    fs::create_dir_all(&directory).expect("mkdir");
    let name = directory.join("auto-dispatcher");
    let _ = std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_auto-dispatcher"), name);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", line])
        .env_clear()
        .env("HOME", pipeline.env.home())
        .env("PATH", format!("{}:/usr/bin:/bin", directory.display()))
        .current_dir("/");
    Ran::of(&mut shell)
}

#[test]
fn a_worker_catches_up_with_hooks_that_recorded_nothing() {
    let host = Host::up();
    let pipeline = pipeline(&host);
    pipeline.settings("catch_up_max = 2");
    commit(&pipeline, 1..=3);
    hook(&pipeline, 1);
    works_until_idle(&pipeline);
    assert_eq!(host.lines("log"), ["r1", "r2", "r3"]);
    hook(&pipeline, 3);
    // Too many to be dispatched unasked.
    commit(&pipeline, 4..=6);
    works_until_idle(&pipeline);
    assert_eq!(gaps(&pipeline), [(4, 6)]);
    commit(&pipeline, 7..=8);
    dismiss(&pipeline, 7, 7);
    works_until_idle(&pipeline);
    works_until_idle(&pipeline);
    assert_eq!(host.lines("log"), ["r1", "r2", "r3", "r8"]);
    // A late hook changes nothing about what was dismissed.
    hook(&pipeline, 7);
    assert_eq!(host.lines("log").len(), 4);
    assert_eq!(gaps(&pipeline), [(4, 6)]);
}

#[test]
fn a_living_worker_notices_by_itself_what_no_hook_recorded() {
    let host = Host::up();
    let pipeline = pipeline(&host);
    commit(&pipeline, 1..=1);
    hook(&pipeline, 1);
    let _worker = pipeline.spawn(&["worker"]);
    wait_until("the worker lives", LIMIT, || !pipeline.workers().is_empty());
    commit(&pipeline, 2..=2);
    assert_eq!(field(&pipeline.settled(2), "revision"), ["1", "2"]);
}

#[test]
fn a_worker_catches_up_with_no_repository_that_is_gone_or_unknown() {
    let host = Host::up();
    let pipeline = pipeline(&host);
    commit(&pipeline, 1..=2);
    // Its hook was never seen: a replay says nothing about the rest.
    pipeline
        .ad(&["replay", pipeline.repository(), "1"])
        .exits(0);
    works_until_idle(&pipeline);
    hook(&pipeline, 2);
    commit(&pipeline, 3..=3);
    let rules = fs::read_to_string(pipeline.rules_file()).expect("rules");
    let settings = pipeline.svn.repository.join("conf/auto-dispatcher.cfg");
    let config = pipeline
        .env
        .write("elsewhere/general-dispatch-info.cfg", rules);
    fs::copy(settings, pipeline.env.path("elsewhere/auto-dispatcher.cfg")).expect("copy");
    let away = pipeline.env.path("away");
    fs::rename(&pipeline.svn.repository, &away).expect("rename");
    let mut worker = pipeline.env.command();
    worker
        .arg("--config")
        .arg(config)
        .args(["worker", "--until-idle"]);
    Ran::of(&mut worker).exits(0);
    // Neither when its place leads to another path.
    std::os::unix::fs::symlink(&away, &pipeline.svn.repository).expect("symlink");
    Ran::of(&mut worker).exits(0);
    assert_eq!(host.lines("log"), ["r1", "r2"]);
    fs::remove_file(&pipeline.svn.repository).expect("remove");
    fs::rename(&away, &pipeline.svn.repository).expect("rename");
    works_until_idle(&pipeline);
    assert_eq!(host.lines("log"), ["r1", "r2", "r3"]);
}

#[test]
fn hooks_and_workers_that_record_the_same_revisions_at_once_dispatch_each_once() {
    let host = Host::up();
    let pipeline = pipeline(&host);
    commit(&pipeline, 1..=1);
    hook(&pipeline, 1);
    commit(&pipeline, 2..=9);
    let mut all: Vec<_> = (2..=9)
        .map(|revision: u32| {
            pipeline.spawn(&["hook", pipeline.repository(), &revision.to_string()])
        })
        .collect();
    all.extend((0..3).map(|_| pipeline.spawn(&["worker", "--until-idle"])));
    for process in &mut all {
        assert_eq!(process.ends(), Some(0));
    }
    let rows = pipeline.settled(9);
    assert_eq!(field(&rows, "attempts"), ["1"; 9]);
    let expected: Vec<String> = (1..=9)
        .map(|revision: u32| format!("r{revision}"))
        .collect();
    assert_eq!(host.lines("log"), expected);
}

#[test]
fn a_hot_copy_has_a_ledger_of_its_own_that_starts_at_its_first_revision() {
    let host = Host::up();
    let pipeline = pipeline(&host);
    pipeline.install_hook();
    commit(&pipeline, 1..=2);
    pipeline.settled(2);
    let copy = pipeline.env.path("copy");
    let mut hotcopy = Command::new(program("svnadmin"));
    Ran::of(
        hotcopy
            .arg("hotcopy")
            .arg(&pipeline.svn.repository)
            .arg(&copy),
    )
    .exits(0);
    let mut import = Command::new(program("svn"));
    import
        .env_clear()
        .env("HOME", pipeline.env.home())
        .args(["import", "-q", "-m", "x"])
        .arg(pipeline.env.write("one", "x"))
        .arg(format!("file://{}/app-copy", copy.display()));
    Ran::of(&mut import).exits(0);
    let rows = pipeline.settled(3);
    assert_eq!(field(&rows[2..], "package"), ["app-copy"]);
    assert_eq!(
        field(&rows[2..], "repository"),
        [copy.to_str().expect("UTF-8")]
    );
    commit(&pipeline, 3..=3);
    works_until_idle(&pipeline);
    assert_eq!(host.lines("log"), ["r1", "r2", "r3", "r3"]);
    assert_eq!(gaps(&pipeline), []);
}

#[test]
fn a_symbolic_link_to_a_repository_is_that_repository() {
    let host = Host::up();
    let pipeline = pipeline(&host);
    commit(&pipeline, 1..=1);
    hook(&pipeline, 1);
    let link = pipeline.env.path("link");
    std::os::unix::fs::symlink(&pipeline.svn.repository, &link).expect("symlink");
    commit(&pipeline, 2..=3);
    let link = link.to_str().expect("UTF-8");
    pipeline.ad(&["hook", link, "3", "--wait"]).exits(0);
    pipeline.ad(&["hook", link, "1", "--wait"]).exits(0);
    assert_eq!(host.lines("log"), ["r1", "r2", "r3"]);
    assert_eq!(pipeline.sql("SELECT count(*) FROM repositories"), [Some(1)]);
}

#[test]
fn a_revision_that_cannot_be_planned_keeps_its_worker_until_it_is_dismissed() {
    let host = Host::up();
    let pipeline = pipeline(&host);
    let script = "case \"$*\" in 'changed '*' -r 1 '*) echo no 1>&2; exit 1;; esac; exec \"$SVNLOOK\" \"$@\"";
    let svnlook = fake_svnlook(&pipeline.env, "svnlook-1", script);
    pipeline.settings(&format!("plan_retry = 3\nsvnlook = {}", svnlook.display()));
    pipeline.install_hook();
    commit(&pipeline, 1..=2);
    // The pause is three times idle_exit: a worker that took it for idleness would be gone.
    wait_until("it was tried again and again", LIMIT, || {
        pipeline.sql("SELECT plan_attempts FROM batches WHERE revision = 1") >= vec![Some(3)]
    });
    let workers = "SELECT count(*) FROM workers WHERE role = 'detached' AND id IN
        (SELECT max(id) FROM workers) AND ended_at IS NULL";
    assert_eq!(pipeline.sql(workers), [Some(1)]);
    let shown = pipeline.ad(&["status"]).exits(0).stdout;
    let way_out = format!(" dismiss '{}' 1\n", pipeline.repository());
    assert!(shown.contains(&way_out), "{shown}");
    let log = fs::read_to_string(pipeline.state().join("auto-dispatcher.log")).expect("a log");
    let said = log
        .lines()
        .filter(|line| line.contains("cannot be planned"));
    assert_eq!(said.count(), 1, "the same is said once: {log}");
    assert_eq!(dismiss(&pipeline, 1, 1)["unplanned"], 1);
    pipeline.settled(1);
    assert_eq!(host.lines("log"), ["r2"]);
    pipeline.no_worker_lives();
}

#[test]
fn a_repository_that_hangs_holds_up_no_other() {
    let host = Host::up();
    let pipeline = pipeline(&host);
    let hold = pipeline.env.write("hold", "");
    let began = pipeline.env.path("began");
    // It ends with the test, whose directory goes.
    let script = format!(
        "case \"$*\" in *slow*) : > '{}'; while [ -e '{}' ]; do sleep 0.1; done;; esac; exec \"$SVNLOOK\" \"$@\"",
        began.display(),
        hold.display()
    );
    let svnlook = fake_svnlook(&pipeline.env, "svnlook-2", &script);
    pipeline.settings(&format!("svnlook = {}", svnlook.display()));
    let slow = Svn::create_named(&pipeline.env, "slow");
    slow.write("app-slow", "x");
    slow.commit();
    let slow = slow.repository.to_str().expect("UTF-8");
    pipeline.ad(&["hook", slow, "1"]).exits(0);
    wait_until("it hangs", LIMIT, || began.exists());
    commit(&pipeline, 1..=1);
    pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
    let rows = pipeline.settled(1);
    assert_eq!(field(&rows, "package"), ["app-1"]);
    fs::remove_file(&hold).expect("remove");
    wait_until("both are there", LIMIT, || pipeline.history().len() == 2);
    let shown: Vec<Value> = pipeline.settled(2);
    assert_eq!(shown[1]["package"], json!("app-slow"));
}
