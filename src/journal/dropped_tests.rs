//! Tests of the memory of drop directories.

use std::path::Path;

use super::fixture::{at, journal};
use super::{Dropped, Journal, PlannedBatch, Source};
use crate::domain::change::{Action, Change};
use crate::domain::drop_directory::FileStamp;
use crate::domain::plan::Plan;

const DIRECTORY: &str = "/srv/in";

fn stamp(number: u64) -> FileStamp {
    FileStamp {
        // What SQLite has no number for.
        device: u64::MAX,
        inode: u64::MAX - number,
        size: number,
        modified_ns: -5,
        changed_ns: 7,
    }
}

fn record(journal: &mut Journal, directory: i64, path: &str, number: u64) -> i64 {
    let changes = [Change {
        path: path.to_owned(),
        action: Action::Added,
        skipped: None,
    }];
    let batch = PlannedBatch {
        source: Source::Directory,
        replayed: None,
        is_part: false,
        directory: Some(Path::new(DIRECTORY)),
        author: None,
        rules_file: None,
        netrc_file: None,
        stamp: "s",
        changes: &changes,
        artifacts: &[],
        plan: &Plan::default(),
    };
    let dropped = Dropped {
        directory,
        path,
        stamp: stamp(number),
        sha256: Some("abc"),
        leaves: true,
        batch,
    };
    journal.record_dropped(&[dropped], at(0)).expect("recorded")[0]
}

fn known(journal: &Journal, directory: i64) -> Vec<(String, FileStamp)> {
    let mut files = Vec::new();
    journal
        .each_known_file(directory, &mut |path, stamp| {
            files.push((path.to_owned(), stamp));
        })
        .expect("read");
    files.sort_by(|one, other| one.0.cmp(&other.0));
    files
}

#[test]
fn stock_is_remembered_until_it_is_forgotten() {
    let (_dir, mut journal) = journal();
    let path = Path::new(DIRECTORY);
    let row = journal.drop_directory(path, at(0)).expect("a directory");
    assert_eq!((row.stocked_at, row.first_at), (None, at(0)));
    let files = [("a".to_owned(), stamp(1)), ("s/b".to_owned(), stamp(2))];
    journal.take_stock(row.id, &files).expect("stock");
    record(&mut journal, row.id, "c", 3);
    journal.end_stock_taking(row.id, at(9)).expect("ended");
    let again = journal.drop_directory(path, at(5)).expect("a directory");
    assert_eq!(
        (again.stocked_at, again.first_at, again.files),
        (Some(at(9)), at(0), 3)
    );
    assert_eq!(
        known(&journal, row.id)[..2],
        [files[0].clone(), ("c".to_owned(), stamp(3))]
    );
    journal.forget_stock(row.id).expect("forgotten");
    assert_eq!(known(&journal, row.id), [("c".to_owned(), stamp(3))]);
    assert!(journal.forget_drop_directory(path).expect("forgotten"));
    assert!(!journal.forget_drop_directory(path).expect("nothing"));
    assert!(known(&journal, row.id).is_empty());
}

#[test]
fn a_file_that_went_is_known_for_a_while_and_then_no_more() {
    let (_dir, mut journal) = journal();
    let directory = journal
        .drop_directory(Path::new(DIRECTORY), at(0))
        .expect("one")
        .id;
    record(&mut journal, directory, "a", 1);
    journal
        .note_gone(directory, &["a".to_owned()], at(10))
        .expect("noted");
    assert!(known(&journal, directory).is_empty());
    let row = journal
        .dropped_at(directory, "a")
        .expect("read")
        .expect("known");
    assert!(journal.prune_dropped(at(10)).expect("pruned"));
    // Found again, elsewhere.
    assert_eq!(
        journal
            .dropped_elsewhere(directory, "s/a", 1)
            .expect("read"),
        std::slice::from_ref(&row)
    );
    journal
        .see_dropped_again(&[(row.id, "s/a".to_owned(), stamp(1))], at(12))
        .expect("noted");
    assert_eq!(known(&journal, directory), [("s/a".to_owned(), stamp(1))]);
    journal
        .note_gone(directory, &["s/a".to_owned()], at(20))
        .expect("noted");
    assert!(journal.prune_dropped(at(21)).expect("pruned"));
    assert_eq!(journal.dropped_at(directory, "s/a").expect("read"), None);
}

#[test]
fn only_what_is_delivered_everywhere_leaves() {
    let (_dir, mut journal) = journal();
    let directory = journal
        .drop_directory(Path::new(DIRECTORY), at(0))
        .expect("one")
        .id;
    let names = |journal: &Journal| -> Vec<String> {
        let ready = journal.ready_to_leave(directory).expect("read");
        ready.into_iter().map(|row| row.path).collect()
    };
    for (number, (path, states)) in (1..).zip([
        ("all", &["done", "done"][..]),
        ("some", &["done", "failed"]),
        ("open", &["done", "waiting"]),
        ("nobody", &[]),
    ]) {
        let batch = record(&mut journal, directory, path, number);
        // Without deliveries in its plan nothing leaves.
        assert!(names(&journal).iter().all(|name| name == "all"));
        journal.sql(&format!(
            "UPDATE dropped SET leaves = 1 WHERE batch_id = {batch}"
        ));
        for state in states {
            journal.sql(&format!(
                "INSERT INTO deliveries (batch_id, package_id, package, rule, rule_line, lane, host, login, ssh_port,
                   ftp_port, dest_dir, connection, service, stops_lane, state, step, queued_at)
                 SELECT {batch}, id, 'p', 'r', 1, 'l', 'h', 'u', 22, 21, 'd', '{{}}', '{{}}', 0, '{state}', 'export', 0
                 FROM packages WHERE batch_id = {batch}"
            ));
        }
    }
    assert_eq!(names(&journal), ["all"]);
    let row = journal.ready_to_leave(directory).expect("read").remove(0);
    journal.forget_dropped(row.id).expect("forgotten");
    assert!(names(&journal).is_empty());
}

#[test]
fn what_a_file_holds_is_noted_only_while_it_looks_the_same() {
    let (_dir, mut journal) = journal();
    let directory = journal
        .drop_directory(Path::new(DIRECTORY), at(0))
        .expect("one")
        .id;
    let files = [("a".to_owned(), stamp(1)), ("b".to_owned(), stamp(2))];
    journal.take_stock(directory, &files).expect("stock");
    let found = journal.undigested(directory, 0, 9).expect("read");
    assert_eq!(found.len(), 2);
    let touched = FileStamp {
        changed_ns: 8,
        ..stamp(2)
    };
    journal
        .see_dropped_again(&[(found[1].id, "b".to_owned(), touched)], at(1))
        .expect("noted");
    let digests: Vec<_> = found
        .into_iter()
        .map(|file| (file, "d".to_owned()))
        .collect();
    journal.note_digests(&digests).expect("noted");
    let digest = |path: &str| journal.dropped_at(directory, path).unwrap().unwrap().sha256;
    assert_eq!((digest("a"), digest("b")), (Some("d".to_owned()), None));
}

#[test]
fn files_that_change_places_are_both_known_afterwards_and_so_is_what_they_displace() {
    let (_dir, mut journal) = journal();
    let directory = journal
        .drop_directory(Path::new(DIRECTORY), at(0))
        .expect("one")
        .id;
    for (path, number) in [("a/x", 1), ("b/x", 2), ("c/x", 3)] {
        record(&mut journal, directory, path, number);
    }
    let id =
        |journal: &Journal, path: &str| journal.dropped_at(directory, path).unwrap().unwrap().id;
    let (a, b) = (id(&journal, "a/x"), id(&journal, "b/x"));
    let files = [
        (a, "b/x".to_owned(), stamp(1)),
        (b, "c/x".to_owned(), stamp(2)),
    ];
    journal.see_dropped_again(&files, at(1)).expect("noted");
    assert_eq!(
        known(&journal, directory),
        [("b/x".to_owned(), stamp(1)), ("c/x".to_owned(), stamp(2))]
    );
    let displaced = journal
        .dropped_elsewhere(directory, "d/x", 3)
        .expect("read");
    assert_eq!(displaced.len(), 1, "c/x may come back elsewhere");
}
