//! A small world: a repository with the real hook, and production hosts, each behind a network of its own that
//! can fail. It knows what was committed, and so what is owed.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use serde_json::json;

use super::check::{Asked, Commit, kind_of};
use super::proxy::Proxy;
use super::twist::Twist;
use crate::pipeline::host::{Host, me};
use crate::pipeline::rule::Rule;
use crate::pipeline::{LIMIT, Pipeline, processes_of, signal};
use crate::servers::certificates::Certificate;
use crate::servers::pyftpdlib::{PASSWORD, Pyftpdlib};
use crate::servers::running::free_port;
use crate::servers::svn::program;
use crate::testenv::{Ran, TestEnv, wait_until, write_program};

/// Ports for FTP's data connections; one upload is under way at a time, and a closed port rests.
const PASSIVE_PORTS: u16 = 12;

/// For everything that is owed, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(4);

/// How packages travel to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Ssh,
    /// SSH, by dropbear. Needs root.
    Dropbear,
    Ftp,
    Ftps,
}

impl Way {
    fn is_ssh(self) -> bool {
        matches!(self, Self::Ssh | Self::Dropbear)
    }
}

/// One production host behind its network.
pub struct Place {
    pub way: Way,
    pub host: Host,
    pub proxy: Proxy,
    address: Ipv4Addr,
    ssh_port: u16,
    ftp: Option<Pyftpdlib>,
    fingerprint: Option<String>,
}

impl Place {
    /// Where packages arrive.
    pub fn packages(&self) -> PathBuf {
        match &self.ftp {
            Some(ftp) => ftp.home().join("in"),
            None => self.host.file("in"),
        }
    }

    /// A rule that brings what `name` matches here and installs it, or not.
    fn rule(&self, name: &str, installs: bool) -> Rule {
        let mut rule = self
            .host
            .rule(name)
            .with("host", self.address)
            .with("ssh_port", self.ssh_port)
            .with("dest_dir", "~/in")
            .with("connect_timeout", 4)
            .with("stall_timeout", 3)
            .with("retries", 1000)
            .with("retry_delay", 1);
        if let Some(ftp) = &self.ftp {
            rule = rule
                .with(
                    "transports",
                    if self.way == Way::Ftps { "ftps" } else { "ftp" },
                )
                .with("ftp_port", ftp.port)
                .with("password", PASSWORD);
        }
        if let Some(fingerprint) = &self.fingerprint {
            rule = rule.with("ftps_fingerprint", fingerprint);
        }
        if installs {
            rule = rule.with("install_command", INSTALL);
        }
        rule
    }
}

/// Counts its beginning and its end on the host; time and exit status are those of the package's kind.
const INSTALL: &str = "echo \"begin $AD_DELIVERY $AD_PACKAGE $AD_REVISION\" >>\"$HOME/ran\"; echo at work; \
    case $AD_PACKAGE in *-slow-*) sleep 0.3 ;; *-loud-*) head -c 3000000 /dev/zero | tr '\\000' x ;; \
    *-fork-*) sleep 1 & ;; *) sleep 0.01 ;; esac; \
    echo \"end $AD_DELIVERY $AD_PACKAGE $AD_REVISION\" >>\"$HOME/ran\"; \
    case $AD_PACKAGE in *-bad-*) exit 7 ;; *-shot-*) kill -9 $$ ;; esac";

/// What becomes of the hook of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    Real,
    /// There is none.
    Missing,
    /// It is killed at a fail point.
    DiesAt(&'static str),
    /// It is killed when it has run for so long.
    KilledAfter(Duration),
}

/// The world.
pub struct World {
    // First, so that our processes end before the hosts.
    pub pipeline: Pipeline,
    pub places: Vec<Place>,
    pub commits: Vec<Commit>,
    /// Names and bytes of the files that `send` was given.
    pub sent: Vec<(String, Vec<u8>)>,
    /// What the operator asked for.
    pub asked: Asked,
    pub twist: Twist,
    hook: String,
    named: usize,
}

impl World {
    /// With a place for each way, `a`, `b` and so on, and the rules for them.
    pub fn new(ways: &[Way]) -> Self {
        let pipeline = Pipeline::bare();
        pipeline.install_hook();
        let hook = fs::read_to_string(pipeline.svn.repository.join("hooks/post-commit"));
        let places = (0..5)
            .find_map(|_| lay_out(&pipeline, ways))
            .expect("free ports in five tries");
        let world = Self {
            pipeline,
            places,
            commits: Vec::new(),
            sent: Vec::new(),
            asked: Asked::default(),
            twist: Twist::default(),
            hook: hook.expect("the hook"),
            named: 0,
        };
        world.write_rules(&|rule| rule);
        world
    }

    /// Writes the rules, each changed by `change`.
    pub fn write_rules(&self, change: &dyn Fn(Rule) -> Rule) {
        let mut rules = Vec::new();
        for (letter, place) in ('a'..).zip(&self.places) {
            rules.push(place.rule(&format!("{letter}-file"), false));
            rules.push(place.rule(&format!("{letter}-"), true));
        }
        if let [first, second, ..] = self.places.as_slice()
            && first.way.is_ssh()
            && second.way.is_ssh()
        {
            second.host.admits_whom(&first.host);
            let hosts = format!("{} {}", first.address, second.address);
            for (name, installs) in [("ab-file", false), ("ab-", true)] {
                rules.push(first.rule(name, installs).with("host", &hosts));
            }
        }
        let rules: Vec<Rule> = rules.into_iter().map(change).collect();
        self.pipeline.rules(&rules);
    }

    /// A name that no package had: `a` is the place (`ab` two of them, `z` none), `kind` one of `file`, `ok`,
    /// `slow` and `bad`.
    pub fn name(&mut self, place: &str, kind: &str) -> String {
        self.named += 1;
        let name = format!("{place}-{kind}-{}", self.named);
        assert_eq!(kind_of(&name), kind);
        name
    }

    /// Commits these packages in one revision, which is returned.
    pub fn commit(&mut self, hook: &Hook, files: Vec<(String, Vec<u8>)>) -> u64 {
        let path = self.pipeline.svn.repository.join("hooks/post-commit");
        self.lay_hook(&path, hook);
        let ran = put(&self.pipeline.env, &self.pipeline.svn.url(), &files);
        let revision = self.commits.len() as u64 + 1;
        assert_eq!(self.pipeline.svn.youngest(), revision, "{ran}");
        self.commits.push(Commit { revision, files });
        revision
    }

    /// Lays the hook at `path`.
    pub fn lay_hook(&self, path: &Path, hook: &Hook) {
        let call = "exec auto-dispatcher hook";
        assert!(self.hook.contains(call), "{}", self.hook);
        let text = match hook {
            Hook::Real => self.hook.clone(),
            Hook::Missing => {
                let _ = fs::remove_file(path);
                return;
            }
            Hook::DiesAt(point) => self.hook.replace(
                call,
                &format!(
                    "AUTO_DISPATCHER_FAIL_POINT={point}\nexport AUTO_DISPATCHER_FAIL_POINT\n{call}"
                ),
            ),
            Hook::KilledAfter(time) => self.hook.replace(
                call,
                &format!(
                    "exec timeout -s KILL {} auto-dispatcher hook",
                    time.as_secs_f64()
                ),
            ),
        };
        write_program(path, text);
    }

    /// Starts the binary under test; it dies at `fail_point` (`NAME` or `NAME:COUNT`) if there is one.
    pub fn start(&self, args: &[&str], fail_point: Option<&str>) -> Child {
        let mut command = self.pipeline.command(args);
        if let Some(point) = fail_point {
            command.env("AUTO_DISPATCHER_FAIL_POINT", point);
        }
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary")
    }

    /// The processes of the binary under test that live here.
    pub fn processes(&self) -> Vec<i32> {
        processes_of(&self.mark())
    }

    pub fn mark(&self) -> String {
        self.pipeline.env.root().to_string_lossy().into_owned()
    }

    /// Nothing is broken any more.
    pub fn heal(&mut self) {
        for place in &mut self.places {
            place.proxy.heal();
            if !place.host.is_up() {
                place.host.resume();
            }
        }
    }

    /// Brings what is owed to an end, in a healed world: one more commit for every place, which gives every lane
    /// its next work and the ledger its end; a healthy worker until all is settled; then nobody lives.
    pub fn finish(&mut self) {
        self.heal();
        self.work_every_lane(&Hook::Real);
        self.end_all(Signal::TERM);
        self.has_patience();
        // Alone, it finds what two that swept at the same time left to each other, and what one left that was to die
        // at a fail point even now.
        self.work_every_lane(&Hook::DiesAt("hook.recorded"));
    }

    /// What a slow host leaves to be tidied later has no later after the last worker.
    fn has_patience(&self) {
        let rules = self.pipeline.rules_file();
        let text = fs::read_to_string(&rules).expect("the rules");
        let patient: Vec<&str> = text
            .lines()
            .map(|line| match line.split_once('=') {
                Some((name, _)) if name.trim() == "stall_timeout" => "stall_timeout = 60",
                _ => line,
            })
            .collect();
        fs::write(rules, patient.join("\n")).expect("write");
    }

    /// One more commit for every place, and a healthy worker until all is settled.
    fn work_every_lane(&mut self, hook: &Hook) {
        let letters = ('a'..).take(self.places.len());
        let letters: Vec<String> = letters.map(String::from).collect();
        let files = letters
            .iter()
            .map(|letter| (self.name(letter, "ok"), b"the last one".to_vec()))
            .collect();
        self.commit(hook, files);
        self.work();
        while self.lets_a_lane_go_on() {
            self.work();
        }
    }

    /// Ends every process of ours, and waits until none lives.
    pub fn end_all(&self, by: Signal) {
        let mark = self.mark();
        for pid in processes_of(&mark) {
            signal(pid, by);
        }
        wait_until("nobody of ours lives", LIMIT, || {
            processes_of(&mark).is_empty()
        });
    }

    /// A healthy worker until all is settled. Nobody waits for the pauses between attempts.
    pub fn work(&self) {
        let mut worker = self.start(&["worker", "--until-idle"], None);
        let mut status = None;
        wait_until("the worker has settled everything", PATIENCE, || {
            self.let_pauses_pass();
            status = worker.try_wait().expect("wait");
            status.is_some()
        });
        let code = status.and_then(|status| status.code());
        assert!(matches!(code, Some(0 | 1)), "{code:?}\n{}", self.log());
    }

    /// Lets the pauses before further attempts be over, as time does.
    pub fn let_pauses_pass(&self) {
        let path = self.pipeline.state().join("journal.sqlite");
        // The binary makes it.
        let Ok(journal) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        else {
            return;
        };
        let waiting =
            "SELECT (SELECT count(*) FROM deliveries WHERE state = 'waiting' AND due_at > 0)
            + (SELECT count(*) FROM batches WHERE state = 'plan_failed' AND due_at > 0)";
        let count: i64 = journal
            .query_row(waiting, [], |row| row.get(0))
            .unwrap_or_default();
        if count > 0 {
            // A journal that is busy is asked again.
            let _ = journal.execute_batch(
                "UPDATE deliveries SET due_at = 0 WHERE state = 'waiting';
                 UPDATE batches SET due_at = 0 WHERE state = 'plan_failed';",
            );
        }
    }

    /// What our processes logged.
    pub fn log(&self) -> String {
        let path = self.pipeline.state().join("auto-dispatcher.log");
        fs::read_to_string(path).unwrap_or_default()
    }
}

/// Commits these packages in one revision of the repository at `url`.
pub fn put(env: &TestEnv, url: &str, files: &[(String, Vec<u8>)]) -> Ran {
    let mut command = Command::new(program("svnmucc"));
    command
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", env.home())
        .env("PATH", "/usr/bin:/bin")
        .args(["-m", "a change", "-U", url])
        .stdin(Stdio::null());
    for (name, bytes) in files {
        let file = env.write(format!("commit/{name}"), bytes);
        command.arg("put").arg(file).arg(name);
    }
    // A hook that is killed may show in the exit status; the commit stands.
    Ran::of(&mut command)
}

/// The places of a world, unless a port was taken meanwhile.
fn lay_out(pipeline: &Pipeline, ways: &[Way]) -> Option<Vec<Place>> {
    let ssh_port = free_port();
    let passive = free_range(PASSIVE_PORTS);
    let mut places = Vec::new();
    for (number, &way) in (0_u8..).zip(ways) {
        let address = Ipv4Addr::new(127, 0, 0, 11 + number);
        let host = match way {
            Way::Dropbear => Host::with_dropbear(),
            _ => Host::up(),
        };
        let dir = pipeline.env.path(format!("ftp-{number}-{ssh_port}"));
        let mut ports = vec![(ssh_port, host.port)];
        let (mut ftp, mut fingerprint) = (None, None);
        if !way.is_ssh() {
            fs::create_dir_all(&dir).expect("mkdir");
            let certificate = (way == Way::Ftps).then(|| Certificate::self_signed(&dir));
            fingerprint = certificate.as_ref().map(Certificate::fingerprint);
            let server = start_ftp(&dir, certificate.as_ref(), &passive);
            ports.extend(
                passive
                    .iter()
                    .chain([&server.port])
                    .map(|&port| (port, port)),
            );
            ftp = Some(server);
        }
        places.push(Place {
            way,
            host,
            proxy: Proxy::open(address, &ports).ok()?,
            address,
            ssh_port,
            ftp,
            fingerprint,
        });
    }
    Some(places)
}

fn start_ftp(dir: &Path, certificate: Option<&Certificate>, passive: &[u16]) -> Pyftpdlib {
    Pyftpdlib::start(dir, certificate, json!({"login": me(), "passive": passive}))
}

/// Ports in a row that nobody has, below those that the kernel gives to connections.
fn free_range(count: u16) -> Vec<u16> {
    let is_free = |port: u16| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    for _ in 0..100 {
        let first = fastrand::u16(15_000..30_000);
        let ports: Vec<u16> = (first..first + count).collect();
        if ports.iter().all(|&port| is_free(port)) {
            return ports;
        }
    }
    panic!("no {count} free ports in a row");
}
