//! `show ID`: one delivery, each attempt at it, and what its install command printed.

use std::io::Write;

use serde::Serialize;

use super::Globals;
use super::lines::{
    DeliveryJson, bytes, destination, json_line, line_of, local, rfc3339, source_of, state_of,
};
use super::setup::Setup;
use crate::domain::text::escape;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{AttemptRow, DeliveryRow};

/// One delivery with its attempts and the install command's output
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The delivery, as `history` numbers it
    #[arg(value_name = "ID")]
    id: i64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct AttemptJson {
    number: u32,
    worker: i64,
    started_at: String,
    ended_at: Option<String>,
    step: Option<String>,
    outcome: Option<String>,
    transport: Option<String>,
    fingerprint: Option<String>,
    detail: Option<String>,
    verified: Option<String>,
    fault: Option<String>,
    error: Option<String>,
    exit_status: Option<i32>,
    output: Option<String>,
    output_cut: u64,
}

#[derive(Serialize)]
struct ShowJson<'a> {
    #[serde(flatten)]
    delivery: DeliveryJson<'a>,
    author: Option<&'a str>,
    rule_line: u64,
    dest_dir: &'a str,
    install_command: Option<&'a str>,
    dismissed_at: Option<String>,
    attempt_list: Vec<AttemptJson>,
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let (_, journal) = Setup::new(globals, None, true)?.look()?;
    let Some(row) = journal.delivery(args.id)? else {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("there is no delivery {}", args.id),
        )
        .with_hint("`auto-dispatcher history` lists them"));
    };
    let attempts = journal.attempts(args.id)?;
    if args.json {
        json_line(
            out,
            &ShowJson {
                delivery: DeliveryJson::new(&row),
                author: row.author.as_deref(),
                rule_line: row.rule_line,
                dest_dir: &row.dest_dir,
                install_command: row.install_command.as_deref(),
                dismissed_at: row.dismissed_at.map(rfc3339),
                attempt_list: attempts.into_iter().map(attempt_json).collect(),
            },
        )?;
        return Ok(0);
    }
    print_delivery(&row, out)?;
    attempts
        .iter()
        .try_for_each(|attempt| print_attempt(attempt, out))?;
    Ok(0)
}

fn attempt_json(attempt: AttemptRow) -> AttemptJson {
    AttemptJson {
        number: attempt.number,
        worker: attempt.worker,
        started_at: rfc3339(attempt.started_at),
        ended_at: attempt.ended_at.map(rfc3339),
        step: attempt.step,
        outcome: attempt.outcome,
        transport: attempt.transport,
        fingerprint: attempt.fingerprint,
        detail: attempt.detail,
        verified: attempt.verified,
        fault: attempt.fault,
        error: attempt.error,
        exit_status: attempt.exit_status,
        output: attempt
            .output
            .map(|output| String::from_utf8_lossy(&output).into_owned()),
        output_cut: attempt.output_cut,
    }
}

fn print_delivery(row: &DeliveryRow, out: &mut dyn Write) -> Result<()> {
    let mut field =
        |name: &str, value: &str| line_of(out, &format!("{name:<10} {}", escape(value)));
    field("delivery", &format!("{} of batch {}", row.id, row.batch))?;
    field("state", &state_of(row))?;
    field("package", &row.path)?;
    let from = match (&row.repository, &row.author) {
        _ if row.directory.is_some() => format!(
            "the drop directory {}",
            row.directory.as_deref().unwrap_or_default()
        ),
        (Some(repository), Some(author)) => {
            format!("{} of {repository}, by {author}", source_of(row))
        }
        (Some(repository), None) => format!("{} of {repository}", source_of(row)),
        _ => source_of(row),
    };
    field("from", &from)?;
    field("rule", &format!("[{}] (line {})", row.rule, row.rule_line))?;
    field("to", &destination(row))?;
    if let (Some(sha256), Some(size)) = (&row.sha256, row.size) {
        field(
            "bytes",
            &format!("{} ({size}), SHA-256 {sha256}", bytes(size)),
        )?;
    }
    field("install", row.install_command.as_deref().unwrap_or("none"))?;
    field("queued", &local(row.queued_at))?;
    if let Some(settled) = row.settled_at {
        field("settled", &local(settled))?;
    }
    if let Some(dismissed) = row.dismissed_at {
        field("dismissed", &local(dismissed))?;
    }
    Ok(())
}

fn print_attempt(attempt: &AttemptRow, out: &mut dyn Write) -> Result<()> {
    let took = attempt.ended_at.map_or_else(
        || "still running".to_owned(),
        |ended| format!("{:.3} s", (ended - attempt.started_at).as_seconds_f64()),
    );
    line_of(
        out,
        &format!(
            "attempt {}  {}  {took}  worker {}  {}",
            attempt.number,
            local(attempt.started_at),
            attempt.worker,
            attempt.outcome.as_deref().unwrap_or("running"),
        ),
    )?;
    let mut detail = |name: &str, value: Option<&str>| match value {
        Some(value) => line_of(out, &format!("  {name:<12} {}", escape(value))),
        None => Ok(()),
    };
    detail("step", attempt.step.as_deref())?;
    let transport = match (&attempt.transport, &attempt.detail) {
        (Some(transport), Some(detail)) => Some(format!("{transport} ({detail})")),
        (transport, _) => transport.clone(),
    };
    detail("transport", transport.as_deref())?;
    detail("key", attempt.fingerprint.as_deref())?;
    detail("verified by", attempt.verified.as_deref())?;
    let fault = match (&attempt.fault, &attempt.error) {
        (Some(fault), Some(error)) => Some(format!("{fault}: {error}")),
        (_, error) => error.clone(),
    };
    detail("fault", fault.as_deref())?;
    detail(
        "exit status",
        attempt
            .exit_status
            .map(|status| status.to_string())
            .as_deref(),
    )?;
    if let Some(output) = &attempt.output {
        print_output(output, attempt.output_cut, out)?;
    }
    Ok(())
}

/// What the command printed, its lines kept, everything else that moves a cursor escaped.
fn print_output(output: &[u8], cut: u64, out: &mut dyn Write) -> Result<()> {
    if cut > 0 {
        line_of(
            out,
            &format!("  | ... {} before this are not kept", bytes(cut)),
        )?;
    }
    String::from_utf8_lossy(output)
        .lines()
        .try_for_each(|line| line_of(out, &format!("  | {}", escape(line))))
}
