//! Connections that end before the server has answered anything of a login: nobody was refused, and no password goes to
//! somebody who would have taken the key.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use auto_dispatcher::domain::fault::FaultClass;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::servers::relay::Relay;
use crate::servers::ssh::{Caller, SshServer, new_key};
use crate::testenv::{TestEnv, needs_root, wait_until};

const LIMIT: Duration = Duration::from_mins(1);

/// A FIFO: an sshd that shows it as its banner, before it answers the first message of a login, waits there.
fn fifo(env: &TestEnv) -> PathBuf {
    let fifo = env.path("banner");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("mkfifo");
    fifo
}

/// Cuts the line when sshd waits for its banner; later callers find none.
fn cut_at_first_message(server: i32, relay: &Relay, fifo: &Path) {
    wait_until("sshd waits for its banner", LIMIT, || {
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
        let children = children.expect("sshd lives");
        children.split_whitespace().any(|child| {
            let waits = fs::read_to_string(format!("/proc/{child}/wchan"));
            waits.is_ok_and(|waits| waits.contains("wait_for_partner"))
        })
    });
    fs::remove_file(fifo).expect("rm");
    relay.cut();
}

/// What comes of a caller whose first connection is cut there.
fn dials<T>(
    server: &SshServer,
    fifo: &Path,
    mut caller: Caller,
    dial: fn(&Caller) -> T,
) -> (T, Caller) {
    let relay = Relay::to(server.running.port, u64::MAX);
    caller.target.ssh_port = relay.port;
    let pid = server.running.pid();
    let came = thread::scope(|scope| {
        scope.spawn(|| cut_at_first_message(pid, &relay, fifo));
        dial(&caller)
    });
    (came, caller)
}

#[test]
fn a_key_has_its_turn_again_and_the_password_is_not_asked_for() {
    needs_root!();
    let env = TestEnv::new();
    let fifo = fifo(&env);
    let server = SshServer::sshd(&format!("Banner {}", fifo.display()));
    let mut caller = server.caller();
    caller.password = Some("long out of date".to_owned());
    let (session, caller) = dials(&server, &fifo, caller, Caller::connect);
    session.close();
    assert_eq!(caller.asked.get(), 0);
}

#[test]
fn a_connection_that_ends_before_anything_was_tried_is_unreachable() {
    needs_root!();
    let env = TestEnv::new();
    let fifo = fifo(&env);
    let banner = format!("Banner {}", fifo.display());
    let server = SshServer::sshd_with_user("/bin/sh", &banner);
    let mut caller = server.caller();
    caller.terms.identity_file = Some(env.path("no such key"));
    let (error, caller) = dials(&server, &fifo, caller, Caller::refused);
    assert_eq!(error.fault.class, FaultClass::Unreachable, "{error}");
    assert!(error.proved.is_some());
    assert_eq!(caller.asked.get(), 0);
}

#[test]
fn a_key_that_is_refused_costs_the_next_one_no_try() {
    let env = TestEnv::new();
    let server = SshServer::sshd("MaxAuthTries 2\nLogLevel DEBUG1");
    let mut caller = server.caller();
    new_key(&env.path("other"), "ed25519", "");
    env.write("home/.ssh/id_ed25519", "");
    fs::copy(server.path("client"), env.path("home/.ssh/id_ed25519")).expect("cp");
    caller.terms.identity_file = Some(env.path("other"));
    caller.surroundings.home = Some(env.path("home"));
    caller.connect().close();
    let log = server.running.log();
    assert_eq!(log.matches("method none").count(), 0, "{log}");
}
