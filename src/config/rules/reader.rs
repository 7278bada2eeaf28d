//! Reads the keys of one rule. What is a mistake goes to the list of mistakes; what only makes this rule
//! unable to serve (a reference to a missing key, a line break in a host name) is kept for the rule.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::finding::Finding;
use crate::config::ini::{Document, Section, Value, shown_key};
use crate::config::rules::KEYS;
use crate::config::value;
use crate::domain::target::TransportKind;

const PASSWORD: &str = "password";

/// One rule's keys.
pub(super) struct Reader<'a> {
    document: &'a Document,
    section: &'a Section,
    home: Option<&'a Path>,
    mistakes: &'a mut Vec<Finding>,
    broken: Option<String>,
    /// The password, and the variables that it is made of.
    secret_keys: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        document: &'a Document,
        section: &'a Section,
        home: Option<&'a Path>,
        mistakes: &'a mut Vec<Finding>,
    ) -> Self {
        // A key with a meaning of its own, say `login`, is no secret for being part of a password.
        let is_variable = |key: &str| !KEYS.contains(&key);
        let mut secret_keys = document.sources(section, PASSWORD, is_variable);
        secret_keys.retain(|key| is_variable(key));
        secret_keys.insert(PASSWORD.to_owned());
        Self {
            document,
            section,
            home,
            mistakes,
            broken: None,
            secret_keys,
        }
    }

    /// Why the rule cannot serve, if so.
    pub(super) fn broken(&mut self) -> Option<String> {
        self.broken.take()
    }

    /// The value of `key` where it is not empty.
    pub(super) fn text(&mut self, key: &str) -> Option<Value> {
        if self.reveals_password(key) {
            return None;
        }
        match self.document.get(self.section, key) {
            Ok(value) => value.filter(|value| !value.text.is_empty()),
            Err(error) => {
                self.cannot_serve(key, self.line_of(key), &error.to_string());
                None
            }
        }
    }

    /// Every value but the password may be shown, recorded, or become a word of a command line. So none
    /// may hold the password: such a rule cannot serve, and the value is not even looked at.
    fn reveals_password(&mut self, key: &str) -> bool {
        if key == PASSWORD {
            return false;
        }
        let sources = self.document.sources(self.section, key, |_| true);
        let Some(secret) = sources.intersection(&self.secret_keys).next() else {
            return false;
        };
        let what = if secret == PASSWORD {
            "refers to %(password)s".to_owned()
        } else {
            let shown = shown_key(secret).unwrap_or("…");
            format!("refers to %({shown})s, of which the password is made")
        };
        let why = format!(
            "{what}, which would put the password into the record and into command lines that others can \
             see; take the reference out, and let a command that needs a password read it on its host"
        );
        self.cannot_serve(key, self.line_of(key), &why);
        true
    }

    fn line_of(&self, key: &str) -> usize {
        self.document
            .line_of(self.section, key)
            .unwrap_or(self.section.line)
    }

    /// The same for what has to be one line without control characters: it ends up in protocols whose
    /// commands are lines.
    pub(super) fn line_text(&mut self, key: &str) -> Option<String> {
        let value = self.text(key)?;
        if value.text.contains(['\n', '\r', '\0']) {
            self.cannot_serve(key, value.line, "holds a line break");
            return None;
        }
        Some(value.text.to_string())
    }

    /// The value of `key` as `parse` reads it.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.text(key)?;
        match parse(&value.text) {
            Ok(parsed) => Some(parsed),
            Err(why) => {
                let text = format!("`{key}` {why}");
                self.mistakes
                    .push(Finding::at(&self.document.file, value.line, text));
                None
            }
        }
    }

    /// A duration that limits something: one second at least.
    pub(super) fn limit_s(&mut self, key: &str, standard: u64) -> u64 {
        self.parsed(key, |text| match value::duration_s(text) {
            Ok(0) => Err("may not be 0".to_owned()),
            other => other,
        })
        .unwrap_or(standard)
    }

    pub(super) fn port(&mut self, key: &str, standard: u16) -> u16 {
        self.parsed(key, |text| {
            value::number_within(text, 1, u64::from(u16::MAX))
        })
        .and_then(|number| u16::try_from(number).ok())
        .unwrap_or(standard)
    }

    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let (document, home) = (self.document, self.home);
        self.parsed(key, |text| value::path(text, &document.file, home))
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)], standard: T) -> T {
        self.parsed(key, |text| {
            let found = words
                .iter()
                .find(|(word, _)| *word == text)
                .map(|&(_, meaning)| meaning);
            found.ok_or_else(|| {
                let known: Vec<String> =
                    words.iter().map(|(word, _)| format!("`{word}`")).collect();
                format!("is neither {}", known.join(" nor "))
            })
        })
        .unwrap_or(standard)
    }

    /// The hosts, each once.
    pub(super) fn hosts(&mut self) -> Vec<String> {
        let Some(value) = self.text("host") else {
            return Vec::new();
        };
        let mut hosts: Vec<String> = Vec::new();
        for host in value::words(&value.text) {
            if let Err(why) = value::host(host) {
                self.cannot_serve("host", value.line, why);
            } else if !hosts.iter().any(|known| value::same_host(known, host)) {
                hosts.push(host.to_owned());
            }
        }
        hosts
    }

    /// The transports that the rule itself lists.
    pub(super) fn transports(&mut self) -> Option<Vec<TransportKind>> {
        self.parsed("transports", |text| {
            let mut kinds = Vec::new();
            for word in value::words(text) {
                let kind = TransportKind::parse(word)
                    .ok_or("lists something that is neither `ssh`, `ftps` nor `ftp`")?;
                if kinds.contains(&kind) {
                    return Err(format!("lists `{kind}` twice"));
                }
                kinds.push(kind);
            }
            if kinds.is_empty() {
                Err("lists no transport".to_owned())
            } else {
                Ok(kinds)
            }
        })
    }

    fn cannot_serve(&mut self, key: &str, line: usize, why: &str) {
        let told = format!("`{key}` at {}:{line} {why}", self.document.file.display());
        self.broken.get_or_insert(told);
    }
}
