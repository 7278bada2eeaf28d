//! The deliveries that travel with the one that a lane stands at: who they are, and what has become of them.

use std::collections::HashSet;

use crate::domain::event::Subject;
use crate::domain::group::{FEWEST, Member, Room};
use crate::domain::target::TransportKind;
use crate::error::Result;
use crate::journal::{AttemptRecord, Awaited, Claim, Journal, TemporaryFile, Work};
use crate::worker::sessions::Sessions;

/// What travels with the delivery that a lane stands at. All lists have the same order.
#[derive(Default)]
pub(in crate::worker) struct Companions {
    pub(super) works: Vec<Work>,
    pub(super) subjects: Vec<Subject>,
    /// None: it was not claimed, or is settled.
    pub(super) claims: Vec<Option<Claim>>,
    /// Where each of them lies, if it does.
    pub(super) arrived: Vec<Option<String>>,
    /// The same of the first delivery.
    pub(super) first_arrived: Option<String>,
    /// The directory that they were unpacked in, if it is gone from the host: where it was, and its name.
    pub(super) gone: Option<(String, String)>,
    /// For the record of each.
    pub(super) record: AttemptRecord,
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

    /// Leaves out all behind the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
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

/// The directory of a group, for the journal.
pub(super) fn directory<'a>(dir: &'a str, temporary: &'a str) -> TemporaryFile<'a> {
    TemporaryFile {
        transport: TransportKind::Ssh,
        dir,
        name: "",
        temporary,
    }
}
