//! Very many files.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use super::{Inbox, stop};
use crate::pipeline::{LIMIT, signal};
use crate::testenv::wait_until;

/// Kilobytes of memory that a process had at most.
fn peak_kb(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix("kB"));
    number.expect("a peak").trim().parse().expect("a number")
}

#[test]
fn two_hundred_thousand_files_are_taken_stock_of_with_little_memory_and_progress_is_shown() {
    let mut inbox = Inbox::new();
    // In memory, where there is such a place: so many files on a disk hold up everybody who syncs to it.
    let shared = Path::new("/dev/shm");
    let place = tempfile::tempdir_in(if shared.is_dir() {
        shared
    } else {
        inbox.pipeline.env.root()
    });
    let place = place.expect("a directory");
    inbox.dir = place.path().join("in");
    std::thread::scope(|scope| {
        for part in 0..2 {
            let dir = &inbox.dir;
            scope.spawn(move || {
                for number in (part..2000).step_by(2) {
                    let sub = dir.join(format!("d{}/e{number}", number / 50));
                    fs::create_dir_all(&sub).expect("mkdir");
                    for file in 0..100 {
                        fs::File::create(sub.join(format!("app-{number}-{file}.tar")))
                            .expect("create");
                    }
                }
            });
        }
    });
    let scan = inbox.scan(&["--interval", "2"]);
    assert!(inbox.log().contains("taking stock: "), "{}", inbox.log());
    assert_eq!(
        inbox.pipeline.sql("SELECT count(*) FROM dropped"),
        [Some(200_000)]
    );
    inbox.write("d3/e160/app-new", b"new");
    inbox.settled(&["app-new"]);
    // In pauses, beside everything else.
    wait_until("all are read", LIMIT * 5, || {
        inbox
            .pipeline
            .sql("SELECT count(*) FROM dropped WHERE sha256 IS NULL")
            == [Some(0)]
    });
    let peak = peak_kb(scan.pid());
    assert!(peak < 100 << 10, "{peak} kB");
    // Stock taking was all there was: nothing else has come of it.
    assert_eq!(
        inbox.pipeline.sql("SELECT count(*) FROM batches"),
        [Some(1)]
    );
}

#[test]
fn what_is_dropped_together_arrives_in_the_order_in_which_it_was_written() {
    let inbox = Inbox::new();
    inbox.once(&[]).exits(0);
    let mut names: Vec<String> = (0..60).map(|number| format!("app-{number}")).collect();
    fastrand::Rng::with_seed(7).shuffle(&mut names);
    for (name, seconds) in names.iter().zip(1_000_000..) {
        inbox.write(name, name.as_bytes());
        let file = fs::File::options()
            .write(true)
            .open(inbox.dir.join(name))
            .expect("open");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(time).expect("a time");
    }
    inbox.once(&[]).exits(0);
    assert_eq!(inbox.installed(), names);
}

#[test]
fn a_large_file_holds_up_what_goes_to_its_target_and_nothing_else() {
    let inbox = Inbox::new();
    let other = inbox.host.rule("other").with("host", "127.0.0.2");
    inbox.pipeline.rules(&[inbox.rule("app"), other]);
    let scan = inbox.scan(&[]);
    // It sees all of them at once.
    stop(scan.pid());
    inbox.drop_file("app-large", vec![7; 100 << 20]);
    inbox.drop_file("app-behind", "the same target");
    inbox.drop_file("other", "another one");
    signal(scan.pid(), Signal::CONT);
    inbox.settled(&["app-large", "app-behind", "other"]);
    let batch = |name: &str| inbox.pipeline.delivery(name)["batch"].as_i64();
    // Batches are numbered as they are recorded.
    assert!(batch("other") < batch("app-large"), "it was held up");
    assert!(batch("app-large") < batch("app-behind"), "it was overtaken");
}
