//! What pruning takes, what it leaves, and at what cost.

use super::*;
use crate::journal::fixture::{at, journal};

/// Prunes all that is older than a time; how many transactions it took, deliveries and batches.
fn prune(journal: &mut Journal, before: i64) -> (usize, usize, usize) {
    let (mut cursor, mut all) = (PruneCursor::default(), (0, 0, 0));
    loop {
        let pruned = journal
            .prune(at(before), &mut cursor, at(before))
            .expect("pruned");
        all = (all.0 + 1, all.1 + pruned.deliveries, all.2 + pruned.batches);
        if pruned.is_over {
            return all;
        }
    }
}

fn count(journal: &Journal, table: &str) -> Option<i64> {
    journal.number(&format!("SELECT count(*) FROM {table}"))
}

#[test]
fn what_was_settled_long_ago_goes_and_the_ledger_stays() {
    let (_dir, mut journal) = journal();
    let revision = journal.batch_of("revision", Some(7), at(0));
    let send = journal.batch_of("send", None, at(0));
    let replay = journal.batch_of("replay", Some(7), at(0));
    journal.sql(&format!(
        "UPDATE batches SET cites = {revision} WHERE id = {replay}"
    ));
    for (batch, state) in [
        (revision, "done"),
        (revision, "failed"),
        (send, "unknown"),
        (replay, "cancelled"),
    ] {
        let id = journal.delivery_of(batch, "l@h", state, Some(at(10)));
        journal.sql(&format!(
            "INSERT INTO leftovers (delivery_id, lane, kind, transport, token) VALUES ({id}, 'l@h', 'upload', 'ssh', 't')"
        ));
    }
    journal.sql(&format!(
        "INSERT INTO packages (batch_id, path, action, skipped) VALUES ({revision}, 'x', 'added', 'no rule')"
    ));
    // A revision of which nothing but skips is kept.
    let skips = journal.batch_of("revision", Some(8), at(0));
    journal.sql(&format!(
        "INSERT INTO packages (batch_id, path, action, skipped) VALUES ({skips}, 'x', 'added', 'no rule')"
    ));
    assert_eq!(prune(&mut journal, 10), (1, 0, 1), "the skips alone");
    assert_eq!(count(&journal, "deliveries"), Some(4));
    let (_, deliveries, batches) = prune(&mut journal, 11);
    assert_eq!((deliveries, batches), (4, 3));
    for table in ["deliveries", "attempts", "packages", "leftovers"] {
        assert_eq!(count(&journal, table), Some(0), "{table}");
    }
    assert_eq!(
        journal.text(
            "SELECT group_concat(revision || source) FROM batches WHERE pruned_at IS NOT NULL"
        ),
        Some("7revision,8revision".to_owned())
    );
    assert_eq!(count(&journal, "batches"), Some(2));
    // A hook that comes late changes nothing.
    let late = crate::journal::NewBatch {
        repository: std::path::Path::new("/svn/x"),
        uuid: "u",
        revision: 7,
        rules_file: None,
        netrc_file: None,
    };
    let recorded = journal.record_revision(&late, at(20)).expect("recorded");
    assert!(!recorded.is_new && recorded.batch == revision);
    assert_eq!(journal.next_unplanned(1, at(30)), Ok(None));
    assert_eq!(prune(&mut journal, 11), (1, 0, 0));
}

#[test]
fn nothing_goes_of_a_batch_that_is_open_or_unplanned_or_settled_lately() {
    let (_dir, mut journal) = journal();
    for (state, settled) in [
        ("queued", None),
        ("running", None),
        ("waiting", None),
        ("done", Some(at(100))),
    ] {
        let batch = journal.batch_of("send", None, at(0));
        journal.delivery_of(batch, "l@h", "done", Some(at(1)));
        journal.delivery_of(batch, "l@h", state, settled);
    }
    let unplanned = journal.batch_of("revision", Some(1), at(0));
    journal.sql(&format!(
        "UPDATE batches SET state = 'plan_failed' WHERE id = {unplanned}"
    ));
    let young = journal.batch_of("revision", Some(2), at(100));
    journal.delivery_of(young, "l@h", "done", Some(at(100)));
    assert_eq!(prune(&mut journal, 100), (1, 0, 0));
    assert_eq!(count(&journal, "deliveries"), Some(9));
}

#[test]
fn a_failure_that_stops_its_lane_stays_while_something_stands_behind_it() {
    let (_dir, mut journal) = journal();
    let old = journal.batch_of("send", None, at(0));
    let stopping = journal.delivery_of(old, "l@h", "failed", Some(at(1)));
    journal.sql("UPDATE deliveries SET stops_lane = 1");
    let new = journal.batch_of("send", None, at(50));
    let behind = journal.delivery_of(new, "l@h", "queued", None);
    assert_eq!(prune(&mut journal, 100), (1, 0, 0));
    assert_eq!(journal.lane_heads(), Ok(vec![]), "it is stopped");
    // Neither does it stop another lane, nor one that it stands behind.
    journal.sql(&format!(
        "UPDATE deliveries SET lane = 'other' WHERE id = {behind}"
    ));
    assert_eq!(prune(&mut journal, 100).1, 1);
    assert_eq!(journal.delivery(stopping), Ok(None));

    let old = journal.batch_of("send", None, at(0));
    journal.delivery_of(old, "l@h", "failed", Some(at(1)));
    journal.sql("UPDATE deliveries SET stops_lane = 1");
    let new = journal.batch_of("send", None, at(50));
    journal.delivery_of(new, "l@h", "queued", None);
    assert_eq!(prune(&mut journal, 100).1, 0);
    journal.sql("UPDATE deliveries SET dismissed_at = 1 WHERE state = 'failed'");
    assert_eq!(prune(&mut journal, 100).1, 1);
}

#[test]
fn a_large_batch_goes_in_small_transactions_and_what_is_kept_holds_up_nothing() {
    let (_dir, mut journal) = journal();
    journal.sql("BEGIN");
    let kept = journal.batch_of("send", None, at(0));
    journal.delivery_of(kept, "l@h", "waiting", None);
    let large = journal.batch_of("send", None, at(0));
    for _ in 0..700 {
        journal.delivery_of(large, "l@h", "done", Some(at(1)));
    }
    for _ in 0..600 {
        journal.sql(&format!(
            "INSERT INTO attempts (delivery_id, number, worker_id, started_at)
             SELECT max(id), (SELECT count(*) + 2 FROM attempts), 1, 0 FROM deliveries WHERE batch_id = {large}"
        ));
    }
    journal.sql("COMMIT");
    let mut cursor = PruneCursor::default();
    let mut transactions = 0;
    loop {
        let rows = |journal: &Journal| {
            journal.number(
                "SELECT (SELECT count(*) FROM deliveries) + (SELECT count(*) FROM attempts)
                   + (SELECT count(*) FROM packages)",
            )
        };
        let before = rows(&journal);
        let pruned = journal.prune(at(9), &mut cursor, at(9)).expect("pruned");
        let most = i64::try_from(ROWS_MAX).expect("a number");
        assert!(
            before
                .zip(rows(&journal))
                .is_some_and(|(before, after)| before - after <= most)
        );
        transactions += 1;
        if pruned.is_over {
            break;
        }
    }
    assert!(transactions > 5, "{transactions}");
    assert_eq!(count(&journal, "deliveries"), Some(1));
    assert_eq!(count(&journal, "batches"), Some(1));
}

#[test]
fn no_table_is_read_from_end_to_end() {
    let (_dir, journal) = journal();
    let others = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE remote_path = ?1
         AND state NOT IN ('done', 'cancelled') AND host = ?2 AND id <> ?3 AND replaced = 0)";
    for sql in [
        CANDIDATES,
        IS_KEPT,
        "SELECT 1 FROM batches WHERE cites = ?1",
        "SELECT id FROM attempts WHERE delivery_id = ?1 LIMIT ?2",
        "SELECT id FROM leftovers WHERE delivery_id = ?1 LIMIT ?2",
        "SELECT 1 FROM deliveries WHERE package_id = ?1",
        others,
    ] {
        let mut statement = journal
            .connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .expect("a plan");
        let mut rows = statement.raw_query();
        let mut steps = 0;
        while let Some(row) = rows.next().expect("a row") {
            let step: String = row.get(3).expect("a step");
            let reads_all = step.starts_with("SCAN") && !step.starts_with("SCAN CONSTANT ROW");
            assert!(!reads_all, "{sql}: {step}");
            assert!(!step.contains("TEMP B-TREE"), "{sql}: {step}");
            steps += 1;
        }
        assert!(steps > 0);
    }
}
