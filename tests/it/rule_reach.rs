//! What `check` claims of rules that nothing reaches, against what really matches: on generated patterns no claim is
//! wrong, and on patterns as people write them none is missing. `AD_SEED` gives another seed, `AD_PATTERNS` another number.

use std::fmt::Write as _;

use auto_dispatcher::domain::pattern::{Example, Pattern, Texts, example, takes_all_of};

use crate::re_generator::Generator;
use crate::testenv::TestEnv;

fn number(name: &str, standard: u64) -> u64 {
    let told = std::env::var(name).ok();
    told.map_or(standard, |text| text.parse().expect("a number"))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', '\n'])
}

/// Names that are near to what a pattern takes: its own samples, their parts, and what somebody may append.
fn names_near(samples: &[String], random: &mut fastrand::Rng) -> Vec<String> {
    const ENDS: [&str; 10] = ["", "a", "-1", ".tar", "_x", " ", "中", "A", "é", "\u{1b}"];
    let mut names: Vec<String> = Vec::new();
    for sample in samples {
        let chars: Vec<char> = sample.chars().collect();
        let cut = random.usize(..=chars.len());
        let beginning: String = chars[..cut].iter().collect();
        for end in ENDS {
            names.push(format!("{sample}{end}"));
            names.push(format!("{beginning}{end}"));
        }
    }
    names.retain(|name| is_name(name));
    names
}

#[test]
fn no_rule_is_accused_wrongly() {
    let seed = number("AD_SEED", 7);
    let mut generator = Generator::new(seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut all: Vec<(Pattern, Vec<String>)> = Vec::new();
    let mut claims = 0;
    for _ in 0..number("AD_PATTERNS", 250) {
        let (text, samples) = generator.pattern_and_names(6);
        let Ok(pattern) = Pattern::new(&text) else {
            continue;
        };
        match example(&pattern, Texts::Names) {
            Example::Text(name) => {
                assert!(is_name(&name), "{text:?}: {name:?}");
                assert_eq!(
                    pattern.matches_at_start(&name),
                    Ok(true),
                    "seed {seed}: {text:?} does not match its example {name:?}"
                );
            }
            Example::Nothing => {
                for name in names_near(&samples, &mut random) {
                    assert_ne!(
                        pattern.matches_at_start(&name),
                        Ok(true),
                        "seed {seed}: {text:?} was said to match nothing: {name:?}"
                    );
                }
            }
            Example::Unknown => {}
        }
        // Near relatives: cut short, made optional, alternated, without case.
        let relatives = [
            format!("(?:{text})?"),
            format!("{text}|x"),
            format!("(?i:{text})"),
            text.chars().take(text.chars().count() / 2).collect(),
        ];
        let mut others: Vec<Pattern> = relatives
            .iter()
            .filter_map(|text| Pattern::new(text).ok())
            .collect();
        others.extend(
            (0..3)
                .filter(|_| !all.is_empty())
                .filter_map(|_| Pattern::new(all[random.usize(..all.len())].0.source()).ok()),
        );
        let near = names_near(&samples, &mut random);
        for other in &others {
            for (earlier, later) in [(other, &pattern), (&pattern, other)] {
                if !takes_all_of(earlier, later, Texts::Names) {
                    continue;
                }
                claims += 1;
                for name in &near {
                    assert!(
                        later.matches_at_start(name) != Ok(true)
                            || earlier.matches_at_start(name) == Ok(true),
                        "seed {seed}: {:?} was said to take all that {:?} takes, but not {name:?}",
                        earlier.source(),
                        later.source()
                    );
                }
            }
        }
        all.push((pattern, samples));
    }
    assert!(claims > 200, "only {claims} claims were made");
}

#[test]
fn what_people_write_is_told_apart() {
    let takes = |earlier: &str, later: &str| {
        let [earlier, later] = [earlier, later].map(|text| Pattern::new(text).expect(text));
        takes_all_of(&earlier, &later, Texts::Names)
    };
    for (earlier, later) in [
        ("", "app"),
        (".*", "app-[0-9]+"),
        (".", r"(?i)web\.war$"),
        ("^app", "app-.*\\.tar$"),
        ("app", "^app$"),
        ("app.*$", "app"),
        ("app", "apps|app1"),
        ("[a-z]+", "app"),
        ("[a-z0-9_.-]+", "app-[0-9]"),
        ("(?i)app", "APP"),
        ("(?i)app", "App|aPp"),
        ("app-[0-9]+", r"app-\d{3}\.tar"),
        ("(app|web)-", "web-1"),
        ("中文", "中文包.*"),
        ("a{2,}", "a{3}"),
        ("x*", "app"),
    ] {
        let by_digits = later.contains(r"\d") && earlier.contains("[0-9]");
        // `\d` knows digits of other scripts, too.
        assert_eq!(takes(earlier, later), !by_digits, "{earlier} {later}");
    }
    for (earlier, later) in [
        ("app-", "app"),
        ("app$", "app"),
        ("app", "(?i)app"),
        ("[a-z]+$", "app"),
        (".*\\.tar", "app"),
        (".+x", "ax?"),
        ("[a-z]", "中文"),
        (r"\bapp", "app"),
        ("(?!x)", "app"),
        ("app(?=-)", "app-1"),
        (".{3}", "ab"),
        ("a{3}", "a{2,}"),
    ] {
        assert!(!takes(earlier, later), "{earlier} {later}");
    }
    let [all, paths] = [".*", "trunk/"].map(|text| Pattern::new(text).expect(text));
    assert!(takes_all_of(&all, &paths, Texts::Paths));
    assert!(!takes_all_of(&paths, &all, Texts::Paths));
    for (pattern, expected) in [
        ("app-[0-9]+", Example::Text("app-0".to_owned())),
        (".*", Example::Text("a".to_owned())),
        ("中+", Example::Text("中".to_owned())),
        ("a/b", Example::Nothing),
        ("a^b", Example::Nothing),
        ("a$b", Example::Nothing),
        ("(?=a)b", Example::Unknown),
    ] {
        let pattern = Pattern::new(pattern).expect("valid");
        assert_eq!(
            example(&pattern, Texts::Names),
            expected,
            "{}",
            pattern.source()
        );
    }
}

#[test]
fn check_proves_what_earlier_rules_take_and_names_them() {
    let env = TestEnv::new();
    let rules = [
        ("app-[0-9]+", "", ""),
        (
            "app-[0-9][0-9]\\.tar$",
            "",
            "is never reached: rule [app-[0-9]+] at line 4",
        ),
        ("app-[a-z]", "path_pattern = trunk/", ""),
        (
            "app-[a-c]",
            "path_pattern = trunk/web/",
            "is never reached: rule [app-[a-z]] at line 8",
        ),
        ("app-[a-d]", "path_pattern = branches/", ""),
        ("app-[a-e]", "", ""),
        ("web$x", "", "never matches"),
        ("^(web|db)", "", ""),
        (
            "(db|web)",
            "",
            "is never reached: rule [^(web|db)] at line 18 takes the very same names",
        ),
        ("[\\s\\S]", "", ""),
        (
            "(?=late)late",
            "",
            "is never reached: rule [[\\s\\S]] at line",
        ),
    ];
    let mut text = "[DEFAULT]\nhost = h\nlogin = l\n".to_owned();
    let mut expected = Vec::new();
    for (name, path, told) in rules {
        let line = text.lines().count() + 1;
        if !told.is_empty() {
            expected.push(format!("rules.cfg:{line}: rule [{name}] {told}"));
        }
        writeln!(text, "[{name}]\n{path}").unwrap();
    }
    let config = env.write("rules.cfg", &text);
    let ran = env
        .run(&["--config", config.to_str().unwrap(), "check"])
        .exits(0);
    for told in &expected {
        assert!(ran.stdout.contains(told), "{told}: {ran}");
    }
    let accused = ran
        .stdout
        .lines()
        .filter(|line| line.contains("never"))
        .count();
    assert_eq!(accused, expected.len(), "{ran}");
}
