//! A damaged journal: told as such, with a way out that works; never a panic, never a success that recorded
//! nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use rustix::process::Signal;

use super::host::Host;
use super::{Pipeline, field, holds, processes_of, signal};
use crate::servers::mounts::Mounted;
use crate::testenv::{Ran, run_under};

const FILES: [&str; 3] = ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"];

/// Ends every worker, at once.
fn end_workers(pipeline: &Pipeline) {
    for pid in processes_of(&pipeline.env.root().to_string_lossy()) {
        signal(pid, Signal::KILL);
    }
    while !processes_of(&pipeline.env.root().to_string_lossy()).is_empty() {
        std::thread::yield_now();
    }
}

/// A journal with a history, as a machine leaves it that is switched off: what was last written lies in the log.
fn journal_with_a_history(host: &Host) -> (Pipeline, PathBuf) {
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app").with("retries", 0)]);
    for n in 1..=3_u8 {
        pipeline.commit(&[
            (&format!("app-{n}"), &[n]),
            (&format!("dir-{n}/app"), &[n]),
            (&format!("nobody's-{n}"), &[n]),
        ]);
        pipeline
            .ad(&["hook", pipeline.repository(), &n.to_string()])
            .exits(0);
        pipeline.settled(usize::from(n) * 2);
    }
    // One that no hook has recorded.
    pipeline.commit(&[("app-4", b"4")]);
    // Somebody has it open, so that the worker's end does not fold the log into the file.
    let open = Connection::open(pipeline.state().join(FILES[0])).expect("SQLite");
    let rows: i64 = open
        .query_row("SELECT count(*) FROM deliveries", [], |row| row.get(0))
        .expect("rows");
    assert_eq!(rows, 6);
    end_workers(&pipeline);
    let kept = pipeline.env.path("kept");
    fs::create_dir(&kept).expect("mkdir");
    for name in &FILES[..2] {
        fs::copy(pipeline.state().join(name), kept.join(name)).expect("copy");
    }
    drop(open);
    (pipeline, kept)
}

fn put_back(pipeline: &Pipeline, kept: &Path) {
    end_workers(pipeline);
    for name in FILES {
        let _ = fs::remove_file(pipeline.state().join(name));
        if kept.join(name).exists() {
            fs::copy(kept.join(name), pipeline.state().join(name)).expect("copy");
        }
    }
    let _ = fs::remove_file(pipeline.state().join("auto-dispatcher.log"));
}

/// Damages one of the two files and says how.
fn damage(random: &mut fastrand::Rng, state: &Path) -> String {
    let mut name = FILES[random.usize(..2)];
    let mut bytes = fs::read(state.join(name)).expect("a file");
    if bytes.is_empty() {
        // Everything was written back from the log just before.
        name = FILES[0];
        bytes = fs::read(state.join(name)).expect("a file");
    }
    let path = state.join(name);
    let what = match random.u8(..4) {
        0 => {
            let length = random.usize(..bytes.len());
            bytes.truncate(length);
            format!("cut to {length}")
        }
        1 => {
            let page = random.usize(..bytes.len() / 4096);
            bytes[page * 4096..][..4096].fill(random.u8(..));
            format!("page {page} filled")
        }
        _ => {
            let at: Vec<usize> = (0..random.usize(1..20))
                .map(|_| random.usize(..bytes.len()))
                .collect();
            for &at in &at {
                bytes[at] ^= 1 << random.u8(..8);
            }
            format!("bits flipped at {at:?}")
        }
    };
    fs::write(&path, bytes).expect("write");
    format!("{name}, {what}")
}

/// Whether the revision is in the journal, asked by way of the table and of the index.
fn is_recorded(pipeline: &Pipeline, revision: u64) -> bool {
    let connection = Connection::open(pipeline.state().join(FILES[0])).expect("SQLite");
    ["NOT INDEXED", "INDEXED BY batches_ledger"]
        .iter()
        .any(|way| {
            let sql = format!(
                "SELECT count(*) FROM batches {way} WHERE source = 'revision' AND repository_id >= 0 AND revision = ?1"
            );
            connection
                .query_row(&sql, [revision], |row| row.get(0))
                .is_ok_and(|count: i64| count > 0)
        })
}

#[track_caller]
fn bears_it(what: &str, ran: &Ran, codes: &[i32]) {
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(!said.contains("panicked"), "{what}: {ran}");
    assert!(!said.contains("a bug in"), "{what}: {ran}");
    assert!(
        ran.code.is_some_and(|code| codes.contains(&code)),
        "{what}: {ran}"
    );
    if ran.code == Some(5) {
        assert!(ran.stderr.contains("journal.sqlite"), "{what}: {ran}");
    }
}

#[test]
fn no_damage_makes_anything_panic_or_say_success_and_record_nothing() {
    let mut host = Host::up();
    let (pipeline, kept) = journal_with_a_history(&host);
    host.stop();
    let seed = std::env::var("DAMAGE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let runs = std::env::var("DAMAGE_RUNS")
        .ok()
        .and_then(|runs| runs.parse().ok());
    let mut random = fastrand::Rng::with_seed(seed.unwrap_or(1));
    let (mut refused, mut went) = (0, 0);
    for run in 0..runs.unwrap_or(40) {
        put_back(&pipeline, &kept);
        let what = damage(&mut random, &pipeline.state());
        let what = format!("run {run}: {what}");
        for args in [&["status"][..], &["history", "--json"]] {
            bears_it(&what, &pipeline.ad(args), &[0, 5]);
        }
        let hook = pipeline.ad(&["hook", pipeline.repository(), "4"]);
        bears_it(&what, &hook, &[0, 5]);
        if hook.code == Some(0) {
            assert!(
                is_recorded(&pipeline, 4),
                "{what}: recorded nothing: {hook}"
            );
            went += 1;
        } else {
            refused += 1;
        }
        let ours = pipeline.command(&["worker", "--until-idle"]);
        let mut worker = Command::new("timeout");
        worker.args(["-s", "TERM", "-k", "30", "5"]);
        run_under(&mut worker, &ours);
        // 124: it was told to stop, and did.
        bears_it(&what, &Ran::of(&mut worker), &[0, 1, 5, 124]);
        let log = fs::read_to_string(pipeline.state().join("auto-dispatcher.log"));
        let log = log.unwrap_or_default();
        assert!(!log.contains("panicked"), "{what}: {log}");
    }
    end_workers(&pipeline);
    assert!(refused > 0 && went > 0, "refused {refused}, went {went}");
}

#[test]
fn the_way_out_of_a_damaged_journal_works_as_it_is_told() {
    let host = Host::up();
    let (pipeline, _) = journal_with_a_history(&host);
    pipeline.install_hook();
    let state = pipeline.state();
    let journal = state.join(FILES[0]);
    let connection = Connection::open(&journal).expect("SQLite");
    let rewritten =
        connection.pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(()));
    rewritten.expect("checkpoint");
    let page: usize = connection
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'batches_ledger'",
            [],
            |row| row.get(0),
        )
        .expect("a page");
    drop(connection);
    let mut bytes = fs::read(&journal).expect("the journal");
    bytes[(page - 1) * 4096..][..4096].fill(0xA5);
    fs::write(&journal, bytes).expect("write");
    // The committer hears of it.
    let committed = pipeline.commit(&[("app-5", b"5")]);
    assert!(
        committed.stdout.contains("r5") && committed.stdout.contains("damaged"),
        "{committed}"
    );
    let ran = pipeline.ad(&["worker", "--until-idle"]).exits(5);
    let shown = journal.display().to_string();
    for part in [
        "damaged".to_owned(),
        format!("stop the workers, move {shown}, {shown}-wal and {shown}-shm away"),
        "`replay` what was not delivered".to_owned(),
        "\"A damaged journal\" in README.md".to_owned(),
    ] {
        assert!(ran.stderr.contains(&part), "{part}: {ran}");
    }
    // As README tells.
    end_workers(&pipeline);
    let old = pipeline.env.path("old");
    fs::create_dir(&old).expect("mkdir");
    fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
    let mut moved = Command::new("sh");
    moved.args(["-c", "mv \"$1\"/journal.sqlite* \"$2\"", "sh"]);
    Ran::of(moved.arg(&state).arg(&old)).exits(0);
    let settings = format!("[auto-dispatcher]\nstate_dir = {}\n", old.display());
    pipeline.env.write("old/auto-dispatcher.cfg", settings);
    let rules = old.join("general-dispatch-info.cfg");
    let rules = rules.to_str().expect("UTF-8");
    let known = pipeline
        .env
        .run(&["--config", rules, "history", "--json"])
        .exits(0);
    assert_eq!(known.json().len(), 6, "what the old one still knows");
    pipeline.commit(&[("app-6", b"6")]);
    assert_eq!(field(&pipeline.settled(1), "package"), ["app-6"]);
    pipeline
        .ad(&["replay", pipeline.repository(), "4:5"])
        .exits(0);
    let rows = pipeline.settled(3);
    assert_eq!(field(&rows, "package"), ["app-6", "app-4", "app-5"]);
    assert_eq!(field(&rows, "state"), ["done"; 3]);
    holds(&host.file("in/app-5"), b"5");
}

#[test]
fn a_journal_cut_to_nothing_is_damaged_and_not_a_new_one() {
    let host = Host::up();
    let (pipeline, _) = journal_with_a_history(&host);
    for name in &FILES[1..] {
        let _ = fs::remove_file(pipeline.state().join(name));
    }
    fs::write(pipeline.state().join(FILES[0]), "").expect("write");
    let ran = pipeline.ad(&["hook", pipeline.repository(), "4"]).exits(5);
    assert!(ran.stderr.contains("damaged: it is empty"), "{ran}");
    let ran = pipeline.ad(&["history"]).exits(5);
    assert!(ran.stderr.contains("move"), "{ran}");
}

#[test]
fn the_log_of_a_journal_that_was_moved_away_is_not_taken_for_that_of_a_new_one() {
    let host = Host::up();
    let (pipeline, kept) = journal_with_a_history(&host);
    put_back(&pipeline, &kept);
    fs::remove_file(pipeline.state().join(FILES[0])).expect("remove");
    let ran = pipeline.ad(&["hook", pipeline.repository(), "4"]).exits(5);
    assert!(ran.stderr.contains("is missing, but its log"), "{ran}");
    fs::remove_file(pipeline.state().join(FILES[1])).expect("remove");
    pipeline.ad(&["hook", pipeline.repository(), "4"]).exits(0);
    assert_eq!(field(&pipeline.settled(1), "package"), ["app-4"]);
}

#[test]
fn a_journal_that_cannot_be_written_says_what_has_to_be_so() {
    crate::testenv::needs_root!();
    let host = Host::up();
    let (pipeline, kept) = journal_with_a_history(&host);
    put_back(&pipeline, &kept);
    let state = pipeline.state();
    let bound = Mounted::by(&["--bind", state.to_str().expect("UTF-8")], &state);
    bound.remount("bind,ro");
    let hook = pipeline.ad(&["hook", pipeline.repository(), "4"]);
    let history = pipeline.ad(&["history"]);
    drop(bound);
    let hook = hook.exits(5);
    assert!(hook.stderr.contains("journal.sqlite"), "{hook}");
    let history = history.exits(5);
    assert!(history.stderr.contains("mounted read-only"), "{history}");
}
