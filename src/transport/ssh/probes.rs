//! Doors for the fuzz targets, and for nothing else: the feature `probes`, which tests alone turn on, builds
//! them. They hand bytes to the readers of what hosts print and of `known_hosts` files and give plain types
//! back; they decide nothing.

use super::follow::Follow;
use super::markers::Reading;
use super::{kexinit, key_file, known_hosts};
use crate::domain::install::{InstallEnd, InstallOutcome};

/// What following a tracked install command gave.
#[derive(Debug, PartialEq, Eq)]
pub struct Followed {
    /// Whether the host made its record.
    pub prepared: bool,
    /// How it ended.
    pub ending: Option<String>,
    /// What was shown while it ran.
    pub shown: Vec<u8>,
    /// What is kept.
    pub kept: InstallOutcome,
}

/// Follows a command whose script prints `pieces`, one after the other.
pub fn follow<'a>(
    nonce: &str,
    output_max_bytes: usize,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Followed {
    let mut follow = Follow::new(nonce, output_max_bytes);
    let mut shown = Vec::new();
    for piece in pieces {
        follow.take(piece, &mut |bytes| shown.extend_from_slice(bytes));
    }
    Followed {
        prepared: follow.prepared,
        ending: follow.ending.map(|ending| format!("{ending:?}")),
        shown,
        kept: follow.tail.into_outcome(InstallEnd::Exited(0)),
    }
}

/// What a script gave.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// Its status.
    pub status: Option<i32>,
    /// What it printed.
    pub output: Vec<u8>,
    /// What was printed instead of its beginning.
    pub noise: String,
    /// Bytes that are held back.
    pub held_bytes: usize,
}

/// Reads `pieces`, the output of a script whose marker is `nonce`, until it has its status.
pub fn script<'a>(nonce: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> Run {
    let mut reading = Reading::new(nonce);
    let mut output = Vec::new();
    for piece in pieces {
        if reading.status.is_none() {
            reading.take(piece, &mut |bytes| output.extend_from_slice(bytes));
        }
    }
    Run {
        status: reading.status,
        output,
        noise: reading.noise(),
        held_bytes: reading.held.len(),
    }
}

/// A line of a `known_hosts` file.
#[derive(Debug, PartialEq, Eq)]
pub struct KnownHost {
    /// Its number, from 1.
    pub line: usize,
    /// `None`, `Revoked` or `Authority`.
    pub marker: String,
    /// `ssh-ed25519` and its like.
    pub key_type: String,
    /// As it goes over the wire.
    pub key: Vec<u8>,
}

/// The lines of `text` that speak of `host` and `port`.
pub fn known_hosts(text: &[u8], host: &str, port: u16) -> Vec<KnownHost> {
    let name = known_hosts::host_name(host, port);
    let entries = known_hosts::entries(text, &name);
    let entries = entries.into_iter().map(|entry| KnownHost {
        line: entry.line,
        marker: format!("{:?}", entry.marker),
        key_type: entry.key_type,
        key: entry.key,
    });
    entries.collect()
}

/// `text` without the keys of `host` and `port`, or the line that cannot be told apart.
pub fn known_hosts_without(text: &[u8], host: &str, port: u16) -> Result<Vec<u8>, usize> {
    known_hosts::without(text, &known_hosts::host_name(host, port), |_| true)
}

/// The line that records a key; none where it is no key.
pub fn known_hosts_line(host: &str, port: u16, key: &[u8]) -> Option<String> {
    known_hosts::line(&known_hosts::host_name(host, port), key)
}

/// Whether a private key asks for a pass phrase.
pub fn is_encrypted(key: &str) -> bool {
    key_file::is_encrypted(key)
}

/// The public key in the body of a private one.
pub fn public_key(body: &[u8]) -> Option<Vec<u8>> {
    key_file::public_key(body)
}

/// What a server's first words are: none as long as more has to come.
pub fn first_words(bytes: &[u8]) -> Result<Option<FirstWords>, &'static str> {
    let lists = kexinit::read(bytes)?;
    Ok(lists.map(|lists| {
        let [ciphers, ciphers_back] = lists.ciphers;
        let [macs, macs_back] = lists.macs;
        FirstWords {
            banner: lists.banner,
            lists: [
                lists.key_exchanges,
                lists.host_keys,
                ciphers,
                ciphers_back,
                macs,
                macs_back,
            ],
        }
    }))
}

/// A banner and the lists of algorithms, in their order.
#[derive(Debug, PartialEq, Eq)]
pub struct FirstWords {
    /// `SSH-2.0-...`
    pub banner: String,
    /// Key exchanges, host keys, ciphers and MACs, the latter two for each direction.
    pub lists: [Vec<String>; 6],
}
