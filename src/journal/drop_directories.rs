//! The drop directories that were ever scanned, and how each one stands.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension as _, Row, params};

use super::batches::text;
use super::{Journal, millis, time};
use crate::error::Result;

/// A drop directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropDirectoryRow {
    /// Its number.
    pub id: i64,
    /// Where it is.
    pub path: PathBuf,
    /// When it was first looked at.
    pub first_at: DateTime<Utc>,
    /// When everything that had been there before was known; none: not yet.
    pub stocked_at: Option<DateTime<Utc>>,
    /// Where the file system was mounted that it lay on.
    pub mount_point: Option<PathBuf>,
    /// What keeps it from being scanned, or its files from being dispatched.
    pub trouble: Option<String>,
    /// The terms on which its files were last looked for, as they were noted.
    pub terms: Option<String>,
    /// How many files are known there.
    pub files: u64,
}

const COLUMNS: &str = "s.id, s.path, s.first_at, s.stocked_at, s.mount_point, s.trouble, s.terms,
    (SELECT count(*) FROM dropped f WHERE f.directory_id = s.id AND f.gone_at IS NULL)";

fn from_row(row: &Row<'_>) -> rusqlite::Result<DropDirectoryRow> {
    Ok(DropDirectoryRow {
        id: row.get(0)?,
        path: row.get::<_, String>(1)?.into(),
        first_at: time(row.get(2)?),
        stocked_at: row.get::<_, Option<i64>>(3)?.map(time),
        mount_point: row.get::<_, Option<String>>(4)?.map(PathBuf::from),
        trouble: row.get(5)?,
        terms: row.get(6)?,
        files: row.get(7)?,
    })
}

impl Journal {
    /// The drop directory at `path`, which is known from now on.
    pub fn drop_directory(&mut self, path: &Path, now: DateTime<Utc>) -> Result<DropDirectoryRow> {
        let sql = format!("SELECT {COLUMNS} FROM drop_directories s WHERE s.path = ?1");
        self.write("cannot note a drop directory in", |tx| {
            tx.execute(
                "INSERT INTO drop_directories (path, first_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                params![text(Some(path)), millis(now)],
            )?;
            tx.query_row(&sql, [text(Some(path))], from_row)
        })
    }

    /// All of them.
    pub fn drop_directories(&self) -> Result<Vec<DropDirectoryRow>> {
        let sql = format!("SELECT {COLUMNS} FROM drop_directories s ORDER BY s.path");
        self.read("cannot read the drop directories of", |connection| {
            connection.prepare(&sql)?.query_map([], from_row)?.collect()
        })
    }

    /// Everything that had been there before the first start is known.
    pub fn end_stock_taking(&mut self, directory: i64, now: DateTime<Utc>) -> Result<()> {
        self.write("cannot note a drop directory in", |tx| {
            tx.execute(
                "UPDATE drop_directories SET stocked_at = ?2 WHERE id = ?1 AND stocked_at IS NULL",
                params![directory, millis(now)],
            )
        })
        .map(drop)
    }

    /// The file system that the directory lies on is mounted there.
    pub fn note_mount_point(&mut self, directory: i64, mount_point: Option<&Path>) -> Result<()> {
        self.write("cannot note a drop directory in", |tx| {
            tx.execute(
                "UPDATE drop_directories SET mount_point = ?2 WHERE id = ?1",
                params![directory, text(mount_point)],
            )
        })
        .map(drop)
    }

    /// Its files are looked for on these terms from now on.
    pub fn note_drop_terms(&mut self, directory: i64, terms: &str) -> Result<()> {
        self.write("cannot note a drop directory in", |tx| {
            tx.execute(
                "UPDATE drop_directories SET terms = ?2 WHERE id = ?1",
                params![directory, terms],
            )
        })
        .map(drop)
    }

    /// What keeps the directory from being scanned, or its files from being dispatched; none: nothing does.
    pub fn note_drop_trouble(&mut self, directory: i64, trouble: Option<&str>) -> Result<()> {
        self.write("cannot note a drop directory in", |tx| {
            tx.execute(
                "UPDATE drop_directories SET trouble = ?2 WHERE id = ?1 AND trouble IS NOT ?2",
                params![directory, trouble],
            )
        })
        .map(drop)
    }

    /// Forgets what is known of the directory: the next start takes stock again. Whether it was known.
    pub fn forget_drop_directory(&mut self, path: &Path) -> Result<bool> {
        self.write("cannot forget a drop directory in", |tx| {
            let id: Option<i64> = tx
                .query_row(
                    "SELECT id FROM drop_directories WHERE path = ?1",
                    [text(Some(path))],
                    |row| row.get(0),
                )
                .optional()?;
            let Some(id) = id else {
                return Ok(false);
            };
            tx.execute("DELETE FROM dropped WHERE directory_id = ?1", [id])?;
            tx.execute("DELETE FROM drop_directories WHERE id = ?1", [id])?;
            Ok(true)
        })
    }

    /// Batches of files that lay in the directory and of which something is open.
    pub fn open_batches_of(&self, directory: &Path) -> Result<Vec<i64>> {
        self.read("cannot read the batches of", |connection| {
            connection
                .prepare(
                    "SELECT b.id FROM batches b WHERE b.directory = ?1 AND EXISTS
                       (SELECT 1 FROM deliveries d
                        WHERE d.batch_id = b.id AND d.state IN ('queued', 'running', 'waiting'))
                     ORDER BY b.id",
                )?
                .query_map([text(Some(directory))], |row| row.get(0))?
                .collect()
        })
    }
}
