//! Who else may read or write what holds secrets, or decides where they go.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;

use crate::pipeline::Pipeline;
use crate::pipeline::host::Host;
use crate::pipeline::rule::Rule;
use crate::servers::ssh::SshServer;
use crate::testenv::{Ran, needs_root, secret};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// Types what a message tells to type.
fn type_in(line: &str) {
    Ran::of(Command::new("sh").arg("-c").arg(line)).exits(0);
}

fn plain_rule() -> Rule {
    Rule::new("app").with("host", "h").with("login", "l")
}

#[test]
fn a_file_that_everybody_can_write_to_is_refused_with_the_chmod_that_mends_it() {
    let pipeline = Pipeline::bare();
    pipeline.rules(&[plain_rule()]);
    let logger =
        fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/conf/logger.cfg")).expect("readable");
    let conf = "repository/conf";
    for (file, typed) in [
        (pipeline.rules_file(), vec!["explain", "app"]),
        (
            pipeline.env.path(format!("{conf}/auto-dispatcher.cfg")),
            vec!["status"],
        ),
        (
            pipeline.env.write(format!("{conf}/logger.cfg"), logger),
            vec!["worker", "--until-idle"],
        ),
        (
            pipeline.env.write("home/.netrc", "machine h login l\n"),
            vec!["explain", "app"],
        ),
    ] {
        chmod(&file, 0o602);
        for args in [typed, vec!["check"]] {
            let ran = pipeline.ad(&args).exits(3);
            let told = format!("{}{}", ran.stdout, ran.stderr);
            let (_, mend) = told
                .split_once("mend it with: ")
                .unwrap_or_else(|| panic!("{ran}"));
            assert!(mend.starts_with("chmod o-w "), "{ran}");
            if args == ["check"] {
                type_in(mend.lines().next().expect("a line"));
            }
        }
        pipeline.ad(&["check"]).exits(0);
    }
}

#[test]
fn a_file_of_somebody_else_is_a_warning_in_check_and_once_in_the_log() {
    needs_root!();
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app")]);
    let netrc = pipeline.env.write("home/.netrc", "machine h login l\n");
    let settings = pipeline.env.path("repository/conf/auto-dispatcher.cfg");
    let files = [pipeline.rules_file(), netrc, settings];
    for file in &files {
        chown(file, Some(64_002), None).expect("chown");
    }
    let checked = pipeline.ad(&["check"]).exits(0);
    for name in ["app", "app2"] {
        pipeline.commit(&[(name, b"x")]);
    }
    pipeline.ad(&["hook", pipeline.repository(), "2"]).exits(0);
    pipeline
        .ad(&["replay", pipeline.repository(), "1:2"])
        .exits(0);
    pipeline.settled(3);
    pipeline.no_worker_lives();
    let log = fs::read_to_string(pipeline.state().join("auto-dispatcher.log")).expect("a log");
    for file in &files {
        let told = format!("{}: belongs to uid 64002", file.display());
        assert!(checked.stdout.contains(&told), "{checked}");
        let times = log.matches(&told).count();
        let workers = log.matches(" began").count();
        assert!(
            (1..=workers).contains(&times),
            "{told}: {times} times in {log}"
        );
    }
}

#[test]
fn check_warns_of_a_directory_in_which_everybody_can_replace_the_rules() {
    let pipeline = Pipeline::bare();
    pipeline.rules(&[plain_rule()]);
    let conf = pipeline.svn.repository.join("conf");
    for (mode, warns) in [(0o755, false), (0o777, true), (0o1777, false)] {
        chmod(&conf, mode);
        let ran = pipeline.ad(&["check"]).exits(0);
        let told = format!("chmod o-w '{}'", conf.display());
        assert_eq!(ran.stdout.contains(&told), warns, "{mode:o}: {ran}");
    }
    // A link leads elsewhere, where the same counts.
    let link = pipeline.env.path("link.cfg");
    symlink(pipeline.rules_file(), &link).expect("symlink");
    chmod(&conf, 0o777);
    let ran = pipeline
        .env
        .run(&["--config", link.to_str().expect("UTF-8"), "check"]);
    assert!(ran.exits(0).stdout.contains("chmod o-w"));
}

#[test]
fn check_warns_of_an_install_command_that_holds_the_password() {
    let pipeline = Pipeline::bare();
    let rule = plain_rule().with("password", secret!("in the open"));
    let command = concat!("install -p '", secret!("in the open"), "'");
    pipeline.rules(&[rule.clone().with("install_command", command)]);
    let told = "the install_command of rule [app] holds its password";
    assert!(pipeline.ad(&["check"]).exits(0).stdout.contains(told));
    pipeline.rules(&[rule.with("install_command", "install")]);
    assert!(!pipeline.ad(&["check"]).exits(0).stdout.contains(told));
}

#[test]
fn a_key_file_that_others_can_use_is_left_out_with_the_chmod_that_mends_it() {
    let server = SshServer::sshd("PasswordAuthentication yes");
    let mut caller = server.caller();
    let key = server.path("client");
    let link = server.path("link");
    symlink(&key, &link).expect("symlink");
    for named in [&key, &link] {
        caller.terms.identity_file = Some(named.clone());
        chmod(&key, 0o640);
        let error = caller.refused();
        let message = error.fault.message.clone();
        let (_, mend) = message
            .split_once("mend it with: ")
            .unwrap_or_else(|| panic!("{error}"));
        type_in(mend.split([',', ';']).next().expect("a command"));
        caller.connect().close();
    }
}

#[test]
fn a_state_directory_that_is_a_link_or_can_be_replaced_is_refused() {
    let pipeline = Pipeline::bare();
    let real = pipeline.env.path("way/real");
    fs::create_dir_all(&real).expect("mkdir");
    chmod(&real, 0o700);
    symlink(&real, pipeline.state()).expect("symlink");
    let ran = pipeline.ad(&["worker", "--until-idle"]).exits(5);
    assert!(ran.stderr.contains("is a symbolic link"), "{ran}");
    assert_eq!(
        fs::read_dir(&real).expect("a directory").count(),
        0,
        "nothing was made there"
    );
    let way = pipeline.env.path("way");
    let settings = format!("[auto-dispatcher]\nstate_dir = {}\n", real.display());
    pipeline
        .env
        .write("repository/conf/auto-dispatcher.cfg", settings);
    chmod(&way, 0o777);
    let ran = pipeline.ad(&["worker", "--until-idle"]).exits(5);
    assert!(
        ran.stderr.contains(&format!("chmod o-w {}", way.display())),
        "{ran}"
    );
    chmod(&way, 0o1777);
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
}

#[test]
fn known_hosts_of_ours_that_everybody_can_write_to_or_that_is_anothers_is_not_trusted() {
    let server = SshServer::sshd("");
    let caller = server.caller();
    caller.connect().close();
    let known = &caller.surroundings.own_known_hosts;
    let mode = fs::metadata(known).expect("recorded").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    chmod(known, 0o602);
    let fault = caller.refused().fault;
    let (_, mend) = fault
        .message
        .split_once("mend it with: ")
        .unwrap_or_else(|| panic!("{fault}"));
    type_in(mend);
    caller.connect().close();
    needs_root!();
    chown(known, Some(64_002), None).expect("chown");
    let fault = caller.refused().fault;
    assert!(fault.message.contains("belongs to uid 64002"), "{fault}");
}
