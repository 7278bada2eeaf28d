//! known_hosts files and private keys: in front of the first line end a host, behind it the file. Entries stand in the
//! file; a line that we write is found again, whatever stands before it and whatever the key is; a file without a host
//! says of others what it said; a pattern matches what a slower matcher says.

use auto_dispatcher::config::probes::is_host;
use auto_dispatcher::transport::ssh::probes::{
    is_encrypted, known_hosts, known_hosts_line, known_hosts_without, public_key,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const KEY: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20................................";
const OTHERS: [&str; 3] = ["alpha", "beta", "192.168.1.61"];

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    is_encrypted(&String::from_utf8_lossy(data));
    assert!(public_key(data).is_none_or(|key| key.len() < data.len()));
    let end = data.iter().position(|&byte| byte == b'\n');
    let (host, file) = data.split_at(end.unwrap_or(data.len()));
    let host = String::from_utf8_lossy(host);
    let file = file.get(1..).unwrap_or_default();
    for port in [22, 2222] {
        let lines: Vec<&[u8]> = file.split(|&byte| byte == b'\n').collect();
        for entry in known_hosts(file, &host, port) {
            let line = String::from_utf8_lossy(lines[entry.line - 1]);
            let line = line.trim_start_matches([' ', '\t']);
            assert_eq!(entry.marker == "Revoked", line.starts_with("@revoked"));
            assert_eq!(entry.marker == "Authority", line.starts_with("@cert-"));
        }
    }
    let first = file.split(|&byte| byte == b'\n').next();
    pattern(&host, &String::from_utf8_lossy(first.unwrap_or_default()));
    if is_host(&host) && !host.is_empty() {
        written(&host, file, KEY);
        written(&host, b"", file);
        removed(&host, file);
    }
}

fn written(host: &str, file: &[u8], key: &[u8]) {
    for port in [22, 2222] {
        let Some(line) = known_hosts_line(host, port, key) else {
            assert_ne!(key, KEY);
            continue;
        };
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        let whole = [file, b"\n", line.as_bytes()].concat();
        let last = known_hosts(&whole, host, port).pop();
        let last = last.expect("the line that was written");
        assert_eq!(last.key, key);
        assert_eq!(last.marker, "None");
        let lines = whole.split(|&byte| byte == b'\n').count() - 1;
        assert_eq!(last.line, lines);
    }
}

fn removed(host: &str, file: &[u8]) {
    let Ok(rest) = known_hosts_without(file, host, 22) else {
        return;
    };
    let left = known_hosts(&rest, host, 22);
    assert!(left.iter().all(|entry| entry.marker != "None"));
    for other in OTHERS
        .into_iter()
        .filter(|other| !host.eq_ignore_ascii_case(other))
    {
        let says = |file: &[u8]| {
            let entries = known_hosts(file, other, 22).into_iter();
            entries
                .map(|entry| (entry.marker, entry.key))
                .collect::<Vec<_>>()
        };
        assert_eq!(says(&rest), says(file), "{other}");
    }
}

/// One pattern, without the letters that make it something else.
fn pattern(host: &str, pattern: &str) {
    let is_one = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | '!' | '|' | '@' | '#');
    // The slow matcher has its limits.
    if pattern.is_empty() || pattern.len() > 40 || host.len() > 60 || !pattern.chars().all(is_one) {
        return;
    }
    let line = format!("{pattern} ssh-ed25519 {}\n", STANDARD.encode(KEY));
    let name = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_lowercase();
    let found = !known_hosts(line.as_bytes(), host, 22).is_empty();
    let pattern = pattern.to_ascii_lowercase();
    assert_eq!(
        found,
        slowly(pattern.as_bytes(), name.as_bytes()),
        "{pattern:?} for {name:?}"
    );
}

fn slowly(pattern: &[u8], name: &[u8]) -> bool {
    let mut here = vec![false; name.len() + 1];
    here[0] = true;
    for &wanted in pattern {
        let mut next = vec![false; name.len() + 1];
        for at in 0..=name.len() {
            next[at] = match wanted {
                b'*' => here[at] || (at > 0 && next[at - 1]),
                _ => at > 0 && here[at - 1] && (wanted == b'?' || wanted == name[at - 1]),
            };
        }
        here = next;
    }
    here[name.len()]
}
