//! `show ID`: the whole life of one delivery: where it came from, why it was planned, each attempt at it, what its
//! install command printed, and what may be done about it.

use std::io::Write;

use serde::Serialize;

use super::Globals;
use super::lines::{
    DeliveryJson, bytes, destination, json_line, line_of, local, rfc3339, source_of, state_of,
    tone_of,
};
use super::screen::{Screen, Tone};
use super::setup::Setup;
use super::typed::{Program, print_command, quoted};
use crate::domain::delivery::State;
use crate::domain::pattern::Pattern;
use crate::domain::text::escape;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{AttemptRow, DeliveryRow, Journal, OriginRow, ReplayRow};

/// The whole life of one delivery
///
/// Where it came from, the rule and why it matched, each attempt, the install command's output, what repeats it, and the
/// commands that decide about it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The delivery, as `history` numbers it
    #[arg(value_name = "ID")]
    id: i64,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// All of the install command's output that is kept, not only its end
    #[arg(long, conflicts_with = "json")]
    output: bool,
}

/// So many lines of output are shown.
const OUTPUT_LINES: usize = 40;

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
    rule_line: u64,
    dest_dir: &'a str,
    install_command: Option<&'a str>,
    dismissed_at: Option<String>,
    attempt_list: Vec<AttemptJson>,
    recorded_at: Option<String>,
    committed_at: Option<String>,
    message: Option<&'a str>,
    replays: Vec<ReplayJson>,
}

#[derive(Serialize)]
struct ReplayJson {
    id: i64,
    batch: i64,
    queued_at: String,
    state: &'static str,
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
    let origin = origin_of(&journal, row.batch)?;
    let replays = journal.replays(args.id)?;
    if args.json {
        let told = origin.as_ref();
        json_line(
            out,
            &ShowJson {
                delivery: DeliveryJson::new(&row),
                rule_line: row.rule_line,
                dest_dir: &row.dest_dir,
                install_command: row.install_command.as_deref(),
                dismissed_at: row.dismissed_at.map(rfc3339),
                attempt_list: attempts.into_iter().map(attempt_json).collect(),
                recorded_at: told.map(|origin| rfc3339(origin.recorded_at)),
                committed_at: told.and_then(|origin| origin.committed_at).map(rfc3339),
                message: told.and_then(|origin| origin.message.as_deref()),
                replays: replays.iter().map(replay_json).collect(),
            },
        )?;
        return Ok(0);
    }
    let mut page = Page {
        screen: Screen::stdout(),
        out,
    };
    print_delivery(&row, origin.as_ref(), &mut page)?;
    for attempt in &attempts {
        print_attempt(attempt, args.output, &mut page)?;
    }
    print_replays(&row, &replays, &mut page)?;
    print_decisions(&row, &Program::of(globals), &mut page)?;
    Ok(0)
}

/// Where a batch came from; a replay says when it was asked for itself, and what was committed says the batch that it
/// repeats.
fn origin_of(journal: &Journal, batch: i64) -> Result<Option<OriginRow>> {
    let Some(mut origin) = journal.origin(batch)? else {
        return Ok(None);
    };
    if let Some(cited) = origin
        .cites
        .map(|cited| journal.origin(cited))
        .transpose()?
        .flatten()
    {
        origin.committed_at = origin.committed_at.or(cited.committed_at);
        origin.message = origin.message.or(cited.message);
    }
    Ok(Some(origin))
}

fn replay_json(replay: &ReplayRow) -> ReplayJson {
    ReplayJson {
        id: replay.delivery,
        batch: replay.batch,
        queued_at: rfc3339(replay.queued_at),
        state: replay.state.as_str(),
    }
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

/// Where it is printed.
struct Page<'a> {
    screen: Screen,
    out: &'a mut dyn Write,
}

impl Page<'_> {
    /// A name and what belongs to it, which is wrapped beside it.
    fn field(&mut self, indent: usize, name: &str, value: &str, tone: Tone) -> Result<()> {
        let margin = indent + 13;
        let mut label = format!("{}{name:<13}", " ".repeat(indent));
        for part in self.screen.wrap(&escape(value), margin) {
            let shown = self.screen.paint(tone, &part);
            line_of(self.out, &format!("{label}{shown}"))?;
            label = " ".repeat(margin);
        }
        Ok(())
    }

    fn plain(&mut self, name: &str, value: &str) -> Result<()> {
        self.field(0, name, value, Tone::Plain)
    }

    fn detail(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        match value {
            Some(value) => self.field(2, name, value, Tone::Plain),
            None => Ok(()),
        }
    }
}

fn print_delivery(
    row: &DeliveryRow,
    origin: Option<&OriginRow>,
    page: &mut Page<'_>,
) -> Result<()> {
    page.plain("delivery", &format!("{} of batch {}", row.id, row.batch))?;
    page.field(0, "state", &state_of(row), tone_of(row.state))?;
    page.plain("package", &row.path)?;
    page.plain("from", &came_from(row))?;
    if let Some(origin) = origin {
        if let Some(committed) = origin.committed_at {
            page.plain("committed", &local(committed))?;
        }
        if let Some(message) = &origin.message {
            let mut name = "message";
            for line in message.lines() {
                page.plain(name, line)?;
                name = "";
            }
        }
        page.plain("recorded", &local(origin.recorded_at))?;
    }
    let rule = format!("[{}] (line {}){}", row.rule, row.rule_line, why(row));
    page.plain("rule", &rule)?;
    page.plain("to", &destination(row))?;
    if let (Some(sha256), Some(size)) = (&row.sha256, row.size) {
        page.plain(
            "bytes",
            &format!("{} ({size}), SHA-256 {sha256}", bytes(size)),
        )?;
    }
    let install = row.install_command.as_deref().unwrap_or("none");
    page.plain("install", install)?;
    page.plain("queued", &local(row.queued_at))?;
    if let Some(settled) = row.settled_at {
        let took = settled - row.queued_at;
        let took = format!("{}, {:.3} s later", local(settled), took.as_seconds_f64());
        page.plain("settled", &took)?;
    }
    if let Some(dismissed) = row.dismissed_at {
        page.plain("dismissed", &local(dismissed))?;
    }
    Ok(())
}

fn came_from(row: &DeliveryRow) -> String {
    match (&row.repository, &row.author) {
        _ if row.directory.is_some() => format!(
            "the drop directory {}",
            row.directory.as_deref().unwrap_or_default()
        ),
        (Some(repository), Some(author)) => {
            format!("{} of {repository}, by {author}", source_of(row))
        }
        (Some(repository), None) => format!("{} of {repository}", source_of(row)),
        _ => source_of(row),
    }
}

/// Why the rule took the package, as far as its name tells.
fn why(row: &DeliveryRow) -> String {
    let matches = Pattern::new(&row.rule).is_ok_and(|pattern| {
        pattern
            .matches_at_start(&row.package)
            .is_ok_and(|matches| matches)
    });
    if matches {
        format!(
            ": the first rule then whose name matches {} at its start",
            row.package
        )
    } else {
        String::new()
    }
}

fn print_attempt(attempt: &AttemptRow, whole: bool, page: &mut Page<'_>) -> Result<()> {
    let took = attempt.ended_at.map_or_else(
        || "still running".to_owned(),
        |ended| format!("{:.3} s", (ended - attempt.started_at).as_seconds_f64()),
    );
    let outcome = attempt.outcome.as_deref().unwrap_or("running");
    let tone = State::parse(outcome).map_or(Tone::Plain, tone_of);
    line_of(
        page.out,
        &format!(
            "attempt {}  {}  {took}  worker {}  {}",
            attempt.number,
            local(attempt.started_at),
            attempt.worker,
            page.screen.paint(tone, outcome),
        ),
    )?;
    page.detail("step", attempt.step.as_deref())?;
    let transport = match (&attempt.transport, &attempt.detail) {
        (Some(transport), Some(detail)) => Some(format!("{transport} ({detail})")),
        (transport, _) => transport.clone(),
    };
    page.detail("transport", transport.as_deref())?;
    page.detail("key", attempt.fingerprint.as_deref())?;
    page.detail("verified by", attempt.verified.as_deref())?;
    let fault = match (&attempt.fault, &attempt.error) {
        (Some(fault), Some(error)) => Some(format!("{fault}: {error}")),
        (_, error) => error.clone(),
    };
    if let Some(fault) = fault {
        page.field(2, "fault", &fault, Tone::Bad)?;
    }
    let status = attempt.exit_status.map(|status| status.to_string());
    page.detail("exit status", status.as_deref())?;
    if let Some(output) = &attempt.output {
        print_output(output, attempt.output_cut, whole, page.out)?;
    }
    Ok(())
}

fn print_replays(row: &DeliveryRow, replays: &[ReplayRow], page: &mut Page<'_>) -> Result<()> {
    for replay in replays {
        let name = if replay.delivery < row.id {
            "repeats"
        } else {
            "repeated by"
        };
        let what = format!(
            "delivery {} of batch {}, queued {}: {}",
            replay.delivery,
            replay.batch,
            local(replay.queued_at),
            replay.state
        );
        page.field(0, name, &what, tone_of(replay.state))?;
    }
    Ok(())
}

/// What the operator may type next.
fn print_decisions(row: &DeliveryRow, program: &Program, page: &mut Page<'_>) -> Result<()> {
    let id = row.id.to_string();
    let again = || -> Option<Vec<String>> {
        let path = quoted(row.repository.as_deref()?.as_ref());
        let revision = row.revision?.to_string();
        Some(program.with(&["replay", &path, &revision]))
    };
    let ways: Vec<(&str, Option<Vec<String>>)> = match row.state {
        State::Failed | State::Unknown => vec![
            ("queue it again", Some(program.with(&["retry", &id]))),
            ("put it away", Some(program.with(&["dismiss", &id]))),
        ],
        State::Queued | State::Waiting => {
            vec![("give it up", Some(program.with(&["cancel", &id])))]
        }
        State::Done | State::Cancelled => vec![("deliver its revision again", again())],
        State::Running => vec![(
            "see how far it is",
            Some(program.with(&["status", "--watch"])),
        )],
    };
    for (what, command) in ways {
        let Some(command) = command else { continue };
        line_of(page.out, &format!("to {what}:"))?;
        print_command(&command, 2, &page.screen, page.out)?;
    }
    Ok(())
}

/// The end of what the command printed, its lines kept, everything else that moves a cursor escaped.
fn print_output(output: &[u8], cut: u64, whole: bool, out: &mut dyn Write) -> Result<()> {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().collect();
    let most = if whole { usize::MAX } else { OUTPUT_LINES };
    let hidden = lines.len().saturating_sub(most);
    if cut > 0 {
        let line = format!("  | ... {} before this are not kept", bytes(cut));
        line_of(out, &line)?;
    }
    if hidden > 0 {
        let line = format!("  | ... {hidden} lines before this are shown by `show --output`");
        line_of(out, &line)?;
    }
    let mut shown = lines.iter().skip(hidden);
    shown.try_for_each(|line| line_of(out, &format!("  | {}", escape(line))))
}
