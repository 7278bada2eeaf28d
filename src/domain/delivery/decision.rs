//! What the operator may decide about a delivery, and what becomes of it then.

use super::{State, Step};

/// What the operator may decide about a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// failed | unknown -> queued; what is done is not redone.
    Retry,
    /// queued | waiting -> cancelled.
    Cancel,
    /// failed | unknown stays what it is, but needs nobody any more: no artifact is kept, no lane stopped.
    Dismiss,
}

impl Decision {
    /// The state afterwards; an error says why it cannot be decided and what can.
    pub fn of(self, state: State) -> Result<State, &'static str> {
        match (self, state) {
            (Self::Retry, State::Failed | State::Unknown) => Ok(State::Queued),
            (Self::Dismiss, State::Failed | State::Unknown) => Ok(state),
            (Self::Cancel, State::Queued | State::Waiting) => Ok(State::Cancelled),
            (Self::Retry, State::Queued | State::Waiting | State::Running) => {
                Err("it is not settled: a worker sees to it")
            }
            (Self::Retry, State::Done) => Err("it is done; `replay` or `send` delivers again"),
            (Self::Retry, State::Cancelled) => {
                Err("it was cancelled; `replay` or `send` delivers again")
            }
            (Self::Cancel, State::Running) => {
                Err("it is running; stop the worker first, or wait for its end")
            }
            (Self::Cancel, State::Failed | State::Unknown) => {
                Err("it is settled; `dismiss` puts it away")
            }
            (Self::Cancel | Self::Dismiss, State::Done | State::Cancelled) => {
                Err("it is settled already")
            }
            (Self::Dismiss, State::Queued | State::Waiting | State::Running) => {
                Err("it is not settled; `cancel` gives it up")
            }
        }
    }
}

/// What a failed or unknown delivery has behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// The package lies verified under its real name, and no other one was put there since.
    pub is_uploaded: bool,
    /// An install command may have begun whose outcome is still on the host.
    pub install_began: bool,
    /// The command has run and nothing of that run can be on the host any more: its outcome is in the journal,
    /// or was lost with the connection that it ran attached to.
    pub command_ended: bool,
}

/// How a retried delivery goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumption {
    /// The step that it begins at.
    pub step: Step,
    /// The install command gets a new token: it runs again whatever the host knows of the old one.
    pub is_new_run: bool,
    /// The outcome is collected first, and the command runs again, once, if the host has lost it.
    pub reruns_if_lost: bool,
}

/// How a delivery with this past goes on when it is retried: what is done is not redone, and the command runs
/// again only where it has ended, or where nobody can tell any more.
#[must_use]
pub fn resume(past: Past) -> Resumption {
    Resumption {
        step: if past.is_uploaded {
            Step::Install
        } else {
            Step::Export
        },
        is_new_run: past.command_ended && !past.install_began,
        reruns_if_lost: past.install_began,
    }
}
