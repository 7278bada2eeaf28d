//! Seeing batches or deliveries through in the foreground: a worker in this process, lines while it works, a table and
//! an exit code at the end.

use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::lines::results_table;
use super::progress::{self, Progress};
use super::screen::Screen;
use super::setup::Setup;
use super::signals;
use super::table::Table;
use crate::domain::delivery::State;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Awaited, HistoryFilter, Journal};
use crate::state_dir::StateDir;
use crate::worker::{Context, Ended, Role, Until, detach, presence, work};

/// Works until what is `awaited` is settled, then prints what became of them. `prints`: `progress` tells also in lines
/// what happens meanwhile, for the log does not speak on the terminal. Returns the exit code.
pub(super) fn see_through(
    setup: &Setup,
    state: StateDir,
    awaited: &Awaited,
    (progress, prints): (&Progress, bool),
    out: &mut dyn Write,
) -> Result<u8> {
    let (shown, told) = (awaited.clone(), progress.clone());
    progress.follow(&state, Some(awaited.clone()), prints);
    let context = setup.context(state, move |event| told.event(event, Some(&shown)))?;
    signals::watch(&context)?;
    work_through(&context, awaited, Some(out))
}

/// The same in a context that is there already; without `out` nothing is printed in the end.
pub(super) fn work_through(
    context: &Arc<Context>,
    awaited: &Awaited,
    out: Option<&mut dyn Write>,
) -> Result<u8> {
    let until = Until::Settled(awaited.clone());
    let ended = work(context, Role::Foreground, &until)?;
    progress::over();
    let journal = context.journal()?;
    let code = match out {
        Some(out) => print_results(&journal, awaited, out)?,
        None => print_results(&journal, awaited, &mut std::io::sink())?,
    };
    match ended {
        Ended::Stopped => Err(Error::new(
            ErrorKind::Interrupted,
            "interrupted; what is not settled stays queued",
        )
        .with_hint("`auto-dispatcher worker --until-idle` goes on where this stopped")),
        Ended::Unplannable => Err(unplannable(context, &journal, awaited.batches())?),
        _ => Ok(code),
    }
}

fn unplannable(context: &Arc<Context>, journal: &Journal, batches: &[i64]) -> Result<Error> {
    // Seen from the beginning of time, everything that failed is due later.
    let then = DateTime::<Utc>::UNIX_EPOCH;
    for &id in batches {
        let Some(blocking) = journal.unplannable(id, then)? else {
            continue;
        };
        let what = match journal.batch(id)? {
            Some(waiting) if waiting.id != blocking.id => format!(
                "{} waits behind {}, which cannot be planned",
                waiting.describe(),
                blocking.describe()
            ),
            _ => format!("{} cannot be planned", blocking.describe()),
        };
        let why = blocking.plan_error.unwrap_or_default();
        let kind = match blocking.plan_exit {
            Some(4) => ErrorKind::Source,
            Some(5) => ErrorKind::State,
            _ => ErrorKind::Config,
        };
        return Ok(
            Error::new(kind, format!("{what}: {why}")).with_hint(format!(
                "it stays recorded and is planned again every {} s while a worker lives; \
                 `auto-dispatcher dismiss REPOS {}` lets it go",
                context.settings.plan_retry_s,
                blocking.revision.unwrap_or_default()
            )),
        );
    }
    Ok(Error::config("a batch cannot be planned; see `status`"))
}

fn print_results(journal: &Journal, awaited: &Awaited, out: &mut dyn Write) -> Result<u8> {
    let mut filter = HistoryFilter {
        oldest_first: true,
        ..HistoryFilter::default()
    };
    match awaited {
        Awaited::Batches(batches) => filter.batches.clone_from(batches),
        Awaited::Deliveries(deliveries) => filter.deliveries.clone_from(deliveries),
    }
    let rows = journal.deliveries(&filter)?;
    let mut trouble = rows.iter().any(|row| row.state != State::Done);
    if !rows.is_empty() {
        results_table(&rows).print(&Screen::stdout(), out)?;
    }
    trouble |= print_skips(journal, awaited.batches(), out)?;
    Ok(u8::from(trouble))
}

/// Prints the skips of `batches`; true when one of them is trouble.
fn print_skips(journal: &Journal, batches: &[i64], out: &mut dyn Write) -> Result<bool> {
    let mut table = Table::new(&["SKIPPED", "REASON"]);
    let mut trouble = false;
    for &batch in batches {
        for package in journal.packages(batch)? {
            if let Some(reason) = package.skipped {
                trouble |= package.trouble;
                table.row([package.path, reason]);
            }
        }
    }
    if !table.is_empty() {
        table.print(&Screen::stdout(), out)?;
    }
    Ok(trouble)
}

/// Sees to it that a worker takes up what was recorded: wakes those that live, starts one where none does.
pub(super) fn wake_or_start(
    setup: &Setup,
    state: &StateDir,
    globals: &super::Globals,
) -> Result<()> {
    presence::wake_all(state);
    if presence::a_worker_lives(state)? {
        return Ok(());
    }
    let program = std::env::current_exe()
        .map_err(|error| Error::state(format!("cannot tell where this program is: {error}")))?;
    // The worker has to find the same state directory, and so the same settings file.
    let mut arguments: Vec<OsString> =
        vec!["worker".into(), "--detached".into(), "--config".into()];
    arguments.push(setup.places.anchor().into_os_string());
    if let Some(netrc) = globals.netrc.as_ref().and(setup.places.netrc.as_ref()) {
        arguments.extend(["--netrc".into(), netrc.as_os_str().to_owned()]);
    }
    detach::start(&program, &arguments, std::env::vars_os())
}
