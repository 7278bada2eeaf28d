//! An FTP server that means harm: see `hostile_ftp.py` for what it can be told to do. For every user.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::certificates::Certificate;

/// A running server.
pub struct HostileFtp {
    pub port: u16,
    home: PathBuf,
    commands: PathBuf,
    child: Child,
}

impl HostileFtp {
    /// Starts it below `dir`.
    pub fn start(dir: &Path, certificate: Option<&Certificate>, mut settings: Value) -> Self {
        let home = dir.join("hostile-root");
        let commands = dir.join("hostile-commands");
        fs::create_dir_all(&home).expect("mkdir");
        fs::write(&commands, "").expect("write");
        let all = settings.as_object_mut().expect("an object");
        all.insert("home".to_owned(), json!(home));
        all.insert("commands".to_owned(), json!(commands));
        if let Some(certificate) = certificate {
            all.insert("cert".to_owned(), json!(certificate.cert));
            all.insert("key".to_owned(), json!(certificate.key));
        }
        let mut child = Command::new("/usr/bin/python3")
            .args(["-I", "-W", "ignore", "-c", include_str!("hostile_ftp.py")])
            .arg(settings.to_string())
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot run /usr/bin/python3 (Debian package python3): {error}")
            });
        let mut line = String::new();
        let out = child.stdout.take().expect("stdout");
        BufReader::new(out).read_line(&mut line).expect("the port");
        let port = line.trim().parse().expect("the server does not start");
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
        let text = fs::read(&self.commands).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.split_terminator('\n').map(str::to_owned).collect()
    }
}

impl Drop for HostileFtp {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
