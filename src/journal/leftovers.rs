//! What attempts may have left on hosts: temporary files and the records of installs. A row is older than what
//! it tells of and outlives it: whatever is on a host under one of our names has a row.

use rusqlite::{Transaction, params};

use super::Journal;
use crate::domain::target::TransportKind;
use crate::error::Result;

/// The temporary file of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemporaryFile<'a> {
    /// The transport that brings it.
    pub transport: TransportKind,
    /// Absolute directory on the host, as that transport sees it.
    pub dir: &'a str,
    /// The name that the package gets there.
    pub name: &'a str,
    /// The temporary name.
    pub temporary: &'a str,
}

/// What is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remains {
    /// A temporary file, and perhaps the old file that stepped aside for it.
    Upload {
        /// Absolute directory on the host, as the transport sees it.
        dir: String,
        /// The name that the package was to get there.
        name: String,
        /// The temporary name.
        temporary: String,
    },
    /// The directory that a group was unpacked in.
    Group {
        /// Absolute directory on the host that it lies in.
        dir: String,
        /// Its name.
        temporary: String,
    },
    /// The record of an install.
    Install {
        /// What names it.
        token: String,
    },
}

/// Something that may be left on a host, of a delivery that nobody works any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// For [`Journal::forget_leftovers`].
    pub id: i64,
    /// Whose.
    pub delivery: i64,
    /// Whether SSH left it; otherwise FTP or FTPS did, whose directories may have another root.
    pub by_ssh: bool,
    /// What.
    pub remains: Remains,
}

const SSH: &str = "ssh";
const FTP: &str = "ftp";

/// FTP and FTPS see the same directories.
fn family(transport: TransportKind) -> &'static str {
    match transport {
        TransportKind::Ssh => SSH,
        TransportKind::Ftp | TransportKind::Ftps => FTP,
    }
}

pub(super) fn insert_upload(
    tx: &Transaction<'_>,
    delivery: i64,
    file: &TemporaryFile<'_>,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO leftovers (delivery_id, lane, kind, transport, dir, name, token)
         SELECT id, lane, 'upload', ?2, ?3, ?4, ?5 FROM deliveries WHERE id = ?1
         ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        delivery,
        family(file.transport),
        file.dir,
        file.name,
        file.temporary
    ])
    .map(drop)
}

pub(super) fn delete_upload(
    tx: &Transaction<'_>,
    delivery: i64,
    file: &TemporaryFile<'_>,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "DELETE FROM leftovers WHERE delivery_id = ?1 AND kind = 'upload' AND transport = ?2
           AND dir = ?3 AND token = ?4",
    )?
    .execute(params![
        delivery,
        family(file.transport),
        file.dir,
        file.temporary
    ])
    .map(drop)
}

/// The directory of a group, of which `delivery` is the first one; `directory` has no name of a package.
pub(super) fn insert_group(
    tx: &Transaction<'_>,
    delivery: i64,
    directory: &TemporaryFile<'_>,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO leftovers (delivery_id, lane, kind, transport, dir, token)
         SELECT id, lane, 'group', ?2, ?3, ?4 FROM deliveries WHERE id = ?1 ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        delivery,
        family(directory.transport),
        directory.dir,
        directory.temporary
    ])
    .map(drop)
}

/// Its name is that of one group alone.
pub(super) fn delete_group(
    tx: &Transaction<'_>,
    directory: &TemporaryFile<'_>,
) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM leftovers WHERE kind = 'group' AND dir = ?1 AND token = ?2")?
        .execute(params![directory.dir, directory.temporary])
        .map(drop)
}

pub(super) fn insert_install(
    tx: &Transaction<'_>,
    delivery: i64,
    token: &str,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO leftovers (delivery_id, lane, kind, transport, token)
         SELECT id, lane, 'install', ?2, ?3 FROM deliveries WHERE id = ?1 ON CONFLICT DO NOTHING",
    )?
    .execute(params![delivery, SSH, token])
    .map(drop)
}

impl Journal {
    /// What may be left on a lane's host of deliveries that are settled, and of groups, whatever became of their
    /// deliveries: who works the lane asks this while no group is under way. The record of an install whose delivery
    /// is unknown stays until that is dismissed: a retry may collect it.
    pub fn leftovers(&self, lane: &str) -> Result<Vec<Leftover>> {
        self.read("cannot read the leftovers of", |connection| {
            connection
                .prepare_cached(
                    "SELECT l.id, l.delivery_id, l.transport, l.kind, l.dir, l.name, l.token
                     FROM leftovers l JOIN deliveries d ON d.id = l.delivery_id
                     WHERE l.lane = ?1 AND (l.kind = 'group' OR d.state NOT IN ('queued', 'running', 'waiting')
                       AND (l.kind = 'upload' OR d.state <> 'unknown' OR d.dismissed_at IS NOT NULL))
                     ORDER BY l.id",
                )?
                .query_map([lane], |row| {
                    let remains = match row.get_ref(3)?.as_str()? {
                        "install" => Remains::Install { token: row.get(6)? },
                        "group" => Remains::Group {
                            dir: row.get(4)?,
                            temporary: row.get(6)?,
                        },
                        _ => Remains::Upload {
                            dir: row.get(4)?,
                            name: row.get(5)?,
                            temporary: row.get(6)?,
                        },
                    };
                    Ok(Leftover {
                        id: row.get(0)?,
                        delivery: row.get(1)?,
                        by_ssh: row.get_ref(2)?.as_str()? == SSH,
                        remains,
                    })
                })?
                .collect()
        })
    }

    /// Forgets what is gone from the hosts: rows by their number, records of installs by their token.
    pub fn forget_leftovers(&mut self, ids: &[i64], tokens: &[String]) -> Result<()> {
        if ids.is_empty() && tokens.is_empty() {
            return Ok(());
        }
        self.write("cannot forget leftovers in", |tx| {
            for id in ids {
                tx.prepare_cached("DELETE FROM leftovers WHERE id = ?1")?
                    .execute([id])?;
            }
            for token in tokens {
                tx.prepare_cached("DELETE FROM leftovers WHERE kind = 'install' AND token = ?1")?
                    .execute([token])?;
            }
            Ok(())
        })
    }

    /// Forgets a temporary file that is gone.
    pub fn forget_temporary_file(&mut self, delivery: i64, file: &TemporaryFile<'_>) -> Result<()> {
        self.write("cannot forget a leftover in", |tx| {
            delete_upload(tx, delivery, file)
        })
    }
}
