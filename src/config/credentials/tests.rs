//! Tests of `config::credentials`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::rules;

fn store(rules_text: &str, netrc_text: &str) -> CredentialStore {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rules.cfg");
    fs::write(&path, rules_text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let loaded = rules::load(&path, None).unwrap();
    let netrc = Netrc::parse(Path::new("netrc"), netrc_text.as_bytes()).unwrap();
    CredentialStore::new(loaded, netrc, Some("/root".into()))
}

#[test]
fn own_values_come_first_and_what_is_missing_comes_from_netrc() {
    let store = store(
        "[own]\nhost = h\nlogin = me\npassword = mine\naccount = acc\n[part]\nhost = h\nlogin =\npassword =\n[none]\nhost = x\n",
        "machine h login you account other password yours\n",
    );
    let own = store.lookup("own", "h", "me").unwrap();
    assert_eq!(own.password.unwrap().expose(), "mine");
    assert_eq!(
        (own.account.as_ref().map(Secret::expose), own.source),
        (Some("acc"), Some(PasswordSource::Config))
    );

    assert_eq!(store.login("part", "h").as_deref(), Some("you"));
    let part = store.lookup("part", "h", "you").unwrap();
    assert_eq!(part.password.unwrap().expose(), "yours");
    assert_eq!(
        (part.account.as_ref().map(Secret::expose), part.source),
        (Some("other"), Some(PasswordSource::Netrc))
    );

    assert_eq!(store.describe("none", "x"), Described::default());
    assert!(
        store
            .lookup("gone", "h", "x")
            .unwrap_err()
            .message
            .contains("[gone]")
    );
}

#[test]
fn a_rule_that_was_edited_gives_its_secrets_to_no_delivery_of_before() {
    let directory = tempfile::tempdir().unwrap();
    let ran = directory.path().join("ran");
    let fetch = format!("password_command = touch {}\n", ran.display());
    let netrc =
        "machine a login me account n password netrc-pw\nmachine b login me password netrc-pw\n";
    for secret in ["password = s3cret\naccount = s3cret\n", &fetch, ""] {
        let edited = |terms: &str| store(&format!("[app]\n{terms}{secret}"), netrc);
        for (terms, told) in [
            ("host = b\nlogin = me\n", "no longer names the host a"),
            ("host = a.b, b\nlogin = me\n", "no longer names the host a"),
            (
                "host = a\nlogin = root\n",
                "now logs in as root instead of me",
            ),
            ("login = me\n", "no `host`"),
            ("host = a\nlogin = me\ndest_dir = %(nil)s\n", "`dest_dir`"),
        ] {
            let store = edited(terms);
            for error in [
                store.lookup("app", "a", "me").unwrap_err(),
                store.account("app", "a", "me").unwrap_err(),
            ] {
                let text = error.to_string();
                for part in [told, "me@a", "[app]", "rules.cfg:1: ", "replay"] {
                    assert!(text.contains(part), "{part}: {text}");
                }
                assert!(!text.contains("s3cret"), "{text}");
            }
            assert!(!ran.exists(), "the password_command has run for {terms}");
        }
        for same in ["host = b, a\n", "host = a\nlogin = me\nssh_port = 2\n"] {
            assert!(edited(same).account("app", "a", "me").is_ok());
        }
    }
    let store = store("[app]\nhost = b, a\npassword = p\n", netrc);
    let found = store.lookup("app", "a", "me").unwrap();
    assert_eq!(found.password.unwrap().expose(), "p");
    assert_eq!(
        store
            .account("app", "a", "me")
            .unwrap()
            .as_ref()
            .map(Secret::expose),
        Some("n")
    );
}

#[test]
fn a_password_command_is_run_without_a_shell_and_its_first_line_counts() {
    let store = store(
        "[cmd]\nhost = h\nlogin = me\npassword_command = printf '%%s\\n' 'a $HOME b' second\n",
        "machine h login me password no\n",
    );
    assert_eq!(
        store.describe("cmd", "h").source,
        Some(PasswordSource::Command)
    );
    let found = store.lookup("cmd", "h", "me").unwrap();
    assert_eq!(found.password.unwrap().expose(), "a $HOME b");
    assert_eq!(found.source, Some(PasswordSource::Command));
}

#[test]
fn a_failing_password_command_is_told_with_its_stderr_and_never_its_stdout() {
    let store = store(
        "[cmd]\nhost = h\nlogin = me\npassword_command = sh -c 'echo s3cret; echo vault is sealed >&2; exit 3'\n",
        "",
    );
    let error = store.lookup("cmd", "h", "me").unwrap_err();
    assert!(
        error.message.contains("vault is sealed")
            && error.message.contains("rules.cfg:1: ")
            && error.message.contains("me@h"),
        "{error}"
    );
    assert!(!error.message.contains("s3cret"), "{error}");
}

#[test]
fn a_password_command_sees_an_environment_of_its_own() {
    let words = [
        "sh",
        "-c",
        "echo \"$HOME $AD_LOGIN@$AD_HOST $(pwd) ${CARGO_MANIFEST_DIR-unset}\"",
    ]
    .map(str::to_owned);
    let call = command::Call {
        words: &words,
        home: Some(Path::new("/h")),
        host: "web1",
        login: "tom",
        is_stopped: &|| false,
    };
    assert_eq!(command::run(&call).unwrap().expose(), "/h tom@web1 / unset");
}

#[test]
fn a_password_command_that_hangs_is_ended_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("pids");
    let script = format!(
        "echo $$ > {0}; sleep 1000 & echo $! >> {0}; wait",
        fifo.display()
    );
    let words = ["sh".to_owned(), "-c".to_owned(), script];
    let call = command::Call {
        words: &words,
        home: None,
        host: "h",
        login: "l",
        is_stopped: &|| false,
    };
    let error = command::run_within(&call, Duration::from_secs(3)).unwrap_err();
    assert!(error.contains("took longer"), "{error}");
    let pids = fs::read_to_string(&fifo).unwrap();
    assert_eq!(pids.lines().count(), 2, "{pids}");
    for pid in pids.lines() {
        let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let end = std::time::Instant::now() + Duration::from_mins(1);
        // A killed grandchild may stay a zombie until init reaps it.
        while !(state().is_empty() || state().contains(") Z ")) {
            assert!(
                std::time::Instant::now() < end,
                "process {pid} lives: {}",
                state()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_talkative_command_is_drained_and_an_empty_answer_is_an_error() {
    let words = [
        "sh",
        "-c",
        "echo pw; head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2",
    ]
    .map(str::to_owned);
    let call = command::Call {
        words: &words,
        home: None,
        host: "h",
        login: "l",
        is_stopped: &|| false,
    };
    assert_eq!(command::run(&call).unwrap().expose(), "pw");
    let words = ["true".to_owned()];
    let call = command::Call {
        words: &words,
        home: None,
        host: "h",
        login: "l",
        is_stopped: &|| false,
    };
    assert!(command::run(&call).unwrap_err().contains("empty"));
    let words = ["/no/such/program".to_owned()];
    let call = command::Call {
        words: &words,
        home: None,
        host: "h",
        login: "l",
        is_stopped: &|| false,
    };
    assert!(
        command::run(&call)
            .unwrap_err()
            .contains("cannot be started")
    );
}
