//! `replay` and `send`, and the exit codes of everything.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::host::Host;
use super::{Pipeline, field, holds};
use crate::testenv::is_root;

/// A repository of two revisions whose packages go to two addresses of one host; no hook.
fn two_revisions(host: &Host) -> Pipeline {
    let pipeline = Pipeline::bare();
    let ran = host.file("ran");
    pipeline.rules(
        &[host.rule("app-").with("host", "127.0.0.1 127.0.0.2").with(
            "install_command",
            format!("echo $AD_PACKAGE >> {}", ran.display()),
        )],
    );
    pipeline.commit(&[("app-1", b"1"), ("app-x", b"x")]);
    pipeline.commit(&[("app-2", b"2")]);
    pipeline
}

#[test]
fn a_replay_delivers_again_as_a_batch_of_its_own() {
    let host = Host::up();
    let pipeline = two_revisions(&host);
    pipeline
        .ad(&["hook", pipeline.repository(), "2", "--wait"])
        .exits(0);
    let ran = pipeline
        .ad(&["replay", pipeline.repository(), "2"])
        .exits(0);
    assert!(
        ran.stdout.contains("replay r2") && ran.stdout.contains("done"),
        "{ran}"
    );
    let rows = pipeline.settled(4);
    assert_eq!(
        field(&rows, "source"),
        ["revision", "revision", "replay", "replay"]
    );
    assert_eq!(field(&rows, "revision"), ["2"; 4]);
    let cites = pipeline.sql("SELECT cites FROM batches WHERE source = 'replay'");
    assert_eq!(cites, [rows[0]["batch"].as_i64()]);
    assert_eq!(host.lines("ran"), ["app-2"; 4]);
}

#[test]
fn a_replay_takes_the_packages_and_hosts_that_it_is_told() {
    let host = Host::up();
    let pipeline = two_revisions(&host);
    let repository = pipeline.repository();
    pipeline
        .ad(&[
            "replay",
            repository,
            "1",
            "--package",
            "app-[0-9]",
            "--host",
            "127.0.0.2",
        ])
        .exits(0);
    let rows = pipeline.settled(1);
    assert_eq!(
        (&rows[0]["package"], &rows[0]["host"]),
        (&"app-1".into(), &"127.0.0.2".into())
    );
    pipeline
        .ad(&[
            "replay",
            repository,
            "1:2",
            "--host",
            "127.0.0.1",
            "--upload-only",
        ])
        .exits(0);
    let rows = pipeline.settled(4);
    assert_eq!(field(&rows[1..], "package"), ["app-1", "app-x", "app-2"]);
    assert_eq!(
        host.lines("ran"),
        ["app-1"],
        "the last three installed nothing"
    );
    let ran = pipeline
        .ad(&["replay", repository, "1", "--package", "("])
        .exits(2);
    assert!(ran.stderr.contains("--package"), "{ran}");
}

#[test]
fn a_dry_run_shows_the_plan_and_touches_nothing() {
    let host = Host::up();
    let pipeline = two_revisions(&host);
    let ran = pipeline
        .ad(&["replay", pipeline.repository(), "1:2", "--dry-run"])
        .exits(0);
    for expected in ["app-1", "app-x", "app-2", "@127.0.0.2", "echo $AD_PACKAGE"] {
        assert!(ran.stdout.contains(expected), "no {expected}: {ran}");
    }
    let file = pipeline.env.write("app-3", "3");
    let ran = pipeline
        .ad(&["send", "--dry-run", file.to_str().unwrap()])
        .exits(0);
    assert!(ran.stdout.contains("app-3"), "{ran}");
    assert!(!pipeline.state().exists());
    assert!(!host.file("in").exists());
}

#[test]
fn a_detached_replay_is_left_to_a_worker() {
    let host = Host::up();
    let pipeline = two_revisions(&host);
    let ran = pipeline
        .ad(&["replay", pipeline.repository(), "2", "--detach"])
        .exits(0);
    assert!(ran.stdout.contains("recorded as batch 1"), "{ran}");
    assert_eq!(field(&pipeline.settled(2), "state"), ["done"; 2]);
}

#[test]
fn a_replay_of_what_is_not_there_says_so_and_does_nothing() {
    let host = Host::up();
    let pipeline = two_revisions(&host);
    let replay = |repository: &str, revision: &str, code| {
        let ran = pipeline.ad(&["replay", repository, revision]).exits(code);
        assert_eq!(ran.stdout, "", "{ran}");
        assert!(
            ran.stderr.starts_with("auto-dispatcher: ") || code == 2,
            "{ran}"
        );
        ran.stderr
    };
    let said = replay(pipeline.repository(), "9", 4);
    assert!(said.contains("no revision 9; its youngest is 2"), "{said}");
    let said = replay("/no/such/repository", "1", 4);
    assert!(said.contains("/no/such/repository"), "{said}");
    let said = replay(pipeline.env.home().to_str().unwrap(), "1", 4);
    assert!(said.contains("is not a Subversion repository"), "{said}");
    let said = replay(pipeline.repository(), "HEAD", 2);
    assert!(said.contains("HEAD"), "{said}");
    assert!(!pipeline.state().exists());
}

#[test]
fn a_replay_of_what_no_rule_wants_exits_1_and_names_it() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app")]);
    pipeline.commit(&[("stranger", b"x")]);
    let ran = pipeline
        .ad(&["replay", pipeline.repository(), "1"])
        .exits(1);
    assert!(
        ran.stdout.contains("stranger") && ran.stdout.contains("no rule"),
        "{ran}"
    );
}

#[test]
fn files_are_sent_whatever_their_names_are() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    let seen = host.file("seen");
    let command = format!(
        "echo \"r$AD_REVISION:$AD_REPOSITORY:$AD_PACKAGE\" >> {}",
        seen.display()
    );
    pipeline.rules(&[host.rule(".").with("install_command", command)]);
    let names = ["plain.tar", "-x.tar", "$(touch pwned) 'a\".tar", "中文.tar"];
    for name in names {
        pipeline.env.write(format!("files/{name}"), name);
    }
    let mut args = vec!["send", "--"];
    args.extend(names);
    let ran = pipeline.ad_in(&pipeline.env.path("files"), &args).exits(0);
    assert_eq!(ran.stdout.matches(" done").count(), 4, "{ran}");
    for name in names {
        holds(&host.file("in").join(name), name.as_bytes());
    }
    assert_eq!(host.lines("seen"), names.map(|name| format!("r::{name}")));
    let rows = pipeline.settled(4);
    assert_eq!(field(&rows, "source"), ["send"; 4]);
    assert_eq!(field(&rows, "revision"), ["null"; 4]);
}

#[test]
fn a_file_without_a_command_is_sent() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app")]);
    let file = pipeline.env.write("app", "x");
    pipeline.ad(&[file.to_str().unwrap()]).exits(0);
    holds(&host.file("in/app"), b"x");
}

#[test]
fn nothing_is_sent_when_one_of_the_files_will_not_do() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule(".")]);
    let good = pipeline.env.write("good", "x");
    let fifo = pipeline.env.path("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let unreadable = pipeline.env.write("unreadable", "x");
    fs::set_permissions(&unreadable, fs::Permissions::from_mode(0o000)).unwrap();
    let missing = pipeline.env.path("missing");
    let home = pipeline.env.home();
    let mut cases = vec![
        (&missing, "No such file"),
        (&home, "it is no regular file"),
        (&fifo, "it is no regular file"),
    ];
    if !is_root() {
        cases.push((&unreadable, "Permission denied"));
    }
    for (bad, why) in cases {
        let bad = bad.to_str().unwrap();
        let ran = pipeline.ad(&["send", good.to_str().unwrap(), bad]).exits(4);
        assert!(
            ran.stderr.contains(bad) && ran.stderr.contains(why),
            "{ran}"
        );
    }
    assert!(!pipeline.state().exists() && !host.file("in").exists());
}

#[test]
fn each_kind_of_mistake_has_its_exit_code() {
    let pipeline = Pipeline::bare();
    let file = pipeline.env.write("app", "x");
    let file = file.to_str().unwrap();
    // No rules file.
    let ran = pipeline.ad(&["send", file]).exits(3);
    assert!(ran.stderr.contains("general-dispatch-info.cfg"), "{ran}");
    // A broken one: every mistake with its line.
    pipeline.rules_text("[a]\nhost = h\nretries = many\n[b]\nhost = h\nssh_port = 0\n");
    let ran = pipeline.ad(&["send", file]).exits(3);
    assert!(
        ran.stderr.contains("cfg:3") && ran.stderr.contains("cfg:6"),
        "{ran}"
    );
    // One that holds a password and that everybody can read.
    pipeline.rules_text("[a]\nhost = h\nlogin = l\npassword = sEcReT-p4ss\n");
    fs::set_permissions(pipeline.rules_file(), fs::Permissions::from_mode(0o644)).unwrap();
    let ran = pipeline.ad(&["send", file]).exits(3);
    assert!(
        ran.stderr.contains("chmod") && !ran.stderr.contains("sEcReT-p4ss"),
        "{ran}"
    );
    // Settings.
    pipeline.settings("workers = none");
    assert!(
        pipeline
            .ad(&["status"])
            .exits(3)
            .stderr
            .contains("auto-dispatcher.cfg:")
    );
    pipeline.settings("");
    // The command line.
    pipeline.ad(&["send"]).exits(2);
    pipeline.ad(&["hook", pipeline.repository(), "-1"]).exits(2);
    // The source.
    pipeline.ad(&["hook", "/no/such/repository", "1"]).exits(4);
    // The state.
    let ran = pipeline.ad(&["status"]).exits(5);
    assert!(
        ran.stderr.contains("nothing was recorded there yet"),
        "{ran}"
    );
    pipeline.rules_text("[a]\nhost = h\nlogin = l\n");
    pipeline.env.write("state", "no directory");
    for args in [vec!["send", file], vec!["worker", "--until-idle"]] {
        let ran = pipeline.ad(&args).exits(5);
        assert!(ran.stderr.contains("is not a directory"), "{ran}");
    }
    let help = pipeline.ad(&["--help"]).exits(0);
    assert!(help.stdout.contains("130  interrupted"), "{help}");
}

#[test]
fn a_log_on_stdout_holds_up_nothing() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app")]);
    pipeline.env.write(
        "repository/conf/logger.cfg",
        "[loggers]\nkeys=root\n[logger_root]\nlevel=DEBUG\nhandlers=out\n[handlers]\nkeys=out\n\
         [handler_out]\nclass=StreamHandler\nargs=(sys.stdout,)\n[formatters]\nkeys=\n",
    );
    let file = pipeline.env.write("app-1.tar", "x");
    let ran = pipeline
        .ad(&["send", file.to_str().expect("UTF-8")])
        .exits(0);
    assert!(ran.stdout.contains("uploaded to"), "{ran}");
    assert!(ran.stdout.contains("done"), "{ran}");
}
