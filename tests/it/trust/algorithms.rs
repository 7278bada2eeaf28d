//! Which algorithms a server may agree upon with us: none of the old ones unless the rule allows them, and then with
//! a warning; and that a server with which nothing can be agreed upon is told with both lists.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use auto_dispatcher::domain::fault::FaultClass;

use super::{fingerprint, keygen, public};
use crate::conformance::{Package, deliver};
use crate::servers::ssh::{Caller, SshServer, new_key};
use crate::testenv::{TestEnv, needs_root};

/// What sshd is left with, the old algorithm in it, and how its kind is called.
const OLD: [(&str, &str, &str); 6] = [
    (
        "KexAlgorithms diffie-hellman-group1-sha1",
        "diffie-hellman-group1-sha1",
        "key exchanges",
    ),
    (
        "KexAlgorithms diffie-hellman-group14-sha1",
        "diffie-hellman-group14-sha1",
        "key exchanges",
    ),
    ("Ciphers 3des-cbc", "3des-cbc", "ciphers"),
    ("Ciphers aes128-cbc", "aes128-cbc", "ciphers"),
    ("HostKeyAlgorithms ssh-rsa", "ssh-rsa", "host key types"),
    ("Ciphers aes128-ctr\nMACs hmac-md5", "hmac-md5", "MACs"),
];

#[test]
fn old_algorithms_are_refused_with_both_lists_and_serve_with_a_warning_where_the_rule_allows() {
    for (config, old, kind) in OLD {
        let server = SshServer::sshd(config);
        let mut caller = server.caller();
        let error = caller.refused();
        assert_eq!(error.fault.class, FaultClass::Unreachable, "{error}");
        for part in [
            &format!("no common algorithm. {kind}: it offers {old}, we offer "),
            &format!("`old_algorithms = yes` in the rule would allow {old}"),
        ] {
            assert!(error.fault.message.contains(part), "no {part:?} in {error}");
        }
        assert_eq!((error.proved, caller.asked.get()), (None, 0));
        caller.terms.old_algorithms = true;
        let mut session = caller.connect();
        let dir = session.prepare_dir("~/old").expect("a directory");
        let package = Package::of_size(100_000);
        deliver(&mut *session, &package.upload(&dir, "a", ".a")).expect("delivered");
        let told = caller.told.borrow().join("\n");
        assert!(
            told.contains(&format!(
                "old algorithms were agreed upon, which the rule's `old_algorithms` allows: {old};"
            )),
            "{told}"
        );
    }
}

#[test]
fn a_server_that_knows_better_agrees_upon_nothing_old_though_the_rule_allows_it() {
    let server = SshServer::sshd(
        "KexAlgorithms +diffie-hellman-group1-sha1,diffie-hellman-group14-sha1\nCiphers +3des-cbc\n\
         HostKeyAlgorithms +ssh-rsa\nMACs +hmac-md5",
    );
    let mut caller = server.caller();
    caller.terms.old_algorithms = true;
    caller.connect().close();
    let told = caller.told.borrow().join("\n");
    assert!(!told.contains("old algorithms"), "{told}");
    assert!(told.contains("recorded at first contact"), "{told}");
}

#[test]
fn counters_with_each_mac_that_is_offered_bring_packages() {
    for mac in [
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-512",
    ] {
        let server = SshServer::sshd(&format!("Ciphers aes256-ctr\nMACs {mac}"));
        let caller = server.caller();
        let mut session = caller.connect();
        let dir = session.prepare_dir("~/in").expect("a directory");
        let package = Package::of_size(3_000_000);
        deliver(&mut *session, &package.upload(&dir, "a", ".a")).expect("delivered");
    }
}

#[test]
fn dropbear_agrees_upon_nothing_old() {
    needs_root!();
    let server = SshServer::dropbear();
    let mut caller = server.caller();
    caller.terms.old_algorithms = true;
    caller.connect().close();
    let told = caller.told.borrow().join("\n");
    assert!(!told.contains("old algorithms"), "{told}");
}

#[test]
fn a_host_that_has_a_certificate_is_asked_for_its_plain_key() {
    let env = TestEnv::new();
    let (key, authority) = (env.path("key"), env.path("authority"));
    new_key(&key, "ed25519", "");
    new_key(&authority, "ed25519", "");
    let signs = ["-q", "-h", "-I", "host", "-n", "127.0.0.1", "-s"];
    keygen(&signs, &[&authority, &key.with_extension("pub")]);
    let certificate = env.path("key-cert.pub");
    assert!(certificate.exists());
    let server = SshServer::sshd(&format!(
        "HostKey {}\nHostCertificate {}",
        key.display(),
        certificate.display()
    ));
    let caller = server.caller();
    let session = caller.connect();
    let shown = session.facts().fingerprint.clone().expect("a key");
    let recorded = fs::read_to_string(&caller.surroundings.own_known_hosts).expect("read");
    assert!(recorded.contains("ssh-ed25519 "), "{recorded}");
    assert!(!recorded.contains("cert"), "{recorded}");
    session.close();
    // Known by its authority alone, it is not taken for new, nor for trusted.
    let file = &caller.surroundings.own_known_hosts;
    let known = format!("@cert-authority * {}\n", public(&authority));
    fs::write(file, &known).expect("write");
    let error = caller.refused();
    assert_eq!(error.fault.class, FaultClass::Untrusted, "{error}");
    for part in [
        "own_known_hosts:1",
        "certificates are not supported",
        "auto-dispatcher trust 127.0.0.1 --port",
        &shown,
    ] {
        assert!(error.fault.message.contains(part), "no {part:?} in {error}");
    }
    assert_eq!((error.proved, caller.asked.get()), (None, 0));
    assert_eq!(fs::read_to_string(file).expect("read"), known);
    assert!(caller.knows_the_host());
    // With a plain key beside it, that one counts.
    fs::write(file, known + &recorded).expect("write");
    caller.connect().close();
    assert!(
        [fingerprint(&key), fingerprint(&server.path("host"))].contains(&shown),
        "{shown}"
    );
}

/// A server that sends this to each caller and waits for him to hang up.
fn says(bytes: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for caller in listener.incoming() {
            let mut caller = caller.expect("a caller");
            // He may have hung up.
            let _ = caller.write_all(&bytes);
            let _ = caller.read_to_end(&mut Vec::new());
        }
    });
    port
}

#[test]
fn hostile_lists_reach_no_screen_raw_and_are_bounded() {
    let mut payload = vec![20];
    payload.extend([7; 16]);
    let hostile = format!("\x1b[2J\u{202e}evil\n,{}", "x,".repeat(10_000));
    for list in [
        hostile.as_str(),
        "ssh-ed25519",
        "none",
        "none",
        "none",
        "none",
        "none",
        "none",
        "",
        "",
    ] {
        payload.extend(u32::try_from(list.len()).expect("short").to_be_bytes());
        payload.extend(list.as_bytes());
    }
    payload.extend([0; 5]);
    let padding = 8 - (payload.len() + 5) % 8 + 8;
    let mut bytes = b"SSH-2.0-Evil\r\n".to_vec();
    let length = payload.len() + padding + 1;
    bytes.extend(u32::try_from(length).expect("short").to_be_bytes());
    bytes.push(u8::try_from(padding).expect("short"));
    bytes.extend(&payload);
    bytes.extend(vec![0; padding]);
    let env = TestEnv::new();
    let caller = Caller::new(says(bytes), &env.path("known_hosts"));
    let error = caller.refused();
    let message = &error.fault.message;
    assert_eq!(error.fault.class, FaultClass::Unreachable, "{error}");
    assert!(
        message.contains("it offers \\x1b[2J\\u{202e}evil\\n, x, x,"),
        "{message}"
    );
    assert!(message.contains('…') && message.len() < 4000, "{message}");
    assert!(!message.contains('\x1b'), "{message}");
}
