//! An attempt that takes others along: small packages behind it in its lane, which travel together. This is the way of
//! success only. Whatever goes wrong with the group sends its deliveries back to the queue, and each then goes alone,
//! where its own trouble is found and told.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use chrono::Utc;

use super::deliver::path_in;
use super::{Attempt, ours};
use crate::domain::delivery::{Outcome, Step};
use crate::domain::event::{Event, Subject};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::group::{FEWEST, Member, Room};
use crate::domain::target::TransportKind;
use crate::error::Result;
use crate::fail_points;
use crate::journal::{AttemptRecord, Awaited, Claim, Journal, TemporaryFile, Work};
use crate::spool::Artifact;
use crate::transport::{Brought, Group, Grouped, Milestone};
use crate::worker::Context;
use crate::worker::sessions::{Caller, Sessions};

/// Progress is reported at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What travels with the delivery that a lane stands at. All lists have the same order.
#[derive(Default)]
pub(in crate::worker) struct Companions {
    works: Vec<Work>,
    subjects: Vec<Subject>,
    /// None: it was not claimed, or is settled.
    claims: Vec<Option<Claim>>,
    /// Where each of them lies, if it does.
    arrived: Vec<Option<String>>,
    /// The same of the first delivery.
    first_arrived: Option<String>,
    /// The directory that they were unpacked in, if it is gone from the host: where it was, and its name.
    gone: Option<(String, String)>,
    /// For the record of each.
    record: AttemptRecord,
}

/// One of them, claimed.
pub(in crate::worker) struct Companion {
    pub(in crate::worker) claim: Claim,
    pub(in crate::worker) subject: Subject,
    pub(in crate::worker) package_id: i64,
    pub(in crate::worker) arrived: Option<String>,
    pub(in crate::worker) record: AttemptRecord,
}

impl Companions {
    /// Those behind a claimed delivery that may travel with it; none where it goes alone.
    pub(in crate::worker) fn behind(
        journal: &Journal,
        sessions: &mut Sessions,
        awaited: Option<&Awaited>,
        (claim, work): (&Claim, &Work),
    ) -> Result<Self> {
        let first = member(work);
        let mut room = Room::default();
        if claim.attempt > 1
            || !first.is_sociable()
            || !sessions.may_take_groups(work)
            || !room.take(&work.package, work.size.unwrap_or(0))
        {
            return Ok(Self::default());
        }
        let mut names = HashSet::from([work.package.clone()]);
        let mut works = journal.behind(claim, &mut |work| {
            let next = member(work);
            next.is_sociable()
                && next.goes_with(&first)
                && names.insert(work.package.clone())
                && room.take(&work.package, work.size.unwrap_or(0))
        })?;
        let mut subjects: Vec<Subject> = works.iter().map(Work::subject).collect();
        if let Some(awaited) = awaited {
            // What stands behind the last of what somebody waits for is not for this worker to begin.
            let last = subjects.iter().rposition(|one| awaited.concerns(one));
            works.truncate(last.map_or(0, |last| last + 1));
        }
        if works.len() + 1 < FEWEST {
            return Ok(Self::default());
        }
        subjects.truncate(works.len());
        Ok(Self {
            claims: vec![None; works.len()],
            arrived: vec![None; works.len()],
            works,
            subjects,
            ..Self::default()
        })
    }

    /// Those that are claimed and not settled; they are the caller's to settle.
    pub(in crate::worker) fn take(&mut self) -> Vec<Companion> {
        let claims = self.claims.iter_mut().zip(&mut self.arrived);
        let described = self.works.iter().zip(&self.subjects);
        let mut taken = Vec::new();
        for ((claim, arrived), (work, subject)) in claims.zip(described) {
            let Some(claim) = claim.take() else {
                continue;
            };
            let arrived = arrived.take();
            let mut record = self.record.clone();
            if arrived.is_none() {
                record.verified = None;
            }
            taken.push(Companion {
                claim,
                subject: subject.clone(),
                package_id: work.package_id,
                arrived,
                record,
            });
        }
        taken
    }

    /// Where the first delivery lies, if it came with the others.
    pub(in crate::worker) fn take_first(&mut self) -> Option<String> {
        self.first_arrived.take()
    }

    /// The directory that is gone from the host.
    pub(in crate::worker) fn gone(&self) -> Option<TemporaryFile<'_>> {
        let (dir, temporary) = self.gone.as_ref()?;
        Some(directory(dir, temporary))
    }

    fn truncate(&mut self, len: usize) {
        self.works.truncate(len);
        self.subjects.truncate(len);
        self.claims.truncate(len);
        self.arrived.truncate(len);
    }
}

fn member(work: &Work) -> Member<'_> {
    Member {
        package: &work.package,
        target: &work.target,
        dest_dir: &work.dest_dir,
        connection: &work.connection,
        service: &work.service,
        size: work.size,
        step: work.step,
    }
}

fn directory<'a>(dir: &'a str, temporary: &'a str) -> TemporaryFile<'a> {
    TemporaryFile {
        transport: TransportKind::Ssh,
        dir,
        name: "",
        temporary,
    }
}

impl Attempt<'_> {
    /// Tries to bring the package together with others. None: it goes alone, as if nothing had been tried.
    pub(in crate::worker) fn together(&mut self, companions: &mut Companions) -> Option<Outcome> {
        if companions.works.is_empty() {
            return None;
        }
        self.sessions.learn(self.caller());
        match self.bring(companions) {
            Ok(true) => Some(Outcome::Delivered),
            Ok(false) => None,
            Err(fault) => Some(self.faulted(fault)),
        }
    }

    /// Whether the package has come with the others.
    fn bring(&mut self, companions: &mut Companions) -> Result<bool, Fault> {
        self.begin(Step::Export)?;
        let mut artifacts = vec![self.artifact()?];
        match self.connect(&[]) {
            Ok(TransportKind::Ssh) => {}
            Err(fault) if fault.class != FaultClass::Unsupported => return Err(fault),
            _ => return Ok(false),
        }
        if !self.sessions.open_files()?.takes_groups() {
            return Ok(false);
        }
        self.export_others(companions, &mut artifacts)?;
        if artifacts.len() < FEWEST {
            return Ok(false);
        }
        let prepared = self.sessions.open_files()?.prepare_dir(&self.work.dest_dir);
        let dir = match prepared {
            Err(fault) if fault.class == FaultClass::Unsupported => return Ok(false),
            other => other?,
        };
        companions.record = self.record.clone();
        let brought = self.send_all(companions, &artifacts, &dir)?;
        Ok(self.note_brought(companions, brought, &dir))
    }

    /// Has the packages of the others at hand, as far as they fit; one that cannot be had is left to go alone.
    fn export_others(
        &mut self,
        companions: &mut Companions,
        artifacts: &mut Vec<Artifact>,
    ) -> Result<(), Fault> {
        let mut room = Room::default();
        let fits = artifacts
            .iter()
            .all(|own| room.take(&self.work.package, own.size));
        let mut batch = self.work.batch.id;
        for (work, subject) in companions.works.iter().zip(&companions.subjects) {
            self.context.stop.check()?;
            if work.batch.id != batch {
                batch = work.batch.id;
                self.sessions.learn(Caller {
                    context: self.context,
                    work,
                    subject,
                });
            }
            let (journal, sessions) = (&mut *self.journal, &mut *self.sessions);
            let mut other =
                Attempt::new(self.context, journal, sessions, self.claim, work, subject);
            let Ok(artifact) = other.artifact() else {
                break;
            };
            if !fits || !room.take(&work.package, artifact.size) {
                break;
            }
            artifacts.push(artifact);
        }
        companions.truncate(artifacts.len() - 1);
        self.context.stop.check()
    }

    fn send_all(
        &mut self,
        companions: &mut Companions,
        artifacts: &[Artifact],
        dir: &str,
    ) -> Result<Brought, Fault> {
        let temporary = self.temporary_directory();
        let Companions {
            works,
            subjects,
            claims,
            ..
        } = companions;
        let works: Vec<&Work> = std::iter::once(self.work).chain(works.iter()).collect();
        let files: Vec<Grouped<'_>> = works
            .iter()
            .zip(artifacts)
            .map(|(work, artifact)| Grouped {
                local: &artifact.path,
                size: artifact.size,
                sha256: &artifact.sha256,
                name: &work.package,
            })
            .collect();
        let mut watch = Watch {
            context: self.context,
            journal: &mut *self.journal,
            first: (self.claim, self.subject),
            works: &works,
            subjects,
            claims,
            directory: directory(dir, &temporary),
            progress: Progress::default(),
        };
        let group = Group {
            dir,
            temporary: &temporary,
            mode: self.work.service.file_mode,
            files: &files,
        };
        self.sessions
            .open_files()?
            .bring_group(&group, &mut |milestone| watch.pass(milestone, &files))
    }

    fn temporary_directory(&self) -> String {
        format!(
            ".ad-{}-{}-group.part",
            self.journal.id(),
            self.work.delivery
        )
    }

    /// Whether the package has come with the others.
    fn note_brought(&mut self, companions: &mut Companions, brought: Brought, dir: &str) -> bool {
        let (which, is_tidy) = match brought {
            Brought::Published { which, is_tidy } => (which, is_tidy),
            Brought::Refused(why) => {
                let claimed = companions.claims.iter().flatten().count();
                if claimed > 0 {
                    self.context.emit(&Event::Notice {
                        message: format!(
                            "{}: {} packages cannot be brought together and go one by one: {}",
                            self.subject.lane,
                            claimed + 1,
                            self.sessions.hide(&why)
                        ),
                    });
                }
                return false;
            }
        };
        fail_points::hit("group.published");
        let count = which.iter().filter(|&&published| published).count();
        let is_here = which.first() == Some(&true);
        self.step = Step::Verify;
        self.record.verified = Some("digest");
        let how = format!("{count} packages together, by tar");
        self.record.detail = Some(match self.record.detail.take() {
            Some(detail) => format!("{detail}; {how}"),
            None => how,
        });
        companions.record = self.record.clone();
        companions.first_arrived = is_here.then(|| path_in(dir, &self.work.package));
        for ((arrived, work), published) in companions
            .arrived
            .iter_mut()
            .zip(&companions.works)
            .zip(which.iter().skip(1))
        {
            *arrived = published.then(|| path_in(dir, &work.package));
        }
        companions.gone = is_tidy.then(|| (dir.to_owned(), self.temporary_directory()));
        is_here
    }
}

/// What happens on the way of a group.
struct Watch<'a> {
    context: &'a Context,
    journal: &'a mut Journal,
    first: (&'a Claim, &'a Subject),
    /// The first one's, too.
    works: &'a [&'a Work],
    subjects: &'a [Subject],
    claims: &'a mut [Option<Claim>],
    directory: TemporaryFile<'a>,
    progress: Progress,
}

#[derive(Default)]
struct Progress {
    told: Option<Instant>,
    /// How many files have been told of, and where in the stream the last of them ended.
    files: usize,
    end: u64,
}

impl Watch<'_> {
    fn pass(&mut self, milestone: Milestone<'_>, files: &[Grouped<'_>]) -> Result<(), Fault> {
        match milestone {
            Milestone::Ready(goes) => self.claim(goes),
            Milestone::Sent(bytes) => {
                fail_points::hit("group.sending");
                self.sent(bytes, files);
                Ok(())
            }
            Milestone::Verified(goes) => self.publishing(goes),
        }
    }

    /// Claims the others.
    fn claim(&mut self, goes: &mut [bool]) -> Result<(), Fault> {
        let deliveries: Vec<i64> = self.works[1..].iter().map(|work| work.delivery).collect();
        let claimed = self
            .journal
            .claim_behind(self.first.0, &deliveries, &self.directory, Utc::now())
            .map_err(ours)?;
        let mut claimed = claimed.into_iter().peekable();
        for (index, delivery) in deliveries.into_iter().enumerate() {
            let claim = claimed.next_if(|claim| claim.delivery == delivery);
            goes[index + 1] = claim.is_some();
            self.claims[index] = claim;
        }
        fail_points::hit("group.claimed");
        for (claim, subject) in self.claims.iter().zip(self.subjects) {
            let Some(claim) = claim else {
                continue;
            };
            self.context.emit(&Event::AttemptStarted {
                subject: subject.clone(),
                attempt: claim.attempt,
            });
            self.begun(subject, Step::Upload);
        }
        Ok(())
    }

    fn begun(&self, subject: &Subject, step: Step) {
        self.context.emit(&Event::StepStarted {
            subject: subject.clone(),
            step,
        });
    }

    /// Tells of the files that are over.
    fn sent(&mut self, bytes: u64, files: &[Grouped<'_>]) {
        let now = Instant::now();
        let told = *self.progress.told.get_or_insert(now);
        if now - told < PROGRESS_EVERY {
            return;
        }
        self.progress.told = Some(now);
        while let Some(file) = files.get(self.progress.files) {
            let end = self.progress.end + file.size;
            if end > bytes {
                return;
            }
            self.progress.end = end;
            let subject = match self.progress.files.checked_sub(1) {
                None => Some(self.first.1),
                Some(other) => self.subjects.get(other),
            };
            self.progress.files += 1;
            if let Some(subject) = subject {
                self.context.emit(&Event::Progress {
                    subject: subject.clone(),
                    bytes: file.size,
                    total: file.size,
                });
            }
        }
    }

    /// Notes what is about to get its name.
    fn publishing(&mut self, goes: &[bool]) -> Result<(), Fault> {
        fail_points::hit("group.verified");
        self.context.stop.check()?;
        let claims =
            std::iter::once(Some(self.first.0)).chain(self.claims.iter().map(Option::as_ref));
        let going = || self.works.iter().zip(goes).filter(|(_, goes)| **goes);
        let paths: Vec<String> = going()
            .map(|(work, _)| path_in(self.directory.dir, &work.package))
            .collect();
        let claims: Vec<&Claim> = claims
            .zip(goes)
            .filter_map(|(claim, goes)| claim.filter(|_| *goes))
            .collect();
        let group: Vec<(&Claim, &str)> = claims
            .into_iter()
            .zip(paths.iter().map(String::as_str))
            .collect();
        self.journal
            .note_publishing(&self.works[0].target.host, &group)
            .map_err(ours)?;
        let subjects = std::iter::once(self.first.1).chain(self.subjects);
        for (subject, goes) in subjects.zip(goes) {
            if *goes {
                self.begun(subject, Step::Verify);
            }
        }
        fail_points::hit("group.publishing");
        Ok(())
    }
}
