//! `status`: what is going on and what is stuck.

use std::io::Write;
use std::time::Duration;

use super::Globals;
use super::screen::Screen;
use super::setup::Setup;
use super::typed::Program;
use crate::error::Result;
use crate::journal::HistoryFilter;
use screenful::Page;
use standing::Standing;

mod headline;
mod json;
mod progress;
mod screenful;
mod standing;
mod troubled;
mod watch;

/// What is going on, and what is stuck
///
/// The first line says whether all is well. What failed or is unknown comes with the command to type next.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One JSON object a line
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    /// All of everything, however long; without it so much of each kind as a screen holds
    #[arg(long)]
    all: bool,
    /// Again every so many seconds, in place on a terminal, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = parse_pause)]
    watch: Option<Duration>,
}

/// How many of each kind a screen holds.
const SHOWN: usize = 10;

fn parse_pause(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "is no number of seconds".to_owned())?;
    if !(0.1..=86_400.0).contains(&seconds) {
        return Err("lies not between 0.1 and 86400 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let setup = Setup::new(globals, None, true)?;
    if args.json {
        let standing = Standing::gather(&setup, None)?;
        json::print(&standing, out)?;
        let (_, journal) = setup.look()?;
        let unsettled = HistoryFilter {
            unsettled: true,
            oldest_first: true,
            ..HistoryFilter::default()
        };
        journal.each_delivery(&unsettled, &mut |row| json::delivery(&row, out))?;
        return Ok(0);
    }
    let most = (!args.all).then_some(SHOWN);
    let mut render = |out: &mut dyn Write| {
        let standing = Standing::gather(&setup, most)?;
        let mut page = Page {
            screen: Screen::stdout(),
            program: Program::of(globals),
            out,
            most,
        };
        screenful::print(&standing, &mut page)
    };
    match args.watch {
        Some(every) => watch::run(every, out, &mut render)?,
        None => render(out)?,
    }
    Ok(0)
}
