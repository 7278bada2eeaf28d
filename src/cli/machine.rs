//! What the page has to know of this machine: who works, and how much room there is.

use std::path::Path;

use chrono::Utc;

use super::Globals;
use super::setup::Setup;
use super::typed::Program;
use crate::error::Result;
use crate::journal::Journal;
use crate::page::{Disk, Machine, WorkerFact};
use crate::spool;
use crate::state_dir::StateDir;
use crate::worker::presence;

/// Looks around. `stalled_s`: for how long the worker that asks has not looked at its work.
pub(super) fn machine(
    setup: &Setup,
    globals: &Globals,
    (state, journal): (&StateDir, &Journal),
    stalled_s: Option<u64>,
) -> Result<Machine> {
    let mut workers = Vec::new();
    for id in presence::living(state) {
        if let Some(row) = journal.worker(id)? {
            workers.push(WorkerFact {
                id,
                pid: row.pid,
                started_at: row.started_at,
            });
        }
    }
    Ok(Machine {
        host: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        program: Program::of(globals).with(&[]).join(" "),
        state_dir: state.path().to_string_lossy().into_owned(),
        workers,
        worker_failure: presence::last_failure(state),
        disk: disk(state.path()),
        // What cannot be counted is left out.
        spool_bytes: spool::bytes_in(&state.spool()).ok(),
        spool_max_bytes: setup.settings.spool_max_bytes,
        stalled_s,
        now: Utc::now(),
    })
}

fn disk(path: &Path) -> Option<Disk> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(Disk {
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        size: stat.f_blocks.saturating_mul(stat.f_frsize),
    })
}
