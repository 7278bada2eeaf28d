//! `cancel ID...`: gives up what is queued or waits.

use std::io::Write;

use chrono::Utc;

use super::Globals;
use super::decide::{Report, let_go};
use super::setup::Setup;
use crate::error::Result;
use crate::journal::Decided;

/// Give up deliveries that are queued or waiting
///
/// What stands behind them in their lanes goes on. An install command that runs on a host is not stopped.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The deliveries, as `status` numbers them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<i64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let setup = Setup::new(globals, None, true)?;
    let (state, mut journal) = setup.look()?;
    let mut report = Report::new(out, args.json, "cancel", "cancelled");
    for &id in &args.ids {
        let decided = journal.cancel(id, Utc::now())?;
        let note = match &decided {
            Decided::Made {
                delivery,
                install_began: true,
                ..
            } => format!(
                "cancelled; the install command had begun on {}; it is not stopped",
                delivery.host
            ),
            _ => "cancelled".to_owned(),
        };
        report.add(id, decided, &note)?;
    }
    let_go(&setup, globals, &state, &journal, &report.made)?;
    Ok(report.code)
}
