//! A host that has proved an SSH key is sent its password in clear by no trick, however unreachable SSH is made to
//! look: the whole way from commit to the state of the delivery.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde_json::{Value, json};

use super::{keygen, public};
use crate::pipeline::Pipeline;
use crate::pipeline::rule::Rule;
use crate::servers::certificates::Certificate;
use crate::servers::pyftpdlib::{LOGIN, PASSWORD, Pyftpdlib};
use crate::servers::running::free_port;
use crate::servers::ssh::new_key;

/// What stands where sshd was, for as long as this lives.
#[expect(dead_code, reason = "held open, not read")]
enum Instead {
    /// Nobody: the connection is refused.
    Nothing,
    /// Somebody who says nothing.
    Silence(TcpListener),
    /// Somebody whose queue is full: what asks for a connection is dropped.
    Dropped(OwnedFd, Vec<TcpStream>),
}

impl Instead {
    fn silence() -> (u16, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        (port, Self::Silence(listener))
    }

    fn dropped() -> (u16, Self) {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
        let socket = socket.expect("a socket");
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        rustix::net::bind(&socket, &any).expect("bind");
        rustix::net::listen(&socket, 0).expect("listen");
        let address = rustix::net::getsockname(&socket).expect("an address");
        let address = std::net::SocketAddr::try_from(address).expect("an address");
        let mut waiting = Vec::new();
        let patience = std::time::Duration::from_millis(300);
        while let Ok(stream) = TcpStream::connect_timeout(&address, patience) {
            waiting.push(stream);
        }
        (address.port(), Self::Dropped(socket, waiting))
    }
}

/// A package for a host whose SSH is gone, and an FTP server beside it.
struct Scene {
    pipeline: Pipeline,
    ftp: Pyftpdlib,
    rule: Rule,
    port: u16,
    _instead: Instead,
}

impl Scene {
    fn with((port, instead): (u16, Instead)) -> Self {
        let pipeline = Pipeline::bare();
        let ftp = Pyftpdlib::start(pipeline.env.root(), None, json!({}));
        new_key(&pipeline.env.path("key"), "ed25519", "");
        let rule = Rule::new("app")
            .with("host", "127.0.0.1")
            .with("login", LOGIN)
            .with("password", PASSWORD)
            .with("ssh_port", port)
            .with("ftp_port", ftp.port)
            .with("dest_dir", "~/in")
            .with("connect_timeout", 3)
            .with("retries", 1)
            .with("retry_delay", 1);
        Self {
            pipeline,
            ftp,
            rule,
            port,
            _instead: instead,
        }
    }

    /// The line that records the host's key.
    fn line(&self) -> String {
        let key = public(&self.pipeline.env.path("key"));
        format!("[127.0.0.1]:{} {key}\n", self.port)
    }

    /// What becomes of a package where `known` is on record.
    fn deliver(&self, known: &str) -> Value {
        std::fs::create_dir_all(self.pipeline.state()).expect("mkdir");
        self.pipeline.env.write("state/known_hosts", known);
        self.hand_over()
    }

    fn hand_over(&self) -> Value {
        let state = self.pipeline.state();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&state, mode).expect("chmod");
        self.pipeline.rules(std::slice::from_ref(&self.rule));
        self.pipeline.install_hook();
        self.pipeline.commit(&[("app", b"x")]);
        self.pipeline.settled(1).remove(0)
    }

    /// It failed after its retry, and the FTP server was asked for TLS at most.
    #[track_caller]
    fn assert_kept(&self, row: &Value) {
        assert_eq!(
            (&row["state"], &row["fault"], &row["attempts"]),
            (&"failed".into(), &"unreachable".into(), &2.into()),
            "{row}"
        );
        let error = row["error"].as_str().expect("an error");
        assert!(error.contains("has proved an SSH key"), "{error}");
        let commands = self.ftp.commands();
        assert!(
            !commands.is_empty() && commands.iter().all(|line| line == "AUTH TLS"),
            "{commands:?}"
        );
    }
}

#[test]
fn a_black_hole_in_the_place_of_ssh_moves_no_password_to_ftp() {
    for instead in [
        (free_port(), Instead::Nothing),
        Instead::silence(),
        Instead::dropped(),
    ] {
        let scene = Scene::with(instead);
        let row = scene.deliver(&scene.line());
        scene.assert_kept(&row);
    }
}

#[test]
fn a_hashed_line_and_a_certificate_authority_are_proofs_too() {
    let scene = Scene::with((free_port(), Instead::Nothing));
    std::fs::create_dir_all(scene.pipeline.state()).expect("mkdir");
    let file = scene.pipeline.env.write("state/known_hosts", scene.line());
    keygen(&["-q", "-H", "-f"], &[&file]);
    let hashed = std::fs::read_to_string(&file).expect("read");
    assert!(hashed.starts_with("|1|"), "{hashed}");
    let row = scene.hand_over();
    scene.assert_kept(&row);

    let scene = Scene::with((free_port(), Instead::Nothing));
    let key = public(&scene.pipeline.env.path("key"));
    let row = scene.deliver(&format!("@cert-authority *.0.0.1,[127.0.0.*]:* {key}\n"));
    scene.assert_kept(&row);
}

#[test]
fn a_key_of_the_host_at_its_usual_port_is_a_proof_for_its_other_ports() {
    let scene = Scene::with((free_port(), Instead::Nothing));
    let key = public(&scene.pipeline.env.path("key"));
    let row = scene.deliver(&format!("127.0.0.1 {key}\n"));
    scene.assert_kept(&row);
}

#[test]
fn a_rule_that_lists_ftp_or_a_host_that_never_proved_a_key_is_served_in_clear_and_that_is_logged() {
    let mut scene = Scene::with((free_port(), Instead::Nothing));
    scene.rule = scene.rule.with("transports", "ssh, ftps, ftp");
    let row = scene.deliver(&scene.line());
    assert_eq!(
        (&row["state"], &row["transport"]),
        (&"done".into(), &"ftp".into()),
        "{row}"
    );
    let unknown = Scene::with((free_port(), Instead::Nothing));
    let row = unknown.deliver("# nothing\n");
    assert_eq!(
        (&row["state"], &row["transport"]),
        (&"done".into(), &"ftp".into()),
        "{row}"
    );
    for scene in [scene, unknown] {
        let heard = scene.ftp.commands();
        assert!(
            heard.iter().any(|line| line.starts_with("PASS")),
            "{heard:?}"
        );
        let log = std::fs::read_to_string(scene.pipeline.state().join("auto-dispatcher.log"));
        let log = log.expect("a log");
        assert!(
            log.contains("password and package travel in clear (ftp)"),
            "{log}"
        );
    }
}

#[test]
fn ftps_whose_certificate_is_not_trusted_never_becomes_ftp() {
    let mut scene = Scene::with((free_port(), Instead::Nothing));
    let certificate = Certificate::self_signed(scene.pipeline.env.root());
    scene.ftp = Pyftpdlib::start(scene.pipeline.env.root(), Some(&certificate), json!({}));
    scene.rule = scene
        .rule
        .with("ftp_port", scene.ftp.port)
        .with("transports", "ssh, ftps, ftp");
    let row = scene.deliver("");
    assert_eq!(
        (&row["state"], &row["fault"], &row["attempts"]),
        (&"failed".into(), &"untrusted".into(), &1.into()),
        "{row}"
    );
    assert_eq!(scene.ftp.commands(), ["AUTH TLS"]);
}
