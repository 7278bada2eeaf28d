//! What `check` says about rules that load: rules that cannot serve, rules that nothing reaches, files that they
//! name, secrets in the open. Looks at the files that rules name, and reads none of them.

mod reach;
mod values;

use crate::config::credentials::{CredentialStore, PasswordSource};
use crate::config::finding::Finding;
use crate::domain::rule::{Rule, RuleTerms};
use crate::domain::secret::Secret;
use crate::domain::target::TransportKind;

/// What was found, by weight.
#[derive(Debug, Default)]
pub struct Review {
    /// A package that such a rule takes cannot be delivered.
    pub mistakes: Vec<Finding>,
    /// Odd, or dangerous.
    pub warnings: Vec<Finding>,
    /// Worth knowing, and possibly meant.
    pub notes: Vec<Finding>,
}

/// Looks at every rule.
pub fn review(store: &CredentialStore) -> Review {
    let mut review = Review {
        mistakes: Vec::new(),
        warnings: store.rules().warnings.clone(),
        notes: Vec::new(),
    };
    review.warnings.extend(store.netrc().warnings.clone());
    let file = &store.rules().path;
    let mut falls_back_to_ftp = Vec::new();
    let mut with_old_algorithms = Vec::new();
    let mut with_passwords = Vec::new();
    for rule in &store.rules().set.rules {
        let (_, secrets) = store.rules().rule(&rule.name).unzip();
        if secrets.is_some_and(|secrets| secrets.password.is_some()) {
            with_passwords.push(rule.line);
        }
        match &rule.terms {
            Err(why) => {
                let text = format!("rule [{}] cannot serve: {why}", rule.name);
                review.mistakes.push(Finding::at(file, rule.line, text));
            }
            Ok(terms) => {
                values::look(store, rule, terms, &mut review);
                if credentials(store, rule, terms, &mut review) {
                    falls_back_to_ftp.push(rule.line);
                }
                if terms.connection.old_algorithms {
                    with_old_algorithms.push(rule.line);
                }
            }
        }
    }
    if let (Some(first), count) = (falls_back_to_ftp.first(), falls_back_to_ftp.len()) {
        let text = format!(
            "{count} rule(s) from here on may send a password in clear where a host offers neither SSH nor FTPS; \
             to forbid it write `transports = ssh, ftps` into [DEFAULT]"
        );
        review.warnings.push(Finding::at(file, *first, text));
    }
    if let (Some(first), count) = (with_old_algorithms.first(), with_old_algorithms.len()) {
        let text = format!(
            "{count} rule(s) from here on allow SSH algorithms that are no longer safe (`old_algorithms`): who listens in \
             may read or change what is sent to a host that knows no better; write it into the rules of such hosts alone"
        );
        review.warnings.push(Finding::at(file, *first, text));
    }
    if let (Some(first), count) = (with_passwords.first(), with_passwords.len()) {
        let text = format!(
            "{count} rule(s) from here on have their password in this file; a key (`identity_file`), `password_command` or \
             the netrc of the worker's user keeps it out of copies and backups of the rules"
        );
        review.notes.push(Finding::at(file, *first, text));
    }
    reach::look(file, &store.rules().set, &mut review);
    review.mistakes.sort_by_key(|finding| finding.line);
    review.warnings.sort_by_key(|finding| finding.line);
    review.notes.sort_by_key(|finding| finding.line);
    review
}

/// Warns about a rule's credentials; true: a password may go in clear though the rule does not list `ftp`.
fn credentials(
    store: &CredentialStore,
    rule: &Rule,
    terms: &RuleTerms,
    review: &mut Review,
) -> bool {
    let file = &store.rules().path;
    let mut warn = |text: String| review.warnings.push(Finding::at(file, rule.line, text));
    let mut has_password = false;
    for host in &terms.hosts {
        let known = store.describe(&rule.name, host);
        has_password |= known.source.is_some();
        if known.login.is_none() {
            warn(format!(
                "rule [{}] has no login for {host}: neither it nor netrc names one",
                rule.name
            ));
        }
        let Some(own) = &terms.login else { continue };
        match store.netrc().find(host, Some(own)) {
            Some(entry)
                if known.source == Some(PasswordSource::Netrc)
                    && !entry.login.is_empty()
                    && entry.login != *own =>
            {
                warn(format!(
                    "rule [{}] logs in to {host} as {own} with a netrc password of another login",
                    rule.name
                ));
            }
            None if known.source.is_none() && store.netrc().find(host, None).is_some() => {
                warn(format!(
                    "netrc has several logins of {host}, but none is {own}, that of rule [{}]",
                    rule.name
                ));
            }
            _ => {}
        }
    }
    let (_, secrets) = store.rules().rule(&rule.name).unzip();
    if secrets
        .is_some_and(|secrets| secrets.password.is_some() && secrets.password_command.is_some())
    {
        warn(format!(
            "rule [{}] has a password, so its password_command is never run",
            rule.name
        ));
    }
    let is_in_command = |secret: &Secret| {
        let command = terms.service.install_command.as_deref();
        secret.expose().len() >= 4 && command.is_some_and(|text| text.contains(secret.expose()))
    };
    if secrets
        .and_then(|secrets| secrets.password.as_ref())
        .is_some_and(is_in_command)
    {
        warn(format!(
            "the install_command of rule [{}] holds its password, which is so in the record, in `show` and in command \
             lines on the host; let the command read it there, and change the password",
            rule.name
        ));
    }
    if has_password && terms.connection.ftp_is_named {
        warn(format!(
            "rule [{}] lists `ftp`: its password may go in clear",
            rule.name
        ));
    }
    has_password
        && !terms.connection.ftp_is_named
        && terms.connection.transports.contains(&TransportKind::Ftp)
}
