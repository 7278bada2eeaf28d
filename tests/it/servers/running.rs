//! A server's process: started on a port that the kernel picked, awaited, and ended with its group.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::testenv::wait_until;

/// A server's process, ended when dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
    pub port: u16,
}

/// A port of 127.0.0.1 that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    listener.local_addr().expect("an address").port()
}

impl Running {
    /// Starts what `command` makes of a port, again with another one if somebody was faster.
    pub fn start(log: &Path, package: &str, command: impl Fn(u16) -> Command) -> Self {
        for _ in 0..5 {
            let port = free_port();
            match Self::launch(log, package, port, command(port)) {
                Ok(running) => return running,
                Err(said) => assert!(
                    said.contains("in use"),
                    "the server ended at once (apt-get install {package}?): {said}"
                ),
            }
        }
        panic!("no free port in five tries");
    }

    /// Starts `command`, which listens on `port`.
    pub fn start_on(log: &Path, package: &str, port: u16, command: Command) -> Self {
        Self::launch(log, package, port, command)
            .unwrap_or_else(|said| panic!("the server ended at once: {said}"))
    }

    /// The server, or what it printed before it ended.
    fn launch(log: &Path, package: &str, port: u16, mut command: Command) -> Result<Self, String> {
        let out = std::fs::File::create(log).expect("a log");
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("dup"))
            .stderr(out)
            .process_group(0);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot start {command:?}: {error}; apt-get install {package}")
        });
        let mut running = Self {
            child,
            log: log.to_path_buf(),
            port,
        };
        let mut up = false;
        wait_until(
            "the server listens or ends",
            Duration::from_secs(20),
            || {
                up = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
                up || running.child.try_wait().expect("wait").is_some()
            },
        );
        if up && running.child.try_wait().expect("wait").is_none() {
            return Ok(running);
        }
        Err(running.log())
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the server has printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
