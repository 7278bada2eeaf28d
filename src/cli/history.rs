//! `history`: what was delivered, newest first.

use std::io::Write;

use super::Globals;
use super::lines::{DeliveryJson, json_line, results_table};
use super::screen::Screen;
use super::setup::Setup;
use crate::error::Result;
use crate::journal::HistoryFilter;

/// Deliveries, newest first
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// How many a person gets to see unless more are asked for.
const SHOWN: u64 = 50;

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let (_, journal) = Setup::new(globals, None, true)?.look()?;
    if args.json {
        let filter = HistoryFilter {
            limit: args.limit,
            ..HistoryFilter::default()
        };
        journal.each_delivery(&filter, &mut |row| json_line(out, &DeliveryJson::new(&row)))?;
        return Ok(0);
    }
    let rows = journal.deliveries(&HistoryFilter {
        limit: Some(args.limit.unwrap_or(SHOWN)),
        ..HistoryFilter::default()
    })?;
    results_table(&rows).print(&Screen::stdout(), out)?;
    Ok(0)
}
