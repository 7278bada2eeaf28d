//! A server that is a Python script: it is told what to do by JSON, says its port on stdout, and logs every command
//! line that it gets, as it gets it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value, json};

use super::certificates::Certificate;

/// A running server, ended with its group when dropped.
pub struct PythonServer {
    pub port: u16,
    pub home: PathBuf,
    commands: PathBuf,
    child: Child,
}

impl PythonServer {
    /// Starts `script`, with a home and a log below `dir` that are called after `name`.
    pub fn start(
        (name, script): (&str, &str),
        dir: &Path,
        certificate: Option<&Certificate>,
        mut settings: Map<String, Value>,
    ) -> Self {
        let home = dir.join(format!("{name}-root"));
        let commands = dir.join(format!("{name}-commands"));
        fs::create_dir_all(&home).expect("mkdir");
        fs::write(&commands, "").expect("write");
        settings.insert("home".to_owned(), json!(home));
        settings.insert("commands".to_owned(), json!(commands));
        if let Some(certificate) = certificate {
            settings.insert("cert".to_owned(), json!(certificate.cert));
            settings.insert("key".to_owned(), json!(certificate.key));
        }
        let mut child = Command::new("/usr/bin/python3")
            .args(["-I", "-W", "ignore", "-c", script])
            .arg(Value::Object(settings).to_string())
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
            panic!("no server: install the Debian packages python3-pyftpdlib and python3-openssl")
        });
        Self {
            port,
            home,
            commands,
            child,
        }
    }

    /// The command lines that it got.
    pub fn commands(&self) -> Vec<String> {
        let text = fs::read(&self.commands).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.split_terminator('\n').map(str::to_owned).collect()
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
        drop(self.child.wait());
    }
}
