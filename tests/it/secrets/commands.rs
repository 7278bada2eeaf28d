//! What a `password_command` is given, and what of it is told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::pipeline::Pipeline;
use crate::pipeline::rule::Rule;
use crate::servers::pyftpdlib::{LOGIN, PASSWORD, Pyftpdlib};
use crate::testenv::{Ran, run_under};

fn vault(pipeline: &Pipeline, script: &str) -> PathBuf {
    pipeline
        .env
        .program("vault", format!("#!/bin/sh\n{script}\n"))
}

fn rule(command: &Path, port: u16) -> Rule {
    Rule::new("app")
        .with("host", "127.0.0.1")
        .with("login", LOGIN)
        .with("transports", "ftp")
        .with("ftp_port", port)
        .with("dest_dir", "~/in")
        .with("retries", 0)
        .with("password_command", command.display())
}

#[test]
fn a_password_command_gets_no_descriptor_and_no_variable_of_ours() {
    let pipeline = Pipeline::bare();
    let ftp = Pyftpdlib::start(pipeline.env.root(), None, json!({}));
    let (fds, variables) = (pipeline.env.path("fds"), pipeline.env.path("variables"));
    let script = format!(
        "ls -l /proc/self/fd >{}\ntr '\\0' '\\n' </proc/self/environ >{}\necho '{PASSWORD}'",
        fds.display(),
        variables.display()
    );
    pipeline.rules(&[rule(&vault(&pipeline, &script), ftp.port)]);
    let file = pipeline.env.write("files/app", "x");
    // Whoever calls us has descriptors of his own, and says things by variables.
    let held = pipeline.env.path("held");
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec 9>\"$0\"; exec \"$@\""])
        .arg(&held);
    let mut ours = pipeline.command(&["send"]);
    ours.arg(&file)
        .env("SSH_AUTH_SOCK", "/no/agent")
        .env("X", "y");
    run_under(&mut command, &ours);
    Ran::of(&mut command).exits(0);
    let open = fs::read_to_string(&fds).expect("written");
    let open: Vec<&str> = open
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .map(|(_, what)| what)
        .collect();
    let foreign = open.iter().filter(|what| {
        let ours = [
            *what == &"/dev/null",
            what.starts_with("pipe:"),
            what.starts_with("/proc/"),
        ];
        !ours.contains(&true) && **what != fds.to_str().expect("UTF-8")
    });
    assert_eq!(foreign.collect::<Vec<_>>(), Vec::<&&str>::new(), "{open:?}");
    assert!(open.contains(&"/dev/null"), "{open:?}");
    let variables = fs::read_to_string(&variables).expect("written");
    let mut names: Vec<&str> = variables
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.sort_unstable();
    names.retain(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name));
    assert_eq!(names, ["AD_HOST", "AD_LOGIN", "HOME", "LC_ALL", "PATH"]);
}

#[test]
fn a_password_command_that_complains_about_its_password_is_quoted_without_it() {
    let pipeline = Pipeline::bare();
    let script = format!(
        "echo '{PASSWORD}'\necho \"cannot use {PASSWORD}\" >&2\nhead -c 380 /dev/zero | tr '\\0' x >&2\n\
         echo '{PASSWORD}' >&2\nexit 4"
    );
    // Nobody listens on port 1: it is asked for the password when a server is there.
    let ftp = Pyftpdlib::start(pipeline.env.root(), None, json!({}));
    pipeline.rules(&[rule(&vault(&pipeline, &script), ftp.port)]);
    pipeline.commit(&[("app", b"x")]);
    let mut worker = pipeline.spawn(&["worker"]);
    pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
    let row = pipeline.awaits("app", auto_dispatcher::domain::delivery::State::Waiting);
    let error = row["error"].as_str().expect("an error");
    assert!(error.contains("cannot use ***"), "{error}");
    assert!(error.contains("xxx") && error.contains("..."), "{error}");
    worker.terminate();
    worker.ends();
}
