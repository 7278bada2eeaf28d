//! `explain` and `check` as they look at 80 and 120 columns, and what they say of every kind of rule and of many.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::testenv::{Ran, TestEnv};

/// The home's file, by a path that is the same wherever the home lies: messages are wrapped alike.
const CONFIG: &str = "/proc/self/cwd/rules.cfg";

fn run(env: &TestEnv, columns: Option<usize>, args: &[&str]) -> Ran {
    let mut command = env.command();
    command.args(["--config", CONFIG, "--netrc", "/proc/self/cwd/.netrc"]);
    if let Some(columns) = columns {
        command.env("COLUMNS", columns.to_string());
    }
    Ran::of(command.args(args))
}

fn environment(rules: &str) -> TestEnv {
    let env = TestEnv::new();
    env.write("home/rules.cfg", rules);
    env.write(
        "home/.netrc",
        "machine h1\n  login me password sEcReT-1\nmachine 10.8.6.10 login ops password sEcReT-2\n",
    );
    env
}

fn is_as_wide(shown: &str, columns: usize) {
    for line in shown.lines() {
        let width = unicode_width::UnicodeWidthStr::width(line);
        assert!(width <= columns, "{columns}: {line}");
    }
}

const RULES: &str = r"[DEFAULT]
retries = 3
[app-.*\.tar$]
host = h1, 10.8.6.10
dest_dir = ~/incoming
install_command = cd {dest_dir} && ./install.sh --revision {revision} --name {package} --log /var/log/newcx/{package}.log
file_mode = 0640
on_failure = stop
ssh_port = 2222
[(?i)\w+-bank]
login = deploy
password = sEcReT-3
host = h2
path_pattern = trunk/release/
host_key = strict
known_hosts = /etc/hosts
stall_timeout = 5m
install_command = ./x
install_mode = plain
install_idempotent = yes
[app]
host = h3
[.*]
host = h4
path_pattern = branches/
[(?=core)core.*]
host = h5
login = l
password_command = /bin/echo x
";

#[test]
fn explain_says_why_at_every_width() {
    let env = environment(RULES);
    let names = [
        "app-1.0.tar",
        "trunk/release/Core-Bank-核心.tar",
        "app",
        "core-2",
        "CORE",
        "xapp-1",
        "trunk/x-bank",
    ];
    let mut args = vec!["explain", "--revision", "42"];
    args.extend(names);
    for columns in [40, 80, 120] {
        let ran = run(&env, Some(columns), &args).exits(1);
        is_as_wide(&ran.stdout, columns);
        if columns > 40 {
            let mut settings = insta::Settings::clone_current();
            settings.add_filter(r"\d{8}_\d{6}", "20261124_120000");
            settings.bind(|| insta::assert_snapshot!(format!("explain_{columns}"), ran.stdout));
        }
    }
}

#[test]
fn explain_tells_programs_the_same_behind_the_names_that_are_kept() {
    let env = environment(RULES);
    let ran = run(
        &env,
        None,
        &["explain", "--json", "app-1.0.tar", "trunk/release/a-bank"],
    )
    .exits(0);
    let told = ran.json();
    let names: Vec<&str> = told[0]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        names,
        [
            "package",
            "rule",
            "host",
            "login",
            "account",
            "dest_dir",
            "install_command",
            "password_source",
            "password_set",
            "file",
            "line",
            "matched",
            "path_matched",
            "pattern",
            "transports",
            "ssh_port",
            "ftp_port",
            "remote_path",
            "command",
            "later"
        ]
    );
    assert_eq!(told[0]["line"], 3);
    assert_eq!(told[0]["login"], json!(["me", "ops"]));
    assert_eq!(told[0]["later"], json!([{ "rule": "app", "line": 21 }]));
    let command = told[0]["command"].as_str().unwrap();
    assert!(
        command.contains("--revision {revision} --name 'app-1.0.tar' --log"),
        "{command}"
    );
    assert_eq!(told[1]["matched"], "a-bank");
    assert_eq!(told[1]["path_matched"], "trunk/release/");
}

#[test]
fn check_looks_well_at_every_width() {
    let env = environment(
        r"[DEFAULT]
login = l
hots = h9
[nohost]
[app-.*\.tar$]
host = h1
install_command = ./install.sh {pacakge} ${path} {PATH}
dest_dir = incoming/../x
[app-1\.tar$]
host = 10.8.6.300, web..bank
transports = ftp
install_command = ./x
[key]
host = h2
identity_file = /nowhere/id
ca_file = /nowhere/ca.pem
known_hosts = /nowhere/known
host_key = strict
password_command = no-such-program --for production
[command]
host = h3
password_command = /etc/passwd
known_hosts = /nowhere/known
dest_dir = ~tom/$HOME
[(a+)+(?=b)]
host = h4
dest_dir = /x /y
[trunk/web]
host = h5
",
    );
    for columns in [40, 80, 120] {
        let ran = run(&env, Some(columns), &["check"]).exits(3);
        is_as_wide(&ran.stdout, columns);
        if columns > 40 {
            insta::assert_snapshot!(format!("check_{columns}"), ran.stdout);
        }
    }
    let lines = run(&env, None, &["check"]).exits(3).stdout;
    let told = run(&env, None, &["check", "--json"]).exits(3).json();
    assert_eq!(told.len() + 1, lines.lines().count());
    for (line, told) in lines.lines().zip(&told) {
        let expected = format!(
            "{}: {}:{}: ",
            told["level"].as_str().unwrap(),
            told["file"].as_str().unwrap(),
            told["line"]
        );
        assert!(line.starts_with(&expected), "{line} {expected}");
    }
}

#[test]
fn check_misses_what_the_settings_name() {
    let env = environment("[a]\nhost = h\nlogin = l\ntransports = ssh\n");
    let there = env.path("there");
    std::fs::create_dir(&there).unwrap();
    env.write(
        "home/auto-dispatcher.cfg",
        format!(
            "[auto-dispatcher]\nsvnlook = /nowhere/svnlook\nsvnadmin = /nowhere/svnadmin\nrepositories = /nowhere/svn/*\n  /nowhere/one\n  {0}\n  {0}/*\n",
            there.display()
        ),
    );
    let ran = run(&env, None, &["check"]).exits(0);
    for told in [
        "no program /nowhere/svnlook",
        "no program /nowhere/svnadmin",
        "no /nowhere/svn,",
        "no /nowhere/one,",
        "0 errors, 4 warnings, 0 notes",
    ] {
        assert!(ran.stdout.contains(told), "{told}: {ran}");
    }
}

#[test]
fn warnings_count_where_check_is_strict() {
    let env = environment("[a]\nhost = h\nlogin = l\ntransports = ssh\nhots = x\n");
    run(&env, None, &["check"]).exits(0);
    run(&env, None, &["check", "--strict"]).exits(3);
    let told = run(&env, None, &["check", "--strict", "--json"])
        .exits(3)
        .json();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["level"], "warning");
    // A note is worth knowing and no mistake.
    let env = environment("[a]\nhost = h\nlogin = l\ntransports = ssh\ndest_dir = in\n");
    let ran = run(&env, None, &["check", "--strict"]).exits(0);
    assert!(
        ran.stdout.ends_with("0 errors, 0 warnings, 1 note\n"),
        "{ran}"
    );
}

#[test]
fn many_rules_are_checked_and_explained() {
    let mut rules = "[DEFAULT]\nlogin = l\ntransports = ssh\n".to_owned();
    for number in 0..1_200 {
        let name = match number % 4 {
            0 => format!("pkg{number}-"),
            1 => format!(r"[a-z]+-{number}\.tar$"),
            2 => format!(r"(?i)mod_{number}[._-]v?[0-9]+"),
            _ => format!(r"(core|web|db){number}-\d+"),
        };
        writeln!(rules, "[{name}]\nhost = web{number}").unwrap();
    }
    rules.push_str("[pkg0-9]\nhost = web\n");
    let env = environment(&rules);
    let ran = run(&env, None, &["check"]).exits(0);
    assert!(
        ran.stdout.contains("rule [pkg0-9] is never reached"),
        "{ran}"
    );
    assert!(
        ran.stdout.ends_with("0 errors, 1 warning, 0 notes\n"),
        "{ran}"
    );
    run(&env, None, &["explain", "core1199-"]).exits(1);
}

#[test]
fn no_secret_is_explained() {
    let env = environment(RULES);
    // TestEnv and Ran look for the secrets in whatever is written or printed.
    for args in [
        &["explain", "trunk/release/a-bank", "app-1.tar"][..],
        &["check"],
    ] {
        let ran = run(&env, Some(80), args);
        assert!(!ran.stdout.contains("sEcReT"), "{ran}");
    }
    let told: Vec<Value> = run(&env, None, &["explain", "--json", "app-1.tar"])
        .exits(0)
        .json();
    assert_eq!(told[0]["password_source"], "netrc");
}
