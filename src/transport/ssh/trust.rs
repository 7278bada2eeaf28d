//! Whether a host's key is the one we know: gathers what the `known_hosts` files say, applies the rule's policy, and
//! records a new key once, however many processes meet the host at the same moment.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::hosts_file::{self, Locked, judge};
use super::known_hosts::{self, Entry, Marker};
use crate::domain::fault::Fault;
use crate::domain::target::HostKeyPolicy;
use crate::transport::Dial;

/// What is known of one host.
pub(super) struct Known {
    /// As `known_hosts` files name the host with its port.
    pub(super) name: String,
    /// The lines that name the host with its port.
    pub(super) lines: Vec<Line>,
    /// The lines that name it without, where the port is not 22. As for OpenSSH they may accept or revoke a key,
    /// and contradict none.
    without_port: Vec<Line>,
}

/// A line of a file.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) file: PathBuf,
    pub(super) entry: Entry,
}

impl Line {
    /// `FILE:LINE`.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.entry.line)
    }

    pub(super) fn is(&self, marker: Marker) -> bool {
        self.entry.marker == marker
    }
}

/// What the known keys say of a key.
enum Verdict<'a> {
    Same,
    /// Nobody says anything of the host.
    New,
    Revoked(&'a Line),
    /// Another key is on record.
    Changed(&'a Line),
    /// Its certificates are, and no key.
    Certified(&'a Line),
}

/// Whether any `known_hosts` file holds a key for the host, or who signs its certificates: it has proved itself an
/// SSH host, on whatever port of these.
pub fn known_key(dial: &Dial<'_>) -> Result<bool, Fault> {
    let known = Known::load(dial)?;
    let mut lines = known.lines.iter().chain(&known.without_port);
    Ok(lines.any(|line| !line.is(Marker::Revoked)))
}

/// The file that accepted keys are added to.
pub(super) fn own_file<'a>(dial: &Dial<'a>) -> &'a Path {
    dial.terms
        .known_hosts
        .as_deref()
        .unwrap_or(&dial.surroundings.own_known_hosts)
}

/// The command that shows a host's keys and records one, for messages.
fn command(dial: &Dial<'_>) -> String {
    let (host, port) = (&dial.target.host, dial.target.ssh_port);
    let port = if port == 22 {
        String::new()
    } else {
        format!(" --port {port}")
    };
    format!("auto-dispatcher trust {host}{port}")
}

impl Known {
    /// Reads every `known_hosts` file. One that is missing is no trouble; one that cannot be read is a fault,
    /// for what stands in it might be a changed or revoked key.
    pub(super) fn load(dial: &Dial<'_>) -> Result<Self, Fault> {
        let mut known = Self {
            name: known_hosts::host_name(&dial.target.host, dial.target.ssh_port),
            lines: Vec::new(),
            without_port: Vec::new(),
        };
        let plain = known_hosts::host_name(&dial.target.host, 22);
        let own = own_file(dial);
        let mut files = vec![own];
        for file in &dial.surroundings.other_known_hosts {
            if !files.contains(&file.as_path()) {
                files.push(file);
            }
        }
        for file in files {
            let cannot = |error: std::io::Error| {
                Fault::permanent(format!(
                    "cannot read the known host keys in {}: {error}; make it readable or remove it",
                    file.display()
                ))
            };
            let Some(open) = hosts_file::open(file).map_err(cannot)? else {
                continue;
            };
            if file == own {
                judge(&open, file)?;
            }
            let bytes = hosts_file::content(&open).map_err(cannot)?;
            known.lines.extend(lines(file, &bytes, &known.name));
            if plain != known.name {
                known.without_port.extend(lines(file, &bytes, &plain));
            }
        }
        Ok(known)
    }

    /// The key types on record, each once: what the server is asked for first.
    pub(super) fn key_types(&self) -> Vec<&str> {
        // Where the port is named, other keys of the host are not asked for: they would read as a change.
        let named = self.lines.iter().any(|line| line.is(Marker::None));
        let lines = if named {
            &self.lines
        } else {
            &self.without_port
        };
        let mut types: Vec<&str> = Vec::new();
        for line in lines.iter().filter(|line| line.is(Marker::None)) {
            if !types.contains(&line.entry.key_type.as_str()) {
                types.push(&line.entry.key_type);
            }
        }
        types
    }

    /// The line that revokes a key.
    pub(super) fn revokes(&self, key: &[u8]) -> Option<&Line> {
        self.everything()
            .find(|line| line.is(Marker::Revoked) && line.entry.key == key)
    }

    /// The line that names a certificate authority of the host.
    pub(super) fn authority(&self) -> Option<&Line> {
        self.everything().find(|line| line.is(Marker::Authority))
    }

    /// The lines that hold keys of the host on this port.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.is(Marker::None))
    }

    /// The line that accepts a key.
    pub(super) fn accepts(&self, key: &[u8]) -> Option<&Line> {
        let elsewhere = || {
            let mut lines = self.without_port.iter();
            lines.find(|line| line.is(Marker::None) && line.entry.key == key)
        };
        match self.keys().find(|line| line.entry.key == key) {
            None if self.keys().next().is_none() => elsewhere(),
            found => found,
        }
    }

    fn everything(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().chain(&self.without_port)
    }

    fn verdict(&self, key: &[u8]) -> Verdict<'_> {
        if let Some(line) = self.revokes(key) {
            return Verdict::Revoked(line);
        }
        if self.accepts(key).is_some() {
            return Verdict::Same;
        }
        let key_type = known_hosts::type_of(key);
        let nearest = self
            .keys()
            .find(|line| Some(line.entry.key_type.as_str()) == key_type);
        if let Some(line) = nearest.or_else(|| self.keys().next()) {
            return Verdict::Changed(line);
        }
        self.authority().map_or(Verdict::New, Verdict::Certified)
    }

    /// Accepts the key, recording a new one where the policy says so, or says why not.
    pub(super) fn judge(&self, dial: &Dial<'_>, key: &[u8]) -> Result<(), Fault> {
        match self.verdict(key) {
            Verdict::New if dial.terms.host_key == HostKeyPolicy::AcceptNew => {
                self.record(dial, key)
            }
            other => self.answer(&other, dial, key),
        }
    }

    fn answer(&self, verdict: &Verdict<'_>, dial: &Dial<'_>, key: &[u8]) -> Result<(), Fault> {
        let (name, shown, command) = (&self.name, describe(key), command(dial));
        Err(Fault::untrusted(match verdict {
            Verdict::Same => return Ok(()),
            Verdict::Revoked(line) => format!(
                "THE HOST KEY OF {name} IS REVOKED: {shown} is marked @revoked at {}; nothing was sent",
                line.place()
            ),
            Verdict::Changed(line) => {
                let known = format!("{} ({})", describe(&line.entry.key), line.place());
                format!(
                    "THE HOST KEY OF {name} HAS CHANGED: it shows {shown}, on record is {known}; somebody may be \
                     listening in, so nothing was sent. Ask those who run the host; if it has a new key, replace \
                     the old one with the fingerprint that they tell: {command} --fingerprint SHA256:..."
                )
            }
            Verdict::Certified(line) => format!(
                "THE HOST KEY OF {name} CANNOT BE CHECKED: it is known by its certificate authority alone \
                 (@cert-authority at {}), and host certificates are not supported; it shows {shown}; nothing was \
                 sent. Compare that with the host's own, then record the plain key: {command} --fingerprint \
                 SHA256:...",
                line.place()
            ),
            Verdict::New => format!(
                "no known_hosts file holds a key for {name}, and host_key is strict: it shows {shown}; compare it \
                 with the host's own, then record it: {command} --fingerprint SHA256:..."
            ),
        }))
    }

    /// Adds the key to our file, under a lock, after looking again at what stands there by now.
    fn record(&self, dial: &Dial<'_>, key: &[u8]) -> Result<(), Fault> {
        let path = own_file(dial);
        let trouble = |error| cannot_record(path, &self.name, &error);
        let locked = Locked::open(path).map_err(trouble)?;
        judge(&locked.file, path)?;
        let now = Self {
            name: self.name.clone(),
            lines: lines(path, &locked.bytes, &self.name),
            without_port: Vec::new(),
        };
        match now.verdict(key) {
            Verdict::New => {}
            other => return now.answer(&other, dial, key),
        }
        let line = known_hosts::line(&self.name, key).ok_or_else(|| {
            Fault::unreachable(format!(
                "{} shows a host key that cannot be read",
                self.name
            ))
        })?;
        locked.append(&line).map_err(trouble)?;
        (dial.tell)(format!(
            "new host key of {} recorded at first contact: {} in {}",
            self.name,
            describe(key),
            path.display()
        ));
        Ok(())
    }
}

/// Our own file cannot be written.
pub(super) fn cannot_record(path: &Path, name: &str, error: &std::io::Error) -> Fault {
    let message = format!(
        "cannot record the host key of {name} in {}: {error}",
        path.display()
    );
    if matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    ) {
        Fault::ours(message)
    } else {
        Fault::permanent(message)
    }
}

fn lines(file: &Path, bytes: &[u8], name: &str) -> Vec<Line> {
    known_hosts::entries(bytes, name)
        .into_iter()
        .map(|entry| Line {
            file: file.to_path_buf(),
            entry,
        })
        .collect()
}

/// `ssh-ed25519 SHA256:...`.
pub(super) fn describe(key: &[u8]) -> String {
    format!(
        "{} {}",
        known_hosts::type_of(key).unwrap_or("?"),
        known_hosts::fingerprint(key)
    )
}
