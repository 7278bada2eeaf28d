//! Delivery states, steps and transitions: what an attempt's outcome means for its delivery. The
//! journal writes nothing but a [`Transition`]; only [`settle`] makes one out of an outcome.

use std::fmt;
use std::time::Duration;

use crate::domain::fault::{Fault, FaultClass};
use crate::domain::install::InstallEnd;
use crate::domain::retry::RetryPolicy;

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
    const ALL: [Self; 7] = [
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
                "the install command ended with exit status {status}; `show` has its output, `replay` runs it again"
            )),
        },
        Outcome::Installed(InstallEnd::TimedOut) => Transition::Fail {
            fault: Fault::permanent(
                "the install command did not end within install_timeout and was ended with its children",
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
                            "{}; the install command had begun, and its outcome could not be collected: look at the host",
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
                "the worker died while the install command ran attached (install_mode = plain); look at the host, then `replay` if it has to run again",
            ),
        };
    }
    Transition::Release
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDING: Standing = Standing {
        policy: RetryPolicy {
            retries: 1,
            delay: Duration::from_secs(10),
        },
        tries_used: 1,
        attempts: 1,
        install_began: false,
    };

    fn after(fault: Fault, standing: Standing) -> State {
        settle(Outcome::Faulted(fault), standing, 0.0).state()
    }

    #[test]
    fn a_transient_fault_waits_until_the_attempts_are_used_up() {
        let fault = Fault::transient("connection lost");
        assert_eq!(after(fault.clone(), STANDING), State::Waiting);
        let used_up = Standing {
            tries_used: 2,
            ..STANDING
        };
        assert_eq!(after(fault, used_up), State::Failed);
    }

    #[test]
    fn what_is_not_retried_fails_at_once_and_unknown_stays_unknown() {
        for class in FaultClass::ALL {
            let expected = match class {
                FaultClass::Unreachable | FaultClass::Transient => State::Waiting,
                FaultClass::Unknown => State::Unknown,
                _ => State::Failed,
            };
            assert_eq!(after(Fault::new(class, "x"), STANDING), expected, "{class}");
        }
    }

    #[test]
    fn an_install_that_began_and_cannot_be_collected_is_unknown_and_never_failed() {
        let began = Standing {
            tries_used: 2,
            install_began: true,
            ..STANDING
        };
        for class in FaultClass::ALL {
            assert_eq!(
                after(Fault::new(class, "x"), began),
                State::Unknown,
                "{class}"
            );
        }
    }

    #[test]
    fn faults_of_our_own_side_wait_and_use_up_nothing() {
        let many = Standing {
            tries_used: 99,
            attempts: 99,
            ..STANDING
        };
        let transition = settle(Outcome::Faulted(Fault::ours("rules broken")), many, 0.0);
        assert!(matches!(transition, Transition::Wait { counts: false, .. }));
    }

    #[test]
    fn an_install_that_fails_is_never_repeated_by_itself() {
        for end in [InstallEnd::Exited(7), InstallEnd::TimedOut] {
            let state = settle(Outcome::Installed(end), STANDING, 0.0).state();
            assert_eq!(state, State::Failed);
        }
    }

    #[test]
    fn a_dead_worker_makes_unknown_only_what_ran_attached() {
        assert_eq!(rescue(Step::Install, true).state(), State::Unknown);
        assert_eq!(rescue(Step::Install, false).state(), State::Queued);
        assert_eq!(rescue(Step::Upload, false).state(), State::Queued);
    }

    #[test]
    fn words_come_back_as_they_were() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
    }
}
