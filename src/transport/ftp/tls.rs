//! TLS for FTP's control and data connections, and what a failed handshake means. Knows nothing of FTP's
//! commands.

use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, PeerIncompatible, SupportedProtocolVersion,
};
use suppaftp::{FtpError, FtpResult, RustlsConnector, TlsConnector, TlsStream as _};

use super::trust::{Judge, pinned, reason};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::target::ConnectionTerms;

/// The stream that suppaftp speaks TLS over.
pub(super) type Tls = <RustlsConnector as TlsConnector>::Stream;

/// What the handshakes of one session brought to light.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// SHA-256 of the certificate that the server presented last, lower-case hex.
    pub(super) fingerprint: Option<String>,
    /// That of the control connection's certificate, once it was believed.
    pub(super) proved: Option<String>,
    /// Version and cipher suite of the last handshake, in words.
    pub(super) negotiated: Option<String>,
    /// Why the last handshake failed.
    pub(super) failure: Option<Fault>,
    /// Why each version of TLS that was tried came to nothing.
    reasons: Vec<String>,
    /// How many of them were refused as such.
    versions_refused: usize,
    /// Whether it failed because the server does not speak our version of TLS, and another one may serve.
    pub(super) other_version_wanted: bool,
}

/// The record, shared by connector, verifier and session.
pub(super) type SharedRecord = Arc<Mutex<Record>>;

/// Runs `act` on the record.
pub(super) fn with<T>(record: &SharedRecord, act: impl FnOnce(&mut Record) -> T) -> T {
    act(&mut record.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Does the handshake at once, so that a refused certificate is known before anything is sent and that
/// an empty file's data connection has one at all; suppaftp's own connector leaves it to the first byte.
#[derive(Debug)]
pub(super) struct Connector {
    inner: RustlsConnector,
    record: SharedRecord,
    /// `host:port`, for messages.
    peer: String,
    pinned: Option<String>,
    /// In words.
    version: String,
}

impl Connector {
    /// A connector for one session: its data connections resume the control connection's TLS session, as
    /// vsftpd's `require_ssl_reuse` wants.
    pub(super) fn new(
        terms: &ConnectionTerms,
        version: &'static SupportedProtocolVersion,
        peer: &str,
        record: &SharedRecord,
    ) -> Result<Self, Fault> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let judge = Judge::new(terms, &provider, record)?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .map_err(|error| Fault::permanent(format!("cannot set up TLS: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(judge))
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(8);
        Ok(Self {
            inner: RustlsConnector::from(Arc::new(config)),
            record: Arc::clone(record),
            peer: peer.to_owned(),
            pinned: pinned(terms),
            version: words(&format!("{:?}", version.version)),
        })
    }

    fn note_failure(&self, error: &io::Error, offered: Option<&str>) {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        with(&self.record, |record| {
            record.failure = Some(match tls {
                Some(rustls::Error::InvalidCertificate(why)) => self.untrusted(why, record),
                Some(error) => {
                    record.reasons.push(self.mismatch(error, offered));
                    record.versions_refused += usize::from(is_about_versions(error));
                    let mut reasons = record.reasons.join("; ");
                    if record.versions_refused == 2 {
                        reasons.push_str(
                            " either; what is older (TLS 1.1, TLS 1.0, SSL) is broken and not supported",
                        );
                    }
                    Fault::new(
                        class_of(error),
                        format!("no TLS with {}: {reasons}", self.peer),
                    )
                }
                None => Fault::transient(format!(
                    "the connection to {} was lost during the TLS handshake: {error}",
                    self.peer
                )),
            });
            record.other_version_wanted = matches!(
                tls,
                Some(
                    rustls::Error::PeerIncompatible(_)
                        | rustls::Error::AlertReceived(
                            AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure
                        )
                )
            );
        });
    }

    /// Why client and server do not get together.
    fn mismatch(&self, error: &rustls::Error, offered: Option<&str>) -> String {
        if let Some(offered) = offered {
            return format!(
                "the server wants {offered}, which is not supported: TLS 1.2 and TLS 1.3 are"
            );
        }
        match error {
            error if is_about_versions(error) => {
                format!("the server does not speak {}", self.version)
            }
            rustls::Error::AlertReceived(
                AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
            ) => format!(
                "{}: no cipher suite in common; spoken here are those with ECDHE and AES-GCM or ChaCha20-Poly1305",
                self.version
            ),
            other => format!("{}: {other}", self.version),
        }
    }

    fn untrusted(&self, why: &CertificateError, record: &Record) -> Fault {
        let presented = record.fingerprint.as_deref().unwrap_or_default();
        let (peer, why) = (&self.peer, reason(why));
        if let Some(proved) = &record.proved
            && proved != presented
        {
            return Fault::untrusted(format!(
                "a data connection of {peer} presents another certificate than its control connection: SHA-256 \
                 {presented} instead of {proved}; nothing was sent over it; somebody may be in between, ask who runs \
                 the host"
            ));
        }
        match self.pinned.as_deref() {
            Some(pinned) if pinned == presented => Fault::untrusted(format!(
                "{peer} presents the certificate that the rule pins (SHA-256 {pinned}), but does not prove that it \
                 is its own: {why}; nothing was sent; have it issued anew"
            )),
            Some(pinned) => Fault::untrusted(format!(
                "{peer} presents another certificate than the rule pins: expected SHA-256 {pinned}, presented \
                 {presented}; nothing was sent; if it was renewed (ask who runs the host), set \
                 `ftps_fingerprint = {presented}`"
            )),
            None => Fault::untrusted(format!(
                "the certificate of {peer} is not trusted: {why}; nothing was sent. Its SHA-256 is {presented}: if \
                 that is the right one (ask who runs the host), put `ftps_fingerprint = {presented}` into the rule, \
                 or its authority's certificate into `ca_file`"
            )),
        }
    }
}

impl TlsConnector for Connector {
    type Stream = Tls;

    fn connect(&self, domain: &str, stream: TcpStream) -> FtpResult<Tls> {
        let mut stream = self.inner.connect(domain, stream)?;
        let tls = stream.mut_ref();
        let mut offered = None;
        while tls.conn.is_handshaking() {
            let step = if tls.conn.wants_write() {
                tls.conn.write_tls(&mut tls.sock).map(drop)
            } else {
                offered = offered.or_else(|| too_old(&tls.sock));
                tls.conn.complete_io(&mut tls.sock).map(drop)
            };
            if let Err(error) = step {
                self.note_failure(&error, offered);
                return Err(FtpError::SecureError(error.to_string()));
            }
        }
        let negotiated = match (
            tls.conn.protocol_version(),
            tls.conn.negotiated_cipher_suite(),
        ) {
            (Some(version), Some(suite)) => {
                format!(
                    "{} {}",
                    words(&format!("{version:?}")),
                    words(&format!("{:?}", suite.suite()))
                )
            }
            _ => "TLS".to_owned(),
        };
        with(&self.record, |record| {
            record.negotiated = Some(negotiated);
            if record.proved.is_none() {
                record.proved.clone_from(&record.fingerprint);
            }
        });
        Ok(stream)
    }
}

/// rustls's identifiers as people write them: `TLSv1_2` is `TLS 1.2`.
fn words(identifier: &str) -> String {
    match identifier {
        "TLSv1_2" => "TLS 1.2".to_owned(),
        "TLSv1_3" => "TLS 1.3".to_owned(),
        other => other.to_owned(),
    }
}

fn is_about_versions(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
            | rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                    | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            )
    )
}

/// The version that a server's answer to our hello, which comes next on `socket`, is in, where it is one of the
/// broken ones. For messages alone.
fn too_old(socket: &TcpStream) -> Option<&'static str> {
    // Of a record: type, version, length. Of the hello in it: type, length, version. What comes in smaller pieces
    // goes without.
    let mut head = [0; 11];
    let read = socket.peek(&mut head).ok()?;
    let minor = match head {
        [21, 3, minor, ..] if read >= 7 => minor,
        [22, 3, _, _, _, 2, _, _, _, 3, minor] if read == 11 => minor,
        _ => return None,
    };
    ["SSL 3.0", "TLS 1.0", "TLS 1.1"]
        .get(usize::from(minor))
        .copied()
}

fn class_of(error: &rustls::Error) -> FaultClass {
    match error {
        // Alerts about the connection's moment, not about what both sides can do.
        rustls::Error::AlertReceived(
            AlertDescription::InternalError | AlertDescription::UserCanceled,
        ) => FaultClass::Transient,
        _ => FaultClass::Unreachable,
    }
}
