//! `history`: what was delivered, newest first.

use std::io::Write;

use super::Globals;
use super::lines::{
    DeliveryJson, Table, bytes, destination, json_line, local, source_of, state_of,
};
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
    let journal = Setup::new(globals, None, true)?.journal()?;
    let limit = if args.json {
        args.limit
    } else {
        Some(args.limit.unwrap_or(SHOWN))
    };
    let rows = journal.deliveries(&HistoryFilter {
        limit,
        ..HistoryFilter::default()
    })?;
    if args.json {
        for row in &rows {
            json_line(out, &DeliveryJson::new(row))?;
        }
        return Ok(0);
    }
    let mut table = Table::new(&[
        "ID", "TIME", "SOURCE", "PACKAGE", "SIZE", "TO", "BY", "STATE",
    ]);
    for row in &rows {
        table.row([
            row.id.to_string(),
            local(row.settled_at.unwrap_or(row.queued_at)),
            source_of(row),
            row.package.clone(),
            row.size.map_or_else(|| "-".to_owned(), bytes),
            destination(row),
            row.transport.clone().unwrap_or_else(|| "-".to_owned()),
            state_of(row),
        ]);
    }
    table.print(out)?;
    Ok(0)
}
