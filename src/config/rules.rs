//! The rules file: sections to typed rules and to the secrets that belong to them. Every mistake is told
//! at once, with its line; a rule that lacks a host or refers to a missing key is kept, and says so when
//! it is chosen, as the old script did. Knows nothing of netrc, nor of where the file was looked for.

mod reader;
mod warnings;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::finding::{Finding, Mistakes};
use crate::config::ini::{Document, Section};
use crate::config::private::{self, FileText};
use crate::config::value;
use crate::domain::pattern::Pattern;
use crate::domain::rule::{Rule, RuleSet, RuleTerms};
use crate::domain::secret::Secret;
use crate::domain::target::{
    ConnectionTerms, HostKeyPolicy, InstallMode, OnFailure, ServiceTerms, TransportKind,
};

use reader::Reader;

/// Every key that a rule may have.
pub const KEYS: [&str; 26] = [
    "host",
    "login",
    "account",
    "password",
    "dest_dir",
    "install_command",
    "transports",
    "ssh_port",
    "ftp_port",
    "identity_file",
    "password_command",
    "host_key",
    "known_hosts",
    "old_algorithms",
    "ftps_fingerprint",
    "file_mode",
    "path_pattern",
    "connect_timeout",
    "stall_timeout",
    "install_timeout",
    "install_mode",
    "install_idempotent",
    "retries",
    "retry_delay",
    "on_failure",
    "ca_file",
];

/// What a rule holds beside its terms; it stays in memory.
#[derive(Clone, Default)]
pub struct RuleSecrets {
    /// The rule's own password, not empty.
    pub password: Option<Secret>,
    /// The rule's own account (`ACCT` of FTP), not empty.
    pub account: Option<Secret>,
    /// The program, with its arguments, that prints the password.
    pub password_command: Option<Vec<String>>,
    /// Where the rule's login stands, itself or in [DEFAULT].
    pub login_line: Option<usize>,
    /// Where its password stands, else its password_command.
    pub password_line: Option<usize>,
}

impl fmt::Debug for RuleSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RuleSecrets(***)")
    }
}

/// A rules file that has no mistakes.
#[derive(Debug)]
pub struct LoadedRules {
    /// The file.
    pub path: PathBuf,
    /// The rules, in file order.
    pub set: RuleSet,
    /// What is odd; for the log, once, and for `check`.
    pub warnings: Vec<Finding>,
    /// One for each rule of `set`.
    secrets: Vec<RuleSecrets>,
    /// Where in `set` the rule of a name is.
    by_name: HashMap<String, usize>,
}

impl LoadedRules {
    /// The rule of that name (names are unique), and what it holds beside its terms.
    pub fn rule(&self, name: &str) -> Option<(&Rule, &RuleSecrets)> {
        let index = *self.by_name.get(name)?;
        Some((self.set.rules.get(index)?, self.secrets.get(index)?))
    }

    /// The terms of the rules that name a host, with the host as each of them writes it.
    pub fn naming(&self, host: &str) -> impl Iterator<Item = (&str, &RuleTerms)> {
        let rules = self.set.rules.iter();
        rules.filter_map(move |rule| {
            let terms = rule.terms.as_ref().ok()?;
            let named = terms
                .hosts
                .iter()
                .find(|known| value::same_host(known, host))?;
            Some((named.as_str(), terms))
        })
    }
}

/// Why a word names no host, if so.
pub fn check_host(word: &str) -> Result<(), &'static str> {
    value::host(word)
}

/// Reads the rules file at `path`; `home` stands for `~/` in the paths that it names.
pub fn load(path: &Path, home: Option<&Path>) -> Result<LoadedRules, Mistakes> {
    let Some(text) = private::read(path)? else {
        return Err(Finding::about(
            path,
            "there is no such rules file; write it, or name another with --config FILE",
        )
        .into());
    };
    read(path, &text, home)
}

/// The same for a file that was read.
pub(super) fn read(
    path: &Path,
    text: &FileText,
    home: Option<&Path>,
) -> Result<LoadedRules, Mistakes> {
    let document = Document::parse(path, &text.bytes)?;
    let mut mistakes: Vec<Finding> = permission_mistake(path, text, &document)
        .into_iter()
        .collect();
    let mut rules = Vec::with_capacity(document.sections.len());
    let mut secrets = Vec::with_capacity(document.sections.len());
    for section in &document.sections {
        let (rule, rule_secrets) = read_rule(&document, section, home, &mut mistakes);
        rules.extend(rule);
        secrets.push(rule_secrets);
    }
    if !mistakes.is_empty() {
        // What is wrong in [DEFAULT] was met once for each rule that inherits it.
        mistakes.sort_by_key(|finding| finding.line);
        mistakes.dedup();
        return Err(Mistakes(mistakes));
    }
    let by_name = rules
        .iter()
        .enumerate()
        .map(|(index, rule)| (rule.name.clone(), index))
        .collect();
    let mut warnings = warnings::of_document(&document);
    warnings.extend(text.of_another(path));
    Ok(LoadedRules {
        path: path.to_owned(),
        set: RuleSet::new(rules),
        warnings,
        secrets,
        by_name,
    })
}

fn permission_mistake(path: &Path, text: &FileText, document: &Document) -> Option<Finding> {
    let holds_password = std::iter::once(&document.defaults)
        .chain(&document.sections)
        .any(|section| {
            document
                .get_raw(section, "password")
                .is_some_and(|value| !value.text.is_empty())
        });
    text.in_the_open(path, holds_password)
}

/// One section; no rule where its name or a value is a mistake.
fn read_rule(
    document: &Document,
    section: &Section,
    home: Option<&Path>,
    mistakes: &mut Vec<Finding>,
) -> (Option<Rule>, RuleSecrets) {
    let pattern = Pattern::new(&section.name).map_err(|error| {
        let text = format!("[{}] is no valid regular expression: {error}", section.name);
        mistakes.push(Finding::at(&document.file, section.line, text));
    });
    let mut reader = Reader::new(document, section, home, mistakes);
    let path_pattern = reader.parsed("path_pattern", |text| {
        Pattern::new(text).map_err(|error| format!("is no valid regular expression: {error}"))
    });
    let secrets = RuleSecrets {
        password: reader
            .text("password")
            .map(|value| Secret::new(value.text.to_string())),
        account: reader.line_text("account").map(Secret::new),
        password_command: reader.parsed("password_command", |text| {
            match shell_words::split(text) {
                Ok(words) if !words.is_empty() => Ok(words),
                _ => Err("cannot be split into words: a quote is open".to_owned()),
            }
        }),
        login_line: document.line_of(section, "login"),
        password_line: None,
    };
    let password_line = match (&secrets.password, &secrets.password_command) {
        (Some(_), _) => document.line_of(section, "password"),
        (None, Some(_)) => document.line_of(section, "password_command"),
        (None, None) => None,
    };
    let secrets = RuleSecrets {
        password_line,
        ..secrets
    };
    let terms = read_terms(&mut reader);
    let terms = match reader.broken() {
        Some(why) => Err(why),
        None if terms.hosts.is_empty() => Err(format!(
            "it has no `host`, neither itself nor by [DEFAULT] of {}; add a line `host = NAME`",
            document.file.display()
        )),
        None => Ok(terms),
    };
    let rule = pattern.ok().map(|pattern| Rule {
        name: section.name.clone(),
        line: section.line,
        pattern,
        path_pattern,
        terms,
    });
    (rule, secrets)
}

fn read_terms(reader: &mut Reader<'_>) -> RuleTerms {
    RuleTerms {
        hosts: reader.hosts(),
        login: reader.line_text("login"),
        ssh_port: reader.port("ssh_port", 22),
        ftp_port: reader.port("ftp_port", 21),
        dest_dir: reader.line_text("dest_dir"),
        connection: read_connection(reader),
        service: read_service(reader),
    }
}

fn read_connection(reader: &mut Reader<'_>) -> ConnectionTerms {
    let standard = ConnectionTerms::default();
    let named = reader.transports();
    ConnectionTerms {
        ftp_is_named: named
            .as_ref()
            .is_some_and(|kinds| kinds.contains(&TransportKind::Ftp)),
        transports: named.unwrap_or(standard.transports),
        identity_file: reader.path("identity_file"),
        host_key: reader.word(
            "host_key",
            &[
                ("accept-new", HostKeyPolicy::AcceptNew),
                ("strict", HostKeyPolicy::Strict),
            ],
            standard.host_key,
        ),
        old_algorithms: reader
            .parsed("old_algorithms", value::yes_no)
            .unwrap_or(standard.old_algorithms),
        known_hosts: reader.path("known_hosts"),
        ftps_fingerprint: reader.parsed("ftps_fingerprint", value::fingerprint),
        ca_file: reader.path("ca_file"),
        connect_timeout_s: reader.limit_s("connect_timeout", standard.connect_timeout_s),
        stall_timeout_s: reader.limit_s("stall_timeout", standard.stall_timeout_s),
    }
}

fn read_service(reader: &mut Reader<'_>) -> ServiceTerms {
    let standard = ServiceTerms::default();
    ServiceTerms {
        install_command: reader
            .text("install_command")
            .map(|value| value.text.to_string()),
        file_mode: reader.parsed("file_mode", value::file_mode),
        install_timeout_s: reader.limit_s("install_timeout", standard.install_timeout_s),
        install_mode: reader.word(
            "install_mode",
            &[
                ("tracked", InstallMode::Tracked),
                ("plain", InstallMode::Plain),
            ],
            standard.install_mode,
        ),
        install_idempotent: reader
            .parsed("install_idempotent", value::yes_no)
            .unwrap_or(standard.install_idempotent),
        retries: reader
            .parsed("retries", |text| value::number_within(text, 0, 1000))
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(standard.retries),
        retry_delay_s: reader
            .parsed("retry_delay", value::duration_s)
            .unwrap_or(standard.retry_delay_s),
        on_failure: reader.word(
            "on_failure",
            &[("continue", OnFailure::Continue), ("stop", OnFailure::Stop)],
            standard.on_failure,
        ),
    }
}

#[cfg(test)]
mod tests;
