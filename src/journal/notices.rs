//! What is to be told, written in the transaction that makes it true, so that no kill between the two loses it. Where
//! nobody wants to hear of anything, not a row is read or written. How it is told is the [`outbox`](super::outbox)'s.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::rows::BatchRow;
use super::{Missing, millis};
use crate::domain::delivery::State;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::notice::{Kind, Occurrence, Outcomes, Subscription, cause};

/// What of its own side keeps a delivery waiting is told from this attempt on: many a hitch passes.
const OURS_TOLD_FROM: u32 = 2;

/// A delivery whose state has just been written.
pub(super) struct Settled<'a> {
    pub(super) delivery: i64,
    pub(super) state: State,
    pub(super) fault: Option<&'a Fault>,
    /// Number of the attempt.
    pub(super) attempt: u32,
}

/// Notes what has become of a delivery.
pub(super) fn settled(
    tx: &Transaction<'_>,
    wanted: &[Subscription],
    settled: &Settled<'_>,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let seen = Seen::of(tx, settled.delivery, now)?;
    match settled.state {
        State::Done => {
            for subject in [seen.place(), seen.ours(), seen.package()] {
                recovered(tx, wanted, &subject, &seen)?;
            }
        }
        State::Failed | State::Unknown => {
            let kind = if settled.state == State::Failed {
                Kind::Failure
            } else {
                Kind::Unknown
            };
            let class = settled.fault.map(|fault| fault.class);
            let class = class.unwrap_or(FaultClass::Unknown);
            let subject = match class {
                FaultClass::Permanent | FaultClass::Unknown => seen.package(),
                _ => seen.place(),
            };
            let told = seen.occurrence(kind, class.as_str(), settled.fault);
            failed(tx, wanted, &subject, &told, false)?;
        }
        State::Waiting => {
            let ours = settled.fault.filter(|fault| fault.is_ours);
            if ours.is_some() && settled.attempt >= OURS_TOLD_FROM {
                let told = seen.occurrence(Kind::Failure, cause::OURS, ours);
                failed(tx, wanted, &seen.ours(), &told, true)?;
            }
        }
        State::Queued | State::Running | State::Cancelled => {}
    }
    if settled.state.is_open() {
        return Ok(());
    }
    batch_settled(tx, wanted, seen.batch, now)
}

/// Notes that a batch cannot be planned: once for its repository, until one can.
pub(super) fn plan_failed(
    tx: &Transaction<'_>,
    wanted: &[Subscription],
    batch: i64,
    why: &str,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let row = batch_row(tx, batch)?;
    let mut told = of_batch(Kind::Failure, cause::PLAN, &row, now);
    told.why = Some(why.to_owned());
    failed(tx, wanted, &plan_subject(&row), &told, true)
}

/// Notes that a batch was planned, and, where nothing of it is delivered, that this is all.
pub(super) fn planned(
    tx: &Transaction<'_>,
    wanted: &[Subscription],
    batch: i64,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let row = batch_row(tx, batch)?;
    let told = of_batch(Kind::Recovery, cause::PLAN, &row, now);
    take_back(tx, wanted, &plan_subject(&row), &told)?;
    let has_trouble: bool = tx
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM packages WHERE batch_id = ?1 AND trouble = 1)
               AND NOT EXISTS (SELECT 1 FROM deliveries WHERE batch_id = ?1)",
        )?
        .query_row([batch], |row| row.get(0))?;
    if has_trouble {
        batch_settled(tx, wanted, batch, now)?;
    }
    Ok(())
}

/// Notes revisions that no hook recorded and that are not dispatched unasked.
pub(super) fn gaps_found(
    tx: &Transaction<'_>,
    wanted: &[Subscription],
    repository: i64,
    missing: &Missing,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    let Missing::Gaps(gaps) = missing else {
        return Ok(());
    };
    if wanted.is_empty() || gaps.is_empty() {
        return Ok(());
    }
    let path: String = tx
        .prepare_cached("SELECT path FROM repositories WHERE id = ?1")?
        .query_row([repository], |row| row.get(0))?;
    for &(low, high) in gaps {
        let place = format!("{path} r{low}:r{high}");
        let mut told = Occurrence::new(Kind::Failure, cause::GAP, &place, millis(now));
        told.repository = Some(path.clone());
        told.revisions = Some((low, high));
        tell(tx, wanted, &told)?;
    }
    Ok(())
}

/// Notes that a batch is settled, if it is.
pub(super) fn batch_settled(
    tx: &Transaction<'_>,
    wanted: &[Subscription],
    batch: i64,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    if !wanted.iter().any(|one| one.on.contains(&Kind::Batch)) {
        return Ok(());
    }
    let is_open: bool = tx
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM deliveries
             WHERE batch_id = ?1 AND state IN ('queued', 'running', 'waiting'))",
        )?
        .query_row([batch], |row| row.get(0))?;
    if is_open {
        return Ok(());
    }
    let outcomes = tx
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'failed'),
               count(*) FILTER (WHERE state = 'unknown'), count(*) FILTER (WHERE state = 'cancelled'),
               (SELECT count(*) FROM packages p WHERE p.batch_id = ?1 AND p.trouble = 1)
             FROM deliveries WHERE batch_id = ?1",
        )?
        .query_row([batch], |row| {
            Ok(Outcomes {
                done: row.get(0)?,
                failed: row.get(1)?,
                unknown: row.get(2)?,
                cancelled: row.get(3)?,
                skipped: row.get(4)?,
            })
        })?;
    let row = batch_row(tx, batch)?;
    let mut told = of_batch(Kind::Batch, cause::SETTLED, &row, now);
    told.outcomes = Some(outcomes);
    told.delivery = tx
        .prepare_cached(
            "SELECT id FROM deliveries WHERE batch_id = ?1 ORDER BY state IN ('failed', 'unknown') DESC, id LIMIT 1",
        )?
        .query_row([batch], |row| row.get(0))
        .optional()?;
    tell(tx, wanted, &told)
}

/// What a notice of a delivery is made of.
struct Seen {
    batch: i64,
    lane: String,
    delivery: i64,
    host: String,
    package: String,
    rule: String,
    step: String,
    row: BatchRow,
    at: i64,
}

impl Seen {
    fn of(tx: &Connection, delivery: i64, now: DateTime<Utc>) -> rusqlite::Result<Self> {
        let columns = "batch_id, lane, host, package, rule, step";
        let (batch, lane, host, package, rule, step) = tx
            .prepare_cached(&format!("SELECT {columns} FROM deliveries WHERE id = ?1"))?
            .query_row([delivery], |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                ))
            })?;
        Ok(Self {
            batch,
            lane,
            delivery,
            host,
            package,
            rule,
            step,
            row: batch_row(tx, batch)?,
            at: millis(now),
        })
    }

    /// A trouble of the target.
    fn place(&self) -> String {
        format!("target {}", self.lane)
    }

    /// One of ours, which shows at a target.
    fn ours(&self) -> String {
        format!("ours {}", self.lane)
    }

    /// One of a package at a target.
    fn package(&self) -> String {
        format!("package {}\n{}", self.lane, self.package)
    }

    fn occurrence(&self, kind: Kind, cause: &str, fault: Option<&Fault>) -> Occurrence {
        let mut told = of_batch(kind, cause, &self.row, DateTime::UNIX_EPOCH);
        told.at = self.at;
        told.place.clone_from(&self.lane);
        told.host = Some(self.host.clone());
        told.delivery = Some(self.delivery);
        told.package = Some(self.package.clone());
        told.rule = Some(self.rule.clone());
        told.step = (kind != Kind::Recovery).then(|| self.step.clone());
        told.why = fault.map(|fault| fault.message.clone());
        told
    }
}

fn batch_row(connection: &Connection, batch: i64) -> rusqlite::Result<BatchRow> {
    let sql = format!(
        "SELECT {} FROM batches b LEFT JOIN repositories r ON r.id = b.repository_id WHERE b.id = ?1",
        BatchRow::COLUMNS
    );
    connection
        .prepare_cached(&sql)?
        .query_row([batch], BatchRow::from_row)
}

fn of_batch(kind: Kind, cause: &str, row: &BatchRow, now: DateTime<Utc>) -> Occurrence {
    let repository = row.repository.as_ref();
    let repository = repository.map(|path| path.to_string_lossy().into_owned());
    let place = repository.clone().unwrap_or_else(|| row.describe());
    let mut told = Occurrence::new(kind, cause, &place, millis(now));
    told.repository = repository;
    told.revisions = row.revision.map(|revision| (revision, revision));
    told.batch = Some(row.id);
    told.source = Some(row.describe());
    told.author.clone_from(&row.author);
    told
}

fn plan_subject(row: &BatchRow) -> String {
    match &row.repository {
        Some(path) => format!("plan {}", path.display()),
        None => format!("plan of batch {}", row.id),
    }
}

/// Tells whoever wants to hear.
fn tell(tx: &Transaction<'_>, wanted: &[Subscription], told: &Occurrence) -> rusqlite::Result<()> {
    wanted
        .iter()
        .filter(|one| one.on.contains(&told.kind))
        .try_for_each(|one| insert(tx, &one.name, told))
}

/// Tells of a trouble, and keeps that it was told. `once`: not again before it is over.
fn failed(
    tx: &Transaction<'_>,
    wanted: &[Subscription],
    subject: &str,
    told: &Occurrence,
    once: bool,
) -> rusqlite::Result<()> {
    for one in wanted.iter().filter(|one| one.on.contains(&told.kind)) {
        let is_new = tx
            .prepare_cached("INSERT INTO troubles (notifier, subject, since) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
            .execute(params![one.name, subject, told.at])?;
        if is_new > 0 || !once {
            insert(tx, &one.name, told)?;
        }
    }
    Ok(())
}

fn recovered(
    tx: &Transaction<'_>,
    wanted: &[Subscription],
    subject: &str,
    seen: &Seen,
) -> rusqlite::Result<()> {
    let told = seen.occurrence(Kind::Recovery, "recovery", None);
    take_back(tx, wanted, subject, &told)
}

/// Tells whoever was told of a trouble that it is over.
fn take_back(
    tx: &Transaction<'_>,
    wanted: &[Subscription],
    subject: &str,
    told: &Occurrence,
) -> rusqlite::Result<()> {
    for one in wanted {
        let since: Option<i64> = tx
            .prepare_cached(
                "DELETE FROM troubles WHERE notifier = ?1 AND subject = ?2 RETURNING since",
            )?
            .query_row(params![one.name, subject], |row| row.get(0))
            .optional()?;
        if let (Some(since), true) = (since, one.on.contains(&told.kind)) {
            let mut told = told.clone();
            told.since = Some(since);
            insert(tx, &one.name, &told)?;
        }
    }
    Ok(())
}

fn insert(tx: &Transaction<'_>, notifier: &str, told: &Occurrence) -> rusqlite::Result<()> {
    // The words of an occurrence are plain data, which always can be written.
    let body = serde_json::to_string(told)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    tx.prepare_cached("INSERT INTO notices (notifier, topic, body, at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![notifier, told.topic(), body, told.at])?;
    Ok(())
}
