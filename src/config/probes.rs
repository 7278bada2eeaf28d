//! Doors for the fuzz targets, and for nothing else: the feature `probes`, which tests alone turn on, builds
//! them. They hand a configuration file's bytes to its reader without a file; they decide nothing.

use std::path::Path;

use zeroize::Zeroizing;

use crate::config::finding::Mistakes;
use crate::config::private::FileText;
use crate::config::rules::{self, LoadedRules};
use crate::config::settings::{self, Settings};
use crate::config::value;

/// A file of these bytes that nobody but its owner may read.
fn file(bytes: &[u8]) -> FileText {
    FileText {
        bytes: Zeroizing::new(bytes.to_vec()),
        mode: 0o600,
        owner: 0,
    }
}

/// Reads a rules file.
pub fn rules(path: &Path, bytes: &[u8], home: Option<&Path>) -> Result<LoadedRules, Mistakes> {
    rules::read(path, &file(bytes), home)
}

/// Reads an auto-dispatcher.cfg.
pub fn settings(path: &Path, bytes: &[u8], home: Option<&Path>) -> Result<Settings, Mistakes> {
    settings::read(path, &file(bytes), home)
}

/// A duration, in seconds.
pub fn duration_s(text: &str) -> Option<u64> {
    value::duration_s(text).ok()
}

/// A size, in bytes.
pub fn size_bytes(text: &str) -> Option<u64> {
    value::size_bytes(text).ok()
}

/// Whether a word may be a host.
pub fn is_host(word: &str) -> bool {
    value::host(word).is_ok()
}
