//! `status`: what is going on and what is stuck.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::Globals;
use super::lines::{
    DeliveryJson, destination, json_line, line_of, local, rfc3339, source_of, state_cell,
};
use super::screen::Screen;
use super::setup::Setup;
use super::table::{Cell, Table};
use crate::domain::text::{escape, shell_quote};
use crate::error::Result;
use crate::journal::{
    BatchRow, DeliveryRow, DropDirectoryRow, GapRow, HistoryFilter, RepositoryRow,
};
use crate::worker::presence;

/// What is going on, and what is stuck
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct WorkerJson {
    worker: i64,
    pid: u32,
    started_at: String,
    /// The same, for people.
    #[serde(skip)]
    began: String,
}

#[derive(Serialize)]
struct RepositoryJson<'a> {
    repository: &'a str,
    uuid: &'a str,
    last_revision: Option<u64>,
    unplanned: u64,
}

#[derive(Serialize)]
struct DropDirectoryJson<'a> {
    drop_directory: &'a str,
    files: u64,
    first_at: String,
    /// None: what was there before the first start is not known yet.
    stocked_at: Option<String>,
    trouble: Option<&'a str>,
}

#[derive(Serialize)]
struct BatchJson<'a> {
    batch: i64,
    source: &'static str,
    repository: Option<String>,
    revision: Option<u64>,
    state: &'a str,
    error: Option<&'a str>,
    /// None: it is held until the operator decides.
    due_at: Option<String>,
}

#[derive(Serialize)]
struct GapJson<'a> {
    gap: Range<'a>,
}

#[derive(Serialize)]
struct Range<'a> {
    repository: &'a str,
    low: u64,
    high: u64,
    revisions: u64,
    noticed_at: String,
}

/// Everything that `status` tells of.
struct Standing {
    workers: Vec<WorkerJson>,
    repositories: Vec<RepositoryRow>,
    unplanned: Vec<BatchRow>,
    gaps: Vec<GapRow>,
    drop_directories: Vec<DropDirectoryRow>,
    deliveries: Vec<DeliveryRow>,
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let (state, journal) = Setup::new(globals, None, true)?.look()?;
    let mut workers = Vec::new();
    for id in presence::living(&state) {
        if let Some((pid, started_at)) = journal.worker(id)? {
            workers.push(WorkerJson {
                worker: id,
                pid,
                started_at: rfc3339(started_at),
                began: local(started_at),
            });
        }
    }
    let standing = Standing {
        workers,
        repositories: journal.repositories()?,
        unplanned: journal.unplanned_batches()?,
        gaps: journal.gaps()?,
        drop_directories: journal.drop_directories()?,
        deliveries: journal.deliveries(&HistoryFilter {
            unsettled: true,
            oldest_first: true,
            ..HistoryFilter::default()
        })?,
    };
    if args.json {
        print_json(&standing, out)?;
        return Ok(0);
    }
    print_workers(&standing.workers, out)?;
    if let Some(failure) = presence::last_failure(&state) {
        let line = format!("the last worker that a hook started could not work: {failure}");
        line_of(out, &escape(&line))?;
    }
    print_repositories(&standing.repositories, &standing.unplanned, globals, out)?;
    print_gaps(&standing.gaps, globals, out)?;
    print_drop_directories(&standing.drop_directories, out)?;
    print_deliveries(&standing, out)?;
    for (lane, delivery) in journal.stopped_lanes()? {
        let line = format!(
            "the lane {lane} is stopped by the failure of delivery {delivery} (on_failure = stop); `retry {delivery}` \
             or `dismiss {delivery}` lets it go on"
        );
        line_of(out, &escape(&line))?;
    }
    print_ways_out(&standing.deliveries, out)?;
    Ok(0)
}

fn print_json(standing: &Standing, out: &mut dyn Write) -> Result<()> {
    for worker in &standing.workers {
        json_line(out, worker)?;
    }
    for repository in &standing.repositories {
        json_line(
            out,
            &RepositoryJson {
                repository: &repository.path.to_string_lossy(),
                uuid: &repository.uuid,
                last_revision: repository.last_revision,
                unplanned: repository.unplanned,
            },
        )?;
    }
    for row in &standing.drop_directories {
        json_line(
            out,
            &DropDirectoryJson {
                drop_directory: &row.path.to_string_lossy(),
                files: row.files,
                first_at: rfc3339(row.first_at),
                stocked_at: row.stocked_at.map(rfc3339),
                trouble: row.trouble.as_deref(),
            },
        )?;
    }
    for batch in &standing.unplanned {
        json_line(out, &batch_json(batch))?;
    }
    for gap in &standing.gaps {
        json_line(out, &gap_json(gap))?;
    }
    let mut deliveries = standing.deliveries.iter();
    deliveries.try_for_each(|row| json_line(out, &DeliveryJson::new(row)))
}

fn print_deliveries(standing: &Standing, out: &mut dyn Write) -> Result<()> {
    let mut table = Table::new(&["ID", "SOURCE", "PACKAGE", "TO", "STEP", "TRIES", "STATE"])
        .giving_way(&[2, 3]);
    for row in &standing.deliveries {
        table.row([
            Cell::from(row.id.to_string()),
            source_of(row).into(),
            row.package.clone().into(),
            destination(row).into(),
            row.step.as_str().into(),
            row.attempts.to_string().into(),
            state_cell(row),
        ]);
    }
    if !table.is_empty() {
        return table.print(&Screen::stdout(), out);
    }
    if standing.unplanned.is_empty() {
        return line_of(out, "all deliveries are settled");
    }
    Ok(())
}

/// What the operator can do about what is listed.
fn print_ways_out(deliveries: &[DeliveryRow], out: &mut dyn Write) -> Result<()> {
    if deliveries.iter().all(|row| row.state.is_open()) {
        return Ok(());
    }
    line_of(
        out,
        "failed or unknown: `show ID` tells more, `retry ID` queues it again, `dismiss ID` puts it away",
    )
}

fn batch_json(batch: &BatchRow) -> BatchJson<'_> {
    BatchJson {
        batch: batch.id,
        source: batch.source.as_str(),
        repository: batch
            .repository
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned()),
        revision: batch.revision,
        state: &batch.state,
        error: batch.plan_error.as_deref(),
        due_at: (!batch.is_held()).then(|| rfc3339(batch.due_at)),
    }
}

fn gap_json(gap: &GapRow) -> impl Serialize + '_ {
    // A path that was recorded is UTF-8.
    GapJson {
        gap: Range {
            repository: gap.repository.to_str().unwrap_or_default(),
            low: gap.low,
            high: gap.high,
            revisions: gap.revisions(),
            noticed_at: rfc3339(gap.noticed_at),
        },
    }
}

/// The gaps, each with the two commands that end it.
fn print_gaps(gaps: &[GapRow], globals: &Globals, out: &mut dyn Write) -> Result<()> {
    if gaps.is_empty() {
        return Ok(());
    }
    line_of(
        out,
        "revisions that no hook recorded, too many to be dispatched unasked (catch_up_max):",
    )?;
    let program = program(globals);
    let mut table = Table::new(&[
        "REPOSITORY",
        "GAP",
        "REVISIONS",
        "TO DISPATCH THEM",
        "TO LET THEM GO",
    ]);
    for gap in gaps {
        let (path, low, high) = (gap.repository.to_string_lossy(), gap.low, gap.high);
        let command = |word: &str| format!("{program} {word} {} {low}:{high}", shell_quote(&path));
        table.row([
            path.to_string(),
            format!("r{low}:r{high}"),
            gap.revisions().to_string(),
            command("replay"),
            command("dismiss"),
        ]);
    }
    table.print(&Screen::stdout(), out)
}

fn print_drop_directories(rows: &[DropDirectoryRow], out: &mut dyn Write) -> Result<()> {
    for row in rows {
        let mut line = format!(
            "drop directory {}: {} files known",
            row.path.display(),
            row.files
        );
        if row.stocked_at.is_none() {
            line.push_str(", stock not taken yet");
        }
        if let Some(trouble) = &row.trouble {
            line.push_str("; ");
            line.push_str(trouble);
        }
        line_of(out, &escape(&line))?;
    }
    Ok(())
}

/// The beginning of a command that reads the configuration that this one read.
fn program(globals: &Globals) -> String {
    match &globals.config {
        Some(config) => format!(
            "auto-dispatcher --config {}",
            shell_quote(&config.to_string_lossy())
        ),
        None => "auto-dispatcher".to_owned(),
    }
}

fn print_workers(workers: &[WorkerJson], out: &mut dyn Write) -> Result<()> {
    if workers.is_empty() {
        return line_of(
            out,
            "no worker lives; the next hook starts one, or `auto-dispatcher worker`",
        );
    }
    workers.iter().try_for_each(|worker| {
        line_of(
            out,
            &format!(
                "worker {} (pid {}) since {}",
                worker.worker, worker.pid, worker.began
            ),
        )
    })
}

fn print_repositories(
    repositories: &[RepositoryRow],
    unplanned: &[BatchRow],
    globals: &Globals,
    out: &mut dyn Write,
) -> Result<()> {
    let program = program(globals);
    for repository in repositories {
        let is_alone = repositories
            .iter()
            .all(|other| other.path != repository.path || other.uuid == repository.uuid);
        let uuid = if is_alone {
            String::new()
        } else {
            format!(" (UUID {})", repository.uuid)
        };
        let last = repository.last_revision.map_or_else(
            || "only replayed".to_owned(),
            |revision| format!("r{revision} recorded"),
        );
        line_of(
            out,
            &format!(
                "repository {}{uuid}: {last}",
                escape(&repository.path.to_string_lossy())
            ),
        )?;
    }
    for batch in unplanned {
        let line = match &batch.plan_error {
            Some(error) if batch.is_held() => {
                format!(
                    "{} is held, with later revisions of its repository: {error}",
                    batch.describe()
                )
            }
            Some(error) => format!(
                "{} cannot be planned, and holds up later revisions of its repository (tries: {}, again at {}): \
                 {error}; mend it, or let the revision go: {program} dismiss {} {}",
                batch.describe(),
                batch.plan_attempts,
                local(batch.due_at),
                shell_quote(
                    &batch
                        .repository
                        .as_deref()
                        .unwrap_or(Path::new(""))
                        .to_string_lossy()
                ),
                batch.revision.unwrap_or_default()
            ),
            None => format!("{} is recorded and not planned yet", batch.describe()),
        };
        line_of(out, &escape(&line))?;
    }
    Ok(())
}
