//! The install command: what it is told, how its placeholders are filled, and what became of it.

use serde::{Deserialize, Serialize};

use crate::domain::target::InstallMode;

/// What one run of an install command needs. Every path is one on the host, `~` resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallSpec {
    /// Names the directory on the host that makes the command run at most once:
    /// `[0-9A-Za-z_-]+`, unique to this delivery of this journal.
    pub token: String,
    /// The command, placeholders not yet filled.
    pub command: String,
    /// What the command sees, and what fills its placeholders.
    pub facts: InstallFacts,
    /// Limit for the command and its children; seconds.
    pub timeout_s: u64,
    /// How it is run.
    pub mode: InstallMode,
    /// Whether it may be run again when an earlier run's outcome cannot be had.
    pub idempotent: bool,
    /// How many bytes of output are kept: the tail.
    pub output_max_bytes: usize,
}

/// `AD_PACKAGE` and its siblings. What a source does not have is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstallFacts {
    /// `AD_PACKAGE`, `{package}`: base name.
    pub package: String,
    /// `AD_PATH`, `{path}`: absolute path of the package on the host.
    pub path: String,
    /// `AD_DEST_DIR`, `{dest_dir}`: absolute directory on the host.
    pub dest_dir: String,
    /// `AD_REPOSITORY`.
    pub repository: String,
    /// `AD_REVISION`, `{revision}`.
    pub revision: String,
    /// `AD_AUTHOR`.
    pub author: String,
    /// `AD_SHA256`.
    pub sha256: String,
    /// `AD_DELIVERY`.
    pub delivery: String,
}

/// How an install command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstallEnd {
    /// With this status; 128 + n for signal n, as shells count.
    Exited(i32),
    /// `install_timeout` ended it and its children.
    TimedOut,
}

/// What is known of an install command that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallOutcome {
    /// How it ended.
    pub end: InstallEnd,
    /// stdout and stderr, merged; the tail where it was longer than the limit.
    pub output: Vec<u8>,
    /// Bytes that came before the tail.
    pub output_cut_bytes: u64,
}
