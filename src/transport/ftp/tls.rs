//! TLS for FTP's control and data connections: which certificates are believed, and what a failed
//! handshake means. Knows nothing of FTP's commands.

use std::fmt::Write as _;
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
};
use sha2::{Digest as _, Sha256};
use suppaftp::{FtpError, FtpResult, RustlsConnector, TlsConnector, TlsStream as _};

use crate::domain::fault::{Fault, FaultClass};
use crate::domain::target::ConnectionTerms;

/// The stream that suppaftp speaks TLS over.
pub(super) type Tls = <RustlsConnector as TlsConnector>::Stream;

/// What the handshakes of one session brought to light.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// SHA-256 of the certificate that the server presented, lower-case hex.
    pub(super) fingerprint: Option<String>,
    /// Version and cipher suite of the last handshake, in words.
    pub(super) negotiated: Option<String>,
    /// Why the last handshake failed.
    pub(super) failure: Option<Fault>,
    /// Whether it failed because the server does not speak our version of TLS.
    pub(super) other_version_wanted: bool,
}

/// The record, shared by connector, verifier and session.
pub(super) type SharedRecord = Arc<Mutex<Record>>;

/// Runs `act` on the record.
pub(super) fn with<T>(record: &SharedRecord, act: impl FnOnce(&mut Record) -> T) -> T {
    act(&mut record.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whom a certificate is believed.
#[derive(Debug)]
enum Trust {
    /// Only this certificate, whatever names and dates it holds.
    Pinned(String),
    /// Whoever these authorities vouch for.
    Authorities(Arc<WebPkiServerVerifier>),
}

#[derive(Debug)]
struct Judge {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    record: SharedRecord,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let fingerprint = fingerprint_of(end_entity);
        with(&self.record, |record| {
            record.fingerprint = Some(fingerprint.clone());
        });
        match &self.trust {
            Trust::Pinned(pinned) if *pinned == fingerprint => Ok(ServerCertVerified::assertion()),
            Trust::Pinned(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
            Trust::Authorities(verifier) => verifier.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
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
        let trust = match &terms.ftps_fingerprint {
            Some(pinned) => Trust::Pinned(pinned.replace(':', "").to_ascii_lowercase()),
            None => Trust::Authorities(authorities(terms.ca_file.as_deref(), &provider)?),
        };
        let judge = Judge {
            trust,
            provider: Arc::clone(&provider),
            record: Arc::clone(record),
        };
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
            pinned: terms.ftps_fingerprint.clone(),
        })
    }

    fn note_failure(&self, error: &io::Error) {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        with(&self.record, |record| {
            let presented = record.fingerprint.clone().unwrap_or_default();
            record.failure = Some(match tls {
                Some(rustls::Error::InvalidCertificate(why)) => self.untrusted(why, &presented),
                Some(error) => Fault::new(
                    class_of(error),
                    format!("no TLS with {}: {error}", self.peer),
                ),
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

    fn untrusted(&self, why: &CertificateError, presented: &str) -> Fault {
        if let Some(pinned) = &self.pinned {
            return Fault::untrusted(format!(
                "{} presents another certificate than the rule pins: expected SHA-256 {pinned}, presented \
                 {presented}; if it was renewed (ask who runs the host), set `ftps_fingerprint = {presented}`",
                self.peer
            ));
        }
        Fault::untrusted(format!(
            "the certificate of {} is not trusted: {}; nothing was sent. Its SHA-256 is {presented}: if that is \
             the right one (ask who runs the host), put `ftps_fingerprint = {presented}` into the rule, or its \
             authority's certificate into `ca_file`",
            self.peer,
            reason(why)
        ))
    }
}

impl TlsConnector for Connector {
    type Stream = Tls;

    fn connect(&self, domain: &str, stream: TcpStream) -> FtpResult<Tls> {
        let mut stream = self.inner.connect(domain, stream)?;
        let tls = stream.mut_ref();
        while tls.conn.is_handshaking() {
            if let Err(error) = tls.conn.complete_io(&mut tls.sock) {
                self.note_failure(&error);
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
        with(&self.record, |record| record.negotiated = Some(negotiated));
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

fn class_of(error: &rustls::Error) -> FaultClass {
    match error {
        // Alerts about the connection's moment, not about what both sides can do.
        rustls::Error::AlertReceived(
            AlertDescription::InternalError | AlertDescription::UserCanceled,
        ) => FaultClass::Transient,
        _ => FaultClass::Unreachable,
    }
}

fn reason(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "no authority that is trusted here has signed it".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet (is this machine's clock right?)".to_owned()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "it is not for {} but for {}",
            expected.to_str(),
            if presented.is_empty() {
                "no name at all".to_owned()
            } else {
                presented.join(", ")
            }
        ),
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "it is self-signed, its own authority".to_owned()
        }
        other => other.to_string(),
    }
}

fn fingerprint_of(certificate: &CertificateDer<'_>) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(certificate.as_ref()) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn authorities(
    ca_file: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Fault> {
    let mut roots = RootCertStore::empty();
    // Roots that cannot be read or parsed are left out: a certificate that needs them is then refused.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let shown = path.display();
        let unusable = |why: String| {
            Fault::permanent(format!(
                "cannot use the `ca_file` {shown}: {why}; it has to hold PEM certificates"
            ))
        };
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
        let mut count = 0_usize;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| unusable(error.to_string()))?;
            count += 1;
        }
        if count == 0 {
            return Err(unusable("no certificate in it".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(Fault::untrusted(
            "no certificate authority is known on this machine: install ca-certificates, or set `ca_file` or \
             `ftps_fingerprint` in the rule",
        ));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| {
            Fault::permanent(format!("cannot set up the check of certificates: {error}"))
        })
}
