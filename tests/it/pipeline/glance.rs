//! What the operator sees: tables and messages as they were last looked at, on wide and narrow screens and on terminals;
//! running progress seen from another process; CSV.

use std::fs;
use std::process::{Command, Stdio};

use auto_dispatcher::domain::delivery::State;
use rusqlite::Connection;
use rustix::process::Signal;

use super::host::Host;
use super::{LIMIT, Pipeline, processes_of, signal};
use crate::servers::relay::Relay;
use crate::testenv::{Ran, wait_until};

/// A record in which everything is that a screen has to tell of.
const RECORD: &str = "
INSERT INTO repositories (id, uuid, path, first_revision, recorded_at) VALUES (7, 'u', '/svn/prod', 1, 0);
INSERT INTO workers (id, pid, role, started_at, ended_at) VALUES (7, 1, 'worker', 0, 0);
INSERT INTO batches (id, source, repository_id, revision, author, stamp, recorded_at, state, planned_at, committed_at,
    message, plan_error, plan_attempts, due_at) VALUES
  (71, 'revision', 7, 41, 'ann', 's', 1764000000000, 'planned', 1764000000000, 1763999999000, 'core banking\nsecond line',
   NULL, 0, 0),
  (72, 'replay', 7, 41, 'ann', 's', 1764000900000, 'planned', 1764000900000, NULL, NULL, NULL, 0, 0),
  (73, 'revision', 7, 42, NULL, 's', 1764001000000, 'plan_failed', NULL, NULL, NULL,
   'the rules file cannot be read: [core] has no host', 3, 1764001060000);
UPDATE batches SET cites = 71 WHERE id = 72;
INSERT INTO packages (id, batch_id, path, action, sha256, size) VALUES
  (71, 71, 'trunk/core-banking-2026.11.tar.gz', 'added', 'e95022f905831b324406cfbe487a3333', 20000000),
  (72, 72, 'trunk/core-banking-2026.11.tar.gz', 'added', 'e95022f905831b324406cfbe487a3333', 20000000);
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 29)
INSERT INTO deliveries (id, batch_id, package_id, package, rule, rule_line, lane, host, login, ssh_port, ftp_port, dest_dir,
    connection, service, stops_lane, state, step, attempts, worker_id, queued_at, settled_at, fault, error, due_at)
  SELECT 101 + i, 71, 71, 'core-banking-2026.11.tar.gz', 'core-.*', 3,
    'deploy@' || CASE WHEN i < 12 THEN '10.1.2.3' ELSE 'app' || i || '.bank' END,
    CASE WHEN i < 12 THEN '10.1.2.3' ELSE 'app' || i || '.bank' END, 'deploy', 22, 21, '/srv/newcx/20261124_101010', '{}',
    '{\"install_command\":\"./install.sh {path}\"}', i = 20,
    CASE WHEN i < 21 THEN 'failed' WHEN i < 23 THEN 'unknown' WHEN i < 25 THEN 'waiting' WHEN i < 28 THEN 'queued'
      ELSE 'done' END, 'install', 1, 7,
    1764000000000 + i, CASE WHEN i < 23 OR i > 27 THEN 1764000300000 + i END,
    CASE WHEN i < 21 THEN 'permanent' WHEN i < 23 THEN 'unknown' WHEN i < 25 THEN 'unreachable' END,
    CASE WHEN i < 21 THEN 'the install command ended with exit status 7; `show` has its output, `retry` runs it again'
      WHEN i < 23 THEN 'the connection broke' WHEN i < 25 THEN 'connect to port 22: connection refused' END,
    CASE WHEN i IN (23, 24) THEN 1764000600000 ELSE 0 END FROM n;
UPDATE deliveries SET lane = 'deploy@app20.bank' WHERE id = 126;
INSERT INTO deliveries (id, batch_id, package_id, package, rule, rule_line, lane, host, login, ssh_port, ftp_port, dest_dir,
    connection, service, stops_lane, state, step, queued_at, settled_at)
  SELECT 140, 72, 72, package, rule, 3, lane, host, login, 22, 21, dest_dir, '{}', service, 0, 'done', 'install',
    1764000900000, 1764000960000 FROM deliveries WHERE id = 101;
INSERT INTO attempts (delivery_id, number, worker_id, started_at, ended_at, step, outcome, transport, fingerprint, detail,
    verified, fault, error, exit_status, output, output_cut) SELECT id, 1, 7, 1764000100000, settled_at, step, state, 'ssh',
    'SHA256:0DYuG0MB88jhte4JvfTiz71Jb6LjP1m/bmqaCunTvwQ', 'SFTP, chacha20-poly1305@openssh.com', 'digest', fault, error,
    CASE WHEN fault = 'permanent' THEN 7 END, CAST('unpacking\nno space' || char(27) || '[31m left' AS BLOB), 0
  FROM deliveries WHERE state <> 'queued';
INSERT INTO gaps (repository_id, low, high, noticed_at) VALUES (7, 3, 40, 1764000000000);
";

fn recorded() -> Pipeline {
    let pipeline = Pipeline::bare();
    pipeline.rules_text("[nothing]\nhost = h\nlogin = l\n");
    let file = pipeline.env.write("other", "x");
    pipeline
        .ad(&["send", file.to_str().expect("UTF-8")])
        .exits(1);
    let connection = Connection::open(pipeline.state().join("journal.sqlite")).expect("SQLite");
    connection.execute_batch(RECORD).expect("a record");
    pipeline
}

/// What a command prints at so many columns, without the disk, which is this machine's.
fn seen(pipeline: &Pipeline, columns: usize, args: &[&str]) -> String {
    let mut command = pipeline.command(args);
    command.env("COLUMNS", columns.to_string()).env("TZ", "UTC");
    let ran = Ran::of(&mut command).exits(0);
    let root = pipeline.env.root().to_string_lossy().into_owned();
    let mut lines = Vec::new();
    let mut in_disk = false;
    for line in ran.stdout.lines() {
        // A path that is longer than the screen cannot be broken without breaking the command.
        let fits = line.contains(&root) || line.chars().count() <= columns;
        assert!(fits, "{line}");
        in_disk = line.starts_with("disk of") || (in_disk && line.starts_with(' '));
        if !in_disk {
            lines.push(line);
        }
    }
    lines.join("\n").replace(&root, "/R")
}

#[test]
fn screens_look_as_they_were_last_looked_at() {
    let pipeline = recorded();
    for columns in [80, 120] {
        for args in [&["status"][..], &["history"], &["show", "101"]] {
            let name = format!("{}_{columns}", args[0]);
            insta::assert_snapshot!(name, seen(&pipeline, columns, args));
        }
    }
    insta::assert_snapshot!("status_40", seen(&pipeline, 40, &["status"]));
}

#[test]
fn the_status_sums_up_and_all_lists() {
    let pipeline = recorded();
    let shown = pipeline.ad(&["status"]).exits(0).stdout;
    let first = shown.lines().next().expect("a line");
    for part in [
        "21 deliveries failed, 2 unknown",
        "1 lane stopped",
        "1 revision cannot be planned",
        "2 hosts unreachable",
        "2 waiting",
    ] {
        assert!(first.contains(part), "{part} in {first}");
    }
    let config = format!("--config '{}'", pipeline.rules_file().display());
    for command in [
        "retry --host 10.1.2.3",
        "retry 123",
        "history --state failed,unknown",
    ] {
        let typed = format!("auto-dispatcher {config} {command}\n");
        assert!(shown.contains(&typed), "{typed} in {shown}");
    }
    assert!(!shown.contains("app12.bank"), "{shown}");
    let all = pipeline.ad(&["status", "--all"]).exits(0).stdout;
    assert!(all.contains("app12.bank") && !all.contains("more"), "{all}");
}

#[test]
fn csv_has_a_header_and_what_json_has() {
    let pipeline = recorded();
    let sql = "UPDATE deliveries SET package = '=cmd|''/c x''!A0', rule = 'a,\"b\"' WHERE id = 101";
    let connection = Connection::open(pipeline.state().join("journal.sqlite")).expect("SQLite");
    connection.execute(sql, []).expect("SQL");
    let rows = pipeline.ad(&["history", "--json"]).exits(0).json();
    let csv = pipeline.ad(&["history", "--csv"]).exits(0).stdout;
    let lines: Vec<&str> = csv.split("\r\n").collect();
    let names: Vec<&str> = rows[0]
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(lines[0].split(',').collect::<Vec<_>>(), names);
    assert_eq!(lines.len(), rows.len() + 2, "{csv}");
    assert!(
        csv.contains(",'=cmd|'/c x'!A0,") && csv.contains(",\"a,\"\"b\"\"\","),
        "{csv}"
    );
}

#[test]
fn filters_are_told_what_is_wrong_with_them() {
    let pipeline = recorded();
    for (args, told) in [
        (&["--state", "gone"][..], "the states are"),
        (&["--since", "yesterday"], "is no time"),
        (&["--package", "("], "no regular expression"),
        (&["--since", "2h", "--until", "3h"], "lies before"),
        (&["--json", "--csv"], "cannot be used with"),
    ] {
        let args: Vec<&str> = ["history"]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        let ran = pipeline.ad(&args).exits(2);
        assert!(ran.stderr.contains(told), "{ran}");
    }
    let ran = pipeline.ad(&["history", "--host", "nosuch"]).exits(0);
    assert!(ran.stdout.contains("no delivery is recorded"), "{ran}");
    let ids = |args: &[&str]| {
        let args: Vec<&str> = ["history", "--json"]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        let rows = pipeline.ad(&args).exits(0).json();
        rows.iter()
            .map(|row| row["id"].as_i64().expect("a number"))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&["--state", "unknown"]), [123, 122]);
    for none in [
        ["--rule", "core"],
        ["--package", "ore"],
        ["--since", "2h"],
        ["--until", "2025-11-20"],
        ["--author", "bob"],
        ["--host", "app99.bank"],
        ["--repository", "/svn/other"],
        ["--revision", "40"],
    ] {
        assert_eq!(ids(&none), [0; 0], "{none:?}");
    }
    assert_eq!(
        ids(&["--state", "done", "--host", "10.1.2.3", "--author", "ann"]),
        [140]
    );
    assert_eq!(
        ids(&[
            "--repository",
            "/svn/prod/",
            "--revision",
            "41",
            "--limit",
            "1"
        ]),
        [140]
    );
    assert_eq!(
        ids(&["--rule", "[core-.*]", "--until", "2025-11-24T16:00:00.001Z"]),
        [102, 101]
    );
}

/// The command in a terminal of its own, of which `script` keeps what it is sent.
fn in_a_terminal(
    pipeline: &Pipeline,
    args: &[&str],
    environment: &str,
) -> (Command, std::path::PathBuf) {
    let ours = pipeline.command(args);
    let words: Vec<String> = std::iter::once(ours.get_program())
        .chain(ours.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let kept = pipeline.env.path("terminal");
    let line = format!(
        "stty cols 80 rows 24; {environment} exec {}",
        words.join(" ")
    );
    let mut command = Command::new("script");
    command
        .args(["-qefc", &line])
        .arg(&kept)
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    command.env_clear().envs(
        ours.get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    (command, kept)
}

#[test]
fn colours_come_on_a_terminal_alone_and_not_where_nobody_wants_them() {
    let pipeline = recorded();
    for (environment, coloured) in [
        ("TERM=xterm", true),
        ("TERM=xterm NO_COLOR=1", false),
        ("TERM=dumb", false),
    ] {
        let (mut command, kept) = in_a_terminal(&pipeline, &["status"], environment);
        let status = command
            .status()
            .expect("script is missing: install the Debian package bsdutils");
        assert!(status.success(), "{environment}");
        let shown = fs::read_to_string(kept).expect("what was shown");
        assert!(shown.contains("deliveries failed"), "{shown}");
        assert_eq!(
            shown.contains("\u{1b}[31m") || shown.contains("\u{1b}[1m"),
            coloured,
            "{environment}: {shown:?}"
        );
    }
    let piped = pipeline.ad(&["status"]).exits(0).stdout;
    assert!(!piped.contains('\u{1b}'), "{piped}");
}

#[test]
fn a_watch_leaves_the_terminal_as_it_was() {
    let pipeline = recorded();
    let mark = pipeline.env.root().to_string_lossy().into_owned();
    for end in [Signal::INT, Signal::TERM] {
        let (mut command, kept) =
            in_a_terminal(&pipeline, &["status", "--watch", "0.2"], "TERM=xterm");
        let mut child = command.spawn().expect("script");
        let frames = || {
            fs::read_to_string(&kept)
                .unwrap_or_default()
                .matches("\u{1b}[J")
                .count()
        };
        wait_until("it was shown again and again", LIMIT, || frames() >= 3);
        let watching = processes_of(&mark);
        let [watching] = watching.as_slice() else {
            panic!("{watching:?}")
        };
        signal(*watching, end);
        assert!(child.wait().expect("script").success());
        let shown = fs::read_to_string(&kept).expect("what was shown");
        let (enter, leave) = ("\u{1b}[?1049h\u{1b}[?25l", "\u{1b}[?25h\u{1b}[?1049l");
        assert_eq!(
            (shown.matches(enter).count(), shown.matches(leave).count()),
            (1, 1),
            "{shown:?}"
        );
        let behind = shown.rsplit(leave).next().expect("the rest");
        assert!(!behind.contains("deliveries"), "{behind:?}");
        fs::remove_file(kept).expect("removed");
    }
}

#[test]
fn a_watch_without_a_terminal_prints_on_until_nobody_reads() {
    let pipeline = recorded();
    let mut command = pipeline.command(&["status", "--watch", "0.1"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    let mut read = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut headlines = 0;
    while headlines < 3 {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut read, &mut line).expect("a line");
        assert!(!line.contains('\u{1b}'), "{line:?}");
        headlines += usize::from(line.contains("deliveries failed"));
    }
    drop(read);
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn another_process_sees_how_far_an_upload_is() {
    const SIZE: usize = 3 << 20;
    let host = Host::up();
    let line = Relay::to(host.port, 1 << 20);
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app").with("ssh_port", line.port)]);
    let mut random = fastrand::Rng::with_seed(3);
    let bytes: Vec<u8> = (0..SIZE).map(|_| random.u8(..)).collect();
    pipeline.commit(&[("app", &bytes)]);
    pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
    line.is_spent();
    let mut progress = serde_json::Value::Null;
    wait_until("the bytes are told", LIMIT, || {
        let status = pipeline.status();
        let told = status.iter().find_map(|row| row.get("progress"));
        progress = told.cloned().unwrap_or_default();
        progress["bytes"].as_u64().is_some_and(|bytes| bytes > 0)
    });
    assert_eq!(progress["total"], SIZE, "{progress}");
    assert_eq!(progress["step"], "upload", "{progress}");
    assert!(progress["bytes"].as_u64() < Some(SIZE as u64), "{progress}");
    let shown = pipeline.ad(&["status"]).exits(0).stdout;
    assert!(
        shown.contains("upload, ") && shown.contains(" of 3.0 MiB ("),
        "{shown}"
    );
    let worker = pipeline.workers()[0];
    // A torn file says nothing, and harms nothing.
    let files = fs::read_dir(pipeline.state().join("workers"))
        .expect("a directory")
        .flatten();
    let file = files
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|end| end == "progress"));
    let file = file.expect("a file");
    fs::write(&file, "[{\"deliv").expect("written");
    assert!(pipeline.ad(&["status"]).exits(0).stdout.contains("upload"));
    // What a dead worker told is not believed, and goes.
    fs::write(&file, "[]").expect("written");
    signal(worker, Signal::KILL);
    pipeline.no_worker_lives();
    line.cut();
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    pipeline.awaits("app", State::Done);
    assert!(!file.exists());
}
