//! What the script of a group says, line by line. Knows no connection.

use std::collections::HashMap;

use crate::domain::group::MOST;
use crate::transport::Grouped;
use crate::transport::ssh::link::{keep, quoted};

/// The longest line that a script of ours prints.
const LONGEST_LINE: usize = 4096;
/// Begins every line that is an answer.
const MARK: &str = "ad: ";

/// What the script has said.
#[derive(Default)]
pub(super) struct Heard {
    line: Vec<u8>,
    /// What it would take away from the mode of a new file, once it is ready.
    pub(super) umask: Option<u32>,
    /// Whether it has said that it does not go on.
    pub(super) is_over: bool,
    /// Why.
    complaint: Option<String>,
    /// Lines since the last tool began to compute digests; none: none has.
    sums: Option<Vec<String>>,
    pub(super) has_verified: bool,
    /// Names that directories have.
    pub(super) taken: Vec<String>,
    /// Files that did not get their names.
    pub(super) left: Vec<String>,
    pub(super) is_tidy: bool,
    /// What the host's programs said.
    said: Vec<u8>,
}

impl Heard {
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..room.min(text.len())]);
            if text.len() < piece.len() {
                let line = std::mem::take(&mut self.line);
                self.read(&String::from_utf8_lossy(&line));
            }
        }
    }

    fn read(&mut self, line: &str) {
        let Some(answer) = line.strip_prefix(MARK) else {
            match &mut self.sums {
                Some(sums) if !self.has_verified && sums.len() < MOST => sums.push(line.to_owned()),
                _ if line.is_empty() => {}
                _ => keep(&mut self.said, format!("{line}\n").as_bytes()),
            }
            return;
        };
        let (word, rest) = answer.split_once(' ').unwrap_or((answer, ""));
        match word {
            "ready" => self.umask = u32::from_str_radix(rest, 8).ok(),
            "no" | "bad" => {
                self.is_over = true;
                self.complaint = Some(rest.to_owned());
            }
            "sums" => self.sums = Some(Vec::new()),
            "taken" if self.taken.len() < MOST => self.taken.push(rest.to_owned()),
            "verify" => self.has_verified = true,
            "left" if self.left.len() < MOST => self.left.push(rest.to_owned()),
            "tidy" => self.is_tidy = true,
            _ => {}
        }
        if word == "ready" && self.umask.is_none() {
            self.is_over = true;
        }
    }

    /// The digests of these files: by name, where the tool tells names, else in the order of the names.
    pub(super) fn digests<'f>(
        &self,
        files: impl Iterator<Item = &'f Grouped<'f>>,
    ) -> Result<Vec<String>, String> {
        let mut named = HashMap::new();
        let mut plain = Vec::new();
        for line in self.sums.iter().flatten() {
            let (digest, name) = line.split_once(' ').unwrap_or((line, ""));
            let is_digest = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
            match name.trim_start_matches([' ', '*']) {
                _ if !is_digest => {}
                "" => plain.push(digest.to_lowercase()),
                name => drop(named.insert(name, digest.to_lowercase())),
            }
        }
        let files: Vec<&Grouped<'_>> = files.collect();
        if !plain.is_empty() && named.is_empty() && plain.len() == files.len() {
            let mut sorted: Vec<&str> = files.iter().map(|file| file.name).collect();
            sorted.sort_unstable();
            named = sorted.into_iter().zip(plain).collect();
        }
        let digest = |file: &&Grouped<'_>| {
            let found = named.get(file.name).cloned();
            found.ok_or_else(|| {
                format!("the host tells no SHA-256 of {}{}", file.name, self.quote())
            })
        };
        files.iter().map(digest).collect()
    }

    /// Why the script ended early.
    pub(super) fn why(&self, status: i32) -> String {
        match &self.complaint {
            Some(complaint) => format!("{complaint}{}", self.quote()),
            None => format!("exit status {status}{}", self.quote()),
        }
    }

    fn quote(&self) -> String {
        quoted(String::from_utf8_lossy(&self.said).trim())
    }
}
