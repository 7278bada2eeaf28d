//! Where no rule takes a name: the rules that nearly do, and what stands between.

use crate::domain::pattern::Pattern;
use crate::domain::rule::{Rule, RuleSet};

/// More hints help nobody.
const HINTS_MAX: usize = 3;
/// So many rules are looked at: each pattern is compiled anew without case.
const RULES_MAX: usize = 2_000;

/// What nearly takes the package, the likeliest first.
pub(super) fn nearest(set: &RuleSet, package: &str, path: &str) -> Vec<String> {
    let mut hints: Vec<(u8, String)> = Vec::new();
    for rule in set.rules.iter().take(RULES_MAX) {
        if let Some((weight, what)) = what_is_missing(rule, package, path) {
            hints.push((
                weight,
                format!("rule [{}] at line {} {what}", rule.name, rule.line),
            ));
        }
    }
    hints.sort_by_key(|(weight, _)| *weight);
    hints.truncate(HINTS_MAX);
    hints.into_iter().map(|(_, text)| text).collect()
}

fn what_is_missing(rule: &Rule, package: &str, path: &str) -> Option<(u8, String)> {
    let matches = |text: &str| rule.pattern.matches_at_start(text) == Ok(true);
    if matches(package) {
        let pattern = rule.path_pattern.as_ref()?;
        let source = pattern.source();
        let text = if path.contains('/') {
            format!("matches the name, but its path_pattern {source} does not match {path}")
        } else {
            format!(
                "matches the name, but has the path_pattern {source}: give the path in the repository instead of the name \
                 alone"
            )
        };
        return Some((0, text));
    }
    let source = rule.pattern.source();
    let caseless = Pattern::new(&format!("(?i){source}"));
    if caseless.is_ok_and(|pattern| pattern.matches_at_start(package) == Ok(true)) {
        let text = format!("would match if capitals did not count: [(?i){source}]");
        return Some((1, text));
    }
    if path.contains('/') && matches(path) {
        let text =
            "matches the path; its name is matched against the last part alone: use path_pattern";
        return Some((2, text.to_owned()));
    }
    let rest = package
        .char_indices()
        .skip(1)
        .map(|(at, _)| &package[at..])
        .find(|rest| matches(rest))?;
    let mut text = format!("matches from `{rest}` on, and not at the start of the name");
    if !source.starts_with("(?") && !source.contains(['^', '|']) {
        text = format!("{text}: [.*{source}]");
    }
    Some((3, text))
}
