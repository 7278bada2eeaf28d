//! One attempt at a delivery: export, upload, verify, install, each only if it is still to be done.

use std::time::{Duration, Instant};

use super::Context;
use super::sessions::{Caller, Sessions};
use crate::domain::delivery::{Outcome, Step};
use crate::domain::event::{Event, Subject};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::install::{InstallEnd, InstallFacts, InstallSpec};
use crate::domain::target::InstallMode;
use crate::error::{Error, ErrorKind};
use crate::journal::{AttemptRecord, Claim, Journal, Source, Work};
use crate::spool::Artifact;
use crate::transport::{Upload, Verified};

/// Output of an install command that the journal keeps: the tail.
const OUTPUT_MAX_BYTES: usize = 64 * 1024;
/// Progress is reported at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

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
        match self.steps() {
            Ok(outcome) => outcome,
            Err(fault) => {
                let passing =
                    matches!(fault.class, FaultClass::Unreachable | FaultClass::Transient);
                if passing || fault.class == FaultClass::Unknown {
                    // A session that failed is not used again.
                    self.sessions.drop_all();
                }
                if passing && self.context.stop.is_raised() {
                    return Outcome::Interrupted;
                }
                Outcome::Faulted(fault)
            }
        }
    }

    fn steps(&mut self) -> Result<Outcome, Fault> {
        let remote_path = if let (Step::Install, Some(path)) = (self.step, &self.work.remote_path) {
            path.clone()
        } else {
            self.begin(Step::Export)?;
            let artifact = self.artifact()?;
            self.deliver(&artifact)?
        };
        let Some(command) = self.work.service.install_command.clone() else {
            return Ok(Outcome::Delivered);
        };
        self.begin(Step::Install)?;
        self.install(command, &remote_path).map(Outcome::Installed)
    }

    fn begin(&mut self, step: Step) -> Result<(), Fault> {
        self.context.stop.check()?;
        self.step = step;
        self.journal.note_step(self.claim, step).map_err(ours)?;
        self.context.emit(&Event::StepStarted {
            subject: self.subject.clone(),
            step,
        });
        Ok(())
    }

    // ----- export

    /// The package's bytes: from the spool if they are there, else out of the repository.
    fn artifact(&mut self) -> Result<Artifact, Fault> {
        let context = self.context;
        context
            .exports
            .one_at_a_time(self.work.package_id, || self.find_or_export())
            .map_err(export_fault)
    }

    fn find_or_export(&mut self) -> Result<Artifact, Error> {
        let spool = &self.context.spool;
        let keep = spool.keep()?;
        if let Some((sha256, size)) = self.journal.artifact_of(self.work.package_id)?
            && let Some(artifact) = spool.find(&sha256, size)
        {
            return Ok(artifact);
        }
        let batch = &self.work.batch;
        let (Some(path), Some(revision), Source::Revision | Source::Replay) =
            (&batch.repository, batch.revision, batch.source)
        else {
            return Err(Error::new(
                ErrorKind::Delivery,
                format!(
                    "the spool no longer holds {}; send the file again",
                    self.work.path
                ),
            ));
        };
        let repository = self.context.svnlook.repository(path)?;
        super::planner::check_uuid(&repository, batch)?;
        let artifact = spool.store(&keep, |out| {
            repository
                .export(revision, &self.work.path, out)
                .map(|_| ())
        })?;
        if let Some(recorded) = &self.work.sha256
            && *recorded != artifact.sha256
        {
            return Err(Error::new(
                ErrorKind::Delivery,
                format!(
                    "r{revision} gives other bytes for {} than before",
                    self.work.path
                ),
            ));
        }
        self.journal
            .record_artifact(self.work.package_id, &artifact.sha256, artifact.size)?;
        Ok(artifact)
    }

    // ----- upload and verify

    /// Brings the package to the host and returns where it lies. A transport that turns out to serve
    /// no uploads is given up for the next one.
    fn deliver(&mut self, artifact: &Artifact) -> Result<String, Fault> {
        let mut given_up = Vec::new();
        loop {
            self.begin(Step::Upload)?;
            let facts = self
                .sessions
                .for_files(self.caller(), &given_up)?
                .facts()
                .clone();
            self.record.transport = Some(facts.kind.as_str());
            self.record.fingerprint = facts.fingerprint;
            self.record.detail = Some(facts.detail);
            match self.upload(artifact) {
                Err(fault) if fault.class == FaultClass::Unsupported => {
                    self.caller().fell_back(facts.kind, &fault);
                    self.sessions.drop_files();
                    given_up.push(facts.kind);
                    let transports = &self.work.connection.transports;
                    if transports.iter().all(|kind| given_up.contains(kind)) {
                        return Err(fault);
                    }
                }
                other => return other,
            }
        }
    }

    fn caller(&self) -> Caller<'a> {
        Caller {
            context: self.context,
            work: self.work,
            subject: self.subject,
        }
    }

    fn upload(&mut self, artifact: &Artifact) -> Result<String, Fault> {
        let temporary = format!(".ad-{}-{}.part", self.journal.id(), self.work.delivery);
        let (context, subject, work) = (self.context, self.subject, self.work);
        let session = self.sessions.open_files()?;
        let dir = session.prepare_dir(&work.dest_dir)?;
        let upload = Upload {
            local: &artifact.path,
            size: artifact.size,
            sha256: &artifact.sha256,
            dir: &dir,
            name: &work.package,
            temporary: &temporary,
            mode: work.service.file_mode,
        };
        let mut last = Instant::now();
        let mut progress = |bytes: u64| {
            if last.elapsed() >= PROGRESS_EVERY || bytes == artifact.size {
                last = Instant::now();
                context.emit(&Event::Progress {
                    subject: subject.clone(),
                    bytes,
                    total: artifact.size,
                });
            }
        };
        if let Err(fault) = session.upload(&upload, &mut progress) {
            return Err(self.clean_up(&upload, fault));
        }
        self.begin(Step::Verify)?;
        let session = self.sessions.open_files()?;
        let verified = match session.verify(&upload).and_then(|verified| {
            session.publish(&upload)?;
            Ok(verified)
        }) {
            Ok(verified) => verified,
            Err(fault) => return Err(self.clean_up(&upload, fault)),
        };
        self.record.verified = Some(match verified {
            Verified::Digest => "digest",
            Verified::Length => "length",
        });
        let remote_path = if dir == "/" {
            format!("/{}", self.work.package)
        } else {
            format!("{dir}/{}", self.work.package)
        };
        self.journal
            .note_uploaded(
                self.claim,
                &remote_path,
                self.record.transport.unwrap_or_default(),
            )
            .map_err(ours)?;
        self.uploaded = true;
        if work.service.install_command.is_some() {
            // From here on whatever ends the attempt, only the install is left.
            self.step = Step::Install;
        }
        self.context.emit(&Event::Uploaded {
            subject: self.subject.clone(),
            remote_path: remote_path.clone(),
            digest_checked: verified == Verified::Digest,
        });
        Ok(remote_path)
    }

    /// Removes the temporary file after a fault that leaves the session usable. After any other, the
    /// next attempt writes over it: its name is that of the delivery.
    fn clean_up(&mut self, upload: &Upload<'_>, fault: Fault) -> Fault {
        if matches!(fault.class, FaultClass::Permanent | FaultClass::Unsupported)
            && let Ok(session) = self.sessions.open_files()
            && let Err(left) = session.discard(upload)
        {
            self.context.emit(&Event::Notice {
                message: format!(
                    "{}: {}/{} could not be removed: {left}",
                    self.subject.lane, upload.dir, upload.temporary
                ),
            });
        }
        fault
    }

    // ----- install

    fn install(&mut self, command: String, remote_path: &str) -> Result<InstallEnd, Fault> {
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
        let session = self.sessions.for_commands(self.caller())?;
        let outcome = session.install(&spec, &mut |_| {}).inspect_err(|fault| {
            // The host refused to start it, so this attempt began nothing.
            let refused = matches!(fault.class, FaultClass::Permanent | FaultClass::Unsupported);
            if refused && !self.work.install_began {
                self.install_began = false;
            }
        })?;
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

/// What a failed export means: the disk, the journal or Subversion may recover; lost bytes do not.
fn export_fault(error: Error) -> Fault {
    match error.kind {
        ErrorKind::Delivery => Fault::permanent(error.message),
        _ => ours(error),
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
