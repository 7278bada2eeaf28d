//! The ledger: which revisions were recorded, and in which order they are planned.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension as _, params};

use super::batches::{NewBatch, repository_id, stamp, text};
use super::rows::BatchRow;
use super::{Journal, millis};
use crate::error::Result;

/// What recording a revision did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The batch of that revision.
    pub batch: i64,
    /// Whether it was new.
    pub is_new: bool,
}

/// What planning has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnplannedOutlook {
    /// Batches that are not planned.
    pub count: u64,
    /// When the first of them is due; in the past when it is due now.
    pub next_due: Option<DateTime<Utc>>,
}

impl Journal {
    /// Records a revision durably, once: a second record of the same revision changes nothing, but that one
    /// which could not be planned is tried again now.
    pub fn record_revision(&mut self, new: &NewBatch<'_>, now: DateTime<Utc>) -> Result<Recorded> {
        self.write("cannot record the revision in", |tx| {
            let repository = repository_id(tx, new, Some(new.revision), now)?;
            let inserted = tx.execute(
                "INSERT INTO batches
                   (source, repository_id, revision, rules_file, netrc_file, stamp, recorded_at, state)
                 VALUES ('revision', ?1, ?2, ?3, ?4, ?5, ?6, 'recorded') ON CONFLICT DO NOTHING",
                params![
                    repository,
                    new.revision,
                    text(new.rules_file),
                    text(new.netrc_file),
                    stamp(now),
                    millis(now)
                ],
            )?;
            let batch = tx.query_row(
                "SELECT id FROM batches WHERE source = 'revision' AND repository_id = ?1 AND revision = ?2",
                params![repository, new.revision],
                |row| row.get(0),
            )?;
            tx.execute(
                "UPDATE batches SET due_at = 0 WHERE id = ?1 AND state = 'plan_failed'",
                [batch],
            )?;
            Ok(Recorded {
                batch,
                is_new: inserted == 1,
            })
        })
    }

    /// The next batch that can be planned now: within a repository the lowest revision, and none while
    /// that one waits to be tried again.
    pub fn next_unplanned(&self, now: DateTime<Utc>) -> Result<Option<BatchRow>> {
        let sql = format!(
            "SELECT {} FROM batches b LEFT JOIN repositories r ON r.id = b.repository_id
             WHERE b.state <> 'planned' AND (b.due_at <= ?1 OR ?1 < b.waits_from) AND NOT EXISTS
               (SELECT 1 FROM batches e WHERE e.state <> 'planned'
                AND e.repository_id = b.repository_id AND e.revision < b.revision)
             ORDER BY b.id LIMIT 1",
            BatchRow::COLUMNS
        );
        self.read("cannot read", |connection| {
            connection
                .prepare_cached(&sql)?
                .query_row([millis(now)], BatchRow::from_row)
                .optional()
        })
    }

    /// Records the revisions that are missing between this batch's and the one below it in the ledger, as
    /// hooks that were killed or come late leave them; a gap of more than `most` is left alone. Returns the
    /// size of the gap.
    pub fn fill_gap(&mut self, batch: i64, most: u64, now: DateTime<Utc>) -> Result<u64> {
        self.write("cannot fill a gap in", |tx| {
            let gap: Option<(u64, u64)> = tx
                .prepare_cached(
                    "SELECT max(e.revision), b.revision FROM batches b JOIN batches e
                       ON e.repository_id = b.repository_id AND e.source = 'revision' AND e.revision < b.revision
                     JOIN repositories r ON r.id = b.repository_id AND r.first_revision < b.revision
                     WHERE b.id = ?1 AND b.source = 'revision' GROUP BY b.id",
                )?
                .query_row([batch], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((below, revision)) = gap else {
                return Ok(0);
            };
            let missing = revision - below - 1;
            if missing <= most {
                let mut insert = tx.prepare_cached(
                    "INSERT INTO batches
                       (source, repository_id, revision, rules_file, netrc_file, stamp, recorded_at, state)
                     SELECT 'revision', repository_id, ?2, rules_file, netrc_file, ?3, ?4, 'recorded'
                     FROM batches WHERE id = ?1",
                )?;
                for lost in below + 1..revision {
                    insert.execute(params![batch, lost, stamp(now), millis(now)])?;
                }
            }
            Ok(missing)
        })
    }

    /// How much is unplanned, and when the first of it is due; what waits behind an earlier revision does
    /// not count for that.
    pub fn unplanned_outlook(&self, now: DateTime<Utc>) -> Result<UnplannedOutlook> {
        self.read("cannot read", |connection| {
            connection
                .prepare_cached(
                    "SELECT count(*), min(CASE WHEN ?1 < waits_from THEN 0 ELSE due_at END) FILTER (WHERE NOT EXISTS
                       (SELECT 1 FROM batches e WHERE e.state <> 'planned'
                        AND e.repository_id = b.repository_id AND e.revision < b.revision))
                     FROM batches b WHERE state <> 'planned'",
                )?
                .query_row([millis(now)], |row| {
                    Ok(UnplannedOutlook {
                        count: row.get(0)?,
                        next_due: row.get::<_, Option<i64>>(1)?.map(super::time),
                    })
                })
        })
    }

    /// Whether anything is unplanned, or queued, running or waiting where no failure stops the lane.
    pub fn has_work(&self) -> Result<bool> {
        Ok(self.unplanned_outlook(Utc::now())?.count > 0 || !self.lane_heads()?.is_empty())
    }

    /// What keeps an unplanned batch from being planned for now: itself or an earlier revision of its
    /// repository that could not be planned and is not due again.
    pub fn unplannable(&self, batch: i64, now: DateTime<Utc>) -> Result<Option<BatchRow>> {
        let sql = format!(
            "SELECT {} FROM batches w JOIN batches b
               ON b.id = w.id OR (b.repository_id = w.repository_id AND b.revision <= w.revision)
             LEFT JOIN repositories r ON r.id = b.repository_id
             WHERE w.id = ?1 AND w.state <> 'planned' AND b.state = 'plan_failed' AND b.due_at > ?2
             ORDER BY b.revision LIMIT 1",
            BatchRow::COLUMNS
        );
        self.read("cannot read the batches of", |connection| {
            connection
                .prepare_cached(&sql)?
                .query_row(params![batch, millis(now)], BatchRow::from_row)
                .optional()
        })
    }
}
