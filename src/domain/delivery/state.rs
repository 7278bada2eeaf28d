//! The states of a delivery, the transitions that there are, and the steps of an attempt.

use std::fmt;

/// Where a delivery stands. Each state's comment says who moves it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Planned or retried; a worker claims it, the operator may cancel it.
    Queued,
    /// Claimed; the claiming worker settles it, or another one rescues it when that worker is dead.
    Running,
    /// A transient fault ended an attempt; a worker claims it when it is due, the operator may cancel it.
    Waiting,
    /// Uploaded, verified, installed if asked; final.
    Done,
    /// Permanent, or attempts used up; the operator may retry it.
    Failed,
    /// The install began and its outcome cannot be had; the operator may retry it.
    Unknown,
    /// Given up by the operator; final.
    Cancelled,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::Done,
        Self::Failed,
        Self::Unknown,
        Self::Cancelled,
    ];

    /// The word of the journal and of `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state that [`State::as_str`] names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// The transitions that there are. The journal's own rule (a trigger) is held against this list by a test.
    pub fn may_become(self, next: Self) -> bool {
        use State::{Cancelled, Done, Failed, Queued, Running, Unknown, Waiting};
        matches!(
            (self, next),
            (Queued | Waiting, Running | Cancelled)
                | (Running, Done | Waiting | Failed | Unknown | Queued)
                | (Failed | Unknown, Queued)
        )
    }

    /// Whether a worker still has to do with it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Waiting)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The steps of an attempt, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// From the source into the spool.
    Export,
    /// From the spool to the temporary name on the host.
    Upload,
    /// Length and digest, then the real name.
    Verify,
    /// The install command. A delivery at this step is not uploaded again.
    Install,
}

impl Step {
    /// The word of the journal and of `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::Upload => "upload",
            Self::Verify => "verify",
            Self::Install => "install",
        }
    }

    /// The step that [`Step::as_str`] names.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Export, Self::Upload, Self::Verify, Self::Install]
            .into_iter()
            .find(|step| step.as_str() == word)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
