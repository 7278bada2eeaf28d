//! A host that falls silent in the middle, by way of a relay that stops relaying.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auto_dispatcher::domain::fault::FaultClass;
use auto_dispatcher::domain::install::InstallEnd;
use auto_dispatcher::domain::target::InstallMode;

use crate::conformance::{Package, install_spec};
use crate::servers::ssh::SshServer;
use crate::testenv::wait_until;

/// Relays until it is frozen, then swallows everything.
fn relay(mut from: TcpStream, mut to: TcpStream, frozen: &Arc<AtomicBool>) {
    let frozen = Arc::clone(frozen);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if !frozen.load(Ordering::SeqCst) && to.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    });
}

/// A port behind which the server is, until the flag is set.
fn frozen_on_demand(server: &SshServer) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let port = listener.local_addr().expect("an address").port();
    let frozen = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&frozen);
    let behind = server.running.port;
    std::thread::spawn(move || {
        let (near, _) = listener.accept().expect("accept");
        let far = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).expect("connect");
        let copies = (
            near.try_clone().expect("dup"),
            far.try_clone().expect("dup"),
        );
        relay(near, far, &flag);
        relay(copies.1, copies.0, &flag);
    });
    (port, frozen)
}

#[test]
fn a_session_with_a_host_that_fell_silent_is_dropped_and_closed_all_the_same() {
    let server = SshServer::sshd("");
    for closes in [false, true] {
        let (port, frozen) = frozen_on_demand(&server);
        let mut caller = server.caller();
        caller.target.ssh_port = port;
        let mut session = caller.connect();
        session.prepare_dir("~/silent").expect("prepare_dir");
        frozen.store(true, Ordering::SeqCst);
        let ended = std::thread::spawn(move || {
            if closes {
                session.close();
            } else {
                drop(session);
            }
        });
        wait_until("the session is gone", Duration::from_secs(30), || {
            ended.is_finished()
        });
    }
}

#[test]
fn a_plain_command_is_silent_by_right_while_the_host_is_there() {
    let server = SshServer::sshd("");
    let (port, frozen) = frozen_on_demand(&server);
    let mut caller = server.caller();
    caller.target.ssh_port = port;
    caller.terms.stall_timeout_s = 4;
    let mut session = caller.connect();
    let mut spec = install_spec("quiet", "sleep 8; echo end; exit 3");
    spec.mode = InstallMode::Plain;
    spec.timeout_s = 600;
    let outcome = session.install(&spec, &mut |_| {}).expect("the outcome");
    assert_eq!(outcome.end, InstallEnd::Exited(3));
    // Its limit is far away: only the missing sign of life ends this.
    spec.command = "echo begun; exec sleep 30".to_owned();
    let fault = session
        .install(&spec, &mut |_| frozen.store(true, Ordering::SeqCst))
        .expect_err("a fault");
    assert_eq!(fault.class, FaultClass::Unknown, "{fault}");
    assert!(fault.message.contains("stall_timeout"), "{fault}");
}

#[test]
fn a_host_that_falls_silent_is_a_transient_fault() {
    let server = SshServer::sshd("");
    for what in ["upload", "install"] {
        let (port, frozen) = frozen_on_demand(&server);
        let mut caller = server.caller();
        caller.target.ssh_port = port;
        caller.terms.stall_timeout_s = 4;
        let mut session = caller.connect();
        let dir = session.prepare_dir("~/silent").expect("prepare_dir");
        let package = Package::of_size(3_000_000);
        let fault = if what == "upload" {
            frozen.store(true, Ordering::SeqCst);
            let upload = package.upload(&dir, "name", ".tmp");
            session.upload(&upload, &mut |_| {}).expect_err("a fault")
        } else {
            // The host falls silent when the command has begun to talk; it is cut off, not ended.
            let spec = install_spec("silent", "echo begun; sleep 10; echo run >>runs; exit 5");
            let fault = session
                .install(&spec, &mut |_| frozen.store(true, Ordering::SeqCst))
                .expect_err("a fault");
            let mut direct = server.caller().connect();
            let outcome = direct.install(&spec, &mut |_| {}).expect("collected");
            assert_eq!(String::from_utf8_lossy(&outcome.output), "begun\n");
            let runs = std::fs::read_to_string(server.home_on_disk().join("runs"));
            assert_eq!(runs.expect("read"), "run\n");
            fault
        };
        assert_eq!(fault.class, FaultClass::Transient, "{what}: {fault}");
        assert!(fault.message.contains("stall_timeout"), "{what}: {fault}");
    }
}
