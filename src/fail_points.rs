//! Named places at which a test has this process killed, as `kill -9` would. Compiled in for tests only
//! (feature `fail-points`, which no build but that of the tests turns on): elsewhere [`hit`] is nothing.
//! Knows nothing of what happens at them.

/// Every fail point. `AUTO_DISPATCHER_FAIL_POINT=NAME` kills the process when it first comes there,
/// `NAME:3` when it comes there for the third time.
pub const ALL: &[&str] = &[
    "hook.opened",
    "hook.recorded",
    "hook.worker_started",
    "incoming.recorded",
    "worker.entered",
    "worker.rescuing",
    "worker.rescued",
    "worker.resigned",
    "planner.gap_found",
    "planner.gap_filled",
    "planner.made",
    "planner.planned",
    "lane.claimed",
    "spool.written",
    "spool.synced",
    "spool.renamed",
    "spool.all_written",
    "spool.all_synced",
    "spool.all_renamed",
    "ahead.noted",
    "attempt.exported",
    "attempt.artifact_noted",
    "attempt.connected",
    "attempt.dir_prepared",
    "attempt.upload_began",
    "attempt.uploading",
    "attempt.uploaded",
    "attempt.verified",
    "attempt.published",
    "attempt.upload_noted",
    "attempt.install_prepared",
    "attempt.install_noted",
    "attempt.installing",
    "attempt.installed",
    "group.claimed",
    "group.sending",
    "group.sent",
    "group.noted",
    "group.verified",
    "group.published",
    "lane.settling",
    "lane.settled",
    "attempt.forgotten",
    "spool.purging",
    "lane.purged",
    "worker.caught_up",
    "notice.made",
    "notice.claimed",
    "notice.sent",
    "notice.marked",
    "scan.stock",
    "scan.stock_taken",
    "scan.copied",
    "scan.recorded",
    "scan.leaving",
    "scan.left",
];

/// Dies here if a test wants it.
#[cfg(feature = "fail-points")]
pub fn hit(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static SEEN: AtomicU64 = AtomicU64::new(0);

    debug_assert!(ALL.contains(&name), "{name} is not in the list");
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("AUTO_DISPATCHER_FAIL_POINT").ok()?;
        match text.split_once(':') {
            Some((name, count)) => Some((name.to_owned(), count.parse().ok()?)),
            None => Some((text, 1)),
        }
    });
    if let Some((wanted, count)) = wanted
        && wanted == name
        && SEEN.fetch_add(1, Ordering::SeqCst) + 1 == *count
    {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal may be delivered to another thread first.
        loop {
            std::thread::park();
        }
    }
}

/// Nothing: this build is no test.
#[cfg(not(feature = "fail-points"))]
#[inline]
pub fn hit(_name: &'static str) {}
