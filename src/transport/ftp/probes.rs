//! Doors for the fuzz targets, and for nothing else: the feature `probes`, which tests alone turn on, builds
//! them. They hand bytes to the readers of FTP replies and give plain types back; they decide nothing.

use super::digest::size_in;
use super::path;
use super::reply::{Features, Reply, mlst_size_of, quoted_path, sha256_of, size_of};
use crate::domain::fault::Fault;
use crate::domain::secret::Secret;

/// Everything that a reply can be asked for.
#[derive(Debug)]
pub struct Told {
    /// The code of its last line.
    pub code: u16,
    /// What messages quote.
    pub quote: String,
    /// The fault that it would be as a refusal.
    pub refusal: Fault,
    /// As a reply to `PWD`.
    pub path: Option<String>,
    /// As a reply to `SIZE`.
    pub size: Option<u64>,
    /// As a reply to `MLST`.
    pub mlst_size: Option<u64>,
    /// As a reply to `XSHA256` or `HASH`.
    pub sha256: Option<String>,
    /// As a reply to `FEAT`: the algorithms of `HASH`.
    pub hash: Option<String>,
}

/// Takes a reply apart.
pub fn reply(bytes: &[u8]) -> Option<Told> {
    let reply = Reply::parse(bytes)?;
    Some(Told {
        code: reply.code,
        quote: reply.quote(),
        refusal: reply.refusal("try this"),
        path: quoted_path(&reply),
        size: size_of(&reply),
        mlst_size: mlst_size_of(&reply),
        sha256: sha256_of(&reply),
        hash: Features::parse(&reply).values("HASH").map(str::to_owned),
    })
}

/// What is left of a reply once an echoed secret is masked.
pub fn masked(bytes: &[u8], secret: &Secret) -> Option<String> {
    Some(Reply::parse(bytes)?.without(secret).text)
}

/// The length of the file at `path` by a `LIST` of it.
pub fn listed_size(listing: &str, path: &str) -> Option<u64> {
    size_in(listing, path)
}

/// Whether a name or a path may be sent.
pub fn may_be_sent(text: &str) -> bool {
    path::check("the name", text).is_ok()
}

/// The absolute form of a directory.
pub fn absolute(dest_dir: &str, home: &str) -> String {
    path::resolve(dest_dir, home)
}

/// The directories above an absolute path, and it.
pub fn levels(path: &str) -> Vec<&str> {
    path::levels(path)
}

/// `name` in `dir`.
pub fn join(dir: &str, name: &str) -> String {
    path::join(dir, name)
}
