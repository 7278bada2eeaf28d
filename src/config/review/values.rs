//! What the values of a rule are worth: files that are not there, programs that do not run, directories, hosts and
//! commands that are probably not meant so. Looks at files and reads none.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Review;
use crate::config::credentials::CredentialStore;
use crate::config::finding::Finding;
use crate::config::value::nearest;
use crate::domain::install::PLACEHOLDERS;
use crate::domain::rule::{Rule, RuleTerms};
use crate::domain::target::{HostKeyPolicy, TransportKind};
use crate::program::SEARCH_PATH;

/// Looks at one rule.
pub(super) fn look(store: &CredentialStore, rule: &Rule, terms: &RuleTerms, review: &mut Review) {
    let mut look = Look {
        file: &store.rules().path,
        rule,
        review,
    };
    look.identity_file(terms);
    look.ca_file(terms);
    look.known_hosts(terms);
    let (_, secrets) = store.rules().rule(&rule.name).unzip();
    let command = secrets.and_then(|secrets| secrets.password_command.as_deref());
    if let Some(program) = command.and_then(<[String]>::first) {
        look.password_command(program);
    }
    for host in &terms.hosts {
        look.host(host);
    }
    if let Some(directory) = &terms.dest_dir {
        look.dest_dir(directory);
    }
    if let Some(command) = &terms.service.install_command {
        look.install_command(command, terms);
    }
    look.pattern();
}

struct Look<'a> {
    file: &'a Path,
    rule: &'a Rule,
    review: &'a mut Review,
}

impl Look<'_> {
    fn mistake(&mut self, text: String) {
        let finding = Finding::at(self.file, self.rule.line, text);
        self.review.mistakes.push(finding);
    }

    fn warn(&mut self, text: String) {
        let finding = Finding::at(self.file, self.rule.line, text);
        self.review.warnings.push(finding);
    }

    fn note(&mut self, text: String) {
        let finding = Finding::at(self.file, self.rule.line, text);
        self.review.notes.push(finding);
    }

    fn identity_file(&mut self, terms: &RuleTerms) {
        let Some(identity) = &terms.connection.identity_file else {
            return;
        };
        let name = &self.rule.name;
        let shown = identity.to_string_lossy();
        match readable(identity) {
            Err(error) => self.mistake(format!(
                "the identity_file of rule [{name}] cannot be read: {shown}: {error}; it is read by the user of the worker: \
                 run `check` as that one, and mend the path or the permissions"
            )),
            // As OpenSSH judges: who uses another's key has been let.
            Ok(metadata)
                if metadata.mode() & 0o077 != 0
                    && metadata.uid() == rustix::process::geteuid().as_raw() =>
            {
                self.warn(format!(
                    "others can use the identity_file of rule [{name}], so it is left out: chmod 600 {shown}"
                ));
            }
            Ok(_) => {}
        }
    }

    fn ca_file(&mut self, terms: &RuleTerms) {
        let Some(ca_file) = &terms.connection.ca_file else {
            return;
        };
        if let Err(error) = readable(ca_file) {
            self.mistake(format!(
                "the ca_file of rule [{}] cannot be read: {}: {error}; put the authority's certificate there, or mend the \
                 path",
                self.rule.name,
                ca_file.to_string_lossy()
            ));
        }
    }

    fn known_hosts(&mut self, terms: &RuleTerms) {
        let Some(known_hosts) = &terms.connection.known_hosts else {
            return;
        };
        let name = &self.rule.name;
        let shown = known_hosts.to_string_lossy();
        let is_strict = terms.connection.host_key == HostKeyPolicy::Strict;
        let is_missing = |path: &Path| !path.exists();
        match readable(known_hosts) {
            Ok(_) => {}
            Err(_) if is_missing(known_hosts) && is_strict => self.warn(format!(
                "the known_hosts of rule [{name}] is not there: {shown}; with `host_key = strict` only hosts of \
                 ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts are accepted: record keys with `auto-dispatcher trust HOST`"
            )),
            Err(_) if is_missing(known_hosts) => {
                // It is made when the first key is recorded.
                if known_hosts.parent().is_some_and(is_missing) {
                    self.warn(format!(
                        "the known_hosts of rule [{name}] lies in a directory that is not there: {shown}; make it, or mend \
                         the path"
                    ));
                }
            }
            Err(error) => self.mistake(format!(
                "the known_hosts of rule [{name}] cannot be read: {shown}: {error}"
            )),
        }
    }

    fn password_command(&mut self, program: &str) {
        let name = &self.rule.name;
        let Some(found) = find_program(program) else {
            return self.mistake(format!(
                "the program of the password_command of rule [{name}] is not there: {program}; write its whole path \
                 (it is looked for in {SEARCH_PATH})"
            ));
        };
        let shown = found.to_string_lossy().into_owned();
        match fs::metadata(&found) {
            Err(error) => self.mistake(format!(
                "the program of the password_command of rule [{name}] cannot be looked at: {shown}: {error}"
            )),
            Ok(metadata) if !metadata.is_file() || metadata.mode() & 0o111 == 0 => {
                self.mistake(format!(
                    "the program of the password_command of rule [{name}] cannot be run: chmod 755 {shown}"
                ));
            }
            Ok(metadata) if metadata.mode() & 0o002 != 0 => self.warn(format!(
                "everybody can write to the program of the password_command of rule [{name}], and so learn the password: \
                 chmod o-w {shown}"
            )),
            Ok(_) => {}
        }
    }

    fn host(&mut self, host: &str) {
        let name = &self.rule.name;
        if let Some(why) = odd_host(host) {
            self.warn(format!("the host {host} of rule [{name}] {why}"));
        }
    }

    fn dest_dir(&mut self, directory: &str) {
        let name = &self.rule.name;
        let mut parts = directory.split('/');
        if parts.clone().any(|part| part == "..") {
            self.warn(format!(
                "the dest_dir of rule [{name}] goes up by `..`; write the directory that is meant"
            ));
        }
        if parts.any(|part| part != part.trim()) {
            self.warn(format!(
                "the dest_dir of rule [{name}] has a directory whose name begins or ends with a blank; so it is made on the \
                 host"
            ));
        }
        if directory.contains('$') || directory.contains('{') {
            self.warn(format!(
                "the dest_dir of rule [{name}] holds `$` or `{{`, which is not filled in there: directories of such names \
                 are made on the host"
            ));
        } else if directory.starts_with('~') && !directory.starts_with("~/") && directory != "~" {
            self.warn(format!(
                "the dest_dir of rule [{name}] begins with `~` and a name; only `~/`, the login's own home, is known"
            ));
        } else if !directory.starts_with(['/', '~']) {
            self.note(format!(
                "the dest_dir of rule [{name}] is relative: it lies where the login begins, which is mostly its home; \
                 `~/` or `/` in front makes it plain"
            ));
        }
    }

    fn install_command(&mut self, command: &str, terms: &RuleTerms) {
        let name = &self.rule.name;
        for (word, meant) in misspelt_placeholders(command) {
            self.warn(format!(
                "the install_command of rule [{name}] holds {{{word}}}, which is left as it is; did you mean {{{meant}}}?"
            ));
        }
        if !terms.connection.transports.contains(&TransportKind::Ssh) {
            self.note(format!(
                "rule [{name}] delivers without SSH, and its install_command goes over SSH all the same (port {}): where the \
                 host has none, packages stay uploaded and not installed",
                terms.ssh_port
            ));
        }
    }

    fn pattern(&mut self) {
        let name = &self.rule.name;
        let all = std::iter::once(&self.rule.pattern).chain(&self.rule.path_pattern);
        let mut findings = Vec::new();
        for pattern in all {
            let which = if std::ptr::eq(pattern, &raw const self.rule.pattern) {
                ""
            } else {
                "the path_pattern of "
            };
            // Only counts can make a pattern too large to be run; compiling each of ten thousand would take seconds.
            let is_plain = pattern.is_regular() && !pattern.source().contains('{');
            if is_plain {
                continue;
            }
            if let Err(error) = pattern.runs() {
                findings.push((true, format!("{which}rule [{name}] cannot be run: {error}")));
            } else if !pattern.is_regular() && pattern.repeats() {
                findings.push((
                    false,
                    format!(
                        "{which}rule [{name}] needs backtracking (look-around, references, possessive or atomic groups) and \
                         repeats: a name that takes it more than 1,000,000 steps is an error; without these it runs in \
                         linear time"
                    ),
                ));
            }
        }
        for (is_mistake, text) in findings {
            if is_mistake {
                self.mistake(text);
            } else {
                self.note(text);
            }
        }
    }
}

/// The file's metadata, if it can be read and is no directory.
fn readable(path: &Path) -> std::io::Result<fs::Metadata> {
    let metadata = fs::File::open(path)?.metadata()?;
    if metadata.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    Ok(metadata)
}

/// Where a program of `password_command` is; it is run from `/`.
fn find_program(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        let path = Path::new("/").join(program);
        return path.exists().then_some(path);
    }
    SEARCH_PATH
        .split(':')
        .map(|place| Path::new(place).join(program))
        .find(|path| path.is_file())
}

/// Why a host is probably another one than is meant.
fn odd_host(host: &str) -> Option<String> {
    let looks_like_address = host.contains('.')
        && host
            .split('.')
            .all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    if looks_like_address {
        return host.parse::<Ipv4Addr>().err().map(|_| {
            "looks like an address and is none: four numbers from 0 to 255 without leading zeros are meant"
                .to_owned()
        });
    }
    if host.contains(':') {
        let address = host.split('%').next().unwrap_or(host);
        return address
            .parse::<Ipv6Addr>()
            .err()
            .map(|_| "looks like an IPv6 address and is none".to_owned());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let odd = |label: &str| {
        label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-')
    };
    if name.len() > 253 || name.split('.').any(odd) {
        return Some(
            "is no name that DNS knows: between dots stand 1 to 63 letters, digits and inner hyphens"
                .to_owned(),
        );
    }
    None
}

/// Words in braces that resemble a placeholder, each with the one that it resembles. `${…}` is the shell's.
fn misspelt_placeholders(command: &str) -> Vec<(&str, &'static str)> {
    let mut found = Vec::new();
    for (at, _) in command.match_indices('{') {
        let Some(word) = command[at + 1..].split('}').next() else {
            continue;
        };
        let is_closed = command[at + 1 + word.len()..].starts_with('}');
        let is_word = !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_alphanumeric() || "_-".contains(c));
        let is_shells = command[..at].ends_with('$');
        if !is_closed || !is_word || is_shells || PLACEHOLDERS.contains(&word) {
            continue;
        }
        if let Some(meant) = nearest(&word.to_lowercase(), &PLACEHOLDERS) {
            found.push((word, meant));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_hosts_are_known_and_others_left_alone() {
        for odd in [
            "10.8.6.256",
            "10.8.6",
            "010.8.6.1",
            "1::2::3",
            "web..bank",
            "web-.bank",
        ] {
            assert!(odd_host(odd).is_some(), "{odd}");
        }
        for plain in [
            "10.8.6.10",
            "fe80::1%eth0",
            "::1",
            "web1",
            "db_2",
            "web.bank.",
            "主机",
            "4711",
        ] {
            assert_eq!(odd_host(plain), None, "{plain}");
        }
    }

    #[test]
    fn placeholders_that_are_misspelt_find_their_neighbours() {
        let command =
            "cd {dest-dir} && ./x {pacakge} {PATH} {path} ${revison} | awk '{print}' {a,b} {rev";
        assert_eq!(
            misspelt_placeholders(command),
            [
                ("dest-dir", "dest_dir"),
                ("pacakge", "package"),
                ("PATH", "path")
            ]
        );
    }
}
