//! How long a write waits for other writers: a process that is to end waits no longer than a moment. Knows
//! nothing of signals, nor of what is written.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a write waits; a committer never waits longer than this.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a process that is to end.
const HURRIED: Duration = Duration::from_secs(1);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Whether this process is to end.
static IN_A_HURRY: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// When this thread's present wait began. SQLite asks a connection's own thread.
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// From now on no journal of this process waits longer than a moment for other writers.
pub fn hurry() {
    IN_A_HURRY.store(true, Ordering::SeqCst);
}

/// Whether this process is to end.
pub(super) fn is_hurried() -> bool {
    IN_A_HURRY.load(Ordering::SeqCst)
}

/// SQLite's question, asked for the `tries`th time about one lock: whether to try again.
pub(super) fn wait(tries: i32) -> bool {
    let now = Instant::now();
    let since = SINCE.with(|cell| {
        let since = if tries == 0 {
            now
        } else {
            cell.get().unwrap_or(now)
        };
        cell.set(Some(since));
        since
    });
    let limit = if is_hurried() { HURRIED } else { BUSY_TIMEOUT };
    if since.elapsed() >= limit {
        return false;
    }
    thread::sleep(PAUSE);
    true
}
