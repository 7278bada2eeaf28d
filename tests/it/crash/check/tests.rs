//! The checker itself: a world where a promise is broken is complained of.

use super::*;

/// Two commits, all well: `a-ok-1` in both, `a-bad-2` in the second.
fn well() -> Found {
    let delivery = |id, batch, package: &str, state: &str, exit_status| Delivery {
        id,
        batch,
        package: package.to_owned(),
        place: 0,
        state: state.to_owned(),
        exit_status: Some(exit_status),
        error: None,
        runs: 1,
        is_dismissed: false,
    };
    let batch = |id, revision| Batch {
        id,
        source: "revision".to_owned(),
        revision: Some(revision),
        state: "planned".to_owned(),
        is_pruned: false,
    };
    let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
    let lines = ["1 a-ok-1 1", "2 a-bad-2 2", "3 a-ok-1 2"];
    Found {
        commits: vec![
            Commit {
                revision: 1,
                files: vec![file("a-ok-1", b"old")],
            },
            Commit {
                revision: 2,
                files: vec![
                    file("a-ok-1", b"new"),
                    file("a-bad-2", b"bad"),
                    file("z-ok-3", b""),
                ],
            },
        ],
        batches: vec![batch(1, 1), batch(2, 2)],
        deliveries: vec![
            delivery(1, 1, "a-ok-1", "done", 0),
            delivery(2, 2, "a-bad-2", "failed", 7),
            delivery(3, 2, "a-ok-1", "done", 0),
        ],
        places: vec![Seen {
            files: [file("a-ok-1", b"new"), file("a-bad-2", b"bad")].into(),
            records: Vec::new(),
            lines: lines
                .iter()
                .flat_map(|line| [format!("begin {line}"), format!("end {line}")])
                .collect(),
        }],
        ..Found::default()
    }
}

fn wrongs(spoil: impl FnOnce(&mut Found)) -> Vec<Wrong> {
    let mut found = well();
    spoil(&mut found);
    complaints(&found)
        .iter()
        .map(|complaint| complaint.wrong)
        .collect()
}

#[test]
fn a_world_where_all_is_well_is_not_complained_of() {
    assert_eq!(wrongs(|_| {}), []);
}

#[test]
fn every_broken_promise_is_noticed() {
    use Wrong::{Double, Half, Leftover, Loss, Unsettled};
    assert_eq!(wrongs(|f| drop(f.batches.remove(0)))[0], Loss);
    assert_eq!(wrongs(|f| f.batches.push(f.batches[1].clone()))[0], Double);
    assert_eq!(wrongs(|f| drop(f.deliveries.remove(0))), [Loss]);
    assert_eq!(
        wrongs(|f| f.deliveries.push(f.deliveries[2].clone())),
        [Double]
    );
    assert_eq!(
        wrongs(|f| f.deliveries[2].package = "a-ok-9".to_owned())[..2],
        [Loss, Double]
    );
    for state in ["running", "queued", "waiting", "unknown", "failed"] {
        assert_eq!(
            wrongs(|f| f.deliveries[2].state = state.to_owned()),
            [Unsettled]
        );
    }
    assert_eq!(wrongs(|f| f.deliveries[1].exit_status = None), [Unsettled]);
    assert_eq!(
        wrongs(|f| f.batches[1].state = "plan_failed".to_owned()),
        [Unsettled]
    );
    let file = |f: &mut Found, bytes: &[u8]| {
        f.places[0]
            .files
            .insert("a-ok-1".to_owned(), bytes.to_vec());
    };
    assert_eq!(wrongs(|f| file(f, b"ne")), [Half]);
    assert_eq!(wrongs(|f| file(f, b"old")), [Half]);
    assert_eq!(wrongs(|f| drop(f.places[0].files.remove("a-ok-1"))), [Loss]);
    let temporary =
        |f: &mut Found| drop(f.places[0].files.insert(".ad-1-1.part".to_owned(), vec![]));
    assert_eq!(wrongs(temporary), [Leftover]);
    let record = wrongs(|f| f.places[0].records.push("1-1-1".to_owned()));
    assert_eq!(record, [Leftover]);
    let in_spool = |bytes: &[u8]| wrongs(|f| f.spool.push(Digester::of(bytes)));
    assert_eq!(in_spool(b"bad"), []);
    assert_eq!(in_spool(b"new"), [Leftover]);
    assert_eq!(
        wrongs(|f| f.leftovers.push("incoming-1".to_owned())),
        [Leftover]
    );
}

#[test]
fn every_broken_promise_about_installs_is_noticed() {
    use Wrong::{Double, Loss, Order};
    let lines = |spoil: fn(&mut Vec<String>)| wrongs(|f| spoil(&mut f.places[0].lines));
    assert!(lines(|lines| lines.extend_from_within(4..)).contains(&Double));
    assert_eq!(lines(|lines| lines.truncate(4)), [Loss, Loss]);
    assert_eq!(lines(|lines| lines.truncate(5)), [Loss]);
    assert_eq!(lines(|lines| lines.rotate_left(2)), [Order]);
    assert_eq!(lines(|lines| lines.swap(1, 2)), [Order, Order]);
    let file = |f: &mut Found| f.deliveries[1].package = "a-file-2".to_owned();
    assert!(wrongs(file).contains(&Loss));
    assert!(wrongs(|f| f.commits[1].revision = 0).contains(&Loss));
    assert!(wrongs(|f| f.deliveries.swap(0, 2)).is_empty());
    assert!(wrongs(|f| f.batches[0].revision = Some(3)).contains(&Order));
}

#[test]
fn what_the_operator_asked_for_is_owed_and_no_more() {
    use Wrong::{Double, Half, Leftover, Loss, Unsettled};
    let retry = |f: &mut Found| f.asked.retries.extend([(2, 1)]);
    let again = |f: &mut Found| {
        f.deliveries[1].runs = 2;
        let lines = f.places[0].lines[2..4].to_vec();
        f.places[0].lines.extend(lines);
    };
    assert!(wrongs(again).contains(&Double));
    let retried = |f: &mut Found| {
        retry(f);
        again(f);
    };
    assert_eq!(wrongs(retried), []);
    let lost = wrongs(|f| {
        retry(f);
        f.deliveries[1].runs = 2;
    });
    assert_eq!(lost, [Loss, Loss]);
    let cancelled = |f: &mut Found| "cancelled".clone_into(&mut f.deliveries[2].state);
    assert_eq!(wrongs(cancelled), [Unsettled]);
    let cancels = |f: &mut Found| {
        cancelled(f);
        f.asked.cancels.insert(3);
    };
    assert_eq!(wrongs(cancels), []);
    let old = |f: &mut Found| {
        f.places[0].lines.truncate(4);
        f.places[0]
            .files
            .insert("a-ok-1".to_owned(), b"old".to_vec());
    };
    assert_eq!(wrongs(|f| (cancels(f), old(f)).0), []);
    assert_eq!(wrongs(old), [Half, Loss, Loss]);
    let dismissed = |f: &mut Found| {
        f.deliveries[1].is_dismissed = true;
        f.spool.push(Digester::of(b"bad"));
    };
    assert_eq!(wrongs(dismissed), [Loss, Leftover]);
    let shortened = |f: &mut Found| {
        f.batches[0].is_pruned = true;
        f.deliveries.remove(0);
    };
    assert!(wrongs(shortened).contains(&Loss));
    let prunes = |f: &mut Found| {
        shortened(f);
        f.prunes = true;
    };
    assert_eq!(wrongs(prunes), []);
    let twice = wrongs(|f| {
        prunes(f);
        f.places[0].lines.push("begin 9 a-ok-1 1".to_owned());
        f.places[0].lines.push("end 9 a-ok-1 1".to_owned());
    });
    assert_eq!(twice, [Double, Double]);
}
