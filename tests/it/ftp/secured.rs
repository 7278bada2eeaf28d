//! FTPS: which certificates are believed, and that nothing secret is said before that.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::sync::{Arc, Mutex};

use auto_dispatcher::domain::fault::FaultClass;
use auto_dispatcher::domain::target::TransportKind;
use auto_dispatcher::transport::Verified;
use serde_json::json;

use super::{Caller, assert_says};
use crate::conformance::{Package, deliver};
use crate::servers::certificates::Certificate;
use crate::servers::pyftpdlib::{self, Pyftpdlib};
use crate::servers::vsftpd::{self, Vsftpd};
use crate::testenv::{TestEnv, needs_root};

/// A server with that certificate, and a caller who knows its login.
fn served(env: &TestEnv, certificate: &Certificate, host: &str) -> (Pyftpdlib, Caller) {
    let server = Pyftpdlib::start(env.root(), Some(certificate), json!({}));
    let caller = Caller::new(host, server.port, pyftpdlib::LOGIN, pyftpdlib::PASSWORD);
    (server, caller)
}

#[track_caller]
fn assert_nothing_was_said(server: &Pyftpdlib, caller: &Caller) {
    assert_eq!(
        server.commands(),
        ["AUTH TLS"],
        "the server heard more than that"
    );
    assert_eq!(caller.asked.get(), 0, "the password was looked up");
}

#[test]
fn five_packages_in_a_row_reach_vsftpd_over_one_session_that_it_wants_reused() {
    needs_root!();
    let env = TestEnv::new();
    let authority = Certificate::authority(env.root());
    let certificate = authority.sign(env.root(), "server", "IP:127.0.0.1");
    let server = Vsftpd::start(env.root(), Some(&certificate), "debug_ssl=YES\n");
    let mut caller = Caller::new("127.0.0.1", server.port, vsftpd::LOGIN, vsftpd::PASSWORD);
    caller.terms.ca_file = Some(authority.cert.clone());
    let mut session = caller.connect(TransportKind::Ftps).expect("a session");
    let facts = session.facts().clone();
    assert_eq!(facts.fingerprint, Some(certificate.fingerprint()));
    assert!(
        facts.detail.starts_with("AUTH TLS, TLS 1.2 "),
        "{}",
        facts.detail
    );
    let dir = session.prepare_dir("~/five").expect("a directory");
    for number in 0..5 {
        let package = Package::of_size(200_000 + number);
        let name = format!("package-{number}");
        let upload = package.upload(&dir, &name, ".five.tmp");
        assert_eq!(
            deliver(&mut *session, &upload).expect("delivered"),
            Verified::Length
        );
        assert!(
            std::fs::read(server.home().join("five").join(&name)).expect("read") == package.bytes()
        );
    }
    session.close();
    let log = server.log();
    let logins = log
        .lines()
        .filter(|line| line.contains("FTP command") && line.contains("\"USER "))
        .count();
    let reused = log
        .lines()
        .filter(|line| line.contains("DEBUG") && line.contains(", reused"))
        .count();
    assert_eq!((logins, reused), (1, 5), "{log}");
}

#[test]
fn a_certificate_of_a_known_authority_is_trusted_by_name_and_by_address() {
    let env = TestEnv::new();
    let authority = Certificate::authority(env.root());
    let certificate = authority.sign(env.root(), "server", "DNS:localhost,IP:127.0.0.1");
    for host in ["localhost", "127.0.0.1"] {
        let (_server, mut caller) = served(&env, &certificate, host);
        caller.terms.ca_file = Some(authority.cert.clone());
        let session = caller.connect(TransportKind::Ftps).expect("a session");
        assert_eq!(session.facts().fingerprint, Some(certificate.fingerprint()));
        session.close();
    }
}

#[test]
fn an_unknown_authority_is_refused_before_login_or_password_are_sent() {
    let env = TestEnv::new();
    let certificate = Certificate::authority(env.root()).sign(env.root(), "server", "IP:127.0.0.1");
    let (server, caller) = served(&env, &certificate, "127.0.0.1");
    let fault = caller.fails(TransportKind::Ftps, FaultClass::Untrusted);
    let way_out = format!("`ftps_fingerprint = {}`", certificate.fingerprint());
    assert_says(
        &fault,
        &[
            "no authority that is trusted here has signed it",
            &way_out,
            "`ca_file`",
        ],
    );
    assert_nothing_was_said(&server, &caller);
}

#[test]
fn a_certificate_for_another_name_is_refused_and_both_names_are_told() {
    let env = TestEnv::new();
    let authority = Certificate::authority(env.root());
    let certificate = authority.sign(env.root(), "server", "DNS:other.example");
    for host in ["localhost", "127.0.0.1"] {
        let (server, mut caller) = served(&env, &certificate, host);
        caller.terms.ca_file = Some(authority.cert.clone());
        let fault = caller.fails(TransportKind::Ftps, FaultClass::Untrusted);
        assert_says(
            &fault,
            &[
                &format!("not for {host}"),
                "other.example",
                &certificate.fingerprint(),
            ],
        );
        assert_eq!(caller.asked.get(), 0);
        drop(server);
    }
}

#[test]
fn a_self_signed_certificate_is_refused_unless_it_is_pinned() {
    let env = TestEnv::new();
    let certificate = Certificate::self_signed(env.root());
    let (server, mut caller) = served(&env, &certificate, "127.0.0.1");
    caller.terms.ca_file = Some(certificate.cert.clone());
    let fault = caller.fails(TransportKind::Ftps, FaultClass::Untrusted);
    assert_says(&fault, &["self-signed", &certificate.fingerprint()]);
    assert_nothing_was_said(&server, &caller);
    caller.terms.ca_file = None;
    caller.terms.ftps_fingerprint = Some(certificate.fingerprint());
    caller
        .connect(TransportKind::Ftps)
        .expect("a session")
        .close();
}

#[test]
fn a_pinned_certificate_needs_no_name_and_another_one_is_refused() {
    let env = TestEnv::new();
    let authority = Certificate::authority(env.root());
    let pinned = authority.sign(env.root(), "pinned", "DNS:other.example");
    let (server, mut caller) = served(&env, &pinned, "127.0.0.1");
    // The pin is the one thing asked: not even a known authority replaces it.
    caller.terms.ca_file = Some(authority.cert.clone());
    caller.terms.ftps_fingerprint = Some("00".repeat(32));
    let fault = caller.fails(TransportKind::Ftps, FaultClass::Untrusted);
    assert_says(
        &fault,
        &[
            &"00".repeat(32),
            &format!("`ftps_fingerprint = {}`", pinned.fingerprint()),
        ],
    );
    assert_nothing_was_said(&server, &caller);
    caller.terms.ftps_fingerprint = Some(pinned.fingerprint());
    caller
        .connect(TransportKind::Ftps)
        .expect("a session")
        .close();
}

#[test]
fn a_server_that_speaks_tls_1_3_only_is_served_too() {
    let env = TestEnv::new();
    let certificate = Certificate::self_signed(env.root());
    let server = Pyftpdlib::start(env.root(), Some(&certificate), json!({ "tls13": true }));
    let mut caller = Caller::new(
        "127.0.0.1",
        server.port,
        pyftpdlib::LOGIN,
        pyftpdlib::PASSWORD,
    );
    caller.terms.ftps_fingerprint = Some(certificate.fingerprint());
    let mut session = caller.connect(TransportKind::Ftps).expect("a session");
    assert!(
        session.facts().detail.starts_with("AUTH TLS, TLS 1.3 "),
        "{}",
        session.facts().detail
    );
    let package = Package::of_size(300_000);
    for name in ["a", "b", "c", "d", "e"] {
        deliver(&mut *session, &package.upload("/", name, ".tmp")).expect("delivered");
    }
}

#[test]
fn an_unusable_ca_file_is_named() {
    let env = TestEnv::new();
    let mut caller = Caller::new("127.0.0.1", 1, "u", "p");
    caller.terms.ca_file = Some(env.path("missing.pem"));
    let fault = caller.fails(TransportKind::Ftps, FaultClass::Permanent);
    assert_says(&fault, &["missing.pem", "ca_file"]);
    caller.terms.ca_file = Some(env.write("empty.pem", "nothing\n"));
    let fault = caller.fails(TransportKind::Ftps, FaultClass::Permanent);
    assert_says(&fault, &["empty.pem", "no certificate in it"]);
}

#[test]
fn a_server_without_tls_is_unsupported_and_a_pinned_one_untrusted() {
    for answer in [
        "530 Please login with USER and PASS.",
        "500 What?",
        "502 No.",
        "504 No.",
        "534 No.",
    ] {
        let env = TestEnv::new();
        let server = Pyftpdlib::start(env.root(), None, json!({ "refuse": { "AUTH": answer } }));
        let mut caller = Caller::new(
            "127.0.0.1",
            server.port,
            pyftpdlib::LOGIN,
            pyftpdlib::PASSWORD,
        );
        let fault = caller.fails(TransportKind::Ftps, FaultClass::Unsupported);
        assert_says(&fault, &["has no TLS", answer]);
        caller.terms.ftps_fingerprint = Some("00".repeat(32));
        let fault = caller.fails(TransportKind::Ftps, FaultClass::Untrusted);
        assert_says(
            &fault,
            &["has no TLS", "nothing is sent in clear", "list `ftp`"],
        );
        caller.terms.ftps_fingerprint = None;
        caller.terms.ca_file = Some(Certificate::authority(env.root()).cert);
        let fault = caller.fails(TransportKind::Ftps, FaultClass::Untrusted);
        assert_says(&fault, &["`ca_file`", "nothing is sent in clear"]);
        caller.terms.ftp_is_named = true;
        caller.fails(TransportKind::Ftps, FaultClass::Unsupported);
        assert_eq!(server.commands(), ["AUTH TLS"; 4]);
    }
}

/// A server that agrees to TLS, then says this to each caller and hangs up at the end; what it heard in all.
fn agrees_and_then(says: &'static [u8]) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = Arc::clone(&heard);
    std::thread::spawn(move || {
        for caller in listener.incoming() {
            let mut caller = caller.expect("a caller");
            caller.write_all(b"220 hello\r\n").expect("write");
            let mut line = [0; 10];
            caller.read_exact(&mut line).expect("a command");
            if line == *b"AUTH TLS\r\n" {
                caller.write_all(b"234 go on\r\n").expect("write");
                caller.read_exact(&mut line).expect("a hello");
                caller.write_all(says).expect("write");
                // Heard to its end, so that no reset overtakes what was said.
                caller.shutdown(Shutdown::Write).expect("shutdown");
                drop(caller.read_to_end(&mut Vec::new()));
            } else {
                ears.lock().expect("ears").extend(line);
            }
        }
    });
    (port, heard)
}

#[test]
fn a_server_that_agrees_to_tls_and_talks_garbage_hears_nothing_in_clear() {
    // The second is the alert "protocol version", which a server with ancient TLS sends.
    for says in [
        &b"garbage, no TLS at all\r\n"[..],
        b"\x15\x03\x01\0\x02\x02\x46",
    ] {
        let (port, heard) = agrees_and_then(says);
        let mut caller = Caller::new("127.0.0.1", port, "u", "p");
        caller.terms.transports = vec![TransportKind::Ftps, TransportKind::Ftp];
        let fault = caller.falls_back();
        assert_eq!(fault.class, FaultClass::Untrusted, "{fault}");
        assert_says(&fault, &["had agreed to TLS", "`transports = ftp`"]);
        assert_eq!(caller.asked.get(), 0, "the password was looked up");
        assert!(heard.lock().expect("heard").is_empty());
    }
}

#[test]
fn a_server_that_answers_in_a_broken_version_is_told_which() {
    // The alert "no common cipher" in records of TLS 1.0, and the beginning of a hello of TLS 1.1: servers from before
    // TLS 1.3.
    for (says, wants) in [
        (&b"\x15\x03\x01\0\x02\x02\x28"[..], "TLS 1.0"),
        (
            b"\x16\x03\x02\0\x2a\x02\0\0\x26\x03\x02aaaabbbbccccddddeeeeffffgggghhhh\0\xc0\x13\0",
            "TLS 1.1",
        ),
    ] {
        let (port, heard) = agrees_and_then(says);
        let mut caller = Caller::new("127.0.0.1", port, "u", "p");
        caller.terms.transports = vec![TransportKind::Ftps, TransportKind::Ftp];
        let fault = caller.falls_back();
        assert_eq!(fault.class, FaultClass::Untrusted, "{fault}");
        let says =
            format!("the server wants {wants}, which is not supported: TLS 1.2 and TLS 1.3 are");
        assert_says(&fault, &[&says]);
        assert!(heard.lock().expect("heard").is_empty());
    }
}

#[test]
fn a_connection_that_ends_in_the_handshake_is_transient_and_nothing_follows_in_clear() {
    let (port, heard) = agrees_and_then(b"");
    let mut caller = Caller::new("127.0.0.1", port, "u", "p");
    caller.terms.transports = vec![TransportKind::Ftps, TransportKind::Ftp];
    let fault = caller.falls_back();
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert!(heard.lock().expect("heard").is_empty());
}

#[test]
fn a_pinned_server_that_is_out_of_reach_is_tried_later_and_not_in_clear() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // The first caller is hung up on, the second would be asked for the password.
    let heard = std::thread::spawn(move || {
        drop(listener.accept().expect("the first caller"));
        listener.set_nonblocking(true).expect("nonblocking");
        listener
    });
    let mut caller = Caller::new("127.0.0.1", port, "u", "p");
    caller.terms.transports = vec![TransportKind::Ftps, TransportKind::Ftp];
    caller.terms.ftps_fingerprint = Some("00".repeat(32));
    let fault = caller.falls_back();
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert_says(&fault, &["`ftps_fingerprint`", "nothing is sent in clear"]);
    let listener = heard.join().expect("the listener");
    assert!(listener.accept().is_err(), "there was a second caller");
}

#[test]
fn vsftpd_without_tls_answers_530_and_that_is_no_refused_login() {
    needs_root!();
    let env = TestEnv::new();
    let server = Vsftpd::start(env.root(), None, "");
    let caller = Caller::new("127.0.0.1", server.port, vsftpd::LOGIN, vsftpd::PASSWORD);
    let fault = caller.fails(TransportKind::Ftps, FaultClass::Unsupported);
    assert_says(&fault, &["has no TLS", "530 "]);
}
