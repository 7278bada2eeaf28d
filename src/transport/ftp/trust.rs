//! Which certificates are believed: a pinned one, or what an authority vouches for; on data connections the one
//! of the control connection alone. Revocation is not checked. Knows nothing of connections.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use chrono::DateTime;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};

use super::tls::{SharedRecord, with};
use crate::domain::fault::Fault;
use crate::domain::target::ConnectionTerms;

/// Whom a certificate is believed.
#[derive(Debug)]
enum Trust {
    /// Only this certificate, whatever names and dates it holds.
    Pinned(String),
    /// Whoever these authorities vouch for.
    Authorities(Arc<WebPkiServerVerifier>),
}

/// Decides about the certificates of one session.
#[derive(Debug)]
pub(super) struct Judge {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    record: SharedRecord,
}

impl Judge {
    /// By the terms of the rule.
    pub(super) fn new(
        terms: &ConnectionTerms,
        provider: &Arc<CryptoProvider>,
        record: &SharedRecord,
    ) -> Result<Self, Fault> {
        let trust = match pinned(terms) {
            Some(pinned) => Trust::Pinned(pinned),
            None => Trust::Authorities(authorities(terms.ca_file.as_deref(), provider)?),
        };
        Ok(Self {
            trust,
            provider: Arc::clone(provider),
            record: Arc::clone(record),
        })
    }
}

/// The one certificate that the rule believes, as [`fingerprint_of`] writes it.
pub(super) fn pinned(terms: &ConnectionTerms) -> Option<String> {
    let pinned = terms.ftps_fingerprint.as_ref()?;
    Some(pinned.replace(':', "").to_ascii_lowercase())
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
        let proved = with(&self.record, |record| {
            record.fingerprint = Some(fingerprint.clone());
            record.proved.clone()
        });
        if proved.is_some_and(|proved| proved != fingerprint) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
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

/// Why a certificate is not believed.
pub(super) fn reason(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "no authority that is trusted here has signed it".to_owned()
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("it has expired on {}", day(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "it is not valid before {} (is this machine's clock right?)",
            day(*not_before)
        ),
        CertificateError::BadSignature => {
            "a signature does not fit, or its key is too weak (RSA has to have 2048 bits at least)"
                .to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. } => {
            "it, or what it is signed by, has a signature that is too weak or unknown (SHA-1 is not accepted)"
                .to_owned()
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

/// The day in UTC.
fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    DateTime::from_timestamp(seconds, 0).map_or_else(
        || "a day out of range".to_owned(),
        |time| time.format("%Y-%m-%d").to_string(),
    )
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
