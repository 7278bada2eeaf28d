//! The lines that commands print: tables for people, JSON objects for programs.

use std::io::{self, Write};

use chrono::{DateTime, Local, SecondsFormat, Utc};
use serde::Serialize;

use super::output_error;
use super::screen::Tone;
use super::table::{Cell, Table};
use crate::domain::delivery::State;
pub(super) use crate::domain::text::bytes;
use crate::domain::text::escape_json;
use crate::error::{Error, Result};
use crate::journal::DeliveryRow;

/// A delivery as `--json` gives it; the names are a promise.
#[derive(Debug, Serialize)]
pub(super) struct DeliveryJson<'a> {
    id: i64,
    batch: i64,
    source: &'static str,
    repository: Option<&'a str>,
    revision: Option<u64>,
    package: &'a str,
    path: &'a str,
    rule: &'a str,
    host: &'a str,
    login: &'a str,
    state: &'static str,
    step: &'static str,
    attempts: u32,
    transport: Option<&'a str>,
    remote_path: Option<&'a str>,
    sha256: Option<&'a str>,
    size: Option<u64>,
    exit_status: Option<i32>,
    fault: Option<&'a str>,
    error: Option<&'a str>,
    queued_at: String,
    settled_at: Option<String>,
    directory: Option<&'a str>,
    author: Option<&'a str>,
}

impl<'a> DeliveryJson<'a> {
    pub(super) fn new(row: &'a DeliveryRow) -> Self {
        Self {
            id: row.id,
            batch: row.batch,
            source: row.source.as_str(),
            repository: row.repository.as_deref(),
            revision: row.revision,
            package: &row.package,
            path: &row.path,
            rule: &row.rule,
            host: &row.host,
            login: &row.login,
            state: row.state.as_str(),
            step: row.step.as_str(),
            attempts: row.attempts,
            transport: row.transport.as_deref(),
            remote_path: row.remote_path.as_deref(),
            sha256: row.sha256.as_deref(),
            size: row.size,
            exit_status: row.exit_status,
            fault: row.fault.as_deref(),
            error: row.error.as_deref(),
            queued_at: rfc3339(row.queued_at),
            settled_at: row.settled_at.map(rfc3339),
            directory: row.directory.as_deref(),
            author: row.author.as_deref(),
        }
    }
}

/// Writes one object as one line.
pub(super) fn json_line(out: &mut dyn Write, value: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(value)
        .map_err(|error| Error::state(format!("cannot write JSON: {error}")))?;
    line_of(out, &escape_json(&line))
}

/// Writes one line.
pub(super) fn line_of(out: &mut dyn Write, line: &str) -> Result<()> {
    writeln!(out, "{line}").map_err(|error: io::Error| output_error(&error))
}

/// A time for programs.
pub(super) fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A time for people, in their zone.
pub(super) fn local(time: DateTime<Utc>) -> String {
    time.with_timezone(&Local)
        .format("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// `login@host` and where the package went, or is to go.
pub(super) fn destination(row: &DeliveryRow) -> String {
    let path = row
        .remote_path
        .clone()
        .unwrap_or_else(|| format!("{}/", row.dest_dir));
    format!("{}@{}:{path}", row.login, row.host)
}

/// `r12`, `send`, `replay r12`.
pub(super) fn source_of(row: &DeliveryRow) -> String {
    match (row.source, row.revision) {
        (crate::journal::Source::Revision, Some(revision)) => format!("r{revision}"),
        (source, Some(revision)) => format!("{} r{revision}", source.as_str()),
        (source, None) => source.as_str().to_owned(),
    }
}

/// The state, what is wrong if something is, and when one that waits is tried again.
pub(super) fn state_of(row: &DeliveryRow) -> String {
    let mut state = row.state.to_string();
    if row.state == State::Waiting {
        state = format!("{state} until {}", local(row.due_at));
    }
    match (&row.fault, &row.error) {
        (Some(fault), Some(error)) => format!("{state}: {fault}: {error}"),
        _ => state,
    }
}

/// How a state is meant.
pub(super) fn tone_of(state: State) -> Tone {
    match state {
        State::Done => Tone::Good,
        State::Failed | State::Unknown => Tone::Bad,
        State::Waiting => Tone::Warn,
        State::Running => Tone::Busy,
        State::Queued => Tone::Plain,
        State::Cancelled => Tone::Dim,
    }
}

/// [`state_of`] in its tone.
pub(super) fn state_cell(row: &DeliveryRow) -> Cell {
    Cell::new(&state_of(row), tone_of(row.state))
}

/// What became of deliveries, for people.
pub(super) fn results_table(rows: &[DeliveryRow]) -> Table {
    let mut table = Table::new(&[
        "ID", "TIME", "SOURCE", "PACKAGE", "SIZE", "TO", "BY", "STATE",
    ])
    .giving_way(&[3, 5]);
    for row in rows {
        table.row([
            Cell::from(row.id.to_string()),
            local(row.settled_at.unwrap_or(row.queued_at)).into(),
            source_of(row).into(),
            row.package.clone().into(),
            row.size.map_or_else(|| "-".to_owned(), bytes).into(),
            destination(row).into(),
            row.transport.as_deref().unwrap_or("-").into(),
            state_cell(row),
        ]);
    }
    table
}
