//! What somebody waits for: batches or single deliveries, which lanes they are in and whether they are settled.

use rusqlite::Connection;

use super::Journal;
use crate::domain::event::Subject;
use crate::error::Result;

/// What somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// Everything of these batches.
    Batches(Vec<i64>),
    /// These deliveries.
    Deliveries(Vec<i64>),
}

impl Awaited {
    /// Whether a delivery is one of them.
    pub fn concerns(&self, subject: &Subject) -> bool {
        match self {
            Self::Batches(batches) => batches.contains(&subject.batch),
            Self::Deliveries(deliveries) => deliveries.contains(&subject.delivery),
        }
    }

    /// Whether a batch is one of them.
    pub fn has_batch(&self, batch: i64) -> bool {
        matches!(self, Self::Batches(batches) if batches.contains(&batch))
    }

    /// The batches.
    pub fn batches(&self) -> &[i64] {
        match self {
            Self::Batches(batches) => batches,
            Self::Deliveries(_) => &[],
        }
    }

    /// The numbers, and the column that holds them.
    fn ids(&self) -> (&'static str, &[i64]) {
        match self {
            Self::Batches(batches) => ("batch_id", batches),
            Self::Deliveries(deliveries) => ("id", deliveries),
        }
    }
}

impl Journal {
    /// The lanes in which any of it is open.
    pub fn open_lanes_of(&self, awaited: &Awaited) -> Result<Vec<String>> {
        let (column, ids) = awaited.ids();
        let sql = format!(
            "SELECT DISTINCT lane FROM deliveries
             WHERE {column} = ?1 AND state IN ('queued', 'running', 'waiting')"
        );
        self.read("cannot read the lanes of", |connection| {
            let mut lanes: Vec<String> = Vec::new();
            let mut statement = connection.prepare_cached(&sql)?;
            for id in ids {
                for lane in statement.query_map([id], |row| row.get(0))? {
                    let lane = lane?;
                    if !lanes.contains(&lane) {
                        lanes.push(lane);
                    }
                }
            }
            Ok(lanes)
        })
    }

    /// Whether any of it is open in this lane.
    pub fn lane_is_awaited(&self, awaited: &Awaited, lane: &str) -> Result<bool> {
        let (column, ids) = awaited.ids();
        self.read("cannot read the lanes of", |connection| {
            any(
                connection,
                &format!(
                    "SELECT EXISTS (SELECT 1 FROM deliveries
                     WHERE {column} = ?1 AND state IN ('queued', 'running', 'waiting') AND lane = ?2)"
                ),
                ids,
                Some(lane),
            )
        })
    }

    /// Whether none of it has anything left for a worker.
    pub fn is_settled(&self, awaited: &Awaited) -> Result<bool> {
        let (column, ids) = awaited.ids();
        let open = format!(
            "SELECT EXISTS (SELECT 1 FROM deliveries
             WHERE {column} = ?1 AND state IN ('queued', 'running', 'waiting'))"
        );
        let unplanned =
            "SELECT EXISTS (SELECT 1 FROM batches WHERE id = ?1 AND state <> 'planned')";
        self.read("cannot read the batches of", |connection| {
            Ok(!any(connection, unplanned, awaited.batches(), None)?
                && !any(connection, &open, ids, None)?)
        })
    }
}

/// Whether a question is answered with yes for any of the numbers.
fn any(
    connection: &Connection,
    sql: &str,
    ids: &[i64],
    lane: Option<&str>,
) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(sql)?;
    for id in ids {
        let yes = match lane {
            Some(lane) => statement.query_row(rusqlite::params![id, lane], |row| row.get(0)),
            None => statement.query_row([id], |row| row.get(0)),
        };
        if yes? {
            return Ok(true);
        }
    }
    Ok(false)
}
