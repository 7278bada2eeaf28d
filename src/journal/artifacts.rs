//! Which artifacts are wanted still, how badly, and who waits for room.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension as _, params};

use super::{Journal, millis};
use crate::domain::artifact::Want;
use crate::error::Result;

/// What a delivery waits for that found no room in the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomWanted {
    /// Bytes.
    pub bytes: u64,
    /// The digest, where another delivery of the same package got it in meanwhile.
    pub sha256: Option<String>,
}

/// A package that somebody will ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPackage {
    /// Its number.
    pub id: i64,
    /// Path in the source.
    pub path: String,
    /// The digest, if it was exported before.
    pub sha256: Option<String>,
}

impl Journal {
    /// Notes digest and size of an exported package.
    pub fn record_artifact(&mut self, package_id: i64, sha256: &str, size: u64) -> Result<()> {
        self.record_artifacts(&[(package_id, sha256, size)])
    }

    /// The same for several, all or none.
    pub fn record_artifacts(&mut self, artifacts: &[(i64, &str, u64)]) -> Result<()> {
        self.write("cannot note an artifact in", |tx| {
            let mut update =
                tx.prepare_cached("UPDATE packages SET sha256 = ?2, size = ?3 WHERE id = ?1")?;
            for (package_id, sha256, size) in artifacts {
                update.execute(params![package_id, sha256, size])?;
            }
            Ok(())
        })
    }

    /// The packages of a batch whose bytes an open delivery is going to need, from `first` on, `limit` at most, in
    /// their order.
    pub fn packages_wanted(
        &self,
        batch: i64,
        first: i64,
        limit: usize,
    ) -> Result<Vec<WantedPackage>> {
        self.read("cannot read", |connection| {
            connection
                .prepare_cached(
                    "SELECT p.id, p.path, p.sha256 FROM packages p
                     WHERE p.batch_id = ?1 AND p.id >= ?2 AND EXISTS (SELECT 1 FROM deliveries d
                       WHERE d.package_id = p.id AND d.state IN ('queued', 'running', 'waiting')
                         AND (d.step <> 'install' OR d.remote_path IS NULL OR d.replaced))
                     ORDER BY p.id LIMIT ?3",
                )?
                .query_map(params![batch, first, limit], |row| {
                    Ok(WantedPackage {
                        id: row.get(0)?,
                        path: row.get(1)?,
                        sha256: row.get(2)?,
                    })
                })?
                .collect()
        })
    }

    /// Digest and size of a package, once it is exported.
    pub fn artifact_of(&self, package_id: i64) -> Result<Option<(String, u64)>> {
        self.read("cannot read", |connection| {
            connection
                .prepare_cached(
                    "SELECT sha256, size FROM packages WHERE id = ?1 AND sha256 IS NOT NULL",
                )?
                .query_row([package_id], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
    }

    /// Whether a delivery may still need the artifact: open ones, and failed or unknown ones, which the
    /// operator may retry.
    pub fn artifact_is_needed(&self, sha256: &str) -> Result<bool> {
        Ok(self.artifact_want(sha256)? > Want::Nobody)
    }

    /// How badly an artifact is wanted. A delivery that only has its install before it needs no bytes, and
    /// a repository can give them again; what was sent by hand nothing can.
    pub fn artifact_want(&self, sha256: &str) -> Result<Want> {
        self.read("cannot read", |connection| {
            connection
                .prepare_cached(
                    "SELECT coalesce(max(CASE
                       WHEN b.source IN ('revision', 'replay')
                           AND d.step = 'install' AND d.remote_path IS NOT NULL AND NOT d.replaced THEN 1
                       WHEN d.state = 'running' THEN 4
                       WHEN b.source NOT IN ('revision', 'replay') THEN
                         CASE WHEN d.state = 'queued' AND d.id > (SELECT min(e.id) FROM deliveries e
                             WHERE e.lane = d.lane AND e.state IN ('queued', 'running', 'waiting'))
                           THEN 3 ELSE 4 END
                       WHEN d.state IN ('queued', 'waiting') THEN 2
                       ELSE 1 END), 0)
                     FROM packages p JOIN deliveries d ON d.package_id = p.id JOIN batches b ON b.id = d.batch_id
                     WHERE p.sha256 = ?1 AND d.state NOT IN ('done', 'cancelled') AND d.dismissed_at IS NULL",
                )?
                .query_row([sha256], |row| row.get(0))
                .map(Want::from_number)
        })
    }

    /// What the first open delivery of a lane waits for, if it found no room.
    pub fn room_wanted(&self, lane: &str) -> Result<Option<RoomWanted>> {
        self.read("cannot read the lanes of", |connection| {
            connection
                .prepare_cached(
                    "SELECT d.room, p.sha256 FROM deliveries d JOIN packages p ON p.id = d.package_id
                     WHERE d.id = (SELECT min(id) FROM deliveries
                         WHERE lane = ?1 AND state IN ('queued', 'running', 'waiting'))
                       AND d.state = 'waiting' AND d.room > 0",
                )?
                .query_row([lane], |row| {
                    Ok(RoomWanted {
                        bytes: row.get(0)?,
                        sha256: row.get(1)?,
                    })
                })
                .optional()
        })
    }

    /// There is room now: what the lane waited for is due.
    pub fn room_appeared(&mut self, lane: &str, now: DateTime<Utc>) -> Result<()> {
        self.write("cannot end a wait in", |tx| {
            tx.prepare_cached(
                "UPDATE deliveries SET due_at = ?2, room = 0
                 WHERE lane = ?1 AND state IN ('queued', 'running', 'waiting') AND state = 'waiting' AND room > 0",
            )?
            .execute(params![lane, millis(now)])
        })
        .map(|_| ())
    }
}
