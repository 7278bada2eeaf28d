//! The format of `known_hosts` files (sshd(8)): which of a text's lines speak of a host. Pure text work;
//! a line that cannot be read is passed over and spoils no other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// A line that speaks of the host that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Line number, from 1.
    pub(super) line: usize,
    /// `@revoked`: the key must never be accepted.
    pub(super) revoked: bool,
    /// `ssh-ed25519` and its like.
    pub(super) key_type: String,
    /// The key itself, as it goes over the wire.
    pub(super) key: Vec<u8>,
}

/// The name under which `known_hosts` files keep a host: `[host]:port` unless the port is 22.
pub(super) fn host_name(host: &str, port: u16) -> String {
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_lowercase();
    if port == 22 {
        host
    } else {
        format!("[{host}]:{port}")
    }
}

/// The lines of `text` that speak of `name`, as [`host_name`] gives it. `@cert-authority` lines are
/// passed over: certificates are not supported.
pub(super) fn entries(text: &str, name: &str) -> Vec<Entry> {
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| entry(index + 1, line, name))
        .collect()
}

fn entry(line: usize, text: &str, name: &str) -> Option<Entry> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    let mut words = text.split_ascii_whitespace();
    let mut hosts = words.next()?;
    let mut revoked = false;
    if hosts.starts_with('@') {
        if hosts != "@revoked" {
            return None;
        }
        revoked = true;
        hosts = words.next()?;
    }
    let key_type = words.next()?;
    let key = STANDARD.decode(words.next()?).ok()?;
    if !key_begins_with_its_type(&key, key_type) || !speaks_of(hosts, name) {
        return None;
    }
    Some(Entry {
        line,
        revoked,
        key_type: key_type.to_owned(),
        key,
    })
}

/// A key's first field is its type: a cheap guard against lines in another format.
fn key_begins_with_its_type(key: &[u8], key_type: &str) -> bool {
    let length = u32::try_from(key_type.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    key.strip_prefix(&length)
        .is_some_and(|rest| rest.starts_with(key_type.as_bytes()))
}

/// Whether the hosts field of a line means `name`.
fn speaks_of(hosts: &str, name: &str) -> bool {
    if let Some(hashed) = hosts.strip_prefix("|1|") {
        return is_hash_of(hashed, name).unwrap_or(false);
    }
    let mut found = false;
    for pattern in hosts.split(',') {
        if let Some(negated) = pattern.strip_prefix('!') {
            if wildcard(negated.to_lowercase().as_bytes(), name.as_bytes()) {
                return false;
            }
        } else {
            found |= wildcard(pattern.to_lowercase().as_bytes(), name.as_bytes());
        }
    }
    found
}

/// `salt|hash`: HMAC-SHA1 of the name with the salt as its key, both in base64.
fn is_hash_of(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let salt = STANDARD.decode(salt).ok()?;
    let hash = STANDARD.decode(hash).ok()?;
    let mut mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&hash).is_ok())
}

/// `*` is any text, `?` any byte; in linear time but for one point of return.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// `SHA256:...`, as OpenSSH shows a key.
pub(super) fn fingerprint(key: &[u8]) -> String {
    let hash = base64::engine::general_purpose::STANDARD_NO_PAD.encode(Sha256::digest(key));
    format!("SHA256:{hash}")
}

/// The type that a key names itself, or nothing where it is no key.
pub(super) fn type_of(key: &[u8]) -> Option<&str> {
    let (length, rest) = key.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    std::str::from_utf8(rest.get(..length)?).ok()
}

/// The line that records a key.
pub(super) fn line(name: &str, key: &[u8]) -> Option<String> {
    Some(format!(
        "{name} {} {}\n",
        type_of(key)?,
        STANDARD.encode(key)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJbMcTvCn0y2bjmSX0hZ0nAKLCrqeUTWMnhKBG+vBVYF";

    fn lines(hosts: &str, host: &str, port: u16) -> usize {
        entries(&format!("{hosts} {KEY} comment\n"), &host_name(host, port)).len()
    }

    #[test]
    fn hosts_are_found_by_name_port_list_and_wildcard() {
        for (hosts, host, port, found) in [
            ("alpha", "alpha", 22, 1),
            ("alpha", "ALPHA", 22, 1),
            ("alpha", "alpha", 2222, 0),
            ("[alpha]:2222", "alpha", 2222, 1),
            ("[alpha]:2222", "alpha", 22, 0),
            ("beta,alpha,10.0.0.1", "10.0.0.1", 22, 1),
            ("*.example.com", "a.example.com", 22, 1),
            ("*.example.com", "example.com", 22, 0),
            ("web?", "web1", 22, 1),
            ("web?", "web10", 22, 0),
            ("*,!alpha", "alpha", 22, 0),
            ("!alpha,*", "alpha", 22, 0),
            ("*,!alpha", "beta", 22, 1),
            ("!alpha", "beta", 22, 0),
            ("[*]:2222", "alpha", 2222, 1),
            ("::1", "::1", 22, 1),
        ] {
            assert_eq!(lines(hosts, host, port), found, "{hosts} for {host}:{port}");
        }
    }

    #[test]
    fn hashed_names_are_found() {
        // Made by `ssh-keygen -H` from the names `alpha` and `[alpha]:2222`.
        for (name, salt) in [
            ("alpha", b"0123456789abcdefghij"),
            ("[alpha]:2222", b"jihgfedcba9876543210"),
        ] {
            let mut mac = Hmac::<Sha1>::new_from_slice(salt).unwrap();
            mac.update(name.as_bytes());
            let hosts = format!(
                "|1|{}|{}",
                STANDARD.encode(salt),
                STANDARD.encode(mac.finalize().into_bytes())
            );
            assert_eq!(entries(&format!("{hosts} {KEY}"), name).len(), 1, "{name}");
            assert_eq!(entries(&format!("{hosts} {KEY}"), "beta").len(), 0);
        }
        assert_eq!(
            lines(
                "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg=",
                "192.168.1.61",
                22
            ),
            1
        );
    }

    #[test]
    fn markers_and_bad_lines_do_what_they_must() {
        let text = format!(
            "# comment\n\nalpha\nalpha ssh-ed25519\nalpha ssh-ed25519 %%%\nalpha ssh-rsa {}\n\
             @cert-authority alpha {KEY}\n@strange alpha {KEY}\n@revoked alpha {KEY}\n  alpha\t{KEY}\r\n",
            KEY.split(' ').nth(1).unwrap()
        );
        let found: Vec<(usize, bool)> = entries(&text, "alpha")
            .iter()
            .map(|entry| (entry.line, entry.revoked))
            .collect();
        assert_eq!(found, [(9, true), (10, false)]);
    }

    #[test]
    fn a_line_that_is_written_is_found_again() {
        let key = STANDARD.decode(KEY.split(' ').nth(1).unwrap()).unwrap();
        let written = line("[alpha]:2222", &key).unwrap();
        assert_eq!(entries(&written, "[alpha]:2222")[0].key, key);
        assert_eq!(type_of(&key), Some("ssh-ed25519"));
        assert_eq!(type_of(b"\0\0\xff"), None);
    }
}
