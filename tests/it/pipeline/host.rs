//! A production host of the pipeline's tests: OpenSSH's sshd on 127.0.0.1 to 127.0.0.3, which can go down,
//! come back on the same port, and change its key. For every user.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::rule::Rule;
use crate::servers::running::{Running, free_port};
use crate::servers::ssh::new_key;
use crate::testenv::is_root;

/// What serves its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Sshd,
    Dropbear,
}

/// One host.
pub struct Host {
    server: Server,
    // Before the directory, so that the process ends first.
    running: Option<Running>,
    /// Keeps its port while it is down.
    kept: Option<OwnedFd>,
    pub port: u16,
    dir: TempDir,
}

/// The user who runs the tests.
pub fn me() -> String {
    let name = Command::new("id").arg("-un").output().expect("id").stdout;
    String::from_utf8(name).expect("UTF-8").trim().to_owned()
}

/// The processes that `parent` started and that live.
fn children_of(parent: i32) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name, in brackets, may hold anything; state and parent follow.
        let Some((_, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let theirs = rest.split_whitespace().nth(1);
        if theirs == Some(&parent.to_string()) {
            found.extend(entry.file_name().to_string_lossy().parse::<i32>());
        }
    }
    found
}

impl Host {
    /// A host that is up.
    pub fn up() -> Self {
        Self::with("")
    }

    /// A host that is up, with these lines more in its configuration.
    pub fn with(config: &str) -> Self {
        Self::laid_out(config).start()
    }

    /// A host that is up, with dropbear on 127.0.0.1. Needs root.
    pub fn with_dropbear() -> Self {
        let mut host = Self::laid_out("");
        host.server = Server::Dropbear;
        let root = host.dir.path();
        let made = Command::new("dropbearkey")
            .args(["-t", "ed25519", "-f"])
            .arg(root.join("dropbear"))
            .output();
        let made = made.expect("dropbearkey is missing: install the Debian package dropbear-bin");
        assert!(made.status.success(), "{made:?}");
        fs::create_dir(root.join("home/.ssh")).expect("mkdir");
        symlink(
            root.join("client.pub"),
            root.join("home/.ssh/authorized_keys"),
        )
        .expect("symlink");
        let entry = format!("root:x:0:0::{}/home:/bin/sh\n", root.display());
        fs::write(root.join("passwd"), entry).expect("write");
        host.start()
    }

    fn start(self) -> Self {
        let mut host = self;
        let running = Running::start(&host.dir.path().join("log"), "openssh-server", |port| {
            host.program(port)
        });
        host.port = running.port;
        host.running = Some(running);
        host
    }

    /// A host whose port is closed, until [`Host::resume`].
    pub fn down() -> Self {
        let mut host = Self::laid_out("");
        host.port = free_port();
        host
    }

    fn laid_out(config: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("adhost")
            .tempdir()
            .expect("a directory");
        let root = dir.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("chmod");
        fs::create_dir(root.join("home")).expect("mkdir");
        new_key(&root.join("host"), "ed25519", "");
        new_key(&root.join("client"), "ed25519", "");
        let sftp = if config.contains("Subsystem") {
            String::new()
        } else {
            format!("Subsystem sftp internal-sftp -d {}/home", root.display())
        };
        let text = format!(
            "{config}\nListenAddress 127.0.0.1\nListenAddress 127.0.0.2\nListenAddress 127.0.0.3\n\
             HostKey {0}/host\nAuthorizedKeysFile {0}/client.pub\nStrictModes no\nPidFile none\nUseDNS no\n\
             PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\n\
             SetEnv HOME={0}/home\n{sftp}\n",
            root.display()
        );
        fs::write(root.join("sshd_config"), text).expect("write");
        if is_root() {
            fs::create_dir_all("/run/sshd").expect("mkdir");
        }
        Self {
            server: Server::Sshd,
            running: None,
            kept: None,
            port: 0,
            dir,
        }
    }

    fn program(&self, port: u16) -> Command {
        if self.server == Server::Dropbear {
            // The login's home is in the user database, which is the machine's.
            let script = "mount --bind \"$1/passwd\" /etc/passwd && exec dropbear -F -E -r \"$1/dropbear\" \
                          -p \"127.0.0.1:$2\" -P ''";
            let mut command = Command::new("unshare");
            command
                .args([
                    "--mount",
                    "--propagation",
                    "private",
                    "--",
                    "sh",
                    "-c",
                    script,
                    "sh",
                ])
                .arg(self.dir.path())
                .arg(port.to_string());
            return command;
        }
        let mut command = Command::new("/usr/sbin/sshd");
        command
            .args(["-D", "-e", "-p", &port.to_string(), "-f"])
            .arg(self.dir.path().join("sshd_config"));
        command
    }

    /// Whether its port is open.
    pub fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Goes down: the port is closed.
    pub fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            self.kept = running.kept.take().or(self.kept.take());
        }
    }

    /// Comes up on its port.
    pub fn resume(&mut self) {
        let log = self.dir.path().join("log");
        self.running = Some(Running::start_on(
            &log,
            "openssh-server",
            self.port,
            |port| self.program(port),
        ));
    }

    /// Comes up with another key, as a machine that was set up anew, or another one in its place.
    pub fn resume_with_another_key(&mut self) {
        // No connection lives through that.
        self.kill_sessions();
        self.stop();
        for name in ["host", "host.pub"] {
            fs::remove_file(self.dir.path().join(name)).expect("remove");
        }
        new_key(&self.dir.path().join("host"), "ed25519", "");
        self.resume();
    }

    /// Whom it serves by key also serves `other`.
    pub fn admits_whom(&self, other: &Self) {
        let key = fs::read_to_string(other.dir.path().join("client.pub")).expect("a key");
        let file = self.dir.path().join("client.pub");
        let known = fs::read_to_string(&file).expect("keys");
        fs::write(file, known + &key).expect("write");
    }

    /// Kills the processes that serve connections, and not what they started; says how many.
    pub fn kill_sessions(&self) -> usize {
        let listener = self.running.as_ref().map(Running::pid);
        let sessions: Vec<i32> = listener.map_or_else(Vec::new, children_of);
        for &session in &sessions {
            super::signal(session, rustix::process::Signal::KILL);
        }
        sessions.len()
    }

    /// The file of its private key.
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("host")
    }

    /// What sshd has logged.
    pub fn log(&self) -> String {
        self.running.as_ref().map(Running::log).unwrap_or_default()
    }

    /// The login's home, here and there.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A file below the home.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.home().join(name)
    }

    /// What lies in a directory below the home, sorted.
    pub fn list(&self, name: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.file(name)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    /// The lines of a file below the home.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.file(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A rule that brings what matches `name` here, over SSH alone, into `in` below the home.
    pub fn rule(&self, name: &str) -> Rule {
        Rule::new(name)
            .with("host", "127.0.0.1")
            .with("login", me())
            .with("ssh_port", self.port)
            .with("identity_file", self.dir.path().join("client").display())
            .with("transports", "ssh")
            .with("dest_dir", self.file("in").display())
            .with("retry_delay", 1)
    }

    /// A command that counts its runs in `ran`, says that it `began`, and ends when somebody makes `go`, or
    /// when the test is over.
    pub fn long_command(&self) -> String {
        let home = self.home();
        let home = home.display();
        format!(
            "echo $AD_DELIVERY >> {home}/ran; touch {home}/began; \
             while [ ! -e {home}/go ] && [ -d {home} ]; do sleep 0.02; done; echo went"
        )
    }

    /// Lets the long command end.
    pub fn go(&self) {
        fs::write(self.file("go"), "").expect("write");
    }
}
