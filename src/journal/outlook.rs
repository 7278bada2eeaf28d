//! What somebody asks who waits, or who would have to: how far what is awaited has come, and what stands in a lane.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, ToSql, params};

use super::rows::Word;
use super::{Awaited, Journal, time};
use crate::domain::delivery::{State, Step};
use crate::error::Result;

/// What stands in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneStanding {
    /// Deliveries that are queued, wait or run.
    pub open: u64,
    /// How many of them run.
    pub running: u64,
    /// The failure that stops the lane.
    pub stopped_by: Option<i64>,
}

/// How far a set of deliveries has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Batches that are not planned yet.
    pub unplanned: u64,
    /// Deliveries in all.
    pub all: u64,
    /// Those that are done.
    pub done: u64,
    /// Those that failed, or whose outcome is unknown.
    pub troubled: u64,
    /// Those that were given up.
    pub cancelled: u64,
    /// Those whose size is not known yet.
    pub unsized_open: u64,
    /// Bytes of all whose size is known.
    pub bytes: u64,
    /// Bytes of those that are settled.
    pub bytes_settled: u64,
    /// Lanes in which something is queued, waits or runs.
    pub lanes: HashSet<String>,
    /// What runs or waits, one a lane, at most as many as were asked for.
    pub at_work: Vec<AtWork>,
}

/// A delivery that runs or waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtWork {
    /// The delivery.
    pub delivery: i64,
    /// Base name of the package.
    pub package: String,
    /// The lane.
    pub lane: String,
    /// Running or waiting.
    pub state: State,
    /// The step that it is at.
    pub step: Step,
    /// When one that waits is tried again.
    pub due_at: DateTime<Utc>,
    /// Why it waits, beginning with the class.
    pub fault: Option<String>,
}

/// The deliveries that are meant, as a condition with one number.
struct Meant {
    condition: &'static str,
    numbers: Vec<i64>,
}

impl Meant {
    fn of(awaited: Option<&Awaited>) -> Self {
        match awaited {
            Some(Awaited::Batches(ids)) => Self {
                condition: "d.batch_id = ?1",
                numbers: ids.clone(),
            },
            Some(Awaited::Deliveries(ids)) => Self {
                condition: "d.id = ?1",
                numbers: ids.clone(),
            },
            // What is settled nobody asks about then.
            None => Self {
                condition: "d.state IN ('queued', 'running', 'waiting') AND ?1 = 0",
                numbers: vec![0],
            },
        }
    }
}

impl Journal {
    /// What stands in a lane.
    pub fn lane_standing(&self, lane: &str) -> Result<LaneStanding> {
        self.read("cannot read the lanes of", |connection| {
            let (open, running) = connection
                .prepare_cached(
                    "SELECT count(*), coalesce(sum(state = 'running'), 0) FROM deliveries
                     WHERE lane = ?1 AND state IN ('queued', 'running', 'waiting')",
                )?
                .query_row([lane], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let stopped_by = connection
                .prepare_cached(
                    "SELECT min(id) FROM deliveries WHERE lane = ?1 AND stops_lane = 1
                       AND state IN ('failed', 'unknown') AND dismissed_at IS NULL",
                )?
                .query_row([lane], |row| row.get(0))?;
            Ok(LaneStanding {
                open,
                running,
                stopped_by,
            })
        })
    }

    /// How far what is awaited has come, or everything that is open; with at most `most` of what runs or waits.
    pub fn tally(&self, awaited: Option<&Awaited>, most: usize) -> Result<Tally> {
        let meant = Meant::of(awaited);
        self.read("cannot read the deliveries of", |connection| {
            let mut tally = Tally {
                unplanned: unplanned(connection, awaited)?,
                ..Tally::default()
            };
            for number in &meant.numbers {
                count(connection, meant.condition, number, &mut tally)?;
                let left = most.saturating_sub(tally.at_work.len());
                at_work(
                    connection,
                    meant.condition,
                    number,
                    left,
                    &mut tally.at_work,
                )?;
            }
            Ok(tally)
        })
    }
}

fn unplanned(connection: &Connection, awaited: Option<&Awaited>) -> rusqlite::Result<u64> {
    let Some(awaited) = awaited else {
        let sql = "SELECT count(*) FROM batches WHERE state <> 'planned'";
        return connection.query_row(sql, [], |row| row.get(0));
    };
    let mut statement = connection
        .prepare_cached("SELECT count(*) FROM batches WHERE id = ?1 AND state <> 'planned'")?;
    awaited
        .batches()
        .iter()
        .map(|batch| statement.query_row([batch], |row| row.get::<_, u64>(0)))
        .sum()
}

fn count(
    connection: &Connection,
    condition: &str,
    number: &dyn ToSql,
    tally: &mut Tally,
) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT d.state, count(*), coalesce(sum(p.size), 0), coalesce(sum(p.size IS NULL), 0)
         FROM deliveries d JOIN packages p ON p.id = d.package_id WHERE {condition} GROUP BY d.state"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([number])?;
    while let Some(row) = rows.next()? {
        let state = row.get::<_, Word<State>>(0)?.0;
        let (deliveries, bytes): (u64, u64) = (row.get(1)?, row.get(2)?);
        tally.all += deliveries;
        tally.bytes += bytes;
        match state {
            State::Done => tally.done += deliveries,
            State::Failed | State::Unknown => tally.troubled += deliveries,
            State::Cancelled => tally.cancelled += deliveries,
            State::Queued | State::Waiting | State::Running => {
                tally.unsized_open += row.get::<_, u64>(3)?;
            }
        }
        if !state.is_open() {
            tally.bytes_settled += bytes;
        }
    }
    let sql = format!(
        "SELECT DISTINCT d.lane FROM deliveries d
         WHERE {condition} AND d.state IN ('queued', 'running', 'waiting')"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    for lane in statement.query_map([number], |row| row.get(0))? {
        tally.lanes.insert(lane?);
    }
    Ok(())
}

fn at_work(
    connection: &Connection,
    condition: &str,
    number: &dyn ToSql,
    most: usize,
    found: &mut Vec<AtWork>,
) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT d.id, d.package, d.lane, d.state, d.step, d.due_at, d.fault, d.error FROM deliveries d
         WHERE {condition} AND d.state IN ('running', 'waiting') AND (d.grouped = 0 OR d.state = 'waiting')
         ORDER BY d.state, d.id LIMIT ?2"
    );
    let row = |row: &Row<'_>| {
        let (class, error): (Option<String>, Option<String>) = (row.get(6)?, row.get(7)?);
        Ok(AtWork {
            delivery: row.get(0)?,
            package: row.get(1)?,
            lane: row.get(2)?,
            state: row.get::<_, Word<State>>(3)?.0,
            step: row.get::<_, Word<Step>>(4)?.0,
            due_at: time(row.get(5)?),
            fault: class.map(|class| match error {
                Some(error) => format!("{class}: {error}"),
                None => class,
            }),
        })
    };
    let mut statement = connection.prepare_cached(&sql)?;
    for one in statement.query_map(params![number, most], row)? {
        found.push(one?);
    }
    Ok(())
}
