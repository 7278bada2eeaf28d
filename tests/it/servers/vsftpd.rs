//! vsftpd, one process a connection as under inetd: the listening socket is ours, on a port that the kernel
//! picked, and nothing outlives the test. Its users and its PAM stack are private files, put over the system's
//! in a mount namespace of its own, so it needs root.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process_group};

use super::certificates::Certificate;
use super::mounts::Mounted;
use crate::testenv::secret;

/// The login that the server knows.
pub const LOGIN: &str = "packer";
/// Its password.
pub const PASSWORD: &str = secret!("pass#word 1");
/// Its user and group.
const UID: u32 = 54_321;

const PROGRAM: &str = "/usr/sbin/vsftpd";

/// A running server.
pub struct Vsftpd {
    pub port: u16,
    home: PathBuf,
    log: PathBuf,
    children: Arc<Mutex<Vec<Child>>>,
    over: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Vsftpd {
    /// Starts it below `dir`; with a certificate it speaks TLS, with session reuse required as is its default.
    pub fn start(dir: &Path, certificate: Option<&Certificate>, more: &str) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "{PROGRAM} is missing: install the Debian package vsftpd"
        );
        let home = dir.join("vsftpd-home");
        let log = dir.join("vsftpd.log");
        lay_out(dir, &home);
        fs::write(
            dir.join("vsftpd.conf"),
            configuration(dir, &log, certificate, more),
        )
        .expect("vsftpd.conf");
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("an address").port();
        let children = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let listener = std::thread::spawn({
            let (dir, children, over) = (dir.to_owned(), Arc::clone(&children), Arc::clone(&over));
            move || {
                for connection in socket.incoming() {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    children
                        .lock()
                        .unwrap()
                        .push(serve(&dir, connection.expect("a connection")));
                }
            }
        });
        Self {
            port,
            home,
            log,
            children,
            over,
            listener: Some(listener),
        }
    }

    /// The login's home, here and on the server.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// What it logged: every command and reply, passwords excepted.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Vsftpd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(SocketAddr::from((
            [127, 0, 0, 1],
            self.port,
        ))));
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
        for child in self.children.lock().unwrap().iter_mut() {
            if let Some(group) = Pid::from_raw(i32::try_from(child.id()).expect("a process id")) {
                // It may have ended by itself.
                let _ = kill_process_group(group, Signal::KILL);
            }
            drop(child.wait());
        }
    }
}

/// Makes a directory that the login owns.
pub fn give_to_login(dir: &Path) {
    fs::create_dir_all(dir).expect("mkdir");
    chown(dir, Some(UID), Some(UID)).expect("chown");
}

fn lay_out(dir: &Path, home: &Path) {
    give_to_login(home);
    fs::create_dir_all(dir.join("vsftpd-empty")).expect("mkdir");
    fs::create_dir_all(dir.join("pam.d")).expect("mkdir");
    let stack = "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n";
    fs::write(dir.join("pam.d/vsftpd"), stack).expect("write");
    let hash = Command::new("openssl")
        .args(["passwd", "-5", PASSWORD])
        .output()
        .expect("openssl passwd");
    let hash = String::from_utf8(hash.stdout).expect("a hash");
    fs::write(
        dir.join("shadow"),
        format!("{LOGIN}:{}:19000::::::\n", hash.trim()),
    )
    .expect("write");
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let ours = format!("{LOGIN}:x:{UID}:{UID}::{}:/bin/sh\n", home.display());
    fs::write(dir.join("passwd"), users + &ours).expect("write");
}

fn configuration(dir: &Path, log: &Path, certificate: Option<&Certificate>, more: &str) -> String {
    let text = format!(
        "listen=NO\nanonymous_enable=NO\nlocal_enable=YES\nwrite_enable=YES\nlocal_umask=022\n\
         pam_service_name=vsftpd\nsecure_chroot_dir={}\nxferlog_enable=YES\nxferlog_std_format=NO\nlog_ftp_protocol=YES\n\
         vsftpd_log_file={}\nseccomp_sandbox=NO\nuse_localtime=YES\n",
        dir.join("vsftpd-empty").display(),
        log.display()
    );
    let tls = certificate.map_or_else(String::new, |certificate| {
        format!(
            "ssl_enable=YES\nforce_local_logins_ssl=YES\nforce_local_data_ssl=YES\nrequire_ssl_reuse=YES\n\
             rsa_cert_file={0}\nrsa_private_key_file={1}\n",
            certificate.cert.display(),
            certificate.key.display()
        )
    });
    text + &tls + more
}

fn serve(dir: &Path, connection: TcpStream) -> Child {
    let script = "mount --bind \"$1/pam.d\" /etc/pam.d && mount --bind \"$1/passwd\" /etc/passwd && \
                  mount --bind \"$1/shadow\" /etc/shadow && exec \"$2\" \"$1/vsftpd.conf\"";
    let out = connection.try_clone().expect("the same socket");
    Command::new("unshare")
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
        .arg(dir)
        .arg(PROGRAM)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::from(OwnedFd::from(connection)))
        .stdout(Stdio::from(OwnedFd::from(out)))
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run unshare (Debian package util-linux): {error}"))
}

/// A small file system of the login's own.
pub fn small_disk(at: &Path, size: &str) -> Mounted {
    Mounted::disk(at, &format!("size={size},uid={UID},gid={UID},mode=755"))
}
