//! `--dry-run` of `replay` and `send`: it tells exactly what the real run then does, and touches nothing.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

use auto_dispatcher::domain::delivery::State;
use auto_dispatcher::journal::{DeliveryRow, HistoryFilter, Journal};
use serde_json::Value;

use super::host::Host;
use super::rule::Rule;
use super::{Pipeline, field};
use crate::testenv::{Ran, is_root, listing, needs_root, wait_until};

/// A listener that nobody is to dial.
pub struct Trap(TcpListener);

impl Trap {
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        listener.set_nonblocking(true).expect("nonblocking");
        Self(listener)
    }

    /// A rule that leads here by all transports, with a password that a program would give.
    pub fn rule(&self, name: &str, asked: &str) -> Rule {
        let port = self.0.local_addr().expect("an address").port();
        Rule::new(name)
            .with("host", "127.0.0.1")
            .with("login", "deploy")
            .with("ssh_port", port)
            .with("ftp_port", port)
            .with("password_command", format!("touch {asked}"))
            .with("dest_dir", "/srv/in")
    }

    #[track_caller]
    pub fn was_not_dialled(&self) {
        let dialled = self.0.accept().expect_err("somebody dialled");
        assert_eq!(dialled.kind(), ErrorKind::WouldBlock);
    }
}

/// Package, rule, line, host, login, directory and command, with the moment's stamp taken out.
pub type Told = (
    String,
    String,
    String,
    String,
    String,
    String,
    Option<String>,
);

fn unstamped(dir: &str) -> String {
    let stamp = regex::Regex::new(r"\d{8}_\d{6}").expect("a pattern");
    stamp.replace(dir, "STAMP").into_owned()
}

/// What a dry run told of deliveries.
pub fn told(lines: &[Value]) -> Vec<Told> {
    let lines = lines.iter().filter(|line| line["rule"].is_string());
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    lines
        .map(|line| {
            (
                text(&line["package"]),
                text(&line["rule"]),
                line["rule_line"].to_string(),
                text(&line["host"]),
                text(&line["login"]),
                unstamped(&text(&line["dest_dir"])),
                line["install_command"].as_str().map(str::to_owned),
            )
        })
        .collect()
}

/// The deliveries of the journal, oldest first, as [`told`] tells them.
pub fn done(pipeline: &Pipeline) -> Vec<Told> {
    let journal = Journal::open(&pipeline.state().join("journal.sqlite")).expect("a journal");
    let mut rows = journal.deliveries(&HistoryFilter::default()).expect("rows");
    rows.reverse();
    let told = |row: DeliveryRow| {
        (
            row.package,
            row.rule,
            row.rule_line.to_string(),
            row.host,
            row.login,
            unstamped(&row.dest_dir),
            row.install_command,
        )
    };
    rows.into_iter().map(told).collect()
}

/// Path and reason of each skip.
pub fn skips(lines: &[Value]) -> Vec<(String, String)> {
    let lines = lines.iter().filter(|line| line["skipped"].is_string());
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    lines
        .map(|line| (text(&line["path"]), text(&line["skipped"])))
        .collect()
}

/// Runs the command, which may change nothing below the root.
#[track_caller]
pub fn touches_nothing(pipeline: &Pipeline, args: &[&str]) -> Ran {
    let before = seen(pipeline);
    let ran = pipeline.ad(args);
    let after = seen(pipeline);
    let changed: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
    assert!(before == after, "changed: {changed:#?}: {ran}");
    ran
}

/// Everything below the root. As root, SQLite gives its log and index to the owner of the journal whenever it opens
/// them, who is their owner already: that changes the time of their inodes and nothing else.
fn seen(pipeline: &Pipeline) -> Vec<String> {
    let mut lines = listing(pipeline.env.root());
    if is_root() {
        for line in &mut lines {
            let mut words: Vec<&str> = line.split(' ').collect();
            if words[0].ends_with("-wal") || words[0].ends_with("-shm") {
                words.remove(6);
                *line = words.join(" ");
            }
        }
    }
    lines
}

/// Rules of several kinds: to two hosts; into the standard directory; one that cannot serve.
fn rules(host: &Host) -> Vec<Rule> {
    vec![
        host.rule("^app-").with("host", "127.0.0.1 127.0.0.2").with(
            "install_command",
            "echo {package} {revision} > {path}.installed",
        ),
        host.rule("^lib-").without("dest_dir"),
        host.rule("^odd-").without("host"),
    ]
}

#[test]
fn a_replay_does_what_its_dry_run_told() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&rules(&host));
    pipeline.commit(&[
        ("trunk/app-1", b"1"),
        ("trunk/lib-1", b"l"),
        ("trunk/odd-1", b"o"),
        ("stranger", b"s"),
    ]);
    pipeline.svn.svn(&["rm", "-q", "trunk/lib-1"]);
    pipeline.commit(&[("trunk/app-2", b"2")]);
    for more in [
        &[][..],
        &["--package", "app", "--host", "127.0.0.2"],
        &["--upload-only"],
    ] {
        let _ = fs::remove_dir_all(pipeline.state());
        let mut real = vec!["replay", pipeline.repository(), "1:2"];
        real.extend(more);
        let mut dry = real.clone();
        dry.extend(["--dry-run", "--json"]);
        let told_run = touches_nothing(&pipeline, &dry);
        assert!(!pipeline.state().exists());
        let lines = told_run.json();
        let did = pipeline.ad(&real);
        assert_eq!(told_run.code, did.code, "{told_run}\n{did}");
        assert!(!told(&lines).is_empty());
        assert_eq!(told(&lines), done(&pipeline), "{more:?}");
        let mut recorded = Vec::new();
        for batch in pipeline.sql("SELECT id FROM batches ORDER BY id") {
            let packages = pipeline.packages(batch.expect("a number"));
            recorded.extend(
                packages
                    .into_iter()
                    .filter_map(|one| Some((one.path, one.skipped?))),
            );
        }
        let by_path = |mut list: Vec<(String, String)>| {
            list.sort();
            list
        };
        assert_eq!(by_path(skips(&lines)), by_path(recorded), "{more:?}");
        for line in lines.iter().filter(|line| line["command"].is_string()) {
            let path = format!("'{}.installed", line["remote_path"].as_str().unwrap());
            let path = path.replace(".installed", "'.installed");
            assert!(line["command"].as_str().unwrap().ends_with(&path), "{line}");
        }
    }
}

#[test]
fn a_send_does_what_its_dry_run_told() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&rules(&host));
    let names = ["app-中文", "lib-2", "stranger", "odd-2"];
    let files = names.map(|name| pipeline.env.write(name, name));
    let mut real = vec!["send"];
    real.extend(files.iter().map(|file| file.to_str().expect("UTF-8")));
    let mut dry = real.clone();
    dry.extend(["--dry-run", "--json"]);
    let told_run = touches_nothing(&pipeline, &dry).exits(1);
    let lines = told_run.json();
    assert_eq!(field(&lines[..2], "size"), ["10", "10"]);
    pipeline.ad(&real).exits(1);
    assert_eq!(told(&lines), done(&pipeline));
    let wrong: Vec<String> = skips(&lines).into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        wrong,
        [&files[2], &files[3]].map(|file| file.to_str().expect("UTF-8"))
    );
}

#[test]
fn a_file_that_the_spool_can_never_hold_is_refused_by_the_dry_run_too() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.settings("spool_max = 1000");
    pipeline.rules(&rules(&host));
    let file = pipeline.env.write("app-3", vec![b'x'; 1001]);
    let args = ["send", file.to_str().expect("UTF-8")];
    let dry = touches_nothing(&pipeline, &[args[0], args[1], "--dry-run"]);
    let real = pipeline.ad(&args);
    assert_eq!(dry.code, real.code, "{dry}\n{real}");
    assert!(dry.stderr.contains("may ever hold"), "{dry}");
}

#[test]
fn what_is_pending_is_told_whether_or_not_a_worker_lives_and_nothing_is_touched() {
    let trap = Trap::new();
    let host = Host::down();
    let pipeline = Pipeline::bare();
    let asked = pipeline.env.path("asked").display().to_string();
    pipeline.rules(&[
        host.rule("^app-")
            .with("retry_delay", 600)
            .with("retries", 9),
        trap.rule("^trap-", &asked),
    ]);
    let worker = pipeline.spawn(&["worker"]);
    wait_until("the worker lives", super::LIMIT, || {
        !pipeline.workers().is_empty()
    });
    pipeline.commit(&[("app-1", b"1")]);
    let repository = pipeline.repository();
    pipeline.ad(&["hook", repository, "1"]).exits(0);
    pipeline.awaits("app-1", State::Waiting);
    pipeline.commit(&[("app-2", b"2"), ("trap-2", b"t")]);
    let dry = ["replay", repository, "1:2", "--dry-run", "--json"];
    let pending = |ran: &Ran| field(&ran.json(), "pending");
    assert_eq!(pending(&pipeline.ad(&dry).exits(0)), ["1", "2", "0"]);
    // What a killed worker leaves is the journal's log.
    worker.kill();
    assert!(pipeline.state().join("journal.sqlite-wal").exists());
    let ran = touches_nothing(&pipeline, &dry).exits(0);
    assert_eq!(pending(&ran), ["1", "2", "0"]);
    let ran = touches_nothing(&pipeline, &dry[..4]).exits(0);
    assert!(ran.stdout.contains("1 pending there"), "{ran}");
    // The next one that ends in order folds it into the file.
    pipeline.ad(&["status"]).exits(0);
    assert!(!pipeline.state().join("journal.sqlite-wal").exists());
    let ran = touches_nothing(&pipeline, &dry).exits(0);
    assert_eq!(pending(&ran), ["1", "2", "0"]);
    trap.was_not_dialled();
    assert!(
        !pipeline.env.path("asked").exists(),
        "a password was asked for"
    );
}

#[test]
fn a_state_directory_of_somebody_else_is_told_and_left_alone() {
    needs_root!();
    let trap = Trap::new();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[trap.rule("^app-", "/dev/null")]);
    pipeline.commit(&[("app-1", b"1")]);
    fs::create_dir(pipeline.state()).expect("mkdir");
    std::os::unix::fs::chown(pipeline.state(), Some(65534), None).expect("chown");
    let args = ["replay", pipeline.repository(), "1", "--dry-run"];
    let ran = touches_nothing(&pipeline, &args).exits(0);
    for expected in [
        "deploy@127.0.0.1",
        "belongs to uid 65534",
        "a real run as this user would stop here",
    ] {
        assert!(ran.stdout.contains(expected), "no {expected}: {ran}");
    }
    trap.was_not_dialled();
}

#[test]
fn what_a_dry_run_shows_fits_eighty_and_a_hundred_and_twenty_columns() {
    let pipeline = Pipeline::bare();
    pipeline.rules_text(
        "[^core-]\nhost = 10.1.2.3, app-server-2.production.bank.example\nlogin = deploy\npassword = x\n\
         transports = ssh, ftps\ninstall_command = sh /opt/core/install.sh --package {path} --revision {revision}\n\
         [^核心]\nhost = 10.9.9.9\nlogin = ops\ndest_dir = /srv/核心\n",
    );
    pipeline.commit(&[
        (
            "trunk/releases/2026/core-banking-2026.11.24-hotfix3.tar.gz",
            b"1",
        ),
        ("trunk/核心系统升级包.tar", b"2"),
        ("trunk/readme.txt", b"4"),
    ]);
    for (columns, name) in [("80", "replay_dry_run_80"), ("120", "replay_dry_run_120")] {
        let mut command = pipeline.command(&["replay", pipeline.repository(), "1", "--dry-run"]);
        let ran = Ran::of(command.env("COLUMNS", columns)).exits(1);
        let (head, rest) = ran.stdout.split_once('\n').expect("lines");
        assert!(head.starts_with("r1 of "), "{head}");
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(r"\d{8}_\d{6}", "20261124_101010");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_snapshot_path("../snapshots");
        settings.bind(|| insta::assert_snapshot!(name, rest));
    }
}
