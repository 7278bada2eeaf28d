//! An attempt that takes others along: small packages behind it in its lane, which travel together. This is the way of
//! success only. Whatever goes wrong with the group sends its deliveries back to the queue, and each then goes alone,
//! where its own trouble is found and told.

use std::time::{Duration, Instant};

use chrono::Utc;

use super::companions::{Companions, directory};
use super::deliver::path_in;
use super::{Attempt, ours};
use crate::domain::delivery::{Outcome, Step};
use crate::domain::event::{Event, Subject};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::group::{FEWEST, Room};
use crate::domain::target::TransportKind;
use crate::fail_points;
use crate::journal::{Claim, Journal, TemporaryFile, Work};
use crate::spool::Artifact;
use crate::transport::{Brought, Group, Grouped, Milestone};
use crate::worker::Context;
use crate::worker::sessions::Caller;

/// Progress is reported at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

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
            told: Instant::now(),
        };
        let group = Group {
            dir,
            temporary: &temporary,
            mode: self.work.service.file_mode,
            files: &files,
        };
        self.sessions
            .open_files()?
            .bring_group(&group, &mut |milestone| watch.pass(milestone))
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
            Brought::Unable(_) => {
                self.withdraw(companions, dir);
                return false;
            }
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

    /// Has it that the others were never claimed: the host was not touched. Should the journal refuse, they are settled
    /// as what was tried in vain.
    fn withdraw(&mut self, companions: &mut Companions, dir: &str) {
        let temporary = self.temporary_directory();
        let claims: Vec<&Claim> = companions.claims.iter().flatten().collect();
        let withdrawn = self.journal.withdraw(&claims, &directory(dir, &temporary));
        if withdrawn.is_ok() {
            companions.claims.fill(None);
        }
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
    /// When progress was last told of.
    told: Instant,
}

impl Watch<'_> {
    fn pass(&mut self, milestone: Milestone<'_>) -> Result<(), Fault> {
        match milestone {
            Milestone::Asked(goes) => self.claim(goes),
            Milestone::Begun(numbers) => {
                fail_points::hit("group.sending");
                let together = self.context.together;
                together(&mut || numbers.iter().for_each(|number| self.begun(*number)));
                Ok(())
            }
            Milestone::Sent => self.sent(),
            Milestone::Verified(_) => {
                fail_points::hit("group.verified");
                self.context.stop.check()
            }
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
        Ok(())
    }

    /// A package begins to travel; the one before it is over.
    fn begun(&mut self, number: usize) {
        let Some(other) = number.checked_sub(1) else {
            return;
        };
        if self.told.elapsed() >= PROGRESS_EVERY
            && let Some(size) = self.works[other].size
        {
            self.told = Instant::now();
            let before = other
                .checked_sub(1)
                .map_or(self.first.1, |one| &self.subjects[one]);
            self.context.emit(&Event::Progress {
                subject: before.clone(),
                bytes: size,
                total: size,
            });
        }
        if let Some(claim) = &self.claims[other] {
            let subject = &self.subjects[other];
            self.context.emit(&Event::AttemptStarted {
                subject: subject.clone(),
                attempt: claim.attempt,
            });
            self.step_begun(subject, Step::Upload);
        }
    }

    fn step_begun(&self, subject: &Subject, step: Step) {
        self.context.emit(&Event::StepStarted {
            subject: subject.clone(),
            step,
        });
    }

    /// The host verifies. Nothing gets its name before all of them are noted.
    fn sent(&mut self) -> Result<(), Fault> {
        fail_points::hit("group.sent");
        self.context.stop.check()?;
        let claims = std::iter::once(Some(self.first.0));
        let claims = claims.chain(self.claims.iter().map(Option::as_ref));
        let path = |work: &&Work| path_in(self.directory.dir, &work.package);
        let going: Vec<(&Claim, String)> = claims
            .zip(self.works)
            .filter_map(|(claim, work)| Some((claim?, path(work))))
            .collect();
        self.journal
            .note_publishing(&self.works[0].target.host, &going)
            .map_err(ours)?;
        fail_points::hit("group.noted");
        let others = self.subjects.iter().zip(&*self.claims);
        let mut subjects = std::iter::once(self.first.1)
            .chain(others.filter_map(|(subject, claim)| claim.as_ref().map(|_| subject)));
        (self.context.together)(&mut || {
            for subject in subjects.by_ref() {
                self.step_begun(subject, Step::Verify);
            }
        });
        Ok(())
    }
}
