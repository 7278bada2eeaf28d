//! `status` for people: the headline, then what it is made of, the worst in detail, as much of it as one screen holds.

use std::io::Write;
use std::path::Path;

use super::headline::{self, counted};
use super::progress;
use super::standing::{Disk, Lane, Standing, Worker};
use super::troubled;
use crate::cli::lines::{bytes, line_of, local, source_of, state_cell};
use crate::cli::screen::{Screen, Tone};
use crate::cli::table::{Cell, Table};
use crate::cli::typed::{Program, print_command, quoted};
use crate::cli::unsent;
use crate::domain::delivery::State;
use crate::domain::text::escape;
use crate::error::Result;
use crate::journal::{BatchRow, DropDirectoryRow, GapRow, RepositoryRow, Unsent};

/// Where it is printed, and how much of each kind.
pub(super) struct Page<'a> {
    pub(super) screen: Screen,
    pub(super) program: Program,
    pub(super) out: &'a mut dyn Write,
    /// At most so many of a kind; none: all.
    pub(super) most: Option<usize>,
}

impl Page<'_> {
    /// Text in its tone; lines behind the first are indented.
    pub(super) fn text(&mut self, indent: usize, tone: Tone, text: &str) -> Result<()> {
        let text = escape(text);
        let mut margin = indent;
        let lines = self.screen.wrap(&text, indent + 2);
        for line in lines {
            let shown = self.screen.paint(tone, &line);
            line_of(self.out, &format!("{}{shown}", " ".repeat(margin)))?;
            margin = indent + 2;
        }
        Ok(())
    }

    pub(super) fn heading(&mut self, text: &str) -> Result<()> {
        line_of(self.out, "")?;
        let shown = self.screen.paint(Tone::Dim, text).into_owned();
        line_of(self.out, &shown)
    }

    pub(super) fn command(&mut self, indent: usize, words: &[&str]) -> Result<()> {
        let words = self.program.with(words);
        print_command(&words, indent, &self.screen, self.out)
    }

    fn table(&mut self, table: &Table) -> Result<()> {
        table.print(&self.screen, self.out)
    }

    /// The part of `rows` that is shown, and how many are not.
    pub(super) fn some<'r, T>(&self, rows: &'r [T]) -> (&'r [T], usize) {
        let shown = self.most.unwrap_or(usize::MAX).min(rows.len());
        (&rows[..shown], rows.len() - shown)
    }

    pub(super) fn more(&mut self, count: usize, what: &str) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        self.text(
            2,
            Tone::Dim,
            &format!("... and {count} more {what}; `status --all` lists them"),
        )
    }
}

pub(super) fn print(standing: &Standing, page: &mut Page<'_>) -> Result<()> {
    let (line, tone) = headline::of(standing);
    page.text(0, tone, &line)?;
    line_of(page.out, "")?;
    print_workers(standing, page)?;
    let (shown, more) = page.some(&standing.repositories);
    for repository in shown {
        print_repository(repository, &standing.repositories, page)?;
    }
    page.more(more, "repositories")?;
    print_drop_directories(&standing.drop_directories, page)?;
    if let Some(disk) = &standing.disk {
        print_disk(disk, page)?;
    }
    print_unsent(&standing.unsent, page)?;
    troubled::print(standing, page)?;
    print_unplanned(&standing.unplanned, page)?;
    print_gaps(&standing.gaps, page)?;
    print_running(standing, page)?;
    print_lanes(standing, page)
}

/// Notices that did not arrive: who relies on them has to know.
fn print_unsent(rows: &[Unsent], page: &mut Page<'_>) -> Result<()> {
    let (shown, more) = page.some(rows);
    for row in shown {
        page.text(0, Tone::Bad, &unsent::line(row))?;
    }
    page.more(more, "notices that could not be sent")
}

fn print_workers(standing: &Standing, page: &mut Page<'_>) -> Result<()> {
    if standing.workers.is_empty() {
        let line = "no worker lives; the next hook starts one, or `auto-dispatcher worker`";
        page.text(0, Tone::Plain, line)?;
    }
    for worker in &standing.workers {
        page.text(0, Tone::Plain, &line_of_worker(worker))?;
    }
    if let Some(failure) = &standing.last_failure {
        let line = format!("the last worker that a hook started could not work: {failure}");
        page.text(0, Tone::Bad, &line)?;
    }
    Ok(())
}

fn line_of_worker(worker: &Worker) -> String {
    let role = match worker.row.role.as_str() {
        "worker" => "the service",
        "detached" => "started by a hook",
        _ => "in the foreground",
    };
    let does = match worker.running {
        0 => "idle".to_owned(),
        running => format!("{} running", counted(running, "delivery", "deliveries")),
    };
    format!(
        "worker {} (pid {}) since {}, {role}: {does}",
        worker.id,
        worker.row.pid,
        local(worker.row.started_at)
    )
}

fn print_repository(
    repository: &RepositoryRow,
    all: &[RepositoryRow],
    page: &mut Page<'_>,
) -> Result<()> {
    let is_alone = all
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
    let unplanned = match repository.unplanned {
        0 => String::new(),
        count => format!(", {count} not planned yet"),
    };
    let path = repository.path.to_string_lossy();
    page.text(
        0,
        Tone::Plain,
        &format!("repository {path}{uuid}: {last}{unplanned}"),
    )
}

fn print_drop_directories(rows: &[DropDirectoryRow], page: &mut Page<'_>) -> Result<()> {
    for row in rows {
        let mut line = format!(
            "drop directory {}: {} files known",
            row.path.display(),
            row.files
        );
        if row.stocked_at.is_none() {
            line.push_str(", stock not taken yet");
        }
        let mut tone = Tone::Plain;
        if let Some(trouble) = &row.trouble {
            line.push_str("; ");
            line.push_str(trouble);
            tone = Tone::Bad;
        }
        page.text(0, tone, &line)?;
    }
    Ok(())
}

fn print_disk(disk: &Disk, page: &mut Page<'_>) -> Result<()> {
    let line = format!(
        "disk of {}: {} of {} free; spool {} of {}, journal {}",
        disk.path,
        bytes(disk.free),
        bytes(disk.total),
        bytes(disk.spool_used),
        bytes(disk.spool_max),
        bytes(disk.journal)
    );
    if disk.is_short() {
        page.text(
            0,
            Tone::Warn,
            &format!("{line}; make room there, or move state_dir"),
        )
    } else if disk.spool_is_short() {
        let way_out = "what failed keeps its place there until it is retried or dismissed; spool_max may be raised";
        page.text(0, Tone::Warn, &format!("{line}; {way_out}"))
    } else {
        page.text(0, Tone::Plain, &line)
    }
}

fn print_unplanned(unplanned: &[BatchRow], page: &mut Page<'_>) -> Result<()> {
    if unplanned.is_empty() {
        return Ok(());
    }
    page.heading("NOT PLANNED")?;
    let (shown, more) = page.some(unplanned);
    for batch in shown {
        print_batch(batch, page)?;
    }
    page.more(more, "revisions")
}

fn print_batch(batch: &BatchRow, page: &mut Page<'_>) -> Result<()> {
    let what = batch.describe();
    let Some(error) = &batch.plan_error else {
        return page.text(
            2,
            Tone::Plain,
            &format!("{what} is recorded and not planned yet"),
        );
    };
    if batch.is_held() {
        let line = format!("{what} is held, with later revisions of its repository: {error}");
        return page.text(2, Tone::Bad, &line);
    }
    let line = format!(
        "{what} cannot be planned, and holds up later revisions of its repository (tries: {}, again at {}): {error}; \
         mend it, or let the revision go:",
        batch.plan_attempts,
        local(batch.due_at)
    );
    page.text(2, Tone::Bad, &line)?;
    let path = quoted(batch.repository.as_deref().unwrap_or(Path::new("")));
    let revision = batch.revision.unwrap_or_default().to_string();
    page.command(4, &["dismiss", &path, &revision])
}

/// The gaps, each with the two commands that end it.
fn print_gaps(gaps: &[GapRow], page: &mut Page<'_>) -> Result<()> {
    if gaps.is_empty() {
        return Ok(());
    }
    page.heading("GAPS")?;
    let why = "revisions that no hook recorded, too many to be dispatched unasked (catch_up_max); `replay` dispatches \
               them, `dismiss` lets them go:";
    page.text(2, Tone::Warn, why)?;
    let (shown, more) = page.some(gaps);
    for gap in shown {
        let (low, high) = (gap.low, gap.high);
        let line = format!(
            "r{low}:r{high}  {} of {}, noticed at {}",
            gap.revisions(),
            gap.repository.display(),
            local(gap.noticed_at)
        );
        page.text(2, Tone::Plain, &line)?;
        let (path, range) = (quoted(&gap.repository), format!("{low}:{high}"));
        for word in ["replay", "dismiss"] {
            page.command(4, &[word, &path, &range])?;
        }
    }
    page.more(more, "gaps")
}

fn print_running(standing: &Standing, page: &mut Page<'_>) -> Result<()> {
    if standing.running.is_empty() {
        return Ok(());
    }
    line_of(page.out, "")?;
    let (shown, more) = page.some(&standing.running);
    let mut table = Table::new(&["ID", "SOURCE", "PACKAGE", "TO", "RUNNING"]).giving_way(&[2, 3]);
    for running in shown {
        let row = &running.row;
        table.row([
            Cell::from(row.id.to_string()),
            source_of(row).into(),
            row.package.clone().into(),
            row.lane.clone().into(),
            Cell::new(&progress::of(running, standing.now), Tone::Busy),
        ]);
    }
    page.table(&table)?;
    page.more(more, "running deliveries")
}

fn print_lanes(standing: &Standing, page: &mut Page<'_>) -> Result<()> {
    let waits = |lane: &&Lane| lane.waiting() > 0;
    let lanes: Vec<&Lane> = standing.lanes.iter().filter(waits).collect();
    if lanes.is_empty() {
        return Ok(());
    }
    line_of(page.out, "")?;
    let mut table = Table::new(&["LANE", "WAIT", "BEHIND"]).giving_way(&[0]);
    for lane in lanes {
        table.row([
            Cell::from(lane.row.lane.clone()),
            lane.waiting().to_string().into(),
            behind(lane),
        ]);
    }
    page.table(&table)?;
    page.more(standing.lanes_more, "lanes")
}

/// What the lane stands at.
fn behind(lane: &Lane) -> Cell {
    let first = &lane.first;
    if let Some(id) = lane.stopped_by {
        let text = format!(
            "stopped by the failure of delivery {id} (on_failure = stop); `retry {id}` or `dismiss {id}` lets it go on"
        );
        return Cell::new(&text, Tone::Bad);
    }
    let (id, package) = (first.id, &first.package);
    match first.state {
        State::Running => Cell::new(&format!("{id} {package}, which runs"), Tone::Busy),
        State::Queued => Cell::new(&format!("{id} {package}: next to be claimed"), Tone::Plain),
        _ => state_cell(first).after(&format!("{id} {package} ")),
    }
}
