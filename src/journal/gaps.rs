//! Gaps: revisions that no hook recorded. Few are recorded late and go in their place; many are kept as a
//! range, shown until the operator replays or dismisses them, and never dispatched unasked. A closed gap
//! stays for the record. A range costs one row, however long it is.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::batches::stamp;
use super::{Journal, millis, notices, time};
use crate::error::Result;

/// An open gap: both ends belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapRow {
    /// Path of the repository.
    pub repository: PathBuf,
    /// Its first revision.
    pub low: u64,
    /// Its last revision.
    pub high: u64,
    /// When it was found.
    pub noticed_at: DateTime<Utc>,
}

impl GapRow {
    /// How many revisions it has.
    pub fn revisions(&self) -> u64 {
        self.high - self.low + 1
    }
}

/// What became of revisions that were found missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// None are, or the operator knows of them already.
    Nothing,
    /// So many were recorded.
    Recorded(u64),
    /// Too many: these ranges are gaps now; without those that made a gap longer that was there.
    Gaps(Vec<(u64, u64)>),
}

/// A repository whose ledger began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// Its number in the journal.
    pub id: i64,
    /// Its path.
    pub path: PathBuf,
    /// Its UUID.
    pub uuid: String,
}

/// Which revisions the operator dismisses.
#[derive(Debug, Clone, Copy)]
pub struct Dismissal<'a> {
    /// Canonical path of the repository; as the journal has it, if the repository is no longer there.
    pub repository: &'a Path,
    /// UUID of the repository that is there now; none: whichever were recorded under that path.
    pub uuid: Option<&'a str>,
    /// Its youngest revision: one that is not committed yet cannot be dismissed. None: not known.
    pub youngest: Option<u64>,
    /// The first revision.
    pub low: u64,
    /// The last revision.
    pub high: u64,
}

/// What a dismissal closed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DismissedRevisions {
    /// Whether a hook ever recorded a revision of that repository; if not, nothing was done.
    pub is_known: bool,
    /// Revisions that were recorded and not planned.
    pub batches: u64,
    /// The parts of gaps that are closed now.
    pub gaps: Vec<(u64, u64)>,
    /// Revisions that were never recorded, and will not be dispatched when they are.
    pub unrecorded: Vec<(u64, u64)>,
}

impl Journal {
    /// How many revisions between this batch's and the one below it in the ledger are neither recorded nor
    /// part of a gap.
    pub fn missing_below(&self, batch: i64) -> Result<u64> {
        self.read("cannot read the ledger of", |connection| {
            let Some((repository, low, high)) = hole_below(connection, batch)? else {
                return Ok(0);
            };
            Ok(count(&missing(connection, repository, low, high)?))
        })
    }

    /// Records them, as hooks that were killed or come late leave them; more than `most` become a gap.
    pub fn fill_gap(&mut self, batch: i64, most: u64, now: DateTime<Utc>) -> Result<Missing> {
        let wanted = self.subscriptions.clone();
        self.write("cannot fill a gap in", |tx| {
            let Some((repository, low, high)) = hole_below(tx, batch)? else {
                return Ok(Missing::Nothing);
            };
            let missing = record_missing(tx, repository, (low, high), batch, most, now)?;
            notices::gaps_found(tx, &wanted, repository, &missing, now)?;
            Ok(missing)
        })
    }

    /// The repositories whose hook was seen and that were not let go.
    pub fn ledgers(&self) -> Result<Vec<LedgerRow>> {
        self.read("cannot read the repositories of", |connection| {
            connection
                .prepare_cached(
                    "SELECT id, path, uuid FROM repositories
                     WHERE first_revision IS NOT NULL AND retired_at IS NULL ORDER BY id",
                )?
                .query_map([], |row| {
                    Ok(LedgerRow {
                        id: row.get(0)?,
                        path: row.get::<_, String>(1)?.into(),
                        uuid: row.get(2)?,
                    })
                })?
                .collect()
        })
    }

    /// Records what is missing above the ledger's highest revision, up to `youngest`, under the files of
    /// that highest one. More than `most` since a hook last named a revision become a gap, in however many
    /// pieces they are found. Takes the write lock only if anything is missing.
    pub fn catch_up(
        &mut self,
        ledger: &LedgerRow,
        youngest: u64,
        most: u64,
        now: DateTime<Utc>,
    ) -> Result<Missing> {
        let id = ledger.id;
        let behind = self.read("cannot read the ledger of", |connection| {
            let Some((_, highest)) = highest(connection, id)? else {
                return Ok(false);
            };
            Ok(!missing(connection, id, highest + 1, youngest)?.is_empty())
        })?;
        if !behind {
            return Ok(Missing::Nothing);
        }
        // A hook may have recorded it meanwhile: looked at once more, with the lock.
        let wanted = self.subscriptions.clone();
        self.write("cannot catch up in", |tx| match highest(tx, id)? {
            Some((batch, highest)) => {
                let left = most.saturating_sub(unnamed_on_top(tx, id)?);
                let missing = record_missing(tx, id, (highest + 1, youngest), batch, left, now)?;
                notices::gaps_found(tx, &wanted, id, &missing, now)?;
                Ok(missing)
            }
            None => Ok(Missing::Nothing),
        })
    }

    /// The open gaps, by repository and revision.
    pub fn gaps(&self) -> Result<Vec<GapRow>> {
        self.read("cannot read the gaps of", |connection| {
            connection
                .prepare(
                    "SELECT r.path, g.low, g.high, g.noticed_at FROM gaps g
                     JOIN repositories r ON r.id = g.repository_id
                     WHERE g.dismissed_at IS NULL ORDER BY r.path, r.id, g.low",
                )?
                .query_map([], |row| {
                    Ok(GapRow {
                        repository: row.get::<_, String>(0)?.into(),
                        low: row.get(1)?,
                        high: row.get(2)?,
                        noticed_at: time(row.get(3)?),
                    })
                })?
                .collect()
        })
    }

    /// The operator's word that revisions are not to be dispatched: closes gaps among them, has done with
    /// those that are recorded and not planned, and notes those that were never recorded, so that they stay
    /// undispatched when they are. What is planned already is left as it is.
    pub fn dismiss_revisions(
        &mut self,
        what: &Dismissal<'_>,
        now: DateTime<Utc>,
    ) -> Result<DismissedRevisions> {
        let path = what.repository.to_string_lossy();
        self.write("cannot dismiss revisions in", |tx| {
            let mut done = DismissedRevisions::default();
            let ids: Vec<i64> = tx
                .prepare(
                    "SELECT id FROM repositories WHERE path = ?1 AND first_revision IS NOT NULL
                       AND CASE WHEN ?2 IS NULL THEN retired_at IS NULL ELSE uuid = ?2 END",
                )?
                .query_map(params![path, what.uuid], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for id in ids {
                done.is_known = true;
                done.batches += dismiss_unplanned(tx, id, (what.low, what.high), now)?;
                done.gaps
                    .extend(cut(tx, id, (what.low, what.high), Some(now))?);
                let high = what.high.min(what.youngest.unwrap_or(0));
                for (low, high) in missing(tx, id, what.low, high)? {
                    insert_closed(tx, id, (low, high), millis(now), now)?;
                    done.unrecorded.push((low, high));
                }
            }
            Ok(done)
        })
    }
}

/// Has done with batches of a range that are not planned; how many.
pub(super) fn dismiss_unplanned(
    tx: &Transaction<'_>,
    repository: i64,
    (low, high): (u64, u64),
    now: DateTime<Utc>,
) -> rusqlite::Result<u64> {
    let updated = tx.execute(
        "UPDATE batches SET state = 'planned', planned_at = ?4, dismissed_at = ?4
         WHERE state <> 'planned' AND repository_id = ?1 AND revision BETWEEN ?2 AND ?3",
        params![repository, low, high, millis(now)],
    )?;
    Ok(updated as u64)
}

/// Takes a range out of the open gaps, which shrink, split or go, and returns what was taken. `closed_at`:
/// by the operator, and what was taken stays as a closed gap, for the ledger does not have it.
pub(super) fn cut(
    tx: &Transaction<'_>,
    repository: i64,
    (low, high): (u64, u64),
    closed_at: Option<DateTime<Utc>>,
) -> rusqlite::Result<Vec<(u64, u64)>> {
    let found: Vec<(i64, u64, u64, i64)> = tx
        .prepare_cached(
            "SELECT id, low, high, noticed_at FROM gaps
             WHERE repository_id = ?1 AND high >= ?2 AND low <= ?3 AND dismissed_at IS NULL ORDER BY low",
        )?
        .query_map(params![repository, low, high], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut taken = Vec::new();
    for (id, first, last, noticed_at) in found {
        tx.execute("DELETE FROM gaps WHERE id = ?1", [id])?;
        let part = (first.max(low), last.min(high));
        if first < part.0 {
            insert_open(tx, repository, (first, part.0 - 1), noticed_at)?;
        }
        if let Some(now) = closed_at {
            insert_closed(tx, repository, part, noticed_at, now)?;
        }
        if part.1 < last {
            insert_open(tx, repository, (part.1 + 1, last), noticed_at)?;
        }
        taken.push(part);
    }
    Ok(taken)
}

/// Whether the operator has closed a gap that holds this revision.
pub(super) fn is_closed(
    connection: &Connection,
    repository: i64,
    revision: u64,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM gaps WHERE repository_id = ?1 AND low <= ?2 AND high >= ?2
               AND dismissed_at IS NOT NULL)",
        )?
        .query_row(params![repository, revision], |row| row.get(0))
}

/// The hole between a batch's revision and the one below it in the ledger; none below the ledger's beginning.
fn hole_below(connection: &Connection, batch: i64) -> rusqlite::Result<Option<(i64, u64, u64)>> {
    let found: Option<(i64, u64, Option<u64>)> = connection
        .prepare_cached(
            "SELECT b.repository_id, b.revision, (SELECT max(e.revision) FROM batches e
               WHERE e.repository_id = b.repository_id AND e.source = 'revision' AND e.revision < b.revision)
             FROM batches b JOIN repositories r ON r.id = b.repository_id AND r.first_revision < b.revision
             WHERE b.id = ?1 AND b.source = 'revision'",
        )?
        .query_row([batch], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    Ok(found.and_then(|(repository, revision, below)| {
        let low = below? + 1;
        (low < revision).then(|| (repository, low, revision - 1))
    }))
}

/// The highest revision of the ledger, with its batch; none where no hook was seen, or the repository was
/// let go.
fn highest(connection: &Connection, repository: i64) -> rusqlite::Result<Option<(i64, u64)>> {
    connection
        .prepare_cached(
            "SELECT b.id, b.revision FROM batches b JOIN repositories r ON r.id = b.repository_id
             WHERE b.repository_id = ?1 AND b.source = 'revision' AND r.first_revision IS NOT NULL
               AND r.retired_at IS NULL
             ORDER BY b.revision DESC LIMIT 1",
        )?
        .query_row([repository], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// How many revisions at the top of the ledger no hook has named.
fn unnamed_on_top(connection: &Connection, repository: i64) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(
            "SELECT count(*) FROM batches WHERE source = 'revision' AND repository_id = ?1 AND revision >
               (SELECT revision FROM batches WHERE source = 'revision' AND repository_id = ?1 AND unnamed = 0
                ORDER BY revision DESC LIMIT 1)",
        )?
        .query_row([repository], |row| row.get(0))
}

/// The parts of a range that are neither in the ledger nor in a gap, open or closed.
fn missing(
    connection: &Connection,
    repository: i64,
    low: u64,
    high: u64,
) -> rusqlite::Result<Vec<(u64, u64)>> {
    if low > high {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare_cached(
        "SELECT low, high FROM gaps WHERE repository_id = ?1 AND high >= ?2 AND low <= ?3
         UNION ALL
         SELECT min(revision), max(revision) FROM
           (SELECT revision, revision - row_number() OVER (ORDER BY revision) AS island FROM batches
            WHERE source = 'revision' AND repository_id = ?1 AND revision BETWEEN ?2 AND ?3)
         GROUP BY island ORDER BY 1",
    )?;
    let known = statement.query_map(params![repository, low, high], |row| {
        Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?))
    })?;
    let mut parts = Vec::new();
    let mut next = low;
    for range in known {
        let (first, last) = range?;
        if next < first {
            parts.push((next, first - 1));
        }
        next = next.max(last + 1);
    }
    if next <= high {
        parts.push((next, high));
    }
    Ok(parts)
}

fn count(ranges: &[(u64, u64)]) -> u64 {
    ranges.iter().map(|(low, high)| high - low + 1).sum()
}

/// Records what is missing of a range under the files of `like`, a batch of the same repository, or keeps
/// it as gaps where it is more than `most`.
fn record_missing(
    tx: &Transaction<'_>,
    repository: i64,
    (low, high): (u64, u64),
    like: i64,
    most: u64,
    now: DateTime<Utc>,
) -> rusqlite::Result<Missing> {
    let parts = missing(tx, repository, low, high)?;
    let revisions = count(&parts);
    if revisions == 0 {
        return Ok(Missing::Nothing);
    }
    if revisions > most {
        let mut new = Vec::new();
        for (low, high) in parts {
            let grown = tx
                .prepare_cached(
                    "UPDATE gaps SET high = ?3 WHERE repository_id = ?1 AND high = ?2 - 1 AND dismissed_at IS NULL",
                )?
                .execute(params![repository, low, high])?;
            if grown == 0 {
                insert_open(tx, repository, (low, high), millis(now))?;
                new.push((low, high));
            }
        }
        return Ok(Missing::Gaps(new));
    }
    let mut insert = tx.prepare_cached(
        "INSERT INTO batches (source, repository_id, revision, rules_file, netrc_file, stamp, recorded_at, state,
           unnamed)
         SELECT 'revision', repository_id, ?2, rules_file, netrc_file, ?3, ?4, 'recorded', 1
         FROM batches WHERE id = ?1",
    )?;
    for revision in parts.iter().flat_map(|&(low, high)| low..=high) {
        insert.execute(params![like, revision, stamp(now), millis(now)])?;
    }
    Ok(Missing::Recorded(revisions))
}

fn insert_open(
    tx: &Transaction<'_>,
    repository: i64,
    (low, high): (u64, u64),
    noticed_at: i64,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO gaps (repository_id, low, high, noticed_at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![repository, low, high, noticed_at])
    .map(|_| ())
}

/// What was closed in one go, revision by revision, is one row.
fn insert_closed(
    tx: &Transaction<'_>,
    repository: i64,
    (low, high): (u64, u64),
    noticed_at: i64,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    let values = params![repository, low, high, noticed_at, millis(now)];
    let grown = tx
        .prepare_cached(
            "UPDATE gaps SET high = ?3
             WHERE repository_id = ?1 AND high = ?2 - 1 AND noticed_at = ?4 AND dismissed_at = ?5",
        )?
        .execute(values)?;
    if grown == 0 {
        tx.prepare_cached(
            "INSERT INTO gaps (repository_id, low, high, noticed_at, dismissed_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(values)?;
    }
    Ok(())
}
