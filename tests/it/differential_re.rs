//! Our reading of regular expressions against Python's `re`, on generated patterns and names. `AD_SEED` gives
//! another seed, `AD_PATTERNS` another number of patterns.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use auto_dispatcher::domain::pattern::Pattern;
use serde_json::{Value, json};

use crate::re_generator::Generator;

/// Asked one JSON line a pattern, it answers with one. A match that takes too long is null.
const ORACLE: &str = r#"
import sys, json, re, signal, warnings
warnings.simplefilter("ignore")
class Late(Exception): pass
def late(*_): raise Late()
signal.signal(signal.SIGALRM, late)
for line in sys.stdin:
    asked = json.loads(line)
    try:
        compiled = re.compile(asked["pattern"])
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        print(json.dumps({"error": str(error)}))
        continue
    answers = []
    for name in asked["names"]:
        signal.setitimer(signal.ITIMER_REAL, 1)
        try:
            answers.append(compiled.match(name) is not None)
        except Late:
            answers.append(None)
        signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps({"matches": answers}))
"#;

/// The Python to compare with: the system's if it is new enough, else the one in PATH.
pub(crate) fn python() -> &'static str {
    for python in ["/usr/bin/python3", "python3"] {
        let check = "import sys; sys.exit(sys.version_info < (3, 11))";
        let status = Command::new(python)
            .args(["-c", check])
            .stderr(Stdio::null())
            .status();
        if status.is_ok_and(|status| status.success()) {
            return python;
        }
    }
    panic!("these tests compare with Python 3.11 or later: install the Debian package python3");
}

/// Runs a Python program over `input` and returns the JSON lines that it prints.
fn ask_python(program: &str, input: &str) -> Vec<Value> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(input.as_bytes()).expect("written");
    std::io::Seek::rewind(&mut file).expect("rewound");
    let output = Command::new(python())
        .args(["-c", program])
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(file)
        .output()
        .expect("python runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

pub(crate) fn seed() -> u64 {
    std::env::var("AD_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_240_311)
}

struct Asked {
    pattern: String,
    names: Vec<String>,
}

/// Differences that are meant, each with its count; everything else fails the test.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<&'static str, usize>,
    differences: Vec<String>,
}

impl Tally {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn differs(&mut self, what: String) {
        self.differences.push(what);
    }
}

fn compare(asked: &Asked, answer: &Value, tally: &mut Tally) {
    let ours = Pattern::new(&asked.pattern);
    let pattern = match (ours, answer["error"].as_str()) {
        (Ok(pattern), None) => pattern,
        (Err(error), Some(message)) => {
            tally.count("refused by both");
            if error.message == message {
                tally.count("refused in the same words");
            } else if error.message.contains("are not known here") {
                tally.count("meant: another message for \\N{...}");
            } else {
                tally.differs(format!(
                    "message for {:?}: Python {message:?}, we {:?}",
                    asked.pattern, error.message
                ));
            }
            return;
        }
        (Err(error), None)
            if error.message.contains("character names such as")
                && asked.pattern.contains("\\N{") =>
        {
            tally.count("meant: \\N{...} is not known");
            return;
        }
        (ours, theirs) => {
            let ours = ours.err();
            tally.differs(format!(
                "validity of {:?}: Python's error {theirs:?}, ours {ours:?}",
                asked.pattern
            ));
            return;
        }
    };
    tally.count("patterns accepted by both");
    let matches = answer["matches"].as_array().expect("matches");
    assert_eq!(matches.len(), asked.names.len());
    for (name, theirs) in asked.names.iter().zip(matches) {
        match (pattern.matches_at_start(name), theirs.as_bool()) {
            (Ok(ours), Some(theirs)) if ours == theirs => {
                tally.count(if ours {
                    "matched by both"
                } else {
                    "matched by neither"
                });
            }
            (Ok(_), None) => tally.count("meant: Python takes more than a second, we answer"),
            (Err(error), _) if error.message.contains("given up") => {
                tally.count("meant: given up by us");
            }
            (Err(error), _)
                if error.message.contains("too large") && holds_a_large_count(&asked.pattern) =>
            {
                tally.count("meant: too large for us");
            }
            (Ok(_), Some(_)) if has_a_possessive_group(&asked.pattern) => {
                tally.count(PYTHON_POSSESSIVE);
            }
            (Ok(_), Some(_)) if asked.pattern.contains("(?(") => tally.count(CONDITIONAL_LOOP),
            (ours, theirs) => {
                tally.differs(format!(
                    "{:?} on {name:?}: Python {theirs:?}, we {ours:?}",
                    asked.pattern
                ));
            }
        }
    }
}

fn holds_a_large_count(pattern: &str) -> bool {
    pattern
        .split(['{', ','])
        .any(|part| part.chars().take_while(char::is_ascii_digit).count() >= 4)
}

/// Python up to 3.11.4 leaves traces of the turns of `(...)*+` that fail (gh-101955, gh-106052).
const PYTHON_POSSESSIVE: &str = "meant: Python mistakes a possessive group";
/// A repetition whose first turn takes nothing ends with it here; Python may go on when a conditional then
/// chooses otherwise.
const CONDITIONAL_LOOP: &str = "meant: conditional in a repetition";

fn has_a_possessive_group(pattern: &str) -> bool {
    pattern.match_indices(')').any(|(at, _)| {
        let rest = &pattern[at + 1..];
        let counted = rest
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'))
            .map(|(_, after)| after);
        counted
            .or_else(|| rest.strip_prefix(['*', '+', '?']))
            .is_some_and(|after| after.starts_with('+'))
    })
}

#[test]
fn generated_patterns_and_names_are_judged_as_python_does() {
    let patterns: usize = std::env::var("AD_PATTERNS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(8_000);
    let seed = seed();
    let mut generator = Generator::new(seed);
    let asked: Vec<Asked> = (0..patterns)
        .map(|_| {
            let (pattern, names) = generator.pattern_and_names(8);
            Asked { pattern, names }
        })
        .collect();
    let lines: Vec<String> = asked
        .iter()
        .map(|asked| json!({"pattern": asked.pattern, "names": asked.names}).to_string())
        .collect();
    let answers = ask_python(ORACLE, &(lines.join("\n") + "\n"));
    assert_eq!(answers.len(), asked.len());
    let mut tally = Tally::default();
    for (asked, answer) in asked.iter().zip(&answers) {
        compare(asked, answer, &mut tally);
    }
    eprintln!(
        "seed {seed}, {} patterns, {} pairs: {:#?}",
        asked.len(),
        asked.len() * 8,
        tally.counts
    );
    assert!(
        tally.differences.is_empty(),
        "{} differences, seed {seed}:\n{}",
        tally.differences.len(),
        tally
            .differences
            .iter()
            .take(40)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
    let at_least = |what: &str, share: usize| {
        let count = tally.counts.get(what).copied().unwrap_or(0);
        assert!(
            count * share >= patterns,
            "too few {what} to say anything: {count}"
        );
    };
    for meant in [PYTHON_POSSESSIVE, CONDITIONAL_LOOP] {
        let count = tally.counts.get(meant).copied().unwrap_or(0);
        assert!(
            count * 200 <= patterns,
            "{meant}: {count} times is too often to be that"
        );
    }
    at_least("refused by both", 10);
    at_least("patterns accepted by both", 3);
    at_least("matched by both", 1);
    at_least("matched by neither", 1);
}

/// Every character that a category takes, as ranges.
const CATEGORIES: &str = r"
import sys, json, re
for line in sys.stdin:
    takes = re.compile(json.loads(line)).match
    print(json.dumps([c for c in range(0x110000) if not 0xd800 <= c < 0xe000 and takes(chr(c))]))
";

#[test]
fn categories_hold_the_characters_that_python_counts() {
    let patterns = [r"\w", r"\d", r"\s"];
    let input: String = patterns
        .iter()
        .map(|pattern| json!(pattern).to_string() + "\n")
        .collect();
    for (pattern, theirs) in patterns.iter().zip(ask_python(CATEGORIES, &input)) {
        let compiled = Pattern::new(pattern).expect("valid");
        let mut buffer = [0; 4];
        let ours: Vec<u32> = ('\0'..=char::MAX)
            .filter(|c| {
                compiled
                    .matches_at_start(c.encode_utf8(&mut buffer))
                    .expect("decided")
            })
            .map(u32::from)
            .collect();
        let theirs: Vec<u32> = serde_json::from_value(theirs).expect("numbers");
        assert!(theirs.len() > 20);
        assert!(
            ours == theirs,
            "{pattern} differs, first at {:?}",
            ours.iter().zip(&theirs).find(|(a, b)| a != b)
        );
    }
}

/// For each character with another case: what it matches, alone, in a set, in a negated set and as the
/// end of a range, without regard to case.
const CASES: &str = r#"
import json, re, _sre
cased = [chr(c) for c in range(0x110000) if not 0xd800 <= c < 0xe000 and _sre.unicode_iscased(c)]
text = "".join(cased)
for c in cased:
    shapes = ["(?i)" + c, "(?i)[%s.]" % c, "(?i)[%s-\\U%08x]" % (c, ord(c) + 3)]
    print(json.dumps([c, [["".join(re.findall(shape, text)), shape] for shape in shapes]]))
"#;

#[test]
fn characters_match_their_other_cases_as_in_python() {
    let answers = ask_python(CASES, "");
    assert!(answers.len() > 2_000);
    for answer in answers {
        let c = answer[0]
            .as_str()
            .and_then(|c| c.chars().next())
            .expect("a character");
        for shape in answer[1].as_array().expect("shapes") {
            let theirs = shape[0].as_str().expect("matches");
            let source = shape[1].as_str().expect("pattern");
            let pattern = Pattern::new(source).expect("valid");
            let neighbours = c
                .to_lowercase()
                .chain(c.to_uppercase())
                .chain(theirs.chars());
            for x in neighbours {
                let is_cased =
                    x.to_lowercase().next() != Some(x) || x.to_uppercase().next() != Some(x);
                let ours = pattern.matches_at_start(&x.to_string()).expect("decided");
                assert!(
                    !is_cased || ours == theirs.contains(x),
                    "{source:?} on {x:?}: Python {}",
                    !ours
                );
            }
        }
    }
}
