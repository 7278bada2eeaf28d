//! `send FILE...`: dispatches files by hand, as the old script did.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use chrono::{Local, Utc};

use super::Globals;
use super::dry_run::{Batch, DryRun, Origin};
use super::foreground::see_through;
use super::progress::{self, Progress, Unit};
use super::report;
use super::setup::{Setup, environment};
use crate::domain::change::{Action, Change};
use crate::domain::event::Event;
use crate::domain::plan::{Filter, Plan};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Awaited, Journal, PlannedBatch, Source};
use crate::source::contents;
use crate::spool::{Keep, Outside, Spool};
use crate::worker::configurations::Configurations;
use crate::worker::counting::Counting;
use crate::worker::planner::plan_changes;

/// Dispatch these files now, and stay until they are settled
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files to dispatch; the rule is chosen by the base name
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: one JSON object a line, for each delivery and each skip
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// Upload, and run no install command
    #[arg(long)]
    upload_only: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let setup = Setup::new(globals, None, true)?;
    let rules_file = setup.places.rules()?;
    let netrc_file = globals.netrc.as_ref().and(setup.places.netrc.as_deref());
    let progress = Progress::begin();
    let files = args
        .files
        .iter()
        .map(|path| look_at(path))
        .collect::<Result<Vec<_>>>()?;
    let loaded = Configurations::new(environment()).of(Some(rules_file), netrc_file, None)?;
    let stamp = Local::now().format("%Y%m%d_%H%M%S").to_string();
    let (changes, sizes): (Vec<Change>, Vec<u64>) = files.into_iter().unzip();
    let filter = Filter {
        upload_only: args.upload_only,
        ..Filter::default()
    };
    let plan = plan_changes(&loaded, &changes, &stamp, &filter);
    if args.dry_run {
        progress::over();
        let mut report = DryRun::new(&setup, &loaded, args.json, out);
        tell(&changes, &sizes, &plan, &stamp, &mut report)?;
        if let Some(error) = too_large(&setup, &changes, &sizes, &plan) {
            report.end()?;
            return Err(error);
        }
        return report.end();
    }
    let state = setup.state()?;
    let prints = setup.start_logging(&state, true)?;
    progress.prints(prints);
    let mut journal = Journal::open(&state.journal())?;
    let spool = setup.spool(&state)?;
    let keep = spool.keep()?;
    let artifacts = match store(
        &spool,
        &keep,
        &journal,
        (&changes, &sizes, &plan),
        &progress,
    ) {
        Ok(artifacts) => artifacts,
        Err(error) => {
            // Nothing is sent, so nobody wants the copies that were made before.
            drop(keep);
            spool.sweep(&|sha256| journal.artifact_is_needed(sha256))?;
            return Err(error);
        }
    };
    let batches = journal.record_planned(
        &[PlannedBatch {
            source: Source::Send,
            replayed: None,
            is_part: false,
            directory: None,
            author: None,
            rules_file: Some(rules_file),
            netrc_file,
            stamp: &stamp,
            changes: &changes,
            artifacts: &artifacts,
            plan: &plan,
        }],
        Utc::now(),
    )?;
    drop((keep, journal));
    see_through(
        &setup,
        state,
        &Awaited::Batches(batches),
        (&progress, prints),
        out,
    )
}

/// What would be sent.
fn tell(
    changes: &[Change],
    sizes: &[u64],
    plan: &Plan,
    stamp: &str,
    report: &mut DryRun<'_>,
) -> Result<()> {
    let origin = Origin {
        source: Source::Send,
        repository: None,
        revision: None,
        author: None,
        directory: None,
    };
    report.batch(
        "send",
        &Batch {
            origin,
            changes,
            plan,
            stamp,
            sizes,
            note: None,
        },
    )
}

/// What a real run would end with where a file is larger than the spool may ever be.
fn too_large(setup: &Setup, changes: &[Change], sizes: &[u64], plan: &Plan) -> Option<Error> {
    let most = setup.settings.spool_max_bytes;
    let delivered = delivered(changes, plan);
    let mut files = changes.iter().zip(sizes).zip(delivered);
    let ((change, size), _) =
        files.find(|((_, size), is_delivered)| *is_delivered && **size > most)?;
    let why = format!("its {size} bytes are more than the spool may ever hold ({most})");
    let error = Error::new(ErrorKind::NoRoom, why);
    Some(unsent(Path::new(&change.path), error))
}

/// Of each change, whether it has a delivery.
fn delivered(changes: &[Change], plan: &Plan) -> Vec<bool> {
    let mut delivered = vec![false; changes.len()];
    for delivery in &plan.deliveries {
        if let Some(is_delivered) = delivered.get_mut(delivery.change) {
            *is_delivered = true;
        }
    }
    delivered
}

/// A file to send, and its size; only a regular one will do, also behind a symbolic link.
fn look_at(path: &Path) -> Result<(Change, u64)> {
    let absolute = std::path::absolute(path)
        .map_err(|error| Error::io(ErrorKind::Source, "cannot send", path, &error))?;
    let shown = absolute
        .to_str()
        .ok_or_else(|| wrong(path, "its name is not UTF-8"))?
        .to_owned();
    let (_, size) = open(path)?;
    let change = Change {
        path: shown,
        action: Action::Added,
        skipped: None,
    };
    Ok((change, size))
}

/// Opens a file to send.
fn open(path: &Path) -> Result<(File, u64)> {
    let failed = |error: &std::io::Error| Error::io(ErrorKind::Source, "cannot send", path, error);
    // A FIFO or device would block or never end: look before opening.
    let metadata = std::fs::metadata(path).map_err(|error| failed(&error))?;
    if !metadata.is_file() {
        return Err(wrong(path, "it is no regular file"));
    }
    let file = File::open(path).map_err(|error| failed(&error))?;
    Ok((file, metadata.len()))
}

fn wrong(path: &Path, what: &str) -> Error {
    Error::source(format!("cannot send {}: {what}", path.display()))
        .with_hint("nothing was sent; name readable regular files")
}

/// Copies what has a delivery into the spool. One file is open at a time, however many there are.
fn store(
    spool: &Spool,
    keep: &Keep,
    journal: &Journal,
    (changes, sizes, plan): (&[Change], &[u64], &Plan),
    progress: &Progress,
) -> Result<Vec<Option<(String, u64)>>> {
    let outside = Outside {
        want: &|sha256| journal.artifact_want(sha256),
        tell: &|message| report::log_event(&Event::Notice { message }),
        is_its_turn: false,
    };
    let delivered = delivered(changes, plan);
    let wanted = |(of, is_delivered): (&u64, &bool)| is_delivered.then_some(*of);
    let to_come: Vec<u64> = sizes.iter().zip(&delivered).filter_map(wanted).collect();
    let mut storing = spool.storing(keep, &outside, &to_come);
    for (change, _) in changes.iter().zip(&delivered).filter(|(_, yes)| **yes) {
        let path = Path::new(&change.path);
        let (mut file, size) = open(path)?;
        let stored = storing.add(size, |out| {
            let what = format!("digesting {}", change.package());
            let stage = progress.stage(&what, Unit::Bytes);
            let mut tell = |bytes| stage.advance(bytes, size);
            let mut out = Counting::new(out, &mut tell);
            contents::copy(&mut file, path, &|| true, &mut out)
        });
        stored.map_err(|error| unsent(path, error))?;
    }
    let mut stored = storing.finish()?.into_iter();
    let artifact = |is_delivered: bool| is_delivered.then(|| stored.next()).flatten();
    let artifacts = delivered.into_iter().map(artifact);
    Ok(artifacts
        .map(|artifact| artifact.map(|artifact| (artifact.sha256, artifact.size)))
        .collect())
}

/// A command does not wait for room; whoever typed it decides.
fn unsent(path: &Path, error: Error) -> Error {
    if error.kind != ErrorKind::NoRoom {
        return error;
    }
    let message = format!("cannot send {}: {}", path.display(), error.message);
    Error::new(ErrorKind::NoRoom, message).with_hint(
        "nothing was sent; free room (`status` shows what takes it), or raise spool_max in auto-dispatcher.cfg",
    )
}
