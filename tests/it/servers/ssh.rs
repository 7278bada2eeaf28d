//! OpenSSH's sshd and dropbear, with host keys of their own, and a caller that dials them.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use auto_dispatcher::domain::fault::Fault;
use auto_dispatcher::domain::secret::Secret;
use auto_dispatcher::domain::target::{ConnectionTerms, Target};
use auto_dispatcher::transport::ssh::ConnectError;
use auto_dispatcher::transport::{Credentials, Dial, Session, StopFlag, Surroundings, ssh};
use tempfile::TempDir;

use super::running::Running;
use super::users::PrivateUser;
use crate::conformance::{Capabilities, ServerUnderTest};
use crate::testenv::is_root;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Sshd,
    Dropbear,
}

/// A running SSH server.
pub struct SshServer {
    // Before the directory, so that the process ends first.
    pub running: Running,
    pub user: Option<PrivateUser>,
    program: Program,
    chrooted: bool,
    home: PathBuf,
    dir: TempDir,
}

fn new_dir() -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix("adssh")
        .tempdir()
        .expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    dir
}

/// Makes a key pair without pass phrase, unless one is given.
pub fn new_key(path: &Path, kind: &str, phrase: &str) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", phrase, "-f"])
        .arg(path)
        .status();
    assert!(
        made.expect("ssh-keygen is missing: apt-get install openssh-client")
            .success()
    );
}

impl SshServer {
    /// sshd for the user who runs the tests, by key, with a home of its own.
    pub fn sshd(config: &str) -> Self {
        let dir = new_dir();
        let home = dir.path().join("user");
        fs::create_dir(&home).expect("mkdir");
        // sshd takes the first value of each keyword.
        let set_home = format!("SetEnv HOME={} ", home.display());
        let config = config.replace("SetEnv ", &set_home);
        let mut more = format!(
            "{config}\n{set_home}\nPermitRootLogin yes\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\n"
        );
        if !config.contains("Subsystem") {
            writeln!(more, "Subsystem sftp internal-sftp -d {}", home.display()).expect("a string");
        }
        Self::start_sshd(dir, home, None, &more, false)
    }

    /// sshd for a user of its own, by password or key. Needs root.
    pub fn sshd_with_user(shell: &str, config: &str) -> Self {
        Self::sshd_where(shell, config, |_| {})
    }

    /// The same where the user's world is changed before.
    pub fn sshd_where(shell: &str, config: &str, change: impl FnOnce(&mut PrivateUser)) -> Self {
        let dir = new_dir();
        let mut user = PrivateUser::new(dir.path(), shell);
        change(&mut user);
        let home = user.home.clone();
        let sftp = if config.contains("Subsystem") {
            ""
        } else {
            "Subsystem sftp internal-sftp\n"
        };
        Self::start_sshd(dir, home, Some(user), &format!("{sftp}{config}"), false)
    }

    /// sshd that lets the user have SFTP alone, in a root directory of its own. Needs root.
    pub fn chrooted() -> Self {
        let dir = new_dir();
        let jail = dir.path().join("jail");
        fs::create_dir(&jail).expect("mkdir");
        let mut user = PrivateUser::new(dir.path(), "/bin/sh");
        let home = jail.join("home");
        fs::create_dir(&home).expect("mkdir");
        PrivateUser::own(&home);
        // sshd refuses a root directory below one that everybody may write to, as /tmp is.
        user.binds.push((jail, PathBuf::from("/srv")));
        let config = "Subsystem sftp internal-sftp\nChrootDirectory /srv\nForceCommand internal-sftp -d /home\n";
        Self::start_sshd(dir, home, Some(user), config, true)
    }

    /// sshd whose user's home is a file system of 1 MB. Needs root.
    pub fn with_small_disk(config: &str) -> Self {
        let dir = new_dir();
        let mut user = PrivateUser::new(dir.path(), "/bin/sh");
        let home = user.home.clone();
        user.small_disks.push((home.clone(), 1024));
        Self::start_sshd(dir, home, Some(user), config, false)
    }

    fn start_sshd(
        dir: TempDir,
        home: PathBuf,
        user: Option<PrivateUser>,
        config: &str,
        chrooted: bool,
    ) -> Self {
        let root = dir.path();
        new_key(&root.join("host"), "ed25519", "");
        new_key(&root.join("host_rsa"), "rsa", "");
        new_key(&root.join("client"), "ed25519", "");
        let level = if config.contains("LogLevel") {
            ""
        } else {
            "LogLevel VERBOSE"
        };
        let common = format!(
            "ListenAddress 127.0.0.1\nHostKey {0}/host\nHostKey {0}/host_rsa\nAuthorizedKeysFile {0}/client.pub\n\
             StrictModes no\nPidFile none\n{level}\nUseDNS no\n{config}\nMaxStartups 100\n",
            root.display()
        );
        let file = root.join("sshd_config");
        fs::write(&file, common).expect("write");
        if is_root() {
            fs::create_dir_all("/run/sshd").expect("mkdir");
        }
        let running = Running::start(&root.join("log"), "openssh-server", |port| {
            let mut command = match &user {
                Some(user) => user.command("/usr/sbin/sshd", "sshd"),
                None => Command::new("/usr/sbin/sshd"),
            };
            command
                .args(["-D", "-e", "-p", &port.to_string(), "-f"])
                .arg(&file);
            command
        });
        Self {
            running,
            user,
            program: Program::Sshd,
            chrooted,
            home,
            dir,
        }
    }

    /// dropbear, which has neither an SFTP server nor a digest of its own. Needs root.
    pub fn dropbear() -> Self {
        Self::dropbear_with_user("/bin/sh")
    }

    /// The same with another login shell.
    pub fn dropbear_with_user(shell: &str) -> Self {
        let dir = new_dir();
        let root = dir.path();
        let user = PrivateUser::new(root, shell);
        let made = Command::new("dropbearkey")
            .args(["-t", "ed25519", "-f"])
            .arg(root.join("host"))
            .output();
        assert!(
            made.expect("dropbearkey is missing: apt-get install dropbear-bin")
                .status
                .success()
        );
        new_key(&root.join("client"), "ed25519", "");
        let running = Running::start(&root.join("log"), "dropbear-bin", |port| {
            let mut command = user.command("dropbear", "dropbear");
            command
                .args(["-F", "-E", "-p", &format!("127.0.0.1:{port}"), "-P"])
                .arg(root.join("pid"));
            command.arg("-r").arg(root.join("host"));
            command
        });
        let home = user.home.clone();
        Self {
            running,
            user: Some(user),
            program: Program::Dropbear,
            chrooted: false,
            home,
            dir,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn home_on_disk(&self) -> &Path {
        &self.home
    }

    /// A caller who holds the password where there is one, else the key.
    pub fn caller(&self) -> Caller {
        let mut caller = Caller::new(self.running.port, &self.path("own_known_hosts"));
        if let Some(user) = &self.user {
            caller.target.login.clone_from(&user.name);
            caller.password = Some(user.password.clone());
        } else {
            let name = Command::new("id").arg("-un").output().expect("id").stdout;
            let name = String::from_utf8(name).expect("UTF-8");
            name.trim().clone_into(&mut caller.target.login);
            caller.terms.identity_file = Some(self.path("client"));
        }
        caller
    }

    /// The line of a public host key: `ssh-ed25519 AAAA...`.
    pub fn host_key(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(name)).expect("a public key");
        text.split(' ')
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
            .trim()
            .to_owned()
    }
}

/// Somebody who dials an SSH server, and counts how often the password is asked for.
pub struct Caller {
    pub target: Target,
    pub terms: ConnectionTerms,
    pub surroundings: Surroundings,
    pub password: Option<String>,
    pub asked: Cell<u32>,
    /// What is to be logged.
    pub told: RefCell<Vec<String>>,
    pub stop: StopFlag,
}

impl Caller {
    pub fn new(port: u16, own_known_hosts: &Path) -> Self {
        Self {
            target: Target {
                host: "127.0.0.1".to_owned(),
                login: "nobody".to_owned(),
                ssh_port: port,
                ftp_port: 21,
            },
            terms: ConnectionTerms {
                connect_timeout_s: 10,
                stall_timeout_s: 20,
                ..ConnectionTerms::default()
            },
            surroundings: Surroundings {
                own_known_hosts: own_known_hosts.to_path_buf(),
                ..Surroundings::default()
            },
            password: None,
            asked: Cell::new(0),
            told: RefCell::new(Vec::new()),
            stop: StopFlag::default(),
        }
    }

    fn dial(&self) -> Dial<'_> {
        Dial {
            target: &self.target,
            terms: &self.terms,
            credentials: self,
            surroundings: &self.surroundings,
            tell: Box::new(|line| self.told.borrow_mut().push(line)),
            reached: Box::new(|_| {}),
            stop: &self.stop,
        }
    }

    pub fn try_connect(&self) -> Result<Box<dyn Session>, ConnectError> {
        ssh::connect(&self.dial())
    }

    pub fn connect(&self) -> Box<dyn Session> {
        self.try_connect().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The error of a connection that must not come about.
    #[track_caller]
    pub fn refused(&self) -> ConnectError {
        self.try_connect().err().expect("an error")
    }

    pub fn knows_the_host(&self) -> bool {
        ssh::known_key(&self.dial()).expect("known_hosts files")
    }
}

impl Credentials for Caller {
    fn password(&self) -> Result<Option<Secret>, Fault> {
        self.asked.set(self.asked.get() + 1);
        Ok(self.password.clone().map(Secret::new))
    }

    fn account(&self) -> Result<Option<Secret>, Fault> {
        Ok(None)
    }
}

impl ServerUnderTest for SshServer {
    fn name(&self) -> &str {
        match self.program {
            Program::Dropbear => "dropbear",
            Program::Sshd if self.chrooted => "sshd, chrooted",
            Program::Sshd => "sshd",
        }
    }

    fn connect(&self) -> Box<dyn Session> {
        self.caller().connect()
    }

    fn local(&self, remote: &str) -> PathBuf {
        if self.chrooted {
            self.path("jail").join(remote.trim_start_matches('/'))
        } else {
            PathBuf::from(remote)
        }
    }

    fn home(&self) -> String {
        if self.chrooted {
            "/home".to_owned()
        } else {
            self.home.to_str().expect("UTF-8").to_owned()
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            digest: !self.chrooted,
            modes: true,
            newline_in_names: true,
            blanks_at_edges: true,
            install: !self.chrooted,
            permissions: self.user.is_some() || !is_root(),
        }
    }
}
