//! Delivery states, steps and transitions: what an attempt's outcome, a worker's death and the operator's
//! decision mean for a delivery. The journal writes nothing but a [`Transition`] or what a [`Decision`] allows;
//! only [`settle`] makes a transition out of an outcome.

use std::time::Duration;

use crate::domain::fault::{Fault, FaultClass};
use crate::domain::install::InstallEnd;
use crate::domain::retry::RetryPolicy;

mod decision;
mod state;
#[cfg(test)]
mod tests;

pub use decision::{Decision, Past, Resumption, resume};
pub use state::{State, Step};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Uploaded and verified; no install was asked for.
    Delivered,
    /// The install command ended.
    Installed(InstallEnd),
    /// A step failed.
    Faulted(Fault),
    /// The worker was told to stop; nothing is wrong with the delivery.
    Interrupted,
}

/// What happens to a running delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// running -> done.
    Done,
    /// running -> waiting.
    Wait {
        /// How long.
        delay: Duration,
        /// Why.
        fault: Fault,
        /// Whether the attempt counts against `retries`.
        counts: bool,
    },
    /// running -> failed.
    Fail {
        /// Why.
        fault: Fault,
    },
    /// running -> unknown.
    Lose {
        /// Why.
        fault: Fault,
    },
    /// running -> queued: the attempt was ended by us, and counts for nothing.
    Release,
}

impl Transition {
    /// The state that the delivery is in afterwards.
    pub fn state(&self) -> State {
        match self {
            Self::Done => State::Done,
            Self::Wait { .. } => State::Waiting,
            Self::Fail { .. } => State::Failed,
            Self::Lose { .. } => State::Unknown,
            Self::Release => State::Queued,
        }
    }

    /// The fault that caused it.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Wait { fault, .. } | Self::Fail { fault } | Self::Lose { fault } => Some(fault),
            Self::Done | Self::Release => None,
        }
    }
}

/// What is known of a delivery when one of its attempts ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How often and how soon it is tried.
    pub policy: RetryPolicy,
    /// Attempts that count against `retries`, this one included.
    pub tries_used: u32,
    /// All attempts, this one included.
    pub attempts: u32,
    /// Whether an install command may have begun whose outcome is still on the host.
    pub install_began: bool,
}

/// Decides what an outcome means. `jitter` is between 0.0 and 1.0.
#[must_use]
pub fn settle(outcome: Outcome, standing: Standing, jitter: f64) -> Transition {
    let Standing { policy, .. } = standing;
    match outcome {
        Outcome::Delivered | Outcome::Installed(InstallEnd::Exited(0)) => Transition::Done,
        Outcome::Installed(InstallEnd::Exited(status)) => Transition::Fail {
            fault: Fault::permanent(format!(
                "the install command ended with exit status {status}; `show` has its output, `retry` runs it again"
            )),
        },
        Outcome::Installed(InstallEnd::TimedOut) => Transition::Fail {
            fault: Fault::permanent(
                "the install command did not end within install_timeout and was ended with its children; `retry` runs it again",
            ),
        },
        Outcome::Interrupted => Transition::Release,
        Outcome::Faulted(fault) if fault.class == FaultClass::Unknown => Transition::Lose { fault },
        Outcome::Faulted(fault) if fault.is_ours => Transition::Wait {
            delay: policy.unlimited_delay_after(standing.attempts, jitter),
            fault,
            counts: false,
        },
        Outcome::Faulted(fault) => {
            let delay = policy.delay_after(standing.tries_used, jitter);
            match delay.filter(|_| fault.class.is_retried()) {
                Some(delay) => Transition::Wait {
                    delay,
                    fault,
                    counts: true,
                },
                None if standing.install_began => Transition::Lose {
                    fault: Fault::new(
                        fault.class,
                        format!(
                            "{}; the install command had begun, and its outcome could not be collected: look at the host, then `retry`, which collects it and runs the command again only if it is lost",
                            fault.message
                        ),
                    ),
                },
                None => Transition::Fail { fault },
            }
        }
    }
}

/// What becomes of a running delivery whose worker is dead. A detached install goes on without a
/// worker and is collected; one that ran attached died with its connection, and whether it had begun
/// is all we know.
#[must_use]
pub fn rescue(step: Step, attached_install_began: bool) -> Transition {
    if step == Step::Install && attached_install_began {
        return Transition::Lose {
            fault: Fault::unknown(
                "the worker died while the install command ran attached (install_mode = plain); look at the host, then `retry` if it has to run again",
            ),
        };
    }
    Transition::Release
}
