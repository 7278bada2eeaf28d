//! What may go wrong around an install command, and that it never runs twice for it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread::{ScopedJoinHandle, scope};
use std::time::Duration;

use auto_dispatcher::domain::fault::{Fault, FaultClass};
use auto_dispatcher::domain::install::{InstallEnd, InstallOutcome, InstallSpec};
use auto_dispatcher::transport::StopFlag;
use rustix::process::{Pid, Signal, kill_process};

use super::install_hosts::{lives, processes};
use crate::conformance::install_spec;
use crate::servers::ssh::{Caller, SshServer};
use crate::testenv::{needs_root, wait_until};

const LONG: Duration = Duration::from_mins(1);

/// Counts its runs, says that it began, and waits for `go`, at the login's home.
const WAITS: &str =
    "echo run >>runs; touch started; until [ -f go ]; do sleep 0.05; done; echo out; exit 7";

fn signal(pid: &str, signal: Signal) {
    let pid = pid.parse().ok().and_then(Pid::from_raw);
    // Gone already is as good.
    let _ = kill_process(pid.expect("a process id"), signal);
}

fn install(caller: &Caller, spec: &InstallSpec) -> Result<InstallOutcome, Fault> {
    caller.connect().install(spec, &mut |_| {})
}

#[track_caller]
fn fault_of(caller: &Caller, spec: &InstallSpec) -> FaultClass {
    install(caller, spec).expect_err("a fault").class
}

fn recorded(spec: &InstallSpec) -> InstallSpec {
    InstallSpec {
        recorded: true,
        ..spec.clone()
    }
}

fn runs(home: &Path) -> usize {
    let text = fs::read_to_string(home.join("runs")).unwrap_or_default();
    text.lines().count()
}

/// The processes whose parent is `pid`.
fn children(pid: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let ids = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
    ids.filter(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
        after.split(' ').nth(1) == Some(pid)
    })
    .collect()
}

/// Starts an install that waits for `go`, and does `meanwhile` when it runs; gives what its caller got.
fn interrupted(
    server: &SshServer,
    spec: &InstallSpec,
    meanwhile: impl FnOnce(&StopFlag),
) -> FaultClass {
    let started = server.home_on_disk().join("started");
    let caller = server.caller();
    let stop = caller.stop.clone();
    scope(|scope| {
        let first: ScopedJoinHandle<'_, FaultClass> = scope.spawn(move || fault_of(&caller, spec));
        wait_until("the command runs", LONG, || started.exists());
        meanwhile(&stop);
        first.join().expect("the caller")
    })
}

#[test]
fn a_killed_session_of_sshd_leaves_the_command_running_and_it_is_collected() {
    let server = SshServer::sshd("");
    let home = server.home_on_disk();
    let spec = install_spec("session", WAITS);
    let class = interrupted(&server, &spec, |_| {
        for child in children(&server.running.pid().to_string()) {
            for grandchild in children(&child) {
                signal(&grandchild, Signal::KILL);
            }
            signal(&child, Signal::KILL);
        }
    });
    assert_eq!(class, FaultClass::Transient);
    let record = home.join(".auto-dispatcher/session/status");
    assert!(!record.exists(), "the command goes on");
    fs::write(home.join("go"), "").expect("write");
    let outcome = install(&server.caller(), &recorded(&spec)).expect("collected");
    assert_eq!(outcome.end, InstallEnd::Exited(7));
    assert_eq!(outcome.output, b"out\n");
    assert_eq!(runs(home), 1);
}

#[test]
fn a_wrapper_that_was_killed_takes_nothing_from_the_time_limit() {
    let server = SshServer::sshd("");
    let command = "kill -KILL $(cut -d ' ' -f 2 .auto-dispatcher/limit/ran/pid); echo $$ >pid; while :; do sleep 1; done";
    let mut spec = install_spec("limit", command);
    spec.timeout_s = 2;
    let outcome = install(&server.caller(), &spec).expect("an outcome");
    assert_eq!(outcome.end, InstallEnd::TimedOut);
    let pid = fs::read_to_string(server.home_on_disk().join("pid")).expect("its id");
    wait_until("the command is gone", LONG, || !lives(pid.trim()));
}

#[test]
fn nothing_of_ours_stays_behind_a_command_that_was_killed_with_all_that_watched_it() {
    let server = SshServer::sshd("");
    let all = "read x y <.auto-dispatcher/all/ran/pid; kill -KILL $y $x; touch started; \
               until [ -f go ]; do sleep 0.05; done";
    let spec = install_spec("all", all);
    let record = server.home_on_disk().join(".auto-dispatcher/all");
    let mark = record.to_str().expect("UTF-8");
    let class = interrupted(&server, &spec, |_| {
        assert!(
            !processes(mark).is_empty(),
            "the time limit is still watched"
        );
        fs::write(server.home_on_disk().join("go"), "").expect("write");
    });
    assert_eq!(class, FaultClass::Unknown, "how it ended, nobody knows");
    wait_until("nothing of ours runs", LONG, || processes(mark).is_empty());
    let mut again = recorded(&spec);
    again.command = "echo run >>runs".to_owned();
    assert_eq!(fault_of(&server.caller(), &again), FaultClass::Unknown);
    assert_eq!(runs(server.home_on_disk()), 0);
}

#[test]
fn a_record_that_names_nobody_who_watches_is_found_lost() {
    let server = SshServer::sshd("");
    let all = "cd .auto-dispatcher/unwatched; read x y <ran/pid; read w <watch; : >watch; kill -KILL $w $y $x; \
               cd; touch started";
    let spec = install_spec("unwatched", all);
    assert_eq!(
        interrupted(&server, &spec, |_| {}),
        FaultClass::Unknown,
        "how it ended, nobody knows"
    );
}

#[test]
fn a_limit_that_passes_while_nobody_looks_is_told_to_the_next_caller() {
    let server = SshServer::sshd("");
    let mut spec = install_spec("late", WAITS);
    spec.timeout_s = 10;
    interrupted(&server, &spec, StopFlag::raise);
    let status = server.home_on_disk().join(".auto-dispatcher/late/status");
    wait_until("the limit has passed", LONG, || status.exists());
    let outcome = install(&server.caller(), &recorded(&spec)).expect("collected");
    assert_eq!(outcome.end, InstallEnd::TimedOut);
}

#[test]
fn a_record_that_was_removed_makes_unknown_and_the_command_does_not_run_again() {
    let server = SshServer::sshd("");
    let home = server.home_on_disk();
    let mut spec = install_spec("removed", "echo run >>runs; exit 3");
    install(&server.caller(), &spec).expect("an outcome");
    let record = home.join(".auto-dispatcher/removed");
    let mark = record.to_str().expect("UTF-8");
    wait_until("nothing of ours runs", LONG, || processes(mark).is_empty());
    fs::remove_dir_all(home.join(".auto-dispatcher")).expect("rm");
    spec.recorded = true;
    assert_eq!(fault_of(&server.caller(), &spec), FaultClass::Unknown);
    assert_eq!(runs(home), 1);
    assert!(
        !home.join(".auto-dispatcher").exists(),
        "nothing is made up"
    );
    spec.idempotent = true;
    let outcome = install(&server.caller(), &spec).expect("an outcome");
    assert_eq!((outcome.end, runs(home)), (InstallEnd::Exited(3), 2));
}

/// Lets the host prepare itself and then says no, as a worker does that dies at that moment.
fn prepared(server: &SshServer, spec: &InstallSpec) {
    let home = server.home_on_disk();
    let mut asked = 0;
    let mut no = || {
        asked += 1;
        assert!(
            home.join(".auto-dispatcher")
                .join(&spec.token)
                .join("run")
                .exists()
        );
        Err(Fault::transient("no"))
    };
    let fault = server
        .caller()
        .connect()
        .install_when(spec, &mut no, &mut |_| {});
    assert_eq!(fault.expect_err("a fault").message, "no");
    assert_eq!(asked, 1);
}

#[test]
fn a_command_that_provably_did_not_begin_runs_after_all() {
    let server = SshServer::sshd("");
    let home = server.home_on_disk();
    let spec = install_spec("prepared", "echo run >>runs; exit 3");
    prepared(&server, &spec);
    assert_eq!(runs(home), 0);
    let mut never = || panic!("it is on record already");
    for _ in 0..2 {
        let mut session = server.caller().connect();
        let outcome = session.install_when(&recorded(&spec), &mut never, &mut |_| {});
        assert_eq!(outcome.expect("an outcome").end, InstallEnd::Exited(3));
        assert_eq!(runs(home), 1);
    }
}

/// A host that can be reset: it reads the number of its boot from a file of ours.
fn resettable(dir: &Path) -> (SshServer, PathBuf) {
    let boot_id = dir.join("boot_id");
    fs::write(&boot_id, "1111\n").expect("write");
    let bind = (
        boot_id.clone(),
        PathBuf::from("/proc/sys/kernel/random/boot_id"),
    );
    let server = SshServer::sshd_where("/bin/sh", "", |user| user.binds.push(bind));
    (server, boot_id)
}

#[test]
fn a_host_that_was_reset_makes_unknown_whatever_the_command_had_come_to() {
    needs_root!();
    let dir = tempfile::tempdir().expect("a directory");
    let (server, boot_id) = resettable(dir.path());
    let home = server.home_on_disk();
    let running = install_spec("running", WAITS);
    interrupted(&server, &running, StopFlag::raise);
    let before = install_spec("before", "echo run >>runs");
    prepared(&server, &before);
    // The reset: nothing runs any more, and the boot is another one.
    let mark = home.join(".auto-dispatcher");
    let mark = mark.to_str().expect("UTF-8");
    for by in [Signal::STOP, Signal::KILL] {
        for pid in processes(mark) {
            for child in children(&pid) {
                signal(&child, by);
            }
            signal(&pid, by);
        }
    }
    wait_until("nothing runs there", LONG, || processes(mark).is_empty());
    fs::write(&boot_id, "2222\n").expect("write");
    for spec in [&running, &before] {
        assert_eq!(
            fault_of(&server.caller(), &recorded(spec)),
            FaultClass::Unknown,
            "{}",
            spec.token
        );
    }
    assert_eq!(runs(home), 1, "the one of before the reset");
    // What had ended before the reset is known all the same.
    fs::write(home.join(".auto-dispatcher/running/status"), "5\n").expect("write");
    let outcome = install(&server.caller(), &recorded(&running)).expect("collected");
    assert_eq!(outcome.end, InstallEnd::Exited(5));
}

/// Fills the login's disk but for nothing, as the host sees it; gives the file that fills it.
fn fill(home: &Path) -> PathBuf {
    let big = home.join("big");
    let mut file = fs::File::create(&big).expect("a file");
    let full = std::io::copy(&mut std::io::repeat(7), &mut file).expect_err("a full disk");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    big
}

/// The home of a server with a disk of its own: the mount is seen by the server alone.
fn home_there(server: &SshServer) -> PathBuf {
    let home = server.home_on_disk().strip_prefix("/").expect("absolute");
    let there = Path::new("/proc")
        .join(server.running.pid().to_string())
        .join("root")
        .join(home);
    let device = |path: &Path| fs::metadata(path).expect("a home").dev();
    assert_ne!(
        device(&there),
        device(server.home_on_disk()),
        "a disk of its own"
    );
    there
}

#[test]
fn a_full_disk_keeps_the_command_from_beginning_at_every_stage() {
    needs_root!();
    let server = SshServer::with_small_disk("");
    let home = home_there(&server);
    let spec = install_spec("full", "echo run >>/dev/null; echo out; exit 3");
    let big = fill(&home);
    assert_eq!(fault_of(&server.caller(), &spec), FaultClass::Transient);
    fs::remove_file(&big).expect("rm");
    // Full between the preparation and the beginning: the lock cannot say whose it is.
    let mut fills = || {
        fill(&home);
        Ok(())
    };
    let fault = server
        .caller()
        .connect()
        .install_when(&spec, &mut fills, &mut |_| {});
    let fault = fault.expect_err("a fault");
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert!(!home.join(".auto-dispatcher/full/ran").exists());
    fs::remove_file(&big).expect("rm");
    let outcome = install(&server.caller(), &recorded(&spec)).expect("an outcome");
    assert_eq!(
        (outcome.end, outcome.output.as_slice()),
        (InstallEnd::Exited(3), &b"out\n"[..])
    );
}

#[test]
fn a_status_that_finds_no_room_on_the_disk_is_written_when_there_is() {
    needs_root!();
    let server = SshServer::with_small_disk("");
    let home = home_there(&server);
    let spec = install_spec(
        "status",
        "touch a; cat /dev/zero >big 2>/dev/null; mv a filled; exit 3",
    );
    let caller = server.caller();
    let outcome = scope(|scope| {
        let caller = scope.spawn(move || install(&caller, &spec));
        wait_until("the disk is full", LONG, || home.join("filled").exists());
        let pid = home.join(".auto-dispatcher/status/ran/pid");
        let text = fs::read_to_string(pid).expect("who ran it");
        let runner = text.split(' ').next().expect("a process id").to_owned();
        wait_until("what ran it has ended", LONG, || !lives(&runner));
        assert!(!home.join(".auto-dispatcher/status/status").exists());
        fs::remove_file(home.join("big")).expect("rm");
        caller.join().expect("the caller")
    });
    assert_eq!(outcome.expect("an outcome").end, InstallEnd::Exited(3));
}
