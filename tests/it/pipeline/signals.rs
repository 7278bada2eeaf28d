//! SIGTERM and SIGINT end every command soon, whatever it is at, and what it was at goes on later.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use auto_dispatcher::domain::delivery::State;
use rusqlite::Connection;
use rustix::process::Signal;

use super::gate::Gate;
use super::host::Host;
use super::rule::Rule;
use super::{LIMIT, Pipeline, Process, signal};
use crate::testenv::{runs, wait_until};

/// Every phase of these tests lasts for minutes if nobody ends it.
const SOON: Duration = Duration::from_mins(1);

/// Sends a signal and gives the exit code; none for a death by signal.
#[track_caller]
fn ends_by(process: &mut Process, with: Signal) -> Option<i32> {
    signal(process.0.id().cast_signed(), with);
    let begun = Instant::now();
    let mut status = None;
    wait_until("the process ends", SOON, || {
        status = process.0.try_wait().expect("wait");
        status.is_some()
    });
    eprintln!("ended after {:?}", begun.elapsed());
    status.and_then(|status| status.code())
}

/// More than an hour of sleep, by a number that no other run uses; each test has its hour.
fn hours(hours: u32) -> String {
    format!("{}.{}", hours * 3600, std::process::id())
}

/// A file to send that the rule `app` takes.
fn package(pipeline: &Pipeline) -> PathBuf {
    pipeline.env.write("app", vec![7; 4_000_000])
}

fn send(pipeline: &Pipeline) -> Process {
    pipeline.spawn(&["send", package(pipeline).to_str().expect("UTF-8")])
}

/// A program that sleeps for so long instead of svnlook, when asked for `word` (any, if it is empty).
fn sleepy_svnlook(pipeline: &Pipeline, word: &str, seconds: &str) -> PathBuf {
    let real = super::svnlook();
    let real = real.display();
    let text = format!(
        "#!/bin/sh\ncase $1 in {word}*) exec sleep {seconds};; *) exec {real} \"$@\";; esac\n"
    );
    pipeline.env.program("sleepy", text)
}

fn is_queued(pipeline: &Pipeline) {
    let row = pipeline.delivery("app");
    assert_eq!(row["state"], "queued", "{row}");
    assert!(pipeline.workers().is_empty());
}

/// What was interrupted is brought to its end by the next worker.
fn goes_on(pipeline: &Pipeline) {
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    assert_eq!(pipeline.delivery("app")["state"], "done");
}

#[test]
fn dialling_a_host_that_never_answers() {
    // Who fills the queue of a listener that accepts nobody makes the kernel drop what comes then.
    let listener = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .expect("a socket");
    let any = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    rustix::net::bind(&listener, &any).expect("bind");
    rustix::net::listen(&listener, 0).expect("listen");
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().expect("an address");
    let mut queue = Vec::new();
    while let Ok(one) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queue.push(one);
    }
    for with in [Signal::TERM, Signal::INT] {
        let pipeline = Pipeline::bare();
        pipeline.rules(&[Rule::new("app")
            .with("host", "127.0.0.1")
            .with("login", "nobody")
            .with("ssh_port", address.port())
            .with("connect_timeout", "2h")]);
        let mut sending = send(&pipeline);
        wait_until("it dials", LIMIT, || {
            !pipeline.history().is_empty() && pipeline.delivery("app")["step"] == "upload"
        });
        assert_eq!(ends_by(&mut sending, with), Some(130));
        is_queued(&pipeline);
    }
}

#[test]
fn waiting_for_a_host_that_says_nothing() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let port = listener.local_addr().expect("an address").port();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[Rule::new("app")
        .with("host", "127.0.0.1")
        .with("login", "nobody")
        .with("ssh_port", port)
        .with("connect_timeout", "2h")]);
    pipeline.commit(&[("app", b"x")]);
    let mut waiting = pipeline.spawn(&["hook", pipeline.repository(), "1", "--wait"]);
    let (mut caller, _) = listener.accept().expect("a caller");
    let mut banner = [0; 4];
    caller.read_exact(&mut banner).expect("its banner");
    assert_eq!(ends_by(&mut waiting, Signal::INT), Some(130));
    // What a hook leaves is a worker's, and one was started for it.
    wait_until("a worker lives", LIMIT, || !pipeline.workers().is_empty());
}

#[test]
fn waiting_for_an_ftp_server_that_says_nothing() {
    for transport in ["ftp", "ftps"] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let port = listener.local_addr().expect("an address").port();
        let pipeline = Pipeline::bare();
        pipeline.rules(&[Rule::new("app")
            .with("host", "127.0.0.1")
            .with("login", "nobody")
            .with("password", "sEcReT-x")
            .with("transports", transport)
            .with("ftp_port", port)
            .with("connect_timeout", "2h")]);
        let mut sending = send(&pipeline);
        let caller = listener.accept().expect("a caller");
        assert_eq!(ends_by(&mut sending, Signal::TERM), Some(130));
        is_queued(&pipeline);
        drop(caller);
    }
}

#[test]
fn waiting_for_a_password_command() {
    let host = Host::with("PasswordAuthentication yes");
    let pipeline = Pipeline::bare();
    let rule = host.rule("app").without("identity_file");
    let words = ["/bin/sleep", &hours(2)];
    pipeline.rules(&[rule.with("password_command", words.join(" "))]);
    let mut sending = send(&pipeline);
    wait_until("the command runs", LIMIT, || runs(&words));
    assert_eq!(ends_by(&mut sending, Signal::TERM), Some(130));
    assert!(!runs(&words), "it ended with us");
    is_queued(&pipeline);
}

#[test]
fn planning_with_a_svnlook_that_hangs() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app")]);
    let sleepy = sleepy_svnlook(&pipeline, "", &hours(3));
    pipeline.settings(&format!("svnlook = {}", sleepy.display()));
    pipeline.commit(&[("app", b"x")]);
    for with in [Signal::TERM, Signal::INT] {
        let mut worker = pipeline.spawn(&["worker"]);
        wait_until("the worker lives", LIMIT, || !pipeline.workers().is_empty());
        pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
        wait_until("svnlook hangs", LIMIT, || runs(&["sleep", &hours(3)]));
        assert_eq!(ends_by(&mut worker, with), Some(0));
        assert!(!runs(&["sleep", &hours(3)]), "svnlook ended with us");
    }
    pipeline.settings("");
    goes_on(&pipeline);
}

#[test]
fn what_a_command_has_started_before_there_is_work_ends_with_it() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app")]);
    pipeline.commit(&[("app", b"x")]);
    let seconds = hours(9);
    let sleepy = sleepy_svnlook(&pipeline, "", &seconds);
    pipeline.settings(&format!(
        "svnlook = {}\n[notify:a]\nnotify_command = /bin/sleep {seconds}\n",
        sleepy.display()
    ));
    for args in [
        &["changed", pipeline.repository(), "1"][..],
        &["replay", pipeline.repository(), "1"],
        &["notify", "--test"],
    ] {
        let mut command = pipeline.spawn(args);
        let runs = || runs(&["sleep", &seconds]) || runs(&["/bin/sleep", &seconds]);
        wait_until(&format!("{args:?}: it hangs"), LIMIT, runs);
        assert_eq!(ends_by(&mut command, Signal::INT), None, "by the signal");
        wait_until(&format!("{args:?}: it has gone"), LIMIT, || !runs());
    }
}

#[test]
fn exporting_with_a_svnlook_that_hangs() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app")]);
    let sleepy = sleepy_svnlook(&pipeline, "cat", &hours(4));
    pipeline.settings(&format!("svnlook = {}", sleepy.display()));
    pipeline.commit(&[("app", b"x")]);
    let mut replay = pipeline.spawn(&["replay", pipeline.repository(), "1"]);
    wait_until("svnlook hangs", LIMIT, || runs(&["sleep", &hours(4)]));
    assert_eq!(ends_by(&mut replay, Signal::TERM), Some(130));
    assert!(!runs(&["sleep", &hours(4)]), "svnlook ended with us");
    is_queued(&pipeline);
    pipeline.settings("");
    goes_on(&pipeline);
}

#[test]
fn an_upload_that_stands_still() {
    for with in [Signal::TERM, Signal::INT] {
        let host = Host::up();
        let gate = Gate::to(host.port, 1_000_000);
        let pipeline = Pipeline::bare();
        let rule = host.rule("app").with("ssh_port", gate.port);
        pipeline.rules(&[rule.with("stall_timeout", "2h")]);
        let mut sending = send(&pipeline);
        gate.holds();
        assert_eq!(ends_by(&mut sending, with), Some(130));
        is_queued(&pipeline);
        gate.open();
        goes_on(&pipeline);
    }
}

#[test]
fn an_install_that_is_followed() {
    for with in [Signal::TERM, Signal::INT] {
        let host = Host::up();
        let pipeline = Pipeline::bare();
        let rule = host.rule("app");
        pipeline.rules(&[rule.with("install_command", host.long_command())]);
        pipeline.commit(&[("app", b"x")]);
        let mut replay = pipeline.spawn(&["replay", pipeline.repository(), "1"]);
        wait_until("the command began", LIMIT, || host.file("began").exists());
        assert_eq!(ends_by(&mut replay, with), Some(130));
        is_queued(&pipeline);
        host.go();
        goes_on(&pipeline);
        assert_eq!(host.lines("ran").len(), 1);
    }
}

#[test]
fn a_journal_that_somebody_else_holds() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    let rule = host.rule("app");
    pipeline.rules(&[rule.with("install_command", host.long_command())]);
    pipeline.commit(&[("app", b"x")]);
    let mut replay = pipeline.spawn(&["replay", pipeline.repository(), "1"]);
    wait_until("the command began", LIMIT, || host.file("began").exists());
    let held = Connection::open(pipeline.state().join("journal.sqlite")).expect("SQLite");
    held.busy_timeout(LIMIT).expect("patience");
    held.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let code = ends_by(&mut replay, Signal::TERM);
    assert!(matches!(code, Some(5 | 130)), "{code:?}");
    held.execute_batch("ROLLBACK").expect("released");
    host.go();
    goes_on(&pipeline);
    assert_eq!(host.lines("ran").len(), 1);
}

#[test]
fn a_retry_that_is_waited_for() {
    let host = Host::down();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app").with("retry_delay", "5m")]);
    let mut sending = send(&pipeline);
    wait_until("the delivery waits", LIMIT, || {
        !pipeline.history().is_empty() && pipeline.delivery("app")["state"] == "waiting"
    });
    assert_eq!(ends_by(&mut sending, Signal::INT), Some(130));
    assert_eq!(pipeline.delivery("app")["state"], "waiting");
}

#[test]
fn a_second_signal_ends_what_the_first_cannot() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    // Authorities on a file system that hangs, as far as a reader can tell.
    let known = pipeline.env.path("known");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &known,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a FIFO");
    pipeline.rules(&[host
        .rule("app")
        .with("transports", "ftps")
        .with("ca_file", known.display())]);
    let mut sending = send(&pipeline);
    wait_until("the host is dialled", LIMIT, || {
        !pipeline.history().is_empty() && pipeline.delivery("app")["step"] == "upload"
    });
    // Opening the other end does not block once somebody reads, or waits to.
    wait_until("somebody reads the file", LIMIT, || {
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
        let opened = rustix::fs::open(&known, flags, rustix::fs::Mode::empty());
        opened.is_ok_and(|end| {
            // Kept open, so that the reader goes on waiting.
            std::mem::forget(end);
            true
        })
    });
    let pid = sending.0.id().cast_signed();
    signal(pid, Signal::TERM);
    wait_until("the first signal is heard", LIMIT, || pending(pid) == 0);
    let mut status = None;
    wait_until("a further signal ends it", LIMIT, || {
        // Two that come before a busy machine looks are one.
        signal(pid, Signal::TERM);
        status = sending.0.try_wait().expect("wait");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(130));
    let row = pipeline.delivery("app");
    assert_eq!(row["state"], "running", "as a killed one leaves it: {row}");
}

/// The signals that wait for a process to take them.
fn pending(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let line = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    u64::from_str_radix(line.expect("ShdPnd").trim(), 16).expect("a number")
}

#[test]
fn a_terminal_that_closes_leaves_the_work_to_the_next_worker() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    let rule = host.rule("app");
    pipeline.rules(&[rule.with("install_command", host.long_command())]);
    let mut sending = send(&pipeline);
    wait_until("the command began", LIMIT, || host.file("began").exists());
    assert_eq!(
        ends_by(&mut sending, Signal::HUP),
        None,
        "by the signal itself"
    );
    host.go();
    goes_on(&pipeline);
    assert_eq!(host.lines("ran").len(), 1);
}

#[test]
fn a_reader_of_our_output_that_goes_away_ends_no_delivery() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    let rule = host.rule("app");
    pipeline.rules(&[rule.with("install_command", host.long_command())]);
    let file = package(&pipeline);
    let mut command = pipeline.command(&["send", file.to_str().expect("UTF-8")]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut sending = Process(command.spawn().expect("the binary"));
    wait_until("the command began", LIMIT, || host.file("began").exists());
    drop((sending.0.stdout.take(), sending.0.stderr.take()));
    host.go();
    pipeline.awaits("app", State::Done);
    assert!(sending.ends().is_some(), "by itself, not by SIGPIPE");
    assert_eq!(host.lines("ran").len(), 1);
}
