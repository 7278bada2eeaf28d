//! Repositories that follow one another under one path: which one holds the path, and letting the former
//! one go.

use std::path::Path;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::gaps::{cut, dismiss_unplanned};
use super::{Journal, millis};
use crate::error::Result;

/// What letting former repositories go has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retired {
    /// Their UUIDs; empty: there were none.
    pub uuids: Vec<String>,
    /// Revisions of theirs that were recorded and not planned.
    pub batches: u64,
    /// Gaps of theirs that are closed now.
    pub gaps: Vec<(u64, u64)>,
    /// Revisions of the repository that is there now that were held, and are planned at once.
    pub freed: u64,
}

impl Journal {
    /// UUID of the repository that holds the path of this batch's repository, if that is another one: its
    /// hook was seen first, and nobody let it go.
    pub fn holder_of_path(&self, batch: i64) -> Result<Option<String>> {
        self.read("cannot read the repositories of", |connection| {
            let repository: Option<i64> = connection
                .prepare_cached("SELECT repository_id FROM batches WHERE id = ?1")?
                .query_row([batch], |row| row.get(0))?;
            repository.map_or(Ok(None), |id| holder_of_path(connection, id))
        })
    }

    /// Lets go whatever repositories were recorded under `path` with another UUID than that of the one that
    /// is there now: their unplanned revisions and gaps are dismissed, and what was held for their sake is
    /// due at once. Their deliveries are left as they are.
    pub fn retire_former(
        &mut self,
        path: &Path,
        uuid_now: &str,
        now: DateTime<Utc>,
    ) -> Result<Retired> {
        let path = path.to_string_lossy();
        self.write("cannot let a repository go in", |tx| {
            let mut done = Retired::default();
            let former: Vec<(i64, String)> = tx
                .prepare(
                    "UPDATE repositories SET retired_at = ?3
                     WHERE path = ?1 AND uuid <> ?2 AND retired_at IS NULL AND first_revision IS NOT NULL
                     RETURNING id, uuid",
                )?
                .query_map(params![path, uuid_now, millis(now)], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?
                .collect::<rusqlite::Result<_>>()?;
            let all = (0, i64::MAX.unsigned_abs());
            for (id, uuid) in former {
                done.batches += dismiss_unplanned(tx, id, all, now)?;
                done.gaps.extend(cut(tx, id, all, Some(now))?);
                done.uuids.push(uuid);
            }
            tx.execute(
                "UPDATE repositories SET retired_at = NULL WHERE path = ?1 AND uuid = ?2",
                params![path, uuid_now],
            )?;
            let freed = tx.execute(
                "UPDATE batches SET due_at = 0 WHERE state = 'plan_failed' AND repository_id =
                   (SELECT id FROM repositories WHERE path = ?1 AND uuid = ?2)",
                params![path, uuid_now],
            )?;
            done.freed = freed as u64;
            Ok(done)
        })
    }
}

/// The one that holds the path is the one whose hook was seen first, of those that were not let go.
pub(super) fn holder_of_path(
    connection: &Connection,
    repository: i64,
) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached(
            "SELECT o.uuid FROM repositories m
             JOIN repositories o ON o.path = m.path AND o.id <> m.id AND o.retired_at IS NULL
               AND o.first_revision IS NOT NULL
             WHERE m.id = ?1 AND (m.retired_at IS NOT NULL OR
               (SELECT min(id) FROM batches WHERE repository_id = o.id AND source = 'revision') <
               (SELECT min(id) FROM batches WHERE repository_id = m.id AND source = 'revision'))
             ORDER BY (SELECT min(id) FROM batches WHERE repository_id = o.id AND source = 'revision')
             LIMIT 1",
        )?
        .query_row([repository], |row| row.get(0))
        .optional()
}
