//! Tests of `domain::pattern`.

use super::*;

fn matches(pattern: &str, text: &str) -> bool {
    Pattern::new(pattern)
        .expect(pattern)
        .matches_at_start(text)
        .expect(pattern)
}

fn refusal(pattern: &str) -> String {
    Pattern::new(pattern).expect_err(pattern).message
}

#[test]
fn patterns_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Pattern>();
}

#[test]
fn a_match_begins_at_the_start_and_need_not_reach_the_end() {
    assert!(matches("ibps", "ibps-1.tar"));
    assert!(!matches("bps", "ibps-1.tar"));
    assert!(matches("", ""));
    assert!(matches("a|ab$", "abc"));
    assert!(!matches("(?m)^b", "a\nb"));
}

#[test]
fn what_other_dialects_read_otherwise_is_read_as_python_does() {
    for (pattern, text) in [
        (r"a\Z", "a"),
        ("a{,2}b", "aab"),
        ("a{1, 2}", "a{1, 2}"),
        ("{x", "{x"),
        ("a(?# comment)b", "ab"),
        (r"\101\x41\u0041\U00000041\0", "AAAA\0"),
        ("[[a]", "["),
        ("[a&&b]", "&"),
        ("[a~~b]", "~"),
        ("[+--]", ","),
        (r"\<a", "<a"),
        ("[[:digit:]]", "d]"),
        ("(?x)a [ ] b # comment", "a b"),
        ("a$", "a\n"),
        (r"\w", "\u{2460}"),
        (r"\s", "\x1c"),
        (r"\d", "\u{665}"),
        ("中{2}", "中中"),
    ] {
        assert!(matches(pattern, text), "{pattern:?} must match {text:?}");
    }
    for (pattern, text) in [
        (r"a\Z", "a\n"),
        ("a$", "a\nb"),
        ("a$", "a\n\n"),
        (".", "\n"),
        (r"\d", "\u{b2}"),
        (r"\B", ""),
        ("a++a", "aa"),
    ] {
        assert!(
            !matches(pattern, text),
            "{pattern:?} must not match {text:?}"
        );
    }
}

#[test]
fn case_is_folded_as_python_does() {
    for (pattern, text) in [
        ("(?i)ſ", "S"),
        ("(?i)k", "\u{212a}"),
        ("(?i)i", "\u{130}"),
        ("(?i)[s]x", "ſX"),
        ("(?i)[a-z]", "\u{212a}"),
        ("(?i:A)b", "ab"),
        ("(?i)ä", "Ä"),
    ] {
        assert!(matches(pattern, text), "{pattern:?} must match {text:?}");
    }
    for (pattern, text) in [
        ("(?i)ß", "ss"),
        ("(?ai)k", "\u{212a}"),
        ("(?i:A)b", "aB"),
        ("(?i)(?-i:a)", "A"),
    ] {
        assert!(
            !matches(pattern, text),
            "{pattern:?} must not match {text:?}"
        );
    }
}

#[test]
fn what_needs_backtracking_gets_it() {
    for (pattern, text) in [
        ("(?!web)a", "ab"),
        (r"(?P<x>a|b)-(?P=x)", "b-b"),
        ("(a)?(?(1)b|c)", "ab"),
        ("(a)?(?(1)b|c)", "c"),
        (r"[\w-]+(?<=-\d)\.tar", "web-1.tar"),
    ] {
        assert!(matches(pattern, text), "{pattern:?} must match {text:?}");
    }
    for (pattern, text) in [
        ("(?>a*)a", "aaa"),
        (r"(a)?\1b", "b"),
        ("(?:a|ab){2}+c", "ababc"),
    ] {
        assert!(
            !matches(pattern, text),
            "{pattern:?} must not match {text:?}"
        );
    }
}

#[test]
fn endless_backtracking_is_an_error_and_no_answer() {
    let pattern = Pattern::new(r"(a|a|aa)+\1?(?=b)b").expect("valid");
    let error = pattern
        .matches_at_start(&("a".repeat(60) + "cb"))
        .expect_err("gives up");
    assert!(error.message.contains("given up"), "{error}");
}

#[test]
fn what_python_refuses_is_refused_in_its_words() {
    for (pattern, message) in [
        ("*a", "nothing to repeat at position 0"),
        ("^*", "nothing to repeat at position 1"),
        ("a**", "multiple repeat at position 2"),
        ("(a", "missing ), unterminated subpattern at position 0"),
        ("a)(b", "unbalanced parenthesis at position 1"),
        ("[a", "unterminated character set at position 0"),
        ("[z-a]", "bad character range z-a at position 1"),
        (r"\q", r"bad escape \q at position 0"),
        (r"a\", "bad escape (end of pattern) at position 1"),
        ("a{2,1}", "min repeat greater than max repeat at position 2"),
        ("(?<=a*)b", "look-behind requires fixed-width pattern"),
        (
            "b(?i)a",
            "global flags not at the start of the expression at position 1",
        ),
        (
            "(?L)a",
            "bad inline flags: cannot use 'L' flag with a str pattern at position 3",
        ),
        (r"\1", "invalid group reference 1 at position 1"),
        ("(?P<1>a)", "bad character in group name '1' at position 4"),
        (
            "a\n[",
            "unterminated character set at position 2 (line 2, column 1)",
        ),
    ] {
        assert_eq!(refusal(pattern), message, "{pattern:?}");
    }
    assert!(refusal(r"\N{EM DASH}").contains("write \\uXXXX"));
    assert!(refusal(&("(".repeat(5000) + &")".repeat(5000))).contains("nested more than"));
}

#[test]
fn strings_that_must_occur_are_found() {
    let required = |pattern: &str| -> Vec<String> {
        let pattern = Pattern::new(pattern).expect(pattern);
        pattern
            .required()
            .iter()
            .map(|any_of| any_of.join("|"))
            .collect()
    };
    assert_eq!(required(".*Name123.*"), ["name123"]);
    assert_eq!(required(r"^[Ww]eb-\d+\.tar"), ["web-", ".tar"]);
    assert_eq!(required("(?:foo|ba+r)x?z{3}"), ["zzz", "ba|foo"]);
    assert_eq!(required(r"(?:\dy){2}"), ["y"]);
    assert_eq!(required("(?i)Straße"), ["straße"]);
    assert_eq!(required("a?|b"), [""; 0]);
    assert_eq!(required("(?!no)yes"), ["yes"]);
}

#[test]
fn what_takes_too_long_to_read_is_refused_when_it_runs_and_plain_names_are_none_the_wiser() {
    let pattern = Pattern::new(&r"(?:\b.)?".repeat(10_000)).expect("valid");
    let refusal = pattern
        .matches_at_start("é")
        .expect_err("10,000 times all letters");
    assert!(refusal.message.contains("too long"), "{refusal}");
    assert_eq!(pattern.matches_at_start("app"), Ok(true));
}
