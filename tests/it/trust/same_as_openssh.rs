//! known_hosts files mean to us what they mean to `ssh-keygen -F`: thousands of generated lines, several names.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use super::public;
use crate::servers::ssh::{Caller, new_key};
use crate::testenv::TestEnv;

/// Host and port, as rules write them.
const ASKED: [(&str, u16); 7] = [
    ("alpha", 22),
    ("ALPHA", 2222),
    ("beta", 22),
    ("10.0.0.1", 22),
    ("10.0.0.1", 2222),
    ("::1", 22),
    ("a.example.com", 22),
];

const HOSTS: [&str; 26] = [
    "alpha",
    "ALPHA",
    "Alpha",
    "beta",
    "al*",
    "?lpha",
    "alph?",
    "*",
    "?",
    "*a",
    "*.example.com",
    "*.EXAMPLE.com",
    "!alpha",
    "!beta",
    "!*",
    "!",
    "",
    "[alpha]:2222",
    "[ALPHA]:2222",
    "[*]:2222",
    "[10.0.0.1]:2222",
    "10.0.0.1",
    "10.0.0.*",
    "::1",
    "|1|alpha",
    "**a**a*a",
];

fn name(host: &str, port: u16) -> String {
    let host = host.to_lowercase();
    if port == 22 {
        host
    } else {
        format!("[{host}]:{port}")
    }
}

fn hashed(name: &str, salt: &[u8]) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(salt).expect("a key");
    mac.update(name.as_bytes());
    let hash = STANDARD.encode(mac.finalize().into_bytes());
    format!("|1|{}|{hash}", STANDARD.encode(salt))
}

fn hosts(random: &mut fastrand::Rng) -> String {
    match random.u8(0..10) {
        0..2 => {
            let (host, port) = ASKED[random.usize(..ASKED.len())];
            let salt: Vec<u8> = (0..20).map(|_| random.u8(..)).collect();
            let whole = hashed(&name(host, port), &salt);
            match random.u8(0..8) {
                0 => hashed(&name(host, port), &salt[..19]),
                1 => format!("{whole},beta"),
                2 => format!("beta,{whole}"),
                3 => whole.replace("|1|", "|2|"),
                4 => whole.trim_end_matches('=').to_owned(),
                _ => whole,
            }
        }
        2 => format!("{},alpha", "?".repeat(random.usize(1020..1028))),
        _ => {
            let count = random.usize(1..4);
            let some: Vec<&str> = (0..count)
                .map(|_| HOSTS[random.usize(..HOSTS.len())])
                .collect();
            some.join(",")
        }
    }
}

fn line(random: &mut fastrand::Rng, ed25519: &str, rsa: &str) -> String {
    let pick = |random: &mut fastrand::Rng, of: &[&str]| of[random.usize(..of.len())].to_owned();
    let start = pick(random, &["", "", "", "", " ", "\t", "#"]);
    // Not a tab behind it: OpenSSH does not read such a line; we take its word, which accepts nothing.
    let marker = pick(
        random,
        &[
            "",
            "",
            "",
            "",
            "@cert-authority ",
            "@revoked ",
            "@other ",
            "@",
            "@revoked @cert-authority ",
            "@REVOKED ",
        ],
    );
    let blob = rsa.split(' ').nth(1).expect("a key");
    let key = match random.u8(0..14) {
        0 => format!("ssh-ed25519 {blob}"),
        1 => format!("rsa-sha2-256 {blob}"),
        2 => "ssh-ed25519".to_owned(),
        3 => String::new(),
        4 => "ssh-ed25519 %%%%".to_owned(),
        5 => "ssh-ed25519 AAAA".to_owned(),
        6 => format!("{ed25519} a remark"),
        7 => ed25519.replace(' ', "\t"),
        8 => format!(" {ed25519}"),
        9 => "# a remark".to_owned(),
        10 => format!("1024 35 {}", "1".repeat(100)),
        11 => rsa.to_owned(),
        _ => ed25519.to_owned(),
    };
    let blank = pick(random, &[" ", " ", " ", "\t", "  "]);
    let end = pick(random, &["", "", "", "\r", " "]);
    format!("{start}{marker}{}{blank}{key}{end}", hosts(random))
}

#[test]
fn generated_lines_mean_what_they_mean_to_ssh_keygen() {
    let env = TestEnv::new();
    for kind in ["ed25519", "rsa"] {
        new_key(&env.path(kind), kind, "");
    }
    let (ed25519, rsa) = (public(&env.path("ed25519")), public(&env.path("rsa")));
    let seed = 20_261_124;
    let mut random = fastrand::Rng::with_seed(seed);
    let lines: Vec<String> = (0..1500)
        .map(|_| line(&mut random, &ed25519, &rsa))
        .collect();
    let all = env.write("all", lines.join("\n") + "\n");
    let one = env.path("one");
    let (mut found, mut differ) = (0, String::new());
    for (host, port) in ASKED {
        // What a line says without the port counts, too: the host has shown a key.
        let mut theirs = Vec::new();
        for name in [name(host, port), name(host, 22)] {
            // With -l the keys are read as well.
            let ran = Command::new("ssh-keygen")
                .args(["-l", "-F", &name, "-f"])
                .arg(&all)
                .output();
            let told = String::from_utf8(ran.expect("openssh-client").stdout).expect("UTF-8");
            for line in told.lines().filter_map(|line| line.strip_prefix("# Host ")) {
                let (_, number) = line.split_once("found: line ").expect("a number");
                let (number, marker) = number.split_once(' ').unwrap_or((number, ""));
                if marker.trim() != "REVOKED" {
                    theirs.push(number.parse::<usize>().expect("a number"));
                }
            }
        }
        let mut caller = Caller::new(port, &one);
        host.clone_into(&mut caller.target.host);
        for (index, line) in lines.iter().enumerate() {
            fs::write(&one, line).expect("write");
            let (ours, theirs) = (caller.knows_the_host(), theirs.contains(&(index + 1)));
            found += usize::from(ours);
            if ours != theirs {
                let _ = writeln!(differ, "{host}:{port}: we {ours}, they {theirs}: {line:?}");
            }
        }
    }
    let some: Vec<&str> = differ.lines().take(9).collect();
    assert!(differ.is_empty(), "seed {seed}: {some:#?}");
    assert!(found > 300, "only {found} lines spoke of a host");
}
