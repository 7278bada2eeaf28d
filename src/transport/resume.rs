//! What going on with a broken upload rests on: the bytes that lie on the host must be the beginning of the
//! artifact. Compares; knows no protocol, and never says that they are where the artifact cannot be read.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::Upload;
use crate::domain::fault::Fault;

/// Fewer bytes than these are sent again rather than asked about.
pub(super) const WORTHWHILE_BYTES: u64 = 256 * 1024;

/// How much of the end is read back where the host computes no digest.
pub(super) const TAIL_BYTES: u64 = 1024 * 1024;

/// What is read at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// Whether so many bytes can be the beginning of the artifact and are worth being asked about.
pub(super) fn is_worthwhile(there: u64, upload: &Upload<'_>) -> bool {
    (WORTHWHILE_BYTES..=upload.size).contains(&there)
}

/// Whether the SHA-256 (hex) is that of the artifact's first `length` bytes. `stop` ends a long computation.
pub(super) fn begins_with_digest(
    upload: &Upload<'_>,
    length: u64,
    sha256: &str,
    stop: &dyn Fn() -> Result<(), Fault>,
) -> Result<bool, Fault> {
    if length == upload.size {
        return Ok(sha256.eq_ignore_ascii_case(upload.sha256));
    }
    has_digest(upload, (0, length), sha256, stop)
}

/// Whether the SHA-256 (hex) is that of the artifact's bytes from `at` to `end`. `stop` ends a long computation.
pub(super) fn has_digest(
    upload: &Upload<'_>,
    (mut at, end): (u64, u64),
    sha256: &str,
    stop: &dyn Fn() -> Result<(), Fault>,
) -> Result<bool, Fault> {
    let Ok(local) = File::open(upload.local) else {
        return Ok(false);
    };
    let mut hash = Sha256::new();
    let mut buffer = vec![0; PIECE_BYTES];
    while at < end {
        stop()?;
        let piece = usize::try_from(end - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        if local.read_exact_at(&mut buffer[..piece], at).is_err() {
            return Ok(false);
        }
        hash.update(&buffer[..piece]);
        at += piece as u64;
    }
    let mut ours = String::with_capacity(64);
    for byte in hash.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(ours, "{byte:02x}");
    }
    Ok(ours.eq_ignore_ascii_case(sha256))
}

/// Whether the artifact holds these bytes at `offset`.
pub(super) fn holds(local: &Path, offset: u64, bytes: &[u8]) -> bool {
    let mut ours = vec![0; bytes.len()];
    let read = File::open(local).and_then(|local| local.read_exact_at(&mut ours, offset));
    read.is_ok() && ours == bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_known_by_its_digest_and_nothing_else_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n % 249) as u8).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        let digest = |bytes: &[u8]| {
            Sha256::digest(bytes)
                .iter()
                .fold(String::new(), |hex, byte| format!("{hex}{byte:02X}"))
        };
        let whole = digest(&bytes);
        let upload = Upload {
            local: file.path(),
            size: 700_000,
            sha256: &whole,
            dir: "/",
            name: "name",
            temporary: ".tmp",
            mode: None,
            resume: true,
        };
        let begins =
            |length: u64, sha256: &str| begins_with_digest(&upload, length, sha256, &|| Ok(()));
        assert_eq!(begins(600_000, &digest(&bytes[..600_000])), Ok(true));
        assert_eq!(begins(700_000, &whole), Ok(true));
        assert_eq!(begins(600_000, &digest(&bytes[..599_999])), Ok(false));
        assert_eq!(begins(700_001, &whole), Ok(false));
        let stopped = || Err(Fault::transient("stopped"));
        assert!(begins_with_digest(&upload, 600_000, &whole, &stopped).is_err());
        assert!(holds(file.path(), 699_990, &bytes[699_990..]));
        assert!(!holds(file.path(), 699_991, &bytes[699_990..]));
        assert!(is_worthwhile(700_000, &upload) && !is_worthwhile(700_001, &upload));
        assert!(!is_worthwhile(WORTHWHILE_BYTES - 1, &upload));
    }
}
