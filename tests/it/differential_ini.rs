//! The same hostile rules files and netrc files to Python's own modules and to ours: the same sections,
//! keys, values and refused lines, but for the deliberate differences, which Python's side recognises
//! one by one:
//!
//! - `byte order mark`: Python refuses a file that begins with one; we read it.
//! - `bare %`: Python refuses a `%` that neither `%` nor `(` follows when the key is used; we take it
//!   literally.
//! - `comment …`: in netrc Python takes the words of a comment for keywords when an empty line stands
//!   before it, or when no blank follows the `#` at the top level; for us a comment ends with its line.
//!
//! `AD_SEED` overrides the seed.

#[expect(
    clippy::format_push_string,
    reason = "what is generated should be seen at a glance"
)]
mod generate;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

use auto_dispatcher::config::ini::{BadReference, Document, Section};
use auto_dispatcher::config::netrc::Netrc;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::testenv::{Ran, TestEnv};

const REFERENCE: &str = include_str!("differential_ini/reference.py");
const FILES: usize = 6000;

#[test]
fn rules_files_are_read_as_python_reads_them() {
    compare_all("ini", generate::rules_file, ini_answer, ini_agrees);
}

#[test]
fn netrc_files_are_read_as_python_reads_them() {
    compare_all(
        "netrc",
        generate::netrc_file,
        netrc_answer,
        |meant, ours| meant == ours,
    );
}

fn compare_all(
    kind: &str,
    generate: impl Fn(&mut Rng) -> String,
    answer: impl Fn(&str) -> Value,
    agrees: impl Fn(&Value, &Value) -> bool,
) {
    let seed = std::env::var("AD_SEED").map_or(20_160_725, |seed| {
        seed.parse().expect("AD_SEED is a number")
    });
    let mut rng = Rng::with_seed(seed);
    let texts: Vec<String> = (0..FILES).map(|_| generate(&mut rng)).collect();
    let requests: Vec<String> = texts
        .iter()
        .map(|text| json!({ "kind": kind, "text": text }).to_string())
        .collect();
    let env = TestEnv::new();
    let requests = env.write("requests", requests.join("\n"));
    let ran = Ran::of(
        Command::new(python())
            .args(["-c", REFERENCE])
            .arg(&requests),
    )
    .exits(0);
    let references = ran.json();
    assert_eq!(references.len(), texts.len());

    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (text, reference) in texts.iter().zip(&references) {
        let ours = answer(text);
        let meant = &reference["meant"];
        assert!(
            agrees(meant, &ours),
            "seed {seed}: Python and we differ on\n{text:?}\nPython, differences put in: {meant}\nwe: {ours}\nplain Python: {}",
            reference["plain"]
        );
        let verdict = if meant.get("refused").is_some() {
            "both refuse"
        } else {
            "both read"
        };
        *counts.entry(verdict.to_owned()).or_default() += 1;
        let differences = reference["differences"].as_array().unwrap();
        assert!(
            !differences.is_empty() || reference["plain"] == *meant,
            "{reference}"
        );
        for difference in differences {
            *counts
                .entry(format!("deliberate: {}", difference.as_str().unwrap()))
                .or_default() += 1;
        }
    }
    eprintln!(
        "differential test of {kind}, seed {seed}, {} files: {counts:?}",
        texts.len()
    );
    for verdict in ["both refuse", "both read"] {
        let count = counts.get(verdict).copied().unwrap_or(0);
        assert!(
            count > FILES / 10,
            "only {count} of {FILES} files are such that {verdict}"
        );
    }
}

/// Debian's Python where it is new enough, else the one of PATH.
fn python() -> &'static str {
    let is_new_enough = |program: &&str| {
        let test = "import sys; sys.exit(sys.version_info < (3, 11))";
        Command::new(program)
            .args(["-c", test])
            .status()
            .is_ok_and(|status| status.success())
    };
    ["/usr/bin/python3", "python3"]
        .into_iter()
        .find(is_new_enough)
        .expect("Python 3.11 or newer: apt-get install python3")
}

fn ini_answer(text: &str) -> Value {
    let document = match Document::parse(Path::new("f"), text.as_bytes()) {
        Ok(document) => document,
        Err(mistakes) => {
            let lines: Vec<_> = mistakes
                .0
                .iter()
                .filter_map(|finding| finding.line)
                .collect();
            return json!({ "refused": true, "lines": lines });
        }
    };
    let own = |section: &Section| -> Vec<Value> {
        let raw = |key: &str| {
            document
                .get_raw(section, key)
                .expect("it is there")
                .text
                .to_string()
        };
        section
            .entries
            .iter()
            .map(|entry| json!([entry.key, raw(&entry.key)]))
            .collect()
    };
    let value = |section: &Section, key: &str| match document.get(section, key) {
        Ok(value) => json!({ "text": value.expect("it is there").text.as_str() }),
        Err(BadReference::Missing) => json!({ "error": "InterpolationMissingOptionError" }),
        Err(BadReference::TooDeep) => json!({ "error": "InterpolationDepthError" }),
        Err(BadReference::Unfinished) => json!({ "error": "InterpolationSyntaxError" }),
        Err(error) => json!({ "error": error.to_string() }),
    };
    let sections = document.sections.iter().map(|section| {
        let inherited = document
            .defaults
            .entries
            .iter()
            .filter(|entry| !section.entries.iter().any(|own| own.key == entry.key));
        let all = section.entries.iter().chain(inherited);
        let all: Vec<Value> = all
            .map(|entry| json!([entry.key, value(section, &entry.key)]))
            .collect();
        json!({ "name": section.name, "own": own(section), "all": all })
    });
    json!({ "defaults": own(&document.defaults), "sections": sections.collect::<Vec<_>>() })
}

/// Where Python refuses, its lines are among ours; where it goes on after a mistake, they are ours.
fn ini_agrees(meant: &Value, ours: &Value) -> bool {
    let Some(error) = meant["refused"].as_str() else {
        return meant == ours;
    };
    let lines = |answer: &Value| -> Vec<u64> {
        answer["lines"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_u64)
            .collect()
    };
    let (theirs, ours) = (lines(meant), lines(ours));
    if error == "ParsingError" {
        theirs == ours
    } else {
        theirs.iter().all(|line| ours.contains(line)) && !ours.is_empty()
    }
}

fn netrc_answer(text: &str) -> Value {
    let Ok(netrc) = Netrc::parse(Path::new("netrc"), text.as_bytes()) else {
        return json!({ "refused": true });
    };
    let hosts: HashMap<&str, Value> = netrc
        .entries
        .iter()
        .map(|entry| {
            (
                entry.machine.as_str(),
                json!([entry.login, entry.account.expose(), entry.password.expose()]),
            )
        })
        .collect();
    json!({ "hosts": hosts })
}
