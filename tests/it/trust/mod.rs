//! Whom we trust: host keys as OpenSSH reads them, the command that records them, algorithms, and that nobody
//! talks us into sending a password in clear.

mod algorithms;
mod command;
mod impostor;
mod no_downgrade;
mod same_as_openssh;

use std::path::Path;
use std::process::Command;

/// `SHA256:...` of a key file.
pub fn fingerprint(key: &Path) -> String {
    let shown = Command::new("ssh-keygen").arg("-lf").arg(key).output();
    let shown = shown.expect("openssh-client").stdout;
    let shown = String::from_utf8(shown).expect("UTF-8");
    shown.split(' ').nth(1).expect("a fingerprint").to_owned()
}

/// The two words of a public key file that `known_hosts` files hold.
pub fn public(key: &Path) -> String {
    let text = std::fs::read_to_string(key.with_extension("pub")).expect("a public key");
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    words.join(" ")
}

/// Has `ssh-keygen` do something with files.
#[track_caller]
pub fn keygen(args: &[&str], files: &[&Path]) {
    let ran = Command::new("ssh-keygen").args(args).args(files).output();
    let ran = ran.expect("openssh-client");
    assert!(ran.status.success(), "ssh-keygen {args:?}: {ran:?}");
}
