//! A server's process: started on a port that the kernel picked, awaited, and ended with its group.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

use crate::testenv::wait_until;

/// A server's process, ended when dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
    pub port: u16,
    /// Keeps the port for it, also where it is ended and started again.
    pub kept: Option<OwnedFd>,
}

/// A port that nobody listens on, and that nobody else is given as long as the tests run.
pub fn free_port() -> u16 {
    static KEPT: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());
    let (kept, port) = reserved();
    KEPT.lock().expect("a lock").push(kept);
    port
}

/// A socket that holds a port without listening there. Whoever names the port may listen on it, as servers do: they
/// share it with what is closed (`SO_REUSEADDR`).
fn reserved() -> (OwnedFd, u16) {
    let kind = (AddressFamily::INET, SocketType::STREAM);
    let socket = socket_with(kind.0, kind.1, SocketFlags::CLOEXEC, None).expect("a socket");
    set_socket_reuseaddr(&socket, true).expect("SO_REUSEADDR");
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).expect("bind");
    let address = SocketAddrV4::try_from(getsockname(&socket).expect("a name"));
    (socket, address.expect("an address").port())
}

impl Running {
    /// Starts what `command` makes of a port, again with another one if somebody was faster.
    pub fn start(log: &Path, package: &str, command: impl Fn(u16) -> Command) -> Self {
        for _ in 0..5 {
            let (kept, port) = reserved();
            match Self::launch(log, package, port, command(port)) {
                Ok(mut running) => {
                    running.kept = Some(kept);
                    return running;
                }
                Err(said) => assert!(
                    said.contains("in use"),
                    "the server ended at once (apt-get install {package}?): {said}"
                ),
            }
        }
        panic!("no free port in five tries");
    }

    /// Starts `command`, which listens on `port`, once the one before has let go of it.
    pub fn start_on(
        log: &Path,
        package: &str,
        port: u16,
        command: impl Fn(u16) -> Command,
    ) -> Self {
        let mut started = None;
        wait_until("the port is free", Duration::from_mins(1), || {
            match Self::launch(log, package, port, command(port)) {
                Ok(running) => started = Some(running),
                Err(said) => assert!(said.contains("in use"), "the server ended at once: {said}"),
            }
            started.is_some()
        });
        started.expect("a server")
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
            kept: None,
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

    /// The process that listens.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
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
