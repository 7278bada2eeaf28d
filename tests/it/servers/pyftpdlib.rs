//! pyftpdlib's server, for every user, with the peculiarities that real servers have been seen with. It logs
//! every command line it gets, as it gets it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::certificates::Certificate;
use crate::testenv::secret;

/// The login that the server knows.
pub const LOGIN: &str = "packer";
/// Its password.
pub const PASSWORD: &str = secret!("pass#word 1");

/// A running server.
pub struct Pyftpdlib {
    pub port: u16,
    home: PathBuf,
    commands: PathBuf,
    child: Child,
}

impl Pyftpdlib {
    /// Starts it below `dir`. `peculiar` holds what `pyftpdlib.py` documents.
    pub fn start(dir: &Path, certificate: Option<&Certificate>, mut peculiar: Value) -> Self {
        let home = dir.join("ftp-root");
        let commands = dir.join("ftp-commands");
        fs::create_dir_all(&home).expect("mkdir");
        fs::write(&commands, "").expect("write");
        let settings = peculiar.as_object_mut().expect("an object");
        settings.insert("home".to_owned(), json!(home));
        settings.insert("commands".to_owned(), json!(commands));
        settings
            .entry("login".to_owned())
            .or_insert_with(|| json!(LOGIN));
        settings
            .entry("password".to_owned())
            .or_insert_with(|| json!(PASSWORD));
        if let Some(certificate) = certificate {
            settings.insert("cert".to_owned(), json!(certificate.cert));
            settings.insert("key".to_owned(), json!(certificate.key));
        }
        let mut child = Command::new("/usr/bin/python3")
            .args(["-I", "-c", include_str!("pyftpdlib.py")])
            .arg(peculiar.to_string())
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot run /usr/bin/python3 (Debian package python3): {error}")
            });
        let mut line = String::new();
        let out = child.stdout.take().expect("stdout");
        BufReader::new(out).read_line(&mut line).expect("the port");
        let port = line.trim().parse().unwrap_or_else(|_| {
            panic!(
                "no FTP server: install the Debian packages python3-pyftpdlib and python3-openssl"
            )
        });
        Self {
            port,
            home,
            commands,
            child,
        }
    }

    /// Where the server's `/` lies.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The command lines that it got.
    pub fn commands(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.commands).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Pyftpdlib {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id")) {
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
        drop(self.child.wait());
    }
}
