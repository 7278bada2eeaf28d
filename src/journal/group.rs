//! Deliveries of a lane that travel together: reading those behind a claimed one, claiming them, and noting that all
//! are about to get their names. Each of these is one write for all of them, since every write waits for the disk.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Transaction, params};

use super::lanes::{thaw, work_from_row, work_sql};
use super::leftovers::{self, TemporaryFile};
use super::progress::taken_over;
use super::rows::Work;
use super::{Claim, Journal, millis};
use crate::domain::delivery::Step;
use crate::error::Result;

/// Only what was never attempted travels in a group.
pub(super) const FIRST_ATTEMPT: u32 = 1;

impl Journal {
    /// The deliveries right behind a claimed one, in the order of the lane, that are queued and were never attempted,
    /// as long as `takes` says yes.
    pub fn behind(&self, head: &Claim, takes: &mut dyn FnMut(&Work) -> bool) -> Result<Vec<Work>> {
        self.read("cannot read the lanes of", |connection| {
            read_behind(connection, head, takes)
        })?
    }

    /// Claims deliveries behind a claimed one that are still queued; they and the first one are at the step upload
    /// from then on, and about to leave `directory` on the host. Returns the claims, in the order of the lane.
    pub fn claim_behind(
        &mut self,
        head: &Claim,
        deliveries: &[i64],
        directory: &TemporaryFile<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Claim>> {
        let claimed = self.write_many("cannot claim deliveries in", |tx| {
            if note_step(tx, std::slice::from_ref(&head), Step::Upload)? != 1 {
                return Ok(None);
            }
            leftovers::insert_group(tx, head.delivery, directory)?;
            claim_all(tx, head, deliveries, now).map(Some)
        })?;
        let claimed = claimed.ok_or_else(|| taken_over(head))?;
        let claim = |delivery| Claim {
            delivery,
            attempt: FIRST_ATTEMPT,
            tries_used: FIRST_ATTEMPT,
            worker: head.worker,
        };
        Ok(claimed.into_iter().map(claim).collect())
    }

    /// Takes back claims of which nothing has come: it is as if they had not been made.
    pub fn withdraw(&mut self, claims: &[&Claim], directory: &TemporaryFile<'_>) -> Result<()> {
        self.write_many("cannot withdraw claims in", |tx| {
            leftovers::delete_group(tx, directory)?;
            for claim in claims {
                let updated = tx
                    .prepare_cached(
                        "UPDATE deliveries SET state = 'queued', step = 'export', worker_id = NULL, attempts = 0,
                           tries_used = 0, grouped = 0
                         WHERE id = ?1 AND state = 'running' AND worker_id = ?2 AND attempts = ?3",
                    )?
                    .execute(params![claim.delivery, claim.worker, claim.attempt])?;
                if updated == 1 {
                    tx.prepare_cached("DELETE FROM attempts WHERE delivery_id = ?1 AND number = ?2")?
                        .execute(params![claim.delivery, claim.attempt])?;
                }
            }
            Ok(())
        })
    }

    /// Notes that packages are about to be published at these paths of `host`: what other deliveries brought there
    /// lies there no longer (see [`Journal::note_replacing`]). All are first attempts of one worker.
    pub fn note_publishing(&mut self, host: &str, group: &[(&Claim, String)]) -> Result<()> {
        let claims: Vec<&Claim> = group.iter().map(|(claim, _)| *claim).collect();
        let Some(first) = claims.first() else {
            return Ok(());
        };
        let noted = self.write_many("cannot note a step in", |tx| {
            let noted = note_step(tx, &claims, Step::Verify)?;
            if lies_anything(tx)? {
                for (claim, remote_path) in group {
                    tx.prepare_cached(
                        "UPDATE deliveries SET replaced = 1
                         WHERE remote_path = ?1 AND state NOT IN ('done', 'cancelled') AND host = ?2 AND id <> ?3
                           AND replaced = 0",
                    )?
                    .execute(params![remote_path, host, claim.delivery])?;
                }
            }
            Ok(noted)
        })?;
        if noted == claims.len() {
            return Ok(());
        }
        Err(taken_over(first))
    }
}

/// Whether any package lies on a host that somebody may still install: hardly ever.
fn lies_anything(tx: &Transaction<'_>) -> rusqlite::Result<bool> {
    tx.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_lying
           WHERE remote_path IS NOT NULL AND state NOT IN ('done', 'cancelled'))",
    )?
    .query_row([], |row| row.get(0))
}

fn read_behind(
    connection: &Connection,
    head: &Claim,
    takes: &mut dyn FnMut(&Work) -> bool,
) -> rusqlite::Result<Result<Vec<Work>>> {
    let mut statement = connection.prepare_cached(&format!(
        "{} WHERE d.lane = (SELECT lane FROM deliveries WHERE id = ?1) AND d.id > ?1
           AND d.state IN ('queued', 'running', 'waiting') ORDER BY d.id",
        work_sql()
    ))?;
    let mut rows = statement.query([head.delivery])?;
    let (mut behind, mut last): (Vec<Work>, Option<(String, String)>) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        if !row.get::<_, bool>("is_new")? {
            break;
        }
        let (mut work, connection, service) = work_from_row(row)?;
        // As a rule the terms are those of the one before: they came by the same rule.
        match (&last, behind.last()) {
            (Some(same), Some(before)) if (&same.0, &same.1) == (&connection, &service) => {
                work.connection = before.connection.clone();
                work.service = before.service.clone();
            }
            _ => {
                let thawed = thaw(&connection, work.delivery)
                    .and_then(|terms| Ok((terms, thaw(&service, work.delivery)?)));
                match thawed {
                    Ok(terms) => (work.connection, work.service) = terms,
                    Err(error) => return Ok(Err(error)),
                }
                last = Some((connection, service));
            }
        }
        if !takes(&work) {
            break;
        }
        behind.push(work);
    }
    Ok(Ok(behind))
}

/// How many of these first attempts of one worker are at this step now.
fn note_step(tx: &Transaction<'_>, claims: &[&Claim], step: Step) -> rusqlite::Result<usize> {
    let Some(first) = claims.first() else {
        return Ok(0);
    };
    tx.prepare_cached(
        "UPDATE deliveries SET step = ?4 WHERE id IN (SELECT value FROM json_each(?1))
           AND state = 'running' AND worker_id = ?2 AND attempts = ?3",
    )?
    .execute(params![
        list(claims.iter().map(|claim| claim.delivery)),
        first.worker,
        FIRST_ATTEMPT,
        step.as_str()
    ])
}

/// One that is cancelled meanwhile is left out.
fn claim_all(
    tx: &Transaction<'_>,
    head: &Claim,
    deliveries: &[i64],
    now: DateTime<Utc>,
) -> rusqlite::Result<Vec<i64>> {
    let mut claimed: Vec<i64> = tx
        .prepare_cached(
            "UPDATE deliveries SET state = 'running', grouped = id, worker_id = ?2, attempts = ?3, tries_used = ?3,
               step = ?4
             WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'queued' AND attempts = 0 RETURNING id",
        )?
        .query_map(
            params![
                list(deliveries.iter().copied()),
                head.worker,
                FIRST_ATTEMPT,
                Step::Upload.as_str()
            ],
            |row| row.get(0),
        )?
        .collect::<rusqlite::Result<_>>()?;
    claimed.sort_unstable();
    tx.prepare_cached(
        "INSERT INTO attempts (delivery_id, number, worker_id, started_at)
         SELECT value, ?2, ?3, ?4 FROM json_each(?1)",
    )?
    .execute(params![
        list(claimed.iter().copied()),
        FIRST_ATTEMPT,
        head.worker,
        millis(now)
    ])?;
    Ok(claimed)
}

/// Numbers as a list of JSON: one statement for all of them costs a fraction of one for each.
pub(super) fn list(numbers: impl Iterator<Item = i64>) -> String {
    let mut list = String::from("[");
    for number in numbers {
        if list.len() > 1 {
            list.push(',');
        }
        // Writing to a String does not fail.
        let _ = write!(list, "{number}");
    }
    list.push(']');
    list
}
