//! What is told of: written with the settling, made into messages, claimed by one worker, given up, freed.

use std::sync::Arc;
use std::time::Duration;

use chrono::{FixedOffset, TimeDelta};

use super::fixture::{at, journal};
use super::{AttemptRecord, Journal, MessageTerms, Outgoing, Settling};
use crate::domain::delivery::{Step, Transition};
use crate::domain::fault::Fault;
use crate::domain::notice::digest::Next;
use crate::domain::notice::{Kind, Subscription};
use crate::error::Error;

const TERMS: MessageTerms<'static> = MessageTerms {
    notifier: "ops",
    site: "here",
    program: "auto-dispatcher",
    zone: FixedOffset::east_opt(0).expect("UTC"),
    window: TimeDelta::minutes(10),
    gather: TimeDelta::zero(),
};

fn telling(on: &[Kind]) -> (tempfile::TempDir, Journal) {
    let (dir, journal) = journal();
    let one = Subscription {
        name: "ops".to_owned(),
        on: on.to_vec(),
    };
    (dir, journal.telling(&Arc::from([one])))
}

/// Claims the next delivery of a lane and settles it; its number.
fn settles(journal: &mut Journal, lane: &str, second: i64, transition: &Transition) -> i64 {
    let (claim, _) = journal
        .claim(lane, 1, || at(second))
        .expect("claimed")
        .expect("a delivery");
    let settling = Settling {
        claim: &claim,
        transition,
        step: Step::Upload,
        install_began: false,
        record: &AttemptRecord::default(),
        arrived: None,
    };
    assert!(journal.settle(&settling, at(second)).expect("settled"));
    claim.delivery
}

fn fails(fault: Fault) -> Transition {
    Transition::Fail { fault }
}

fn unreachable() -> Transition {
    fails(Fault::unreachable("web1 is down"))
}

fn notices(journal: &Journal) -> i64 {
    journal.number("SELECT count(*) FROM notices").expect("one")
}

/// The message that is made now, sent at once.
#[track_caller]
fn sent(journal: &mut Journal, second: i64) -> Outgoing {
    let now = at(second);
    assert_eq!(journal.make_message(&TERMS, now).expect("made"), Next::Now);
    let outgoing = journal.claim_message("ops", 1, now).expect("claimed");
    let outgoing = outgoing.expect("a message");
    journal.message_sent(outgoing.row, 1, now).expect("noted");
    outgoing
}

#[test]
fn where_nobody_is_told_nothing_is_written() {
    let (_dir, mut journal) = journal();
    let batch = journal.batch_of("revision", Some(1), at(0));
    journal.delivery_of(batch, "l@web1", "queued", None);
    settles(&mut journal, "l@web1", 1, &unreachable());
    let rows = "SELECT (SELECT count(*) FROM notices) + (SELECT count(*) FROM messages)
      + (SELECT count(*) FROM troubles)";
    assert_eq!(journal.number(rows), Some(0));
}

#[test]
fn a_thousand_failures_of_a_host_are_two_messages_and_its_recovery_one() {
    let (_dir, mut journal) = telling(&[Kind::Failure, Kind::Recovery]);
    let batch = journal.batch_of("revision", Some(1), at(0));
    for _ in 0..1002 {
        journal.delivery_of(batch, "l@web1", "queued", None);
    }
    settles(&mut journal, "l@web1", 1, &unreachable());
    let first = sent(&mut journal, 1).message;
    assert_eq!((first.groups[0].count, first.groups[0].waiting), (1, 1001));
    assert_eq!(first.groups[0].source.as_deref(), Some("r1 of /svn/x"));
    for second in 2..=1000 {
        settles(&mut journal, "l@web1", second / 10, &unreachable());
    }
    assert_eq!(
        journal.make_message(&TERMS, at(200)).expect("read"),
        Next::At(at(601))
    );
    let digest = sent(&mut journal, 601).message;
    assert_eq!(digest.groups.len(), 1);
    assert_eq!((digest.groups[0].count, digest.groups[0].waiting), (999, 2));
    assert_ne!(first.id, digest.id);
    settles(&mut journal, "l@web1", 1300, &Transition::Done);
    let well = sent(&mut journal, 1300).message;
    assert_eq!(well.groups[0].kind, Kind::Recovery);
    assert!(well.groups[0].since.as_ref().expect("since").contains('T'));
    settles(&mut journal, "l@web1", 1301, &Transition::Done);
    assert_eq!(notices(&journal), 0);
}

#[test]
fn a_package_that_failed_is_well_when_it_is_done_and_not_when_another_one_is() {
    let (_dir, mut journal) = telling(&[Kind::Failure, Kind::Recovery]);
    let batch = journal.batch_of("revision", Some(1), at(0));
    let bad = journal.delivery_of(batch, "l@web1", "queued", None);
    let other = journal.delivery_of(batch, "l@web1", "queued", None);
    journal.sql(&format!(
        "UPDATE deliveries SET package = 'other' WHERE id = {other}"
    ));
    settles(
        &mut journal,
        "l@web1",
        1,
        &fails(Fault::permanent("exit 1")),
    );
    settles(&mut journal, "l@web1", 2, &Transition::Done);
    assert_eq!(notices(&journal), 1);
    journal.retry(bad).expect("retried");
    settles(&mut journal, "l@web1", 3, &Transition::Done);
    assert_eq!(notices(&journal), 2);
}

#[test]
fn what_is_ours_is_told_once_when_it_does_not_pass() {
    let (_dir, mut journal) = telling(&[Kind::Failure, Kind::Recovery]);
    let batch = journal.batch_of("revision", Some(1), at(0));
    journal.delivery_of(batch, "l@web1", "queued", None);
    let waits = Transition::Wait {
        delay: Duration::ZERO,
        fault: Fault::ours("the spool is full"),
        counts: false,
    };
    let mut told = Vec::new();
    for second in 1..=4 {
        settles(&mut journal, "l@web1", second, &waits);
        told.push(notices(&journal));
    }
    assert_eq!(told, [0, 1, 1, 1]);
    settles(&mut journal, "l@web1", 9, &Transition::Done);
    let message = sent(&mut journal, 9).message;
    let causes: Vec<_> = message
        .groups
        .iter()
        .map(|group| group.cause.as_str())
        .collect();
    assert_eq!(causes, ["ours", "recovery"]);
}

#[test]
fn a_dead_workers_attached_install_is_told_as_unknown() {
    let (_dir, mut journal) = telling(&[Kind::Unknown]);
    let batch = journal.batch_of("revision", Some(1), at(0));
    journal.delivery_of(batch, "l@web1", "running", None);
    journal.sql("UPDATE deliveries SET step = 'install', attached = 1");
    journal.rescue(1, at(1)).expect("rescued");
    let message = sent(&mut journal, 1).message;
    assert_eq!(message.groups[0].kind, Kind::Unknown);
}

#[test]
fn a_batch_is_told_when_its_last_delivery_is_settled() {
    let (_dir, mut journal) = telling(&[Kind::Batch]);
    let batch = journal.batch_of("revision", Some(7), at(0));
    for lane in ["l@web1", "l@web2"] {
        journal.delivery_of(batch, lane, "queued", None);
    }
    let last = journal.delivery_of(batch, "l@web3", "queued", None);
    settles(&mut journal, "l@web1", 1, &Transition::Done);
    let failed = settles(&mut journal, "l@web2", 2, &unreachable());
    assert_eq!(notices(&journal), 0);
    journal.cancel(last, at(3)).expect("cancelled");
    let message = sent(&mut journal, 3).message;
    let group = &message.groups[0];
    let outcomes = group.outcomes.expect("outcomes");
    assert_eq!(
        (outcomes.done, outcomes.failed, outcomes.cancelled),
        (1, 1, 1)
    );
    assert_eq!(group.deliveries, [failed]);
    assert_eq!(group.source.as_deref(), Some("r7 of /svn/x"));
}

#[test]
fn a_plan_that_fails_again_and_again_is_told_once_and_its_mending_too() {
    let (_dir, mut journal) = telling(&[Kind::Failure, Kind::Recovery]);
    let batch = journal.batch_of("revision", Some(1), at(0));
    journal.sql("UPDATE batches SET state = 'recorded'");
    for second in 1..4 {
        let error = Error::config("rules.cfg:3: no host");
        journal
            .fail_plan(batch, &error, at(second), at(second))
            .expect("noted");
    }
    assert_eq!(notices(&journal), 1);
    let message = sent(&mut journal, 4).message;
    assert_eq!(message.groups[0].cause, "plan");
    assert_eq!(message.groups[0].place, "/svn/x");
    let plan = crate::domain::plan::Plan::default();
    assert!(
        journal
            .settle_plan(batch, crate::journal::Origin::default(), &[], &plan, at(5))
            .expect("planned")
    );
    let message = sent(&mut journal, 5).message;
    assert_eq!(message.groups[0].kind, Kind::Recovery);
}

#[test]
fn a_message_is_one_workers_alone_until_that_one_is_dead() {
    let (_dir, mut journal) = telling(&[Kind::Failure]);
    let batch = journal.batch_of("revision", Some(1), at(0));
    journal.delivery_of(batch, "l@web1", "queued", None);
    settles(&mut journal, "l@web1", 1, &unreachable());
    journal.make_message(&TERMS, at(2)).expect("made");
    let mine = journal
        .claim_message("ops", 1, at(2))
        .expect("claimed")
        .expect("one");
    assert!(
        journal
            .claim_message("ops", 2, at(2))
            .expect("read")
            .is_none()
    );
    assert_eq!(journal.workers_with_messages(2).expect("read"), [1]);
    journal.free_messages(1).expect("freed");
    let theirs = journal
        .claim_message("ops", 2, at(3))
        .expect("claimed")
        .expect("one");
    assert_eq!(mine.message, theirs.message);
    assert_eq!((mine.tries, theirs.tries), (1, 2));
    // The dead one was not dead after all: its word counts no more.
    journal.message_sent(mine.row, 1, at(4)).expect("ignored");
    assert!(journal.has_notices().expect("read"));
    journal.message_sent(theirs.row, 2, at(5)).expect("noted");
    assert!(!journal.has_notices().expect("read"));
}

#[test]
fn what_cannot_be_sent_keeps_the_rest_together_and_is_shown_until_something_is() {
    let (_dir, mut journal) = telling(&[Kind::Failure]);
    let batch = journal.batch_of("revision", Some(1), at(0));
    for _ in 0..3 {
        journal.delivery_of(batch, "l@web1", "queued", None);
    }
    settles(&mut journal, "l@web1", 1, &unreachable());
    journal.make_message(&TERMS, at(2)).expect("made");
    let first = journal
        .claim_message("ops", 1, at(2))
        .expect("claimed")
        .expect("one");
    journal
        .message_failed(first.row, 1, "refused", Some(at(60)), at(2))
        .expect("noted");
    assert!(
        journal
            .claim_message("ops", 1, at(59))
            .expect("read")
            .is_none()
    );
    settles(&mut journal, "l@web1", 20, &unreachable());
    // One that waits to be sent is enough.
    let next = journal.make_message(&TERMS, at(2000)).expect("read");
    assert_ne!(next, Next::Now);
    let unsent = journal.unsent_messages().expect("read");
    assert_eq!(
        (unsent[0].error.as_str(), unsent[0].is_given_up),
        ("refused", false)
    );
    // A clock that was set back keeps nothing waiting.
    let again = journal
        .claim_message("ops", 1, at(-100))
        .expect("claimed")
        .expect("one");
    journal
        .message_failed(again.row, 1, "refused", None, at(2001))
        .expect("noted");
    assert!(journal.unsent_messages().expect("read")[0].is_given_up);
    sent(&mut journal, 2002);
    assert_eq!(journal.unsent_messages().expect("read"), []);
}

#[test]
fn notices_of_notifiers_that_are_no_more_are_pruned() {
    let (_dir, mut journal) = telling(&[Kind::Failure]);
    let batch = journal.batch_of("revision", Some(1), at(0));
    journal.delivery_of(batch, "l@web1", "queued", None);
    settles(&mut journal, "l@web1", 1, &unreachable());
    journal.prune_notices(at(0)).expect("pruned");
    assert_eq!(notices(&journal), 1);
    journal.prune_notices(at(10)).expect("pruned");
    assert_eq!(notices(&journal), 0);
    assert_eq!(journal.number("SELECT count(*) FROM troubles"), Some(0));
}
