//! The conformance suite on FTP and FTPS.

use std::path::{Path, PathBuf};

use auto_dispatcher::domain::target::TransportKind;
use auto_dispatcher::transport::Session;
use serde_json::json;

use super::Caller;
use crate::conformance::{Capabilities, ServerUnderTest, run_all};
use crate::servers::certificates::Certificate;
use crate::servers::pyftpdlib::{self, Pyftpdlib};
use crate::servers::vsftpd::{self, Vsftpd};
use crate::testenv::{TestEnv, is_root, needs_root};

struct Served {
    name: &'static str,
    caller: Caller,
    kind: TransportKind,
    /// What `/` on the server is here.
    root: PathBuf,
    home: String,
    capabilities: Capabilities,
}

impl ServerUnderTest for Served {
    fn name(&self) -> &str {
        self.name
    }

    fn connect(&self) -> Box<dyn Session> {
        self.caller
            .connect(self.kind)
            .unwrap_or_else(|fault| panic!("{}: {fault}", self.name))
    }

    fn local(&self, remote: &str) -> PathBuf {
        self.root.join(remote.trim_start_matches('/'))
    }

    fn home(&self) -> String {
        self.home.clone()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}

const PLAIN: Capabilities = Capabilities {
    digest: false,
    modes: true,
    newline_in_names: false,
    blanks_at_edges: true,
    install: false,
    permissions: true,
};

fn on_vsftpd(
    name: &'static str,
    kind: TransportKind,
    certificate: Option<&Certificate>,
    env: &TestEnv,
) {
    // As strict as vsftpd can be about the end of a TLS stream: a cut upload must not look like a whole one.
    let strict = certificate.map_or(
        "",
        |_| "strict_ssl_read_eof=YES\nstrict_ssl_write_shutdown=YES\n",
    );
    let server = Vsftpd::start(env.root(), certificate, strict);
    let mut caller = Caller::new("127.0.0.1", server.port, vsftpd::LOGIN, vsftpd::PASSWORD);
    caller.terms.ftps_fingerprint = certificate.map(Certificate::fingerprint);
    run_all(&Served {
        name,
        caller,
        kind,
        root: Path::new("/").to_owned(),
        home: server.home().to_str().expect("UTF-8").to_owned(),
        capabilities: PLAIN,
    });
}

#[test]
fn vsftpd_in_clear_conforms() {
    needs_root!();
    on_vsftpd("vsftpd", TransportKind::Ftp, None, &TestEnv::new());
}

#[test]
fn vsftpd_with_tls_and_session_reuse_conforms() {
    needs_root!();
    let env = TestEnv::new();
    let certificate = Certificate::self_signed(env.root());
    on_vsftpd(
        "vsftpd with TLS",
        TransportKind::Ftps,
        Some(&certificate),
        &env,
    );
}

fn on_pyftpdlib(
    name: &'static str,
    kind: TransportKind,
    certificate: Option<&Certificate>,
    digest: Option<&str>,
) {
    let env = TestEnv::new();
    let certificate = certificate.cloned();
    let server = Pyftpdlib::start(
        env.root(),
        certificate.as_ref(),
        json!({ "digest": digest }),
    );
    let mut caller = Caller::new(
        "127.0.0.1",
        server.port,
        pyftpdlib::LOGIN,
        pyftpdlib::PASSWORD,
    );
    caller.terms.ftps_fingerprint = certificate.as_ref().map(Certificate::fingerprint);
    run_all(&Served {
        name,
        caller,
        kind,
        root: server.home().to_owned(),
        home: "/".to_owned(),
        capabilities: Capabilities {
            digest: digest.is_some(),
            permissions: !is_root(),
            ..PLAIN
        },
    });
}

#[test]
fn pyftpdlib_in_clear_conforms() {
    on_pyftpdlib("pyftpdlib", TransportKind::Ftp, None, None);
}

#[test]
fn pyftpdlib_with_tls_and_digests_conforms() {
    let env = TestEnv::new();
    let certificate = Certificate::self_signed(env.root());
    on_pyftpdlib(
        "pyftpdlib with TLS",
        TransportKind::Ftps,
        Some(&certificate),
        Some("XSHA256"),
    );
}

#[test]
fn a_server_with_the_hash_command_conforms() {
    on_pyftpdlib(
        "pyftpdlib with HASH",
        TransportKind::Ftp,
        None,
        Some("HASH"),
    );
}
