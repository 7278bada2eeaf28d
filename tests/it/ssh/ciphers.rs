//! Every cipher that is offered encrypts packets of every length: libssh2 is built with a change there.

use std::fs;

use auto_dispatcher::transport::Verified;

use crate::conformance::{Package, deliver};
use crate::servers::ssh::SshServer;

/// With what each is checked by, and whether the rule has to allow it.
const CIPHERS: [(&str, &str, bool); 11] = [
    ("aes128-gcm@openssh.com", "", false),
    ("aes256-gcm@openssh.com", "", false),
    ("chacha20-poly1305@openssh.com", "", false),
    ("aes256-ctr", "hmac-sha2-256-etm@openssh.com", false),
    ("aes192-ctr", "hmac-sha2-512-etm@openssh.com", false),
    ("aes128-ctr", "hmac-sha2-256", false),
    ("aes256-cbc", "hmac-sha2-256-etm@openssh.com", true),
    ("aes192-cbc", "hmac-sha2-512", true),
    ("aes128-cbc", "hmac-sha1", true),
    ("3des-cbc", "hmac-sha2-256", true),
    ("3des-cbc", "hmac-sha2-512-etm@openssh.com", true),
];

#[test]
fn every_cipher_encrypts_packets_of_every_length() {
    // What a packet holds beside the bytes is no multiple of a block: these lengths meet every remainder twice, short
    // ones and long ones.
    let sizes = (0..100)
        .chain((0..34).map(|more| 32_700 + more))
        .chain([3_000_017]);
    let packages: Vec<Package> = sizes.map(Package::of_size).collect();
    for (cipher, mac, is_old) in CIPHERS {
        let macs = if mac.is_empty() { "" } else { "\nMACs " };
        let server = SshServer::sshd(&format!("Ciphers {cipher}{macs}{mac}"));
        let mut caller = server.caller();
        caller.terms.old_algorithms = is_old;
        let mut session = caller.connect();
        let agreed = &session.facts().detail;
        assert!(agreed.contains(cipher), "{cipher}: {agreed}");
        let dir = session.prepare_dir("~/in").expect("a directory");
        for package in &packages {
            let bytes = package.bytes();
            let name = format!("{}", bytes.len());
            let verified = deliver(&mut *session, &package.upload(&dir, &name, ".tmp"));
            assert_eq!(verified.expect("delivered"), Verified::Digest);
            let arrived = fs::read(server.home_on_disk().join("in").join(&name)).expect("there");
            assert!(arrived == bytes, "{cipher} {mac}, {name} bytes: other ones");
        }
    }
}
