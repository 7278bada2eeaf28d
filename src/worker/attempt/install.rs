//! The step install: the command run at most once, or its outcome collected.

use super::{Attempt, ours};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::install::{InstallEnd, InstallFacts, InstallSpec};
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
        let spec = self.install_spec(command, remote_path);
        self.sessions.for_commands(self.caller())?;
        if spec.mode == InstallMode::Plain {
            self.journal.note_attached(self.claim).map_err(ours)?;
        }
        let is_tracked = spec.mode == InstallMode::Tracked;
        if is_tracked {
            self.journal.note_install_began(self.claim).map_err(ours)?;
            self.install_began = true;
        }
        fail_points::hit("attempt.install_noted");
        let session = self.sessions.for_commands(self.caller())?;
        let mut output = |_: &[u8]| fail_points::hit("attempt.installing");
        let outcome = session.install(&spec, &mut output).inspect_err(|fault| {
            // The host refused to start it, so this attempt began nothing.
            let refused = matches!(fault.class, FaultClass::Permanent | FaultClass::Unsupported);
            if refused && !self.work.install_began {
                self.install_began = false;
            }
        })?;
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
            token: format!(
                "{}-{}-{}",
                self.journal.id(),
                self.work.delivery,
                self.work.run
            ),
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
