//! Names that mean harm, from a repository to each kind of host: the file arrives under its literal name, or is
//! refused with a reason; nothing runs, nothing lies anywhere else, and the command is told the literal facts.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::assert_harmless;
use crate::pipeline::host::Host;
use crate::pipeline::rule::Rule;
use crate::pipeline::{Pipeline, field, holds};
use crate::servers::hostile_ftp::HostileFtp;
use crate::servers::pyftpdlib::{LOGIN, PASSWORD, Pyftpdlib};
use crate::servers::svn::Dump;
use crate::servers::vsftpd::{self, Vsftpd};
use crate::testenv::{TestEnv, needs_root};

/// What a committer may call himself, and be called in the hook's environment.
const AUTHOR: &str = "o'neil\u{1b}[31m\n$(touch pwned) \u{202e}";

/// Names that `svnadmin load` admits.
fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "tab\there",
        "cr\rDELE victim",
        "esc\u{1b}[2J\u{1b}]0;title\u{7}",
        "del\u{7f}\u{8}\u{1}",
        "c1\u{9b}31m\u{85}",
        "a\u{2028}A   FORGED",
        "\u{202e}gpj.exe\u{2066}",
        "\u{feff}bom",
        " blank at the edges ",
        "-rf",
        "--help",
        "~",
        "~root",
        "it's",
        "\"quoted\"",
        "$(touch pwned)",
        "`touch pwned`",
        "a; touch pwned",
        "a && touch pwned",
        "a | touch pwned",
        "a > pwned",
        "${IFS}touch pwned",
        "{path}",
        "$AD_AUTHOR",
        "back\\slash\\",
        "* ?[a-z]",
        "%0d%0aDELE victim",
        "%2e%2e%2fvictim",
        "%s%n",
        "...",
        "..victim",
        "#hash",
        "!bang",
        "name=value",
        "中文 ünï 📦",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("n".repeat(255));
    names
}

/// Names that no host gets, and why.
fn refused() -> Vec<(String, &'static str)> {
    vec![
        (".auto-dispatcher".to_owned(), "rename the package"),
        (
            ".ad-0123456789abcdef-1.part".to_owned(),
            "rename the package",
        ),
        (
            ".ad-0123456789abcdef-1.part.old".to_owned(),
            "rename the package",
        ),
        ("m".repeat(1000), ""),
    ]
}

/// Where a host's files lie here, and what it makes of them.
struct Place<'a> {
    rule: Rule,
    /// The directory that the packages go to.
    dir: PathBuf,
    /// Beside it nothing else may appear.
    home: &'a Path,
    /// Whether it takes names with a carriage return.
    takes_cr: bool,
    /// Whether it runs commands.
    runs: bool,
}

fn delivered(place: &Place<'_>) {
    let home = place.home;
    fs::write(home.join("victim"), "safe").expect("write");
    let before = listed(home);
    let pipeline = Pipeline::bare();
    let mut rule = place.rule.clone().with("retries", 0);
    let seen = home.join("seen");
    if place.runs {
        let command = format!(
            "printf '%%s\\n' {{package}} {{path}} \"$AD_PACKAGE\" \"$AD_PATH\" \"$AD_AUTHOR\" \"$AD_REPOSITORY\" \
             | tee -a {}",
            seen.display()
        );
        rule = rule.with("install_command", command);
    }
    pipeline.rules(&[rule]);
    let (names, refused) = (names(), refused());
    let mut dump = Dump::after(0);
    dump.revision(&[("svn:author", AUTHOR), ("svn:log", AUTHOR)]);
    dump.directory("..victim")
        .directory("..victim/`touch pwned`");
    for name in names.iter().chain(refused.iter().map(|(name, _)| name)) {
        let path = format!("..victim/`touch pwned`/{name}");
        dump.file(&path, &[], name.as_bytes());
    }
    pipeline.svn.load(&dump);
    let ran = pipeline.ad(&["hook", pipeline.repository(), "1", "--wait"]);
    assert_harmless("the hook's stderr", ran.stderr.as_bytes());
    assert_harmless("the hook's stdout", ran.stdout.as_bytes());
    let rows = pipeline.history();
    assert_eq!(rows.len(), names.len() + refused.len(), "{ran}");
    let mut arrived = 0;
    for row in &rows {
        let name = row["package"].as_str().expect("a name");
        let error = row["error"].as_str().unwrap_or_default();
        let why = refused.iter().find(|(refused, _)| refused == name);
        if why.is_some() || (!place.takes_cr && name.contains('\r')) {
            assert_eq!(
                field(std::slice::from_ref(row), "state"),
                ["failed"],
                "{row}"
            );
            assert_eq!(row["fault"], "permanent", "{row}");
            assert!(
                error.contains(why.map_or("rename it", |(_, why)| why)),
                "{row}"
            );
        } else {
            assert_eq!(row["state"], "done", "{name:?}: {row}");
            holds(&place.dir.join(name), name.as_bytes());
            arrived += 1;
        }
    }
    assert_eq!(
        listed(&place.dir).len(),
        arrived,
        "{:?}",
        listed(&place.dir)
    );
    if place.runs {
        let text = fs::read_to_string(&seen).expect("what was seen");
        for row in rows.iter().filter(|row| row["state"] == "done") {
            let name = row["package"].as_str().expect("a name");
            let path = row["remote_path"].as_str().expect("a path");
            let told = format!(
                "{name}\n{path}\n{name}\n{path}\n{AUTHOR}\n{}\n",
                pipeline.repository()
            );
            assert!(text.contains(&told), "{name:?} is not told literally");
        }
        fs::remove_file(&seen).expect("remove");
    }
    let below = place.dir.strip_prefix(home).expect("below the home");
    let first = below.components().next().expect("a directory");
    let mut after = listed(home);
    after.retain(|name| name.as_slice() != first.as_os_str().as_bytes());
    assert_eq!(after, before, "something appeared beside the packages");
    assert_eq!(fs::read(home.join("victim")).expect("the victim"), b"safe");
    nothing_here(&pipeline, rows.len());
}

/// No name chose a place on this machine, and no output has one raw.
fn nothing_here(pipeline: &Pipeline, count: usize) {
    let spool = listed(&pipeline.state().join("spool"));
    let is_digest = |name: &Vec<u8>| {
        name == b".lock" || (name.len() >= 64 && name[..64].iter().all(u8::is_ascii_hexdigit))
    };
    assert!(spool.iter().all(is_digest), "{spool:?}");
    for directory in [
        pipeline.state(),
        pipeline.env.home(),
        pipeline.env.root().to_owned(),
    ] {
        let names = listed(&directory);
        let is_chosen = |name: &&Vec<u8>| name.as_slice() == b"pwned" || name.ends_with(b"victim");
        assert_eq!(
            names.iter().find(is_chosen),
            None,
            "in {}",
            directory.display()
        );
    }
    let repository = pipeline.repository();
    let all = "1000";
    for args in [
        &["history", "--limit", all][..],
        &["history", "--json"],
        &["status"],
        &["status", "--json"],
        &["changed", repository, "1", "--all"],
        &["changed", repository, "1", "--json"],
        &["replay", repository, "1", "--dry-run"],
        &["check"],
        &["check", "--json"],
    ] {
        let ran = pipeline.ad(args);
        assert_harmless(&format!("{args:?}"), ran.stdout.as_bytes());
        assert_harmless(&format!("{args:?}"), ran.stderr.as_bytes());
    }
    for id in 1..=count {
        for more in [None, Some("--json")] {
            let id = id.to_string();
            let args: Vec<&str> = ["show", &id].into_iter().chain(more).collect();
            let ran = pipeline.ad(&args).exits(0);
            assert_harmless("show", ran.stdout.as_bytes());
        }
    }
    let log = fs::read(pipeline.state().join("auto-dispatcher.log")).expect("the log");
    assert_harmless("the log", &log);
}

fn listed(directory: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<Vec<u8>> = entries
        .map(|entry| entry.expect("entry").file_name().as_bytes().to_vec())
        .filter(|name| name != b".auto-dispatcher")
        .collect();
    names.sort();
    names
}

fn on_ssh(host: &Host) {
    delivered(&Place {
        rule: host.rule("(?s).*"),
        dir: host.file("in"),
        home: &host.home(),
        takes_cr: true,
        runs: true,
    });
}

#[test]
fn over_sftp() {
    on_ssh(&Host::up());
}

#[test]
fn over_scp() {
    on_ssh(&Host::with("Subsystem sftp /bin/false"));
}

#[test]
fn over_cat() {
    let env = TestEnv::new();
    env.program("bin/scp", "#!/bin/sh\nexit 1\n");
    let config = format!(
        "Subsystem sftp /bin/false\nForceCommand PATH={}:$PATH; export PATH; eval \"$SSH_ORIGINAL_COMMAND\"",
        env.path("bin").display()
    );
    on_ssh(&Host::with(&config));
}

#[test]
fn over_dropbear() {
    needs_root!();
    on_ssh(&Host::with_dropbear());
}

fn ftp_rule(port: u16) -> Rule {
    Rule::new("(?s).*")
        .with("host", "127.0.0.1")
        .with("login", LOGIN)
        .with("password", PASSWORD)
        .with("transports", "ftp")
        .with("ftp_port", port)
        .with("dest_dir", "~/in")
}

#[test]
fn over_ftp_to_pyftpdlib() {
    let env = TestEnv::new();
    let server = Pyftpdlib::start(env.root(), None, json!({}));
    delivered(&Place {
        rule: ftp_rule(server.port),
        dir: server.home().join("in"),
        home: server.home(),
        takes_cr: false,
        runs: false,
    });
}

#[test]
fn over_ftp_to_vsftpd() {
    needs_root!();
    let env = TestEnv::new();
    let server = Vsftpd::start(env.root(), None, "");
    delivered(&Place {
        rule: ftp_rule(server.port).with("password", vsftpd::PASSWORD),
        dir: server.home().join("in"),
        home: server.home(),
        takes_cr: false,
        runs: false,
    });
}

#[test]
fn every_command_that_an_ftp_server_hears_is_one_of_ours() {
    let env = TestEnv::new();
    let server = HostileFtp::start(env.root(), None, json!({}));
    delivered(&Place {
        rule: ftp_rule(server.port),
        dir: server.home().join("in"),
        home: server.home(),
        takes_cr: false,
        runs: false,
    });
    for line in server.commands() {
        let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
        match command {
            "USER" | "PASS" => {}
            "FEAT" | "PWD" | "EPSV" | "QUIT" => assert_eq!(argument, "", "{line:?}"),
            "TYPE" => assert_eq!(argument, "I"),
            // Absolute, so that a leading `-`, `~` or blank means nothing.
            "STOR" | "RNFR" | "DELE" => {
                assert!(argument.starts_with("/in/.ad-"), "{line:?}");
            }
            "RNTO" | "CWD" | "MKD" | "SIZE" | "MLST" => {
                assert!(argument.starts_with("/in"), "{line:?}");
            }
            other => panic!("it heard {other:?}"),
        }
    }
}

#[test]
fn a_name_that_is_no_single_component_is_never_sent() {
    let package = crate::conformance::Package::of_size(10);
    let env = TestEnv::new();
    let ftp = Pyftpdlib::start(env.root(), None, json!({}));
    let caller = crate::ftp::Caller::new("127.0.0.1", ftp.port, LOGIN, PASSWORD);
    let ssh = crate::servers::ssh::SshServer::sshd("");
    let sessions = [
        caller
            .connect(auto_dispatcher::domain::target::TransportKind::Ftp)
            .expect("a session"),
        ssh.caller().connect(),
    ];
    for mut session in sessions {
        let dir = session.prepare_dir("~/in").expect("a directory");
        for name in ["", ".", "..", "../victim", "a/b", "/etc/victim", "a\0b"] {
            let upload = package.upload(&dir, name, ".tmp");
            for fault in [
                session.upload(&upload, &mut |_| {}).expect_err(name),
                session.publish(&upload).expect_err(name),
            ] {
                assert_eq!(
                    fault.class,
                    auto_dispatcher::domain::fault::FaultClass::Permanent,
                    "{fault}"
                );
            }
        }
        session.close();
    }
    assert!(!ftp.home().join("victim").exists());
    assert!(listed(&ftp.home().join("in")).is_empty());
    assert!(listed(&ssh.home_on_disk().join("in")).is_empty());
}
