//! SIGINT and SIGTERM: the first asks the worker to end and leaves its work resumable, the second ends
//! the process at once. SIGHUP keeps its meaning: a foreground command whose terminal closes dies at once, and
//! whoever works next takes its deliveries up; `nohup` is respected.

use std::sync::{Mutex, Once, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::progress;
use crate::children;
use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::transport::StopFlag;
use crate::worker::{Context, Wake};

/// The work that a signal asks to end; none: there is none yet, and a signal ends the process as ever.
static WORK: Mutex<Option<(StopFlag, Wake)>> = Mutex::new(None);
static WATCHED: Once = Once::new();

/// Watches for signals in a thread that ends with the process.
pub(super) fn watch(context: &Context) -> Result<()> {
    let work = (context.stop.clone(), context.wake.clone());
    *WORK.lock().unwrap_or_else(PoisonError::into_inner) = Some(work);
    watch_early()
}

/// The same before there is any work, so that a process that a signal ends leaves a clean terminal, and no program that it
/// has started.
pub(super) fn watch_early() -> Result<()> {
    let mut result = Ok(());
    WATCHED.call_once(|| result = start());
    result
}

fn start() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Error::state(format!("cannot watch for signals: {error}")))?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || signals.forever().for_each(received))
        .map(|_| ())
        .map_err(|error| Error::state(format!("cannot start the signal thread: {error}")))
}

fn received(signal: i32) {
    let work = WORK.lock().unwrap_or_else(PoisonError::into_inner);
    match &*work {
        None => {
            progress::over_in_haste();
            children::end_all();
            // It ends the process here.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
        Some((stop, _)) if stop.is_raised() => {
            progress::over_in_haste();
            children::end_all();
            // Without the libraries' farewells: other threads are in the midst of them.
            signal_hook::low_level::exit(i32::from(ErrorKind::Interrupted.exit_code()));
        }
        Some((stop, wake)) => {
            stop.raise();
            journal::hurry();
            wake.now();
        }
    }
}
