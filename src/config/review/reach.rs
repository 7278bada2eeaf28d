//! Rules that no package can reach: because nothing can match them, or because earlier rules take all that they
//! match. What is not certain is not said.

use std::collections::HashMap;
use std::path::Path;

use super::Review;
use crate::config::finding::Finding;
use crate::domain::pattern::{Example, Pattern, Texts, example, takes_all_of};
use crate::domain::rule::{Rule, RuleSet};

/// So many earlier rules that take one and the same name are looked at; more are rare, and proofs take time.
const EARLIER_MAX: usize = 16;
/// Names of all kinds: what takes each of them may well take everything.
const ODD_NAMES: [&str; 4] = ["a", "0", "-.\u{1b}", "中文 包"];

/// Warns about rules that no package can reach.
pub(super) fn look(file: &Path, set: &RuleSet, review: &mut Review) {
    let mut earlier = Earlier::default();
    for (at, rule) in set.rules.iter().enumerate() {
        if let Some(why) = earlier.why_unreachable(set, at, rule) {
            let text = format!("rule [{}] {why}", rule.name);
            review.warnings.push(Finding::at(file, rule.line, text));
        }
    }
}

/// What the rules that were seen take.
#[derive(Default)]
struct Earlier<'a> {
    /// Those that take whatever begins with a text.
    by_start: HashMap<String, &'a Rule>,
    /// The first that takes everything.
    universal: Option<&'a Rule>,
}

impl<'a> Earlier<'a> {
    fn why_unreachable(&mut self, set: &'a RuleSet, at: usize, rule: &'a Rule) -> Option<String> {
        if needs_slash(&rule.name) {
            return Some(
                "never matches: names of packages have no `/`; name the rule for the last part, and give it a \
                 `path_pattern` for the directories"
                    .to_owned(),
            );
        }
        let start = literal_start(&rule.name);
        let taker = self.universal.or_else(|| self.by_literal(&start.text));
        let taker = match taker {
            Some(taker) => Some(taker),
            None => match by_proof(set, at, rule, &start) {
                Ok(taker) => taker,
                Err(why) => return Some(why),
            },
        };
        if start.takes_all && rule.path_pattern.is_none() {
            self.by_start.entry(start.text).or_insert(rule);
        }
        if self.universal.is_none()
            && rule.path_pattern.is_none()
            && takes_everything(&rule.pattern)
        {
            self.universal = Some(rule);
        }
        let taker = taker?;
        let is_twin = takes_paths_of(rule, taker)
            && takes_all_of(&rule.pattern, &taker.pattern, Texts::Names);
        let (what, way_out) = if is_twin {
            ("takes the very same names", "take one of the two out")
        } else {
            (
                "takes every name that it matches",
                "move it before that one, or take it out",
            )
        };
        Some(format!(
            "is never reached: rule [{}] at line {} {what}; {way_out}",
            taker.name, taker.line
        ))
    }

    fn by_literal(&self, start: &str) -> Option<&'a Rule> {
        let ends = start.char_indices().map(|(at, c)| at + c.len_utf8());
        ends.chain([0])
            .find_map(|end| self.by_start.get(start.get(..end)?).copied())
    }
}

/// The first earlier rule that provably takes all; Err: nothing can match this one.
fn by_proof<'a>(
    set: &'a RuleSet,
    at: usize,
    rule: &Rule,
    start: &LiteralStart,
) -> Result<Option<&'a Rule>, String> {
    let name = if start.takes_all && !start.text.is_empty() {
        start.text.clone()
    } else {
        match example(&rule.pattern, Texts::Names) {
            Example::Text(name) => name,
            Example::Nothing => {
                return Err("never matches: no name of a package is as it asks; see \
                            `explain NAME` for one that it should take"
                    .to_owned());
            }
            Example::Unknown => return Ok(None),
        }
    };
    // Who takes all names takes this one; nearly always nobody does.
    let takers = set.named_by(&name, at);
    Ok(takers.take(EARLIER_MAX).find(|earlier| {
        takes_paths_of(earlier, rule) && takes_all_of(&earlier.pattern, &rule.pattern, Texts::Names)
    }))
}

/// Whether a pattern certainly matches every name.
fn takes_everything(pattern: &Pattern) -> bool {
    ODD_NAMES
        .iter()
        .all(|name| pattern.matches_at_start(name) == Ok(true))
        && Pattern::new("").is_ok_and(|every| takes_all_of(pattern, &every, Texts::Names))
}

/// Whether an earlier rule's `path_pattern` leaves nothing to the later one.
fn takes_paths_of(earlier: &Rule, later: &Rule) -> bool {
    match (&earlier.path_pattern, &later.path_pattern) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(earlier), Some(later)) => {
            earlier.source() == later.source() || takes_all_of(earlier, later, Texts::Paths)
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
