//! Host keys: accepted, recorded, changed, revoked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use auto_dispatcher::domain::fault::FaultClass;
use auto_dispatcher::domain::target::HostKeyPolicy;

use crate::servers::ssh::{Caller, SshServer, new_key};

/// The line that a `known_hosts` file holds for the server.
fn line(server: &SshServer, key: &str) -> String {
    format!("[127.0.0.1]:{} {key}\n", server.running.port)
}

fn fingerprint(key: &Path) -> String {
    let shown = Command::new("ssh-keygen")
        .arg("-lf")
        .arg(key)
        .output()
        .expect("openssh-client")
        .stdout;
    String::from_utf8(shown)
        .expect("UTF-8")
        .split(' ')
        .nth(1)
        .expect("a fingerprint")
        .to_owned()
}

fn caller_who_knows(server: &SshServer, known_hosts: &str) -> Caller {
    let caller = server.caller();
    fs::write(&caller.surroundings.own_known_hosts, known_hosts).expect("write");
    caller
}

#[test]
fn a_new_key_is_recorded_once_and_for_us_alone() {
    let server = SshServer::sshd("");
    let caller = server.caller();
    assert!(!caller.knows_the_host());
    let session = caller.connect();
    assert_eq!(
        session.facts().fingerprint,
        Some(fingerprint(&server.path("host.pub")))
    );
    session.close();
    caller.connect().close();
    let file = &caller.surroundings.own_known_hosts;
    assert_eq!(
        fs::read_to_string(file).expect("read"),
        line(&server, &server.host_key("host.pub"))
    );
    assert_eq!(
        fs::metadata(file).expect("stat").permissions().mode() & 0o777,
        0o600
    );
    assert!(caller.knows_the_host());
}

#[test]
fn many_who_meet_a_host_at_once_record_it_once() {
    let server = SshServer::sshd("MaxStartups 100");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| server.caller().connect().close());
        }
    });
    let text = fs::read_to_string(server.path("own_known_hosts")).expect("read");
    assert_eq!(text, line(&server, &server.host_key("host.pub")));
}

#[test]
fn a_strict_caller_refuses_an_unknown_key_and_sends_no_password() {
    let server = SshServer::sshd("");
    let mut caller = server.caller();
    caller.terms.host_key = HostKeyPolicy::Strict;
    let error = caller.refused();
    assert_eq!(error.fault.class, FaultClass::Untrusted);
    assert!(
        error
            .fault
            .message
            .contains(&fingerprint(&server.path("host.pub"))),
        "{error}"
    );
    assert_eq!((caller.asked.get(), error.proved), (0, None));
    assert!(!caller.surroundings.own_known_hosts.exists());
    let known = caller_who_knows(&server, &line(&server, &server.host_key("host.pub")));
    known.connect().close();
}

#[test]
fn a_changed_key_is_untrusted_and_both_fingerprints_and_the_line_are_named() {
    let server = SshServer::sshd("");
    new_key(&server.path("other"), "ed25519", "");
    let known = format!(
        "# a comment\n{}",
        line(&server, &server.host_key("other.pub"))
    );
    let caller = caller_who_knows(&server, &known);
    let error = caller.refused();
    assert_eq!(error.fault.class, FaultClass::Untrusted);
    for wanted in [
        fingerprint(&server.path("host.pub")),
        fingerprint(&server.path("other.pub")),
        format!("{}:2", caller.surroundings.own_known_hosts.display()),
    ] {
        assert!(
            error.fault.message.contains(&wanted),
            "{wanted} is missing: {error}"
        );
    }
    assert_eq!((caller.asked.get(), error.proved), (0, None));
    assert_eq!(
        fs::read_to_string(&caller.surroundings.own_known_hosts).expect("read"),
        known
    );
    assert!(caller.knows_the_host(), "the host has proved a key before");
}

#[test]
fn a_revoked_key_is_untrusted_even_where_another_line_accepts_it() {
    let server = SshServer::sshd("");
    let key = server.host_key("host.pub");
    let caller = caller_who_knows(
        &server,
        &format!("{}@revoked * {key}\n", line(&server, &key)),
    );
    let error = caller.refused();
    assert_eq!(error.fault.class, FaultClass::Untrusted);
    assert!(error.fault.message.contains("own_known_hosts:2"), "{error}");
}

#[test]
fn hashed_names_and_bad_lines_of_openssh_files_are_understood() {
    let server = SshServer::sshd("");
    let caller = caller_who_knows(&server, &line(&server, &server.host_key("host.pub")));
    let file = &caller.surroundings.own_known_hosts;
    assert!(
        Command::new("ssh-keygen")
            .args(["-q", "-H", "-f"])
            .arg(file)
            .status()
            .expect("ssh-keygen")
            .success()
    );
    let hashed = fs::read_to_string(file).expect("read");
    assert!(hashed.starts_with("|1|"), "{hashed}");
    fs::write(
        file,
        format!("nonsense\n@cert-authority * ssh-rsa AAAA\n{hashed}"),
    )
    .expect("write");
    caller.connect().close();
    new_key(&server.path("other"), "ed25519", "");
    let other = caller_who_knows(&server, &line(&server, &server.host_key("other.pub")));
    assert!(
        Command::new("ssh-keygen")
            .args(["-q", "-H", "-f"])
            .arg(file)
            .status()
            .expect("ssh-keygen")
            .success()
    );
    assert_eq!(other.refused().fault.class, FaultClass::Untrusted);
}

#[test]
fn a_host_known_by_its_rsa_key_is_asked_for_that_key() {
    let server = SshServer::sshd("");
    let caller = caller_who_knows(&server, &line(&server, &server.host_key("host_rsa.pub")));
    let session = caller.connect();
    assert_eq!(
        session.facts().fingerprint,
        Some(fingerprint(&server.path("host_rsa.pub")))
    );
}

#[test]
fn the_rules_own_file_takes_the_key_and_further_files_are_only_read() {
    let server = SshServer::sshd("");
    let mut caller = server.caller();
    let rules = server.path("new/rules_known_hosts");
    caller.terms.known_hosts = Some(rules.clone());
    caller.connect().close();
    assert!(rules.exists() && !caller.surroundings.own_known_hosts.exists());
    caller.terms.known_hosts = Some(server.path("another"));
    caller.surroundings.other_known_hosts = vec![server.path("missing"), rules];
    caller.terms.host_key = HostKeyPolicy::Strict;
    caller.connect().close();
    assert!(!server.path("another").exists());
}
