//! Why there was no common algorithm: libssh2 does not tell what the server offers, so it is asked once more, in the
//! clear beginning of a connection of its own, and both sides' lists are compared.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use super::algorithms::{Kind, Offer};
use super::kexinit::{self, ServerLists};
use super::reach::connect;
use crate::domain::fault::Fault;
use crate::transport::Dial;

/// How often the worker's stop is looked at.
const SLICE: Duration = Duration::from_millis(100);
/// What a server may send before its lists end.
const BYTES_MAX: usize = 128 * 1024;
/// So much of a list is shown.
const SHOWN_BYTES_MAX: usize = 400;

/// What the server offers. Nothing secret is sent, and nothing is agreed upon.
pub(super) fn ask(dial: &Dial<'_>, place: &str, limit: Duration) -> Result<ServerLists, Fault> {
    let end = Instant::now() + limit;
    let cannot = |why: &str| Fault::unreachable(format!("cannot speak SSH with {place}: {why}"));
    let io = |error: std::io::Error| cannot(&error.to_string());
    let mut socket = connect(dial, place, limit)?;
    socket.set_nonblocking(false).map_err(io)?;
    socket.set_read_timeout(Some(SLICE)).map_err(io)?;
    socket.set_write_timeout(Some(limit)).map_err(io)?;
    socket
        .write_all(b"SSH-2.0-auto_dispatcher\r\n")
        .map_err(io)?;
    let mut heard = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        dial.stop.check()?;
        if Instant::now() >= end {
            return Err(cannot(&format!(
                "it sent no SSH banner or lists of algorithms within {} s (connect_timeout)",
                limit.as_secs()
            )));
        }
        match socket.read(&mut buffer) {
            Ok(0) => return Err(cannot("it does not speak SSH, or closed the connection")),
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(error) => return Err(io(error)),
        }
        match kexinit::read(&heard) {
            Ok(Some(lists)) => return Ok(lists),
            Ok(None) if heard.len() <= BYTES_MAX => {}
            Ok(None) => return Err(cannot("it talks on and on")),
            Err(why) => return Err(cannot(why)),
        }
    }
}

/// What has nothing in common, in words; nothing where everything has.
pub(super) fn explain(ours: &Offer, with_old: &Offer, theirs: &ServerLists) -> Option<String> {
    let complaints: Vec<String> = Kind::ALL
        .into_iter()
        .filter_map(|kind| complain(kind, ours, with_old, theirs))
        .collect();
    if complaints.is_empty() {
        return None;
    }
    Some(complaints.join(". "))
}

fn complain(kind: Kind, ours: &Offer, with_old: &Offer, theirs: &ServerLists) -> Option<String> {
    let list = their_lists(kind, theirs)
        .into_iter()
        .enumerate()
        .find(|&(direction, list)| {
            let needed = kind != Kind::Mac || needs_mac(ours, &theirs.ciphers[direction]);
            needed && first_common(ours.of(kind), list).is_none()
        })
        .map(|(_, list)| list)?;
    let allowed: Vec<&str> = with_old
        .of(kind)
        .iter()
        .copied()
        .filter(|name| list.iter().any(|one| one == name))
        .collect();
    let way_out = if allowed.is_empty() {
        String::new()
    } else {
        format!(
            "; `old_algorithms = yes` in the rule would allow {}",
            allowed.join(", ")
        )
    };
    Some(format!(
        "{}: it offers {}, we offer {}{way_out}",
        kind.words(),
        shown(
            list.iter()
                .map(String::as_str)
                .filter(|name| !is_signal(name))
        ),
        shown(ours.of(kind).iter().copied())
    ))
}

fn their_lists(kind: Kind, theirs: &ServerLists) -> Vec<&Vec<String>> {
    match kind {
        Kind::KeyExchange => vec![&theirs.key_exchanges],
        Kind::HostKey => vec![&theirs.host_keys],
        Kind::Cipher => theirs.ciphers.iter().collect(),
        Kind::Mac => theirs.macs.iter().collect(),
    }
}

/// Our first that they know, too: that one is agreed upon.
fn first_common<'a>(ours: &[&'a str], theirs: &[String]) -> Option<&'a str> {
    ours.iter()
        .copied()
        .find(|name| theirs.iter().any(|one| one == name))
}

/// Some ciphers authenticate what they encrypt.
fn needs_mac(ours: &Offer, ciphers: &[String]) -> bool {
    first_common(ours.of(Kind::Cipher), ciphers)
        .is_none_or(|cipher| !cipher.contains("poly1305") && !cipher.contains("gcm"))
}

/// Among key exchanges there are names that stand for something else.
fn is_signal(name: &str) -> bool {
    name.starts_with("kex-strict-") || name.starts_with("ext-info-")
}

/// The names, bounded; a fault escapes what is hostile in them.
fn shown<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for name in names {
        if text.len() + name.len() > SHOWN_BYTES_MAX {
            text.push_str(", …");
            break;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(name);
    }
    if text.is_empty() {
        "nothing".to_owned()
    } else {
        text
    }
}
