//! A password leaves memory to its own host alone.

use std::fs;
use std::path::Path;

use auto_dispatcher::domain::delivery::State;
use serde_json::json;

use super::rule::Rule;
use super::{LIMIT, Pipeline, processes_of};
use crate::servers::pyftpdlib::{LOGIN, PASSWORD, Pyftpdlib};
use crate::testenv::{self, is_root, secret, wait_until};

/// What every secret of these tests has in it; `PASSWORD` too.
const MARK: &[u8] = testenv::MARK.as_bytes();

fn has_mark(bytes: &[u8]) -> bool {
    bytes.windows(MARK.len()).any(|window| window == MARK)
}

/// The files below a directory that hold the mark.
fn marked(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("entry").path();
        // A worker that lives makes and removes files.
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let kind = metadata.file_type();
        if kind.is_dir() {
            marked(&path, found);
        } else if kind.is_file() && fs::read(&path).is_ok_and(|bytes| has_mark(&bytes)) {
            found.push(path.display().to_string());
        }
    }
}

fn rule(name: &str, host: &str, port: u16) -> Rule {
    Rule::new(name)
        .with("host", host)
        .with("login", LOGIN)
        .with("transports", "ftp")
        .with("ftp_port", port)
        .with("dest_dir", "~/in")
        .with("retries", 0)
}

fn no_secret_is_in(pipeline: &Pipeline) {
    let mut found = Vec::new();
    marked(&pipeline.state(), &mut found);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn passwords_of_every_origin_serve_and_are_seen_nowhere() {
    let pipeline = Pipeline::bare();
    let root = pipeline.env.root();
    let ftp = Pyftpdlib::start(root, None, json!({"address": "0.0.0.0"}));
    let command = pipeline
        .env
        .program("vault", format!("#!/bin/sh\necho '{PASSWORD}'\n"));
    let netrc = format!("machine 127.0.0.2 login {LOGIN} password \"{PASSWORD}\"\n");
    pipeline.env.write("home/.netrc", netrc);
    pipeline.rules(&[
        rule("rules", "127.0.0.1", ftp.port).with("password", PASSWORD),
        rule("netrc", "127.0.0.2", ftp.port),
        rule("command", "127.0.0.3", ftp.port).with("password_command", command.display()),
        rule("wrong", "127.0.0.4", ftp.port).with("password", secret!("but wrong")),
    ]);
    pipeline
        .env
        .write("repository/conf/logger.cfg", verbose_logger());
    let mut args = vec!["send".to_owned()];
    for name in ["rules", "netrc", "command", "wrong"] {
        let file = pipeline.env.write(format!("files/{name}"), name);
        args.push(file.to_str().unwrap().to_owned());
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ran = pipeline.ad(&args).exits(1);
    assert!(
        !has_mark(ran.stdout.as_bytes()) && !has_mark(ran.stderr.as_bytes()),
        "{ran}"
    );
    for name in ["rules", "netrc", "command"] {
        assert_eq!(pipeline.delivery(name)["state"], "done", "{ran}");
    }
    assert_eq!(pipeline.delivery("wrong")["fault"], "denied");
    for args in [
        vec!["history"],
        vec!["status"],
        vec!["history", "--json"],
        vec!["check"],
        vec!["explain", "rules"],
    ] {
        let ran = pipeline.ad(&args);
        assert!(
            !has_mark(ran.stdout.as_bytes()) && !has_mark(ran.stderr.as_bytes()),
            "{ran}"
        );
    }
    let log = fs::read_to_string(pipeline.state().join("all.log")).expect("a log");
    assert!(log.contains("DEBUG"), "everything is logged: {log}");
    no_secret_is_in(&pipeline);
}

fn verbose_logger() -> &'static str {
    "[loggers]\nkeys=root\n[logger_root]\nlevel=DEBUG\nhandlers=file,err\n[handlers]\nkeys=file,err\n\
     [handler_file]\nclass=FileHandler\nformatter=f\nargs=('all.log','a')\n\
     [handler_err]\nclass=StreamHandler\nformatter=f\nargs=(sys.stderr,)\n\
     [formatters]\nkeys=f\n[formatter_f]\nformat=%(asctime)s %(levelname)s %(message)s\n"
}

#[test]
fn no_process_of_ours_shows_a_password_while_it_uploads() {
    let pipeline = Pipeline::bare();
    let ftp = Pyftpdlib::start(pipeline.env.root(), None, json!({"stall": true}));
    pipeline.rules(&[rule("app", "127.0.0.1", ftp.port).with("password", PASSWORD)]);
    pipeline.install_hook();
    pipeline.commit(&[("app", &vec![b'x'; 3_000_000])]);
    wait_until("the upload began", LIMIT, || {
        ftp.commands().iter().any(|line| line.starts_with("STOR"))
    });
    assert_eq!(pipeline.awaits("app", State::Running)["step"], "upload");
    let processes = processes_of(pipeline.env.root().to_str().unwrap());
    assert!(!processes.is_empty());
    for pid in processes {
        let line = fs::read(format!("/proc/{pid}/cmdline")).expect("/proc");
        assert!(!line.is_empty() && !has_mark(&line), "of {pid}");
        let environment = fs::read(format!("/proc/{pid}/environ"));
        assert_eq!(environment.is_ok(), is_root(), "others may not look");
        assert!(!environment.is_ok_and(|bytes| has_mark(&bytes)), "of {pid}");
    }
    no_secret_is_in(&pipeline);
}
