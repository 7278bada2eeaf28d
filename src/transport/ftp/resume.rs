//! How much of a temporary file is known to be the artifact's beginning: by a digest of it where the server
//! computes one, else by reading its end back.

use super::digest;
use super::reply::{Features, size_of};
use super::wire::{Unopened, Wire};
use crate::domain::fault::Fault;
use crate::transport::resume::{TAIL_BYTES, begins_with_digest, holds, is_worthwhile};
use crate::transport::{StopFlag, Upload};

/// How many bytes at `remote` are the artifact's beginning, as far as that can be known; none where the upload
/// starts again.
pub(super) fn verified(
    wire: &mut Wire,
    features: &Features,
    upload: &Upload<'_>,
    remote: &str,
    stop: &StopFlag,
) -> Result<u64, Fault> {
    // A server that can tell of REST tells; one that has no FEAT is asked by trying.
    if !features.is_empty() && !features.has("REST") {
        return Ok(0);
    }
    let told = wire.ask(&format!("the size of {remote}"), &format!("SIZE {remote}"))?;
    let Some(there) = size_of(&told).filter(|&there| is_worthwhile(there, upload)) else {
        return Ok(0);
    };
    let is_ours = if let Some(sha256) = digest::sha256(wire, features, remote, there)? {
        begins_with_digest(upload, there, &sha256, &|| stop.check())?
    } else {
        let offset = there - there.min(TAIL_BYTES);
        let limit = usize::try_from(there - offset).unwrap_or(0);
        read_back(wire, remote, offset, limit)?
            .is_some_and(|tail| tail.len() == limit && holds(upload.local, offset, &tail))
    };
    Ok(if is_ours { there } else { 0 })
}

/// The file from `offset` on; nothing where the server refuses, or where it is longer than `limit`.
fn read_back(
    wire: &mut Wire,
    remote: &str,
    offset: u64,
    limit: usize,
) -> Result<Option<Vec<u8>>, Fault> {
    let what = format!("reading the end of {remote}");
    let mut transfer = match wire.open_data_at(&what, &format!("RETR {remote}"), offset) {
        Ok(transfer) => transfer,
        Err(Unopened::Refused(_)) => return Ok(None),
        Err(Unopened::Failed(fault)) => return Err(fault),
    };
    // One byte more tells that it is longer.
    let mut bytes = vec![0; limit + 1];
    let mut filled = 0;
    let broke = loop {
        if filled > limit {
            transfer.give_up();
            return Ok(None);
        }
        match transfer.read(&mut bytes[filled..]) {
            Ok(0) => break None,
            Ok(read) => filled += read,
            // A data connection without TLS's own end: the server's verdict follows and counts.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break None,
            Err(error) => break Some(error),
        }
    };
    bytes.truncate(filled);
    match transfer.finish(&what, broke) {
        Ok(()) => Ok(Some(bytes)),
        Err(unfinished) if unfinished.is_cut => Err(unfinished.fault),
        Err(_) => Ok(None),
    }
}
