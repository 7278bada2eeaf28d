//! The format of `known_hosts` files (sshd(8)): which of a text's lines speak of a host. Pure text work;
//! a line that cannot be read is passed over
//! and spoils no other. Compared with `ssh-keygen -F` by tests/it/trust.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// What a line says of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// It is a key of the host.
    None,
    /// `@revoked`: it must never be accepted.
    Revoked,
    /// `@cert-authority`: it signs the certificates of the host.
    Authority,
}

/// A line that speaks of the host that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Line number, from 1.
    pub(super) line: usize,
    /// What the line says of its key.
    pub(super) marker: Marker,
    /// `ssh-ed25519` and its like.
    pub(super) key_type: String,
    /// The key itself, as it goes over the wire.
    pub(super) key: Vec<u8>,
}

/// OpenSSH takes no pattern that is longer, nor any of the line that holds it.
const PATTERN_MAX: usize = 1022;

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

/// The lines of `text` that speak of `name`, as [`host_name`] gives it.
pub(super) fn entries(text: &[u8], name: &str) -> Vec<Entry> {
    lines(text)
        .filter_map(|(number, line)| entry(number, line, name))
        .collect()
}

/// The lines with their numbers.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    text.split(|&byte| byte == b'\n')
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

fn entry(number: usize, line: &[u8], name: &str) -> Option<Entry> {
    let fields = Fields::of(line)?;
    if !speaks_of(fields.hosts, name) {
        return None;
    }
    Some(Entry {
        line: number,
        marker: fields.marker,
        key_type: type_of(&fields.key)?.to_owned(),
        key: fields.key,
    })
}

/// A line that can be read.
struct Fields<'a> {
    marker: Marker,
    hosts: &'a [u8],
    /// What follows the hosts, as it stands there.
    rest: &'a [u8],
    key: Vec<u8>,
}

impl<'a> Fields<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        // A NUL ends a line for OpenSSH.
        let line = line.split(|&byte| byte == 0).next()?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (mut hosts, mut rest) = word(line)?;
        let marker = match hosts {
            b"@revoked" => Marker::Revoked,
            b"@cert-authority" => Marker::Authority,
            _ if hosts.starts_with(b"@") || hosts.starts_with(b"#") => return None,
            _ => Marker::None,
        };
        if marker != Marker::None {
            (hosts, rest) = word(rest)?;
            if hosts.starts_with(b"@") {
                return None;
            }
        }
        let (key_type, behind) = word(rest)?;
        let (key, _) = word(behind)?;
        let key = STANDARD.decode(key).ok()?;
        let own = type_of(&key)?;
        // The signature that an RSA key makes is not its type, but OpenSSH takes it for one.
        let is_rsa = own == "ssh-rsa" && matches!(key_type, b"rsa-sha2-256" | b"rsa-sha2-512");
        (own.as_bytes() == key_type || is_rsa).then_some(Self {
            marker,
            hosts,
            rest,
            key,
        })
    }
}

/// The next word of a line, and what follows it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !is_blank(byte))?;
    let text = &text[start..];
    let end = text.iter().position(is_blank).unwrap_or(text.len());
    Some(text.split_at(end))
}

/// Whether the hosts field of a line means `name`.
fn speaks_of(hosts: &[u8], name: &str) -> bool {
    if hosts.starts_with(b"|") {
        return is_hash_of(hosts, name).unwrap_or(false);
    }
    let mut found = false;
    for pattern in hosts.split(|&byte| byte == b',') {
        let (negated, pattern) = match pattern.strip_prefix(b"!") {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        // As OpenSSH, which gives up the line.
        if pattern.len() > PATTERN_MAX {
            return false;
        }
        if wildcard(&pattern.to_ascii_lowercase(), name.as_bytes()) {
            if negated {
                return false;
            }
            found = true;
        }
    }
    found
}

/// `|1|salt|hash`: HMAC-SHA1 of the name with the salt as its key, both in base64.
fn is_hash_of(hosts: &[u8], name: &str) -> Option<bool> {
    let hashed = std::str::from_utf8(hosts).ok()?.strip_prefix("|1|")?;
    let (salt, hash) = hashed.split_once('|')?;
    let salt = STANDARD.decode(salt).ok()?;
    if salt.len() != SALT_BYTES {
        return None;
    }
    let mut mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    mac.update(name.as_bytes());
    Some(STANDARD.encode(mac.finalize().into_bytes()) == hash)
}

/// A salt is as long as the hash.
const SALT_BYTES: usize = 20;

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

/// `text` without what it says of those keys of `name` that `is_stale` picks; or the number of the line that
/// speaks of other hosts, too, in a way that cannot be told apart (`*.example.com`). Markers are left alone.
pub(super) fn without(
    text: &[u8],
    name: &str,
    is_stale: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, usize> {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for (number, line) in lines(text) {
        let stale = Fields::of(line).filter(|fields| {
            fields.marker == Marker::None && speaks_of(fields.hosts, name) && is_stale(&fields.key)
        });
        let Some(fields) = stale else {
            kept.push(line.to_vec());
            continue;
        };
        if fields.hosts.starts_with(b"|") {
            continue;
        }
        let others: Vec<&[u8]> = fields
            .hosts
            .split(|&byte| byte == b',')
            .filter(|host| !host.eq_ignore_ascii_case(name.as_bytes()))
            .collect();
        let hosts = others.join(&b',');
        // A line that begins so is a hash, a marker or a comment, which it was not before.
        let is_another =
            hosts.starts_with(b"|") || hosts.starts_with(b"@") || hosts.starts_with(b"#");
        if is_another || speaks_of(&hosts, name) {
            return Err(number);
        }
        if !hosts.is_empty() {
            kept.push([hosts.as_slice(), fields.rest].concat());
        }
    }
    Ok(kept.join(&b'\n'))
}

/// `SHA256:...`, as OpenSSH shows a key.
pub(super) fn fingerprint(key: &[u8]) -> String {
    let hash = base64::engine::general_purpose::STANDARD_NO_PAD.encode(Sha256::digest(key));
    format!("SHA256:{hash}")
}

/// The type that a key names itself, or nothing where it is no key: a type that could end its word or its line in a
/// file is none.
pub(super) fn type_of(key: &[u8]) -> Option<&str> {
    let (length, rest) = key.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let name = std::str::from_utf8(rest.get(..length)?).ok()?;
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())).then_some(name)
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
        entries(
            format!("{hosts} {KEY} comment\n").as_bytes(),
            &host_name(host, port),
        )
        .len()
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
            assert_eq!(
                entries(format!("{hosts} {KEY}").as_bytes(), name).len(),
                1,
                "{name}"
            );
            assert_eq!(
                entries(format!("{hosts} {KEY}").as_bytes(), "beta").len(),
                0
            );
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
        let found: Vec<(usize, Marker)> = entries(text.as_bytes(), "alpha")
            .iter()
            .map(|entry| (entry.line, entry.marker))
            .collect();
        assert_eq!(
            found,
            [
                (7, Marker::Authority),
                (9, Marker::Revoked),
                (10, Marker::None)
            ]
        );
    }

    #[test]
    fn a_stale_key_goes_and_what_else_its_line_says_stays() {
        let gone = |text: &str| {
            without(text.as_bytes(), "alpha", |_| true).map(|left| String::from_utf8(left).unwrap())
        };
        let line = |hosts: &str| format!("{hosts} {KEY} remark");
        assert_eq!(
            gone(&format!("# a\n{}\n{}\n", line("alpha"), line("beta"))),
            Ok(format!("# a\n{}\n", line("beta")))
        );
        assert_eq!(
            gone(&line("beta,alpha,gamma")),
            Ok(line("beta,gamma")),
            "others of the same line"
        );
        assert_eq!(gone(&format!("x\n{}", line("alph?"))), Err(2));
        assert_eq!(gone(&line("*,alpha")), Err(1));
        for marked in ["@revoked alpha", "@cert-authority alpha"] {
            assert_eq!(gone(&line(marked)), Ok(line(marked)));
        }
        let kept = without(line("alpha").as_bytes(), "alpha", |_| false);
        assert_eq!(kept, Ok(line("alpha").into_bytes()));
    }

    #[test]
    fn a_line_that_is_written_is_found_again() {
        let key = STANDARD.decode(KEY.split(' ').nth(1).unwrap()).unwrap();
        let written = line("[alpha]:2222", &key).unwrap();
        assert_eq!(entries(written.as_bytes(), "[alpha]:2222")[0].key, key);
        assert_eq!(type_of(&key), Some("ssh-ed25519"));
        assert_eq!(type_of(b"\0\0\xff"), None);
        for bad in [&b"\0\0\0\0"[..], b"\0\0\0\x05a b c", b"\0\0\0\x05a\nb c"] {
            assert_eq!(line("alpha", bad), None);
        }
    }
}
