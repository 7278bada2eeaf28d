//! The steps upload and verify: the package on the host under its real name.

use std::time::{Duration, Instant};

use super::{Attempt, ours};
use crate::domain::delivery::Step;
use crate::domain::event::Event;
use crate::domain::fault::{Fault, FaultClass};
use crate::fail_points;
use crate::spool::Artifact;
use crate::transport::{Upload, Verified};
use crate::worker::sessions::Caller;

/// Progress is reported at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

impl<'a> Attempt<'a> {
    /// Brings the package to the host and returns where it lies. A transport that turns out to serve
    /// no uploads is given up for the next one.
    pub(super) fn deliver(&mut self, artifact: &Artifact) -> Result<String, Fault> {
        let mut given_up = Vec::new();
        loop {
            self.begin(Step::Upload)?;
            let facts = self
                .sessions
                .for_files(self.caller(), &given_up)?
                .facts()
                .clone();
            fail_points::hit("attempt.connected");
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

    pub(super) fn caller(&self) -> Caller<'a> {
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
        fail_points::hit("attempt.dir_prepared");
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
            fail_points::hit("attempt.uploading");
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
        fail_points::hit("attempt.uploaded");
        self.begin(Step::Verify)?;
        let session = self.sessions.open_files()?;
        let verified = match session.verify(&upload).and_then(|verified| {
            fail_points::hit("attempt.verified");
            session.publish(&upload)?;
            fail_points::hit("attempt.published");
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
        fail_points::hit("attempt.upload_noted");
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
}
