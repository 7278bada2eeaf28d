//! A host that falls silent in the middle, by way of a relay that stops relaying.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use auto_dispatcher::domain::fault::FaultClass;

use crate::conformance::{Package, install_spec};
use crate::servers::ssh::SshServer;

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
fn a_host_that_falls_silent_is_a_transient_fault() {
    let server = SshServer::sshd("");
    for what in ["upload", "install"] {
        let (port, frozen) = frozen_on_demand(&server);
        let mut caller = server.caller();
        caller.target.ssh_port = port;
        caller.terms.stall_timeout_s = 2;
        let mut session = caller.connect();
        let dir = session.prepare_dir("~/silent").expect("prepare_dir");
        let package = Package::of_size(3_000_000);
        let fault = if what == "upload" {
            frozen.store(true, Ordering::SeqCst);
            let upload = package.upload(&dir, "name", ".tmp");
            session.upload(&upload, &mut |_| {}).expect_err("a fault")
        } else {
            // The host falls silent when the command has begun to talk; it is cut off, not ended.
            let spec = install_spec("silent", "echo begun; sleep 4; echo run >>runs; exit 5");
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
