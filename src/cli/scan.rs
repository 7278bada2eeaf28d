//! `scan DIR...`: drop directories, for servers without Subversion.

use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::foreground::work_through;
use super::lines::{DeliveryJson, json_line, line_of};
use super::progress::{self, Progress, Unit};
use super::setup::{Setup, environment};
use super::{Globals, signals};
use crate::config::scans;
use crate::domain::drop_directory::{After, DropTerms};
use crate::domain::event::Event;
use crate::domain::text::escape;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Awaited, Journal};
use crate::state_dir::StateDir;
use crate::worker::Context;
use crate::worker::configurations::Configurations;
use crate::worker::scan::{Job, finish_once, forget, scan_once, work_and_scan};

mod dry_run;

/// Dispatch what is dropped into directories
///
/// What is there at the very first start is not dispatched; what comes later is, once, also what comes while nobody
/// scans. Without DIR: the directories of the sections [scan:NAME] of auto-dispatcher.cfg, which a `worker` that runs
/// as a service scans, too.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "what was typed")]
pub(super) struct Args {
    /// The directories
    #[arg(value_name = "DIR")]
    directories: Vec<PathBuf>,
    /// Look once, deliver what is new and has settled, and end
    #[arg(long)]
    once: bool,
    /// Pause between two walks, beside what the system tells [default: 60]
    #[arg(long, value_name = "TIME", value_parser = scans::interval_s)]
    interval: Option<u64>,
    /// How long a file has to be unchanged [default: 5]
    #[arg(long, value_name = "TIME", value_parser = scans::settle_s)]
    settle: Option<u64>,
    /// Dispatch also what was there before the first start
    #[arg(long)]
    existing: bool,
    /// Take a file only when its marker is there, at once then: `.done` stands for FILE.done
    #[arg(long, value_name = "END", value_parser = scans::marker)]
    marker: Option<String>,
    /// Only files that this glob matches; may be given several times
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// No files that this glob matches; may be given several times
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// What becomes of a file that is delivered everywhere: keep, delete, or "move DIR" [default: keep]
    #[arg(long, value_name = "WHAT", value_parser = after)]
    after: Option<After>,
    /// Look once, show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a line: stock, dropped files, deliveries that were settled
    #[arg(long)]
    json: bool,
    /// Forget what is known of the directories, so that the next scan takes stock again
    #[arg(long, conflicts_with_all = ["once", "existing", "json", "dry_run"], requires = "directories")]
    forget: bool,
}

fn after(text: &str) -> Result<After, String> {
    let cwd = std::env::current_dir().map_err(|error| error.to_string())?;
    // As if it stood in a file there.
    scans::after(text, &cwd.join("typed"), std::env::home_dir().as_deref())
}

#[derive(Serialize)]
struct StockJson<'a> {
    stock: Stock<'a>,
}

#[derive(Serialize)]
struct Stock<'a> {
    directory: &'a str,
    files: u64,
}

#[derive(Serialize)]
struct DroppedJson<'a> {
    dropped: Dropped<'a>,
}

#[derive(Serialize)]
struct Dropped<'a> {
    directory: &'a str,
    path: &'a str,
    batch: i64,
    size: u64,
    deliveries: usize,
    skipped: Option<&'a str>,
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let setup = Setup::new(globals, None, true)?;
    if args.forget {
        return run_forget(args, &setup, out);
    }
    let terms = terms_of(args, &setup)?;
    let rules_file = setup.places.rules()?;
    let netrc_file = globals.netrc.as_ref().and(setup.places.netrc.as_deref());
    // Whoever has just mistyped a rule hears of it now.
    let loaded = Configurations::new(environment()).of(Some(rules_file), netrc_file, None)?;
    let jobs = jobs(terms, rules_file, netrc_file, true);
    if args.dry_run {
        return dry_run::run(&setup, &loaded, &jobs, args.json, out);
    }
    let state = setup.state()?;
    let prints = setup.start_logging(&state, true)?;
    let batches: Arc<Mutex<Vec<i64>>> = Arc::default();
    let progress = Progress::begin();
    progress.follow(&state, None, prints && !args.json);
    let context = context(&setup, state, args.json, &progress, &batches)?;
    signals::watch(&context)?;
    if !args.once {
        work_and_scan(&context, &jobs)?;
        return Ok(0);
    }
    let looking = progress.stage("looking for what is new and settles", Unit::Nothing);
    let is_left = scan_once(&context, &jobs)?;
    drop(looking);
    if context.stop.is_raised() {
        return Err(
            Error::new(ErrorKind::Interrupted, "interrupted; nothing is lost")
                .with_hint("the next scan goes on where this one stopped"),
        );
    }
    let awaited = awaited(&context, &jobs, &batches)?;
    let code = if awaited.batches().is_empty() {
        progress::over();
        if !args.json {
            line_of(out, "nothing new")?;
        }
        0
    } else {
        progress.follow(&context.state, Some(awaited.clone()), prints && !args.json);
        work_through(&context, &awaited, (!args.json).then_some(out))?
    };
    finish_once(&context, &jobs)?;
    if context.stop.is_raised() {
        return Err(Error::new(
            ErrorKind::Interrupted,
            "interrupted; what is not settled stays queued",
        )
        .with_hint("the next scan goes on where this one stopped"));
    }
    Ok(code.max(u8::from(is_left)))
}

/// One job for each directory.
pub(super) fn jobs(
    terms: Vec<DropTerms>,
    rules_file: &Path,
    netrc_file: Option<&Path>,
    typed: bool,
) -> Vec<Job> {
    let job = |terms| Job {
        terms,
        rules_file: rules_file.to_owned(),
        netrc_file: netrc_file.map(Path::to_owned),
        typed,
    };
    terms.into_iter().map(job).collect()
}

/// The terms of the sections in auto-dispatcher.cfg, directories resolved.
pub(super) fn configured(setup: &Setup) -> Result<Vec<DropTerms>> {
    let sections = setup.settings.scans.iter();
    let all = sections
        .map(|scan| resolved(scan.terms.clone()))
        .collect::<Result<Vec<_>>>()?;
    agree(&all, ErrorKind::Config)?;
    Ok(all)
}

/// The directories and terms that were typed, upon those of the settings.
fn terms_of(args: &Args, setup: &Setup) -> Result<Vec<DropTerms>> {
    let configured = configured(setup)?;
    let mut all: Vec<DropTerms> = Vec::new();
    if args.directories.is_empty() {
        if configured.is_empty() {
            return Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "no directory to scan: none was named, and {} has no section [scan:NAME]",
                    setup.places.settings.display()
                ),
            )
            .with_hint("auto-dispatcher scan DIR"));
        }
        all = configured;
    } else {
        for directory in &args.directories {
            let terms = resolved(DropTerms::new(directory.clone()))?;
            let known = configured
                .iter()
                .find(|known| known.directory == terms.directory);
            all.push(known.cloned().unwrap_or(terms));
        }
    }
    for terms in &mut all {
        change(terms, args)?;
    }
    agree(&all, ErrorKind::Usage)?;
    Ok(all)
}

/// An error where directories overlap, or what leaves one comes into another, seen through symbolic links.
fn agree(all: &[DropTerms], kind: ErrorKind) -> Result<()> {
    for (index, terms) in all.iter().enumerate() {
        let mut earlier = all.iter().take(index);
        if let Some(other) = earlier.find(|other| scans::overlap(other, terms)) {
            return Err(Error::new(
                kind,
                format!(
                    "{} and {} overlap: what is dropped there would be taken twice",
                    other.directory.display(),
                    terms.directory.display()
                ),
            ));
        }
        scans::destination_is_outside(terms, all)
            .map_err(|why| Error::new(kind, format!("`after` {why}")))?;
    }
    Ok(())
}

/// What was typed goes before what is configured.
fn change(terms: &mut DropTerms, args: &Args) -> Result<()> {
    let usage = |option: &str| {
        let option = option.to_owned();
        move |error: String| Error::new(ErrorKind::Usage, format!("{option} {error}"))
    };
    terms.interval_s = args.interval.unwrap_or(terms.interval_s);
    terms.settle_s = args.settle.unwrap_or(terms.settle_s);
    terms.existing |= args.existing;
    if let Some(marker) = &args.marker {
        terms.filter.marker = Some(marker.clone());
    }
    if !args.include.is_empty() {
        scans::include(&mut terms.filter, &args.include).map_err(usage("--include"))?;
    }
    if !args.exclude.is_empty() {
        scans::exclude(&mut terms.filter, &args.exclude).map_err(usage("--exclude"))?;
    }
    if let Some(after) = &args.after {
        terms.after = after.clone();
        resolve_destination(&mut terms.after)?;
    }
    Ok(())
}

/// The directory as the journal names it: absolute, without symbolic links as far as it is there.
fn resolved(mut terms: DropTerms) -> Result<DropTerms> {
    terms.directory = resolve(&terms.directory)?;
    resolve_destination(&mut terms.after)?;
    Ok(terms)
}

fn resolve_destination(after: &mut After) -> Result<()> {
    if let After::Move(destination) = after {
        *destination = resolve(destination)?;
    }
    Ok(())
}

fn resolve(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path)
        .map_err(|error| Error::io(ErrorKind::Source, "cannot scan", path, &error))?;
    let there = absolute
        .ancestors()
        .find_map(|above| Some((above, std::fs::canonicalize(above).ok()?)));
    let resolved = match there {
        Some((above, real)) => match absolute.strip_prefix(above) {
            Ok(rest) if rest.as_os_str().is_empty() => real,
            // What is not there leads nowhere, nor upwards from there.
            Ok(rest) if rest.components().any(|part| part == Component::ParentDir) => {
                return Err(Error::source(format!("cannot find {}", absolute.display()))
                    .with_hint("name it without `..`"));
            }
            Ok(rest) => real.join(rest),
            Err(_) => absolute,
        },
        None => absolute,
    };
    if resolved.to_str().is_none() {
        return Err(Error::source(format!(
            "cannot scan {}: its path is not UTF-8",
            escape(&resolved.to_string_lossy())
        )));
    }
    Ok(resolved)
}

/// What this run recorded, and what earlier ones left open.
fn awaited(context: &Context, jobs: &[Job], batches: &Mutex<Vec<i64>>) -> Result<Awaited> {
    let mut all = batches
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let journal = context.journal()?;
    for job in jobs {
        all.extend(journal.open_batches_of(&job.terms.directory)?);
    }
    all.sort_unstable();
    all.dedup();
    Ok(Awaited::Batches(all))
}

fn context(
    setup: &Setup,
    state: StateDir,
    json: bool,
    progress: &Progress,
    batches: &Arc<Mutex<Vec<i64>>>,
) -> Result<Arc<Context>> {
    let (batches, progress) = (Arc::clone(batches), progress.clone());
    let journal = Mutex::new(Journal::open(&state.journal())?);
    setup.context(state, move |event| {
        if let Event::Dropped { batch, .. } = event {
            batches
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(*batch);
        }
        if json {
            let journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            progress::aside(&mut || {
                // Whoever reads may have gone; the work goes on.
                let _ = print_json(event, &journal, &mut io::stdout().lock());
            });
        }
        progress.event(event, None);
    })
}

fn print_json(event: &Event, journal: &Journal, out: &mut dyn Write) -> Result<()> {
    match event {
        Event::StockTaken { directory, files } => json_line(
            out,
            &StockJson {
                stock: Stock {
                    directory,
                    files: *files,
                },
            },
        ),
        Event::Dropped {
            batch,
            directory,
            path,
            size,
            deliveries,
            skipped,
        } => json_line(
            out,
            &DroppedJson {
                dropped: Dropped {
                    directory,
                    path,
                    batch: *batch,
                    size: *size,
                    deliveries: *deliveries,
                    skipped: skipped.as_ref().map(|(reason, _)| reason.as_str()),
                },
            },
        ),
        Event::Settled {
            subject,
            transition,
            ..
        } if !transition.state().is_open() => match journal.delivery(subject.delivery)? {
            Some(row) => json_line(out, &DeliveryJson::new(&row)),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn run_forget(args: &Args, setup: &Setup, out: &mut dyn Write) -> Result<u8> {
    let (state, mut journal) = setup.look()?;
    for directory in &args.directories {
        let directory = resolve(directory)?;
        if !forget(&state, &mut journal, &directory)? {
            return Err(
                Error::source(format!("{} was never scanned", directory.display()))
                    .with_hint("`auto-dispatcher status` lists the drop directories"),
            );
        }
        let line = format!(
            "{}: forgotten; the next scan takes stock of it",
            directory.display()
        );
        line_of(out, &escape(&line))?;
    }
    Ok(0)
}
