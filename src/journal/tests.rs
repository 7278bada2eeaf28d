//! What the journal promises by itself, without any worker.

use std::path::Path;

use chrono::{DateTime, Duration, Utc};

use super::{Journal, LaneHead, NewBatch};
use crate::domain::delivery::State;

fn journal() -> (tempfile::TempDir, Journal) {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(&dir.path().join("journal.sqlite")).expect("a journal");
    (dir, journal)
}

fn record(journal: &mut Journal, revision: u64, now: DateTime<Utc>) -> i64 {
    let new = NewBatch {
        repository: Path::new("/svn/packages"),
        uuid: "5b1b9a5e-0000-4000-8000-000000000001",
        revision,
        rules_file: None,
        netrc_file: None,
    };
    journal.record_revision(&new, now).expect("recorded").batch
}

#[test]
fn what_waits_behind_an_unplannable_revision_is_not_due() {
    let (_dir, mut journal) = journal();
    let now = Utc::now();
    let (second, first) = (record(&mut journal, 2, now), record(&mut journal, 1, now));
    let later = now + Duration::seconds(30);
    journal
        .fail_plan(
            first,
            &crate::error::Error::config("broken rules"),
            now,
            later,
        )
        .expect("noted");
    let outlook = journal.unplanned_outlook(now).expect("an outlook");
    assert_eq!(outlook.count, 2);
    let due = outlook.next_due.expect("a time").timestamp_millis();
    assert_eq!(due, later.timestamp_millis());
    assert_eq!(journal.next_unplanned(1, now).expect("read"), None);
    for batch in [first, second] {
        let blocking = journal
            .unplannable(batch, now)
            .expect("read")
            .expect("a batch");
        assert_eq!(blocking.id, first);
        assert_eq!(journal.unplannable(batch, later).expect("read"), None);
    }
}

#[test]
fn a_revision_that_is_recorded_again_is_planned_again_now() {
    let (_dir, mut journal) = journal();
    let now = Utc::now();
    let batch = record(&mut journal, 1, now);
    let later = now + Duration::hours(1);
    journal
        .fail_plan(
            batch,
            &crate::error::Error::config("broken rules"),
            now,
            later,
        )
        .expect("noted");
    assert_eq!(record(&mut journal, 1, now), batch);
    let next = journal
        .next_unplanned(1, now)
        .expect("read")
        .expect("a batch");
    assert_eq!((next.id, next.plan_attempts), (batch, 1));
}

#[test]
fn a_new_journal_may_be_opened_by_many_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("journal.sqlite");
    let ids: Vec<String> = std::thread::scope(|scope| {
        let open = || Journal::open(&path).expect("a journal").id().to_owned();
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(open)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("opened"))
            .collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn a_clock_that_was_set_back_stretches_no_wait() {
    let (_dir, mut journal) = journal();
    let before = Utc::now();
    let batch = record(&mut journal, 1, before);
    let due = before + Duration::seconds(30);
    journal
        .fail_plan(batch, &crate::error::Error::config("broken"), before, due)
        .expect("noted");
    let is_due = |now: DateTime<Utc>| journal.next_unplanned(1, now).expect("read").is_some();
    assert!(!is_due(before + Duration::seconds(29)));
    assert!(is_due(due));
    let set_back = before - Duration::days(1);
    assert!(is_due(set_back));
    let outlook = journal.unplanned_outlook(set_back).expect("an outlook");
    assert!(outlook.next_due.is_some_and(|due| due <= set_back));
    let head = LaneHead {
        wants_room: false,
        lane: "x".to_owned(),
        state: State::Waiting,
        due_at: due,
        waits_from: before,
    };
    assert!(!head.is_ready(before));
    assert!(head.is_ready(due));
    assert!(head.is_ready(set_back));
}

#[test]
fn the_journal_takes_the_transitions_of_the_state_machine_and_no_other() {
    for from in State::ALL {
        for to in State::ALL {
            let (_dir, journal) = super::fixture::journal();
            let batch = journal.batch_of("send", None, super::fixture::at(0));
            let id = journal.delivery_of(batch, "l@h", from.as_str(), None);
            let written = journal.connection.execute(
                "UPDATE deliveries SET state = ?2 WHERE id = ?1",
                rusqlite::params![id, to.as_str()],
            );
            assert_eq!(written.is_ok(), from.may_become(to), "{from} -> {to}");
        }
    }
}

#[test]
fn a_worker_that_dies_uses_up_no_try() {
    let (_dir, mut journal) = super::fixture::journal();
    let batch = journal.batch_of("send", None, super::fixture::at(0));
    let id = journal.delivery_of(batch, "l@h", "queued", None);
    for attempt in 1..=9 {
        let (claim, _) = journal
            .claim("l@h", 1, Utc::now)
            .expect("claimed")
            .expect("one");
        assert_eq!((claim.attempt, claim.tries_used), (attempt, 1));
        assert_eq!(journal.rescue(1, Utc::now()).expect("rescued"), [id]);
    }
}

#[test]
fn a_lane_whose_thread_broke_off_is_free_again_and_no_other_is_touched() {
    let (_dir, mut journal) = super::fixture::journal();
    let batch = journal.batch_of("send", None, super::fixture::at(0));
    let one = journal.delivery_of(batch, "one@h", "queued", None);
    journal.delivery_of(batch, "two@h", "queued", None);
    for lane in ["one@h", "two@h"] {
        assert!(journal.claim(lane, 1, Utc::now).expect("claimed").is_some());
    }
    let rescued = journal.rescue_lane(1, "one@h", Utc::now());
    assert_eq!(rescued.expect("rescued"), [one]);
    let heads = journal.lane_heads().expect("heads");
    let states: Vec<_> = heads.iter().map(|head| head.state).collect();
    assert_eq!(states, [State::Queued, State::Running]);
}

#[test]
fn a_claim_reads_the_clock_when_nobody_else_can_write() {
    let (dir, mut journal) = super::fixture::journal();
    let batch = journal.batch_of("send", None, super::fixture::at(0));
    journal.delivery_of(batch, "l@h", "queued", None);
    let other = rusqlite::Connection::open(dir.path().join("journal.sqlite")).expect("open");
    other.busy_timeout(std::time::Duration::ZERO).expect("set");
    let clock = || {
        let begun = other.execute_batch("BEGIN IMMEDIATE");
        assert!(begun.is_err(), "somebody else may write after this");
        Utc::now()
    };
    assert!(journal.claim("l@h", 1, clock).expect("claimed").is_some());
}
