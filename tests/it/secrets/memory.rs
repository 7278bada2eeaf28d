//! How often a password lies in a worker's memory.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::pipeline::rule::Rule;
use crate::pipeline::{LIMIT, Pipeline, signal};
use crate::servers::pyftpdlib::{LOGIN, Pyftpdlib};
use crate::servers::ssh::SshServer;
use crate::testenv::{needs_root, secret, wait_until};

/// So long that an allocator which reuses the memory leaves most of it.
const LONG: &str =
    secret!("0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ.0123456789");
const QUESTIONS: &str = "UsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication yes";
/// Its second half.
const END: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ.0123456789";

/// How often `what` lies in what the process, which stands still meanwhile, may write to.
fn copies(pid: i32, what: &str) -> usize {
    signal(pid, Signal::STOP);
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("memory");
    let number = |text| u64::from_str_radix(text, 16).expect("a number");
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').expect("a range");
        let (start, end) = range.split_once('-').expect("a range");
        let (start, end) = (number(start), number(end));
        let mut bytes = vec![0; usize::try_from(end - start).expect("a length")];
        for (page, at) in bytes.chunks_mut(4096).zip((start..).step_by(4096)) {
            // What cannot be read stays empty.
            let _ = memory.read_exact_at(page, at);
        }
        found += String::from_utf8_lossy(&bytes).matches(what).count();
    }
    signal(pid, Signal::CONT);
    found
}

/// Has a worker deliver one package by this rule, and waits until what it needed for that is gone: then the password
/// lies in its memory `kept` times at most.
#[track_caller]
fn is_wiped(pipeline: &Pipeline, rule: Rule, what: &str, kept: usize) {
    pipeline.rules(&[rule]);
    // As long as a session is open, what its host says is searched for the secret of its login.
    pipeline.settings("keep_session = 1");
    pipeline.commit(&[("app", b"x")]);
    let worker = pipeline.spawn(&["worker"]);
    pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
    let row = pipeline.settled(1).remove(0);
    assert_eq!(row["state"], "done", "{row}");
    let told = format!("{what} lies {kept} times in memory");
    wait_until(&told, LIMIT, || {
        // The worker stands still while it is looked at: it has to come to something in between.
        sleep(Duration::from_millis(200));
        copies(worker.pid(), what) <= kept
    });
}

/// A program that prints a password.
fn vault(pipeline: &Pipeline, password: &str) -> String {
    pipeline.env.write("vault.password", password);
    let script = "#!/bin/sh\ncat \"$0.password\"\n";
    let path = pipeline.env.program("vault", script);
    path.display().to_string()
}

#[test]
fn a_password_that_was_used_lies_nowhere_but_where_the_files_are_kept() {
    needs_root!();
    for (origin, kept) in [("password", 1), ("password_command", 0), ("netrc", 1)] {
        let pipeline = Pipeline::bare();
        let ftp = Pyftpdlib::start(pipeline.env.root(), None, json!({"password": LONG}));
        let rule = Rule::new("app")
            .with("host", "127.0.0.1")
            .with("login", LOGIN)
            .with("transports", "ftp")
            .with("ftp_port", ftp.port)
            .with("dest_dir", "~/in");
        let rule = match origin {
            "password" => rule.with("password", LONG),
            "password_command" => rule.with("password_command", vault(&pipeline, LONG)),
            _ => {
                let text = format!("machine 127.0.0.1 login {LOGIN} password \"{LONG}\"\n");
                pipeline.env.write("home/.netrc", text);
                rule
            }
        };
        is_wiped(&pipeline, rule, END, kept);
    }
}

#[test]
fn a_password_that_went_by_ssh_lies_nowhere() {
    needs_root!();
    for config in ["UsePAM no\nPasswordAuthentication yes", QUESTIONS] {
        let server = SshServer::sshd_with_user("/bin/sh", config);
        let user = server.user.as_ref().expect("a user");
        let pipeline = Pipeline::bare();
        let rule = Rule::new("app")
            .with("host", "127.0.0.1")
            .with("login", &user.name)
            .with("ssh_port", server.running.port)
            .with("transports", "ssh")
            .with("dest_dir", "~/in")
            .with("password_command", vault(&pipeline, &user.password));
        is_wiped(&pipeline, rule, &user.password, 0);
    }
}
