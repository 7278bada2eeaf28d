//! The first contact of a lane with its host while the package is still being exported: neither needs the other.

use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use super::Attempt;
use crate::domain::delivery::Step;
use crate::domain::fault::Fault;
use crate::spool::Artifact;

/// A session that waited longer than this for its package is asked whether it still serves.
const IDLE_MAX: Duration = Duration::from_secs(10);

impl Attempt<'_> {
    /// The package's bytes, and a session to bring them by unless one is open.
    pub(super) fn artifact_and_session(&mut self) -> Result<Artifact, Fault> {
        if self.work.sha256.is_some() || self.sessions.has_files(self.work) {
            return self.artifact();
        }
        let caller = self.caller();
        let mut sessions = std::mem::take(self.sessions);
        let (artifact, dialled) = thread::scope(|scope| {
            let dialling = scope.spawn(move || {
                let fault = sessions.for_files(caller, &[]).err();
                (sessions, fault, Instant::now())
            });
            let artifact = self.artifact().and_then(|artifact| {
                if !dialling.is_finished() {
                    // It may take long: who asks meanwhile is told the step.
                    self.begin(Step::Upload)?;
                }
                Ok(artifact)
            });
            (artifact, dialling.join())
        });
        let (sessions, fault, since) = dialled.unwrap_or_else(|panic| resume_unwind(panic));
        *self.sessions = sessions;
        let artifact = artifact?;
        if let Some(fault) = fault {
            if self.step != Step::Upload {
                self.begin(Step::Upload)?;
            }
            return Err(fault);
        }
        if since.elapsed() > IDLE_MAX {
            *self.sessions = std::mem::take(self.sessions).awake();
        }
        Ok(artifact)
    }
}
