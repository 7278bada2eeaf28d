//! What `check` says about rules that load: rules that cannot serve, rules that nothing reaches, and
//! secrets in the open. Reads no files but the identity files that rules name.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

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
}

/// Looks at every rule.
pub fn review(store: &CredentialStore) -> Review {
    let mut review = Review {
        mistakes: Vec::new(),
        warnings: store.rules().warnings.clone(),
    };
    review.warnings.extend(store.netrc().warnings.clone());
    let file = &store.rules().path;
    let mut falls_back_to_ftp = Vec::new();
    let mut with_old_algorithms = Vec::new();
    for rule in &store.rules().set.rules {
        match &rule.terms {
            Err(why) => {
                let text = format!("rule [{}] cannot serve: {why}", rule.name);
                review.mistakes.push(Finding::at(file, rule.line, text));
            }
            Ok(terms) => {
                identity(file, rule, terms, &mut review);
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
    reach(file, &store.rules().set.rules, &mut review);
    review.warnings.sort_by_key(|finding| finding.line);
    review
}

fn identity(file: &Path, rule: &Rule, terms: &RuleTerms, review: &mut Review) {
    let Some(identity) = &terms.connection.identity_file else {
        return;
    };
    let shown = identity.to_string_lossy();
    match fs::File::open(identity).and_then(|key| key.metadata()) {
        Err(error) => {
            let text = format!(
                "the identity_file of rule [{}] cannot be read: {shown}: {error}",
                rule.name
            );
            review.mistakes.push(Finding::at(file, rule.line, text));
        }
        // As OpenSSH judges: who uses another's key has been let.
        Ok(metadata)
            if metadata.mode() & 0o077 != 0
                && metadata.uid() == rustix::process::geteuid().as_raw() =>
        {
            let text = format!(
                "others can use the identity_file of rule [{}], so it is left out: chmod 600 {shown}",
                rule.name
            );
            review.warnings.push(Finding::at(file, rule.line, text));
        }
        Ok(_) => {}
    }
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

/// Warns about rules that no package can reach, where that is certain.
fn reach(file: &Path, rules: &[Rule], review: &mut Review) {
    let mut taken: HashMap<String, &Rule> = HashMap::new();
    for rule in rules {
        let start = literal_start(&rule.name);
        let by_earlier = start
            .text
            .char_indices()
            .map(|(at, c)| at + c.len_utf8())
            .chain([0])
            .find_map(|end| taken.get(start.text.get(..end)?));
        if needs_slash(&rule.name) {
            let text = format!(
                "rule [{}] never matches: names of packages have no `/`; name the rule for the last part, and \
                 give it a `path_pattern` for the directories",
                rule.name
            );
            review.warnings.push(Finding::at(file, rule.line, text));
        } else if let Some(earlier) = by_earlier {
            let text = format!(
                "rule [{}] is never reached: rule [{}] at line {} takes every name that it matches; move it \
                 before that one, or take it out",
                rule.name, earlier.name, earlier.line
            );
            review.warnings.push(Finding::at(file, rule.line, text));
        }
        if start.takes_all && rule.path_pattern.is_none() {
            taken.entry(start.text).or_insert(rule);
        }
    }
}

/// Whether whatever a pattern matches holds a `/`; false where that is not plain to see.
fn needs_slash(pattern: &str) -> bool {
    let needs = |branch: &str| {
        branch
            .split('/')
            .skip(1)
            .any(|behind| !behind.starts_with(['*', '?']))
    };
    !pattern.contains(['(', '[', '{']) && pattern.split('|').all(needs)
}

/// The text that every match of a pattern begins with.
struct LiteralStart {
    text: String,
    /// Whether the pattern matches whatever begins with that text.
    takes_all: bool,
}

/// Errs on the side of a shorter text.
fn literal_start(pattern: &str) -> LiteralStart {
    let mut text = String::new();
    if pattern.contains('|') {
        return LiteralStart {
            text,
            takes_all: false,
        };
    }
    let mut rest = pattern.strip_prefix('^').unwrap_or(pattern);
    loop {
        let mut chars = rest.chars();
        let literal = match chars.next() {
            Some('\\') => chars.next().filter(char::is_ascii_punctuation),
            Some(c) if !r".^$*+?{}[]()".contains(c) => Some(c),
            _ => None,
        };
        let behind = chars.as_str();
        let Some(literal) = literal.filter(|_| !behind.starts_with(['*', '?', '{'])) else {
            break;
        };
        text.push(literal);
        rest = behind;
    }
    LiteralStart {
        text,
        takes_all: matches!(rest, "" | ".*" | ".*?" | ".*$"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_needs_a_slash_is_known_where_it_is_plain() {
        for needs in [
            "a/b",
            "^trunk/.*",
            ".*/app",
            r".*\/app",
            "a/+",
            "a/|.+/b",
            "/?/",
        ] {
            assert!(needs_slash(needs), "{needs}");
        }
        for may_not in [
            "a", "a/?b", "a/*", "a/|b", "[/a]", "(a/)?b", "a/{0}b", "(?x)a#/",
        ] {
            assert!(!needs_slash(may_not), "{may_not}");
        }
    }

    #[test]
    fn the_literal_start_of_a_pattern_is_found() {
        let start = |pattern| {
            let start = literal_start(pattern);
            (start.text, start.takes_all)
        };
        let expected = |text: &str, takes_all| (text.to_owned(), takes_all);
        assert_eq!(start("app"), expected("app", true));
        assert_eq!(start("^app.*"), expected("app", true));
        assert_eq!(start("app$"), expected("app", false));
        assert_eq!(start("apps?_"), expected("app", false));
        assert_eq!(start(r"a\.b[0-9]"), expected("a.b", false));
        assert_eq!(start(r"a\d"), expected("a", false));
        assert_eq!(start("a|b"), expected("", false));
        assert_eq!(start("(?i)a"), expected("", false));
        assert_eq!(start(".*"), expected("", true));
        assert_eq!(start("中文+"), expected("中文", false));
    }
}
