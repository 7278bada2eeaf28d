//! Logins that work and logins that are refused; and hosts that are no SSH hosts.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use auto_dispatcher::domain::fault::FaultClass;

use crate::conformance::{Package, deliver, install_spec};
use crate::servers::agent::Agent;
use crate::servers::running::free_port;
use crate::servers::ssh::{Caller, SshServer, new_key};
use crate::testenv::needs_root;

const QUESTIONS: &str = "UsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication yes";

#[test]
fn a_key_that_works_never_asks_for_the_password() {
    let server = SshServer::sshd("LogLevel DEBUG1");
    let mut caller = server.caller();
    caller.password = Some("sEcReT-unused".to_owned());
    caller.connect().close();
    assert_eq!(caller.asked.get(), 0);
    // Nor does it cost a round trip to ask for what the server takes.
    let log = server.running.log();
    assert!(log.contains("method publickey"), "{log}");
    assert!(!log.contains("method none"), "{log}");
}

#[test]
fn a_server_that_takes_no_keys_gets_the_password() {
    needs_root!();
    let server = SshServer::sshd_with_user("/bin/sh", "PubkeyAuthentication no");
    let mut caller = server.caller();
    caller.terms.identity_file = Some(server.path("client"));
    caller.connect().close();
    assert_eq!(caller.asked.get(), 1);
}

#[test]
fn a_refused_key_leads_to_the_password() {
    needs_root!();
    let server = SshServer::sshd_with_user("/bin/sh", "");
    new_key(&server.path("stranger"), "ed25519", "");
    let mut caller = server.caller();
    caller.terms.identity_file = Some(server.path("stranger"));
    caller.connect().close();
    assert_eq!(caller.asked.get(), 1);
}

#[test]
fn a_server_that_hangs_up_among_the_keys_is_asked_again_by_password() {
    needs_root!();
    let server = SshServer::sshd_with_user("/bin/sh", "MaxAuthTries 1");
    new_key(&server.path("stranger"), "ed25519", "");
    let mut caller = server.caller();
    caller.terms.identity_file = Some(server.path("stranger"));
    caller.connect().close();
}

#[test]
fn questions_are_answered_with_the_password() {
    needs_root!();
    let server = SshServer::sshd_with_user("/bin/sh", QUESTIONS);
    server.caller().connect().close();
}

#[test]
fn a_server_that_wants_key_and_password_gets_both() {
    needs_root!();
    let server = SshServer::sshd_with_user("/bin/sh", "AuthenticationMethods publickey,password");
    let mut caller = server.caller();
    caller.terms.identity_file = Some(server.path("client"));
    caller.connect().close();
    assert_eq!(caller.asked.get(), 1);
}

#[test]
fn a_wrong_password_is_denied_asked_once_and_never_shown() {
    needs_root!();
    for config in ["", "MaxAuthTries 1", QUESTIONS, "UsePAM yes"] {
        let server = SshServer::sshd_with_user("/bin/sh", config);
        let mut caller = server.caller();
        caller.password = Some("sEcReT-4711".to_owned());
        let error = caller.refused();
        assert_eq!(error.fault.class, FaultClass::Denied, "{config}: {error}");
        assert!(
            error.proved.is_some(),
            "{config}: the host has proved its key"
        );
        assert!(!error.fault.message.contains("sEcReT"), "{error}");
        let failures = server.running.log().matches("Failed password").count();
        assert!(
            failures <= 1,
            "{config}: the password was sent {failures} times"
        );
    }
}

#[test]
fn a_login_without_any_credentials_says_what_was_tried() {
    let server = SshServer::sshd("PasswordAuthentication yes");
    new_key(&server.path("locked"), "ed25519", "phrase");
    let mut caller = server.caller();
    caller.terms.identity_file = Some(server.path("locked"));
    let error = caller.refused();
    assert_eq!(error.fault.class, FaultClass::Denied);
    for wanted in [
        "it is encrypted",
        "password: none is configured",
        &caller.target.login,
    ] {
        assert!(
            error.fault.message.contains(wanted),
            "{wanted} is missing: {error}"
        );
    }
}

#[test]
fn the_usual_key_files_are_found_in_the_home() {
    let server = SshServer::sshd("");
    let mut caller = server.caller();
    caller.terms.identity_file = None;
    std::fs::create_dir_all(server.path("me/.ssh")).expect("mkdir");
    std::fs::copy(server.path("client"), server.path("me/.ssh/id_ed25519")).expect("copy");
    caller.surroundings.home = Some(server.path("me"));
    caller.connect().close();
}

#[test]
fn an_agent_logs_in() {
    let server = SshServer::sshd("");
    let mut caller = server.caller();
    caller.terms.identity_file = None;
    let socket = server.path("agent");
    let agent = Agent::start(&socket);
    agent.add(&server.path("client"));
    caller.surroundings.agent_socket = Some(socket);
    caller.connect().close();
}

#[test]
fn a_port_where_nobody_listens_is_unreachable() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = Caller::new(free_port(), &dir.path().join("known")).refused();
    assert_eq!(
        (error.fault.class, error.proved),
        (FaultClass::Unreachable, None)
    );
}

#[test]
fn a_name_that_does_not_resolve_is_unreachable() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut caller = Caller::new(22, &dir.path().join("known"));
    caller.target.host = "no-such-host.invalid".to_owned();
    assert_eq!(caller.refused().fault.class, FaultClass::Unreachable);
}

#[test]
fn a_server_that_is_no_ssh_server_or_silent_is_unreachable() {
    for greeting in [
        Some("HTTP/1.0 400 Bad Request\r\n\r\n"),
        Some("220 FTP\r\n"),
        Some(""),
        None,
    ] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let port = listener.local_addr().expect("an address").port();
        let server = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("accept");
            if let Some(text) = greeting {
                let _ = client.write_all(text.as_bytes());
                return;
            }
            // Silence until the caller hangs up.
            let _ = std::io::copy(&mut client, &mut std::io::sink());
        });
        let dir = tempfile::tempdir().expect("a directory");
        let mut caller = Caller::new(port, &dir.path().join("known"));
        caller.terms.connect_timeout_s = 1;
        let error = caller.refused();
        assert_eq!(
            error.fault.class,
            FaultClass::Unreachable,
            "{greeting:?}: {error}"
        );
        // Where nobody came, one does now.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
        server.join().expect("the server");
    }
}

#[test]
fn a_raised_stop_flag_interrupts() {
    let server = SshServer::sshd("");
    let caller = server.caller();
    let mut session = caller.connect();
    caller.stop.raise();
    let spec = install_spec("stopped", "sleep 60");
    let fault = session.install(&spec, &mut |_| {}).expect_err("a fault");
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert_eq!(caller.refused().fault.class, FaultClass::Transient);
}

#[test]
fn a_login_without_a_shell_and_without_sftp_is_unsupported() {
    needs_root!();
    let server = SshServer::sshd_with_user("/usr/sbin/nologin", "Subsystem sftp /bin/false");
    let mut session = server.caller().connect();
    let fault = session.prepare_dir("~/in").expect_err("a fault");
    assert_eq!(fault.class, FaultClass::Unsupported, "{fault}");
    assert!(
        fault.message.contains("not available"),
        "what the host said: {fault}"
    );
}

#[test]
fn a_noisy_start_up_file_spoils_nothing() {
    needs_root!();
    let server = SshServer::sshd_with_user("/bin/bash", "Subsystem sftp /bin/false");
    std::fs::write(
        server.home_on_disk().join(".bashrc"),
        "echo welcome; echo and more >&2; printf AD\n",
    )
    .expect("write");
    let package = Package::of_size(5_000);
    let mut session = server.caller().connect();
    let dir = session.prepare_dir("~/noisy").expect("prepare_dir");
    deliver(&mut *session, &package.upload(&dir, "name", ".tmp")).expect("deliver");
    let outcome = session
        .install(&install_spec("noisy", "echo out"), &mut |_| {})
        .expect("install");
    assert!(String::from_utf8_lossy(&outcome.output).ends_with("out\n"));
    assert!(
        std::fs::read(server.home_on_disk().join("noisy/name")).expect("read") == package.bytes()
    );
}

#[test]
fn a_full_disk_is_transient_and_says_so() {
    needs_root!();
    for config in ["Subsystem sftp internal-sftp", "Subsystem sftp /bin/false"] {
        let server = SshServer::with_small_disk(config);
        let mut session = server.caller().connect();
        let dir = session.prepare_dir("~").expect("prepare_dir");
        let package = Package::of_size(5_000_000);
        let upload = package.upload(&dir, "large", ".large.tmp");
        let fault = session.upload(&upload, &mut |_| {}).expect_err("a fault");
        assert_eq!(fault.class, FaultClass::Transient, "{config}: {fault}");
        assert!(
            fault.message.to_lowercase().contains("no space"),
            "{config}: {fault}"
        );
        let small = Package::of_size(500_000);
        let mut session = server.caller().connect();
        deliver(&mut *session, &small.upload(&dir, "small", ".small.tmp"))
            .expect("the space is free again");
    }
}
