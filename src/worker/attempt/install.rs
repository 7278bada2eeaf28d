//! The step install: the command run at most once, or its outcome collected.

use super::{Attempt, ours};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::install::{InstallEnd, InstallFacts, InstallOutcome, InstallSpec};
use crate::domain::target::InstallMode;
use crate::fail_points;
use crate::worker::sessions::Caller;

/// Output of an install command that the journal keeps: the tail.
const OUTPUT_MAX_BYTES: usize = 64 * 1024;

impl Attempt<'_> {
    pub(super) fn install(
        &mut self,
        command: String,
        remote_path: &str,
    ) -> Result<InstallEnd, Fault> {
        let mut spec = self.install_spec(command, remote_path);
        let mut ran = self.start_or_collect(&spec);
        let is_lost = matches!(&ran, Err(fault) if fault.class == FaultClass::Unknown);
        if is_lost && self.work.rerun && spec.mode == InstallMode::Tracked {
            let lost = std::mem::replace(&mut spec.token, self.token_of_rerun()?);
            spec.recorded = false;
            self.prepares(&spec.token)?;
            // A record without an outcome helps nobody.
            let session = self.sessions.for_commands(self.caller())?;
            let _ = session.forget_install(&lost);
            ran = self.start_or_collect(&spec);
        }
        let outcome = ran?;
        fail_points::hit("attempt.installed");
        self.install_began = false;
        self.record.exit_status = match outcome.end {
            InstallEnd::Exited(status) => Some(status),
            InstallEnd::TimedOut => None,
        };
        let is_cut = outcome.output_cut_bytes > 0;
        self.record.output = Some(self.sessions.hide_in_output(outcome.output, is_cut));
        self.record.output_cut = outcome.output_cut_bytes;
        self.collected = Some(spec.token);
        Ok(outcome.end)
    }

    /// Starts the command under the token of `spec`, or collects what it came to.
    fn start_or_collect(&mut self, spec: &InstallSpec) -> Result<InstallOutcome, Fault> {
        self.sessions.for_commands(self.caller())?;
        if spec.mode == InstallMode::Plain {
            self.journal.note_attached(self.claim).map_err(ours)?;
        }
        let session = self.sessions.for_commands(Caller {
            context: self.context,
            work: self.work,
            subject: self.subject,
        })?;
        let (journal, claim, began) = (&mut *self.journal, self.claim, &mut self.install_began);
        let mut may_begin = || {
            fail_points::hit("attempt.install_prepared");
            journal.note_install_began(claim).map_err(ours)?;
            *began = true;
            fail_points::hit("attempt.install_noted");
            Ok(())
        };
        let mut output = |_: &[u8]| fail_points::hit("attempt.installing");
        session.install_when(spec, &mut may_begin, &mut output)
    }

    /// The token of the run that the operator has asked for in case the outcome of the one before is lost:
    /// his word is used up, durably, before the command can begin, and so serves once.
    fn token_of_rerun(&mut self) -> Result<String, Fault> {
        let run = self.journal.note_rerun(self.claim).map_err(ours)?;
        self.install_began = false;
        Ok(self.token(run))
    }

    /// The token of the install, if its command will be tracked.
    pub(super) fn tracked_token(&self) -> Option<String> {
        let service = &self.work.service;
        let is_tracked =
            service.install_command.is_some() && service.install_mode == InstallMode::Tracked;
        is_tracked.then(|| self.token(self.work.run))
    }

    /// Before the host hears of an install: whatever becomes of this worker then, what the host keeps is found.
    pub(super) fn prepares(&mut self, token: &str) -> Result<(), Fault> {
        self.journal
            .note_install_prepared(self.claim, token)
            .map_err(ours)
    }

    fn token(&self, run: u32) -> String {
        format!("{}-{}-{run}", self.journal.id(), self.work.delivery)
    }

    fn install_spec(&self, command: String, remote_path: &str) -> InstallSpec {
        let batch = &self.work.batch;
        let dest_dir = match remote_path.rsplit_once('/') {
            Some(("", _)) | None => "/".to_owned(),
            Some((dir, _)) => dir.to_owned(),
        };
        let sha256 = match self.journal.artifact_of(self.work.package_id) {
            Ok(Some((sha256, _))) => sha256,
            _ => String::new(),
        };
        InstallSpec {
            token: self.token(self.work.run),
            command,
            facts: InstallFacts {
                package: self.work.package.clone(),
                path: remote_path.to_owned(),
                dest_dir,
                repository: batch
                    .repository
                    .as_ref()
                    .map(|path| path.to_string_lossy().into_owned())
                    .unwrap_or_default(),
                revision: batch
                    .revision
                    .map(|revision| revision.to_string())
                    .unwrap_or_default(),
                author: batch.author.clone().unwrap_or_default(),
                sha256,
                delivery: self.work.delivery.to_string(),
            },
            timeout_s: self.work.service.install_timeout_s,
            mode: self.work.service.install_mode,
            idempotent: self.work.service.install_idempotent,
            recorded: self.work.install_began,
            output_max_bytes: OUTPUT_MAX_BYTES,
        }
    }
}
