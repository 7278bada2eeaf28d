//! Sessions that stay open between two packages for the same host: one login for several, and no package worse off for
//! a session that did not last.

use std::fs;

use auto_dispatcher::domain::delivery::State;

use super::host::Host;
use super::{LIMIT, Pipeline, field};
use crate::testenv::wait_until;

/// How often somebody logged in.
fn logins(host: &Host) -> usize {
    host.log().matches("Accepted publickey").count()
}

/// Commits a package of this name and waits until it is installed at the first attempt.
#[track_caller]
fn delivered(pipeline: &Pipeline, name: &str) {
    pipeline.commit(&[(name, name.as_bytes())]);
    let row = pipeline.awaits(name, State::Done);
    assert_eq!(row["attempts"], 1, "{row}");
    assert_eq!(row["exit_status"], 0, "{row}");
}

/// A worker as a service, with these settings, and packages that are installed on `host`.
fn served(host: &Host, settings: &str) -> (Pipeline, super::Process) {
    let install = "cat {path} >> installed";
    let rule = host.rule("p-").with("install_command", install);
    let pipeline = Pipeline::new(&[rule]);
    pipeline.settings(settings);
    let worker = pipeline.spawn(&["worker"]);
    wait_until("the worker lives", LIMIT, || !pipeline.workers().is_empty());
    (pipeline, worker)
}

#[test]
fn one_login_serves_packages_that_follow_one_another() {
    let host = Host::up();
    let (pipeline, _worker) = served(&host, "keep_session = 5m");
    for name in ["p-1", "p-2", "p-3"] {
        delivered(&pipeline, name);
    }
    assert_eq!(logins(&host), 1, "{}", host.log());
    assert_eq!(
        fs::read(host.file("installed")).expect("file"),
        b"p-1p-2p-3"
    );
    assert_eq!(host.list("in"), ["p-1", "p-2", "p-3"]);
}

#[test]
fn without_keeping_each_package_logs_in_by_itself() {
    let host = Host::up();
    let (pipeline, _worker) = served(&host, "keep_session = 0");
    delivered(&pipeline, "p-1");
    wait_until("the session has ended", LIMIT, || {
        host.log().contains("Disconnected from")
    });
    delivered(&pipeline, "p-2");
    assert_eq!(logins(&host), 2, "{}", host.log());
}

#[test]
fn a_session_that_was_cut_meanwhile_costs_no_attempt() {
    let host = Host::up();
    let (pipeline, _worker) = served(&host, "keep_session = 5m");
    delivered(&pipeline, "p-1");
    assert!(host.kill_sessions() > 0);
    delivered(&pipeline, "p-2");
    assert_eq!(logins(&host), 2, "{}", host.log());
}

/// Waits until nothing is done for what is delivered any more: at last its artifact goes.
fn is_tidied(pipeline: &Pipeline) {
    wait_until("the spool is empty", LIMIT, || {
        let entries = fs::read_dir(pipeline.state().join("spool")).expect("the spool");
        entries.flatten().all(|entry| entry.file_name().len() < 64)
    });
}

#[test]
fn a_shell_that_was_kept_and_killed_costs_no_attempt() {
    let host = Host::up();
    let (pipeline, _worker) = served(&host, "keep_session = 5m");
    delivered(&pipeline, "p-1");
    // The shells that wait for scripts, told from others by the home that the host gives them.
    let home = format!("HOME={}", host.home().display());
    let waiting = || -> Vec<i32> {
        let holds = |pid: &str, file: &str, what: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(what)
        };
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|pid| holds(pid, "environ", &home) && holds(pid, "cmdline", "IFS= read -r l"))
            .filter_map(|pid| pid.parse().ok())
            .collect()
    };
    is_tidied(&pipeline);
    wait_until("a shell waits", LIMIT, || !waiting().is_empty());
    for pid in waiting() {
        super::signal(pid, rustix::process::Signal::KILL);
    }
    delivered(&pipeline, "p-2");
    assert_eq!(logins(&host), 1, "{}", host.log());
}

#[test]
fn hosts_that_allow_one_channel_or_two_are_served_again_and_again() {
    for most in [1, 2] {
        let host = Host::with(&format!("MaxSessions {most}"));
        let (pipeline, _worker) = served(&host, "keep_session = 5m");
        for name in ["p-1", "p-2", "p-3"] {
            delivered(&pipeline, name);
        }
        assert_eq!(logins(&host), 1, "{}", host.log());
    }
}

#[test]
fn a_session_is_closed_when_nothing_comes_and_when_the_worker_ends() {
    let host = Host::up();
    let (pipeline, mut worker) = served(&host, "keep_session = 1");
    let ended = || host.log().matches("Disconnected from").count();
    delivered(&pipeline, "p-1");
    wait_until("it is closed politely", LIMIT, || ended() == 1);
    pipeline.settings("keep_session = 5m");
    worker.terminate();
    assert_eq!(worker.ends(), Some(0));
    let mut worker = pipeline.spawn(&["worker"]);
    wait_until("the worker lives", LIMIT, || !pipeline.workers().is_empty());
    delivered(&pipeline, "p-2");
    is_tidied(&pipeline);
    worker.terminate();
    assert_eq!(worker.ends(), Some(0));
    wait_until("it is closed politely", LIMIT, || ended() == 2);
    assert_eq!(field(&pipeline.history(), "state"), ["done", "done"]);
}
