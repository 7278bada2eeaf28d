//! When a worker ends, and why it ended. Looks at nothing itself.

use std::time::Duration;

use crate::journal::Awaited;

/// When a worker ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// Never.
    Told,
    /// When nothing was to be done for this long.
    IdleFor(Duration),
    /// When nothing is queued, waiting or unplanned.
    Idle,
    /// When these are settled.
    Settled(Awaited),
}

impl Until {
    /// What somebody at a terminal waits for.
    pub(super) fn awaited(&self) -> Option<&Awaited> {
        match self {
            Self::Settled(awaited) => Some(awaited),
            _ => None,
        }
    }
}

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// There was nothing more to do.
    Idle,
    /// What it was to see through is settled.
    Settled,
    /// One of those batches, or an earlier revision, cannot be planned.
    Unplannable,
    /// What is left of it stands behind a failure that stops its lane.
    Held,
}

impl Ended {
    /// In words, for the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "told to stop",
            Self::Idle => "idle",
            Self::Settled => "done",
            Self::Unplannable => "the batch cannot be planned",
            Self::Held => "the lane is stopped by a failure",
        }
    }
}
