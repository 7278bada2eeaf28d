//! The step install: the command run at most once, or its outcome collected.

use super::{Attempt, ours};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::install::{InstallEnd, InstallFacts, InstallOutcome, InstallSpec};
use crate::domain::target::InstallMode;
use crate::fail_points;

/// Output of an install command that the journal keeps: the tail.
const OUTPUT_MAX_BYTES: usize = 64 * 1024;

impl Attempt<'_> {
    pub(super) fn install(
        &mut self,
        command: String,
        remote_path: &str,
    ) -> Result<InstallEnd, Fault> {
        let mut spec = self.install_spec(command, remote_path);
        let mut ran = self.start_or_collect(&spec, self.work.install_began);
        let is_lost = matches!(&ran, Err(fault) if fault.class == FaultClass::Unknown);
        if is_lost && self.work.rerun && spec.mode == InstallMode::Tracked {
            let lost = std::mem::replace(&mut spec.token, self.token_of_rerun()?);
            // A record without an outcome helps nobody.
            let session = self.sessions.for_commands(self.caller())?;
            let _ = session.forget_install(&lost);
            ran = self.start_or_collect(&spec, false);
        }
        let outcome = ran?;
        fail_points::hit("attempt.installed");
        self.install_began = false;
        self.record.exit_status = match outcome.end {
            InstallEnd::Exited(status) => Some(status),
            InstallEnd::TimedOut => None,
        };
        self.record.output = Some(outcome.output);
        self.record.output_cut = outcome.output_cut_bytes;
        self.collected = Some(spec.token);
        Ok(outcome.end)
    }

    /// Starts the command under the token of `spec`, or collects what it came to. `has_begun`: an earlier
    /// attempt may have started it.
    fn start_or_collect(
        &mut self,
        spec: &InstallSpec,
        has_begun: bool,
    ) -> Result<InstallOutcome, Fault> {
        self.sessions.for_commands(self.caller())?;
        match spec.mode {
            InstallMode::Plain => self.journal.note_attached(self.claim).map_err(ours)?,
            InstallMode::Tracked => {
                self.journal.note_install_began(self.claim).map_err(ours)?;
                self.install_began = true;
            }
        }
        fail_points::hit("attempt.install_noted");
        let session = self.sessions.for_commands(self.caller())?;
        session.install(spec, &mut |_| {}).inspect_err(|fault| {
            // The host refused to start it, so this attempt began nothing.
            let refused = matches!(fault.class, FaultClass::Permanent | FaultClass::Unsupported);
            if refused && !has_begun {
                self.install_began = false;
            }
        })
    }

    /// The token of the run that the operator has asked for in case the outcome of the one before is lost:
    /// his word is used up, durably, before the command can begin, and so serves once.
    fn token_of_rerun(&mut self) -> Result<String, Fault> {
        let run = self.journal.note_rerun(self.claim).map_err(ours)?;
        self.install_began = false;
        Ok(self.token(run))
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
            output_max_bytes: OUTPUT_MAX_BYTES,
        }
    }
}
