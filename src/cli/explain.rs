//! `explain`: which rule takes a package, and what would be done with it. Reaches no host and runs no
//! `password_command`.

use std::path::PathBuf;

use chrono::{DateTime, Local};
use clap::Args;
use serde::Serialize;

use crate::config::credentials::{CredentialStore, Described, PasswordSource};
use crate::config::locate::Places;
use crate::domain::rule::{Choice, Rule, RuleTerms};
use crate::domain::text::{escape, escape_json};
use crate::error::{ErrorKind, Result};

/// Show which rule takes a package, and where it would go.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Names of packages; of a path the last part is the name, and `path_pattern` sees it whole.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// One JSON object a line.
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

#[derive(Serialize)]
struct Answer<'a> {
    package: &'a str,
    rule: &'a str,
    host: PerHost<&'a str>,
    login: PerHost<Option<String>>,
    account: PerHost<Option<String>>,
    dest_dir: String,
    install_command: Option<&'a str>,
    password_source: PerHost<Option<PasswordSource>>,
    password_set: bool,
}

/// Answers for every name; exit code 1 where a name has no rule, or one that cannot serve.
pub(super) fn run(
    args: &ExplainArgs,
    places: &Places,
    home: Option<PathBuf>,
    now: DateTime<Local>,
) -> Result<Output> {
    let store = CredentialStore::load(places, home)?;
    let mut output = Output::default();
    for name in &args.names {
        let package = name.rsplit('/').next().unwrap_or(name);
        let error = match store.rules().set.choose(package, name) {
            Choice::Rule(rule) => match &rule.terms {
                Ok(terms) => {
                    let known: Vec<Described> = terms
                        .hosts
                        .iter()
                        .map(|host| store.describe(&rule.name, host))
                        .collect();
                    let dest_dir = destination(terms, now);
                    if args.json {
                        output
                            .lines
                            .push(json(&answer(package, rule, terms, &known, dest_dir)));
                    } else {
                        table(
                            &mut output.lines,
                            &store,
                            (package, name),
                            rule,
                            terms,
                            &known,
                            &dest_dir,
                        );
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
        output.lines.push(match (args.json, error) {
            (true, Some(error)) => json(&serde_json::json!({ "package": package, "error": error })),
            (true, None) => json(&serde_json::json!({ "package": package, "rule": null })),
            (false, Some(error)) => format!("{}: {}", escape(package), escape(&error)),
            (false, None) => format!("{}: no rule takes it", escape(package)),
        });
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

fn answer<'a>(
    package: &'a str,
    rule: &'a Rule,
    terms: &'a RuleTerms,
    known: &[Described],
    dest_dir: String,
) -> Answer<'a> {
    Answer {
        package,
        rule: &rule.name,
        host: PerHost::of(terms.hosts.iter().map(String::as_str).collect()),
        login: PerHost::of(known.iter().map(|known| known.login.clone()).collect()),
        account: PerHost::of(
            known
                .iter()
                .map(|known| {
                    known
                        .account
                        .as_ref()
                        .map(|account| account.expose().to_owned())
                })
                .collect(),
        ),
        dest_dir,
        install_command: terms.service.install_command.as_deref(),
        password_source: PerHost::of(known.iter().map(|known| known.source).collect()),
        password_set: known.iter().all(|known| known.source.is_some()),
    }
}

fn table(
    lines: &mut Vec<String>,
    store: &CredentialStore,
    (package, path): (&str, &str),
    rule: &Rule,
    terms: &RuleTerms,
    known: &[Described],
    dest_dir: &str,
) {
    lines.push(escape(package).into_owned());
    let mut row = |label: &str, text: &str| lines.push(format!("  {label:<12}{}", escape(text)));
    let rules = store.rules();
    let file = rules.path.to_string_lossy();
    row("rule", &format!("[{}] at {file}:{}", rule.name, rule.line));
    for (host, known) in terms.hosts.iter().zip(known) {
        row("host", host);
        row(
            "  login",
            known
                .login
                .as_deref()
                .unwrap_or("none: neither the rule nor netrc names one"),
        );
        row("  password", password_words(known.source));
        if known.account.is_some() {
            row("  account", "set");
        }
    }
    let transports: Vec<&str> = terms
        .connection
        .transports
        .iter()
        .map(|kind| kind.as_str())
        .collect();
    row("transports", &transports.join(", "));
    row("directory", dest_dir);
    row(
        "install",
        terms
            .service
            .install_command
            .as_deref()
            .unwrap_or("nothing to run"),
    );
    let shadowed: Vec<String> = rules
        .set
        .rules
        .iter()
        .skip_while(|other| other.line <= rule.line)
        .filter(|other| matches!(other.matches(package, path), Ok(true)))
        .map(|other| format!("[{}] at line {}", other.name, other.line))
        .collect();
    if !shadowed.is_empty() {
        row("shadows", &shadowed.join(", "));
    }
}

pub(super) fn password_words(source: Option<PasswordSource>) -> &'static str {
    match source {
        Some(PasswordSource::Config) => "from the rules file",
        Some(PasswordSource::Netrc) => "from netrc",
        Some(PasswordSource::Command) => "from password_command",
        None => "none: a key or an agent has to do",
    }
}
