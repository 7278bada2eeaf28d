//! netrc: logins and passwords by host. [`layout`] cuts the file into entries by Python's rules, the netrc
//! crate (named here only) reads each. Where a host has several logins, the one that is asked for is
//! meant; else the last, as Python's dictionary keeps it.

mod layout;

use std::mem;
use std::path::Path;
use std::str::FromStr as _;

use crate::config::finding::Finding;
use crate::config::private;
use crate::domain::secret::Secret;

const UNREADABLE: &str =
    "this entry cannot be read; its form is: machine HOST login NAME password WORD";

/// One `machine` or `default` entry. What it lacks is empty.
#[derive(Debug, Clone)]
pub struct NetrcEntry {
    /// The host; `default` for all that have no entry.
    pub machine: String,
    /// Who logs in.
    pub login: String,
    /// `ACCT` of FTP.
    pub account: Secret,
    /// The password.
    pub password: Secret,
    /// Line of its `machine` or `default`, from 1.
    pub line: usize,
}

/// A netrc file.
#[derive(Debug, Default)]
pub struct Netrc {
    /// In file order.
    pub entries: Vec<NetrcEntry>,
    /// What is odd; for the log, once, and for `check`.
    pub warnings: Vec<Finding>,
}

impl Netrc {
    /// Reads `path`; a file that is not there is empty unless it `is_named` by the user.
    pub fn load(path: &Path, is_named: bool) -> Result<Self, Finding> {
        let Some(text) = private::read(path)? else {
            return if is_named {
                Err(Finding::about(
                    path,
                    "there is no such netrc file; write it, or leave --netrc out",
                ))
            } else {
                Ok(Self::default())
            };
        };
        let mut netrc = Self::parse(path, &text.bytes)?;
        let holds_password = netrc.entries.iter().any(|entry| !entry.password.is_empty());
        netrc.warnings.extend(text.of_another(path));
        match text.in_the_open(path, holds_password) {
            Some(mistake) => Err(mistake),
            None => Ok(netrc),
        }
    }

    /// Parses the bytes of the file `path`.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Finding> {
        let text = private::decode(path, bytes)?;
        let pieces = layout::cut(&text).map_err(|(line, why)| Finding::at(path, line, why))?;
        let entries = pieces.into_iter().map(|mut piece| {
            // The crate's own message would quote the token.
            let parsed = netrc::Netrc::from_str(&piece.text)
                .map_err(|_| Finding::at(path, piece.line, UNREADABLE))?;
            let (machine, entry) = parsed
                .hosts
                .into_iter()
                .next()
                .ok_or_else(|| Finding::at(path, piece.line, UNREADABLE))?;
            let mut secret = |place: &str| {
                let place = place.parse().ok();
                let kept = place.and_then(|place: usize| piece.secrets.get_mut(place));
                Secret::new(
                    kept.map(|value| mem::take(&mut **value))
                        .unwrap_or_default(),
                )
            };
            Ok(NetrcEntry {
                account: secret(&entry.account),
                password: secret(&entry.password),
                machine,
                login: entry.login,
                line: piece.line,
            })
        });
        Ok(Self {
            entries: entries.collect::<Result<_, Finding>>()?,
            warnings: Vec::new(),
        })
    }

    /// The entry for `host` and, where the rule names one, `login`.
    ///
    /// Where `host` has entries of several logins and none is `login`, there is none to choose. Where it
    /// has one entry only, that entry serves whatever its login, as it did in the old script, whose
    /// rules took a missing password from netrc without comparing logins.
    pub fn find(&self, host: &str, login: Option<&str>) -> Option<&NetrcEntry> {
        let of = |machine: &str| -> Vec<&NetrcEntry> {
            self.entries
                .iter()
                .filter(|entry| entry.machine == machine)
                .collect()
        };
        let mut entries = of(host);
        if entries.is_empty() {
            entries = of("default");
        }
        let last = entries.last().copied()?;
        let Some(login) = login else {
            return Some(last);
        };
        let same = entries.iter().rev().find(|entry| entry.login == login);
        let nobodys = || entries.iter().rev().find(|entry| entry.login.is_empty());
        let all_alike = || {
            entries
                .iter()
                .all(|entry| entry.login == last.login)
                .then_some(&last)
        };
        same.or_else(nobodys).or_else(all_alike).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Netrc {
        Netrc::parse(Path::new("netrc"), text.as_bytes()).unwrap()
    }

    fn mistake(text: &str) -> Finding {
        Netrc::parse(Path::new("netrc"), text.as_bytes()).unwrap_err()
    }

    fn password<'a>(netrc: &'a Netrc, host: &str, login: Option<&str>) -> Option<&'a str> {
        netrc.find(host, login).map(|entry| entry.password.expose())
    }

    #[test]
    fn of_several_logins_the_one_that_the_rule_names_is_meant() {
        let netrc = parse(
            "machine h login a password 1\nmachine h login b password 2\nmachine h login c password 3\n",
        );
        assert_eq!(password(&netrc, "h", Some("a")), Some("1"));
        assert_eq!(password(&netrc, "h", Some("b")), Some("2"));
        assert_eq!(password(&netrc, "h", None), Some("3"));
        assert_eq!(password(&netrc, "h", Some("d")), None);
        assert_eq!(password(&netrc, "other", None), None);
    }

    #[test]
    fn a_hosts_only_entry_serves_whatever_its_login() {
        let netrc = parse("machine h login a password 1\ndefault login g password 2\n");
        assert_eq!(password(&netrc, "h", Some("x")), Some("1"));
        assert_eq!(password(&netrc, "other", Some("x")), Some("2"));
    }

    #[test]
    fn comments_end_with_their_line_wherever_they_stand() {
        let netrc = parse(
            "#x\n\n# login no password no\nmachine h # machine i\n\n# login no\nlogin a password #1\n\n# end",
        );
        assert_eq!(netrc.entries.len(), 1);
        assert_eq!(netrc.find("h", None).unwrap().login, "a");
        assert_eq!(password(&netrc, "h", None), Some("#1"));
    }

    #[test]
    fn macros_quotes_and_escapes_are_read_as_python_reads_them() {
        let netrc =
            parse("macdef m\nmachine no\n \n\nmachine \"h\" user \"a \\\"b\" password 口\\ 令\r\n");
        let entry = netrc.find("h", None).unwrap();
        assert_eq!(
            (entry.login.as_str(), entry.password.expose(), entry.line),
            ("a \"b", "口 令", 5)
        );
    }

    #[test]
    fn mistakes_have_lines_and_quote_nothing() {
        let finding = mistake("# c\n\nmachine h login a\npassword my secret phrase\n");
        assert_eq!(finding.line, Some(4));
        assert!(
            !finding.text.contains("secret") && !finding.text.contains("phrase"),
            "{finding}"
        );
        assert_eq!(mistake("\nlogin x").line, Some(2));
        assert_eq!(mistake("machine").line, Some(1));
        assert_eq!(mistake("\n\nmacdef m\nx\n").line, Some(3));
    }
}
