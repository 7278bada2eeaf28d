//! Credentials, looked up when an attempt needs them: the rule's own values first, then what its
//! `password_command` prints, then netrc. Nothing is kept beyond the answer.

pub(super) mod command;

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::config::finding::Mistakes;
use crate::config::locate::Places;
use crate::config::netrc::{Netrc, NetrcEntry};
use crate::config::rules::{self, LoadedRules, RuleSecrets};
use crate::config::value::same_host;
use crate::domain::rule::Rule;
use crate::domain::secret::Secret;
use crate::domain::text::escape;
use crate::error::{Error, Result};

/// Where a password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PasswordSource {
    /// The rule's `password`, or that of `[DEFAULT]`.
    Config,
    /// netrc.
    Netrc,
    /// The rule's `password_command`.
    Command,
}

/// What logs in to a host.
#[derive(Clone, Default)]
pub struct Found {
    /// None: there is no password; keys or an agent have to do.
    pub password: Option<Secret>,
    /// `ACCT` of FTP.
    pub account: Option<Secret>,
    /// Where the password comes from.
    pub source: Option<PasswordSource>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Found(***, from {:?})", self.source)
    }
}

/// What is known of a host's credentials without running or revealing anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// Who logs in.
    pub login: Option<String>,
    /// `ACCT` of FTP.
    pub account: Option<Secret>,
    /// Where the password would come from; none: there is none.
    pub source: Option<PasswordSource>,
    /// Where the login comes from, the rules file or netrc, and its line there.
    pub login_place: Option<(PasswordSource, usize)>,
    /// The line of the password, or of what prints it, in its file.
    pub password_line: Option<usize>,
}

/// The credentials of all rules.
#[derive(Debug)]
pub struct CredentialStore {
    rules: LoadedRules,
    netrc: Netrc,
    home: Option<PathBuf>,
}

impl CredentialStore {
    /// Credentials from these rules and this netrc; `home` is the HOME of a `password_command`.
    pub fn new(rules: LoadedRules, netrc: Netrc, home: Option<PathBuf>) -> Self {
        Self { rules, netrc, home }
    }

    /// Reads the rules and netrc; the mistakes of both are told at once.
    pub fn load(places: &Places, home: Option<PathBuf>) -> Result<Self> {
        let rules = rules::load(places.rules()?, home.as_deref());
        let netrc = match &places.netrc {
            Some(path) => Netrc::load(path, places.netrc_is_named),
            None => Ok(Netrc::default()),
        };
        match (rules, netrc) {
            (Ok(rules), Ok(netrc)) => Ok(Self::new(rules, netrc, home)),
            (rules, netrc) => {
                let mut mistakes = rules.err().map_or_else(Vec::new, |mistakes| mistakes.0);
                mistakes.extend(netrc.err());
                Err(Mistakes(mistakes).into())
            }
        }
    }

    /// netrc.
    pub fn netrc(&self) -> &Netrc {
        &self.netrc
    }

    /// The rules.
    pub fn rules(&self) -> &LoadedRules {
        &self.rules
    }

    /// Who logs in to `host` by the rule called `rule_name`: its own login, else that of netrc.
    pub fn login(&self, rule_name: &str, host: &str) -> Option<String> {
        let (rule, _) = self.rules.rule(rule_name)?;
        self.login_of(rule, host)
    }

    /// What [`CredentialStore::lookup`] would find, told without running a command.
    pub fn describe(&self, rule_name: &str, host: &str) -> Described {
        let Some((rule, secrets)) = self.rules.rule(rule_name) else {
            return Described::default();
        };
        let login = self.login_of(rule, host);
        let entry = self.entry(rule, host, login.as_deref());
        let source = if secrets.password.is_some() {
            Some(PasswordSource::Config)
        } else if secrets.password_command.is_some() {
            Some(PasswordSource::Command)
        } else {
            entry
                .filter(|entry| !entry.password.is_empty())
                .map(|_| PasswordSource::Netrc)
        };
        let own_login = rule.terms.as_ref().is_ok_and(|terms| terms.login.is_some());
        let netrc_line = entry.map(|entry| entry.line);
        Described {
            login_place: if own_login {
                secrets
                    .login_line
                    .map(|line| (PasswordSource::Config, line))
            } else {
                let line = netrc_line.filter(|_| login.is_some());
                line.map(|line| (PasswordSource::Netrc, line))
            },
            password_line: match source {
                Some(PasswordSource::Netrc) => netrc_line,
                Some(_) => secrets.password_line,
                None => None,
            },
            login,
            account: account(secrets, entry),
            source,
        }
    }

    /// The password and account for `login` at `host`, by the rule called `rule_name`. Runs the rule's
    /// `password_command`, which may take up to 30 s. Errors: the rule is gone from the file, cannot
    /// serve, or no longer means this login at this host; the command failed.
    pub fn lookup(&self, rule_name: &str, host: &str, login: &str) -> Result<Found> {
        self.lookup_unless(rule_name, host, login, &|| false)
    }

    /// The same; a `password_command` is ended when `is_stopped` says so.
    pub fn lookup_unless(
        &self,
        rule_name: &str,
        host: &str,
        login: &str,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Found> {
        let (rule, secrets) = self.entitled(rule_name, host, login)?;
        let entry = self.entry(rule, host, Some(login));
        let account = account(secrets, entry);
        if let Some(password) = &secrets.password {
            let source = Some(PasswordSource::Config);
            return Ok(Found {
                password: Some(password.clone()),
                account,
                source,
            });
        }
        if let Some(words) = &secrets.password_command {
            let call = command::Call {
                words,
                home: self.home.as_deref(),
                host,
                login,
                is_stopped,
            };
            let password = command::run(&call).map_err(|why| {
                Error::config(format!(
                    "{}:{}: the password_command of rule [{}] gave no password for {}@{}: {}",
                    escape(&self.rules.path.to_string_lossy()),
                    rule.line,
                    escape(rule_name),
                    escape(login),
                    escape(host),
                    escape(&why)
                ))
                .with_hint("run the command by hand as the user of the worker, mend it, and retry")
            })?;
            return Ok(Found {
                password: Some(password),
                account,
                source: Some(PasswordSource::Command),
            });
        }
        let password = entry
            .map(|entry| &entry.password)
            .filter(|password| !password.is_empty());
        Ok(Found {
            source: password.map(|_| PasswordSource::Netrc),
            password: password.cloned(),
            account,
        })
    }

    /// What FTP's `ACCT` is to be told for `login` at `host`; runs nothing. Errors: as with
    /// [`CredentialStore::lookup`].
    pub fn account(&self, rule_name: &str, host: &str, login: &str) -> Result<Option<Secret>> {
        let (rule, secrets) = self.entitled(rule_name, host, login)?;
        Ok(account(secrets, self.entry(rule, host, Some(login))))
    }

    /// The secrets of `login` at `host` that are in memory anyway, to be hidden in what the host says; runs
    /// nothing. None where [`CredentialStore::lookup`] would refuse.
    pub fn at_hand(&self, rule_name: &str, host: &str, login: &str) -> Vec<Secret> {
        let Ok((rule, secrets)) = self.entitled(rule_name, host, login) else {
            return Vec::new();
        };
        let entry = self.entry(rule, host, Some(login));
        let of_netrc = entry.map(|entry| entry.password.clone());
        secrets
            .password
            .clone()
            .into_iter()
            .chain(of_netrc)
            .chain(account(secrets, entry))
            .filter(|secret| !secret.is_empty())
            .collect()
    }

    /// The rule of that name, if its credentials are meant for `login` at `host`. A delivery keeps host
    /// and login, while the rule may have been edited since: the secrets of one host may not reach another.
    fn entitled(&self, rule_name: &str, host: &str, login: &str) -> Result<(&Rule, &RuleSecrets)> {
        let file = self.rules.path.to_string_lossy();
        let refused = |line: Option<usize>, why: &str, way_out: &str| {
            let line = line.map_or_else(String::new, |line| format!(":{line}"));
            Err(Error::config(format!(
                "no credentials for {}@{}: {}{line}: {}",
                escape(login),
                escape(host),
                escape(&file),
                escape(why)
            ))
            .with_hint(format!(
                "{way_out} and `retry` the delivery, or `replay` its revision by the rule of today"
            )))
        };
        let Some((rule, secrets)) = self.rules.rule(rule_name) else {
            let why = format!("there is no rule [{rule_name}] any more");
            return refused(None, &why, "put the rule back");
        };
        let line = Some(rule.line);
        let terms = match &rule.terms {
            Ok(terms) => terms,
            Err(why) => {
                let why = format!("rule [{rule_name}] cannot serve: {why}");
                return refused(line, &why, "mend the rule");
            }
        };
        if !terms.hosts.iter().any(|named| same_host(named, host)) {
            let why = format!("rule [{rule_name}] no longer names the host {host}");
            return refused(line, &why, "put the host back");
        }
        if let Some(own) = terms.login.as_deref().filter(|own| *own != login) {
            let why = format!("rule [{rule_name}] now logs in as {own} instead of {login}");
            return refused(line, &why, "put the login back");
        }
        Ok((rule, secrets))
    }

    fn login_of(&self, rule: &Rule, host: &str) -> Option<String> {
        let own = rule.terms.as_ref().ok()?.login.clone();
        own.or_else(|| {
            let entry = self.netrc.find(host, None)?;
            (!entry.login.is_empty()).then(|| entry.login.clone())
        })
    }

    /// The netrc entry that belongs to a login at a host. A login that netrc itself gave is one of the
    /// host's, so asking for it by name finds the same entry.
    fn entry(&self, rule: &Rule, host: &str, login: Option<&str>) -> Option<&NetrcEntry> {
        let own = rule
            .terms
            .as_ref()
            .ok()
            .and_then(|terms| terms.login.as_deref());
        self.netrc.find(host, login.or(own))
    }
}

fn account(secrets: &RuleSecrets, entry: Option<&NetrcEntry>) -> Option<Secret> {
    secrets.account.clone().or_else(|| {
        entry
            .map(|entry| entry.account.clone())
            .filter(|account| !account.is_empty())
    })
}

#[cfg(test)]
mod tests;
