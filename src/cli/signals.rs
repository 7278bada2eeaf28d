//! SIGINT and SIGTERM: the first asks the worker to end and leaves its work resumable, the second ends
//! the process at once. SIGHUP keeps its meaning: a foreground command whose terminal closes dies at once, and
//! whoever works next takes its deliveries up; `nohup` is respected.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::worker::Context;

/// Watches for signals in a thread that ends with the process.
pub(super) fn watch(context: &Context) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Error::state(format!("cannot watch for signals: {error}")))?;
    let (stop, wake) = (context.stop.clone(), context.wake.clone());
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                if stop.is_raised() {
                    // Without the libraries' farewells: other threads are in the midst of them.
                    signal_hook::low_level::exit(i32::from(ErrorKind::Interrupted.exit_code()));
                }
                stop.raise();
                journal::hurry();
                wake.now();
            }
        })
        .map(|_| ())
        .map_err(|error| Error::state(format!("cannot start the signal thread: {error}")))
}
