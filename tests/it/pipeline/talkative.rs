//! Install commands that print a lot cost neither memory nor journal.

use std::fs;

use auto_dispatcher::domain::delivery::State;

use super::Pipeline;
use super::host::Host;
use crate::testenv::wait_until;

/// The largest memory that a process has had so far, in KiB.
pub fn peak_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

#[test]
fn fifty_megabytes_of_output_cost_neither_memory_nor_journal() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host
        .rule("app")
        .with("install_command", "seq 1 6500000; echo over; exit 3")]);
    let _worker = pipeline.spawn(&["worker"]);
    wait_until("the worker lives", super::LIMIT, || {
        !pipeline.workers().is_empty()
    });
    pipeline.commit(&[("app", b"x")]);
    pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
    let row = pipeline.awaits("app", State::Failed);
    let peak = peak_kib(pipeline.workers()[0]);
    assert!(peak < 64 * 1024, "{peak} KiB");
    let mut journal = 0;
    for entry in fs::read_dir(pipeline.state()).expect("readable") {
        let entry = entry.expect("entry");
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("journal.sqlite")
        {
            journal += entry.metadata().expect("metadata").len();
        }
    }
    assert!(journal < 2 << 20, "{journal} bytes");
    let shown = pipeline.show(&row);
    let attempt = &shown["attempt_list"][0];
    let output = attempt["output"].as_str().expect("an output");
    assert!(
        output.ends_with("6499999\n6500000\nover\n"),
        "the tail is kept"
    );
    assert!(output.len() <= 64 * 1024, "{}", output.len());
    let cut = attempt["output_cut"].as_u64().expect("how much was cut");
    assert_eq!(cut + output.len() as u64, 50_888_896 + 5);
    eprintln!("worker: {peak} KiB at most; journal: {journal} bytes");
}
