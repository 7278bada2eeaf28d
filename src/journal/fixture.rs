//! Rows for the journal's own tests, written as they are wanted.

use chrono::{DateTime, TimeZone as _, Utc};
use rusqlite::params;

use super::{Journal, millis};
use crate::domain::target::{ConnectionTerms, ServiceTerms};

/// A journal that goes with its directory.
pub(super) fn journal() -> (tempfile::TempDir, Journal) {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(&dir.path().join("journal.sqlite")).expect("a journal");
    (dir, journal)
}

/// Some seconds after a certain moment.
pub(super) fn at(seconds: i64) -> DateTime<Utc> {
    Utc.timestamp_opt(1_750_000_000 + seconds, 0)
        .single()
        .expect("a time")
}

impl Journal {
    /// Runs SQL.
    pub(super) fn sql(&self, sql: &str) {
        self.connection.execute_batch(sql).expect("SQL");
    }

    /// The number that a query gives.
    pub(super) fn number(&self, sql: &str) -> Option<i64> {
        self.connection
            .query_row(sql, [], |row| row.get(0))
            .expect("a number")
    }

    /// The text that a query gives.
    pub(super) fn text(&self, sql: &str) -> Option<String> {
        self.connection
            .query_row(sql, [], |row| row.get(0))
            .expect("a text")
    }

    /// A planned batch without anything.
    pub(super) fn batch_of(
        &self,
        source: &str,
        revision: Option<u64>,
        planned: DateTime<Utc>,
    ) -> i64 {
        self.sql(
            "INSERT INTO repositories (id, uuid, path, recorded_at) VALUES (1, 'u', '/svn/x', 0)
             ON CONFLICT DO NOTHING; INSERT INTO workers (id, pid, role, started_at) VALUES (1, 1, 'worker', 0)
             ON CONFLICT DO NOTHING",
        );
        self.connection
            .execute(
                "INSERT INTO batches (source, repository_id, revision, stamp, recorded_at, state, planned_at)
                 VALUES (?1, CASE WHEN ?2 IS NULL THEN NULL ELSE 1 END, ?2, 's', ?3, 'planned', ?3)",
                params![source, revision, millis(planned)],
            )
            .expect("a batch");
        self.connection.last_insert_rowid()
    }

    /// A delivery of it, with one attempt where it is no longer queued.
    pub(super) fn delivery_of(
        &self,
        batch: i64,
        lane: &str,
        state: &str,
        settled: Option<DateTime<Utc>>,
    ) -> i64 {
        let connection = &self.connection;
        connection
            .execute(
                "INSERT INTO packages (batch_id, path, action, sha256, size) VALUES (?1, 'app', 'added', 'abc', 3)",
                [batch],
            )
            .expect("a package");
        connection
            .execute(
                "INSERT INTO deliveries (batch_id, package_id, package, rule, rule_line, lane, host, login, ssh_port,
                   ftp_port, dest_dir, connection, service, stops_lane, state, step, queued_at, settled_at)
                 VALUES (?1, ?2, 'app', 'app', 1, ?3, 'h', 'l', 22, 21, '/in', ?6, ?7, 0, ?4, 'export', 0, ?5)",
                params![
                    batch,
                    connection.last_insert_rowid(),
                    lane,
                    state,
                    settled.map(millis),
                    serde_json::to_string(&ConnectionTerms::default()).expect("JSON"),
                    serde_json::to_string(&ServiceTerms::default()).expect("JSON")
                ],
            )
            .expect("a delivery");
        let id = connection.last_insert_rowid();
        if state != "queued" {
            self.sql(&format!(
                "UPDATE deliveries SET attempts = 1, tries_used = 1, worker_id = 1 WHERE id = {id};
                 INSERT INTO attempts (delivery_id, number, worker_id, started_at, ended_at)
                 VALUES ({id}, 1, 1, 0, 0)"
            ));
        }
        id
    }
}
