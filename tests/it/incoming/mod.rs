//! Committers of different users: over svn+ssh each one's hook runs as himself, may read neither rules nor journal, and
//! leaves a note for the service. Needs root, which alone can be many users.

mod hostile;
mod road;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use auto_dispatcher::domain::incoming::Note;

use crate::crash::disks::Disk;
use crate::pipeline::host::Host;
use crate::pipeline::rule::Rule;
use crate::pipeline::{LIMIT, Pipeline, Process};
use crate::servers::running::Running;
use crate::servers::ssh::new_key;
use crate::servers::svn::program;
use crate::servers::users::PrivateUser;
use crate::testenv::{Ran, wait_until, write_program};

/// Whom no machine knows.
const DISPATCHER: u32 = 64_010;
const ALICE: u32 = 64_011;
const BOB: u32 = 64_012;
const MALLORY: u32 = 64_013;
/// The group of everybody who commits.
const SVN: u32 = 64_020;

/// A repository that three users commit to over svn+ssh, and the service of a fourth.
struct Site {
    pipeline: Pipeline,
    /// Before the directory, so that it ends first.
    sshd: Running,
    host: Host,
    _users: PrivateUser,
}

fn chown_all(path: &Path, uid: Option<u32>, gid: Option<u32>) {
    chown(path, uid, gid).expect("chown");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory").flatten() {
            chown_all(&entry.path(), uid, gid);
        }
    }
}

/// Has a group write below `path`, and new files belong to it.
fn share(path: &Path) {
    let mode = fs::metadata(path).expect("stat").permissions().mode();
    let shared = mode | if path.is_dir() { 0o2070 } else { 0o060 };
    fs::set_permissions(path, fs::Permissions::from_mode(shared)).expect("chmod");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory").flatten() {
            share(&entry.path());
        }
    }
}

/// The command as a user of the group, without any other group.
fn by(mut command: Command, uid: u32) -> Command {
    command.uid(uid).gid(SVN).current_dir("/");
    command
}

/// A program as a user of the group runs it.
fn run(uid: u32, words: &[&str]) -> Ran {
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null());
    Ran::of(&mut by(command, uid))
}

impl Site {
    /// With rules that deliver what begins with `app` to a host. Nobody works yet.
    fn new() -> Self {
        Self::on(Pipeline::bare())
    }

    /// The same where notes have a small file system of their own.
    fn on_a_small_disk() -> (Self, Disk) {
        let pipeline = Pipeline::bare();
        let disk = Disk::mount(&pipeline.env.path("spool"), "256k", "0755");
        (Self::on(pipeline), disk)
    }

    fn on(pipeline: Pipeline) -> Self {
        let root = pipeline.env.root().to_owned();
        let host = Host::up();
        pipeline.settings(&format!(
            "incoming = {}\nrepositories = {}/*",
            root.join("spool/incoming").display(),
            root.display()
        ));
        let (sshd, users) = svn_ssh(&root);
        let site = Self {
            sshd,
            _users: users,
            host,
            pipeline,
        };
        site.install_binary();
        site.lay_out();
        site
    }

    /// The state of everything that somebody may or may not touch.
    fn lay_out(&self) {
        let repository = &self.pipeline.svn.repository;
        chown_all(&repository.join("db"), None, Some(SVN));
        share(&repository.join("db"));
        chown_all(&repository.join("locks"), None, Some(SVN));
        share(&repository.join("locks"));
        for name in ["spool", "state", "dispatcher"] {
            let dir = self.path(name);
            fs::create_dir_all(&dir).expect("mkdir");
            chown(&dir, Some(DISPATCHER), Some(DISPATCHER)).expect("chown");
        }
        for (name, mode) in [("spool", 0o755), ("state", 0o700), ("dispatcher", 0o700)] {
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).expect("chmod");
        }
        let key = self.path("dispatcher/key");
        fs::copy(self.host.home().with_file_name("client"), &key).expect("copy");
        chown(&key, Some(DISPATCHER), None).expect("chown");
        let settings = repository.join("conf/auto-dispatcher.cfg");
        fs::set_permissions(settings, fs::Permissions::from_mode(0o644)).expect("chmod");
        self.rules(&[self.rule("app")]);
    }

    fn rule(&self, name: &str) -> Rule {
        self.host
            .rule(name)
            .with("identity_file", self.path("dispatcher/key").display())
            .with("password", "tHeSeCrEt-of-the-rule")
    }

    /// Rules that the service alone may read.
    fn rules(&self, rules: &[Rule]) {
        self.pipeline.rules(rules);
        chown(self.pipeline.rules_file(), Some(DISPATCHER), None).expect("chown");
    }

    /// The real hook with the binary under test, where every user may run both.
    fn install_binary(&self) {
        let bin = self.path("bin");
        fs::create_dir(&bin).expect("mkdir");
        let (from, to) = (
            env!("CARGO_BIN_EXE_auto-dispatcher"),
            bin.join("auto-dispatcher"),
        );
        if fs::hard_link(from, &to).is_err() {
            Ran::of(Command::new("cp").arg(from).arg(&to)).exits(0);
        }
        let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/hooks/post-commit");
        let text = fs::read_to_string(hook).expect("the hook");
        let text = text.replace("\nPATH=", &format!("\nPATH={}:", bin.display()));
        let path = self.pipeline.svn.repository.join("hooks/post-commit");
        write_program(&path, text);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.pipeline.env.path(name)
    }

    /// Works until nothing is left to do, as cron would have it.
    fn work(&self) {
        let mut idle = self.command(DISPATCHER, &["worker", "--until-idle"]);
        Ran::of(&mut idle).exits(0);
    }

    fn incoming(&self) -> PathBuf {
        self.path("spool/incoming")
    }

    /// What lies there, as root sees it.
    fn notes(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.incoming()) else {
            return Vec::new();
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    /// The binary as a user runs it.
    fn command(&self, uid: u32, args: &[&str]) -> Command {
        let mut command = Command::new(self.path("bin/auto-dispatcher"));
        command
            .env_clear()
            .env("HOME", self.path("dispatcher"))
            .arg("--config")
            .arg(self.pipeline.rules_file())
            .args(args)
            .stdin(Stdio::null());
        by(command, uid)
    }

    /// Starts the service.
    fn serve(&self) -> Process {
        Pipeline::started(self.command(DISPATCHER, &["worker"]))
    }

    /// Waits until the service has made its directory, and everybody may leave a note there.
    fn serves(&self) {
        wait_until("the service is there, for all", LIMIT, || {
            let incoming = fs::metadata(self.incoming());
            incoming.is_ok_and(|found| found.permissions().mode() & 0o7777 == 0o1733)
        });
    }

    /// Commits one package over svn+ssh.
    fn commit(&self, user: &str, name: &str, text: &str) -> Ran {
        let file = self
            .pipeline
            .env
            .write(format!("files/{user}-{name}"), text);
        let tunnel = format!(
            "ssh -q -F /dev/null -p {} -i {} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null",
            self.sshd.port,
            self.path("svn-ssh/client").display()
        );
        let url = format!("svn+ssh://{user}@127.0.0.1{}", self.pipeline.repository());
        let mut command = Command::new(program("svnmucc"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.pipeline.env.home())
            .env("SVN_SSH", tunnel)
            .args(["--non-interactive", "-m", "a package", "-U", &url, "put"])
            .arg(file)
            .arg(name)
            .stdin(Stdio::null());
        Ran::of(&mut command)
    }

    /// Leaves a file in `incoming` as a user, by other means than the hook.
    fn leave(&self, uid: u32, name: &str, text: &str) -> Ran {
        let path = self.incoming().join(name);
        let script = "umask 022; printf '%s\\n' \"$1\" >\"$2\"";
        let path = path.to_str().expect("UTF-8");
        run(uid, &["/bin/sh", "-c", script, "sh", text, path])
    }

    /// A note of a revision of our repository.
    fn note(&self, revision: u64) -> Note {
        let uuid = fs::read_to_string(self.pipeline.svn.repository.join("db/uuid")).expect("uuid");
        Note {
            repository: self.pipeline.repository().to_owned(),
            uuid: uuid.lines().next().expect("a line").to_owned(),
            revision,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("state/auto-dispatcher.log")).unwrap_or_default()
    }

    /// Packages and states of all deliveries in their order.
    fn delivered(&self, count: usize) -> Vec<(String, String)> {
        let text = |row: &serde_json::Value, key: &str| row[key].as_str().expect(key).to_owned();
        // Root may not look into the state directory of another user, says the binary.
        crate::testenv::wait_until("all is settled", crate::pipeline::LIMIT, || {
            let rows = self.history();
            rows.len() >= count
                && rows.iter().all(|row| {
                    !matches!(
                        row["state"].as_str(),
                        Some("queued" | "running" | "waiting")
                    )
                })
        });
        let rows = self.history();
        rows.iter()
            .rev()
            .map(|row| (text(row, "package"), text(row, "state")))
            .collect()
    }

    fn history(&self) -> Vec<serde_json::Value> {
        if !self.path("state/journal.sqlite").exists() {
            return Vec::new();
        }
        let mut command = self.command(DISPATCHER, &["history", "--json"]);
        Ran::of(&mut command).exits(0).json()
    }
}

/// An SSH server by which each user reaches svnserve alone, run as himself.
fn svn_ssh(root: &Path) -> (Running, PrivateUser) {
    let dir = root.join("svn-ssh");
    fs::create_dir(&dir).expect("mkdir");
    let users = PrivateUser::new(&dir, "/bin/sh");
    for (name, uid) in [("alice", ALICE), ("bob", BOB), ("mallory", MALLORY)] {
        users.and(name, uid, SVN);
    }
    new_key(&dir.join("host"), "ed25519", "");
    new_key(&dir.join("client"), "ed25519", "");
    let shown = dir.display();
    let config = format!(
        "ListenAddress 127.0.0.1\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/client.pub\nStrictModes no\n\
         PidFile none\nUseDNS no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         ForceCommand umask 002; exec {} -t\n",
        program("svnserve").display()
    );
    let file = dir.join("sshd_config");
    fs::write(&file, config).expect("write");
    fs::create_dir_all("/run/sshd").expect("mkdir");
    let sshd = Running::start(&dir.join("log"), "openssh-server", |port| {
        let mut command = users.command("/usr/sbin/sshd", "sshd");
        command
            .args(["-D", "-e", "-p", &port.to_string(), "-f"])
            .arg(&file);
        command
    });
    (sshd, users)
}
