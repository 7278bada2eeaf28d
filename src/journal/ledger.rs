//! The ledger: which revisions were recorded, and in which order they are planned.

use std::path::Path;

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension as _, params};

use super::batches::{NewBatch, repository_id, stamp, text};
use super::former::holder_of_path;
use super::gaps::{cut, is_closed};
use super::rows::{BatchRow, NEVER_MS};
use super::{Journal, millis};
use crate::error::{Error, Result};

/// What recording a revision did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The batch of that revision.
    pub batch: i64,
    /// Whether it was new.
    pub is_new: bool,
    /// Whether the operator has dismissed it: nothing of it is dispatched.
    pub is_dismissed: bool,
    /// UUID of the repository that holds the path, if it is another one: the batch is held until the
    /// operator has decided.
    pub holder: Option<String>,
}

/// How a revision stands in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is known of its repository.
    Unknown,
    /// It is recorded.
    Recorded,
    /// It lies below this revision, at which the ledger begins.
    Below(u64),
    /// It is not recorded.
    New,
}

/// What planning has before it; not what is held until the operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnplannedOutlook {
    /// Batches that are not planned.
    pub count: u64,
    /// When the first of them is due; in the past when it is due now.
    pub next_due: Option<DateTime<Utc>>,
    /// The repositories that have one that is due now.
    pub due: Vec<i64>,
}

/// The first unplanned batch of each repository, which is planned before the others: one row a repository.
const HEADS: &str =
    "SELECT id, repository_id, min(revision), count(*) AS batches, due_at, waits_from
    FROM batches WHERE state <> 'planned' GROUP BY repository_id";

impl Journal {
    /// Records a revision durably, once: a second record of the same revision changes nothing, but that one
    /// which could not be planned is tried again now. One that the operator dismissed before it was
    /// recorded stays dismissed.
    pub fn record_revision(&mut self, new: &NewBatch<'_>, now: DateTime<Utc>) -> Result<Recorded> {
        self.write("cannot record the revision in", |tx| {
            let repository = repository_id(tx, new, Some(new.revision), now)?;
            let closed = is_closed(tx, repository, new.revision)?;
            let (state, closed_at) = if closed {
                ("planned", Some(millis(now)))
            } else {
                ("recorded", None)
            };
            let inserted = tx.execute(
                "INSERT INTO batches (source, repository_id, revision, rules_file, netrc_file, stamp,
                   recorded_at, state, planned_at, dismissed_at)
                 VALUES ('revision', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8) ON CONFLICT DO NOTHING",
                params![
                    repository,
                    new.revision,
                    text(new.rules_file),
                    text(new.netrc_file),
                    stamp(now),
                    millis(now),
                    state,
                    closed_at
                ],
            )?;
            cut(tx, repository, (new.revision, new.revision), None)?;
            let (batch, is_dismissed) = tx.query_row(
                "SELECT id, dismissed_at IS NOT NULL FROM batches
                 WHERE source = 'revision' AND repository_id = ?1 AND revision = ?2",
                params![repository, new.revision],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            tx.execute(
                "UPDATE batches SET due_at = 0 WHERE id = ?1 AND state = 'plan_failed'",
                [batch],
            )?;
            tx.execute(
                "UPDATE batches SET unnamed = 0 WHERE id = ?1 AND unnamed = 1",
                [batch],
            )?;
            let holder = holder_of_path(tx, repository)?;
            if holder.is_none() {
                // One that was let go and is back, where no other one has taken its place.
                tx.execute(
                    "UPDATE repositories SET retired_at = NULL WHERE id = ?1 AND retired_at IS NOT NULL",
                    [repository],
                )?;
            }
            Ok(Recorded {
                batch,
                is_new: inserted == 1,
                is_dismissed,
                holder,
            })
        })
    }

    /// How a revision of the repository at `path` with this UUID stands.
    pub fn standing(&self, path: &Path, uuid: &str, revision: u64) -> Result<Standing> {
        self.read("cannot read the ledger of", |connection| {
            let found = connection
                .prepare_cached(
                    "SELECT r.first_revision, EXISTS (SELECT 1 FROM batches b
                         WHERE b.source = 'revision' AND b.repository_id = r.id AND b.revision = ?3)
                     FROM repositories r WHERE r.path = ?1 AND r.uuid = ?2 AND r.first_revision IS NOT NULL",
                )?
                .query_row(
                    params![path.to_string_lossy(), uuid, revision],
                    |row| Ok((row.get::<_, u64>(0)?, row.get(1)?)),
                )
                .optional()?;
            Ok(match found {
                None => Standing::Unknown,
                Some((_, true)) => Standing::Recorded,
                Some((first, false)) if revision < first => Standing::Below(first),
                Some(_) => Standing::New,
            })
        })
    }

    /// The next batch of a repository, if it can be planned now: the lowest revision, and none while that
    /// one waits to be tried again.
    pub fn next_unplanned(&self, repository: i64, now: DateTime<Utc>) -> Result<Option<BatchRow>> {
        let sql = format!(
            "WITH heads AS ({HEADS})
             SELECT {} FROM heads h JOIN batches b ON b.id = h.id LEFT JOIN repositories r ON r.id = b.repository_id
             WHERE h.repository_id = ?1 AND h.due_at < ?3 AND (h.due_at <= ?2 OR ?2 < h.waits_from)",
            BatchRow::COLUMNS
        );
        self.read("cannot read", |connection| {
            connection
                .prepare_cached(&sql)?
                .query_row(
                    params![repository, millis(now), NEVER_MS],
                    BatchRow::from_row,
                )
                .optional()
        })
    }

    /// How much is unplanned, and when the first of it is due; what waits behind an earlier revision does
    /// not count for that, and what is held does not count at all.
    pub fn unplanned_outlook(&self, now: DateTime<Utc>) -> Result<UnplannedOutlook> {
        let sql = format!(
            "WITH heads AS ({HEADS})
             SELECT repository_id, batches, CASE WHEN ?1 < waits_from THEN 0 ELSE due_at END
             FROM heads WHERE due_at < ?2 ORDER BY id"
        );
        self.read("cannot read", |connection| {
            let mut outlook = UnplannedOutlook {
                count: 0,
                next_due: None,
                due: Vec::new(),
            };
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params![millis(now), NEVER_MS])?;
            while let Some(row) = rows.next()? {
                outlook.count += row.get::<_, u64>(1)?;
                let due = super::time(row.get(2)?);
                if due <= now {
                    outlook.due.push(row.get(0)?);
                }
                outlook.next_due = Some(outlook.next_due.map_or(due, |first| first.min(due)));
            }
            Ok(outlook)
        })
    }

    /// Records that a batch is not planned before the operator has decided, and why.
    pub fn hold_plan(&mut self, batch: i64, error: &Error, now: DateTime<Utc>) -> Result<()> {
        self.fail_plan(batch, error, now, super::time(NEVER_MS))
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
