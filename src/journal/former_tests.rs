//! Repositories that take another one's place.

use std::path::Path;

use chrono::Duration;

use super::gaps_tests::{OTHER, PATH, UUID, ledger, named};
use super::{PlannedBatch, Source};
use crate::domain::plan::Plan;
use crate::error::Error;

#[test]
fn another_repository_under_the_same_path_is_held_until_the_former_one_is_let_go() {
    let mut ledger = ledger();
    assert_eq!(ledger.hook(8).holder, None);
    ledger.plan(100);
    ledger.hook(500);
    ledger.plan(100);
    ledger.hook(501);
    let held = ledger.hook_of(OTHER, 3);
    assert_eq!(held.holder.as_deref(), Some(UUID));
    let journal = &mut ledger.journal;
    assert_eq!(
        journal.holder_of_path(held.batch).expect("read").as_deref(),
        Some(UUID)
    );
    journal
        .hold_plan(held.batch, &Error::source("changed"), ledger.now)
        .expect("held");
    assert!(
        journal
            .batch(held.batch)
            .expect("read")
            .expect("a batch")
            .is_held()
    );
    let outlook = journal.unplanned_outlook(ledger.now).expect("an outlook");
    assert_eq!((outlook.count, outlook.due), (1, vec![1]));
    let in_years = ledger.now + Duration::days(10_000);
    for then in [ledger.now, in_years, ledger.now - Duration::days(1)] {
        assert_eq!(journal.next_unplanned(2, then).expect("read"), None);
    }
    // The former one is put back: it works.
    assert_eq!(ledger.hook(502).holder, None);
    assert_eq!(ledger.plan(100), [501, 502]);
    ledger.hook(503);

    let done = ledger
        .journal
        .retire_former(Path::new(PATH), OTHER, ledger.now)
        .expect("retired");
    assert_eq!(done.uuids, [UUID]);
    assert_eq!(
        (done.batches, done.gaps, done.freed),
        (1, vec![(9, 499)], 1)
    );
    assert_eq!(ledger.gaps(), []);
    assert!(ledger.plan(100).is_empty());
    let next = ledger.journal.next_unplanned(2, ledger.now).expect("read");
    assert_eq!(next.map(|row| row.id), Some(held.batch));
    assert_eq!(ledger.hook_of(OTHER, 4).holder, None);
    let again = ledger
        .journal
        .retire_former(Path::new(PATH), OTHER, ledger.now)
        .expect("read");
    assert_eq!(again.uuids, Vec::<String>::new());

    // And back again: now the first one is the stranger.
    let back = ledger.hook(504);
    assert_eq!(back.holder.as_deref(), Some(OTHER));
    let done = ledger
        .journal
        .retire_former(Path::new(PATH), UUID, ledger.now)
        .expect("retired");
    assert_eq!(done.uuids, [OTHER]);
    assert_eq!(ledger.hook(504).holder, None);
    assert_eq!(ledger.plan(100), [504]);
}

#[test]
fn a_replay_on_another_repository_takes_no_path() {
    let mut ledger = ledger();
    let plan = Plan::default();
    let replayed = PlannedBatch {
        source: Source::Replay,
        replayed: Some(named(OTHER, 1)),
        is_part: false,
        directory: None,
        author: None,
        rules_file: None,
        netrc_file: None,
        stamp: "",
        changes: &[],
        artifacts: &[],
        plan: &plan,
    };
    ledger
        .journal
        .record_planned(&[replayed], ledger.now)
        .expect("recorded");
    assert_eq!(ledger.hook(1).holder, None);
    // Its own hook comes second, though its row is the older one.
    assert_eq!(ledger.hook_of(OTHER, 2).holder.as_deref(), Some(UUID));
    assert_eq!(ledger.hook(2).holder, None);
}

#[test]
fn one_that_was_let_go_and_is_back_goes_on_where_nobody_took_its_place() {
    let mut ledger = ledger();
    ledger.hook(1);
    let path = Path::new(PATH);
    let done = ledger.journal.retire_former(path, OTHER, ledger.now);
    assert_eq!(done.expect("retired").batches, 1);
    assert!(ledger.journal.repositories().expect("read").is_empty());
    assert!(ledger.journal.ledgers().expect("read").is_empty());
    assert_eq!(ledger.hook(2).holder, None);
    assert_eq!(ledger.plan(100), [2]);
    assert_eq!(ledger.journal.ledgers().expect("read").len(), 1);
}
