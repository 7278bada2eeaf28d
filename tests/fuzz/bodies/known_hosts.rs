//! known_hosts files: in front of the first line end a host, behind it the file. Entries stand in the file; a line that
//! we write is found again, whatever stands before it; a pattern matches what a slower matcher says.

use auto_dispatcher::config::probes::is_host;
use auto_dispatcher::transport::ssh::probes::{
    is_encrypted, known_hosts, known_hosts_line, public_key,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const KEY: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20................................";

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    is_encrypted(&text);
    assert!(public_key(data).is_none_or(|key| key.len() < data.len()));
    let (host, file) = text.split_once('\n').unwrap_or((&text, ""));
    for port in [22, 2222] {
        for entry in known_hosts(file, host, port) {
            let line = file.lines().nth(entry.line - 1).expect("its line");
            assert!(line.contains(&entry.key_type));
            assert_eq!(entry.revoked, line.trim().starts_with("@revoked"));
        }
    }
    pattern(host, file.lines().next().unwrap_or_default());
    if is_host(host) && !host.is_empty() {
        written(host, file);
    }
}

fn written(host: &str, file: &str) {
    for port in [22, 2222] {
        let line = known_hosts_line(host, port, KEY).expect("a key");
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        let whole = format!("{file}\n{line}");
        let last = known_hosts(&whole, host, port).pop();
        let last = last.expect("the line that was written");
        assert_eq!(last.key, KEY);
        assert_eq!(last.line, whole.lines().count());
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
    let found = !known_hosts(&line, host, 22).is_empty();
    let pattern = pattern.to_lowercase();
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
