//! `explain`: which rule takes a package and why, and what would be done with it. Reaches no host and runs no
//! `password_command`.

mod hints;
mod shown;

use std::path::{Path, PathBuf};

use chrono::{DateTime, Local};
use clap::Args;
use serde::Serialize;

use super::screen::Screen;
use crate::config::credentials::{CredentialStore, Described, PasswordSource};
use crate::config::locate::Places;
use crate::domain::install::{InstallFacts, fill};
use crate::domain::rule::{Choice, Rule, RuleTerms};
use crate::domain::text::escape_json;
use crate::error::{ErrorKind, Result};

/// Show which rule takes a package and why, and where it would go
///
/// Tells how the name matched, what would be done where and by whose credentials, and which later rules would have
/// matched, too. Exit code 1 where a name has no rule.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Names of packages; of a path the last part is the name, and `path_pattern` sees it whole
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// The revision that `{revision}` of an install command stands for
    #[arg(long, value_name = "N", value_parser = super::hook::parse_revision)]
    pub revision: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// What a command prints on stdout, and its exit code.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Lines without their ends.
    pub lines: Vec<String>,
    /// 0, or that of an [`ErrorKind`].
    pub code: u8,
}

impl Output {
    /// Prints the lines and returns the exit code.
    pub(super) fn print(&self, out: &mut dyn std::io::Write) -> Result<u8> {
        self.lines
            .iter()
            .try_for_each(|line| super::lines::line_of(out, line))?;
        Ok(self.code)
    }
}

/// One value where all hosts agree, else one a host.
#[derive(Serialize)]
#[serde(untagged)]
enum PerHost<T> {
    One(T),
    Each(Vec<T>),
}

impl<T: PartialEq> PerHost<T> {
    fn of(mut values: Vec<T>) -> Self {
        match values.pop() {
            Some(last) if values.iter().all(|value| *value == last) => Self::One(last),
            Some(last) => {
                values.push(last);
                Self::Each(values)
            }
            None => Self::Each(values),
        }
    }
}

/// As `--json` gives it; the names are a promise, new ones come at the end.
#[derive(Serialize)]
struct Answer<'a> {
    package: &'a str,
    rule: &'a str,
    host: PerHost<&'a str>,
    login: PerHost<Option<String>>,
    account: PerHost<Option<String>>,
    dest_dir: &'a str,
    install_command: Option<&'a str>,
    password_source: PerHost<Option<PasswordSource>>,
    password_set: bool,
    file: &'a Path,
    line: usize,
    matched: Option<&'a str>,
    path_matched: Option<&'a str>,
    pattern: Option<String>,
    transports: Vec<&'static str>,
    ssh_port: u16,
    ftp_port: u16,
    remote_path: String,
    command: Option<String>,
    later: Vec<LaterRule<'a>>,
}

/// A later rule that would have taken the package.
#[derive(Serialize)]
struct LaterRule<'a> {
    rule: &'a str,
    line: usize,
}

/// A rule that takes a package, and all that follows.
struct Taken<'a> {
    store: &'a CredentialStore,
    netrc: Option<&'a Path>,
    package: &'a str,
    path: &'a str,
    rule: &'a Rule,
    terms: &'a RuleTerms,
    /// For each host.
    known: Vec<Described>,
    dest_dir: String,
    /// The command with its placeholders filled in.
    command: Option<String>,
}

impl<'a> Taken<'a> {
    /// The part of the name that the rule matched.
    fn matched(&self) -> Option<&'a str> {
        let end = self.rule.pattern.matched_bytes(self.package).ok()??;
        self.package.get(..end)
    }

    /// The part of the path that its `path_pattern` matched.
    fn path_matched(&self) -> Option<&'a str> {
        let pattern = self.rule.path_pattern.as_ref()?;
        let end = pattern.matched_bytes(self.path).ok()??;
        self.path.get(..end)
    }

    /// The pattern as it is run, where that is not plain from how it is written.
    fn translated(&self) -> Option<String> {
        let source = self.rule.pattern.source();
        let escapes = source.split('\\').skip(1);
        let is_plain = !source.contains("(?")
            && escapes
                .clone()
                .all(|behind| !behind.starts_with(|c: char| c.is_ascii_alphanumeric()));
        (!is_plain)
            .then(|| self.rule.pattern.translated())
            .flatten()
    }

    fn remote_path(&self) -> String {
        format!("{}/{}", self.dest_dir.trim_end_matches('/'), self.package)
    }

    /// The later rules that would have taken it.
    fn later(&self) -> impl Iterator<Item = &'a Rule> {
        let (package, path, line) = (self.package, self.path, self.rule.line);
        let rules = self.store.rules().set.rules.iter();
        rules
            .skip_while(move |other| other.line <= line)
            .filter(move |other| matches!(other.matches(package, path), Ok(true)))
    }

    fn answer(&self) -> Answer<'_> {
        let known = &self.known;
        let account = |known: &Described| {
            let account = known.account.as_ref();
            account.map(|account| account.expose().to_owned())
        };
        let later = self.later().map(|rule| LaterRule {
            rule: &rule.name,
            line: rule.line,
        });
        let transports = self.terms.connection.transports.iter();
        Answer {
            package: self.package,
            rule: &self.rule.name,
            host: PerHost::of(self.terms.hosts.iter().map(String::as_str).collect()),
            login: PerHost::of(known.iter().map(|known| known.login.clone()).collect()),
            account: PerHost::of(known.iter().map(account).collect()),
            dest_dir: &self.dest_dir,
            install_command: self.terms.service.install_command.as_deref(),
            password_source: PerHost::of(known.iter().map(|known| known.source).collect()),
            password_set: known.iter().all(|known| known.source.is_some()),
            file: &self.store.rules().path,
            line: self.rule.line,
            matched: self.matched(),
            path_matched: self.path_matched(),
            pattern: self.rule.pattern.translated(),
            transports: transports.map(|kind| kind.as_str()).collect(),
            ssh_port: self.terms.ssh_port,
            ftp_port: self.terms.ftp_port,
            remote_path: self.remote_path(),
            command: self.command.clone(),
            later: later.collect(),
        }
    }
}

/// Answers for every name; exit code 1 where a name has no rule, or one that cannot serve.
pub(super) fn run(
    args: &ExplainArgs,
    places: &Places,
    home: Option<PathBuf>,
    now: DateTime<Local>,
    screen: &Screen,
) -> Result<Output> {
    let store = CredentialStore::load(places, home)?;
    let mut output = Output::default();
    for name in &args.names {
        let package = name.rsplit('/').next().unwrap_or(name);
        let error = match store.rules().set.choose(package, name) {
            Choice::Rule(rule) => match &rule.terms {
                Ok(terms) => {
                    let hosts = terms.hosts.iter();
                    let dest_dir = destination(terms, now);
                    let taken = Taken {
                        store: &store,
                        netrc: places.netrc.as_deref(),
                        package,
                        path: name,
                        rule,
                        terms,
                        known: hosts.map(|host| store.describe(&rule.name, host)).collect(),
                        command: filled(terms, package, &dest_dir, args.revision),
                        dest_dir,
                    };
                    if args.json {
                        output.lines.push(json(&taken.answer()));
                    } else {
                        shown::show(&taken, screen, &mut output.lines);
                    }
                    continue;
                }
                Err(why) => Some(format!("{} cannot serve: {why}", place(&store, rule))),
            },
            Choice::Undecided(rule, error) => Some(format!(
                "{} cannot be decided: {error}",
                place(&store, rule)
            )),
            Choice::None => None,
        };
        output.code = ErrorKind::Delivery.exit_code();
        if args.json {
            output.lines.push(match error {
                Some(error) => json(&serde_json::json!({ "package": package, "error": error })),
                None => json(&serde_json::json!({ "package": package, "rule": null })),
            });
        } else {
            let hints = match &error {
                Some(_) => Vec::new(),
                None => hints::nearest(&store.rules().set, package, name),
            };
            shown::show_none(package, error.as_deref(), &hints, screen, &mut output.lines);
        }
    }
    Ok(output)
}

fn json(value: &impl Serialize) -> String {
    // Texts, lists and flags always serialise.
    escape_json(&serde_json::to_string(value).unwrap_or_default()).into_owned()
}

/// A rule and where it stands.
fn place(store: &CredentialStore, rule: &Rule) -> String {
    let file = store.rules().path.to_string_lossy();
    format!("rule [{}] at {file}:{}", rule.name, rule.line)
}

fn destination(terms: &RuleTerms, now: DateTime<Local>) -> String {
    terms
        .dest_dir
        .clone()
        .unwrap_or_else(|| now.format("~/newcx/%Y%m%d_%H%M%S").to_string())
}

/// The install command as it would run there; `~` is still to be resolved by the host, and a revision that nobody
/// named stays a placeholder.
fn filled(
    terms: &RuleTerms,
    package: &str,
    dest_dir: &str,
    revision: Option<u64>,
) -> Option<String> {
    const UNKNOWN: &str = "{revision}";
    let command = terms.service.install_command.as_deref()?;
    let facts = InstallFacts {
        package: package.to_owned(),
        path: format!("{}/{package}", dest_dir.trim_end_matches('/')),
        dest_dir: dest_dir.to_owned(),
        repository: String::new(),
        revision: revision.map_or_else(|| UNKNOWN.to_owned(), |revision| revision.to_string()),
        author: String::new(),
        sha256: String::new(),
        delivery: String::new(),
    };
    Some(fill(command, &facts).replace(&format!("'{UNKNOWN}'"), UNKNOWN))
}
