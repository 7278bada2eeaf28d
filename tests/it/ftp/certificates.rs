//! Certificates and versions of TLS that are refused, each with a message that says why, and with nothing sent.

use auto_dispatcher::domain::fault::FaultClass;
use auto_dispatcher::domain::target::TransportKind;
use serde_json::{Value, json};

use super::{Caller, assert_says};
use crate::conformance::{Package, deliver};
use crate::servers::certificates::{Certificate, Make};
use crate::servers::hostile_ftp::HostileFtp;
use crate::servers::pyftpdlib::{LOGIN, PASSWORD};
use crate::servers::running::free_port;
use crate::testenv::TestEnv;

/// A server that records what it hears, and a caller.
fn impostor(env: &TestEnv, certificate: &Certificate, settings: Value) -> (HostileFtp, Caller) {
    let server = HostileFtp::start(env.root(), Some(certificate), settings);
    let mut caller = Caller::new("127.0.0.1", server.port, LOGIN, PASSWORD);
    caller.terms.transports = vec![TransportKind::Ftps, TransportKind::Ftp];
    (server, caller)
}

/// The caller is told `parts`, and where; the server heard of no login, by TLS or in clear.
#[track_caller]
fn assert_untrusted(server: &HostileFtp, caller: &Caller, parts: &[&str]) {
    let fault = caller.falls_back();
    assert_eq!(fault.class, FaultClass::Untrusted, "{fault}");
    assert_says(&fault, parts);
    assert_says(
        &fault,
        &[&format!("{}:{}", caller.target.host, server.port)],
    );
    assert_eq!(caller.asked.get(), 0, "the password was looked up");
    let heard = server.commands();
    assert!(
        heard.iter().all(|line| line == "AUTH TLS"),
        "it heard {heard:?}"
    );
}

#[test]
fn certificates_that_cannot_be_believed_are_refused_each_for_its_reason() {
    let env = TestEnv::new();
    let authority = Certificate::authority(env.root());
    let cases = [
        (
            "expired",
            Make {
                until: "20210203000000Z",
                ..Make::default()
            },
            "it has expired on 2021-02-03",
        ),
        (
            "early",
            Make {
                from: "20480203000000Z",
                ..Make::default()
            },
            "it is not valid before 2048-02-03",
        ),
        (
            "sha1",
            Make {
                digest: "sha1",
                ..Make::default()
            },
            "too weak",
        ),
        (
            "small",
            Make {
                bits: 1024,
                ..Make::default()
            },
            "2048 bits",
        ),
    ];
    for (name, make, why) in cases {
        let certificate = authority.sign_as(env.root(), name, "IP:127.0.0.1", &make);
        let (server, mut caller) = impostor(&env, &certificate, json!({}));
        caller.terms.ca_file = Some(authority.cert.clone());
        assert_untrusted(
            &server,
            &caller,
            &["is not trusted", why, &certificate.fingerprint()],
        );
    }
}

#[test]
fn a_pin_is_told_as_both_fingerprints_and_a_key_that_is_too_weak_as_what_it_is() {
    let env = TestEnv::new();
    let authority = Certificate::authority(env.root());
    let make = Make {
        bits: 1024,
        ..Make::default()
    };
    let small = authority.sign_as(env.root(), "small", "IP:127.0.0.1", &make);
    let (server, mut caller) = impostor(&env, &small, json!({}));
    let ones = "11".repeat(32);
    caller.terms.ftps_fingerprint = Some(ones.clone());
    assert_untrusted(
        &server,
        &caller,
        &[&format!("expected SHA-256 {ones}"), &small.fingerprint()],
    );
    caller.terms.ftps_fingerprint = Some(small.fingerprint());
    assert_untrusted(
        &server,
        &caller,
        &["the certificate that the rule pins", "2048 bits"],
    );
}

#[test]
fn a_wildcard_stands_for_one_label_and_an_address_is_no_name() {
    let env = TestEnv::new();
    let authority = Certificate::authority(env.root());
    // `localhost.` is looked up here, and `a.localhost` by whoever follows RFC 6761.
    for (names, host, is_meant) in [
        ("DNS:*.localhost", "a.localhost", true),
        ("DNS:*.localhost", "b.a.localhost", false),
        ("DNS:*", "localhost", false),
        ("DNS:127.0.0.1", "127.0.0.1", false),
        ("IP:127.0.0.1", "localhost", false),
        ("DNS:LOCALHOST", "localhost", true),
    ] {
        let certificate = authority.sign(env.root(), "names", names);
        let (server, mut caller) = impostor(&env, &certificate, json!({}));
        caller.terms.ca_file = Some(authority.cert.clone());
        host.clone_into(&mut caller.target.host);
        if std::net::ToSocketAddrs::to_socket_addrs(&(host, server.port)).is_err() {
            eprintln!("{host} does not resolve here");
            continue;
        }
        if is_meant {
            caller
                .connect(TransportKind::Ftps)
                .unwrap_or_else(|fault| panic!("{names} for {host}: {fault}"));
        } else {
            assert_untrusted(&server, &caller, &["is not for", host]);
        }
    }
}

#[test]
fn a_server_with_a_broken_version_of_tls_alone_is_refused_and_told_which() {
    let env = TestEnv::new();
    let certificate = Certificate::self_signed(env.root());
    for version in ["TLSv1", "TLSv1_1"] {
        let settings = json!({ "lowest": version, "highest": version });
        let (server, mut caller) = impostor(&env, &certificate, settings);
        caller.terms.ftps_fingerprint = Some(certificate.fingerprint());
        assert_untrusted(
            &server,
            &caller,
            &[
                "does not speak TLS 1.2; the server does not speak TLS 1.3 either",
                "what is older (TLS 1.1, TLS 1.0, SSL) is broken and not supported",
                "`transports = ftp`",
            ],
        );
    }
}

#[test]
fn a_server_without_a_common_cipher_is_refused_and_told_what_is_spoken_here() {
    let env = TestEnv::new();
    let certificate = Certificate::self_signed(env.root());
    let settings = json!({ "highest": "TLSv1_2", "ciphers": "AES128-SHA" });
    let (server, mut caller) = impostor(&env, &certificate, settings);
    caller.terms.ftps_fingerprint = Some(certificate.fingerprint());
    assert_untrusted(
        &server,
        &caller,
        &[
            "TLS 1.2: no cipher suite in common",
            "ECDHE",
            "does not speak TLS 1.3",
        ],
    );
}

#[test]
fn a_server_that_speaks_one_version_alone_is_served_by_it() {
    let env = TestEnv::new();
    let certificate = Certificate::self_signed(env.root());
    for (version, name) in [("TLSv1_2", "TLS 1.2"), ("TLSv1_3", "TLS 1.3")] {
        let settings = json!({ "lowest": version, "highest": version });
        let (server, mut caller) = impostor(&env, &certificate, settings);
        caller.terms.ftps_fingerprint = Some(certificate.fingerprint());
        let mut session = caller.connect(TransportKind::Ftps).expect("a session");
        assert!(session.facts().detail.contains(name));
        let package = Package::of_size(90_000);
        deliver(&mut *session, &package.upload("/", version, ".tmp")).expect("delivered");
        assert!(std::fs::read(server.home().join(version)).expect("read") == package.bytes());
    }
}

#[test]
fn a_data_connection_with_another_certificate_is_refused_and_hears_nothing() {
    let env = TestEnv::new();
    let authority = Certificate::authority(env.root());
    let certificate = authority.sign(env.root(), "control", "IP:127.0.0.1");
    // Of the same authority and for the same name.
    let other = authority.sign(env.root(), "data", "IP:127.0.0.1");
    let settings = json!({ "data_cert": other.cert, "data_key": other.key });
    let (server, mut caller) = impostor(&env, &certificate, settings);
    caller.terms.ca_file = Some(authority.cert.clone());
    let mut session = caller.connect(TransportKind::Ftps).expect("a session");
    let package = Package::of_size(90_000);
    let fault = deliver(&mut *session, &package.upload("/", "name", ".tmp"))
        .expect_err("another certificate");
    assert_eq!(fault.class, FaultClass::Untrusted, "{fault}");
    assert_says(
        &fault,
        &[
            "a data connection of",
            &certificate.fingerprint(),
            &other.fingerprint(),
            &format!("127.0.0.1:{}", server.port),
        ],
    );
    let sent = std::fs::metadata(server.home().join(".tmp")).map_or(0, |file| file.len());
    assert_eq!(sent, 0, "bytes went over it");
}

#[test]
fn replies_that_come_in_clear_with_the_answer_to_auth_are_never_read() {
    let env = TestEnv::new();
    let certificate = Certificate::self_signed(env.root());
    // What the commands behind the handshake will be answered, if somebody could put words into the server's mouth.
    let injected = "200 PBSZ\r\n200 PROT\r\n230 Logged in, no password needed\r\n211 none\r\n200 binary\r\n\
                    257 \"/injected\"\r\n";
    let (server, mut caller) = impostor(&env, &certificate, json!({ "injected": injected }));
    caller.terms.ftps_fingerprint = Some(certificate.fingerprint());
    match caller.connect(TransportKind::Ftps) {
        Ok(mut session) => {
            assert_eq!(session.prepare_dir("~").expect("the home"), "/");
            assert_eq!(caller.asked.get(), 1);
            let heard = server.commands();
            assert!(
                heard.iter().any(|line| line.starts_with("PASS ")),
                "{heard:?}"
            );
        }
        // The kernel handed them over as if they were of the handshake.
        Err(fault) => assert_says(&fault, &["TLS"]),
    }
}

#[test]
fn a_server_that_refuses_to_protect_data_connections_gets_no_login() {
    let env = TestEnv::new();
    let certificate = Certificate::self_signed(env.root());
    for command in ["PBSZ", "PROT"] {
        for answer in ["536 not here", "431 not now"] {
            let settings = json!({ "replies": { command: answer } });
            let (server, mut caller) = impostor(&env, &certificate, settings);
            caller.terms.ftps_fingerprint = Some(certificate.fingerprint());
            let fault = caller.falls_back();
            assert!(
                !fault.class.tries_next_transport(),
                "{command} {answer}: {fault}"
            );
            assert_says(&fault, &[answer]);
            let heard = server.commands();
            assert!(
                heard
                    .iter()
                    .all(|line| ["AUTH TLS", "PBSZ 0", "PROT P"].contains(&line.as_str())),
                "{heard:?}"
            );
            assert_eq!(caller.asked.get(), 0);
        }
    }
}

#[test]
fn the_address_that_pasv_tells_is_never_dialled() {
    let env = TestEnv::new();
    let port = free_port();
    let third = std::net::TcpListener::bind(("127.0.0.3", port)).expect("a third party");
    third.set_nonblocking(true).expect("nonblocking");
    let server = HostileFtp::start(env.root(), None, json!({ "bounce": ["127.0.0.3", port] }));
    let caller = Caller::new("127.0.0.1", server.port, LOGIN, PASSWORD);
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    let package = Package::of_size(10);
    let fault = deliver(&mut *session, &package.upload("/", "name", ".tmp"))
        .expect_err("nobody listens there");
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert_says(&fault, &[&format!("127.0.0.1:{port}")]);
    assert!(third.accept().is_err(), "a third party was dialled");
}

#[test]
fn a_machine_without_authorities_says_so() {
    let env = TestEnv::new();
    let certificate = Certificate::self_signed(env.root());
    let server = HostileFtp::start(env.root(), Some(&certificate), json!({}));
    let rules = env.write(
        "rules",
        format!(
            "[a]\nhost = 127.0.0.1\nftp_port = {}\nlogin = u\npassword = p\ntransports = ftps\n",
            server.port
        ),
    );
    env.write(
        "auto-dispatcher.cfg",
        format!(
            "[auto-dispatcher]\nstate_dir = {}\n",
            env.path("state").display()
        ),
    );
    let package = env.write("a", "x");
    let nothing = env.write("no-roots", "");
    let mut command = env.command();
    command
        .env("SSL_CERT_FILE", nothing)
        .arg("--config")
        .arg(rules)
        .arg("send")
        .arg(package);
    let ran = crate::testenv::Ran::of(&mut command).exits(1);
    assert!(
        ran.stderr
            .contains("untrusted: no certificate authority is known")
            || ran
                .stdout
                .contains("untrusted: no certificate authority is known"),
        "{ran}"
    );
    assert_eq!(server.commands(), Vec::<String>::new());
}
