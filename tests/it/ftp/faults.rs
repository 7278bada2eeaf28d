//! What goes wrong during a delivery: what it is called, and that nothing half-written stays.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use auto_dispatcher::domain::fault::FaultClass;
use auto_dispatcher::domain::target::TransportKind;
use auto_dispatcher::transport::{Session, Verified};
use serde_json::{Value, json};

use super::{Caller, assert_says};
use crate::conformance::{Package, deliver, install_spec};
use crate::servers::certificates::Certificate;
use crate::servers::pyftpdlib::{self, Pyftpdlib};
use crate::servers::vsftpd::{self, Vsftpd};
use crate::testenv::{TestEnv, needs_root};

fn peculiar(env: &TestEnv, peculiar: Value) -> (Pyftpdlib, Caller) {
    let server = Pyftpdlib::start(env.root(), None, peculiar);
    let caller = Caller::new(
        "127.0.0.1",
        server.port,
        pyftpdlib::LOGIN,
        pyftpdlib::PASSWORD,
    );
    (server, caller)
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    names
}

fn fill_a_disk(certificate: Option<&Certificate>, env: &TestEnv) {
    let server = Vsftpd::start(env.root(), certificate, "");
    let disk = server.home().join("small");
    let _mounted = vsftpd::small_disk(&disk, "1m");
    let mut caller = Caller::new("127.0.0.1", server.port, vsftpd::LOGIN, vsftpd::PASSWORD);
    caller.terms.ftps_fingerprint = certificate.map(Certificate::fingerprint);
    let kind = if certificate.is_some() {
        TransportKind::Ftps
    } else {
        TransportKind::Ftp
    };
    let mut session = caller.connect(kind).expect("a session");
    let dir = session.prepare_dir("~/small").expect("a directory");
    let package = Package::of_size(3_000_000);
    let upload = package.upload(&dir, "large", ".large.tmp");
    let fault = session
        .upload(&upload, &mut |_| {})
        .expect_err("a full disk");
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert_says(
        &fault,
        &["small/.large.tmp", "451 Failure writing to local file"],
    );
    assert!(names_in(&disk).is_empty(), "{:?}", names_in(&disk));
}

#[test]
fn a_full_disk_is_transient_and_the_temporary_file_goes() {
    needs_root!();
    fill_a_disk(None, &TestEnv::new());
}

#[test]
fn a_full_disk_behind_tls_is_told_by_the_server_in_its_own_words() {
    needs_root!();
    let env = TestEnv::new();
    let certificate = Certificate::self_signed(env.root());
    fill_a_disk(Some(&certificate), &env);
}

#[test]
fn an_upload_that_is_cut_is_transient_and_the_next_session_brings_it_whole() {
    let env = TestEnv::new();
    let (server, caller) = peculiar(&env, json!({ "cut_after": 200_000 }));
    let package = Package::of_size(5_000_000);
    let upload = package.upload("/", "name", ".cut.tmp");
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    let fault = session
        .upload(&upload, &mut |_| {})
        .expect_err("a cut connection");
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    session.close();
    assert_eq!(
        names_in(server.home()),
        [".cut.tmp"],
        "nothing under the real name"
    );
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    assert_eq!(
        deliver(&mut *session, &upload).expect("delivered"),
        Verified::Length
    );
    assert_eq!(names_in(server.home()), ["name"]);
    assert!(fs::read(server.home().join("name")).expect("read") == package.bytes());
}

#[test]
fn a_stalled_upload_is_given_up() {
    let env = TestEnv::new();
    let (server, mut caller) = peculiar(&env, json!({ "stall": true }));
    caller.terms.stall_timeout_s = 1;
    let package = Package::of_size(20_000_000);
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    let fault = session
        .upload(&package.upload("/", "name", ".stalled.tmp"), &mut |_| {})
        .expect_err("a stall");
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert_says(&fault, &["nothing from 127.0.0.1", "for 1 s"]);
    session.close();
    assert!(!server.home().join("name").exists());
}

#[test]
fn bytes_that_the_server_lost_in_silence_are_found_by_the_length() {
    let env = TestEnv::new();
    let (server, caller) = peculiar(&env, json!({ "swallow_after": 1000 }));
    let package = Package::of_size(5_000);
    let upload = package.upload("/", "name", ".short.tmp");
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    session
        .upload(&upload, &mut |_| {})
        .expect("the server reports success");
    let fault = session.verify(&upload).expect_err("too short");
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert_says(&fault, &["1000 bytes instead of 5000"]);
    assert!(names_in(server.home()).is_empty());
    deliver(&mut *session, &upload).expect("delivered at the second try");
}

#[test]
fn a_digest_that_differs_is_transient_and_the_file_goes() {
    for command in ["XSHA256", "HASH"] {
        let env = TestEnv::new();
        let (server, caller) = peculiar(&env, json!({ "digest": command, "digest_value": "lie" }));
        let package = Package::of_size(5_000);
        let upload = package.upload("/", "name", ".false.tmp");
        let mut session = caller.connect(TransportKind::Ftp).expect("a session");
        let fault = deliver(&mut *session, &upload).expect_err("another digest");
        assert_eq!(fault.class, FaultClass::Transient, "{fault}");
        assert_says(&fault, &["SHA-256", upload.sha256]);
        assert!(names_in(server.home()).is_empty());
    }
}

#[test]
fn a_stop_ends_an_upload_and_leaves_the_temporary_file_to_be_gone_on_from() {
    let env = TestEnv::new();
    let (server, caller) = peculiar(&env, json!({}));
    let package = Package::of_size(5_000_000);
    let upload = package.upload("/", "name", ".stopped.tmp");
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    let stop = caller.stop.clone();
    let fault = session
        .upload(&upload, &mut |_| stop.raise())
        .expect_err("stopped");
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert_says(&fault, &["told to stop"]);
    session.close();
    assert_eq!(names_in(server.home()), [".stopped.tmp"]);
}

#[test]
fn an_artifact_that_is_not_what_the_journal_says_is_never_published() {
    let env = TestEnv::new();
    let (server, caller) = peculiar(&env, json!({}));
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    let package = Package::of_size(5_000);
    for size in [4_999, 5_001] {
        let mut upload = package.upload("/", "name", ".wrong.tmp");
        upload.size = size;
        let fault = session
            .upload(&upload, &mut |_| {})
            .expect_err("another size");
        assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
        assert!(names_in(server.home()).is_empty());
    }
    let mut upload = package.upload("/", "name", ".missing.tmp");
    upload.local = Path::new("/nonexistent/artifact");
    let fault = session
        .upload(&upload, &mut |_| {})
        .expect_err("no artifact");
    assert_says(&fault, &["/nonexistent/artifact"]);
    deliver(&mut *session, &package.upload("/", "name", ".right.tmp"))
        .expect("the session may be used again");
}

#[test]
fn names_that_would_end_a_command_are_refused_before_anything_is_sent() {
    let env = TestEnv::new();
    let (server, caller) = peculiar(&env, json!({}));
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    let before = server.commands();
    let package = Package::of_size(10);
    for evil in ["a\r\nDELE b", "a\nb", "a\rb", "a\0b"] {
        let fault = session
            .prepare_dir(&format!("/{evil}"))
            .expect_err("an evil directory");
        assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
        for (name, temporary) in [(evil, ".tmp"), ("name", evil)] {
            let upload = package.upload("/", name, temporary);
            let faults = [
                session.upload(&upload, &mut |_| {}).expect_err("upload"),
                session.verify(&upload).expect_err("verify"),
                session.publish(&upload).expect_err("publish"),
                session.discard(&upload).expect_err("discard"),
            ];
            assert!(
                faults
                    .iter()
                    .all(|fault| fault.class == FaultClass::Permanent),
                "{faults:?}"
            );
        }
    }
    assert_eq!(server.commands(), before);
}

#[test]
fn install_commands_go_over_ssh() {
    let env = TestEnv::new();
    let (_server, caller) = peculiar(&env, json!({}));
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    let spec = install_spec("t", "true");
    let fault = session
        .install(&spec, &mut |_| {})
        .expect_err("no commands");
    assert_eq!(fault.class, FaultClass::Unsupported);
    assert_says(&fault, &["goes over SSH"]);
    assert_eq!(
        session.forget_install("t").expect_err("no commands").class,
        FaultClass::Unsupported
    );
}

/// A session with a server that stops answering at `silent_at`.
fn silent_at(silent_at: &'static str) -> (Caller, Box<dyn Session>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        use std::io::{BufRead as _, BufReader, Write as _};
        let (caller, _) = listener.accept().expect("a caller");
        let mut lines = BufReader::new(caller);
        lines.get_mut().write_all(b"220 hello\r\n").expect("write");
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
            if !line.starts_with(silent_at) {
                let answer: &[u8] = if line.starts_with("PWD") {
                    b"257 \"/\"\r\n"
                } else {
                    b"230 yes\r\n"
                };
                lines.get_mut().write_all(answer).expect("write");
            }
            line.clear();
        }
    });
    let mut caller = Caller::new("127.0.0.1", port, "u", "p");
    caller.terms.stall_timeout_s = 1;
    let session = caller.connect(TransportKind::Ftp).expect("a session");
    (caller, session)
}

#[test]
fn a_server_that_falls_silent_is_transient_and_closing_does_not_wait_for_it() {
    let (_caller, mut session) = silent_at("CWD");
    let fault = session.prepare_dir("/a").expect_err("silence");
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert_says(&fault, &["nothing from 127.0.0.1", "for 1 s"]);
    session.close();
    let (_caller, session) = silent_at("QUIT");
    session.close();
}
