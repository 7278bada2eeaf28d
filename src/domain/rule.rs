//! Rules and how one is chosen: the first in file order whose name matches at the start of the
//! package's base name, as Python's `re.match` does. Knows nothing of files or INI syntax.

use std::sync::OnceLock;

use crate::domain::pattern::{MatchError, Pattern, folded};
use crate::domain::rule_index::{FEW, RuleIndex};
use crate::domain::target::{ConnectionTerms, ServiceTerms};

/// What a rule says, resolved to typed values. Credentials are not part of it.
#[derive(Debug, Clone)]
pub struct RuleTerms {
    /// One or several hosts.
    pub hosts: Vec<String>,
    /// The login that the rule names; none: netrc is asked.
    pub login: Option<String>,
    /// Port of the SSH server.
    pub ssh_port: u16,
    /// Port of the FTP server.
    pub ftp_port: u16,
    /// Directory on the host; none: `~/newcx/` and the batch's stamp.
    pub dest_dir: Option<String>,
    /// How to reach the hosts.
    pub connection: ConnectionTerms,
    /// How to deliver and install.
    pub service: ServiceTerms,
}

/// One section of the rules file.
#[derive(Debug)]
pub struct Rule {
    /// The section's name as it stands in the file.
    pub name: String,
    /// Line of the section's header, from 1.
    pub line: usize,
    /// The name, compiled.
    pub pattern: Pattern,
    /// `path_pattern`, compiled: matched against the whole path in the source.
    pub path_pattern: Option<Pattern>,
    /// The terms, or why this rule cannot serve.
    pub terms: Result<RuleTerms, String>,
}

impl Rule {
    /// Whether this rule takes the package called `package` that lies at `path` in its source.
    pub fn matches(&self, package: &str, path: &str) -> Result<bool, MatchError> {
        self.matches_folded(package, &folded(package), path)
    }

    fn matches_folded(&self, package: &str, folded: &str, path: &str) -> Result<bool, MatchError> {
        if !self.pattern.matches_folded(package, folded)? {
            return Ok(false);
        }
        match &self.path_pattern {
            Some(pattern) => pattern.matches_at_start(path),
            None => Ok(true),
        }
    }
}

/// The rules of one file, in file order. Not to be changed once `choose` has been called.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// In file order.
    pub rules: Vec<Rule>,
    index: OnceLock<RuleIndex>,
}

/// What became of the search for a package's rule.
#[derive(Debug)]
pub enum Choice<'a> {
    /// The first rule that matches.
    Rule(&'a Rule),
    /// No rule matches.
    None,
    /// A rule's pattern could not be decided for this name.
    Undecided(&'a Rule, MatchError),
}

impl RuleSet {
    /// The rules in file order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self {
            rules,
            index: OnceLock::new(),
        }
    }

    /// The rules before the place `end` whose names match `package`, whatever their `path_pattern` says; those that
    /// cannot be decided are left out.
    pub fn named_by(&self, package: &str, end: usize) -> impl Iterator<Item = &Rule> {
        let folded = folded(package);
        let mut places = self.index().candidates(&folded);
        places.retain(|&at| at < end);
        let places = self
            .index()
            .narrowed(&places, package, |at| self.pattern_at(at));
        let package = package.to_owned();
        places
            .into_iter()
            .filter_map(|at| self.rules.get(at))
            .filter(move |rule| rule.pattern.matches_folded(&package, &folded) == Ok(true))
    }

    /// The first rule that takes the package.
    pub fn choose(&self, package: &str, path: &str) -> Choice<'_> {
        let index = self.index();
        let folded = folded(package);
        let candidates = index.candidates(&folded);
        let (first, rest) = candidates.split_at(candidates.len().min(FEW));
        match self.first_of(first, package, &folded, path) {
            Choice::None => self.first_of(
                &index.narrowed(rest, package, |at| self.pattern_at(at)),
                package,
                &folded,
                path,
            ),
            choice => choice,
        }
    }

    fn index(&self) -> &RuleIndex {
        let patterns = || self.rules.iter().map(|rule| &rule.pattern);
        self.index.get_or_init(|| RuleIndex::new(patterns()))
    }

    fn pattern_at(&self, at: usize) -> Option<&Pattern> {
        self.rules.get(at).map(|rule| &rule.pattern)
    }

    fn first_of(&self, places: &[usize], package: &str, folded: &str, path: &str) -> Choice<'_> {
        for rule in places.iter().filter_map(|&at| self.rules.get(at)) {
            match rule.matches_folded(package, folded, path) {
                Ok(true) => return Choice::Rule(rule),
                Ok(false) => {}
                Err(error) => return Choice::Undecided(rule, error),
            }
        }
        Choice::None
    }
}

#[cfg(test)]
mod tests;
