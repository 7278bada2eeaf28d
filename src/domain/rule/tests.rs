//! Tests of `domain::rule`.

use super::*;

fn rule(source: &str, path_pattern: Option<&str>) -> Rule {
    Rule {
        name: source.to_owned(),
        line: 1,
        pattern: Pattern::new(source).expect(source),
        path_pattern: path_pattern.map(|source| Pattern::new(source).expect(source)),
        terms: Err("not needed here".to_owned()),
    }
}

/// What `choose` must come to: every rule asked in file order.
fn asked_one_by_one(rules: &RuleSet, package: &str, path: &str) -> String {
    for rule in &rules.rules {
        match rule.matches(package, path) {
            Ok(true) => return rule.name.clone(),
            Ok(false) => {}
            Err(error) => return format!("undecided {} {error}", rule.name),
        }
    }
    "none".to_owned()
}

fn chosen(rules: &RuleSet, package: &str, path: &str) -> String {
    match rules.choose(package, path) {
        Choice::Rule(rule) => rule.name.clone(),
        Choice::None => "none".to_owned(),
        Choice::Undecided(rule, error) => format!("undecided {} {error}", rule.name),
    }
}

const WORDS: [&str; 12] = [
    "web", "db", "Kern", "straße", "包", "release", "1.2", "-", "_x", "s", "ſ", "i",
];

/// A pattern around `word`, in one of many shapes.
fn pattern_about(word: &str, other: &str, shape: usize) -> String {
    let escaped = word.replace('.', r"\.");
    match shape {
        0 => escaped,
        1 => format!(".*{escaped}"),
        2 => format!("(?i){escaped}{other}"),
        3 => format!("(?:{escaped}|{other})+$"),
        4 => format!(r"[\w.-]*?{escaped}\b"),
        5 => format!("(?!{escaped}){other}"),
        6 => format!("({other})?(?(1){escaped}|{other})"),
        7 => format!("(?:{escaped}){{2}}"),
        8 => format!("(?i:[{other}]{escaped})"),
        9 => format!("{other}?{escaped}*"),
        10 => format!(r"(.*)-{escaped}\1"),
        _ => format!("(?>{escaped}|.){other}"),
    }
}

#[test]
fn the_rule_chosen_is_the_first_that_matches_when_each_is_asked() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut matched = 0;
    for _ in 0..60 {
        let mut word = || *random.choice(WORDS.iter()).expect("words");
        let names: Vec<String> = (0..40)
            .map(|_| [word(), word(), word(), word()].concat())
            .collect();
        let mut list = Vec::new();
        for _ in 0..40 {
            let (about, other) = (
                *random.choice(WORDS.iter()).expect("words"),
                *random.choice(WORDS.iter()).expect("words"),
            );
            let path = random.bool().then_some("trunk/");
            list.push(rule(&pattern_about(about, other, random.usize(..12)), path));
        }
        let rules = RuleSet::new(list);
        for name in names {
            let name = if random.bool() {
                name
            } else {
                name.to_uppercase()
            };
            let path = if random.bool() { "trunk/a" } else { "tags/a" };
            let expected = asked_one_by_one(&rules, &name, path);
            matched += usize::from(expected != "none");
            assert_eq!(chosen(&rules, &name, path), expected, "{name} at {path}");
        }
    }
    assert!(
        matched > 500,
        "the names must meet rules, only {matched} did"
    );
}

#[test]
fn what_a_rule_answers_does_not_hang_on_the_strings_it_requires() {
    let rules = RuleSet::new(vec![rule(r"(x+x+)+y\1zzz", None), rule(".*", None)]);
    assert_eq!(chosen(&rules, &"x".repeat(200), ""), ".*");
}

#[test]
fn rules_that_no_string_tells_apart_are_chosen_all_the_same() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut matched = 0;
    let list = (0..300).map(|at| {
        let (low, count) = (random.char('a'..='y'), random.usize(1..6));
        let shape = [
            "[{c}-z]{n}$",
            r"(?i)[{c}z]{n}\b",
            "[^{c}]{n}-$",
            r"\B|[{c}-z]{n}\d$",
            "(?=[{c}-z])..?[{c}]{n}$",
        ][at % 5];
        rule(
            &shape
                .replace("{c}", &low.to_string())
                .replace("{n}", &format!("{{{count}}}")),
            None,
        )
    });
    let rules = RuleSet::new(list.collect());
    for _ in 0..600 {
        let mut name: String = (0..random.usize(..8))
            .map(|_| random.char('a'..='z'))
            .collect();
        name.push_str(
            random
                .choice(["", "-", "7", "\n", "é", "\nx", "Z"])
                .expect("endings"),
        );
        let expected = asked_one_by_one(&rules, &name, "");
        matched += usize::from(expected != "none");
        assert_eq!(chosen(&rules, &name, ""), expected, "{name:?}");
    }
    assert!(
        matched > 100,
        "the names must meet rules, only {matched} did"
    );
}

#[test]
fn ten_thousand_rules_find_the_last_one() {
    for shape in [
        "name{}-",
        ".*name{}x",
        "(?i)NAME{}$",
        "na(?:me|mi){}[x-]",
        r"(?!x)name{}\b",
    ] {
        let list = (0..10_000)
            .map(|at| rule(&shape.replace("{}", &at.to_string()), None))
            .collect();
        let rules = RuleSet::new(list);
        let wanted = shape.replace("{}", "9999");
        for text in ["name9999-1.tar", "name9999x", "name9999"] {
            let expected = asked_one_by_one(&rules, text, "");
            assert_eq!(chosen(&rules, text, ""), expected);
            assert!(expected == "none" || expected == wanted, "{expected}");
        }
    }
}
