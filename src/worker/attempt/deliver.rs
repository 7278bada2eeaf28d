//! The steps upload and verify: the package on the host under its real name.

use std::time::{Duration, Instant};

use super::{Attempt, ours};
use crate::domain::delivery::Step;
use crate::domain::event::Event;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::target::TransportKind;
use crate::fail_points;
use crate::journal::TemporaryFile;
use crate::spool::Artifact;
use crate::transport::{Placing, Upload, Verified};
use crate::worker::leftovers;
use crate::worker::sessions::Caller;

/// Progress is reported this often, and whenever so many parts of the whole have gone: a line that stalls right after
/// a report must not look as if nothing had.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
const PROGRESS_PARTS: u64 = 16;

impl<'a> Attempt<'a> {
    /// Brings the package to the host and returns where it lies. A transport that turns out to serve
    /// no uploads is given up for the next one.
    pub(super) fn deliver(&mut self, artifact: &Artifact) -> Result<String, Fault> {
        let mut given_up = Vec::new();
        loop {
            let kind = self.connect(&given_up)?;
            match self.upload(artifact, kind) {
                Err(fault) if fault.class == FaultClass::Unsupported => {
                    self.sessions.fell_back(self.caller(), kind, &fault);
                    self.sessions.drop_files();
                    given_up.push(kind);
                    let transports = &self.work.connection.transports;
                    if transports.iter().all(|kind| given_up.contains(kind)) {
                        return Err(fault);
                    }
                }
                other => return other,
            }
        }
    }

    /// Begins the step upload over an open session, by a transport that is not given up.
    pub(super) fn connect(&mut self, given_up: &[TransportKind]) -> Result<TransportKind, Fault> {
        if self.step == Step::Upload && given_up.is_empty() {
            // It was told while the host was dialled.
        } else if self.sessions.has_files(self.work) {
            self.enter(Step::Upload)?;
        } else {
            // Dialling may take long: who asks meanwhile is told the step.
            self.begin(Step::Upload)?;
        }
        self.sessions.for_files(self.caller(), given_up)?;
        let lane = &self.subject.lane;
        leftovers::tidy(self.context, self.journal, self.sessions, lane);
        // Open still, unless tidying broke it.
        let facts = self
            .sessions
            .for_files(self.caller(), given_up)?
            .facts()
            .clone();
        fail_points::hit("attempt.connected");
        self.record.transport = Some(facts.kind.as_str());
        self.record.fingerprint = facts.fingerprint;
        self.record.detail = Some(self.sessions.hide(&facts.detail));
        Ok(facts.kind)
    }

    pub(super) fn caller(&self) -> Caller<'a> {
        Caller {
            context: self.context,
            work: self.work,
            subject: self.subject,
        }
    }

    fn upload(&mut self, artifact: &Artifact, transport: TransportKind) -> Result<String, Fault> {
        let temporary = format!(".ad-{}-{}.part", self.journal.id(), self.work.delivery);
        let (context, subject, work) = (self.context, self.subject, self.work);
        let session = self.sessions.open_files()?;
        let dir = session.aim(&work.dest_dir)?;
        fail_points::hit("attempt.dir_prepared");
        let upload = Upload {
            local: &artifact.path,
            size: artifact.size,
            sha256: &artifact.sha256,
            dir: &dir,
            name: &work.package,
            temporary: &temporary,
            mode: work.service.file_mode,
            resume: self.claim.attempt > 1,
        };
        let file = TemporaryFile {
            transport,
            dir: &dir,
            name: &work.package,
            temporary: &temporary,
        };
        self.journal
            .note_upload_began(self.claim, &file)
            .map_err(ours)?;
        fail_points::hit("attempt.upload_began");
        let remote_path = path_in(&dir, &work.package);
        let verified = self.place(&upload, &file, &remote_path)?;
        let transport = self.record.transport.unwrap_or_default();
        let token = self.tracked_token();
        self.journal
            .note_uploaded(
                self.claim,
                (&remote_path, transport),
                &file,
                token.as_deref(),
            )
            .map_err(ours)?;
        fail_points::hit("attempt.upload_noted");
        self.uploaded = true;
        if work.service.install_command.is_some() {
            // From here on whatever ends the attempt, only the install is left.
            self.step = Step::Install;
        }
        context.emit(&Event::Uploaded {
            subject: subject.clone(),
            remote_path: remote_path.clone(),
            digest_checked: verified == Verified::Digest,
        });
        Ok(remote_path)
    }

    /// The bytes, to the temporary name, verified there, and under the real one.
    fn place(
        &mut self,
        upload: &Upload<'_>,
        file: &TemporaryFile<'_>,
        remote_path: &str,
    ) -> Result<Verified, Fault> {
        let (context, subject, total) = (self.context, self.subject, upload.size);
        let mut last: Option<(Instant, u64)> = None;
        let mut progress = |bytes: u64| {
            fail_points::hit("attempt.uploading");
            let is_due = last.is_none_or(|(at, before)| {
                bytes.saturating_sub(before) >= total.div_ceil(PROGRESS_PARTS)
                    || at.elapsed() >= PROGRESS_EVERY
            });
            if is_due || bytes == total {
                last = Some((Instant::now(), bytes));
                context.emit(&Event::Progress {
                    subject: subject.clone(),
                    bytes,
                    total,
                });
            }
        };
        let (claim, host) = (self.claim, &self.work.target.host);
        let (step, journal) = (&mut self.step, &mut *self.journal);
        let mut resumed_at = None;
        let mut told = |placing| match placing {
            Placing::Uploaded(bytes) => {
                uploaded();
                resumed_at = Some(bytes);
                if bytes > 0 {
                    context.emit(&Event::Resumed {
                        subject: subject.clone(),
                        bytes,
                        total,
                    });
                }
                context.stop.check()?;
                *step = Step::Verify;
                context.emit(&Event::StepStarted {
                    subject: subject.clone(),
                    step: Step::Verify,
                });
                journal.note_step(claim, Step::Verify).map_err(ours)
            }
            Placing::Publishing => {
                fail_points::hit("attempt.verified");
                journal
                    .note_replacing(claim, host, remote_path)
                    .map_err(ours)
            }
        };
        let session = self.sessions.open_files()?;
        let placed = session.place(upload, &mut progress, &mut told);
        // How files travel shows on the way.
        let mut detail = session.facts().detail.clone();
        if let Some(bytes @ 1..) = resumed_at {
            detail = format!("{detail}, resumed at {bytes} of {total} bytes");
        }
        self.record.detail = Some(self.sessions.hide(&detail));
        let verified = placed.map_err(|fault| self.clean_up(upload, file, fault))?;
        if resumed_at.is_none() {
            uploaded();
            self.step = Step::Verify;
        }
        fail_points::hit("attempt.published");
        self.record.verified = Some(match verified {
            Verified::Digest => "digest",
            Verified::Length => "length",
        });
        Ok(verified)
    }

    /// Removes the temporary file after a fault that leaves the session usable. After any other the transport has
    /// removed it, if it could, or it is there for the next attempt to go on from; should there be none, the
    /// journal knows of it.
    fn clean_up(&mut self, upload: &Upload<'_>, file: &TemporaryFile<'_>, fault: Fault) -> Fault {
        if !matches!(fault.class, FaultClass::Permanent | FaultClass::Unsupported) {
            return fault;
        }
        let Ok(session) = self.sessions.open_files() else {
            return fault;
        };
        let left = match session.discard(upload) {
            Ok(()) => self
                .journal
                .forget_temporary_file(self.work.delivery, file)
                .err()
                .map(|error| error.one_line()),
            Err(left) => Some(left.to_string()),
        };
        if let Some(why) = left {
            self.context.emit(&Event::Notice {
                message: format!(
                    "{}: {}/{} may stay there for now: {}",
                    self.subject.lane,
                    upload.dir,
                    upload.temporary,
                    self.sessions.hide(&why)
                ),
            });
        }
        fault
    }
}

/// Where a package of this name lies in `dir`.
pub(super) fn path_in(dir: &str, package: &str) -> String {
    if dir == "/" {
        format!("/{package}")
    } else {
        format!("{dir}/{package}")
    }
}

/// The bytes are there, under whichever name.
fn uploaded() {
    fail_points::hit("attempt.uploaded");
}
