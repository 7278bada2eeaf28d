//! How often a password lies in a worker's memory.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::pipeline::Pipeline;
use crate::pipeline::rule::Rule;
use crate::servers::pyftpdlib::{LOGIN, PASSWORD, Pyftpdlib};
use crate::testenv::needs_root;

/// How often `what` lies in what the process may write to.
fn copies(pid: i32, what: &str) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("memory");
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').expect("a range");
        let (start, end) = range.split_once('-').expect("a range");
        let number = |text| u64::from_str_radix(text, 16).expect("a number");
        let (start, end) = (number(start), number(end));
        let mut bytes = vec![0; usize::try_from(end - start).expect("a length")];
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            found += String::from_utf8_lossy(&bytes).matches(what).count();
        }
    }
    found
}

#[test]
fn measure() {
    needs_root!();
    for origin in ["password", "password_command", "netrc"] {
        let pipeline = Pipeline::bare();
        let ftp = Pyftpdlib::start(pipeline.env.root(), None, json!({}));
        let rule = Rule::new("app")
            .with("host", "127.0.0.1")
            .with("login", LOGIN)
            .with("transports", "ftp")
            .with("ftp_port", ftp.port)
            .with("dest_dir", "~/in");
        let vault = pipeline
            .env
            .write("vault", format!("#!/bin/sh\necho '{PASSWORD}'\n"));
        fs::set_permissions(&vault, fs::Permissions::from_mode(0o700)).expect("chmod");
        pipeline.rules(&[match origin {
            "password" => rule.with("password", PASSWORD),
            "password_command" => rule.with("password_command", vault.display()),
            _ => rule,
        }]);
        if origin == "netrc" {
            let text = format!("machine 127.0.0.1 login {LOGIN} password \"{PASSWORD}\"\n");
            pipeline.env.write("home/.netrc", text);
        }
        pipeline.commit(&[("app", b"x")]);
        let worker = pipeline.spawn(&["worker"]);
        pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
        pipeline.settled(1);
        eprintln!("{origin}: {} copies", copies(worker.pid(), PASSWORD));
        eprintln!("{origin}: {} parts", copies(worker.pid(), "pass#word"));
    }
}
