//! Private key files: read from the file that was opened and judged, never from a name. Knows whether a key can be
//! used without asking anybody, and which public key belongs to one that cannot.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

/// No key file is longer.
const LENGTH_MAX: u64 = 1 << 20;

const MAGIC: &[u8] = b"openssh-key-v1\0";

/// What a file of a private key is good for.
#[derive(Debug)]
pub(super) enum KeyFile {
    /// Its text, wiped on drop.
    Open(Zeroizing<String>),
    /// It needs a pass phrase, which nobody is asked for; its public key where the file tells.
    Encrypted(Option<Vec<u8>>),
    /// Left out, for this reason.
    LeftOut(String),
    /// There is none, or it cannot be read.
    Missing(io::Error),
}

/// Reads `path`; a symbolic link is followed, and what it leads to is judged.
pub(super) fn read(path: &Path) -> KeyFile {
    match try_read(path) {
        Ok(file) => file,
        Err(error) => KeyFile::Missing(error),
    }
}

fn try_read(path: &Path) -> io::Result<KeyFile> {
    // Without O_NONBLOCK a FIFO of that name would hang us.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LENGTH_MAX {
        return Err(io::Error::other("it is no key file"));
    }
    // As OpenSSH judges: whose file it is not has been let to use it.
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if is_ours && metadata.mode() & 0o077 != 0 {
        return Ok(KeyFile::LeftOut(format!(
            "left out, others can use it (mode {:04o}); mend it with: chmod 600 {}",
            metadata.mode() & 0o7777,
            crate::domain::text::shell_quote(&path.to_string_lossy())
        )));
    }
    // Room for the whole file at once: a growing buffer would leave copies behind.
    let capacity = usize::try_from(metadata.len()).unwrap_or(0) + 1;
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    file.take(LENGTH_MAX).read_to_string(&mut text)?;
    Ok(if is_encrypted(&text) {
        let told = body(&text)
            .as_deref()
            .map(Vec::as_slice)
            .and_then(public_key);
        KeyFile::Encrypted(told.or_else(|| beside(path)))
    } else {
        KeyFile::Open(text)
    })
}

/// Whether a private key needs a pass phrase.
pub(super) fn is_encrypted(text: &str) -> bool {
    text.contains("ENCRYPTED")
        || body(text).is_some_and(|bytes| {
            let cipher = bytes.strip_prefix(MAGIC).and_then(field);
            cipher.is_some_and(|(cipher, _)| cipher != b"none")
        })
}

/// The bytes of a key in OpenSSH's own format.
fn body(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let body = text.split("-----BEGIN OPENSSH PRIVATE KEY-----").nth(1)?;
    let mut plain = Zeroizing::new(String::with_capacity(body.len()));
    plain.extend(body.split("-----").next()?.split_whitespace());
    STANDARD.decode(plain.as_bytes()).ok().map(Zeroizing::new)
}

/// The public key, which stands there in clear: behind the names of cipher and key derivation, its options, and
/// the number of keys.
pub(super) fn public_key(bytes: &[u8]) -> Option<Vec<u8>> {
    let (_cipher, rest) = field(bytes.strip_prefix(MAGIC)?)?;
    let (_derivation, rest) = field(rest)?;
    let (_options, rest) = field(rest)?;
    let (key, _) = field(rest.get(4..)?)?;
    Some(key.to_vec())
}

/// The public key of the file beside it, `NAME.pub`.
fn beside(path: &Path) -> Option<Vec<u8>> {
    let mut name = path.file_name()?.to_owned();
    name.push(".pub");
    let text = std::fs::read_to_string(path.with_file_name(name)).ok()?;
    STANDARD.decode(text.split_whitespace().nth(1)?).ok()
}

/// A text with its length in front, and what is behind it.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(cipher: &[u8]) -> String {
        let mut bytes = MAGIC.to_vec();
        for part in [cipher, b"bcrypt", b"options"] {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 3]);
        bytes.extend_from_slice(b"pubrest");
        format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
            STANDARD.encode(bytes)
        )
    }

    #[test]
    fn encrypted_keys_are_told_from_open_ones() {
        assert!(is_encrypted(&key(b"aes256-ctr")));
        assert!(!is_encrypted(&key(b"none")));
        assert!(is_encrypted("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        assert!(is_encrypted(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
        ));
        assert!(!is_encrypted("-----BEGIN RSA PRIVATE KEY-----\nMIIE"));
    }

    #[test]
    fn an_encrypted_key_tells_its_public_key() {
        let bytes = body(&key(b"aes256-ctr")).unwrap();
        assert_eq!(public_key(&bytes).as_deref(), Some(&b"pub"[..]));
        for length in 0..bytes.len() - b"rest".len() {
            assert_eq!(public_key(&bytes[..length]), None, "{length}");
        }
    }
}
