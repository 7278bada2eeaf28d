//! The keys that a host shows, asked for one type after the other, beside what is on record; and the record changed on
//! the word of a person. No login is tried.

use std::path::PathBuf;

use super::hosts_file::{Locked, judge};
use super::known_hosts;
use super::trust::{Known, Line, cannot_record, own_file};
use super::{algorithms, dial, disagreement};
use crate::domain::fault::Fault;
use crate::transport::Dial;

/// What the record says of a key that a host shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is on record at `FILE:LINE`.
    Same(String),
    /// No key of the host is, or it has shown another one that is.
    New,
    /// Another key is on record, and the host does not show that one.
    Changed,
    /// It is revoked at `FILE:LINE`.
    Revoked(String),
}

/// A key that a host shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownKey {
    /// `ssh-ed25519` and its like.
    pub key_type: String,
    /// `SHA256:...`.
    pub fingerprint: String,
    /// What the record says of it.
    pub standing: Standing,
    key: Vec<u8>,
}

/// A key that is on record and that the host does not show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingKey {
    /// `ssh-ed25519` and its like.
    pub key_type: String,
    /// `SHA256:...`.
    pub fingerprint: String,
    /// `FILE:LINE`.
    pub place: String,
    /// Whether the file is ours to change.
    pub is_ours: bool,
}

/// A host's keys, there and here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// As `known_hosts` files name the host with its port.
    pub name: String,
    /// The file that keys are recorded in.
    pub file: PathBuf,
    /// What the host shows.
    pub shown: Vec<ShownKey>,
    /// What it does not show.
    pub missing: Vec<MissingKey>,
    /// Where a certificate authority of the host is named: `FILE:LINE`.
    pub authority: Option<String>,
}

/// Asks the host for each type of key that both sides know.
pub fn survey(dial: &Dial<'_>) -> Result<Survey, Fault> {
    let theirs = disagreement::ask(dial, &dial::place(dial), dial::limit(dial))?;
    let mut keys = Vec::new();
    let types = algorithms::key_types(dial.terms.old_algorithms, &theirs.host_keys);
    for wanted in types {
        let (_, key) = dial::exchange(dial, |offer| offer.only_host_key(wanted))?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        // The exchange says what is offered on both sides.
        let (_, key) = dial::exchange(dial, |_| {})?;
        keys.push(key);
    }
    Ok(compare(dial, &Known::load(dial)?, keys))
}

fn compare(dial: &Dial<'_>, known: &Known, keys: Vec<Vec<u8>>) -> Survey {
    let own = own_file(dial);
    let missing: Vec<MissingKey> = known
        .keys()
        .filter(|line| !keys.contains(&line.entry.key))
        .map(|line| MissingKey {
            key_type: line.entry.key_type.clone(),
            fingerprint: known_hosts::fingerprint(&line.entry.key),
            place: line.place(),
            is_ours: line.file == own,
        })
        .collect();
    let has_shown_one = keys
        .iter()
        .any(|key| known.revokes(key).is_none() && known.accepts(key).is_some());
    let shown = keys
        .into_iter()
        .filter_map(|key| {
            let key_type = known_hosts::type_of(&key)?.to_owned();
            let another = missing.iter().any(|other| other.key_type == key_type);
            let standing = if let Some(line) = known.revokes(&key) {
                Standing::Revoked(line.place())
            } else if let Some(line) = known.accepts(&key) {
                Standing::Same(line.place())
            } else if another || (!missing.is_empty() && !has_shown_one) {
                Standing::Changed
            } else {
                Standing::New
            };
            Some(ShownKey {
                key_type,
                fingerprint: known_hosts::fingerprint(&key),
                standing,
                key,
            })
        })
        .collect();
    Survey {
        name: known.name.clone(),
        file: own.to_path_buf(),
        shown,
        missing,
        authority: known.authority().map(Line::place),
    }
}

/// Records `keys`, as `survey` has shown them, in our file. With `replace`, what that file has of keys that the host
/// does not show goes, all in one step. A revoked key is recorded by nobody.
pub fn record_keys(
    dial: &Dial<'_>,
    survey: &Survey,
    keys: &[&ShownKey],
    replace: bool,
) -> Result<(), Fault> {
    let (name, file) = (&survey.name, &survey.file);
    let trouble = |error: std::io::Error| cannot_record(file, name, &error);
    let locked = Locked::open(file).map_err(trouble)?;
    judge(&locked.file, file)?;
    // Others may have recorded or revoked something while a person thought about it.
    let known = Known::load(dial)?;
    let mut lines = String::new();
    for shown in keys {
        if let Some(line) = known.revokes(&shown.key) {
            return Err(Fault::untrusted(format!(
                "{} is marked @revoked at {}; it is not recorded",
                shown.fingerprint,
                line.place()
            )));
        }
        let is_there = known.keys().any(|line| line.entry.key == shown.key);
        if !is_there && let Some(line) = known_hosts::line(name, &shown.key) {
            lines.push_str(&line);
        }
    }
    if !replace {
        return if lines.is_empty() {
            Ok(())
        } else {
            locked.append(&lines).map_err(trouble)
        };
    }
    let is_stale = |key: &[u8]| survey.shown.iter().all(|shown| shown.key != key);
    let mut content = known_hosts::without(&locked.bytes, name, is_stale).map_err(|line| {
        Fault::permanent(format!(
            "{}:{line} speaks of other hosts, too: take {name} out of it by hand; nothing was recorded",
            file.display()
        ))
    })?;
    if content.last().is_some_and(|&last| last != b'\n') {
        content.push(b'\n');
    }
    content.extend(lines.as_bytes());
    locked.replace(&content).map_err(trouble)
}

impl ShownKey {
    /// Whether the record accepts it.
    pub fn is_known(&self) -> bool {
        matches!(self.standing, Standing::Same(_))
    }
}
