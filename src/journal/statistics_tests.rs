//! The figures are what happened: counted once, whatever is retried or pruned later.

use chrono::{DateTime, TimeZone as _, Utc};

use super::Journal;
use super::fixture::{at, journal};
use crate::domain::delivery::State;

fn settle(journal: &Journal, delivery: i64, state: &str, at: DateTime<Utc>) {
    let now = at.timestamp_millis();
    journal.sql(&format!(
        "UPDATE deliveries SET state = 'running' WHERE id = {delivery};
         UPDATE deliveries SET state = '{state}', settled_at = {now} WHERE id = {delivery}"
    ));
}

fn settled(journal: &Journal) -> Vec<(State, u64, u64)> {
    let rows = journal.settled_in_all().unwrap();
    rows.iter()
        .map(|row| (row.outcome, row.deliveries, row.bytes))
        .collect()
}

#[test]
fn what_settles_is_counted_once_and_for_good() {
    let (_dir, journal) = journal();
    let batch = journal.batch_of("revision", Some(1), at(0));
    let one = journal.delivery_of(batch, "l@a", "queued", None);
    let two = journal.delivery_of(batch, "l@b", "queued", None);
    settle(&journal, one, "done", at(0));
    settle(&journal, two, "failed", at(7200));
    assert_eq!(
        settled(&journal),
        [(State::Done, 1, 3), (State::Failed, 1, 0)]
    );
    let hours = journal.settled_hours(at(3600)).unwrap();
    assert_eq!(hours.len(), 1, "{hours:?}");
    let hour = 1_750_000_000 + 7200;
    assert_eq!(
        hours[0].from,
        Utc.timestamp_opt(hour - hour % 3600, 0).unwrap()
    );
    let lanes = journal.lane_rows().unwrap();
    assert_eq!(
        (lanes[0].done_at, lanes[0].done_id),
        (Some(at(0)), Some(one))
    );
    assert_eq!(
        (lanes[1].failing_since, lanes[1].undecided),
        (Some(at(7200)), 1)
    );
    // The operator retries it: that it had failed stays counted, and the target no longer fails.
    journal.sql(&format!(
        "UPDATE deliveries SET state = 'queued', settled_at = NULL WHERE id = {two}"
    ));
    assert_eq!(journal.unsettled_counts().unwrap(), [(State::Queued, 1)]);
    settle(&journal, two, "done", at(7300));
    assert_eq!(
        settled(&journal),
        [(State::Done, 2, 6), (State::Failed, 1, 0)]
    );
    assert_eq!(journal.lane_rows().unwrap()[1].failing_since, None);
    journal.sql("DELETE FROM deliveries");
    assert_eq!(
        settled(&journal),
        [(State::Done, 2, 6), (State::Failed, 1, 0)]
    );
}

#[test]
fn attempts_fall_into_rows_by_their_length() {
    let (_dir, journal) = journal();
    let batch = journal.batch_of("revision", Some(1), at(0));
    let delivery = journal.delivery_of(batch, "l@a", "done", Some(at(0)));
    for (number, took) in [(2, 0), (3, 100), (4, 101), (5, -5), (6, 4_000_000)] {
        journal.sql(&format!(
            "INSERT INTO attempts (delivery_id, number, worker_id, started_at) VALUES ({delivery}, {number}, 1, 1000);
             UPDATE attempts SET ended_at = 1000 + {took} WHERE delivery_id = {delivery} AND number = {number}"
        ));
    }
    let rows = journal.attempt_durations().unwrap();
    let counted: Vec<_> = rows
        .iter()
        .filter(|row| row.attempts > 0)
        .map(|row| (row.up_to_ms, row.attempts, row.total_ms))
        .collect();
    assert_eq!(
        counted,
        [
            (Some(100), 3, 100),
            (Some(250), 1, 101),
            (None, 1, 4_000_000)
        ]
    );
}

#[test]
fn batches_come_youngest_first_with_how_their_deliveries_stand() {
    let (_dir, journal) = journal();
    let first = journal.batch_of("revision", Some(1), at(0));
    journal.batch_of("revision", Some(2), at(1));
    let third = journal.batch_of("revision", Some(3), at(2));
    for (batch, lane, state) in [
        (first, "l@a", "done"),
        (third, "l@a", "failed"),
        (third, "l@a", "done"),
        (third, "l@b", "queued"),
    ] {
        journal.delivery_of(batch, lane, state, (state != "queued").then(|| at(3)));
    }
    let (batches, lanes) = journal.batch_lanes(9).unwrap();
    let revisions: Vec<_> = batches.iter().map(|batch| batch.revision).collect();
    assert_eq!(revisions, [Some(3), Some(1)]);
    assert_eq!(lanes.len(), 4);
    assert_eq!(journal.batch_lanes(1).unwrap().1.len(), 3);
    assert_eq!(journal.undecided(9).unwrap().len(), 1);
}
