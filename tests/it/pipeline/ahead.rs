//! Exporting ahead: the small packages of a revision come out of one dump, and whatever is wrong with that, each comes
//! out of its repository all the same, with its own bytes.

use std::collections::HashMap;
use std::fs;

use auto_dispatcher::domain::artifact::Digester;
use auto_dispatcher::domain::delivery::State;

use rustix::process::Signal;

use super::host::Host;
use super::{Pipeline, field, holds, signal};
use crate::servers::svn::{fake_svnadmin, fake_svnlook};

/// A pipeline of which every call of svnlook and svnadmin is noted; `dump` is what svnadmin does.
fn listening(pipeline: &Pipeline, dump: &str, more: &str) {
    let calls = pipeline.env.path("calls");
    let note = format!("echo \"$1\" >> {}", calls.display());
    let env = &pipeline.env;
    let svnlook = fake_svnlook(env, "svnlook", &format!("{note}\nexec \"$SVNLOOK\" \"$@\""));
    let svnadmin = fake_svnadmin(env, "svnadmin", &format!("{note}\n{dump}"));
    pipeline.settings(&format!(
        "svnlook = {}\nsvnadmin = {}\n{more}",
        svnlook.display(),
        svnadmin.display()
    ));
}

/// Does what svnadmin does.
const REAL: &str = r#"exec "$SVNADMIN" "$@""#;

/// How often each word was asked of svnlook or svnadmin.
fn calls(pipeline: &Pipeline) -> HashMap<String, usize> {
    let text = fs::read_to_string(pipeline.env.path("calls")).unwrap_or_default();
    let mut calls = HashMap::new();
    for line in text.lines() {
        *calls.entry(line.to_owned()).or_default() += 1;
    }
    calls
}

fn count(pipeline: &Pipeline, word: &str) -> usize {
    calls(pipeline).get(word).copied().unwrap_or_default()
}

fn log(pipeline: &Pipeline) -> String {
    fs::read_to_string(pipeline.state().join("auto-dispatcher.log")).unwrap_or_default()
}

/// Names and bytes of so many packages.
fn packages(count: usize) -> Vec<(String, Vec<u8>)> {
    let mut random = fastrand::Rng::with_seed(count as u64);
    (0..count)
        .map(|n| {
            let length = random.usize(0..3000);
            let bytes = std::iter::repeat_with(|| random.u8(..)).take(length);
            (format!("app-{n:04}"), bytes.collect())
        })
        .collect()
}

fn commit(pipeline: &Pipeline, packages: &[(String, Vec<u8>)]) {
    let files: Vec<(&str, &[u8])> = packages
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    pipeline.commit(&files);
}

/// All of them are on the host, with their own bytes and digests.
#[track_caller]
fn arrive(pipeline: &Pipeline, host: &Host, packages: &[(String, Vec<u8>)]) {
    let rows = pipeline.settled(packages.len());
    for row in &rows {
        assert_eq!(row["state"], "done", "{row}\n{}", log(pipeline));
        let name = row["package"].as_str().expect("a name");
        let (_, bytes) = packages
            .iter()
            .find(|(package, _)| package == name)
            .expect("a package");
        holds(&host.file(format!("in/{name}")), bytes);
        assert_eq!(row["sha256"], Digester::of(bytes), "{row}");
        assert_eq!(row["size"], bytes.len(), "{row}");
    }
    pipeline.no_worker_lives();
    let spool = fs::read_dir(pipeline.state().join("spool")).expect("the spool");
    let left: Vec<_> = spool
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name != ".lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_revision_of_a_thousand_packages_is_exported_by_one_process() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    listening(&pipeline, REAL, "");
    let packages = packages(1000);
    commit(&pipeline, &packages);
    arrive(&pipeline, &host, &packages);
    let calls = calls(&pipeline);
    assert_eq!(calls.get("dump"), Some(&1), "{calls:?}");
    assert_eq!(calls.get("cat"), None, "{calls:?}");
    assert_eq!(calls.get("filesize"), None, "{calls:?}");
}

#[test]
fn a_single_small_package_costs_one_process_as_well() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    listening(&pipeline, REAL, "");
    let packages = packages(1);
    commit(&pipeline, &packages);
    arrive(&pipeline, &host, &packages);
    assert_eq!((count(&pipeline, "dump"), count(&pipeline, "cat")), (1, 0));
}

#[test]
fn copies_and_large_packages_come_one_by_one_beside_the_others() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    listening(&pipeline, REAL, "");
    pipeline.commit(&[("other", b"copied")]);
    let mut packages = packages(5);
    // Not to be compressed: else the revision looks like one that is soon read.
    let mut random = fastrand::Rng::with_seed(7);
    let large = std::iter::repeat_with(|| random.u8(..)).take((1 << 20) + 1);
    packages.push(("app-large".to_owned(), large.collect()));
    for (name, bytes) in &packages {
        pipeline.svn.write(name, bytes);
    }
    pipeline.svn.svn(&["add", "-q", "--force", "."]);
    for name in ["app-copy-1", "app-copy-2"] {
        pipeline.svn.svn(&["copy", "-q", "other", name]);
        packages.push((name.to_owned(), b"copied".to_vec()));
    }
    pipeline.commit_changes();
    arrive(&pipeline, &host, &packages);
    assert_eq!((count(&pipeline, "dump"), count(&pipeline, "cat")), (1, 3));
}

#[test]
fn a_large_file_that_nobody_wants_is_not_read_for_a_few_small_ones() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    let read = pipeline.env.path("read");
    let dump = format!("\"$SVNADMIN\" \"$@\" | tee {}", read.display());
    listening(&pipeline, &dump, "");
    let packages = packages(3);
    let mut files: Vec<(&str, &[u8])> = packages
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    let large = vec![b'x'; 60 << 20];
    // Before and behind them in the order of the tree.
    files.push(("another", &large));
    pipeline.commit(&files);
    arrive(&pipeline, &host, &packages);
    assert_eq!((count(&pipeline, "dump"), count(&pipeline, "cat")), (1, 3));
    let size = fs::metadata(read).expect("what was read").len();
    assert!(size < 10 << 20, "{size} bytes were read");
}

#[test]
fn two_targets_share_one_dump() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app").with("host", "127.0.0.1 127.0.0.2")]);
    let slowly = r#"sleep 1; exec "$SVNADMIN" "$@""#;
    listening(&pipeline, slowly, "");
    let packages = packages(20);
    commit(&pipeline, &packages);
    let rows = pipeline.settled(40);
    assert_eq!(field(&rows, "state"), ["done"; 40]);
    for (name, bytes) in &packages {
        holds(&host.file(format!("in/{name}")), bytes);
    }
    assert_eq!((count(&pipeline, "dump"), count(&pipeline, "cat")), (1, 0));
}

#[test]
fn a_dump_that_goes_wrong_is_told_and_every_package_comes_all_the_same() {
    let host = Host::up();
    for (dump, told) in [
        ("exit 3", "exit status: 3"),
        ("head -c 100000 /dev/urandom", "cannot read the dump"),
        (
            r#""$SVNADMIN" "$@" | head -c 30000; kill -9 $$"#,
            "signal: 9",
        ),
        (
            r#""$SVNADMIN" "$@" | LC_ALL=C sed '/^Text-content-sha1/s/[0-9a-f]$/x/;s/x$/0/'"#,
            "SHA-1",
        ),
    ] {
        let pipeline = Pipeline::new(&[host.rule("app")]);
        listening(&pipeline, dump, "");
        let packages = packages(40);
        commit(&pipeline, &packages);
        arrive(&pipeline, &host, &packages);
        let log = log(&pipeline);
        assert_eq!(log.matches("exported one by one").count(), 1, "{log}");
        assert!(log.contains(told), "{told}: {log}");
        assert!(count(&pipeline, "cat") > 0);
    }
}

#[test]
fn without_svnadmin_packages_come_one_by_one() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    listening(&pipeline, REAL, "");
    fs::remove_file(pipeline.env.path("svnadmin")).expect("remove");
    let packages = packages(3);
    commit(&pipeline, &packages);
    arrive(&pipeline, &host, &packages);
    assert_eq!((count(&pipeline, "dump"), count(&pipeline, "cat")), (0, 3));
    assert!(!log(&pipeline).contains("one by one"));
}

#[test]
fn what_comes_ahead_of_its_turn_leaves_room_in_a_small_spool() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    listening(&pipeline, REAL, "spool_max = 300000");
    let packages: Vec<(String, Vec<u8>)> = (0..12_u8)
        .map(|n| (format!("app-{n:02}"), vec![n; 100_000]))
        .collect();
    commit(&pipeline, &packages);
    arrive(&pipeline, &host, &packages);
    assert!(!log(&pipeline).contains("short of room"));
}

#[test]
fn a_package_that_has_other_bytes_than_before_fails_and_says_so() {
    let mut host = Host::down();
    let pipeline = Pipeline::new(&[host.rule("app").with("retries", 50)]);
    let packages = packages(3);
    commit(&pipeline, &packages);
    pipeline.awaits("app-0000", State::Waiting);
    let journal = rusqlite::Connection::open(pipeline.state().join("journal.sqlite"));
    let wrong =
        "UPDATE packages SET sha256 = replace(hex(zeroblob(32)), '0', 'a') WHERE path = 'app-0001'";
    journal.expect("SQLite").execute_batch(wrong).expect("SQL");
    // Another worker does not know that it was looked for before.
    for worker in pipeline.workers() {
        signal(worker, Signal::KILL);
    }
    host.resume();
    pipeline.ad(&["worker", "--until-idle"]).exits(1);
    let rows = pipeline.settled(3);
    assert_eq!(field(&rows, "state"), ["done", "failed", "done"]);
    let error = rows[1]["error"].as_str().expect("an error");
    assert!(error.contains("other bytes for app-0001"), "{error}");
    assert!(!host.file("in/app-0001").exists());
}
