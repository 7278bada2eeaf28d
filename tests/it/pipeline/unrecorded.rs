//! A hook that cannot record: the commit stands, the committer sees one short line with the command that
//! repeats it, which works as it is printed, and the next hook or worker catches the revision up anyway.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use rusqlite::Connection;

use super::host::Host;
use super::{LIMIT, Pipeline, field, processes_of};
use crate::servers::mounts::Mounted;
use crate::testenv::{Ran, needs_root, wait_until};

/// What the hook of this commit said.
#[track_caller]
fn complaint(ran: &Ran, revision: u64) -> String {
    let mark = "post-commit hook failed (exit code 5) with output:\n";
    let said = ran.stdout.split_once(mark).map(|(_, said)| said.trim_end());
    let said = said.unwrap_or_else(|| panic!("no warning: {ran}"));
    is_one_line(said, revision);
    said.to_owned()
}

#[track_caller]
fn is_one_line(said: &str, revision: u64) {
    assert!(
        said.starts_with(&format!("auto-dispatcher: r{revision}: ")),
        "{said}"
    );
    assert!(
        said.bytes().all(|byte| matches!(byte, b' '..=b'~')),
        "{said}"
    );
    assert!(said.len() < 400, "short: {said}");
}

/// Types the command that a complaint names, literally, somewhere else and in a bare environment.
#[track_caller]
fn repeats(pipeline: &Pipeline, said: &str) {
    let (_, command) = said.split_once("; to repeat: ").expect("a command");
    let bin = pipeline.env.path("bin");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .env_clear()
        .env("HOME", pipeline.env.home())
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .current_dir("/");
    Ran::of(&mut shell).exits(0);
}

/// One revision recorded and delivered, and nobody at work.
fn with_one(host: &Host) -> Pipeline {
    let pipeline = Pipeline::new(&[host.rule("app")]);
    pipeline.commit(&[("app-1", b"x")]);
    pipeline.settled(1);
    pipeline.no_worker_lives();
    pipeline
}

#[track_caller]
fn all_are_done(pipeline: &Pipeline, expected: &[&str]) {
    let rows = pipeline.settled(expected.len());
    assert_eq!(field(&rows, "revision"), expected);
    assert_eq!(field(&rows, "state"), vec!["done"; expected.len()]);
}

#[test]
fn a_journal_that_is_locked_for_long_is_told_and_the_printed_command_records_it() {
    let host = Host::up();
    let pipeline = with_one(&host);
    let other = Connection::open(pipeline.state().join("journal.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let said = complaint(&pipeline.commit(&[("app-2", b"x")]), 2);
    assert!(said.contains("locked"), "{said}");
    assert_eq!(pipeline.svn.youngest(), 2);
    let third = complaint(&pipeline.commit(&[("app-3", b"x")]), 3);
    other.execute_batch("ROLLBACK").unwrap();
    // The third brings the second along, which is then recorded already.
    repeats(&pipeline, &third);
    all_are_done(&pipeline, &["1", "2", "3"]);
    repeats(&pipeline, &said);
    all_are_done(&pipeline, &["1", "2", "3"]);
}

/// A small file system under the state directory.
fn small_disk(pipeline: &Pipeline) -> Mounted {
    Mounted::disk(&pipeline.state(), "size=2m,mode=700")
}

#[test]
fn a_full_disk_is_told_and_the_next_hook_or_worker_catches_up() {
    needs_root!();
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    let _disk = small_disk(&pipeline);
    pipeline.commit(&[("app-1", b"x")]);
    pipeline.settled(1);
    pipeline.no_worker_lives();
    let ballast = pipeline.state().join("ballast");
    let fill = || {
        // Down to the last page.
        let mut file = fs::File::create(&ballast).unwrap();
        let mut size = 1024 * 1024;
        while size > 0 {
            if std::io::Write::write_all(&mut file, &vec![0; size]).is_err() {
                size /= 2;
            }
        }
    };
    fill();
    let said = complaint(&pipeline.commit(&[("app-2", b"x")]), 2);
    assert!(said.contains("journal"), "{said}");
    fs::remove_file(&ballast).unwrap();
    pipeline.commit(&[("app-3", b"x")]);
    all_are_done(&pipeline, &["1", "2", "3"]);
    pipeline.no_worker_lives();
    fill();
    let said = complaint(&pipeline.commit(&[("app-4", b"x")]), 4);
    fs::remove_file(&ballast).unwrap();
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    all_are_done(&pipeline, &["1", "2", "3", "4"]);
    repeats(&pipeline, &said);
    all_are_done(&pipeline, &["1", "2", "3", "4"]);
    pipeline.no_worker_lives();
}

#[test]
fn a_state_directory_that_cannot_be_written_is_told_and_the_printed_command_records_it() {
    needs_root!();
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    let disk = small_disk(&pipeline);
    pipeline.commit(&[("app-1", b"x")]);
    pipeline.settled(1);
    pipeline.no_worker_lives();
    disk.remount("ro");
    let said = complaint(&pipeline.commit(&[("app-2", b"x")]), 2);
    disk.remount("rw");
    repeats(&pipeline, &said);
    all_are_done(&pipeline, &["1", "2"]);
    pipeline.no_worker_lives();
}

#[test]
fn a_damaged_journal_is_told_and_its_mended_self_catches_up() {
    let host = Host::up();
    let pipeline = with_one(&host);
    let journal = pipeline.state().join("journal.sqlite");
    // Two who close it at the same moment leave the log to the next one.
    wait_until("all is in one file", LIMIT, || {
        pipeline.status();
        !journal.with_extension("sqlite-wal").exists()
    });
    let whole = fs::read(&journal).unwrap();
    let mut damaged = whole.clone();
    damaged[..2048].fill(b'#');
    fs::write(&journal, damaged).unwrap();
    let said = complaint(&pipeline.commit(&[("app-2", b"x")]), 2);
    assert!(said.contains("not a database"), "{said}");
    fs::write(&journal, whole).unwrap();
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    all_are_done(&pipeline, &["1", "2"]);
}

#[test]
fn the_printed_command_holds_what_the_hook_was_given_whatever_the_names_are() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.install_hook();
    fs::remove_file(pipeline.svn.repository.join("hooks/post-commit")).unwrap();
    let state = pipeline
        .env
        .write("the state", "a file, where the directory should be");
    let rules = host.rule("app").to_string();
    let config = pipeline.env.write("it's here/rules.cfg", rules);
    let settings = format!(
        "[auto-dispatcher]\nstate_dir = {}\nidle_exit = 1\n",
        state.display()
    );
    pipeline
        .env
        .write("it's here/auto-dispatcher.cfg", settings);
    let netrc = pipeline.env.write("net rc", "");
    pipeline.svn.write("app", "x");
    pipeline.svn.commit();
    let bin = pipeline.env.path("bin");
    for name in ["the repository", "包裹 100%", "new\nline"] {
        symlink(&pipeline.svn.repository, pipeline.env.path(name)).unwrap();
        let mut hook = pipeline.env.command();
        hook.current_dir(pipeline.env.root()).env("PATH", &bin);
        let mut by_environment = pipeline.env.command();
        by_environment.current_dir(pipeline.env.root());
        hook.args(["--config", "it's here/rules.cfg", "--netrc"])
            .arg(&netrc);
        by_environment.env("AUTO_DISPATCHER_CONFIG", &config);
        for command in [&mut hook, &mut by_environment] {
            let _ = fs::remove_dir_all(&state);
            fs::write(&state, "").unwrap();
            let ran = Ran::of(command.args(["hook", name, "1"])).exits(5);
            let said = ran.stderr.strip_suffix('\n').expect("a line");
            is_one_line(said, 1);
            fs::remove_file(&state).unwrap();
            repeats(&pipeline, said);
            let mode = fs::metadata(&state).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
            let mut worker = pipeline.env.command();
            worker
                .arg("--config")
                .arg(&config)
                .args(["worker", "--until-idle"]);
            Ran::of(&mut worker).exits(0);
            let journal = Connection::open(state.join("journal.sqlite")).unwrap();
            let count: i64 = journal
                .query_row(
                    "SELECT count(*) FROM deliveries WHERE state = 'done'",
                    [],
                    |row| row.get(0),
                )
                .unwrap();
            assert_eq!(count, 1, "{said}");
            wait_until("no worker lives", LIMIT, || {
                processes_of(&pipeline.env.root().to_string_lossy()).is_empty()
            });
        }
    }
}
