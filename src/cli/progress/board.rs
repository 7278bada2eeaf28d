//! What is being worked, as it is known from events and from the journal. Pure: times are handed in, nothing is drawn.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::rate::Rate;
use crate::domain::delivery::{State, Step, Transition};
use crate::domain::event::{Event, Subject};
use crate::domain::text::escape;
use crate::journal::Tally;

/// What an event told of that ends without a word is shown for so long.
const STALE: Duration = Duration::from_secs(3);

/// When something is asked: on a clock that never goes back, and on the wall.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub since_start: Duration,
    pub wall: DateTime<Utc>,
}

/// Something that takes long before any delivery.
#[derive(Debug, Clone, Default)]
pub(super) struct Stage {
    pub what: String,
    /// How much is done, and of how much, in words of the unit.
    pub done: u64,
    pub total: Option<u64>,
    pub unit: Unit,
    pub since: Duration,
    pub rate: Rate,
    /// When it was last heard of; none: whoever began it ends it.
    pub heard: Option<Duration>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::cli) enum Unit {
    /// Nothing.
    #[default]
    Nothing,
    Bytes,
    Files,
}

/// What a lane is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doing {
    /// It begins.
    Begins,
    Step(Step),
    /// Until then, and why.
    Waits(DateTime<Utc>, String),
}

/// The delivery that a lane is at.
#[derive(Debug, Clone)]
pub(super) struct Row {
    delivery: i64,
    pub package: String,
    pub doing: Doing,
    /// When it began to do that; none: somebody else does it.
    pub since: Option<Duration>,
    pub bytes: u64,
    pub total: u64,
    pub rate: Rate,
    /// Rows keep their places: the first one that began is above.
    pub place: u64,
    /// The bytes that counted last for the rate of all.
    counted: Option<u64>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub stages: BTreeMap<u64, Stage>,
    told: HashMap<String, u64>,
    rows: HashMap<String, Row>,
    next: u64,
    pub tally: Option<Tally>,
    /// Since when deliveries are followed.
    pub followed: Option<Duration>,
    /// Whether those that are settled leave the tally, and are counted here.
    is_open_end: bool,
    settled: HashMap<i64, State>,
    /// Bytes that were moved, and how fast.
    moved: u64,
    pub rate: Rate,
}

/// How many are done, in trouble and in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub done: u64,
    pub troubled: u64,
    pub cancelled: u64,
    pub all: u64,
}

impl Board {
    /// Deliveries are followed from now on; `is_open_end`: whatever there is, and nobody knows how many.
    pub(super) fn follow(&mut self, is_open_end: bool, now: Now) {
        self.followed = Some(now.since_start);
        self.is_open_end = is_open_end;
    }

    /// Something begins that may take long; its number.
    pub(super) fn begin(&mut self, what: &str, unit: Unit, now: Now) -> u64 {
        self.next += 1;
        let stage = Stage {
            what: escape(what).into_owned(),
            unit,
            since: now.since_start,
            ..Stage::default()
        };
        self.stages.insert(self.next, stage);
        self.next
    }

    pub(super) fn advance(&mut self, stage: u64, done: u64, total: Option<u64>, now: Now) {
        if let Some(stage) = self.stages.get_mut(&stage) {
            (stage.done, stage.total) = (done, total);
            stage.rate.note(now.since_start, done);
        }
    }

    pub(super) fn end(&mut self, stage: u64) {
        self.stages.remove(&stage);
    }

    /// What somebody tells of again and again until it is over.
    fn hear(&mut self, key: &str, unit: Unit, (done, total): (u64, Option<u64>), now: Now) {
        let id = match self.told.get(key) {
            Some(&id) if self.stages.contains_key(&id) => id,
            _ => self.begin(key, unit, now),
        };
        self.told.insert(key.to_owned(), id);
        self.advance(id, done, total, now);
        if let Some(stage) = self.stages.get_mut(&id) {
            stage.heard = Some(now.since_start);
        }
        if total == Some(done) {
            self.end(id);
        }
    }

    pub(super) fn event(&mut self, event: &Event, now: Now) {
        match event {
            Event::TakingStock {
                directory, files, ..
            } => {
                let key = format!("taking stock of {directory}");
                self.hear(&key, Unit::Files, (*files, None), now);
            }
            Event::StockTaken { directory, .. } => {
                let key = format!("taking stock of {directory}");
                if let Some(id) = self.told.remove(&key) {
                    self.end(id);
                }
            }
            Event::Copying { path, bytes, total } => {
                let key = format!("copying {path}");
                self.hear(&key, Unit::Bytes, (*bytes, Some(*total)), now);
            }
            Event::AttemptStarted { subject, .. } => {
                self.next += 1;
                let row = Row {
                    delivery: subject.delivery,
                    package: escape(&subject.package).into_owned(),
                    doing: Doing::Begins,
                    since: Some(now.since_start),
                    bytes: 0,
                    total: 0,
                    rate: Rate::default(),
                    place: self
                        .rows
                        .get(&subject.lane)
                        .map_or(self.next, |row| row.place),
                    counted: None,
                };
                self.rows.insert(subject.lane.clone(), row);
            }
            Event::StepStarted { subject, step } => {
                if let Some(row) = self.row(subject) {
                    // What is uploaded stays so while it is verified and installed.
                    if matches!(step, Step::Export | Step::Upload) {
                        (row.bytes, row.total, row.counted) = (0, 0, None);
                    }
                    row.rate = Rate::default();
                    row.doing = Doing::Step(*step);
                    row.since = Some(now.since_start);
                }
            }
            Event::Progress {
                subject,
                bytes,
                total,
            }
            | Event::Exporting {
                subject,
                bytes,
                total,
            } => self.moves(subject, *bytes, *total, now),
            Event::Settled {
                subject,
                transition,
                ..
            } => self.settles(subject, transition, now),
            Event::Parted { subject } => self.settles(subject, &Transition::Release, now),
            _ => {}
        }
    }

    fn row(&mut self, subject: &Subject) -> Option<&mut Row> {
        let row = self.rows.get_mut(&subject.lane)?;
        (row.delivery == subject.delivery).then_some(row)
    }

    fn moves(&mut self, subject: &Subject, bytes: u64, total: u64, now: Now) {
        let Some(row) = self.row(subject) else {
            return;
        };
        (row.bytes, row.total) = (bytes, total);
        row.rate.note(now.since_start, bytes);
        if row.doing != Doing::Step(Step::Upload) {
            return;
        }
        // What an earlier attempt has brought was not moved now.
        let moved = bytes.saturating_sub(row.counted.unwrap_or(bytes));
        row.counted = Some(bytes);
        self.moved += moved;
        self.rate.note(now.since_start, self.moved);
    }

    fn settles(&mut self, subject: &Subject, transition: &Transition, now: Now) {
        let state = transition.state();
        if !state.is_open() {
            self.settled.insert(subject.delivery, state);
        }
        if let Transition::Wait { delay, fault, .. } = transition {
            let delay = TimeDelta::from_std(*delay).unwrap_or(TimeDelta::MAX);
            let until = now.wall.checked_add_signed(delay).unwrap_or(now.wall);
            if let Some(row) = self.row(subject) {
                row.doing = Doing::Waits(until, escape(&fault.to_string()).into_owned());
            }
        } else if self.row(subject).is_some() {
            self.rows.remove(&subject.lane);
        }
    }

    /// The journal says how far everything is.
    pub(super) fn note(&mut self, tally: Tally) {
        // Whoever else works here has settled what waits no more.
        self.rows.retain(|lane, row| {
            !matches!(row.doing, Doing::Waits(..)) || tally.lanes.contains(lane)
        });
        self.tally = Some(tally);
    }

    /// The lanes that are worked or wait, in their places: what is worked first. Those of others come last.
    pub(super) fn rows(&self) -> Vec<(&str, Row)> {
        let mut rows: Vec<(&str, Row)> = self
            .rows
            .iter()
            .map(|(lane, row)| (lane.as_str(), row.clone()))
            .collect();
        let known: HashSet<&str> = rows.iter().map(|(lane, _)| *lane).collect();
        let others = self.tally.iter().flat_map(|tally| &tally.at_work);
        let others: Vec<(&str, Row)> = others
            .filter(|one| !known.contains(one.lane.as_str()))
            .filter(|one| !self.settled.contains_key(&one.delivery))
            .map(|one| {
                let doing = match one.state {
                    State::Waiting => {
                        let why = one.fault.as_deref().unwrap_or_default();
                        Doing::Waits(one.due_at, escape(why).into_owned())
                    }
                    _ => Doing::Step(one.step),
                };
                let row = Row {
                    delivery: one.delivery,
                    package: escape(&one.package).into_owned(),
                    doing,
                    since: None,
                    bytes: 0,
                    total: 0,
                    rate: Rate::default(),
                    place: u64::MAX,
                    counted: None,
                };
                (one.lane.as_str(), row)
            })
            .collect();
        rows.extend(others);
        let waits = |row: &Row| matches!(row.doing, Doing::Waits(..));
        rows.sort_by(|(lane, row), (other_lane, other)| {
            (waits(row), row.place, lane).cmp(&(waits(other), other.place, other_lane))
        });
        rows
    }

    /// How many lanes have something to do and are not among `shown`.
    pub(super) fn lanes_beside(&self, shown: &HashSet<&str>) -> u64 {
        let lanes = self.tally.as_ref().map(|tally| &tally.lanes);
        let mut beside: HashSet<&str> = lanes.into_iter().flatten().map(String::as_str).collect();
        beside.extend(self.rows.keys().map(String::as_str));
        beside.retain(|lane| !shown.contains(lane));
        beside.len() as u64
    }

    pub(super) fn counts(&self) -> Option<Counts> {
        let tally = self.tally.as_ref()?;
        let mut counts = Counts {
            done: tally.done,
            troubled: tally.troubled,
            cancelled: tally.cancelled,
            all: tally.all,
        };
        if self.is_open_end {
            let of = |wanted: fn(State) -> bool| {
                self.settled
                    .values()
                    .filter(|state| wanted(**state))
                    .count() as u64
            };
            counts.done = of(|state| state == State::Done);
            counts.troubled = of(|state| matches!(state, State::Failed | State::Unknown));
            counts.all += self.settled.len() as u64;
        }
        Some(counts)
    }

    /// Bytes that have arrived, and bytes in all as far as they are known. Not where the end is open.
    pub(super) fn bytes(&self) -> Option<(u64, u64)> {
        let tally = self.tally.as_ref().filter(|_| !self.is_open_end)?;
        let under_way: u64 = self
            .rows
            .values()
            .filter(|row| row.doing != Doing::Step(Step::Export))
            .map(|row| row.bytes)
            .sum();
        Some((
            (tally.bytes_settled + under_way).min(tally.bytes),
            tally.bytes,
        ))
    }

    /// How long it will take: by bytes where they are known, else by what is settled.
    pub(super) fn time_left(&self, now: Now) -> Option<Duration> {
        let (counts, followed) = (self.counts()?, self.followed?);
        let settled = counts.done + counts.troubled + counts.cancelled;
        let open = counts.all.saturating_sub(settled);
        if open == 0 {
            return None;
        }
        if let (Some((there, all)), Some(tally)) = (self.bytes(), &self.tally)
            && tally.unsized_open == 0
            && all > there
        {
            return self.rate.time_for(all - there, now.since_start);
        }
        let took = now.since_start.saturating_sub(followed).as_secs();
        let settled = settled.max(1);
        (counts.done > 0).then(|| Duration::from_secs(took.saturating_mul(open) / settled))
    }

    /// Forgets what was told of and never ended.
    pub(super) fn tidy(&mut self, now: Now) {
        self.stages.retain(|_, stage| {
            stage
                .heard
                .is_none_or(|heard| heard + STALE > now.since_start)
        });
    }
}
