//! The journal file over the versions of the program.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;

use auto_dispatcher::domain::delivery::State;
use rusqlite::Connection;

use super::Pipeline;

/// A journal as the first version made it, with a delivery in it. Never changed, for such files are out there.
const VERSION_1: &str = include_str!("../../cases/journal/version-1.sql");

fn make_journal(pipeline: &Pipeline) -> Connection {
    let state = pipeline.state();
    DirBuilder::new().mode(0o700).create(&state).expect("mkdir");
    Connection::open(state.join("journal.sqlite")).expect("SQLite")
}

#[test]
fn a_journal_of_version_1_opens_and_shows_what_it_holds() {
    let pipeline = Pipeline::bare();
    let connection = make_journal(&pipeline);
    connection.execute_batch(VERSION_1).expect("a journal");
    drop(connection);
    let rows = pipeline.history();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (&rows[0]["package"], &rows[0]["state"]),
        (&"app-1.tar".into(), &"failed".into())
    );
    assert_eq!(rows[0]["exit_status"], 7);
    assert_eq!(rows[0]["settled_at"], "2026-02-03T04:05:07.000Z");
    let shown = pipeline.show(&rows[0]);
    assert_eq!(shown["attempt_list"][0]["output"], "no such group\n");
    assert_eq!(shown["install_command"], "./install.sh");
    let status = pipeline.status();
    assert!(
        status
            .iter()
            .any(|row| row["error"] == "there is no rules file"),
        "{status:?}"
    );
    // A worker goes on with what is open: the terms that were frozen then are understood.
    let worker = pipeline.spawn(&["worker"]);
    let row = pipeline.awaits("app-2.tar", State::Waiting);
    assert!(
        row["error"].as_str().unwrap().contains("/svn/packages"),
        "{row}"
    );
    worker.kill();
}

#[test]
fn a_journal_of_a_newer_version_is_refused_and_left_alone() {
    let pipeline = Pipeline::bare();
    let connection = make_journal(&pipeline);
    connection
        .execute_batch("CREATE TABLE of_tomorrow (x); PRAGMA user_version = 99")
        .expect("a journal");
    drop(connection);
    let path = pipeline.state().join("journal.sqlite");
    let before = std::fs::read(&path).expect("the journal");
    for args in [vec!["history"], vec!["hook", pipeline.repository(), "1"]] {
        let ran = pipeline.ad(&args).exits(5);
        assert!(
            ran.stderr.contains("newer auto-dispatcher (version 99"),
            "{ran}"
        );
    }
    assert!(std::fs::read(&path).expect("the journal") == before);
}

#[test]
fn a_file_that_is_no_journal_is_refused() {
    let pipeline = Pipeline::bare();
    drop(make_journal(&pipeline));
    pipeline.env.write(
        "state/journal.sqlite",
        "something else entirely ".repeat(500),
    );
    let ran = pipeline.ad(&["status"]).exits(5);
    assert!(
        ran.stderr.contains("journal.sqlite") && ran.stderr.contains("not a database"),
        "{ran}"
    );
}

#[test]
fn ten_first_hooks_at_once_all_record() {
    let pipeline = Pipeline::bare();
    for revision in 1..=10_u8 {
        pipeline.commit(&[("trunk/app", &[revision])]);
    }
    let revisions: Vec<String> = (1..=10).map(|revision: u8| revision.to_string()).collect();
    let mut hooks: Vec<_> = revisions
        .iter()
        .map(|revision| pipeline.spawn(&["hook", pipeline.repository(), revision]))
        .collect();
    for hook in &mut hooks {
        assert_eq!(hook.ends(), Some(0));
    }
    let recorded = pipeline.sql("SELECT revision FROM batches ORDER BY revision");
    assert_eq!(recorded, (1..=10).map(Some).collect::<Vec<_>>());
}
