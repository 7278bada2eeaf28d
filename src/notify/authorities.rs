//! Whose certificates are believed: the system's roots, and those of a `ca_file`.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The certificates of a `ca_file`.
pub(super) fn of_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unusable = |why: String| {
        format!(
            "cannot use the `ca_file` {}: {why}; it has to hold PEM certificates",
            path.display()
        )
    };
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(error.to_string()))?;
    if found.is_empty() {
        return Err(unusable("no certificate in it".to_owned()));
    }
    Ok(found)
}

/// All that are believed.
pub(super) fn all(ca_file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, String> {
    // Roots that cannot be read are left out: a certificate that needs them is then refused.
    let mut all = rustls_native_certs::load_native_certs().certs;
    if let Some(path) = ca_file {
        all.extend(of_file(path)?);
    }
    if all.is_empty() {
        return Err(
            "no certificate authority is known on this machine: install ca-certificates, or set `ca_file`".to_owned(),
        );
    }
    Ok(all)
}
