//! Recording batches and their plans.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use chrono::{DateTime, Local, Utc};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::gaps::cut;
use super::rows::{BatchRow, Source};
use super::{Journal, millis, notices};
use crate::domain::change::Change;
use crate::domain::plan::Plan;
use crate::domain::target::OnFailure;
use crate::error::{Error, Result};

/// A revision of a repository, and the files that plan and serve it.
#[derive(Debug, Clone, Copy)]
pub struct NewBatch<'a> {
    /// Canonical path of the repository.
    pub repository: &'a Path,
    /// Its UUID.
    pub uuid: &'a str,
    /// The revision.
    pub revision: u64,
    /// The rules file, if one was found.
    pub rules_file: Option<&'a Path>,
    /// The netrc named on the command line.
    pub netrc_file: Option<&'a Path>,
}

/// What a repository tells of a commit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    /// Who committed it.
    pub author: Option<&'a str>,
    /// When.
    pub committed_at: Option<DateTime<Utc>>,
    /// With which message.
    pub message: Option<&'a str>,
}

/// A batch that is recorded together with its plan: `replay`, `send` and dropped files.
pub struct PlannedBatch<'a> {
    /// `replay`, `send` or `directory`.
    pub source: Source,
    /// The revision that a replay dispatches again.
    pub replayed: Option<NewBatch<'a>>,
    /// Whether the operator chose among its packages or hosts: the rest of the revision is not decided.
    pub is_part: bool,
    /// The drop directory that its file lay in.
    pub directory: Option<&'a Path>,
    /// Who committed it.
    pub author: Option<&'a str>,
    /// The rules file.
    pub rules_file: Option<&'a Path>,
    /// The netrc named on the command line.
    pub netrc_file: Option<&'a Path>,
    /// The stamp that the plan was made with.
    pub stamp: &'a str,
    /// The paths.
    pub changes: &'a [Change],
    /// Digest and size of each path that lies in the spool already, by index of the change.
    pub artifacts: &'a [Option<(String, u64)>],
    /// The plan.
    pub plan: &'a Plan,
}

/// `YYYYmmdd_HHMMSS` in local time, as the old script stamped its directories.
pub(super) fn stamp(now: DateTime<Utc>) -> String {
    now.with_timezone(&Local)
        .format("%Y%m%d_%H%M%S")
        .to_string()
}

pub(super) fn text(path: Option<&Path>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}

impl Journal {
    /// Writes the plan of a recorded batch, in one transaction. Returns false when somebody else has
    /// planned it meanwhile, and writes nothing then.
    pub fn settle_plan(
        &mut self,
        batch: i64,
        origin: Origin<'_>,
        changes: &[Change],
        plan: &Plan,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let frozen = freeze(plan)?;
        let wanted = self.subscriptions.clone();
        self.write_many("cannot write the plan to", |tx| {
            let updated = tx.execute(
                "UPDATE batches SET state = 'planned', plan_error = NULL, author = ?2, planned_at = ?3,
                   committed_at = ?4, message = ?5
                 WHERE id = ?1 AND state <> 'planned'",
                params![
                    batch,
                    origin.author,
                    millis(now),
                    origin.committed_at.map(millis),
                    origin.message
                ],
            )?;
            if updated == 1 {
                insert_plan(tx, batch, changes, &[], plan, &frozen, now)?;
                notices::planned(tx, &wanted, batch, now)?;
            }
            Ok(updated == 1)
        })
    }

    /// Records that a batch could not be planned and when that is tried again.
    pub fn fail_plan(
        &mut self,
        batch: i64,
        error: &Error,
        now: DateTime<Utc>,
        due: DateTime<Utc>,
    ) -> Result<()> {
        let (message, exit) = (error.one_line(), error.kind.exit_code());
        let wanted = self.subscriptions.clone();
        self.write("cannot record a failed plan in", |tx| {
            let updated = tx.execute(
                "UPDATE batches SET state = 'plan_failed', plan_error = ?2, due_at = ?3,
                   plan_attempts = plan_attempts + 1, plan_exit = ?4, waits_from = ?5
                 WHERE id = ?1 AND state <> 'planned'",
                params![batch, message, millis(due), exit, millis(now)],
            )?;
            if updated == 1 {
                notices::plan_failed(tx, &wanted, batch, &message, now)?;
            }
            Ok(())
        })
    }

    /// Records batches together with their plans: all of them or none.
    pub fn record_planned(
        &mut self,
        new: &[PlannedBatch<'_>],
        now: DateTime<Utc>,
    ) -> Result<Vec<i64>> {
        let frozen = new
            .iter()
            .map(|batch| freeze(batch.plan))
            .collect::<Result<Vec<_>>>()?;
        self.write_many("cannot record the batch in", |tx| {
            new.iter()
                .zip(&frozen)
                .map(|(batch, frozen)| insert_planned(tx, batch, frozen, now))
                .collect()
        })
    }

    /// A batch by its number.
    pub fn batch(&self, batch: i64) -> Result<Option<BatchRow>> {
        let sql = format!(
            "SELECT {} FROM batches b LEFT JOIN repositories r ON r.id = b.repository_id WHERE b.id = ?1",
            BatchRow::COLUMNS
        );
        self.read("cannot read", |connection| {
            connection
                .query_row(&sql, [batch], BatchRow::from_row)
                .optional()
        })
    }
}

/// The repository's row, made if it is missing. `first_revision`: what a hook named; a replay says
/// nothing about where the ledger begins.
pub(super) fn repository_id(
    tx: &Transaction<'_>,
    new: &NewBatch<'_>,
    first_revision: Option<u64>,
    now: DateTime<Utc>,
) -> rusqlite::Result<i64> {
    let path = new.repository.to_string_lossy();
    tx.query_row(
        "INSERT INTO repositories (uuid, path, first_revision, recorded_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET first_revision = coalesce(first_revision, excluded.first_revision)
         RETURNING id",
        params![new.uuid, path, first_revision, millis(now)],
        |row| row.get(0),
    )
}

pub(super) fn insert_planned(
    tx: &Transaction<'_>,
    new: &PlannedBatch<'_>,
    frozen: &[(String, String)],
    now: DateTime<Utc>,
) -> rusqlite::Result<i64> {
    let mut repository = None;
    let mut cites: Option<i64> = None;
    if let Some(revision) = &new.replayed {
        let id = repository_id(tx, revision, None, now)?;
        repository = Some(id);
        cites = tx
            .query_row(
                "SELECT id FROM batches
                 WHERE source = 'revision' AND repository_id = ?1 AND revision = ?2",
                params![id, revision.revision],
                |row| row.get(0),
            )
            .optional()?;
        // The operator has decided: it is no part of an open gap any more.
        if !new.is_part {
            cut(tx, id, (revision.revision, revision.revision), Some(now))?;
        }
    }
    tx.execute(
        "INSERT INTO batches (source, repository_id, revision, cites, author, rules_file, netrc_file,
           stamp, recorded_at, planned_at, state, directory)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, 'planned', ?10)",
        params![
            new.source,
            repository,
            new.replayed.map(|revision| revision.revision),
            cites,
            new.author,
            text(new.rules_file),
            text(new.netrc_file),
            new.stamp,
            millis(now),
            text(new.directory)
        ],
    )?;
    let batch = tx.last_insert_rowid();
    insert_plan(tx, batch, new.changes, new.artifacts, new.plan, frozen, now)?;
    Ok(batch)
}

/// The JSON of each delivery's terms, made before the write lock is taken.
pub(super) fn freeze(plan: &Plan) -> Result<Vec<(String, String)>> {
    let json =
        |error: serde_json::Error| Error::state(format!("cannot write terms as JSON: {error}"));
    plan.deliveries
        .iter()
        .map(|delivery| {
            Ok((
                serde_json::to_string(&delivery.connection).map_err(json)?,
                serde_json::to_string(&delivery.service).map_err(json)?,
            ))
        })
        .collect()
}

fn insert_plan(
    tx: &Transaction<'_>,
    batch: i64,
    changes: &[Change],
    artifacts: &[Option<(String, u64)>],
    plan: &Plan,
    frozen: &[(String, String)],
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    let mut insert_package = tx.prepare_cached(
        "INSERT INTO packages (batch_id, path, action, sha256, size) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let mut package_ids = Vec::with_capacity(changes.len());
    for (index, change) in changes.iter().enumerate() {
        let artifact = artifacts.get(index).and_then(Option::as_ref);
        insert_package.execute(params![
            batch,
            change.path,
            change.action.as_str(),
            artifact.map(|(sha256, _)| sha256),
            artifact.map(|(_, size)| size),
        ])?;
        package_ids.push(tx.last_insert_rowid());
    }
    let mut skip =
        tx.prepare_cached("UPDATE packages SET skipped = ?2, trouble = ?3 WHERE id = ?1")?;
    for skipped in &plan.skips {
        let reason = &skipped.reason;
        skip.execute(params![
            package_ids.get(skipped.change),
            reason.to_string(),
            reason.is_trouble()
        ])?;
    }
    let mut insert = tx.prepare_cached(
        "INSERT INTO deliveries (batch_id, package_id, package, rule, rule_line, lane, host, login, ssh_port,
           ftp_port, dest_dir, connection, service, stops_lane, state, step, queued_at, facet_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 'queued', 'export', ?15, ?16)",
    )?;
    let mut facets: HashMap<(&str, &str), i64> = HashMap::new();
    for (delivery, (connection, service)) in plan.deliveries.iter().zip(frozen) {
        let target = &delivery.target;
        let facet = match facets.entry((&target.host, &delivery.rule)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => *new.insert(facet(tx, batch, &target.host, &delivery.rule)?),
        };
        insert.execute(params![
            batch,
            package_ids.get(delivery.change),
            changes.get(delivery.change).map(Change::package),
            delivery.rule,
            delivery.rule_line,
            target.lane(),
            target.host,
            target.login,
            target.ssh_port,
            target.ftp_port,
            delivery.dest_dir,
            connection,
            service,
            delivery.service.on_failure == OnFailure::Stop,
            millis(now),
            facet
        ])?;
    }
    Ok(())
}

/// Where deliveries of a batch come from and go to.
fn facet(tx: &Transaction<'_>, batch: i64, host: &str, rule: &str) -> rusqlite::Result<i64> {
    tx.prepare_cached(
        "INSERT INTO facets (host, rule, author, repository_id)
         SELECT ?2, ?3, ifnull(author, ''), ifnull(repository_id, 0) FROM batches WHERE id = ?1
         ON CONFLICT (host, rule, author, repository_id) DO UPDATE SET host = excluded.host RETURNING id",
    )?
    .query_row(params![batch, host, rule], |row| row.get(0))
}
