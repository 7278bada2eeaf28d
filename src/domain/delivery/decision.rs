//! What the operator may decide about a delivery, and what becomes of it then.

use super::State;

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
