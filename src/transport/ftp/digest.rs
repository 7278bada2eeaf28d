//! What a server can say about a file that lies there: its length, and its SHA-256 where it computes one.

use std::str::FromStr as _;
use std::time::Duration;

use suppaftp::list::File;

use super::reply::{Features, Reply, mlst_size_of, sha256_of, size_of};
use super::wire::Wire;
use crate::domain::fault::{Fault, FaultClass};

/// The slowest disk that a digest is waited for, bytes a second, on top of `stall_timeout`.
const SLOW_DISK: u64 = 10_000_000;
/// The longest listing that is read for one file.
const LISTING_MAX_BYTES: usize = 1 << 20;

/// The length of the file at `path`; none when nothing lies there. A server that has no way of telling is a
/// fault.
pub(super) fn length(wire: &mut Wire, path: &str) -> Result<Option<u64>, Fault> {
    let what = format!("the size of {path}");
    let told = wire.ask(&what, &format!("SIZE {path}"))?;
    if let Some(size) = size_of(&told) {
        return Ok(Some(size));
    }
    if told.code / 100 == 4 {
        return Err(told.refusal(&what));
    }
    if !told.is_not_known() && told.code != 550 {
        return Err(told.refusal(&what));
    }
    let facts = wire.ask(&what, &format!("MLST {path}"))?;
    if let Some(size) = mlst_size_of(&facts) {
        return Ok(Some(size));
    }
    if told.code == 550 {
        return Ok(None);
    }
    listed_length(wire, path, &told)
}

/// The last resort: the line of `LIST` that ends in the file's name.
fn listed_length(wire: &mut Wire, path: &str, told: &Reply) -> Result<Option<u64>, Fault> {
    let found = match listing(wire, path) {
        Ok(listing) => size_in(&listing, path),
        Err(fault) if fault.class == FaultClass::Permanent => None,
        Err(fault) => return Err(fault),
    };
    match found {
        Some(size) => Ok(Some(size)),
        None => Err(Fault::unsupported(format!(
            "{} cannot tell the length of a file (SIZE: \"{}\"; no MLST; no usable LIST), so the upload cannot be \
             verified",
            wire.peer(),
            told.quote()
        ))),
    }
}

/// The size in the line of a `LIST` that ends in the name of the file at `path`.
pub(super) fn size_in(listing: &str, path: &str) -> Option<u64> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let file = listing
        .lines()
        .filter_map(|line| File::from_str(line).ok())
        .find(|file| file.is_file() && (file.name() == name || file.name() == path))?;
    u64::try_from(file.size()).ok()
}

fn listing(wire: &mut Wire, path: &str) -> Result<String, Fault> {
    let what = format!("the listing of {path}");
    let mut listing = Vec::new();
    let mut buffer = [0; 4096];
    let mut transfer = wire.open_data(&what, &format!("LIST {path}"))?;
    let broke = loop {
        match transfer.read(&mut buffer) {
            Ok(0) => break None,
            Ok(n) if listing.len() + n <= LISTING_MAX_BYTES => {
                listing.extend_from_slice(&buffer[..n]);
            }
            // A data connection without TLS's own end: the server's verdict follows and counts.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break None,
            Ok(_) => break Some(std::io::Error::other("an endless listing")),
            Err(error) => break Some(error),
        }
    };
    transfer
        .finish(&what, broke)
        .map_err(|unfinished| unfinished.fault)?;
    Ok(String::from_utf8_lossy(&listing).into_owned())
}

/// The SHA-256 of the file at `path`, lower-case hex; none where the server does not compute it.
pub(super) fn sha256(
    wire: &mut Wire,
    features: &Features,
    path: &str,
    size: u64,
) -> Result<Option<String>, Fault> {
    let what = format!("the SHA-256 of {path}");
    let limit = wire
        .limits()
        .stall
        .saturating_add(Duration::from_secs(size / SLOW_DISK));
    if features.has("XSHA256") {
        let told = wire.ask_within(limit, &what, &format!("XSHA256 {path}"))?;
        return Ok(sha256_of(&told));
    }
    let Some(algorithms) = features.values("HASH") else {
        return Ok(None);
    };
    let mut algorithms = algorithms.split(';').map(str::trim);
    let Some(ours) = algorithms.find(|name| name.trim_end_matches('*') == "SHA-256") else {
        return Ok(None);
    };
    if !ours.ends_with('*') && !wire.ask(&what, "OPTS HASH SHA-256")?.is_done() {
        return Ok(None);
    }
    let told = wire.ask_within(limit, &what, &format!("HASH {path}"))?;
    Ok(sha256_of(&told))
}
