//! The configuration cases of `tests/cases/config`, through the binary, as their README says.

use std::collections::HashSet;

use chrono::{Local, NaiveDateTime};
use serde_json::Value;

use crate::testenv::{Ran, TestEnv};

const CASES: &str = include_str!("../cases/config/cases.json");

/// For these an empty text and null are the same.
const EMPTY_IS_NULL: [&str; 3] = ["login", "account", "install_command"];

const COMPARED: [&str; 7] = [
    "rule",
    "host",
    "login",
    "account",
    "dest_dir",
    "install_command",
    "password_source",
];

#[test]
fn every_case_is_answered_as_python_answers_it() {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    let names: HashSet<&str> = cases
        .iter()
        .map(|case| case["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), cases.len(), "names are unique");
    let mut failures = Vec::new();
    for case in cases {
        if let Err(why) = run_case(case) {
            failures.push(format!("{} ({}): {why}", case["name"], case["what"]));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases fail:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

fn run_case(case: &Value) -> Result<(), String> {
    let env = TestEnv::new();
    let config = env.write("case.cfg", case["cfg"].as_str().unwrap());
    let mut command = env.command();
    command.arg("--config").arg(&config);
    if let Some(netrc) = case["netrc"].as_str() {
        command.arg("--netrc").arg(env.write("case.netrc", netrc));
    }
    command.args(["explain", "--json"]);
    command.args(
        case["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap()),
    );
    let ran = Ran::of(&mut command);
    for secret in case["secrets"].as_array().unwrap() {
        let secret = secret.as_str().unwrap();
        if ran.stdout.contains(secret) || ran.stderr.contains(secret) {
            return Err(format!("a secret is shown: {ran}"));
        }
    }
    if let Some(expected) = case["expect"].get("load_error") {
        return load_error(expected, &ran);
    }
    let expected = case["expect"]["packages"].as_array().unwrap();
    let answers: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    if answers.len() != expected.len() {
        return Err(format!("{} answers are expected: {ran}", expected.len()));
    }
    for (expected, answer) in expected.iter().zip(&answers) {
        compare(expected, answer)
            .map_err(|why| format!("{why}: expected {expected}, got {answer}"))?;
    }
    let all_well = answers.iter().all(|answer| answer.get("host").is_some());
    if ran.code != Some(i32::from(!all_well)) {
        return Err(format!("the exit code is wrong: {ran}"));
    }
    Ok(())
}

fn load_error(expected: &Value, ran: &Ran) -> Result<(), String> {
    let file = if expected["file"] == "netrc" {
        "case.netrc"
    } else {
        "case.cfg"
    };
    let named = match expected["line"].as_array() {
        Some(lines) => lines
            .iter()
            .any(|line| ran.stderr.contains(&format!("{file}:{line}:"))),
        None => ran.stderr.contains(file),
    };
    if ran.code == Some(3) && ran.stdout.is_empty() && named {
        Ok(())
    } else {
        Err(format!("no such load error: {ran}"))
    }
}

fn compare(expected: &Value, answer: &Value) -> Result<(), String> {
    if expected.get("error").is_some() {
        let text = answer["error"].as_str().unwrap_or_default();
        return if text.is_empty() {
            Err("an error is expected".to_owned())
        } else {
            Ok(())
        };
    }
    if expected["rule"].is_null() {
        let right = answer.get("rule") == Some(&Value::Null);
        return if right {
            Ok(())
        } else {
            Err("no rule is expected".to_owned())
        };
    }
    for field in COMPARED {
        let (want, got) = (&expected[field], &answer[field]);
        let alike = want == got
            || (EMPTY_IS_NULL.contains(&field) && is_nothing(want) && is_nothing(got))
            || (field == "dest_dir"
                && want == "@default"
                && is_fresh_stamp(got.as_str().unwrap_or_default()));
        if !alike {
            return Err(format!("`{field}` differs"));
        }
    }
    Ok(())
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value == ""
}

/// `~/newcx/` and the present time, a minute or so of patience granted.
fn is_fresh_stamp(directory: &str) -> bool {
    directory
        .strip_prefix("~/newcx/")
        .and_then(|stamp| NaiveDateTime::parse_from_str(stamp, "%Y%m%d_%H%M%S").ok())
        .is_some_and(|stamp| (Local::now().naive_local() - stamp).num_seconds().abs() < 90)
}
