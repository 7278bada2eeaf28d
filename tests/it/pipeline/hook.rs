//! The hook only records, whatever is wrong with the rest; the worker plans when it can, in order.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::process::Command;

use serde_json::Value;

use super::host::Host;
use super::{LIMIT, Pipeline, field, svnlook};
use crate::testenv::{Ran, is_root, needs_root, wait_until};

/// The batches that `status` shows.
fn unplanned(pipeline: &Pipeline) -> Vec<Value> {
    let mut rows = pipeline.status();
    rows.retain(|row| row.get("id").is_none() && row.get("batch").is_some());
    rows
}

/// Three commits while planning cannot work, then it can: `mend` makes it so.
fn loses_nothing(pipeline: &Pipeline, host: &Host, complaint: &str, mend: impl FnOnce()) {
    for number in 1..=3 {
        let name = format!("app-{number}");
        let ran = pipeline.commit(&[(&name, name.as_bytes())]);
        assert!(!ran.stdout.contains("hook"), "the hook only records: {ran}");
    }
    wait_until("the first batch was tried", LIMIT, || {
        unplanned(pipeline)
            .iter()
            .any(|row| row["state"] == "plan_failed")
    });
    let rows = unplanned(pipeline);
    assert_eq!(field(&rows, "revision"), ["1", "2", "3"]);
    let error = rows[0]["error"].as_str().unwrap();
    assert!(error.contains(complaint), "{error}");
    let shown = pipeline.ad(&["status"]).exits(0);
    assert!(
        shown.stdout.contains("cannot be planned") && shown.stdout.contains(complaint),
        "{shown}"
    );
    assert!(pipeline.history().is_empty());
    mend();
    let rows = pipeline.settled(3);
    assert_eq!(field(&rows, "revision"), ["1", "2", "3"]);
    assert_eq!(field(&rows, "state"), ["done"; 3]);
    assert!(unplanned(pipeline).is_empty());
    assert_eq!(host.list("in"), ["app-1", "app-2", "app-3"]);
}

#[test]
fn without_svnlook_revisions_wait_and_are_planned_in_order_when_it_is_there() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    let soon = pipeline.env.path("svnlook-soon");
    pipeline.settings(&format!("svnlook = {}", soon.display()));
    loses_nothing(&pipeline, &host, "svnlook-soon", || {
        symlink(svnlook(), &soon).unwrap();
    });
}

#[test]
fn without_rules_revisions_wait_and_are_planned_in_order_when_they_are_there() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.install_hook();
    loses_nothing(&pipeline, &host, "no rules file", || {
        pipeline.rules(&[host.rule("app")]);
    });
}

#[test]
fn with_broken_rules_revisions_wait_and_are_planned_in_order_when_they_are_mended() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules_text("[app\nhost = x\n");
    pipeline.install_hook();
    loses_nothing(&pipeline, &host, "general-dispatch-info.cfg:1", || {
        pipeline.rules(&[host.rule("app")]);
    });
}

#[test]
fn the_committer_does_not_wait_for_the_install() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host
        .rule("app")
        .with("install_command", host.long_command())
        .with("install_timeout", 20)]);
    let ran = pipeline.commit(&[("app", b"x")]);
    assert!(!ran.stdout.contains("hook"), "{ran}");
    wait_until("the command began", LIMIT, || host.file("began").exists());
    assert_eq!(pipeline.delivery("app")["state"], "running");
    host.go();
    assert_eq!(field(&pipeline.settled(1), "state"), ["done"]);
}

#[test]
fn a_worker_that_a_hook_started_ends_when_it_is_idle_and_the_next_hook_starts_another() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    pipeline.commit(&[("app-1", b"x")]);
    pipeline.settled(1);
    pipeline.no_worker_lives();
    pipeline.commit(&[("app-2", b"x")]);
    assert_eq!(field(&pipeline.settled(2), "state"), ["done"; 2]);
    pipeline.no_worker_lives();
    let left = fs::read_dir(pipeline.state().join("workers")).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.retain(|name| {
        ![
            "background.lock",
            "detached.lock",
            "plan-1.lock",
            "turn.lock",
        ]
        .contains(&name.to_str().unwrap())
    });
    assert!(left.is_empty(), "marks of the dead are gone: {left:?}");
}

/// The one line of ours that the committer saw.
#[track_caller]
fn complaint(ran: &Ran) -> String {
    let mark = "post-commit hook failed (exit code 5) with output:\n";
    let said = ran.stdout.split_once(mark).map(|(_, said)| said.trim_end());
    let said = said.unwrap_or_else(|| panic!("no warning: {ran}"));
    assert_eq!(said.lines().count(), 1, "{ran}");
    assert!(said.starts_with("auto-dispatcher: r1: "), "{ran}");
    assert!(
        said.bytes().all(|byte| matches!(byte, b' '..=b'~')),
        "{ran}"
    );
    said.to_owned()
}

#[test]
fn a_state_directory_that_cannot_be_made_is_one_line_and_the_commit_stands() {
    let pipeline = Pipeline::bare();
    pipeline.install_hook();
    pipeline
        .env
        .write("state", "a file, where the directory should be");
    let said = complaint(&pipeline.commit(&[("app", b"x")]));
    assert!(said.contains("is not a directory"), "{said}");
    assert!(
        said.ends_with(&format!("hook '{}' 1", pipeline.repository())),
        "{said}"
    );
    assert_eq!(pipeline.svn.youngest(), 1);
}

#[test]
fn a_state_directory_open_to_others_is_refused_and_the_commit_stands() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    let state = pipeline.state();
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    let said = complaint(&pipeline.commit(&[("app", b"x")]));
    assert!(said.contains("open to others (mode 0755)"), "{said}");
    assert!(!state.join("journal.sqlite").exists());
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    // The command that the committer was shown.
    pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
    assert_eq!(field(&pipeline.settled(1), "state"), ["done"]);
}

#[test]
fn a_state_directory_of_somebody_else_is_refused_and_the_commit_stands() {
    needs_root!();
    let pipeline = Pipeline::bare();
    pipeline.install_hook();
    let state = pipeline.state();
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&state, Some(64_123), Some(64_123)).unwrap();
    let said = complaint(&pipeline.commit(&[("app", b"x")]));
    assert!(said.contains("belongs to uid 64123"), "{said}");
}

#[test]
fn a_revision_recorded_twice_is_delivered_once() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    pipeline.commit(&[("app", b"x")]);
    let mut again: Vec<_> = (0..4)
        .map(|_| pipeline.spawn(&["hook", pipeline.repository(), "1"]))
        .collect();
    for hook in &mut again {
        assert_eq!(hook.ends(), Some(0));
    }
    pipeline.settled(1);
    pipeline
        .ad(&["hook", pipeline.repository(), "1", "--wait"])
        .exits(0);
    assert_eq!(pipeline.settled(1)[0]["attempts"], 1);
}

#[test]
fn hooks_out_of_order_or_killed_lose_nothing_and_change_no_order() {
    let host = Host::up();
    let log = host.file("log");
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app").with(
        "install_command",
        format!("echo $AD_PACKAGE >> {}", log.display()),
    )]);
    for number in 1..=6 {
        pipeline.commit(&[(&format!("app-{number}"), b"x")]);
    }
    // The first one, then the fifth before the fourth; the second, the third and the last never.
    for revision in ["1", "5", "4"] {
        let wait = ["hook", pipeline.repository(), revision, "--wait"];
        pipeline.ad(&wait).exits(0);
    }
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    let rows = pipeline.settled(6);
    assert_eq!(field(&rows, "revision"), ["1", "2", "3", "4", "5", "6"]);
    let expected = ["app-1", "app-2", "app-3", "app-4", "app-5", "app-6"];
    assert_eq!(host.lines("log"), expected);
}

#[test]
fn a_hook_that_waits_leaves_what_else_it_planned_to_a_worker() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[
        host.rule("app-2").with("host", "127.0.0.2"),
        host.rule("app"),
    ]);
    for number in 1..=3 {
        pipeline.commit(&[(&format!("app-{number}"), b"x")]);
    }
    for revision in ["1", "3"] {
        let wait = ["hook", pipeline.repository(), revision, "--wait"];
        pipeline.ad(&wait).exits(0);
    }
    assert_eq!(field(&pipeline.settled(3), "state"), ["done"; 3]);
}

#[test]
fn a_revision_that_was_never_committed_is_not_recorded() {
    let pipeline = Pipeline::bare();
    pipeline.commit(&[("app-1", b"x")]);
    let ran = pipeline.ad(&["hook", pipeline.repository(), "50"]).exits(4);
    assert!(
        ran.stderr.contains("has no revision 50; its youngest is 1"),
        "{ran}"
    );
    assert!(unplanned(&pipeline).is_empty());
}

#[test]
fn a_record_of_a_revision_that_was_never_committed_holds_up_nothing() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    pipeline.commit(&[("app-1", b"x")]);
    pipeline.settled(1);
    // As a repository that was restored from an older copy leaves it.
    let journal = rusqlite::Connection::open(pipeline.state().join("journal.sqlite")).unwrap();
    journal
        .execute(
            "INSERT INTO batches (source, repository_id, revision, stamp, recorded_at, state)
             VALUES ('revision', 1, 50, '', 0, 'recorded')",
            [],
        )
        .unwrap();
    pipeline.commit(&[("app-2", b"x")]);
    assert_eq!(field(&pipeline.settled(2), "state"), ["done"; 2]);
    assert_eq!(field(&unplanned(&pipeline), "revision"), ["50"]);
}

#[test]
fn many_committers_at_once_are_served_in_the_order_of_their_revisions() {
    let host = Host::up();
    let log = host.file("log");
    let pipeline = Pipeline::new(&[host.rule("app").with(
        "install_command",
        format!("echo $AD_REVISION >> {}", log.display()),
    )]);
    // The ledger begins.
    pipeline.commit(&[("app-0", b"x")]);
    let url = pipeline.svn.url();
    let file = pipeline.env.write("one", "x");
    let mut clients: Vec<_> = (1..=12)
        .map(|number| {
            Command::new(super::program("svn"))
                .env_clear()
                .env("HOME", pipeline.env.home())
                .args(["import", "-q", "-m", "x"])
                .arg(&file)
                .arg(format!("{url}/app-{number}"))
                .spawn()
                .expect("svn")
        })
        .collect();
    for client in &mut clients {
        assert!(client.wait().expect("svn").success());
    }
    let rows = pipeline.settled(13);
    assert_eq!(field(&rows, "state"), ["done"; 13]);
    let expected: Vec<String> = (1..=13).map(|revision: u32| revision.to_string()).collect();
    assert_eq!(host.lines("log"), expected);
}

#[test]
fn a_hook_that_waits_tells_how_it_ended() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[
        host.rule("good"),
        host.rule("bad").with("install_command", "exit 4"),
    ]);
    pipeline.commit(&[("good", b"x")]);
    pipeline.commit(&[("bad", b"x")]);
    pipeline.commit(&[("stranger", b"x")]);
    let wait = |revision: &str, code| {
        pipeline
            .ad(&["hook", pipeline.repository(), revision, "--wait"])
            .exits(code)
    };
    assert!(wait("1", 0).stdout.contains("done"));
    assert!(wait("2", 1).stdout.contains("exit status 4"));
    assert!(wait("3", 1).stdout.contains("no rule"));
}

#[test]
fn a_hook_that_waits_for_what_cannot_be_planned_says_so_and_tries_again_when_repeated() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.settings("plan_retry = 1h");
    pipeline.rules_text("[app\n");
    pipeline.commit(&[("app", b"x")]);
    pipeline.commit(&[("app", b"y")]);
    let ran = pipeline
        .ad(&["hook", pipeline.repository(), "1", "--wait"])
        .exits(3);
    assert!(ran.stderr.contains("general-dispatch-info.cfg:1"), "{ran}");
    // The second one waits behind the first.
    let ran = pipeline
        .ad(&["hook", pipeline.repository(), "2", "--wait"])
        .exits(3);
    assert!(
        ran.stderr.contains("r1") && ran.stderr.contains("general-dispatch-info.cfg:1"),
        "{ran}"
    );
    pipeline.rules(&[host.rule("app")]);
    pipeline
        .ad(&["hook", pipeline.repository(), "1", "--wait"])
        .exits(0);
    pipeline
        .ad(&["hook", pipeline.repository(), "2", "--wait"])
        .exits(0);
    assert_eq!(field(&pipeline.settled(2), "revision"), ["1", "2"]);
}

#[test]
fn a_broken_logger_cfg_costs_no_delivery_and_is_in_the_log() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    pipeline
        .env
        .write("repository/conf/logger.cfg", "[loggers]\nkeys=root\n");
    pipeline.commit(&[("app", b"x")]);
    assert_eq!(field(&pipeline.settled(1), "state"), ["done"]);
    let log = fs::read_to_string(pipeline.state().join("auto-dispatcher.log")).expect("a log");
    assert!(
        log.contains("logger.cfg") && log.contains("standard log"),
        "{log}"
    );
}

#[test]
fn a_worker_keeps_nothing_open_that_the_server_of_the_hook_had_open() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host
        .rule("app")
        .with("install_command", host.long_command())]);
    pipeline.commit(&[("app", b"x")]);
    let held = pipeline.env.path("held");
    let mut server = Command::new("sh");
    server
        .args(["-c", "exec 9>\"$1\"; shift; exec \"$@\"", "sh"])
        .arg(&held)
        .arg(env!("CARGO_BIN_EXE_auto-dispatcher"))
        .args(["hook", pipeline.repository(), "1"]);
    Ran::of(&mut server).exits(0);
    wait_until("the command began", LIMIT, || host.file("began").exists());
    for pid in pipeline.workers() {
        // Nobody but root may look.
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            assert!(!is_root());
            continue;
        };
        let open: Vec<_> = open
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .collect();
        assert!(!open.is_empty() && !open.contains(&held), "{open:?}");
    }
    host.go();
    pipeline.settled(1);
}

#[test]
fn a_mistake_in_the_settings_keeps_no_revision_from_being_recorded() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    pipeline.settings("workers = none");
    pipeline.commit(&[("app", b"x")]);
    pipeline.settings("");
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    assert_eq!(pipeline.delivery("app")["state"], "done");
}
