//! Whether a host's key is the one we know: reads the `known_hosts` files, applies the rule's policy, and
//! records a new key once, however many processes meet the host at the same moment.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::known_hosts::{self, Entry};
use super::own_file;
use crate::domain::fault::Fault;
use crate::domain::target::HostKeyPolicy;
use crate::transport::Dial;

/// What is known of one host.
pub(super) struct Known {
    name: String,
    entries: Vec<(PathBuf, Entry)>,
}

/// What the known keys say of a key.
enum Verdict {
    Same,
    New,
    Revoked(String),
    Changed(String),
}

/// Whether any `known_hosts` file holds a key for the host: it has proved itself an SSH host.
pub fn known_key(dial: &Dial<'_>) -> Result<bool, Fault> {
    Ok(Known::load(dial)?
        .entries
        .iter()
        .any(|(_, entry)| !entry.revoked))
}

/// The file that accepted keys are added to.
fn own_file<'a>(dial: &Dial<'a>) -> &'a Path {
    dial.terms
        .known_hosts
        .as_deref()
        .unwrap_or(&dial.surroundings.own_known_hosts)
}

impl Known {
    /// Reads every `known_hosts` file. One that is missing is no trouble; one that cannot be read is a fault,
    /// for what stands in it might be a changed or revoked key.
    pub(super) fn load(dial: &Dial<'_>) -> Result<Self, Fault> {
        let name = known_hosts::host_name(&dial.target.host, dial.target.ssh_port);
        let mut files = vec![own_file(dial).to_path_buf()];
        for file in &dial.surroundings.other_known_hosts {
            if !files.contains(file) {
                files.push(file.clone());
            }
        }
        let mut entries = Vec::new();
        for file in files {
            let bytes = match File::open(&file) {
                Ok(mut open) => {
                    if file == own_file(dial) {
                        own_file::judge(&open, &file)?;
                    }
                    let mut bytes = Vec::new();
                    open.read_to_end(&mut bytes).map(|_| bytes)
                }
                Err(error) => Err(error),
            };
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    continue;
                }
                Err(error) => {
                    return Err(Fault::permanent(format!(
                        "cannot read the known host keys in {}: {error}; make it readable or remove it",
                        file.display()
                    )));
                }
            };
            let text = String::from_utf8_lossy(&bytes);
            entries.extend(
                known_hosts::entries(&text, &name)
                    .into_iter()
                    .map(|entry| (file.clone(), entry)),
            );
        }
        Ok(Self { name, entries })
    }

    /// The key types on record, each once: what the server is asked for first.
    pub(super) fn key_types(&self) -> Vec<&str> {
        let mut types: Vec<&str> = Vec::new();
        for (_, entry) in self.entries.iter().filter(|(_, entry)| !entry.revoked) {
            if !types.contains(&entry.key_type.as_str()) {
                types.push(&entry.key_type);
            }
        }
        types
    }

    /// Accepts the key, recording a new one where the policy says so, or says why not.
    pub(super) fn judge(&self, dial: &Dial<'_>, key: &[u8]) -> Result<(), Fault> {
        match verdict(&self.entries, key) {
            Verdict::New if dial.terms.host_key == HostKeyPolicy::AcceptNew => {
                self.record(dial, key)
            }
            other => self.answer(other, dial, key),
        }
    }

    fn answer(&self, verdict: Verdict, dial: &Dial<'_>, key: &[u8]) -> Result<(), Fault> {
        let name = &self.name;
        let shown = describe(key);
        match verdict {
            Verdict::Same => Ok(()),
            Verdict::Revoked(place) => Err(Fault::untrusted(format!(
                "THE HOST KEY OF {name} IS REVOKED: {shown} is marked @revoked at {place}; nothing was sent"
            ))),
            Verdict::Changed(known) => Err(Fault::untrusted(format!(
                "THE HOST KEY OF {name} HAS CHANGED: it shows {shown}, on record is {known}; somebody may be \
                 listening in, so nothing was sent. If the change is known to be right, remove that line"
            ))),
            Verdict::New => Err(Fault::untrusted(format!(
                "no known_hosts file holds a key for {name}, and host_key is strict: it shows {shown}; compare \
                 it with the host's own, then record it: auto-dispatcher trust {}",
                dial.target.host
            ))),
        }
    }

    /// Adds the key to our file, under a lock, after looking again at what stands there by now.
    fn record(&self, dial: &Dial<'_>, key: &[u8]) -> Result<(), Fault> {
        let path = own_file(dial);
        let trouble = |what: &str, error: &std::io::Error| {
            let message = format!(
                "{what} {} to record the host key of {}: {error}",
                path.display(),
                self.name
            );
            if matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded
            ) {
                Fault::ours(message)
            } else {
                Fault::permanent(message)
            }
        };
        let mut file = open_own(path).map_err(|error| trouble("cannot open", &error))?;
        own_file::judge(&file, path)?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| trouble("cannot lock", &error.into()))?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(|error| trouble("cannot read", &error))?;
        let now: Vec<(PathBuf, Entry)> =
            known_hosts::entries(&String::from_utf8_lossy(&bytes), &self.name)
                .into_iter()
                .map(|entry| (path.to_path_buf(), entry))
                .collect();
        match verdict(&now, key) {
            Verdict::New => {}
            other => return self.answer(other, dial, key),
        }
        let Some(mut line) = known_hosts::line(&self.name, key) else {
            return Err(Fault::unreachable(format!(
                "{} shows a host key that cannot be read",
                self.name
            )));
        };
        if bytes.last().is_some_and(|&last| last != b'\n') {
            line.insert(0, '\n');
        }
        file.write_all(line.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|error| trouble("cannot write", &error))?;
        if bytes.is_empty() {
            // The file is new, and is to last as what it says.
            let parent = path.parent().unwrap_or(Path::new("/"));
            File::open(parent)
                .and_then(|dir| dir.sync_all())
                .map_err(|error| trouble("cannot sync the directory of", &error))?;
        }
        Ok(())
    }
}

fn open_own(path: &Path) -> std::io::Result<File> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
    }
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

fn verdict(entries: &[(PathBuf, Entry)], key: &[u8]) -> Verdict {
    let place = |file: &Path, entry: &Entry| format!("{}:{}", file.display(), entry.line);
    let same: Vec<&(PathBuf, Entry)> = entries
        .iter()
        .filter(|(_, entry)| entry.key == key)
        .collect();
    if let Some((file, entry)) = same.iter().find(|(_, entry)| entry.revoked) {
        return Verdict::Revoked(place(file, entry));
    }
    if !same.is_empty() {
        return Verdict::Same;
    }
    let mut others = entries.iter().filter(|(_, entry)| !entry.revoked);
    let key_type = known_hosts::type_of(key);
    let nearest = others
        .clone()
        .find(|(_, entry)| Some(entry.key_type.as_str()) == key_type);
    match nearest.or_else(|| others.next()) {
        Some((file, entry)) => {
            Verdict::Changed(format!("{} ({})", describe(&entry.key), place(file, entry)))
        }
        None => Verdict::New,
    }
}

fn describe(key: &[u8]) -> String {
    format!(
        "{} {}",
        known_hosts::type_of(key).unwrap_or("?"),
        known_hosts::fingerprint(key)
    )
}
