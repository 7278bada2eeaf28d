//! Each decision in each state, and what of a delivery a retry keeps.

use super::*;
use crate::journal::Claim;
use crate::journal::fixture::{at, journal};

const STATES: [&str; 7] = [
    "queued",
    "running",
    "waiting",
    "done",
    "failed",
    "unknown",
    "cancelled",
];

/// A failed or unknown delivery whose row says this more.
fn stuck(journal: &Journal, state: &str, more: &str) -> i64 {
    let batch = journal.batch_of("send", None, at(0));
    let id = journal.delivery_of(batch, "l@h", state, Some(at(1)));
    journal.sql(&format!("UPDATE deliveries SET {more} WHERE id = {id}"));
    id
}

fn resumption(journal: &mut Journal, id: i64) -> Resumption {
    match journal.retry(id).expect("decided") {
        Decided::Made {
            resumption: Some(resumption),
            ..
        } => resumption,
        other => panic!("{other:?}"),
    }
}

fn run_of(journal: &Journal, id: i64) -> Option<i64> {
    journal.number(&format!("SELECT run FROM deliveries WHERE id = {id}"))
}

const AT_INSTALL: &str = "step = 'install', remote_path = '/in/app'";

#[test]
fn what_may_not_be_decided_changes_nothing_and_says_why() {
    let (_dir, mut journal) = journal();
    for decision in [Decision::Retry, Decision::Cancel, Decision::Dismiss] {
        for word in STATES {
            let batch = journal.batch_of("send", None, at(0));
            let settled = (!["queued", "running", "waiting"].contains(&word)).then(|| at(1));
            let id = journal.delivery_of(batch, &format!("{decision:?}"), word, settled);
            let row = format!(
                "SELECT state || step || run || rerun || tries_used || coalesce(settled_at, '-')
                   || coalesce(dismissed_at, '-') FROM deliveries WHERE id = {id}"
            );
            let before = journal.text(&row);
            let decided = match decision {
                Decision::Retry => journal.retry(id),
                Decision::Cancel => journal.cancel(id, at(9)),
                Decision::Dismiss => journal.dismiss(id, at(9)),
            };
            let state = State::parse(word).expect("a state");
            match (decided.expect("decided"), decision.of(state)) {
                (Decided::Made { delivery, .. }, Ok(next)) => {
                    assert_eq!(delivery.state, next);
                    assert_ne!(before, journal.text(&row), "{decision:?} of {word}");
                }
                (Decided::Refused { delivery, reason }, Err(why)) => {
                    assert_eq!((delivery.state, reason), (state, why));
                    assert_eq!(before, journal.text(&row), "{decision:?} of {word}");
                }
                other => panic!("{decision:?} of {word}: {other:?}"),
            }
        }
    }
    assert_eq!(journal.retry(999), Ok(Decided::Missing));
}

#[test]
fn a_retried_delivery_is_as_new_and_keeps_its_place() {
    let (_dir, mut journal) = journal();
    let id = stuck(
        &journal,
        "failed",
        "tries_used = 6, dismissed_at = 5, due_at = 7, fault = 'permanent', error = 'x', exit_status = 7",
    );
    let batch = journal.batch_of("send", None, at(2));
    let behind = journal.delivery_of(batch, "l@h", "queued", None);
    let resumption = resumption(&mut journal, id);
    assert_eq!(
        (resumption.step, resumption.is_new_run),
        (Step::Export, false)
    );
    let row = journal.delivery(id).expect("read").expect("a row");
    assert_eq!((row.state, row.settled_at), (State::Queued, None));
    assert_eq!((row.dismissed_at, row.fault, row.error), (None, None, None));
    assert_eq!(row.exit_status, None);
    let (claim, _) = journal
        .claim("l@h", 1, || at(3))
        .expect("read")
        .expect("claimed");
    assert_eq!(claim.delivery, id, "before {behind}");
    assert_eq!((claim.attempt, claim.tries_used), (2, 1));
}

#[test]
fn a_retried_delivery_waits_for_the_one_that_runs_behind_its_place() {
    let (_dir, mut journal) = journal();
    let first = stuck(&journal, "failed", AT_INSTALL);
    let batch = journal.batch_of("send", None, at(2));
    let running = journal.delivery_of(batch, "l@h", "running", None);
    let last = journal.delivery_of(batch, "l@h", "queued", None);
    resumption(&mut journal, first);
    assert_eq!(journal.claim("l@h", 1, || at(3)), Ok(None));
    let heads = journal.lane_heads().expect("lanes");
    assert_eq!((heads.len(), heads[0].is_ready(at(3))), (1, false));
    journal.sql(&format!(
        "UPDATE deliveries SET state = 'done' WHERE id = {running}"
    ));
    assert!(journal.lane_heads().expect("lanes")[0].is_ready(at(3)));
    let (claim, _) = journal
        .claim("l@h", 1, || at(3))
        .expect("read")
        .expect("claimed");
    assert_eq!(claim.delivery, first, "before {last}");
}

#[test]
fn a_command_that_has_ended_gets_a_new_run_also_when_it_printed_nothing() {
    let (_dir, mut journal) = journal();
    for output in ["x'6f7574'", "x''"] {
        let id = stuck(&journal, "failed", AT_INSTALL);
        journal.sql(&format!(
            "UPDATE attempts SET output = {output} WHERE delivery_id = {id}"
        ));
        let expected = Resumption {
            step: Step::Install,
            is_new_run: true,
            reruns_if_lost: false,
        };
        assert_eq!(resumption(&mut journal, id), expected);
        assert_eq!(run_of(&journal, id), Some(2));
    }
}

#[test]
fn a_command_that_never_began_keeps_its_run() {
    let (_dir, mut journal) = journal();
    let id = stuck(&journal, "failed", AT_INSTALL);
    let expected = Resumption {
        step: Step::Install,
        is_new_run: false,
        reruns_if_lost: false,
    };
    assert_eq!(resumption(&mut journal, id), expected);
    assert_eq!(run_of(&journal, id), Some(1));
}

#[test]
fn an_unknown_outcome_is_collected_first_and_rerun_once() {
    let (_dir, mut journal) = journal();
    let id = stuck(
        &journal,
        "unknown",
        &format!("{AT_INSTALL}, install_began = 1"),
    );
    let expected = Resumption {
        step: Step::Install,
        is_new_run: false,
        reruns_if_lost: true,
    };
    assert_eq!(resumption(&mut journal, id), expected);
    assert_eq!(run_of(&journal, id), Some(1));
    let (claim, work) = journal
        .claim("l@h", 1, || at(3))
        .expect("read")
        .expect("claimed");
    assert!(work.rerun && work.install_began);
    assert_eq!(journal.note_rerun(&claim), Ok(2));
    let left = journal.number("SELECT rerun + install_began FROM deliveries");
    assert_eq!(left, Some(0), "the word is used up, and nothing has begun");
}

#[test]
fn an_outcome_lost_with_its_connection_gets_a_new_run() {
    let (_dir, mut journal) = journal();
    let id = stuck(&journal, "unknown", AT_INSTALL);
    assert!(resumption(&mut journal, id).is_new_run);
    assert_eq!(run_of(&journal, id), Some(2));
}

#[test]
fn a_package_that_was_replaced_on_the_host_is_brought_again() {
    let (_dir, mut journal) = journal();
    let first = stuck(&journal, "failed", AT_INSTALL);
    let waiting = stuck(&journal, "waiting", AT_INSTALL);
    let elsewhere = stuck(&journal, "failed", &format!("{AT_INSTALL}, host = 'other'"));
    let done = stuck(&journal, "done", AT_INSTALL);
    let claim = Claim {
        delivery: stuck(&journal, "running", "attempts = 1"),
        attempt: 1,
        tries_used: 1,
        worker: 1,
    };
    let file = crate::journal::TemporaryFile {
        transport: crate::domain::target::TransportKind::Ssh,
        dir: "/in",
        name: "app",
        temporary: ".part",
    };
    journal
        .note_replacing(&claim, "h", "/in/app")
        .expect("noted");
    journal
        .note_uploaded(&claim, ("/in/app", "ssh"), &file, None)
        .expect("noted");
    let replaced = |journal: &Journal, id: i64| {
        journal.number(&format!("SELECT replaced FROM deliveries WHERE id = {id}")) == Some(1)
    };
    assert!(replaced(&journal, first) && replaced(&journal, waiting));
    assert!(!replaced(&journal, elsewhere) && !replaced(&journal, done));
    assert!(!replaced(&journal, claim.delivery));
    assert_eq!(resumption(&mut journal, first).step, Step::Export);
    assert_eq!(resumption(&mut journal, elsewhere).step, Step::Install);
}

#[test]
fn a_cancelled_delivery_says_whether_its_command_had_begun() {
    let (_dir, mut journal) = journal();
    for began in [false, true] {
        let id = stuck(&journal, "waiting", &format!("install_began = {began}"));
        let decided = journal.cancel(id, at(5)).expect("decided");
        let Decided::Made {
            delivery,
            install_began,
            ..
        } = decided
        else {
            panic!("{decided:?}");
        };
        assert_eq!(install_began, began);
        assert_eq!(delivery.settled_at, Some(at(5)));
    }
}

#[test]
fn a_dismissed_failure_stops_no_lane_and_leaves_the_unsettled() {
    let (_dir, mut journal) = journal();
    let id = stuck(&journal, "failed", "stops_lane = 1");
    let batch = journal.batch_of("send", None, at(2));
    journal.delivery_of(batch, "l@h", "queued", None);
    assert_eq!(journal.lane_heads().expect("lanes"), []);
    assert!(journal.artifact_is_needed("abc").expect("read"));
    journal.sql("DELETE FROM deliveries WHERE state = 'queued'");
    journal.dismiss(id, at(3)).expect("decided");
    journal.dismiss(id, at(4)).expect("decided");
    let row = journal.delivery(id).expect("read").expect("a row");
    assert_eq!(
        (row.state, row.dismissed_at),
        (State::Failed, Some(at(3))),
        "the first time counts"
    );
    assert!(!journal.artifact_is_needed("abc").expect("read"));
    journal.delivery_of(batch, "l@h", "queued", None);
    assert_eq!(journal.lane_heads().expect("lanes").len(), 1);
}

#[test]
fn the_troubled_are_found_by_host_and_by_revision() {
    let (_dir, mut journal) = journal();
    let mut ids = Vec::new();
    for (source, revision, state) in [
        ("revision", 3, "failed"),
        ("replay", 3, "unknown"),
        ("replay", 9, "failed"),
        ("revision", 4, "done"),
    ] {
        let batch = journal.batch_of(source, Some(revision), at(0));
        ids.push(journal.delivery_of(batch, "l@h", state, Some(at(1))));
    }
    let found = |journal: &Journal, path: &str| journal.troubled_of_revisions(path, 1, 5);
    assert_eq!(found(&journal, "/svn/x"), Ok(ids[..2].to_vec()));
    assert_eq!(found(&journal, "/svn/y"), Ok(vec![]));
    assert_eq!(journal.failed_at("h"), Ok(vec![ids[0], ids[2]]));
    assert_eq!(journal.failed_at("other"), Ok(vec![]));
    journal.dismiss(ids[0], at(2)).expect("decided");
    assert_eq!(found(&journal, "/svn/x"), Ok(ids[1..2].to_vec()));
    assert_eq!(journal.failed_at("h"), Ok(vec![ids[2]]));
}
