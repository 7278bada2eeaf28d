//! Rules files. A key's line and value are those that stand in the file, mistakes have a line that exists and show
//! nothing that a terminal would obey, and the rule that is chosen is the first one that matches.

use std::path::Path;

use auto_dispatcher::config::finding::Mistakes;
use auto_dispatcher::config::ini::{Document, Section};
use auto_dispatcher::config::probes;
use auto_dispatcher::config::rules::LoadedRules;
use auto_dispatcher::domain::rule::Choice;

/// Names that packages have.
const NAMES: [&str; 4] = ["app-1.0.tar", "a", "ibps_20260131.tar", "包-1.tar"];

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    let file = Path::new("/etc/ad/general-dispatch-info.cfg");
    match Document::parse(file, data) {
        Ok(document) => stands_in_file(&document, data),
        Err(mistakes) => are_told(&mistakes, data),
    }
    match probes::rules(file, data, Some(Path::new("/root"))) {
        Ok(rules) => choose(&rules, lines(data)),
        Err(mistakes) => are_told(&mistakes, data),
    }
}

/// How many lines a file has, whatever ends them.
pub fn lines(data: &[u8]) -> usize {
    1 + data
        .iter()
        .filter(|byte| matches!(byte, b'\n' | b'\r'))
        .count()
}

/// Mistakes name lines of the file, and are fit for a terminal.
pub fn are_told(mistakes: &Mistakes, data: &[u8]) {
    assert!(!mistakes.0.is_empty());
    let last = lines(data);
    for finding in &mistakes.0 {
        let line = finding.line.unwrap_or(1);
        assert!((1..=last).contains(&line), "{finding}");
        assert!(
            !finding.to_string().contains(char::is_control),
            "{finding:?}"
        );
    }
}

fn stands_in_file(document: &Document, data: &[u8]) {
    let text = std::str::from_utf8(data).expect("what was parsed");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    for section in std::iter::once(&document.defaults).chain(&document.sections) {
        for entry in &section.entries {
            let line = lines[entry.line - 1];
            let (key, value) = line.split_once(['=', ':']).expect("a delimiter");
            assert_eq!(key.trim_matches(is_space).to_lowercase(), entry.key);
            let raw = document.get_raw(section, &entry.key).expect("its value");
            let mut written = raw.text.split('\n');
            assert_eq!(written.next(), Some(value.trim_matches(is_space)));
            assert_eq!(raw.line, entry.line);
            for part in written {
                assert_eq!(part, part.trim_matches(is_space));
            }
            filled(document, section, &entry.key);
        }
    }
}

/// Python's `str.isspace`.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn filled(document: &Document, section: &Section, key: &str) {
    let raw = document.get_raw(section, key).expect("its value");
    let sources = document.sources(section, key, |_| true);
    match document.get(section, key) {
        Ok(Some(value)) if sources.is_empty() => {
            assert_eq!(*value.text, raw.text.replace("%%", "%"));
        }
        Ok(value) => assert!(value.is_some()),
        Err(_) => assert!(raw.text.contains("%(")),
    }
}

fn choose(rules: &LoadedRules, lines: usize) {
    let names = rules.set.rules.iter().map(|rule| rule.name.as_str());
    for name in NAMES.into_iter().chain(names.take(8)) {
        let by_index = match rules.set.choose(name, name) {
            Choice::Rule(rule) => Some(rule.name.as_str()),
            Choice::None => None,
            Choice::Undecided(..) => continue,
        };
        let mut all = rules.set.rules.iter();
        let first = all.find(|rule| rule.matches(name, name) != Ok(false));
        assert_eq!(by_index, first.map(|rule| rule.name.as_str()), "{name:?}");
    }
    for rule in &rules.set.rules {
        assert!((1..=lines).contains(&rule.line));
        let found = rules.rule(&rule.name).expect("found by its name");
        assert_eq!(found.0.line, rule.line);
        if let Ok(terms) = &rule.terms {
            assert!(!terms.hosts.is_empty());
            let login = terms.login.as_deref().unwrap_or_default();
            assert!(!login.contains(['\n', '\r', '\0']));
        }
    }
    for warning in &rules.warnings {
        assert!((1..=lines).contains(&warning.line.unwrap_or(1)));
    }
}
