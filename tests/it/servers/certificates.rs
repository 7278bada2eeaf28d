//! Certificates for FTPS servers, made with openssl: an authority, what it signed, and a self-signed one.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// SHA-256 of the DER form, as `openssl x509 -fingerprint` counts it.
    pub fn fingerprint(&self) -> String {
        let der = self.cert.with_extension("der");
        openssl(&[
            "x509",
            "-in",
            text(&self.cert),
            "-outform",
            "DER",
            "-out",
            text(&der),
        ]);
        let digest = Sha256::digest(fs::read(&der).expect("the DER form"));
        digest.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a string");
            hex
        })
    }

    /// Signed by itself, for localhost. RSA, because vsftpd's own choice of ciphers knows nothing else.
    pub fn self_signed(dir: &Path) -> Self {
        let made = Self::named(dir, "self");
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout",
            text(&made.key),
            "-out",
            text(&made.cert),
        ]);
        made
    }

    /// An authority.
    pub fn authority(dir: &Path) -> Self {
        let made = Self::named(dir, "ca");
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=An Authority",
            "-keyout",
            text(&made.key),
            "-out",
            text(&made.cert),
        ]);
        made
    }

    /// Signed by this authority for `names` (`DNS:localhost,IP:127.0.0.1`).
    pub fn sign(&self, dir: &Path, name: &str, names: &str) -> Self {
        self.sign_as(dir, name, names, &Make::default())
    }

    /// The same, made in another way.
    pub fn sign_as(&self, dir: &Path, name: &str, names: &str, how: &Make) -> Self {
        let made = Self::named(dir, name);
        let request = dir.join(format!("{name}.csr"));
        let settings = dir.join(format!("{name}.cnf"));
        let database = dir.join(format!("{name}.db"));
        fs::write(&database, "").expect("write");
        fs::write(
            &settings,
            format!(
                "[ca]\ndefault_ca = own\n[own]\ndatabase = {}\nnew_certs_dir = {}\nrand_serial = yes\npolicy = any\n\
                 x509_extensions = more\nunique_subject = no\n[any]\ncommonName = optional\n\
                 [more]\nsubjectAltName = @names\nbasicConstraints = CA:FALSE\n[names]\n{}\n",
                text(&database),
                text(dir),
                sections(names)
            ),
        )
        .expect("write");
        openssl(&[
            "req",
            "-new",
            "-newkey",
            &format!("rsa:{}", how.bits),
            "-nodes",
            "-utf8",
            "-subj",
            "/CN=server",
            "-keyout",
            text(&made.key),
            "-out",
            text(&request),
        ]);
        openssl(&[
            "ca",
            "-batch",
            "-notext",
            "-utf8",
            "-config",
            text(&settings),
            "-cert",
            text(&self.cert),
            "-keyfile",
            text(&self.key),
            "-md",
            how.digest,
            "-startdate",
            how.from,
            "-enddate",
            how.until,
            "-in",
            text(&request),
            "-out",
            text(&made.cert),
        ]);
        made
    }

    fn named(dir: &Path, name: &str) -> Self {
        Self {
            cert: dir.join(format!("{name}.pem")),
            key: dir.join(format!("{name}.key")),
        }
    }
}

/// How a certificate is made.
pub struct Make {
    /// Of its RSA key.
    pub bits: usize,
    /// What its signature is made with.
    pub digest: &'static str,
    /// From when on it is valid.
    pub from: &'static str,
    /// Until when.
    pub until: &'static str,
}

impl Default for Make {
    fn default() -> Self {
        Self {
            bits: 2048,
            digest: "sha256",
            from: "20200101000000Z",
            until: "20490101000000Z",
        }
    }
}

/// `DNS:a,IP:b` as openssl's section of names, in which a name may hold any character.
fn sections(names: &str) -> String {
    let lines = names.split(',').enumerate().map(|(number, name)| {
        let (kind, value) = name.split_once(':').expect("a kind");
        format!("{kind}.{number} = {value}\n")
    });
    lines.collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn openssl(args: &[&str]) {
    let ran = Command::new("openssl")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run openssl (Debian package openssl): {error}"));
    assert!(
        ran.status.success(),
        "openssl {args:?}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
}
