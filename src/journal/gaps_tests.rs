//! The ledger's gaps, and what the operator closes of them.

use std::path::Path;

use chrono::{DateTime, Duration, Utc};

use super::{
    Dismissal, DismissedRevisions, Journal, LedgerRow, Missing, NewBatch, Origin, PlannedBatch,
    Recorded, Source,
};
use crate::domain::plan::Plan;
use crate::error::Error;

pub(super) const UUID: &str = "5b1b9a5e-0000-4000-8000-000000000001";
pub(super) const OTHER: &str = "5b1b9a5e-0000-4000-8000-000000000002";
pub(super) const PATH: &str = "/svn/packages";

pub(super) struct Ledger {
    pub journal: Journal,
    pub now: DateTime<Utc>,
    _dir: tempfile::TempDir,
}

pub(super) fn ledger() -> Ledger {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(&dir.path().join("journal.sqlite")).expect("a journal");
    let now = Utc::now();
    Ledger {
        journal,
        now,
        _dir: dir,
    }
}

pub(super) fn named(uuid: &str, revision: u64) -> NewBatch<'_> {
    NewBatch {
        repository: Path::new(PATH),
        uuid,
        revision,
        rules_file: Some(Path::new("/etc/rules.cfg")),
        netrc_file: None,
    }
}

impl Ledger {
    pub(super) fn hook(&mut self, revision: u64) -> Recorded {
        self.hook_of(UUID, revision)
    }

    pub(super) fn hook_of(&mut self, uuid: &str, revision: u64) -> Recorded {
        let new = named(uuid, revision);
        self.journal
            .record_revision(&new, self.now)
            .expect("recorded")
    }

    /// What a planner does with the next batch; the revisions that it takes, in order.
    pub(super) fn plan(&mut self, most: u64) -> Vec<u64> {
        let mut planned = Vec::new();
        while let Some(batch) = self.journal.next_unplanned(1, self.now).expect("read") {
            let probed = self.journal.missing_below(batch.id).expect("read");
            let filled = self
                .journal
                .fill_gap(batch.id, most, self.now)
                .expect("filled");
            assert_eq!(probed == 0, filled == Missing::Nothing);
            if matches!(filled, Missing::Recorded(_)) {
                continue;
            }
            let plan = Plan::default();
            let origin = Origin::default();
            let written = self
                .journal
                .settle_plan(batch.id, origin, &[], &plan, self.now);
            assert!(written.expect("planned"));
            planned.push(batch.revision.expect("a revision"));
        }
        planned
    }

    pub(super) fn gaps(&self) -> Vec<(u64, u64)> {
        let gaps = self.journal.gaps().expect("gaps");
        gaps.iter().map(|gap| (gap.low, gap.high)).collect()
    }

    fn rows(&self, query: &str) -> Vec<(u64, u64)> {
        let mut statement = self.journal.connection.prepare(query).expect("SQL");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.expect("rows").collect::<Result<_, _>>().expect("rows")
    }

    fn closed(&self) -> Vec<(u64, u64)> {
        self.rows("SELECT low, high FROM gaps WHERE dismissed_at IS NOT NULL ORDER BY low")
    }

    fn replay(&mut self, revisions: std::ops::RangeInclusive<u64>) {
        self.replay_some(revisions, false);
    }

    fn replay_some(&mut self, revisions: std::ops::RangeInclusive<u64>, is_part: bool) {
        let plan = Plan::default();
        let new: Vec<PlannedBatch<'_>> = revisions
            .map(|revision| PlannedBatch {
                source: Source::Replay,
                replayed: Some(named(UUID, revision)),
                is_part,
                directory: None,
                author: None,
                rules_file: None,
                netrc_file: None,
                stamp: "",
                changes: &[],
                artifacts: &[],
                plan: &plan,
            })
            .collect();
        self.journal
            .record_planned(&new, self.now)
            .expect("recorded");
    }

    fn dismiss(&mut self, low: u64, high: u64) -> DismissedRevisions {
        let what = Dismissal {
            repository: Path::new(PATH),
            uuid: Some(UUID),
            youngest: Some(10_000),
            low,
            high,
        };
        self.journal
            .dismiss_revisions(&what, self.now)
            .expect("dismissed")
    }

    fn catch_up(&mut self, youngest: u64, most: u64) -> Missing {
        let [ledger]: [LedgerRow; 1] = self
            .journal
            .ledgers()
            .expect("read")
            .try_into()
            .expect("one");
        self.journal
            .catch_up(&ledger, youngest, most, self.now)
            .expect("caught up")
    }
}

#[test]
fn a_small_gap_is_filled_in_order_and_nothing_below_the_beginning_is() {
    let mut ledger = ledger();
    ledger.hook(10);
    ledger.hook(14);
    // Late, and below the beginning: that says nothing about those between.
    ledger.hook(5);
    assert_eq!(ledger.plan(3), [5, 10, 11, 12, 13, 14]);
    ledger.hook(12);
    ledger.hook(20);
    assert_eq!(ledger.plan(5), [15, 16, 17, 18, 19, 20]);
    assert_eq!(ledger.gaps(), []);
}

#[test]
fn a_large_gap_is_kept_once_and_the_revision_above_it_goes_on_at_once() {
    let mut ledger = ledger();
    ledger.hook(100);
    ledger.hook(5001);
    assert_eq!(ledger.plan(100), [100, 5001]);
    assert_eq!(ledger.gaps(), [(101, 5000)]);
    let noticed = ledger.journal.gaps().expect("gaps")[0].noticed_at;
    assert_eq!(noticed.timestamp_millis(), ledger.now.timestamp_millis());
    // A late hook cuts the range: what lies on either side is not dispatched unasked.
    ledger.hook(200);
    assert_eq!(ledger.plan(100), [200]);
    assert_eq!(ledger.gaps(), [(101, 199), (201, 5000)]);
    ledger.hook(101);
    ledger.hook(150);
    ledger.hook(5000);
    ledger.hook(5003);
    assert_eq!(ledger.plan(100), [101, 150, 5000, 5002, 5003]);
    let expected = [(102, 149), (151, 199), (201, 4999)];
    assert_eq!(ledger.gaps(), expected);
    assert!(!ledger.hook(150).is_new);
    assert_eq!(ledger.gaps(), expected);
}

#[test]
fn a_gap_of_a_million_revisions_is_one_row() {
    let mut ledger = ledger();
    ledger.hook(1);
    ledger.hook(1_000_002);
    assert_eq!(ledger.plan(100), [1, 1_000_002]);
    assert_eq!(ledger.dismiss(5, 1_000_000).gaps, [(5, 1_000_000)]);
    assert_eq!(ledger.gaps(), [(2, 4), (1_000_001, 1_000_001)]);
    let rows = ledger.rows("SELECT (SELECT count(*) FROM batches), (SELECT count(*) FROM gaps)");
    assert_eq!(rows, [(2, 3)]);
}

#[test]
fn a_replay_inside_a_gap_closes_that_part_for_good() {
    let mut ledger = ledger();
    ledger.hook(1);
    ledger.hook(300);
    assert_eq!(ledger.plan(100), [1, 300]);
    ledger.replay(100..=120);
    assert_eq!(ledger.gaps(), [(2, 99), (121, 299)]);
    assert_eq!(ledger.closed(), [(100, 120)]);
    // A late hook right above: what was replayed is not dispatched again.
    ledger.hook(121);
    assert_eq!(ledger.plan(100), [121]);
    // Named by its own hook it is recorded, and stays undispatched.
    let late = ledger.hook(110);
    assert!(late.is_new && late.is_dismissed);
    assert!(ledger.plan(100).is_empty());
    ledger.replay(2..=99);
    ledger.replay(122..=299);
    assert_eq!(ledger.gaps(), []);
    ledger.replay(300..=300);
    assert_eq!(ledger.closed(), [(2, 99), (100, 120), (122, 299)]);
}

#[test]
fn a_replay_of_some_packages_leaves_the_rest_to_the_operator() {
    let mut ledger = ledger();
    ledger.hook(1);
    ledger.hook(300);
    ledger.plan(100);
    ledger.replay_some(100..=120, true);
    assert_eq!(ledger.gaps(), [(2, 299)]);
    let late = ledger.hook(110);
    assert!(late.is_new && !late.is_dismissed);
    assert_eq!(ledger.plan(100), [110]);
}

#[test]
fn what_is_dismissed_is_not_dispatched_however_the_range_is_cut_later() {
    let mut ledger = ledger();
    ledger.hook(100);
    ledger.hook(5001);
    ledger.plan(100);
    let done = ledger.dismiss(1000, 9000);
    // The last ones were never recorded, and stay undispatched when they are.
    let expected = DismissedRevisions {
        is_known: true,
        batches: 0,
        gaps: vec![(1000, 5000)],
        unrecorded: vec![(5002, 9000)],
    };
    assert_eq!(done, expected);
    assert_eq!(ledger.gaps(), [(101, 999)]);
    assert_eq!(
        ledger.dismiss(1000, 9000),
        DismissedRevisions {
            is_known: true,
            ..Default::default()
        }
    );
    assert!(ledger.hook(2000).is_dismissed);
    assert!(ledger.hook(6000).is_dismissed);
    assert!(!ledger.hook(9002).is_dismissed);
    assert_eq!(ledger.plan(100), [9001, 9002]);
    assert_eq!(ledger.catch_up(9004, 100), Missing::Recorded(2));
    assert_eq!(ledger.plan(100), [9003, 9004]);
}

#[test]
fn a_dismissed_revision_holds_up_nothing_and_leaves_those_around_it() {
    let mut ledger = ledger();
    let broken = ledger.hook(1).batch;
    let later = ledger.now + Duration::hours(1);
    let error = Error::config("broken rules");
    ledger
        .journal
        .fail_plan(broken, &error, ledger.now, later)
        .expect("noted");
    ledger.hook(2);
    ledger.hook(6);
    assert!(ledger.plan(100).is_empty());
    let done = ledger.dismiss(1, 1);
    assert_eq!(
        (done.batches, done.gaps.len(), done.unrecorded.len()),
        (1, 0, 0)
    );
    // One that no hook has recorded yet, between others that none has either.
    assert_eq!(ledger.dismiss(4, 4).unrecorded, [(4, 4)]);
    assert_eq!(ledger.dismiss(8, 8).unrecorded, [(8, 8)]);
    assert_eq!(ledger.plan(100), [2, 3, 5, 6]);
    assert_eq!(ledger.catch_up(9, 100), Missing::Recorded(2));
    assert_eq!(ledger.plan(100), [7, 9]);
    let row = ledger
        .journal
        .batch(broken)
        .expect("read")
        .expect("a batch");
    assert_eq!(
        (row.state.as_str(), row.plan_error.as_deref()),
        ("planned", Some("broken rules"))
    );
    assert!(ledger.hook(1).is_dismissed);
    assert!(ledger.plan(100).is_empty());
}

#[test]
fn what_is_not_committed_yet_or_not_known_cannot_be_dismissed() {
    let mut ledger = ledger();
    assert!(!ledger.dismiss(1, 5).is_known);
    ledger.replay(1..=1);
    assert!(!ledger.dismiss(1, 5).is_known);
    ledger.hook(9_999);
    assert_eq!(ledger.dismiss(9_999, 20_000).unrecorded, [(10_000, 10_000)]);
    // The repository is gone: only what the ledger has can be closed.
    let gone = Dismissal {
        repository: Path::new(PATH),
        uuid: None,
        youngest: None,
        low: 1,
        high: 50_000,
    };
    let done = ledger
        .journal
        .dismiss_revisions(&gone, ledger.now)
        .expect("dismissed");
    assert_eq!((done.is_known, done.unrecorded), (true, vec![]));
}

#[test]
fn catching_up_records_what_is_missing_at_the_top_under_the_files_of_the_last() {
    let mut ledger = ledger();
    ledger.hook(10);
    assert_eq!(ledger.catch_up(10, 100), Missing::Nothing);
    // As a repository that was restored from an older copy shows it.
    assert_eq!(ledger.catch_up(7, 100), Missing::Nothing);
    assert_eq!(ledger.catch_up(12, 100), Missing::Recorded(2));
    assert!(!ledger.hook(12).is_new);
    let files: i64 = ledger
        .journal
        .connection
        .query_row(
            "SELECT count(*) FROM batches WHERE rules_file = '/etc/rules.cfg'",
            [],
            |row| row.get(0),
        )
        .expect("a number");
    assert_eq!(files, 3);
    assert_eq!(ledger.catch_up(500, 100), Missing::Gaps(vec![(13, 500)]));
    assert_eq!(ledger.catch_up(500, 100), Missing::Nothing);
    assert_eq!(ledger.catch_up(502, 100), Missing::Recorded(2));
    assert_eq!(ledger.plan(100), [10, 11, 12, 501, 502]);
    assert_eq!(ledger.gaps(), [(13, 500)]);
}

#[test]
fn many_that_come_in_pieces_without_any_hook_are_a_gap_like_any_other() {
    let mut ledger = ledger();
    ledger.hook(1);
    // As `svnadmin load` brings them while a worker looks.
    assert_eq!(ledger.catch_up(61, 100), Missing::Recorded(60));
    assert_eq!(ledger.catch_up(101, 100), Missing::Recorded(40));
    assert_eq!(ledger.catch_up(102, 100), Missing::Gaps(vec![(102, 102)]));
    // One gap, which grows and is told of once.
    assert_eq!(ledger.catch_up(150, 100), Missing::Gaps(vec![]));
    assert_eq!(ledger.gaps(), [(102, 150)]);
    // A hook that names one of them shows that hooks come.
    assert!(!ledger.hook(101).is_new);
    assert_eq!(ledger.catch_up(152, 100), Missing::Recorded(2));
    assert_eq!(ledger.gaps(), [(102, 150)]);
    ledger.hook(260);
    let planned = ledger.plan(100);
    assert_eq!(planned.len(), 1 + 60 + 40 + 2 + 1);
    assert_eq!(ledger.gaps(), [(102, 150), (153, 259)]);
}

#[test]
fn a_repository_whose_hook_was_never_seen_is_not_caught_up_with() {
    let mut ledger = ledger();
    ledger.replay(3..=3);
    assert_eq!(ledger.journal.ledgers().expect("read"), []);
    let forged = LedgerRow {
        id: 1,
        path: PATH.into(),
        uuid: UUID.to_owned(),
    };
    let missing = ledger.journal.catch_up(&forged, 9, 100, ledger.now);
    assert_eq!(missing.expect("read"), Missing::Nothing);
}

#[test]
fn one_repository_does_not_wait_for_another() {
    let mut ledger = ledger();
    let first = ledger.hook(1).batch;
    let other = NewBatch {
        repository: Path::new("/svn/other"),
        ..named(OTHER, 7)
    };
    let second = ledger
        .journal
        .record_revision(&other, ledger.now)
        .expect("recorded")
        .batch;
    let outlook = ledger
        .journal
        .unplanned_outlook(ledger.now)
        .expect("an outlook");
    assert_eq!((outlook.count, outlook.due), (2, vec![1, 2]));
    let next = |id| {
        ledger
            .journal
            .next_unplanned(id, ledger.now)
            .expect("read")
            .map(|row| row.id)
    };
    assert_eq!((next(1), next(2)), (Some(first), Some(second)));
}

#[test]
fn what_version_1_left_out_is_a_gap_of_version_2() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("journal.sqlite");
    let mut old = rusqlite::Connection::open(&path).expect("SQLite");
    super::schema::migrations()
        .to_version(&mut old, 1)
        .expect("version 1");
    old.execute_batch(
        "INSERT INTO repositories VALUES (1, 'u', '/svn/packages', 10, 0);
         INSERT INTO batches (source, repository_id, revision, stamp, recorded_at, state) VALUES
           ('revision', 1, 300, '', 5, 'planned'), ('revision', 1, 10, '', 0, 'planned'),
           ('revision', 1, 5, '', 0, 'planned'), ('revision', 1, 301, '', 0, 'planned'),
           ('revision', 1, 304, '', 0, 'recorded'), ('replay', 1, 20, '', 0, 'planned')",
    )
    .expect("rows");
    drop(old);
    let gaps = Journal::open(&path)
        .expect("a journal")
        .gaps()
        .expect("gaps");
    let found: Vec<_> = gaps.iter().map(|gap| (gap.low, gap.high)).collect();
    assert_eq!(found, [(11, 299)]);
    assert_eq!(gaps[0].noticed_at.timestamp_millis(), 5);
}
