//! `status --json`: one object a line; the names are a promise.

use std::io::Write;

use serde::Serialize;

use super::standing::{Disk, Lane, Running, Standing};
use crate::cli::lines::{DeliveryJson, json_line, rfc3339};
use crate::cli::unsent;
use crate::error::Result;
use crate::journal::{BatchRow, DropDirectoryRow, GapRow, RepositoryRow};

#[derive(Serialize)]
struct WorkerJson<'a> {
    worker: i64,
    pid: u32,
    started_at: String,
    role: &'a str,
    running: u64,
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

#[derive(Serialize)]
struct ProgressJson<'a> {
    progress: Progress<'a>,
}

#[derive(Serialize)]
struct Progress<'a> {
    delivery: i64,
    worker: i64,
    step: &'a str,
    started_at: String,
    bytes: Option<u64>,
    total: Option<u64>,
    bytes_per_second: Option<u64>,
}

#[derive(Serialize)]
struct LaneJson<'a> {
    lane: LaneOf<'a>,
}

#[derive(Serialize)]
struct LaneOf<'a> {
    name: &'a str,
    open: u64,
    first: i64,
    stopped_by: Option<i64>,
}

#[derive(Serialize)]
struct UnreachableJson<'a> {
    unreachable: Host<'a>,
}

#[derive(Serialize)]
struct Host<'a> {
    host: &'a str,
    since: String,
}

#[derive(Serialize)]
struct DiskJson<'a> {
    disk: DiskOf<'a>,
}

#[derive(Serialize)]
struct DiskOf<'a> {
    path: &'a str,
    free: u64,
    total: u64,
    spool_used: u64,
    spool_max: u64,
    journal: u64,
    is_short: bool,
}

/// Everything but the deliveries themselves.
pub(super) fn print(standing: &Standing, out: &mut dyn Write) -> Result<()> {
    for worker in &standing.workers {
        json_line(
            out,
            &WorkerJson {
                worker: worker.id,
                pid: worker.row.pid,
                started_at: rfc3339(worker.row.started_at),
                role: &worker.row.role,
                running: worker.running,
            },
        )?;
    }
    let mut repositories = standing.repositories.iter();
    repositories.try_for_each(|row| repository(row, out))?;
    let mut directories = standing.drop_directories.iter();
    directories.try_for_each(|row| drop_directory(row, out))?;
    let mut unplanned = standing.unplanned.iter();
    unplanned.try_for_each(|row| json_line(out, &batch(row)))?;
    let mut gaps = standing.gaps.iter();
    gaps.try_for_each(|row| gap(row, out))?;
    let mut running = standing.running.iter();
    running.try_for_each(|one| progress(one, out))?;
    let mut lanes = standing.lanes.iter();
    lanes.try_for_each(|one| lane(one, out))?;
    for (host, since) in &standing.unreachable {
        let since = rfc3339(*since);
        let unreachable = Host { host, since };
        json_line(out, &UnreachableJson { unreachable })?;
    }
    standing.disk.iter().try_for_each(|one| disk(one, out))?;
    unsent::print_json(&standing.unsent, out)
}

/// A delivery.
pub(super) fn delivery(row: &crate::journal::DeliveryRow, out: &mut dyn Write) -> Result<()> {
    json_line(out, &DeliveryJson::new(row))
}

fn repository(row: &RepositoryRow, out: &mut dyn Write) -> Result<()> {
    json_line(
        out,
        &RepositoryJson {
            repository: &row.path.to_string_lossy(),
            uuid: &row.uuid,
            last_revision: row.last_revision,
            unplanned: row.unplanned,
        },
    )
}

fn drop_directory(row: &DropDirectoryRow, out: &mut dyn Write) -> Result<()> {
    json_line(
        out,
        &DropDirectoryJson {
            drop_directory: &row.path.to_string_lossy(),
            files: row.files,
            first_at: rfc3339(row.first_at),
            stocked_at: row.stocked_at.map(rfc3339),
            trouble: row.trouble.as_deref(),
        },
    )
}

fn batch(batch: &BatchRow) -> BatchJson<'_> {
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

fn gap(gap: &GapRow, out: &mut dyn Write) -> Result<()> {
    json_line(
        out,
        &GapJson {
            gap: Range {
                // A path that was recorded is UTF-8.
                repository: gap.repository.to_str().unwrap_or_default(),
                low: gap.low,
                high: gap.high,
                revisions: gap.revisions(),
                noticed_at: rfc3339(gap.noticed_at),
            },
        },
    )
}

fn progress(running: &Running, out: &mut dyn Write) -> Result<()> {
    let told = running.told_of_step();
    json_line(
        out,
        &ProgressJson {
            progress: Progress {
                delivery: running.row.id,
                worker: running.worker,
                step: running.row.step.as_str(),
                started_at: rfc3339(running.started_at),
                bytes: told.and_then(|told| told.bytes),
                total: told.and_then(|told| told.total),
                bytes_per_second: told.and_then(|told| told.rate),
            },
        },
    )
}

fn lane(lane: &Lane, out: &mut dyn Write) -> Result<()> {
    json_line(
        out,
        &LaneJson {
            lane: LaneOf {
                name: &lane.row.lane,
                open: lane.row.open,
                first: lane.row.first,
                stopped_by: lane.stopped_by,
            },
        },
    )
}

fn disk(disk: &Disk, out: &mut dyn Write) -> Result<()> {
    json_line(
        out,
        &DiskJson {
            disk: DiskOf {
                path: &disk.path,
                free: disk.free,
                total: disk.total,
                spool_used: disk.spool_used,
                spool_max: disk.spool_max,
                journal: disk.journal,
                is_short: disk.is_short() || disk.spool_is_short(),
            },
        },
    )
}
