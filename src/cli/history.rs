//! `history`: what was delivered, newest first, and only what is looked for.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::lines::{DeliveryJson, json_line, line_of, results_table};
use super::moment::{self, Moment};
use super::replay::parse_range;
use super::screen::Screen;
use super::setup::Setup;
use super::{Globals, csv};
use crate::domain::delivery::State;
use crate::domain::pattern::Pattern;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Search;

/// Deliveries, newest first
///
/// Filters may be combined: a delivery has to pass each of them. One that may be given several times is passed by what
/// passes any of its values.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// CSV (RFC 4180) with a header; cells that a spreadsheet would run begin with an apostrophe
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Only of this repository; may be given several times
    #[arg(long, value_name = "REPOS")]
    repository: Vec<PathBuf>,
    /// Only of this revision, or of those from the first to the last: 12 or 12:15
    #[arg(long, value_name = "REV[:REV]", value_parser = parse_range)]
    revision: Option<(u64, u64)>,
    /// Only packages whose name matches this Python regular expression, at its start
    #[arg(long, value_name = "RE")]
    package: Option<String>,
    /// Only to this host; may be given several times
    #[arg(long, value_name = "H")]
    host: Vec<String>,
    /// Only under this rule; may be given several times
    #[arg(long, value_name = "RULE")]
    rule: Vec<String>,
    /// Only those in this state: queued, running, waiting, done, failed, unknown, cancelled; may be given several times
    #[arg(long, value_name = "STATE", value_parser = parse_state, value_delimiter = ',')]
    state: Vec<State>,
    /// Only what this committer committed; may be given several times
    #[arg(long, value_name = "NAME")]
    author: Vec<String>,
    /// Only what was queued then or later: 2h (ago), 3d, 2026-11-24, '2026-11-24 01:00', RFC 3339
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    since: Option<Moment>,
    /// Only what was queued then or earlier; a day counts to its end
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    until: Option<Moment>,
}

/// How many a person gets to see unless more are asked for.
const SHOWN: u64 = 50;

fn parse_state(word: &str) -> Result<State, String> {
    State::parse(&word.to_ascii_lowercase()).ok_or_else(|| {
        let words: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
        format!("is no state; the states are {}", words.join(", "))
    })
}

impl Args {
    fn search(&self) -> Result<Search> {
        let package = self.package.as_deref().map(Pattern::new).transpose();
        let package = package.map_err(|error| {
            Error::new(
                ErrorKind::Usage,
                format!("--package is no regular expression: {error}"),
            )
        })?;
        if let (Some(since), Some(until)) = (self.since, self.until)
            && until.last() < since.first()
        {
            return Err(Error::new(
                ErrorKind::Usage,
                "--until lies before --since: no delivery is both",
            )
            .with_hint("exchange the two"));
        }
        Ok(Search {
            repositories: self.repository.iter().map(|path| recorded(path)).collect(),
            revisions: self.revision,
            package: package.map(Arc::new),
            hosts: self.host.clone(),
            rules: self.rule.iter().flat_map(|rule| names_of(rule)).collect(),
            authors: self.author.clone(),
            states: self.state.clone(),
            since: self.since.map(Moment::first),
            until: self.until.map(Moment::last),
            limit: self.limit,
        })
    }
}

/// A repository's path as it is recorded: absolute, links resolved. One that is gone is taken as it is written.
fn recorded(path: &std::path::Path) -> String {
    let real = std::fs::canonicalize(path);
    let real = real.unwrap_or_else(|_| path.components().collect());
    real.to_string_lossy().into_owned()
}

/// A rule's name, also without the brackets that messages put around it.
fn names_of(rule: &str) -> Vec<String> {
    let inner = rule
        .strip_prefix('[')
        .and_then(|rule| rule.strip_suffix(']'));
    [Some(rule), inner]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect()
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let mut search = args.search()?;
    let (_, journal) = Setup::new(globals, None, true)?.look()?;
    if args.json {
        journal.search(&search, &mut |row| json_line(out, &DeliveryJson::new(&row)))?;
        return Ok(0);
    }
    if args.csv {
        csv::header(out)?;
        journal.search(&search, &mut |row| csv::row(out, &DeliveryJson::new(&row)))?;
        return Ok(0);
    }
    search.limit = Some(args.limit.unwrap_or(SHOWN));
    let mut rows = Vec::new();
    journal.search(&search, &mut |row| {
        rows.push(row);
        Ok(())
    })?;
    if rows.is_empty() {
        line_of(out, "no delivery is recorded that passes all filters")?;
        return Ok(0);
    }
    results_table(&rows).print(&Screen::stdout(), out)?;
    if args.limit.is_none() && rows.len() as u64 == SHOWN {
        line_of(
            out,
            &format!("the newest {SHOWN}; `--limit N` shows more, `--json` and `--csv` all"),
        )?;
    }
    Ok(0)
}
