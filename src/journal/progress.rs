//! How far a running delivery got. Every note needs `running` *and* the same worker and attempt number.

use rusqlite::{ToSql, Transaction, params};

use super::leftovers::{self, TemporaryFile};
use super::{Claim, Journal};
use crate::domain::delivery::Step;
use crate::error::{Error, Result};

impl Journal {
    /// Notes the step that a running delivery is at.
    pub fn note_step(&mut self, claim: &Claim, step: Step) -> Result<()> {
        self.update_running(claim, "step = ?4", &[&step.as_str()])
    }

    /// Notes that a running delivery is at the step upload and is about to leave a temporary file on the host.
    pub fn note_upload_began(&mut self, claim: &Claim, file: &TemporaryFile<'_>) -> Result<()> {
        let step = Step::Upload.as_str();
        self.update_running_and(claim, "step = ?4", &[&step], |tx| {
            leftovers::insert_upload(tx, claim.delivery, file)
        })
    }

    /// Notes that the package lies verified at `remote_path`, brought by `transport`: from here on only
    /// the install is left, whose record on the host `token` will name, and nothing of `file`.
    pub fn note_uploaded(
        &mut self,
        claim: &Claim,
        (remote_path, transport): (&str, &str),
        file: &TemporaryFile<'_>,
        token: Option<&str>,
    ) -> Result<()> {
        let what = "step = 'install', remote_path = ?4, transport = ?5, replaced = 0";
        self.update_running_and(claim, what, &[&remote_path, &transport], |tx| {
            leftovers::delete_upload(tx, claim.delivery, file)?;
            token.map_or(Ok(()), |token| {
                leftovers::insert_install(tx, claim.delivery, token)
            })
        })
    }

    /// Notes that the host is about to be told of an install: whether it begins or not, its record may lie there, and
    /// `token` names it.
    pub fn note_install_prepared(&mut self, claim: &Claim, token: &str) -> Result<()> {
        let what = "step = 'install'";
        self.update_running_and(claim, what, &[], |tx| {
            leftovers::insert_install(tx, claim.delivery, token)
        })
    }

    /// Notes that the package is about to be published at `remote_path` of `host`. What other deliveries
    /// brought to that path and may still install lies there no longer: should they go on (the operator
    /// retries them), they bring it again, for nothing but its own package is installed by a delivery.
    pub fn note_replacing(&mut self, claim: &Claim, host: &str, remote_path: &str) -> Result<()> {
        let others =
            "remote_path = ?1 AND state NOT IN ('done', 'cancelled') AND host = ?2 AND id <> ?3
             AND replaced = 0";
        let values = params![remote_path, host, claim.delivery];
        let any: bool = self.read("cannot read", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT EXISTS (SELECT 1 FROM deliveries WHERE {others})"
                ))?
                .query_row(values, |row| row.get(0))
        })?;
        // Hardly ever, so a write is not made for each package.
        if any {
            self.write("cannot note a replaced package in", |tx| {
                tx.execute(
                    &format!("UPDATE deliveries SET replaced = 1 WHERE {others}"),
                    values,
                )
            })?;
        }
        Ok(())
    }

    /// Notes that the host has lost what an install came to and that the operator's word is used up: the
    /// command begins once more, under a token of its own, which nothing has begun yet. Returns the number of
    /// that run.
    pub fn note_rerun(&mut self, claim: &Claim) -> Result<u32> {
        self.update_running(claim, "run = run + 1, rerun = ?4, install_began = 0", &[&0])?;
        self.read("cannot read", |connection| {
            connection
                .prepare_cached("SELECT run FROM deliveries WHERE id = ?1")?
                .query_row([claim.delivery], |row| row.get(0))
        })
    }

    /// Notes that an install command is about to run attached: should this worker die, its outcome
    /// cannot be had.
    pub fn note_attached(&mut self, claim: &Claim) -> Result<()> {
        self.update_running(claim, "attached = ?4", &[&1])
    }

    /// Notes that a detached install command is about to be started: from here on its outcome may be on
    /// the host, in the record that was noted before.
    pub fn note_install_began(&mut self, claim: &Claim) -> Result<()> {
        self.update_running(claim, "install_began = ?4", &[&1])
    }

    /// `assignment` uses `?4` and up for `values`.
    fn update_running(
        &mut self,
        claim: &Claim,
        assignment: &str,
        values: &[&dyn ToSql],
    ) -> Result<()> {
        self.update_running_and(claim, assignment, values, |_| Ok(()))
    }

    /// The same, with something more in the same transaction.
    fn update_running_and(
        &mut self,
        claim: &Claim,
        assignment: &str,
        values: &[&dyn ToSql],
        more: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<()> {
        let sql = format!(
            "UPDATE deliveries SET {assignment}
             WHERE id = ?1 AND state = 'running' AND worker_id = ?2 AND attempts = ?3"
        );
        let mut all: Vec<&dyn ToSql> = vec![&claim.delivery, &claim.worker, &claim.attempt];
        all.extend(values);
        let updated = self.write("cannot note a step in", |tx| {
            let updated = tx.prepare_cached(&sql)?.execute(all.as_slice())?;
            if updated == 1 {
                more(tx)?;
            }
            Ok(updated)
        })?;
        guard(claim, updated)
    }
}

fn guard(claim: &Claim, updated: usize) -> Result<()> {
    if updated == 1 {
        return Ok(());
    }
    Err(taken_over(claim))
}

/// An attempt that is not this process's any more.
pub(super) fn taken_over(claim: &Claim) -> Error {
    Error::state(format!(
        "delivery {} is no longer attempt {} of worker {}: another process has taken it over",
        claim.delivery, claim.attempt, claim.worker
    ))
}
