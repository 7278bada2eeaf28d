//! Whom a worker serves.

/// Whom a worker serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everybody: hooks start no other one while it lives.
    Background,
    /// Everybody; started by a hook, of which one at a time is enough.
    Detached,
    /// A command in the foreground, which ends when its own batches are settled.
    Foreground,
}

impl Role {
    /// The word for it in the journal.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Background => "worker",
            Self::Detached => "detached",
            Self::Foreground => "foreground",
        }
    }
}
