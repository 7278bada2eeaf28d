//! Connecting and logging in: what answers, what does not, who is let in.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use auto_dispatcher::domain::fault::FaultClass;
use auto_dispatcher::domain::target::TransportKind;
use serde_json::json;

use super::{Caller, assert_says};
use crate::servers::pyftpdlib::{self, Pyftpdlib};
use crate::servers::running::free_port;
use crate::servers::vsftpd::{self, Vsftpd};
use crate::testenv::{TestEnv, needs_root};

/// A port where somebody says this to one caller and then holds the line until it is hung up.
fn says(text: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (mut caller, _) = listener.accept().expect("a caller");
        caller.write_all(text.as_bytes()).expect("write");
        let mut rest = Vec::new();
        drop(caller.read_to_end(&mut rest));
    });
    port
}

#[test]
fn what_is_no_ftp_server_is_unreachable() {
    let cases = [
        (free_port(), "Connection refused"),
        (says("SSH-2.0-OpenSSH_9.2p1\r\n"), "not an FTP server"),
        (says("500 OOPS: no\r\n"), "500 OOPS: no"),
        (says(""), "says nothing for 1 s"),
        (says("220-never\r\n ends"), "says nothing for 1 s"),
    ];
    for (port, words) in cases {
        let mut caller = Caller::new("127.0.0.1", port, "u", "p");
        if words.contains(" 1 s") {
            caller.terms.connect_timeout_s = 1;
        }
        let fault = caller.fails(TransportKind::Ftp, FaultClass::Unreachable);
        assert_says(&fault, &[words, &format!("127.0.0.1:{port}")]);
        assert_eq!(caller.asked.get(), 0);
    }
}

#[test]
fn a_name_that_does_not_resolve_is_unreachable() {
    let caller = Caller::new("no-such-host.invalid", 21, "u", "p");
    assert_says(
        &caller.fails(TransportKind::Ftp, FaultClass::Unreachable),
        &["no-such-host.invalid"],
    );
}

#[test]
fn a_busy_server_is_transient_so_that_no_other_transport_is_tried() {
    for kind in [TransportKind::Ftp, TransportKind::Ftps] {
        let caller = Caller::new("127.0.0.1", says("421 Too many connections.\r\n"), "u", "p");
        assert_says(
            &caller.fails(kind, FaultClass::Transient),
            &["421 Too many connections."],
        );
    }
}

#[test]
fn a_server_that_falls_silent_during_tls_is_transient_and_hears_no_password() {
    let mut caller = Caller::new("127.0.0.1", says("220 hello\r\n234 go on\r\n"), "u", "p");
    caller.terms.connect_timeout_s = 4;
    caller.fails(TransportKind::Ftps, FaultClass::Transient);
    assert_eq!(caller.asked.get(), 0);
}

#[test]
fn an_endless_reply_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (mut caller, _) = listener.accept().expect("a caller");
        while caller.write_all(&b"220-and so on\r\n".repeat(1000)).is_ok() {}
    });
    let caller = Caller::new("127.0.0.1", port, "u", "p");
    assert_says(
        &caller.fails(TransportKind::Ftp, FaultClass::Unreachable),
        &["larger than"],
    );
}

#[test]
fn a_stop_ends_a_wait_for_the_greeting() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut caller = Caller::new("127.0.0.1", port, "u", "p");
    caller.terms.connect_timeout_s = 600;
    let stop = caller.stop.clone();
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a caller");
        stop.raise();
        drop(connection.read_to_end(&mut Vec::new()));
    });
    let fault = caller.fails(TransportKind::Ftp, FaultClass::Transient);
    assert_says(&fault, &["told to stop"]);
    server.join().expect("hung up on");
}

#[test]
fn a_refused_login_is_denied_and_quotes_no_password() {
    let env = TestEnv::new();
    let server = Pyftpdlib::start(env.root(), None, json!({}));
    let caller = Caller::new("127.0.0.1", server.port, pyftpdlib::LOGIN, "sEcReT-no!");
    let fault = caller.fails(TransportKind::Ftp, FaultClass::Denied);
    assert_says(&fault, &[pyftpdlib::LOGIN, "530 "]);
    assert!(!fault.to_string().contains("sEcReT-no!"), "{fault}");
    assert_eq!(
        server.commands(),
        [
            format!("USER {}", pyftpdlib::LOGIN),
            "PASS sEcReT-no!".to_owned()
        ]
    );
}

#[test]
fn vsftpd_refuses_a_wrong_password() {
    needs_root!();
    let env = TestEnv::new();
    let server = Vsftpd::start(env.root(), None, "");
    let caller = Caller::new("127.0.0.1", server.port, vsftpd::LOGIN, "sEcReT-no!");
    assert_says(
        &caller.fails(TransportKind::Ftp, FaultClass::Denied),
        &["530 Login incorrect"],
    );
}

#[test]
fn a_login_without_any_password_says_where_to_put_one() {
    let env = TestEnv::new();
    let server = Pyftpdlib::start(env.root(), None, json!({}));
    let mut caller = Caller::new("127.0.0.1", server.port, pyftpdlib::LOGIN, "");
    caller.password = None;
    let fault = caller.fails(TransportKind::Ftp, FaultClass::Denied);
    assert_says(&fault, &["needs a password", "netrc"]);
    assert_eq!(server.commands(), [format!("USER {}", pyftpdlib::LOGIN)]);
}

#[test]
fn an_account_is_told_when_it_is_asked_for_and_only_then() {
    let env = TestEnv::new();
    let server = Pyftpdlib::start(env.root(), None, json!({ "account": "sEcReT-4711 x" }));
    let mut caller = Caller::new(
        "127.0.0.1",
        server.port,
        pyftpdlib::LOGIN,
        pyftpdlib::PASSWORD,
    );
    let fault = caller.fails(TransportKind::Ftp, FaultClass::Denied);
    assert_says(&fault, &["asks for an account", "`account`"]);
    caller.account = Some("sEcReT-no!".to_owned());
    let fault = caller.fails(TransportKind::Ftp, FaultClass::Denied);
    assert_says(&fault, &["530 Wrong account ***"]);
    caller.account = Some("sEcReT-4711 x".to_owned());
    caller
        .connect(TransportKind::Ftp)
        .expect("a session")
        .close();
    let other = TestEnv::new();
    let server = Pyftpdlib::start(other.root(), None, json!({}));
    caller.target.ftp_port = server.port;
    caller
        .connect(TransportKind::Ftp)
        .expect("a session")
        .close();
    assert!(
        !server
            .commands()
            .iter()
            .any(|line| line.starts_with("ACCT")),
        "{:?}",
        server.commands()
    );
}

#[test]
fn a_login_or_password_that_would_end_its_command_is_never_sent() {
    let env = TestEnv::new();
    let server = Pyftpdlib::start(env.root(), None, json!({}));
    let caller = Caller::new("127.0.0.1", server.port, pyftpdlib::LOGIN, "x\r\nDELE y");
    let fault = caller.fails(TransportKind::Ftp, FaultClass::Denied);
    assert!(!fault.to_string().contains("DELE"), "{fault}");
    let caller = Caller::new("127.0.0.1", server.port, "x\r\nDELE y", "p");
    caller.fails(TransportKind::Ftp, FaultClass::Permanent);
    assert_eq!(server.commands(), [format!("USER {}", pyftpdlib::LOGIN)]);
}
