//! What people and programs ask the journal.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter};

use super::rows::{AttemptRow, BatchRow, DeliveryRow, PackageRow, RepositoryRow, Word};
use super::{Journal, time};
use crate::error::Result;

/// Which deliveries are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryFilter {
    /// At most this many, newest first; none: all.
    pub limit: Option<u64>,
    /// Only those that are not settled, or that failed or are unknown.
    pub unsettled: bool,
    /// Only those of these batches; empty: of all.
    pub batches: Vec<i64>,
    /// Only these; empty: all.
    pub deliveries: Vec<i64>,
    /// Oldest first.
    pub oldest_first: bool,
}

/// Rows that are read at a time.
const PAGE: u64 = 5000;

pub(super) const COLUMNS: &str = "d.id, d.batch_id, b.source, r.path, b.revision, b.author, d.package, p.path, d.rule,
    d.rule_line, d.host, d.login, d.lane, d.state, d.step, d.attempts, d.transport, d.remote_path, p.sha256,
    p.size, d.exit_status, d.fault, d.error, d.queued_at, d.due_at, d.settled_at, d.dest_dir,
    json_extract(d.service, '$.install_command'), d.dismissed_at, b.directory";

pub(super) const TABLES: &str =
    "deliveries d JOIN batches b ON b.id = d.batch_id JOIN packages p ON p.id = d.package_id
    LEFT JOIN repositories r ON r.id = b.repository_id";

pub(super) fn delivery_from_row(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    Ok(DeliveryRow {
        id: row.get(0)?,
        batch: row.get(1)?,
        source: row.get(2)?,
        repository: row.get(3)?,
        revision: row.get(4)?,
        author: row.get(5)?,
        package: row.get(6)?,
        path: row.get(7)?,
        rule: row.get(8)?,
        rule_line: row.get(9)?,
        host: row.get(10)?,
        login: row.get(11)?,
        lane: row.get(12)?,
        state: row.get::<_, Word<_>>(13)?.0,
        step: row.get::<_, Word<_>>(14)?.0,
        attempts: row.get(15)?,
        transport: row.get(16)?,
        remote_path: row.get(17)?,
        sha256: row.get(18)?,
        size: row.get(19)?,
        exit_status: row.get(20)?,
        fault: row.get(21)?,
        error: row.get(22)?,
        queued_at: time(row.get(23)?),
        due_at: time(row.get(24)?),
        settled_at: row.get::<_, Option<i64>>(25)?.map(time),
        dest_dir: row.get(26)?,
        install_command: row.get(27)?,
        dismissed_at: row.get::<_, Option<i64>>(28)?.map(time),
        directory: row.get(29)?,
    })
}

/// One delivery, also within a transaction.
pub(super) fn delivery_by_id(
    connection: &Connection,
    id: i64,
) -> rusqlite::Result<Option<DeliveryRow>> {
    connection
        .query_row(
            &format!("SELECT {COLUMNS} FROM {TABLES} WHERE d.id = ?1"),
            [id],
            delivery_from_row,
        )
        .optional()
}

impl Journal {
    /// Deliveries that the filter wants.
    pub fn deliveries(&self, filter: &HistoryFilter) -> Result<Vec<DeliveryRow>> {
        let mut rows = Vec::new();
        self.each_delivery(filter, &mut |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Shows each delivery that the filter wants to `visit`, one at a time: there may be millions. They are
    /// read by pages, so that a reader who takes his time keeps nobody from folding the log into the file.
    pub fn each_delivery(
        &self,
        filter: &HistoryFilter,
        visit: &mut dyn FnMut(DeliveryRow) -> Result<()>,
    ) -> Result<()> {
        let mut conditions = Vec::new();
        let mut values: Vec<Value> = Vec::new();
        if filter.unsettled {
            // Two unions of indexed sets; a plain OR would read the whole table.
            conditions.push(
                "d.id IN (SELECT id FROM deliveries WHERE state IN ('queued', 'running', 'waiting')
                 UNION ALL SELECT id FROM deliveries WHERE state IN ('failed', 'unknown') AND dismissed_at IS NULL)"
                    .to_owned(),
            );
        }
        for (column, wanted) in [
            ("d.batch_id", &filter.batches),
            ("d.id", &filter.deliveries),
        ] {
            if !wanted.is_empty() {
                let marks = vec!["?"; wanted.len()].join(", ");
                conditions.push(format!("{column} IN ({marks})"));
                values.extend(wanted.iter().map(|&id| Value::Integer(id)));
            }
        }
        let condition = if conditions.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", conditions.join(" AND "))
        };
        let (direction, beyond) = if filter.oldest_first {
            ("ASC", ">")
        } else {
            ("DESC", "<")
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM {TABLES} {condition} {} d.id {beyond} ? ORDER BY d.id {direction} LIMIT ?",
            if condition.is_empty() { "WHERE" } else { "AND" }
        );
        let mut left = filter.limit.unwrap_or(u64::MAX);
        let mut last = if filter.oldest_first { 0 } else { i64::MAX };
        while left > 0 {
            let most = left.min(PAGE);
            let page = self.read("cannot read the deliveries of", |connection| {
                let limits = [Value::Integer(last), Value::Integer(most.cast_signed())];
                connection
                    .prepare_cached(&sql)?
                    .query_map(
                        params_from_iter(values.iter().chain(&limits)),
                        delivery_from_row,
                    )?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })?;
            left -= page.len() as u64;
            let is_last = (page.len() as u64) < most;
            for row in page {
                last = row.id;
                visit(row)?;
            }
            if is_last {
                break;
            }
        }
        Ok(())
    }

    /// One delivery.
    pub fn delivery(&self, id: i64) -> Result<Option<DeliveryRow>> {
        self.read("cannot read a delivery of", |connection| {
            delivery_by_id(connection, id)
        })
    }

    /// The attempts at a delivery, oldest first.
    pub fn attempts(&self, delivery: i64) -> Result<Vec<AttemptRow>> {
        self.read("cannot read the attempts of", |connection| {
            connection
                .prepare(
                    "SELECT number, worker_id, started_at, ended_at, step, outcome, transport, fingerprint, detail,
                       verified, fault, error, exit_status, output, output_cut
                     FROM attempts WHERE delivery_id = ?1 ORDER BY number",
                )?
                .query_map([delivery], |row| {
                    Ok(AttemptRow {
                        number: row.get(0)?,
                        worker: row.get(1)?,
                        started_at: time(row.get(2)?),
                        ended_at: row.get::<_, Option<i64>>(3)?.map(time),
                        step: row.get(4)?,
                        outcome: row.get(5)?,
                        transport: row.get(6)?,
                        fingerprint: row.get(7)?,
                        detail: row.get(8)?,
                        verified: row.get(9)?,
                        fault: row.get(10)?,
                        error: row.get(11)?,
                        exit_status: row.get(12)?,
                        output: row.get(13)?,
                        output_cut: row.get::<_, Option<u64>>(14)?.unwrap_or(0),
                    })
                })?
                .collect()
        })
    }

    /// The paths of a batch, with what became of each before any delivery.
    pub fn packages(&self, batch: i64) -> Result<Vec<PackageRow>> {
        self.read("cannot read the packages of", |connection| {
            connection
                .prepare("SELECT path, action, skipped, trouble FROM packages WHERE batch_id = ?1 ORDER BY id")?
                .query_map([batch], |row| {
                    Ok(PackageRow {
                        path: row.get(0)?,
                        action: row.get(1)?,
                        skipped: row.get(2)?,
                        trouble: row.get(3)?,
                    })
                })?
                .collect()
        })
    }

    /// Batches that are not planned, oldest first.
    pub fn unplanned_batches(&self) -> Result<Vec<BatchRow>> {
        let sql = format!(
            "SELECT {} FROM batches b LEFT JOIN repositories r ON r.id = b.repository_id
             WHERE b.state <> 'planned' ORDER BY b.id",
            BatchRow::COLUMNS
        );
        self.read("cannot read the batches of", |connection| {
            connection
                .prepare(&sql)?
                .query_map([], BatchRow::from_row)?
                .collect()
        })
    }

    /// The repositories of the ledger, without those that the operator let go.
    pub fn repositories(&self) -> Result<Vec<RepositoryRow>> {
        self.read("cannot read the repositories of", |connection| {
            connection
                .prepare(
                    "SELECT r.path, r.uuid,
                       (SELECT max(revision) FROM batches b WHERE b.repository_id = r.id AND b.source = 'revision'),
                       (SELECT count(*) FROM batches b WHERE b.repository_id = r.id AND b.state <> 'planned')
                     FROM repositories r WHERE r.retired_at IS NULL ORDER BY r.path, r.id",
                )?
                .query_map([], |row| {
                    Ok(RepositoryRow {
                        path: row.get::<_, String>(0)?.into(),
                        uuid: row.get(1)?,
                        last_revision: row.get(2)?,
                        unplanned: row.get(3)?,
                    })
                })?
                .collect()
        })
    }

    /// Lanes that wait behind a failure that stops them, with the first such delivery.
    pub fn stopped_lanes(&self) -> Result<Vec<(String, i64)>> {
        self.read("cannot read the lanes of", |connection| {
            connection
                .prepare(
                    "SELECT s.lane, min(s.id) FROM deliveries s
                     WHERE s.stops_lane = 1 AND s.state IN ('failed', 'unknown') AND s.dismissed_at IS NULL AND EXISTS
                       (SELECT 1 FROM deliveries d WHERE d.lane = s.lane AND d.id > s.id
                        AND d.state IN ('queued', 'running', 'waiting'))
                     GROUP BY s.lane",
                )?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }
}
