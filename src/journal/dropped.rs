//! The files that were seen in drop directories: how each one looked when it was judged, what it held, and which
//! batch came of it. Recorded together with its batch, in one transaction: a file is dispatched once, whoever is
//! killed when.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::batches::{PlannedBatch, freeze, insert_planned};
use super::{Journal, millis};
use crate::domain::change::base_name;
use crate::domain::drop_directory::FileStamp;
use crate::error::Result;

/// A file that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedRow {
    /// Its number.
    pub id: i64,
    /// Below the drop directory.
    pub path: String,
    /// How it looked when it was judged.
    pub stamp: FileStamp,
    /// What it held, if that is known.
    pub sha256: Option<String>,
    /// Whether it was there before the first start, and was never dispatched.
    pub is_stock: bool,
    /// Whether no rule took it.
    pub is_skipped: bool,
    /// The batch that came of it.
    pub batch: Option<i64>,
    /// Whether it is on its way out.
    pub is_departing: bool,
}

/// A file whose content was not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undigested {
    /// Its number.
    pub id: i64,
    /// Below the drop directory.
    pub path: String,
    /// How it looked when it was judged.
    pub stamp: FileStamp,
}

/// A file that is dispatched now, or that no rule takes.
pub struct Dropped<'a> {
    /// Number of the drop directory.
    pub directory: i64,
    /// Below it.
    pub path: &'a str,
    /// How it looks.
    pub stamp: FileStamp,
    /// What it holds, if that is known.
    pub sha256: Option<&'a str>,
    /// Whether it is to leave once all its deliveries are done.
    pub leaves: bool,
    /// What comes of it.
    pub batch: PlannedBatch<'a>,
}

const COLUMNS: &str = "id, path, device, inode, size, modified_ns, changed_ns, sha256, is_stock, is_skipped, batch_id, leaves";

fn from_row(row: &Row<'_>) -> rusqlite::Result<DroppedRow> {
    Ok(DroppedRow {
        id: row.get(0)?,
        path: row.get(1)?,
        stamp: stamp_from_row(row, 2)?,
        sha256: row.get(7)?,
        is_stock: row.get(8)?,
        is_skipped: row.get(9)?,
        batch: row.get(10)?,
        is_departing: row.get::<_, i64>(11)? == 2,
    })
}

fn stamp_from_row(row: &Row<'_>, from: usize) -> rusqlite::Result<FileStamp> {
    let unsigned = |column: usize| row.get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(FileStamp {
        device: unsigned(from)?,
        inode: unsigned(from + 1)?,
        size: unsigned(from + 2)?,
        modified_ns: row.get(from + 3)?,
        changed_ns: row.get(from + 4)?,
    })
}

/// Whoever puts a file where another one was known knows nothing of that one any more.
fn put(
    tx: &Transaction<'_>,
    directory: i64,
    path: &str,
    stamp: FileStamp,
    is_stock: bool,
) -> rusqlite::Result<i64> {
    tx.prepare_cached(
        "INSERT INTO dropped (directory_id, path, name, device, inode, size, modified_ns, changed_ns, is_stock)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (directory_id, path) DO UPDATE SET device = excluded.device, inode = excluded.inode,
           size = excluded.size, modified_ns = excluded.modified_ns, changed_ns = excluded.changed_ns,
           is_stock = excluded.is_stock, sha256 = NULL, batch_id = NULL, leaves = 0, is_skipped = 0, gone_at = NULL
         RETURNING id",
    )?
    .query_row(
        params![
            directory,
            path,
            base_name(path),
            stamp.device.cast_signed(),
            stamp.inode.cast_signed(),
            stamp.size.cast_signed(),
            stamp.modified_ns,
            stamp.changed_ns,
            is_stock
        ],
        |row| row.get(0),
    )
}

impl Journal {
    /// Shows every file that is known to be there to `visit`.
    pub fn each_known_file(
        &self,
        directory: i64,
        visit: &mut dyn FnMut(&str, FileStamp),
    ) -> Result<()> {
        self.read("cannot read the dropped files of", |connection| {
            let mut statement = connection.prepare(
                "SELECT path, device, inode, size, modified_ns, changed_ns FROM dropped
                 WHERE directory_id = ?1 AND gone_at IS NULL AND name <> ''",
            )?;
            let mut rows = statement.query([directory])?;
            while let Some(row) = rows.next()? {
                visit(row.get_ref(0)?.as_str()?, stamp_from_row(row, 1)?);
            }
            Ok(())
        })
    }

    /// Files that were there before the first start: not dispatched, and not new later.
    pub fn take_stock(&mut self, directory: i64, files: &[(String, FileStamp)]) -> Result<()> {
        self.write("cannot take stock in", |tx| {
            files
                .iter()
                .try_for_each(|(path, stamp)| put(tx, directory, path, *stamp, true).map(drop))
        })
    }

    /// Forgets what was taken stock of and never dispatched: it is new.
    pub fn forget_stock(&mut self, directory: i64) -> Result<()> {
        self.write("cannot forget the stock in", |tx| {
            tx.execute(
                "DELETE FROM dropped WHERE directory_id = ?1 AND is_stock = 1",
                [directory],
            )
        })
        .map(drop)
    }

    /// The file that is known at `path`, whether or not it is there now.
    pub fn dropped_at(&self, directory: i64, path: &str) -> Result<Option<DroppedRow>> {
        self.read("cannot read the dropped files of", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM dropped WHERE directory_id = ?1 AND path = ?2"
                ))?
                .query_row(params![directory, path], from_row)
                .optional()
        })
    }

    /// Files of that size that are known under the same name elsewhere in the directory.
    pub fn dropped_elsewhere(
        &self,
        directory: i64,
        path: &str,
        size: u64,
    ) -> Result<Vec<DroppedRow>> {
        self.read("cannot read the dropped files of", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM dropped
                     WHERE directory_id = ?1 AND name = ?2 AND size = ?3 AND path <> ?4 ORDER BY id"
                ))?
                .query_map(
                    params![directory, base_name(path), size.cast_signed(), path],
                    from_row,
                )?
                .collect()
        })
    }

    /// Known files, by their numbers, are at these paths now and look like this, with the content that they had. What
    /// was known at such a path is somewhere else, or gone; where it is seen again, that is known.
    pub fn see_dropped_again(
        &mut self,
        files: &[(i64, String, FileStamp)],
        now: DateTime<Utc>,
    ) -> Result<()> {
        self.write("cannot note dropped files in", |tx| {
            // No file has such a name. All step aside first, for they may have changed places.
            let mut aside = tx.prepare_cached(
                "UPDATE dropped SET path = char(0) || id, gone_at = ?2 WHERE id = ?1",
            )?;
            let mut displace = tx.prepare_cached(
                "UPDATE dropped SET path = char(0) || id, gone_at = ?3, leaves = 0
                 WHERE id <> ?1 AND path = ?2
                   AND directory_id = (SELECT directory_id FROM dropped WHERE id = ?1)",
            )?;
            let mut update = tx.prepare_cached(
                "UPDATE dropped SET path = ?2, device = ?3, inode = ?4, size = ?5, modified_ns = ?6,
                   changed_ns = ?7, gone_at = NULL WHERE id = ?1",
            )?;
            for (file, _, _) in files {
                aside.execute(params![file, millis(now)])?;
            }
            for (file, path, stamp) in files {
                displace.execute(params![file, path, millis(now)])?;
                update.execute(params![
                    file,
                    path,
                    stamp.device.cast_signed(),
                    stamp.inode.cast_signed(),
                    stamp.size.cast_signed(),
                    stamp.modified_ns,
                    stamp.changed_ns
                ])?;
            }
            Ok(())
        })
    }

    /// Directories that could not be read when stock was taken, without their slashes.
    pub fn unread_directories(&self, directory: i64) -> Result<Vec<String>> {
        self.read("cannot read the dropped files of", |connection| {
            connection
                .prepare("SELECT path FROM dropped WHERE directory_id = ?1 AND name = ''")?
                .query_map([directory], |row| {
                    let path: String = row.get(0)?;
                    Ok(path.trim_end_matches('/').to_owned())
                })?
                .collect()
        })
    }

    /// A directory that could not be read when stock was taken; or it was read since.
    pub fn note_unread(&mut self, directory: i64, path: &str, is_unread: bool) -> Result<()> {
        let path = format!("{path}/");
        self.write("cannot note a directory in", |tx| {
            if is_unread {
                tx.execute(
                    "INSERT INTO dropped (directory_id, path, name, device, inode, size, modified_ns, changed_ns,
                       is_stock, sha256) VALUES (?1, ?2, '', 0, 0, 0, 0, 0, 0, '') ON CONFLICT DO NOTHING",
                    params![directory, path],
                )
            } else {
                tx.execute(
                    "DELETE FROM dropped WHERE directory_id = ?1 AND path = ?2 AND name = ''",
                    params![directory, path],
                )
            }
        })
        .map(drop)
    }

    /// Records files together with what comes of them: all of them or none. Returns their batches.
    pub fn record_dropped(
        &mut self,
        files: &[Dropped<'_>],
        now: DateTime<Utc>,
    ) -> Result<Vec<i64>> {
        let frozen = files
            .iter()
            .map(|file| freeze(file.batch.plan))
            .collect::<Result<Vec<_>>>()?;
        self.write("cannot record a dropped file in", |tx| {
            files
                .iter()
                .zip(&frozen)
                .map(|(file, frozen)| {
                    let batch = insert_planned(tx, &file.batch, frozen, now)?;
                    let id = put(tx, file.directory, file.path, file.stamp, false)?;
                    tx.prepare_cached(
                        "UPDATE dropped SET sha256 = ?2, batch_id = ?3, leaves = ?4, is_skipped = ?5 WHERE id = ?1",
                    )?
                    .execute(params![
                        id,
                        file.sha256,
                        batch,
                        file.leaves && !file.batch.plan.deliveries.is_empty(),
                        file.batch.plan.deliveries.is_empty()
                    ])?;
                    Ok(batch)
                })
                .collect()
        })
    }

    /// Files that are not there any more.
    pub fn note_gone(
        &mut self,
        directory: i64,
        paths: &[String],
        now: DateTime<Utc>,
    ) -> Result<()> {
        self.write("cannot note a dropped file in", |tx| {
            let mut update = tx.prepare_cached(
                "UPDATE dropped SET gone_at = ?3 WHERE directory_id = ?1 AND path = ?2 AND gone_at IS NULL",
            )?;
            paths
                .iter()
                .try_for_each(|path| update.execute(params![directory, path, millis(now)]).map(drop))
        })
    }

    /// Files that are to leave and whose deliveries are all done.
    pub fn ready_to_leave(&self, directory: i64) -> Result<Vec<DroppedRow>> {
        self.read("cannot read the dropped files of", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM dropped f WHERE f.directory_id = ?1 AND f.leaves > 0 AND (f.gone_at IS NULL OR f.leaves = 2)
                       AND EXISTS (SELECT 1 FROM deliveries d WHERE d.batch_id = f.batch_id)
                       AND NOT EXISTS (SELECT 1 FROM deliveries d
                                       WHERE d.batch_id = f.batch_id AND d.state <> 'done')
                     ORDER BY f.id"
                ))?
                .query_map([directory], from_row)?
                .collect()
        })
    }

    /// A file begins to leave.
    pub fn note_departing(&mut self, file: i64) -> Result<()> {
        self.write("cannot note a dropped file in", |tx| {
            tx.execute("UPDATE dropped SET leaves = 2 WHERE id = ?1", [file])
        })
        .map(drop)
    }

    /// A file has left: whatever comes under its name is new.
    pub fn forget_dropped(&mut self, file: i64) -> Result<()> {
        self.write("cannot note a dropped file in", |tx| {
            tx.execute("DELETE FROM dropped WHERE id = ?1", [file])
        })
        .map(drop)
    }

    /// Files behind `after` that are there and were not read yet, at most so many.
    pub fn undigested(&self, directory: i64, after: i64, most: u32) -> Result<Vec<Undigested>> {
        self.read("cannot read the dropped files of", |connection| {
            connection
                .prepare_cached(
                    "SELECT id, path, device, inode, size, modified_ns, changed_ns FROM dropped
                     WHERE directory_id = ?1 AND id > ?2 AND sha256 IS NULL AND gone_at IS NULL
                     ORDER BY id LIMIT ?3",
                )?
                .query_map(params![directory, after, most], |row| {
                    Ok(Undigested {
                        id: row.get(0)?,
                        path: row.get(1)?,
                        stamp: stamp_from_row(row, 2)?,
                    })
                })?
                .collect()
        })
    }

    /// What files hold that still look as they did when they were judged.
    pub fn note_digests(&mut self, digests: &[(Undigested, String)]) -> Result<()> {
        self.write("cannot note dropped files in", |tx| {
            let mut update = tx.prepare_cached(
                "UPDATE dropped SET sha256 = ?2 WHERE id = ?1 AND modified_ns = ?3 AND changed_ns = ?4",
            )?;
            digests.iter().try_for_each(|(file, sha256)| {
                let stamp = file.stamp;
                update
                    .execute(params![file.id, sha256, stamp.modified_ns, stamp.changed_ns])
                    .map(drop)
            })
        })
    }

    /// Forgets some of the files that went before `before`. Whether that were all.
    pub fn prune_dropped(&mut self, before: DateTime<Utc>) -> Result<bool> {
        const AT_ONCE: usize = 500;
        let is_there: bool = self.read("cannot read the dropped files of", |connection| {
            connection.query_row(
                "SELECT EXISTS (SELECT 1 FROM dropped WHERE gone_at < ?1)",
                [millis(before)],
                |row| row.get(0),
            )
        })?;
        if !is_there {
            return Ok(true);
        }
        self.write("cannot prune", |tx| {
            tx.execute(
                "DELETE FROM dropped WHERE id IN (SELECT id FROM dropped WHERE gone_at < ?1 LIMIT ?2)",
                params![millis(before), AT_ONCE],
            )
        })
        .map(|removed| removed < AT_ONCE)
    }
}
