//! Tests of `config::rules`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn load_text(text: &str) -> Result<LoadedRules, Mistakes> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rules.cfg");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    load(&path, Some(Path::new("/home/ad")))
}

fn terms(text: &str) -> RuleTerms {
    load_text(text).unwrap().set.rules.remove(0).terms.unwrap()
}

fn why_not(text: &str) -> String {
    load_text(text)
        .unwrap()
        .set
        .rules
        .remove(0)
        .terms
        .unwrap_err()
}

#[test]
fn what_a_rule_does_not_say_has_the_standard_value() {
    let terms = terms("[a]\nhost = h\n");
    assert_eq!(terms.connection, ConnectionTerms::default());
    assert_eq!(terms.service, ServiceTerms::default());
    assert_eq!(
        (terms.ssh_port, terms.ftp_port, terms.login, terms.dest_dir),
        (22, 21, None, None)
    );
}

#[test]
fn an_empty_value_is_no_value() {
    let keys: Vec<_> = KEYS.into_iter().filter(|key| *key != "host").collect();
    let terms = terms(&format!("[a]\nhost = h\n{} =\n", keys.join(" =\n")));
    assert_eq!(terms.connection, ConnectionTerms::default());
    assert_eq!(terms.service, ServiceTerms::default());
}

#[test]
fn every_key_is_read() {
    let rules = load_text(
        "[a]\nhost = h1,\n  h2\nlogin = l\ndest_dir = ~/in\ninstall_command = a &&\n  b\ntransports = ftp, ssh\n\
         ssh_port = 2222\nftp_port = 2121\nidentity_file = ~/key\npassword_command = get 'a b'\nhost_key = strict\n\
         known_hosts = hosts\nftps_fingerprint = AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA\n\
         file_mode = 0750\npath_pattern = trunk/\nconnect_timeout = 5\nstall_timeout = 2m\ninstall_timeout = 3h\n\
         old_algorithms = on\ninstall_mode = plain\ninstall_idempotent = Yes\nretries = 0\nretry_delay = 7s\non_failure = stop\nca_file = /ca\naccount = acc\n",
    )
    .unwrap();
    let rule = &rules.set.rules[0];
    let terms = rule.terms.as_ref().unwrap();
    assert_eq!(terms.hosts, ["h1", "h2"]);
    assert_eq!(
        (terms.login.as_deref(), terms.dest_dir.as_deref()),
        (Some("l"), Some("~/in"))
    );
    assert_eq!((terms.ssh_port, terms.ftp_port), (2222, 2121));
    assert!(rule.path_pattern.is_some());
    let beside = rules.path.parent().unwrap();
    let connection = ConnectionTerms {
        transports: vec![TransportKind::Ftp, TransportKind::Ssh],
        ftp_is_named: true,
        identity_file: Some("/home/ad/key".into()),
        host_key: HostKeyPolicy::Strict,
        old_algorithms: true,
        known_hosts: Some(beside.join("hosts")),
        ftps_fingerprint: Some("aa".repeat(32)),
        ca_file: Some("/ca".into()),
        connect_timeout_s: 5,
        stall_timeout_s: 120,
    };
    assert_eq!(terms.connection, connection);
    let service = ServiceTerms {
        install_command: Some("a &&\nb".to_owned()),
        file_mode: Some(0o750),
        install_timeout_s: 10_800,
        install_mode: InstallMode::Plain,
        install_idempotent: true,
        retries: 0,
        retry_delay_s: 7,
        on_failure: OnFailure::Stop,
    };
    assert_eq!(terms.service, service);
    let (_, secrets) = rules.rule("a").unwrap();
    assert_eq!(
        secrets.password_command.as_deref(),
        Some(["get".to_owned(), "a b".to_owned()].as_slice())
    );
    assert_eq!(secrets.account.as_ref().map(Secret::expose), Some("acc"));
    assert_eq!(format!("{secrets:?}"), "RuleSecrets(***)");
    assert_eq!(rules.warnings, []);
}

#[test]
fn a_rule_that_cannot_serve_says_why_and_quotes_nothing() {
    for (text, why) in [
        ("[a]\nlogin = l\n", "no `host`"),
        ("[a]\nhost =\n", "no `host`"),
        ("[a]\nhost = h ; remark\n", "lines of their own"),
        ("[a]\nhost = h:22\n", "ssh_port"),
        ("[a]\nhost = h\nlogin = a\n  b\n", "line break"),
        ("[a]\nhost = h\npassword = x%(nil)s\n", "`password` at "),
    ] {
        let told = why_not(text);
        assert!(
            told.contains(why) && told.contains("rules.cfg"),
            "{text}: {told}"
        );
        assert!(
            !told.contains("nil") && !told.contains("remark\n"),
            "{told}"
        );
    }
}

#[test]
fn a_rule_that_would_reveal_its_password_cannot_serve() {
    let values = |key: &str| match key {
        "host" | "transports" => "%(via)s",
        _ => "x %(via)s",
    };
    for key in KEYS.into_iter().filter(|key| *key != "password") {
        let host = if key == "host" { "" } else { "host = h\n" };
        let value = values(key);
        for (password, via) in [
            ("password = s3cret\n", "via = %(PassWord)s\n"),
            ("password = %(via)s\n", "via = s3cret\n"),
            ("password = a%(inner)s\ninner = %(via)s\n", "via = s3cret\n"),
        ] {
            let told = why_not(&format!(
                "[DEFAULT]\n{key} = {value}\n[a]\n{host}{password}{via}"
            ));
            assert!(
                told.contains(&format!("`{key}` at ")) && told.contains("rules.cfg:2 refers to"),
                "{key}: {told}"
            );
            assert!(!told.contains("s3cret"), "{told}");
        }
    }
}

#[test]
fn a_password_may_be_made_of_what_is_no_secret() {
    let rules = load_text(
        "[DEFAULT]\nbase = /srv\n[a]\nhost = h\nlogin = l\naccount = %(login)s\ndest_dir = %(base)s/%(login)s\n\
         install_command = echo %%(password)s %(dest_dir)s\npassword = %(login)s-%(dest_dir)s%(other)s\nother = x\n",
    )
    .unwrap();
    let (rule, secrets) = rules.rule("a").unwrap();
    let terms = rule.terms.as_ref().unwrap();
    assert_eq!(terms.dest_dir.as_deref(), Some("/srv/l"));
    assert_eq!(
        terms.service.install_command.as_deref(),
        Some("echo %(password)s /srv/l")
    );
    let password = secrets.password.as_ref().unwrap();
    assert_eq!(password.expose(), "l-/srv/lx");
}

#[test]
fn a_mistake_in_default_is_told_once() {
    let mistakes = load_text("[DEFAULT]\nretries = x\n[a]\nhost = h\n[b]\nhost = h\n").unwrap_err();
    assert_eq!(mistakes.0.len(), 1, "{mistakes}");
    assert_eq!(mistakes.0[0].line, Some(2));
}

#[test]
fn unknown_keys_are_warnings_unless_they_are_variables() {
    let rules = load_text("[DEFAULT]\nbase = /srv\n[a]\nhots = x\nhost = h\ndest_dir = %(base)s\nown = 1\n[Default]\nhost = h\n").unwrap();
    let told: Vec<_> = rules
        .warnings
        .iter()
        .map(|finding| (finding.line, finding.text.as_str()))
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(
        told[0],
        (
            Some(4),
            "unknown key `hots` is ignored; did you mean `host`?"
        )
    );
    assert_eq!(told[1], (Some(7), "unknown key `own` is ignored"));
    assert!(told[2].1.contains("[DEFAULT]"), "{told:?}");
}

#[test]
fn a_fifo_or_directory_is_no_rules_file() {
    let directory = tempfile::tempdir().unwrap();
    let mistakes = load(directory.path(), None).unwrap_err();
    assert!(
        mistakes.to_string().contains("no regular file"),
        "{mistakes}"
    );
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let mistakes = load(&fifo, None).unwrap_err();
    assert!(
        mistakes.to_string().contains("no regular file"),
        "{mistakes}"
    );
}
