//! `explain` and `check` as a person or a program uses them, and the examples in `conf/`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use auto_dispatcher::config::{logger, notifiers, rules, settings};
use auto_dispatcher::domain::log_settings::LogLevel;
use serde_json::Value;

use crate::testenv::{Ran, TestEnv};

fn with_config(env: &TestEnv, config: &Path, args: &[&str]) -> Ran {
    let mut command = env.command();
    command.arg("--config").arg(config).args(args);
    Ran::of(&mut command)
}

fn conf() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf")
}

#[test]
fn the_example_rules_load_without_a_warning_and_show_every_key() {
    let text = fs::read_to_string(conf().join("general-dispatch-info.cfg")).unwrap();
    let env = TestEnv::new();
    let path = env.write("general-dispatch-info.cfg", &text);
    let loaded = rules::load(&path, Some(Path::new("/home/ad"))).unwrap();
    assert_eq!(loaded.warnings, []);
    for rule in &loaded.set.rules {
        assert!(rule.terms.is_ok(), "{rule:?}");
    }
    for key in rules::KEYS {
        let shown = text.lines().any(|line| {
            line.trim_start_matches("# ")
                .starts_with(&format!("{key} = "))
        });
        assert!(
            shown,
            "`{key}` is missing in conf/general-dispatch-info.cfg"
        );
    }
}

#[test]
fn the_example_settings_are_the_defaults_and_show_every_key() {
    let path = conf().join("auto-dispatcher.cfg");
    let mut loaded = settings::load(&path, None).unwrap();
    assert_eq!(
        loaded.state_dir.take().as_deref(),
        Some(Path::new("/var/lib/auto-dispatcher"))
    );
    assert_eq!(
        loaded.svnlook.take().as_deref(),
        Some(Path::new("/usr/bin/svnlook"))
    );
    assert_eq!(
        loaded.svnadmin.take().as_deref(),
        Some(Path::new("/usr/bin/svnadmin"))
    );
    assert_eq!(loaded, settings::Settings::default());
    let text = fs::read_to_string(&path).unwrap();
    for key in settings::KEYS.iter().chain(&notifiers::KEYS) {
        assert!(
            // Some have no standard value.
            text.lines().any(|line| line
                .trim_start_matches('#')
                .starts_with(&format!("{key} = "))),
            "{key}"
        );
    }
}

#[test]
fn the_example_logger_is_the_default() {
    let dir = std::path::Path::new("/state");
    let mut standard = logger::standard(dir);
    standard.sinks[1].level = LogLevel::Debug;
    let example = logger::load(&conf().join("logger.cfg"), dir).unwrap();
    assert_eq!(example, Some((standard, Vec::new())));
}

#[test]
fn a_rules_file_with_passwords_that_everybody_can_read_is_refused_with_the_chmod_that_mends_it() {
    let env = TestEnv::new();
    let config = env.write(
        "rules.cfg",
        "[a]\nhost = h\nlogin = l\npassword = sEcReT-1\n",
    );
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = with_config(&env, &config, &["explain", "a.tar"]).exits(3);
    let (_, way_out) = ran.stderr.split_once("mend it with: ").unwrap();
    assert!(!ran.stderr.contains("sEcReT-1"), "{ran}");
    Ran::of(
        std::process::Command::new("sh")
            .arg("-c")
            .arg(way_out.trim()),
    )
    .exits(0);
    with_config(&env, &config, &["explain", "a.tar"]).exits(0);

    fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
    with_config(&env, &config, &["explain", "a.tar"]).exits(0);
    let open = env.write("open.cfg", "[a]\nhost = h\nlogin = l\n");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    with_config(&env, &open, &["explain", "a.tar"]).exits(0);
}

#[test]
fn a_netrc_that_everybody_can_read_is_refused() {
    let env = TestEnv::new();
    let config = env.write("rules.cfg", "[a]\nhost = h\n");
    let netrc = env.write("home/.netrc", "machine h login l password sEcReT-1\n");
    let ran = with_config(&env, &config, &["explain", "--json", "a.tar"]).exits(0);
    assert_eq!(ran.json()[0]["password_source"], "netrc");
    fs::set_permissions(&netrc, fs::Permissions::from_mode(0o604)).unwrap();
    let ran = with_config(&env, &config, &["explain", "a.tar"]).exits(3);
    assert!(
        ran.stderr.contains(".netrc: ") && ran.stderr.contains("chmod o-rwx"),
        "{ran}"
    );
}

#[test]
fn all_mistakes_of_rules_and_netrc_are_told_at_once_and_quote_no_value() {
    let env = TestEnv::new();
    let config = env.write(
        "rules.cfg",
        "[DEFAULT]\nretries = sEcReT-1\n[a]\nhost = h\nssh_port = sEcReT-1\ntransports = ssh, sEcReT-1\n[b]\nhost = h\n\
         host_key = sEcReT-1\nfile_mode = sEcReT-1\nconnect_timeout = 0\npassword_command = 'sEcReT-1\n",
    );
    env.write(
        "home/.netrc",
        "machine h\nlogin l password sEcReT-1 sEcReT-1\n",
    );
    let ran = with_config(&env, &config, &["explain", "a.tar"]).exits(3);
    for line in [2, 5, 6, 9, 10, 11, 12] {
        assert_eq!(
            ran.stderr.matches(&format!("rules.cfg:{line}:")).count(),
            1,
            "line {line}: {ran}"
        );
    }
    assert!(ran.stderr.contains(".netrc:2:"), "{ran}");
    assert!(!ran.stderr.contains("sEcReT-1"), "{ran}");

    let config = env.write(
        "broken.cfg",
        "sEcReT-1\n[a]\nhost = h\nsEcReT-1\n[a]\n[]\n = sEcReT-1\nhost: h\n",
    );
    let ran = with_config(&env, &config, &["explain", "a.tar"]).exits(3);
    for line in [1, 4, 5, 6, 7] {
        assert!(
            ran.stderr.contains(&format!("broken.cfg:{line}:")),
            "line {line}: {ran}"
        );
    }
    assert!(!ran.stderr.contains("sEcReT-1"), "{ran}");
}

#[test]
fn without_a_rules_file_every_place_and_the_way_out_are_told() {
    let env = TestEnv::new();
    let ran = env.run(&["explain", "a.tar"]).exits(3);
    for text in [
        "home/general-dispatch-info.cfg",
        "/etc/auto-dispatcher/general-dispatch-info.cfg",
        "--config",
    ] {
        assert!(ran.stderr.contains(text), "{text}: {ran}");
    }
    env.write("home/general-dispatch-info.cfg", "[a]\nhost = h\n");
    env.run(&["explain", "a.tar"]).exits(0);
}

#[test]
fn explain_shows_people_the_rule_its_place_and_what_it_shadows() {
    let env = TestEnv::new();
    let config = env.write(
        "rules.cfg",
        "[app]\nhost = web1, web2\nlogin = l\ninstall_command = sh {path}\n[ap]\nhost = h\n[b]\nhost = h\n[app_x]\nhost = h\n",
    );
    let ran = with_config(&env, &config, &["explain", "dir/app_1.tar", "none.tar"]).exits(1);
    for text in [
        "app_1.tar\n",
        "rules.cfg:1",
        "web1",
        "web2",
        "sh {path}",
        "[ap] at line 5",
        "none.tar: no rule takes it",
    ] {
        assert!(ran.stdout.contains(text), "{text}: {ran}");
    }
    assert!(!ran.stdout.contains("[app_x]"), "{ran}");
}

#[test]
fn explain_lists_several_hosts_and_what_differs_between_them() {
    let env = TestEnv::new();
    let config = env.write(
        "rules.cfg",
        "[app]\nhost = web1, web2\npassword_command = /no/such/program\n",
    );
    env.write(
        "home/.netrc",
        "machine web1 login a\nmachine web2 login b\n",
    );
    let ran = with_config(&env, &config, &["explain", "--json", "app"]).exits(0);
    let answer = ran.json().remove(0);
    assert_eq!(answer["host"], serde_json::json!(["web1", "web2"]));
    assert_eq!(answer["login"], serde_json::json!(["a", "b"]));
    assert_eq!(
        (&answer["password_source"], &answer["password_set"]),
        (&Value::from("command"), &Value::from(true))
    );
    let fields: Vec<&String> = answer.as_object().unwrap().keys().collect();
    let expected = [
        "package",
        "rule",
        "host",
        "login",
        "account",
        "dest_dir",
        "install_command",
        "password_source",
        "password_set",
    ];
    // What came later stands behind.
    assert_eq!(fields[..expected.len()], expected);
}

#[test]
fn a_reference_to_a_missing_key_spoils_its_own_rule_only() {
    let env = TestEnv::new();
    let config = env.write(
        "rules.cfg",
        "[bad]\nhost = h\nlogin = %(nil)s\n[good]\nhost = h\nlogin = l\n",
    );
    let ran = with_config(&env, &config, &["explain", "--json", "bad", "good"]).exits(1);
    let answers = ran.json();
    assert!(
        answers[0]["error"]
            .as_str()
            .unwrap()
            .contains("rules.cfg:3 "),
        "{ran}"
    );
    assert_eq!(answers[1]["login"], "l");
}

#[test]
fn a_password_leaks_through_no_reference() {
    let env = TestEnv::new();
    let config = env.write(
        "rules.cfg",
        "[DEFAULT]\npassword = sEcReT-1\n[app]\nhost = h\nlogin = l\ninstall_command = echo %(word)s\nword = %(password)s\n\
         [path]\nhost = h\nlogin = l\npath_pattern = (%(password)s\n[acc]\nhost = h\nlogin = l\naccount = %(password)s\n",
    );
    for args in [
        &["explain", "--json", "app", "path", "acc"][..],
        &["explain", "app", "path", "acc"],
        &["check"],
        &["check", "--json"],
    ] {
        let code = if args[0] == "check" { 3 } else { 1 };
        let ran = with_config(&env, &config, args).exits(code);
        for line in [6, 11, 15] {
            let told = format!("rules.cfg:{line} refers to %(password)s");
            assert!(ran.stdout.contains(&told), "{told}: {ran}");
        }
        assert!(!format!("{ran}").contains("sEcReT-1"), "{ran}");
    }
}

#[test]
fn check_tells_every_kind_of_mistake_and_oddity() {
    let env = TestEnv::new();
    let config = env.write(
        "rules.cfg",
        "[DEFAULT]\nbase = /srv\n[app]\nhost = h\nlogin = l\npassword = sEcReT-1\npasword = x\ndest_dir = %(base)s\n\
         [app_server]\nhost = h\nlogin = l\n[^/web]\nhost = h\nlogin = l\n[nohost]\nlogin = l\n\
         [key]\nhost = h\nlogin = l\nidentity_file = missing_key\n[plain]\nhost = h\nlogin = l\npassword = sEcReT-p\ntransports = ftp\nold_algorithms = yes\n",
    );
    env.write("auto-dispatcher.cfg", "[auto-dispatcher]\nworkers = 0\n");
    env.write("logger.cfg", "[loggers]\nkeys=root\n");
    let ran = with_config(&env, &config, &["check"]).exits(3);
    let expected = [
        ("warning", "rules.cfg:7: unknown key `pasword`"),
        (
            "warning",
            "rules.cfg:9: rule [app_server] is never reached: rule [app] at line 3 takes every name",
        ),
        (
            "warning",
            "rules.cfg:12: rule [^/web] never matches: names of packages have no `/`",
        ),
        (
            "error",
            "rules.cfg:15: rule [nohost] cannot serve: it has no `host`",
        ),
        (
            "error",
            "rules.cfg:17: the identity_file of rule [key] cannot be read",
        ),
        ("warning", "rules.cfg:21: rule [plain] lists `ftp`"),
        (
            "warning",
            "rules.cfg:3: 1 rule(s) from here on may send a password in clear",
        ),
        (
            "warning",
            "rules.cfg:21: 1 rule(s) from here on allow SSH algorithms that are no longer safe",
        ),
        ("error", "auto-dispatcher.cfg:2: `workers`"),
        ("error", "logger.cfg: section [handlers] is missing"),
    ];
    for (level, text) in expected {
        let found = ran
            .stdout
            .lines()
            .any(|line| line.starts_with(level) && line.contains(text));
        assert!(found, "{level} {text}: {ran}");
    }
    assert!(
        !ran.stdout.contains("`base`") && !ran.stdout.contains("sEcReT-1"),
        "{ran}"
    );
    let json = with_config(&env, &config, &["check", "--json"])
        .exits(3)
        .json();
    assert_eq!(json.len() + 1, ran.stdout.lines().count());
    assert!(
        json.iter()
            .all(|line| line["message"].is_string() && line["file"].is_string())
    );
}

#[test]
fn check_tells_which_rules_nothing_reaches_and_accuses_no_other() {
    let env = TestEnv::new();
    let rules = [
        ("app_[0-9]+", ""),
        ("app", "path_pattern = trunk/\n"),
        ("^app", ""),
        ("app.*", "never"),
        ("ap", ""),
        ("(?i)app", ""),
        ("app|b", ""),
        ("trunk/web", "slash"),
        (".*/web", "slash"),
        ("web/?", ""),
        (".*", ""),
        ("late", "never"),
    ];
    let mut text = "[DEFAULT]\nhost = h\nlogin = l\n".to_owned();
    let mut expected = Vec::new();
    for (name, mark) in rules {
        let line = text.lines().count() + 1;
        match mark {
            "never" => expected.push(format!("rules.cfg:{line}: rule [{name}] is never reached")),
            "slash" => expected.push(format!("rules.cfg:{line}: rule [{name}] never matches")),
            _ => {}
        }
        let own = if mark.contains('=') { mark } else { "" };
        text.extend(["[", name, "]\n", own]);
    }
    let ran = with_config(&env, &env.write("rules.cfg", &text), &["check"]).exits(0);
    for told in &expected {
        assert!(ran.stdout.contains(told), "{told}: {ran}");
    }
    assert_eq!(ran.stdout.lines().count(), expected.len() + 1, "{ran}");
}

#[test]
fn a_host_named_twice_is_one_host_and_check_says_so() {
    let env = TestEnv::new();
    let config = env.write(
        "rules.cfg",
        "[DEFAULT]\nlogin = l\n[twice]\nhost = web1, WEB1\n web1\n[once]\nhost = web1 web2\n",
    );
    let ran = with_config(&env, &config, &["explain", "--json", "twice"]).exits(0);
    assert_eq!(ran.json()[0]["host"], "web1");
    let ran = with_config(&env, &config, &["check"]).exits(0);
    assert!(
        ran.stdout
            .contains("rules.cfg:4: `host` names a host more than once"),
        "{ran}"
    );
    assert!(
        ran.stdout.ends_with("0 errors, 1 warning, 0 notes\n"),
        "{ran}"
    );
}

#[test]
fn check_is_content_with_a_sound_configuration() {
    let env = TestEnv::new();
    let config = env.write(
        "rules.cfg",
        "[app]\nhost = h\nlogin = l\ntransports = ssh\n",
    );
    let ran = with_config(&env, &config, &["check"]).exits(0);
    assert_eq!(ran.stdout, "0 errors, 0 warnings, 0 notes\n");
}

#[test]
fn check_tells_where_a_netrc_password_belongs_to_another_login() {
    let env = TestEnv::new();
    let config = env.write(
        "rules.cfg",
        "[DEFAULT]\ntransports = ssh\n[one]\nhost = h1\nlogin = me\n[many]\nhost = h2\nlogin = me\n[mine]\nhost = h3\nlogin = me\n",
    );
    env.write(
        "home/.netrc",
        "machine h1 login you password sEcReT-1\nmachine h2 login you password sEcReT-2\nmachine h2 login they password sEcReT-3\n\
         machine h3 login me password sEcReT-4\nmachine h3 login you password sEcReT-5\n",
    );
    let ran = with_config(&env, &config, &["check"]).exits(0);
    assert!(
        ran.stdout.contains(
            "rules.cfg:3: rule [one] logs in to h1 as me with a netrc password of another login"
        ),
        "{ran}"
    );
    assert!(
        ran.stdout
            .contains("rules.cfg:6: netrc has several logins of h2, but none is me"),
        "{ran}"
    );
    assert!(
        ran.stdout.ends_with("0 errors, 2 warnings, 0 notes\n"),
        "{ran}"
    );
    let ran = with_config(&env, &config, &["explain", "--json", "one", "many", "mine"]).exits(0);
    let set: Vec<_> = ran
        .json()
        .iter()
        .map(|answer| answer["password_set"].clone())
        .collect();
    assert_eq!(set, [true, false, true].map(Value::from));
}
