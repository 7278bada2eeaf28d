//! Pruning: what was settled longer ago than `keep_history` goes, in small transactions, so that no hook waits
//! for one. A batch goes as a whole: a record with holes proves nothing. Rows of the ledger stay for ever, so that
//! a hook that comes late dispatches no revision twice.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::rows::Source;
use super::{Journal, millis};
use crate::error::Result;

/// Rows that one transaction removes, and batches that it looks at.
const ROWS_MAX: usize = 500;

/// How far a round of pruning has come: what is older stays for now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneCursor {
    planned_at: i64,
    batch: i64,
}

/// What one transaction removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Deliveries, with their attempts.
    pub deliveries: usize,
    /// Batches of which nothing is left but, for a revision, its row in the ledger.
    pub batches: usize,
    /// Whether everything was looked at.
    pub is_over: bool,
}

const CANDIDATES: &str = "SELECT planned_at, id, source FROM batches
     WHERE state = 'planned' AND pruned_at IS NULL AND planned_at < ?1 AND (planned_at, id) > (?2, ?3)
     ORDER BY planned_at, id LIMIT 1";

/// Whether something of a batch is wanted still: it is open, settled too lately, or a failure that stops its
/// lane before something open.
const IS_KEPT: &str = "SELECT EXISTS (SELECT 1 FROM deliveries
       WHERE batch_id = ?1 AND (settled_at IS NULL OR settled_at >= ?2))
     OR EXISTS (SELECT 1 FROM deliveries s
       WHERE s.batch_id = ?1 AND s.stops_lane = 1 AND s.state IN ('failed', 'unknown') AND s.dismissed_at IS NULL
         AND EXISTS (SELECT 1 FROM deliveries o WHERE o.lane = s.lane AND o.id > s.id
                     AND o.state IN ('queued', 'running', 'waiting')))";

impl Journal {
    /// Removes some of what was settled before `before`, going on behind `cursor`, which it moves: packages,
    /// deliveries, attempts and leftovers, then the batch itself where it is no revision's.
    pub fn prune(
        &mut self,
        before: DateTime<Utc>,
        cursor: &mut PruneCursor,
        now: DateTime<Utc>,
    ) -> Result<Pruned> {
        let mut at = *cursor;
        // Where there is nothing to prune, no write lock is taken.
        if self.read("cannot read", |connection| {
            Ok(candidate(connection, before, at)?.is_none())
        })? {
            return Ok(Pruned {
                is_over: true,
                ..Pruned::default()
            });
        }
        let pruned = self.write("cannot prune", |tx| {
            let mut pruned = Pruned::default();
            let mut room = ROWS_MAX;
            while room > 0 {
                let Some((planned_at, batch, source)) = candidate(tx, before, at)? else {
                    pruned.is_over = true;
                    break;
                };
                room -= 1;
                let is_kept: bool = tx
                    .prepare_cached(IS_KEPT)?
                    .query_row(params![batch, millis(before)], |row| row.get(0))?;
                if !is_kept {
                    pruned.deliveries += remove_rows(tx, batch, &mut room)?;
                    if room == 0 {
                        // The rest of this batch is the next transaction's.
                        break;
                    }
                    remove_batch(tx, batch, source, now)?;
                    pruned.batches += 1;
                }
                at = PruneCursor { planned_at, batch };
            }
            Ok(pruned)
        })?;
        *cursor = at;
        Ok(pruned)
    }
}

fn candidate(
    connection: &rusqlite::Connection,
    before: DateTime<Utc>,
    at: PruneCursor,
) -> rusqlite::Result<Option<(i64, i64, Source)>> {
    connection
        .prepare_cached(CANDIDATES)?
        .query_row(params![millis(before), at.planned_at, at.batch], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()
}

/// Removes rows of a batch while there is room, a delivery after the other, each behind what refers to it.
/// Returns how many deliveries went. Room is left if, and only if, nothing of the batch is.
fn remove_rows(tx: &Transaction<'_>, batch: i64, room: &mut usize) -> rusqlite::Result<usize> {
    let mut gone = 0;
    while *room > 0 {
        let delivery: Option<i64> = tx
            .prepare_cached("SELECT id FROM deliveries WHERE batch_id = ?1 LIMIT 1")?
            .query_row([batch], |row| row.get(0))
            .optional()?;
        let Some(delivery) = delivery else {
            break;
        };
        for table in ["attempts", "leftovers"] {
            remove_some(tx, table, "delivery_id", delivery, room)?;
        }
        if *room > 0 {
            tx.prepare_cached("DELETE FROM deliveries WHERE id = ?1")?
                .execute([delivery])?;
            *room -= 1;
            gone += 1;
        }
    }
    remove_some(tx, "packages", "batch_id", batch, room)?;
    Ok(gone)
}

fn remove_some(
    tx: &Transaction<'_>,
    table: &str,
    column: &str,
    value: i64,
    room: &mut usize,
) -> rusqlite::Result<()> {
    let removed = tx
        .prepare_cached(&format!(
            "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {column} = ?1 LIMIT ?2)"
        ))?
        .execute(params![value, *room])?;
    *room -= removed;
    Ok(())
}

fn remove_batch(
    tx: &Transaction<'_>,
    batch: i64,
    source: Source,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    if source == Source::Revision {
        tx.prepare_cached("UPDATE batches SET pruned_at = ?2 WHERE id = ?1")?
            .execute(params![batch, millis(now)])?;
    } else {
        tx.prepare_cached("DELETE FROM batches WHERE id = ?1")?
            .execute([batch])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
