//! `retry ID...`: queues what failed or is unknown again, at its place in the lane.

use std::io::Write;

use super::Globals;
use super::decide::Report;
use super::foreground::{see_through, wake_or_start};
use super::progress::Progress;
use super::setup::Setup;
use crate::domain::delivery::{Resumption, Step};
use crate::error::Result;
use crate::journal::{Awaited, Decided, Journal};

/// Why an old package is not put over a newer one just because somebody clears up.
const OLDER: &str = "a later delivery has brought this package to the same place since, and this one would be put over \
                     it: `dismiss` puts it away, `retry --older` brings it all the same";

/// Queue failed or unknown deliveries again
///
/// What is done is not redone: a package that lies verified on its host is not uploaded again. An install
/// command that has ended runs once more; one whose outcome is unknown is looked up on the host first, and runs
/// again only if the host has lost it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The deliveries, as `history` numbers them
    #[arg(value_name = "ID", required_unless_present = "host")]
    ids: Vec<i64>,
    /// Every failed delivery to this host; unknown ones want a look and are named by ID
    #[arg(long, value_name = "H")]
    host: Vec<String>,
    /// Also where a later delivery has brought the same package to the same place since
    #[arg(long)]
    older: bool,
    /// Stay until they are settled
    #[arg(long)]
    wait: bool,
    /// One JSON object a line
    #[arg(long, conflicts_with = "wait")]
    json: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let setup = Setup::new(globals, None, true)?;
    let (state, mut journal) = setup.look()?;
    let mut report = Report::new(out, args.json, "retry", "retried");
    for id in wanted(args, &journal, &mut report)? {
        let decided = match journal.delivery(id)? {
            Some(row) if !args.older && journal.newer_in_its_place(id)? => Decided::Refused {
                delivery: Box::new(row),
                reason: OLDER,
            },
            _ => journal.retry(id)?,
        };
        let note = match &decided {
            Decided::Made {
                delivery,
                resumption: Some(resumption),
                ..
            } => note(*resumption, delivery.install_command.is_some()),
            _ => String::new(),
        };
        report.add(id, decided, &note)?;
    }
    let (made, code) = (report.made, report.code);
    if made.is_empty() {
        return Ok(code);
    }
    drop(journal);
    if !args.wait {
        wake_or_start(&setup, &state, globals)?;
        return Ok(code);
    }
    let ids: Vec<i64> = made.iter().map(|row| row.id).collect();
    let prints = setup.start_logging(&state, true)?;
    let seen = see_through(
        &setup,
        state.clone(),
        &Awaited::Deliveries(ids),
        (&Progress::begin(), prints),
        out,
    );
    // What else stands in these lanes is a worker's.
    if Journal::open(&state.journal())?.has_work()? {
        wake_or_start(&setup, &state, globals)?;
    }
    seen.map(|seen| seen.max(code))
}

/// The deliveries that are meant, each once, in the order of lanes.
fn wanted(args: &Args, journal: &Journal, report: &mut Report<'_>) -> Result<Vec<i64>> {
    let mut ids = args.ids.clone();
    for host in &args.host {
        let failed = journal.failed_at(host)?;
        if failed.is_empty() {
            report.say(&format!("no delivery to {host} has failed"))?;
        }
        ids.extend(failed);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// What a retry will do.
fn note(resumption: Resumption, installs: bool) -> String {
    let from = match resumption.step {
        Step::Install => "queued again, at the install",
        _ => "queued again, from the export on",
    };
    let then = if !installs {
        ""
    } else if resumption.reruns_if_lost {
        "; what the host knows of the command is collected, and it runs again only if the host has lost that"
    } else if resumption.is_new_run {
        "; the command runs again"
    } else {
        "; the command has not run yet"
    };
    format!("{from}{then}")
}
