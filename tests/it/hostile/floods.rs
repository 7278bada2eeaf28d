//! Peers that never stop: each delivery ends, and the worker's memory stays small.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::pipeline::host::Host;
use crate::pipeline::rule::Rule;
use crate::pipeline::talkative::peak_kib;
use crate::pipeline::{LIMIT, Pipeline, field};
use crate::servers::certificates::Certificate;
use crate::servers::hostile_ftp::HostileFtp;
use crate::testenv::{TestEnv, runs, wait_until};

/// What the worker's memory stays below, KiB; the peers have gigabytes to send.
const PEAK_MAX_KIB: u64 = 200 * 1024;

/// What a peer that is no honest one keeps a worker from going on for, seconds.
const IMPATIENT: u64 = 2;
/// The same where the flood comes after an honest program has begun, however slowly.
const PATIENT: u64 = 20;

/// One worker meets all these rules, each with a package of its name, and gives up each; the rows by name.
#[track_caller]
fn all_end(rules: &[Rule], names: &[&str], connect_timeout: u64) -> Vec<Value> {
    let pipeline = Pipeline::bare();
    // One after the other: none hides behind another one's memory.
    pipeline.settings("workers = 1");
    let rules: Vec<Rule> = rules
        .iter()
        .map(|rule| {
            rule.clone()
                .with("retries", 0)
                .with("connect_timeout", connect_timeout)
                .with("stall_timeout", 2)
        })
        .collect();
    pipeline.rules(&rules);
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &b"x"[..])).collect();
    pipeline.commit(&files);
    let _worker = pipeline.spawn(&["worker"]);
    wait_until("the worker lives", LIMIT, || !pipeline.workers().is_empty());
    pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
    let mut rows = pipeline.settled_within(names.len(), Duration::from_mins(5));
    let peak = peak_kib(pipeline.workers()[0]);
    for row in &rows {
        let error = row["error"].as_str().unwrap_or_default();
        eprintln!("{}: {}: {error}", row["package"], row["fault"]);
        assert!(error.len() < 4000, "{} bytes of message", error.len());
    }
    eprintln!("worker: {peak} KiB at most");
    assert!(peak < PEAK_MAX_KIB, "{peak} KiB");
    assert_eq!(field(&rows, "state"), vec!["failed"; names.len()]);
    rows.sort_by_key(|row| row["package"].to_string());
    rows
}

/// A peer that says this to whoever calls.
fn peer(says: fn(&mut TcpStream) -> std::io::Result<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for caller in listener.incoming() {
            let mut caller = caller.expect("a caller");
            // It ends when the other side has had enough.
            thread::spawn(move || says(&mut caller));
        }
    });
    port
}

fn for_ever(caller: &mut TcpStream, piece: &[u8]) -> std::io::Result<()> {
    let many = piece.repeat(1 + 65_536 / piece.len());
    loop {
        caller.write_all(&many)?;
    }
}

/// A packet of SSH before the keys are exchanged.
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 8 - (payload.len() + 5) % 8 + 8;
    let length = u32::try_from(payload.len() + padding + 1).expect("short");
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).expect("short"));
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

#[test]
fn ssh_servers_that_never_stop_before_the_login_are_given_up() {
    let rule = |name, says| {
        Rule::new(name)
            .with("host", "127.0.0.1")
            .with("login", "u")
            .with("transports", "ssh")
            .with("ssh_port", peer(says))
    };
    let rules = [
        rule("lines", |caller| {
            for_ever(caller, b"another line before the version\r\n")
        }),
        rule("line", |caller| {
            for_ever(caller, b"SSH-2.0-a line without end ")
        }),
        rule("drip", |caller| {
            loop {
                caller.write_all(b"a\n")?;
                thread::sleep(Duration::from_millis(100));
            }
        }),
        rule("ignore", move |caller| {
            caller.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")?;
            for_ever(
                caller,
                &packet(&[&b"\x02\0\0\x01\0"[..], &[b'x'; 256]].concat()),
            )
        }),
        rule("banners", move |caller| {
            caller.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")?;
            let text = vec![b'x'; 30_000];
            let head = b"\x35\0\0\x75\x30";
            for_ever(caller, &packet(&[&head[..], &text, b"\0\0\0\0"].concat()))
        }),
        rule("silence", |caller| {
            caller.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")?;
            thread::sleep(Duration::from_mins(10));
            Ok(())
        }),
    ];
    let names = ["lines", "line", "drip", "ignore", "banners", "silence"];
    let rows = all_end(&rules, &names, IMPATIENT);
    assert_eq!(field(&rows, "fault"), ["unreachable"; 6]);
}

/// Ends the programs that say in this file that they run, when the test ends: some never notice that nobody is there.
struct Ended(PathBuf);

impl Drop for Ended {
    fn drop(&mut self) {
        let numbers = fs::read_to_string(&self.0).unwrap_or_default();
        for number in numbers.lines().filter_map(|line| line.parse().ok()) {
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_raw(number).expect("a process"),
                rustix::process::Signal::KILL,
            );
        }
    }
}

/// A host whose programs of these names are other ones; it has no SFTP.
fn host_with_programs(programs: &[(&str, &str)]) -> (TestEnv, Host) {
    let env = TestEnv::new();
    for (name, script) in programs {
        env.program(format!("bin/{name}"), format!("#!/bin/sh\n{script}\n"));
    }
    let host = Host::with(&format!(
        "ForceCommand PATH={}:$PATH; export PATH; eval \"$SSH_ORIGINAL_COMMAND\"",
        env.path("bin").display()
    ));
    (env, host)
}

#[test]
fn hosts_whose_programs_never_stop_are_given_up() {
    let running = TestEnv::new();
    let ended = Ended(running.path("running"));
    let talks = format!(
        "echo $$ >>{}; exec yes 'a line of nothing' 1>&2",
        ended.0.display()
    );
    let talks = talks.as_str();
    let drips = "while echo x 1>&2; do sleep 0.1; done";
    let hosts = [
        ("mkdir", host_with_programs(&[("mkdir", talks)])),
        ("mkdir-drips", host_with_programs(&[("mkdir", drips)])),
        ("dd", host_with_programs(&[("dd", talks)])),
        ("mv", host_with_programs(&[("mv", talks)])),
        (
            "cat",
            host_with_programs(&[("dd", "exit 1"), ("head", "exit 1"), ("cat", talks)]),
        ),
    ];
    let shell = Host::with("ForceCommand yes 'no shell at all'");
    let sftp = Host::with("Subsystem sftp /bin/cat /dev/zero\nForceCommand cat /dev/zero");
    let mut rules: Vec<Rule> = hosts
        .iter()
        .map(|(name, (_, host))| host.rule(&format!("{name}$")))
        .collect();
    rules.push(shell.rule("shell"));
    rules.push(sftp.rule("sftp"));
    let mut names: Vec<&str> = hosts.iter().map(|(name, _)| *name).collect();
    names.extend(["shell", "sftp"]);
    let rows = all_end(&rules, &names, PATIENT);
    for row in &rows {
        assert!(
            ["transient", "unsupported", "permanent"].contains(&row["fault"].as_str().unwrap()),
            "{row}"
        );
    }
}

#[test]
fn an_sftp_server_that_never_stops_answering_is_given_up() {
    // Answers INIT, then sends answers to questions that nobody asked.
    let script = "import os, struct\n\
                  def send(body): os.write(1, struct.pack('>I', len(body)) + body)\n\
                  os.read(0, 65536)\n\
                  send(struct.pack('>BI', 2, 3))\n\
                  os.read(0, 65536)\n\
                  name = b'/' + b'n' * 20000\n\
                  entry = struct.pack('>I', len(name)) + name + struct.pack('>I', 0) + struct.pack('>I', 0)\n\
                  number = 1000\n\
                  while True:\n    number += 1\n    send(struct.pack('>BII', 104, number, 1) + entry)\n";
    let env = TestEnv::new();
    let file = env.write("sftp.py", script);
    let sftp = format!("/usr/bin/python3 -I {}", file.display());
    let host = Host::with(&format!(
        "Subsystem sftp {sftp}\nForceCommand [ \"$SSH_ORIGINAL_COMMAND\" = '{sftp}' ] && exec {sftp}"
    ));
    let rule = host.rule("name").with("dest_dir", "~/in");
    let rows = all_end(&[rule], &["name"], PATIENT);
    assert_eq!(field(&rows, "fault"), ["transient"]);
}

#[test]
fn install_commands_that_never_stop_are_ended_on_the_host_and_here() {
    let host = Host::up();
    let rules = ["tracked", "plain"].map(|mode| {
        host.rule(mode)
            .with("install_timeout", 3)
            .with("install_mode", mode)
            .with("install_command", "exec yes never-ends-{package}")
    });
    all_end(&rules, &["tracked", "plain"], PATIENT);
    for name in ["tracked", "plain"] {
        let command = format!("never-ends-{name}");
        wait_until("it is ended on the host", LIMIT, || {
            !runs(&["yes", &command])
        });
    }
}

/// What never ends, and how.
fn ftp_floods() -> Vec<(String, Value)> {
    let mut floods = Vec::new();
    for command in [
        "greeting", "USER", "PASS", "FEAT", "PWD", "EPSV", "STOR", "SIZE",
    ] {
        for how in ["line", "lines", "drip"] {
            floods.push((
                format!("{command}-{how}"),
                json!({ "endless": command, "how": how }),
            ));
        }
    }
    floods.push((
        "listing".to_owned(),
        json!({ "endless_data": true, "replies": { "SIZE": "502 no", "MLST": "502 no" } }),
    ));
    floods
}

#[test]
fn ftp_servers_that_never_stop_are_given_up() {
    let mut servers = Vec::new();
    let mut rules = Vec::new();
    let mut names = Vec::new();
    for (name, settings) in ftp_floods() {
        let env = TestEnv::new();
        let server = HostileFtp::start(env.root(), None, settings);
        rules.push(
            Rule::new(&format!("{name}$"))
                .with("host", "127.0.0.1")
                .with("login", "u")
                .with("password", "p")
                .with("transports", "ftp")
                .with("dest_dir", "~")
                .with("ftp_port", server.port),
        );
        servers.push((env, server));
        names.push(name);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    all_end(&rules, &names, IMPATIENT);
}

#[test]
fn an_ftps_server_that_sends_without_end_on_the_connection_of_an_upload_is_given_up() {
    let env = TestEnv::new();
    let certificate = Certificate::self_signed(env.root());
    let server = HostileFtp::start(
        env.root(),
        Some(&certificate),
        json!({ "endless_store": true }),
    );
    let rule = Rule::new("name")
        .with("host", "127.0.0.1")
        .with("login", "u")
        .with("password", "p")
        .with("transports", "ftps")
        .with("ftps_fingerprint", certificate.fingerprint())
        .with("dest_dir", "~")
        .with("ftp_port", server.port);
    let rows = all_end(&[rule], &["name"], PATIENT);
    assert_eq!(field(&rows, "fault"), ["transient"]);
}
