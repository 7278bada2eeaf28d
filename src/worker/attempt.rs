//! One attempt at a delivery: export, upload, verify, install, each only if it is still to be done.

use super::Context;
use super::sessions::Sessions;
use crate::domain::delivery::{Outcome, Step};
use crate::domain::event::{Event, Subject};
use crate::domain::fault::{Fault, FaultClass};
use crate::error::Error;
use crate::journal::{AttemptRecord, Claim, Journal, Work};

mod ahead;
mod companions;
mod contact;
mod deliver;
mod export;
mod group;
mod install;

pub(super) use companions::Companions;

pub(super) struct Attempt<'a> {
    context: &'a Context,
    journal: &'a mut Journal,
    sessions: &'a mut Sessions,
    claim: &'a Claim,
    work: &'a Work,
    subject: &'a Subject,
    step: Step,
    record: AttemptRecord,
    /// Set when the host keeps an outcome that is now ours.
    collected: Option<String>,
    /// Whether the package lies under its real name.
    uploaded: bool,
    /// Whether an install command may have begun whose outcome is not ours yet.
    install_began: bool,
}

/// What an attempt leaves beside its outcome.
pub(super) struct Left {
    /// The step that it ended at.
    pub(super) step: Step,
    /// The step that the next attempt begins at, if there is one.
    pub(super) resume_at: Step,
    /// For the journal.
    pub(super) record: AttemptRecord,
    /// The token of an install that was collected, for the host to forget.
    pub(super) collected: Option<String>,
    /// Whether an install command may have begun whose outcome is not ours yet.
    pub(super) install_began: bool,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        context: &'a Context,
        journal: &'a mut Journal,
        sessions: &'a mut Sessions,
        claim: &'a Claim,
        work: &'a Work,
        subject: &'a Subject,
    ) -> Self {
        Self {
            context,
            journal,
            sessions,
            claim,
            work,
            subject,
            step: if work.step == Step::Install {
                Step::Install
            } else {
                Step::Export
            },
            record: AttemptRecord::default(),
            collected: None,
            uploaded: work.step == Step::Install && work.remote_path.is_some(),
            install_began: work.install_began,
        }
    }

    /// After a panic nobody knows what state they are in.
    pub(super) fn drop_sessions(&mut self) {
        self.sessions.drop_all();
    }

    /// For what is to be written while the attempt is under way.
    pub(super) fn journal(&mut self) -> &mut Journal {
        self.journal
    }

    pub(super) fn leave(self) -> Left {
        Left {
            step: self.step,
            resume_at: if self.uploaded {
                Step::Install
            } else {
                self.step
            },
            record: self.record,
            collected: self.collected,
            install_began: self.install_began,
        }
    }

    pub(super) fn run(&mut self) -> Outcome {
        self.sessions.learn(self.caller());
        self.steps().unwrap_or_else(|fault| self.faulted(fault))
    }

    fn faulted(&mut self, mut fault: Fault) -> Outcome {
        fault.message = self.sessions.hide(&fault.message);
        let passing = matches!(fault.class, FaultClass::Unreachable | FaultClass::Transient);
        if passing || fault.class == FaultClass::Unknown {
            // A session that failed is not used again.
            self.sessions.drop_all();
        }
        if passing && self.context.stop.is_raised() {
            return Outcome::Interrupted;
        }
        Outcome::Faulted(fault)
    }

    fn steps(&mut self) -> Result<Outcome, Fault> {
        let remote_path = if let (Step::Install, Some(path)) = (self.step, &self.work.remote_path) {
            let path = path.clone();
            if let Some(token) = self.tracked_token() {
                self.prepares(&token)?;
            }
            path
        } else {
            self.begin(Step::Export)?;
            let artifact = self.artifact_and_session()?;
            self.deliver(&artifact)?
        };
        let Some(command) = self.work.service.install_command.clone() else {
            return Ok(Outcome::Delivered);
        };
        // The journal knows: it was told so together with where the package lies, or before.
        self.enter(Step::Install)?;
        self.install(command, &remote_path).map(Outcome::Installed)
    }

    fn begin(&mut self, step: Step) -> Result<(), Fault> {
        self.enter(step)?;
        self.journal.note_step(self.claim, step).map_err(ours)
    }

    /// The same where the journal is told a little later, together with something else.
    fn enter(&mut self, step: Step) -> Result<(), Fault> {
        self.context.stop.check()?;
        self.step = step;
        self.context.emit(&Event::StepStarted {
            subject: self.subject.clone(),
            step,
        });
        Ok(())
    }
}

/// Our own side failed: journal, spool, Subversion.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn ours(error: Error) -> Fault {
    Fault::ours(error.one_line())
}
