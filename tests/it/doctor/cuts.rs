//! Connections that are cut in the midst of a trial, at many places, and a doctor that is told to end: nothing stays on
//! the host.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::{Clinic, picture, says};
use crate::pipeline::host::Host;
use crate::pipeline::{LIMIT, signal};
use crate::servers::pyftpdlib::{LOGIN, PASSWORD, Pyftpdlib};
use crate::servers::relay::Relay;
use crate::testenv::{Ran, wait_until};

/// More bytes than a client sends in a whole run.
const WHOLE: u64 = 20_000;

/// Waits until the host has done what it was told before the line held: nothing comes from it any more.
fn is_answered(relay: &Relay) {
    let mut since = Instant::now();
    wait_until("the host is silent", LIMIT, || {
        if relay.take_count() > 0 {
            since = Instant::now();
        }
        since.elapsed() > Duration::from_millis(100)
    });
}

#[test]
fn a_cut_anywhere_in_a_trial_over_ssh_leaves_nothing_on_the_host() {
    let host = Host::up();
    std::fs::create_dir(host.file("in")).expect("mkdir");
    let clinic = Clinic::new(&[]);
    let before = picture(&host.home());
    let mut cut_in_trial = 0;
    for bytes in (3_000..WHOLE).step_by(250) {
        let relay = Relay::to(host.port, bytes);
        clinic
            .pipeline
            .rules(&[host.rule("app").with("ssh_port", relay.port)]);
        let mut command = clinic.pipeline.env.command();
        command
            .args(["doctor", clinic.pipeline.repository(), "--json"])
            .stdout(Stdio::piped());
        let mut running = command.spawn().expect("doctor");
        wait_until("the line holds, or all is over", LIMIT, || {
            relay.holds() || running.try_wait().expect("wait").is_some()
        });
        if !relay.holds() {
            break;
        }
        is_answered(&relay);
        relay.cut();
        let output = running.wait_with_output().expect("doctor");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.code() == Some(0) {
            // Only the farewell was cut off: everything that a trial looks at was seen.
            for check in ["directory", "space", "digest", "sh", "clock"] {
                assert!(
                    said.contains(&format!("\"check\":\"{check}\"")),
                    "no {check}: {said}"
                );
            }
            assert_eq!(picture(&host.home()), before, "after {bytes} bytes: {said}");
            break;
        }
        assert_eq!(output.status.code(), Some(1), "{said}");
        cut_in_trial += usize::from(said.contains("\"directory\""));
        assert!(!said.contains("may lie there"), "{said}");
        assert_eq!(picture(&host.home()), before, "after {bytes} bytes: {said}");
    }
    assert!(
        cut_in_trial >= 3,
        "only {cut_in_trial} cuts were in the trial"
    );
}

#[test]
fn a_cut_of_the_data_connection_over_ftp_leaves_nothing_on_the_host() {
    let clinic = Clinic::new(&[]);
    let server = Pyftpdlib::start(clinic.pipeline.env.root(), None, json!({"cut_after": 10}));
    clinic.pipeline.rules_text(&format!(
        "[app]\nhost = 127.0.0.1\nftp_port = {}\nlogin = {LOGIN}\npassword = {PASSWORD}\ntransports = ftp\ndest_dir = /\n",
        server.port
    ));
    let before = picture(server.home());
    let ran = clinic.doctor(&[]).exits(1);
    says(&ran, "directory", "failure", &["transient"]);
    assert_eq!(picture(server.home()), before);
    // The server cuts once alone.
    clinic.doctor(&[]).exits(0);
}

#[test]
fn a_doctor_that_is_told_to_end_takes_away_what_it_has_on_a_host() {
    let host = Host::up();
    std::fs::create_dir(host.file("in")).expect("mkdir");
    let clinic = Clinic::new(&[]);
    let before = picture(&host.home());
    for bytes in [4_000, 5_000, 6_000] {
        let relay = Relay::to(host.port, bytes);
        clinic
            .pipeline
            .rules(&[host.rule("app").with("ssh_port", relay.port)]);
        let mut command = clinic.pipeline.env.command();
        command
            .args(["doctor", clinic.pipeline.repository()])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut running = command.spawn().expect("doctor");
        wait_until("the line holds, or all is over", LIMIT, || {
            relay.holds() || running.try_wait().expect("wait").is_some()
        });
        assert!(relay.holds(), "the whole run took less than {bytes} bytes");
        is_answered(&relay);
        signal(running.id().cast_signed(), Signal::TERM);
        relay.cut();
        assert_eq!(running.wait().expect("doctor").code(), Some(130));
        assert_eq!(picture(&host.home()), before, "after {bytes} bytes");
        drop(relay);
    }
    let ran: Ran = clinic.doctor(&["--local"]);
    ran.exits(0);
}
