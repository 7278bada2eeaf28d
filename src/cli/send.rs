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
        .map(|path| open(path))
        .collect::<Result<Vec<_>>>()?;
    let loaded = Configurations::new(environment()).of(Some(rules_file), netrc_file, None)?;
    let stamp = Local::now().format("%Y%m%d_%H%M%S").to_string();
    let changes: Vec<Change> = files.iter().map(|(change, _)| change.clone()).collect();
    let filter = Filter {
        upload_only: args.upload_only,
        ..Filter::default()
    };
    let plan = plan_changes(&loaded, &changes, &stamp, &filter);
    if args.dry_run {
        progress::over();
        let mut report = DryRun::new(&setup, &loaded, args.json, out);
        tell(&files, &changes, &plan, &stamp, &mut report)?;
        if let Some(error) = too_large(&setup, &files, &plan)? {
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
    let artifacts = match store(&spool, &keep, &journal, (&files, &plan), &progress) {
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
    files: &[(Change, File)],
    changes: &[Change],
    plan: &Plan,
    stamp: &str,
    report: &mut DryRun<'_>,
) -> Result<()> {
    let sizes = files
        .iter()
        .map(|(change, file)| size_of(Path::new(&change.path), file))
        .collect::<Result<Vec<_>>>()?;
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
            sizes: &sizes,
            note: None,
        },
    )
}

/// What a real run would end with where a file is larger than the spool may ever be.
fn too_large(setup: &Setup, files: &[(Change, File)], plan: &Plan) -> Result<Option<Error>> {
    let most = setup.settings.spool_max_bytes;
    for (index, (change, file)) in files.iter().enumerate() {
        let path = Path::new(&change.path);
        let size = size_of(path, file)?;
        if size > most && plan.deliveries.iter().any(|one| one.change == index) {
            let why = format!("its {size} bytes are more than the spool may ever hold ({most})");
            return Ok(Some(unsent(path, Error::new(ErrorKind::NoRoom, why))));
        }
    }
    Ok(None)
}

fn size_of(path: &Path, file: &File) -> Result<u64> {
    file.metadata()
        .map(|metadata| metadata.len())
        .map_err(|error| Error::io(ErrorKind::Source, "cannot read", path, &error))
}

/// Opens a file to send; only a regular one will do, also behind a symbolic link.
fn open(path: &Path) -> Result<(Change, File)> {
    let wrong = |what: &str| {
        Error::source(format!("cannot send {}: {what}", path.display()))
            .with_hint("nothing was sent; name readable regular files")
    };
    let absolute = std::path::absolute(path)
        .map_err(|error| Error::io(ErrorKind::Source, "cannot send", path, &error))?;
    let shown = absolute
        .to_str()
        .ok_or_else(|| wrong("its name is not UTF-8"))?
        .to_owned();
    // A FIFO or device would block or never end: look before opening.
    let metadata = std::fs::metadata(path)
        .map_err(|error| Error::io(ErrorKind::Source, "cannot send", path, &error))?;
    if !metadata.is_file() {
        return Err(wrong("it is no regular file"));
    }
    let file = File::open(path)
        .map_err(|error| Error::io(ErrorKind::Source, "cannot send", path, &error))?;
    let change = Change {
        path: shown,
        action: Action::Added,
        skipped: None,
    };
    Ok((change, file))
}

/// Copies what has a delivery into the spool.
fn store(
    spool: &Spool,
    keep: &Keep,
    journal: &Journal,
    (files, plan): (&[(Change, File)], &Plan),
    progress: &Progress,
) -> Result<Vec<Option<(String, u64)>>> {
    let outside = Outside {
        want: &|sha256| journal.artifact_want(sha256),
        tell: &|message| report::log_event(&Event::Notice { message }),
        is_its_turn: false,
    };
    files
        .iter()
        .enumerate()
        .map(|(index, (change, file))| {
            if !plan
                .deliveries
                .iter()
                .any(|delivery| delivery.change == index)
            {
                return Ok(None);
            }
            let path = Path::new(&change.path);
            let size = size_of(path, file)?;
            let artifact = spool
                .store(keep, size, &outside, |out| {
                    let what = format!("digesting {}", change.package());
                    let stage = progress.stage(&what, Unit::Bytes);
                    let mut tell = |bytes| stage.advance(bytes, size);
                    let mut out = Counting::new(out, &mut tell);
                    contents::copy(&mut &*file, path, &|| true, &mut out)
                })
                .map_err(|error| unsent(path, error))?;
            Ok(Some((artifact.sha256, artifact.size)))
        })
        .collect()
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
