//! `scan --dry-run`: what lies in the drop directories, what would be dispatched of it, and what would then become of the
//! files. Looks once; makes and changes nothing.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::cli::dry_run::{Batch, DryRun, Origin};
use crate::cli::setup::Setup;
use crate::domain::drop_directory::After;
use crate::domain::event::Event;
use crate::error::Result;
use crate::journal::Source;
use crate::worker::configurations::Loaded;
use crate::worker::scan::{Fate, Job, Preview, Previewed, preview};

#[derive(Serialize)]
struct FilesJson<'a> {
    files: Files<'a>,
}

/// How many files of a directory are what.
#[derive(Serialize)]
struct Files<'a> {
    dry_run: bool,
    directory: &'a str,
    stock: u64,
    known: u64,
    filtered: u64,
    unmarked: u64,
    new: usize,
    changed: usize,
    touched: usize,
    settling: usize,
    written: usize,
    stuck: usize,
    after: String,
    leaving: &'a [String],
    is_scanned: bool,
    complaints: &'a [String],
}

#[derive(Serialize)]
struct LeftJson<'a> {
    dry_run: bool,
    source: &'static str,
    directory: &'a str,
    path: &'a str,
    size: u64,
    note: &'static str,
    left: String,
}

/// Looks at the directories of all jobs and tells; the exit code.
pub(super) fn run(
    setup: &Setup,
    loaded: &Loaded,
    jobs: &[Job],
    json: bool,
    out: &mut dyn Write,
) -> Result<u8> {
    let complaints: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&complaints);
    let context = setup.dry_context(move |event| {
        if let Event::Notice { message } = event {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.push(message.clone());
        }
    })?;
    let mut report = DryRun::new(setup, loaded, json, out);
    for job in jobs {
        let preview = preview(&context, job, report.kept())?;
        let mut complaints = complaints.lock().unwrap_or_else(PoisonError::into_inner);
        let complaints = std::mem::take(&mut *complaints);
        tell(job, &preview, &complaints, &mut report)?;
    }
    report.end()
}

fn tell(
    job: &Job,
    preview: &Preview,
    complaints: &[String],
    report: &mut DryRun<'_>,
) -> Result<()> {
    let directory = job.terms.directory.to_string_lossy();
    report.object(&FilesJson {
        files: files(job, &directory, preview, complaints),
    })?;
    report.say(&summary(&directory, preview))?;
    if preview.is_scanned {
        let text = "  another process scans it now: a second scan would refuse to start";
        report.say(text)?;
    }
    for complaint in complaints {
        report.say(&format!("  {complaint}"))?;
    }
    for path in &preview.leaving {
        report.say(&format!(
            "  {path}: its deliveries are done; {} at once",
            fate_of_file(&job.terms.after)
        ))?;
    }
    for file in &preview.files {
        if matches!(file.fate, Fate::Stuck(_)) {
            report.is_trouble();
        }
        if file.fate.is_taken() {
            dispatched(job, file, report)?;
        } else {
            left(&directory, file, report)?;
        }
    }
    Ok(())
}

/// A file that would be taken.
fn dispatched(job: &Job, file: &Previewed, report: &mut DryRun<'_>) -> Result<()> {
    let origin = Origin {
        source: Source::Directory,
        repository: None,
        revision: None,
        author: None,
        directory: Some(&job.terms.directory),
    };
    let (word, when) = words(&file.fate);
    let then = match job.terms.after {
        After::Keep => "it stays when it is delivered".to_owned(),
        _ => format!("{} when it is delivered", fate_of_file(&job.terms.after)),
    };
    report.batch(
        "",
        &Batch {
            origin,
            changes: std::slice::from_ref(&file.change),
            plan: &file.plan,
            stamp: &file.stamp,
            sizes: &[file.size],
            note: Some((word, format!("{when}; {then}"))),
        },
    )
}

/// A file that would not be taken.
fn left(directory: &str, file: &Previewed, report: &mut DryRun<'_>) -> Result<()> {
    let (word, why) = words(&file.fate);
    report.object(&LeftJson {
        dry_run: true,
        source: Source::Directory.as_str(),
        directory,
        path: &file.change.path,
        size: file.size,
        note: word,
        left: why.clone(),
    })?;
    report.say(&format!("  {}  {why}", file.change.path))
}

/// A word for programs, and more of them for people.
fn words(fate: &Fate) -> (&'static str, String) {
    match fate {
        Fate::New => ("new", "new".to_owned()),
        Fate::Changed => ("changed", "changed since it was last seen".to_owned()),
        Fate::Known => (
            "touched",
            "the same content as before; it would not be dispatched again".to_owned(),
        ),
        Fate::Settling(rest_s) => (
            "settling",
            format!("changed a moment ago; taken if nothing changes for {rest_s} s more"),
        ),
        Fate::Written { pid, name } => (
            "written",
            format!("process {pid} ({name}) has it open for writing; taken when that has ended"),
        ),
        Fate::Stuck(why) => ("stuck", format!("cannot be taken: {why}")),
    }
}

fn fate_of_file(after: &After) -> String {
    match after {
        After::Keep => "it stays".to_owned(),
        After::Delete => "it is deleted".to_owned(),
        After::Move(to) => format!("it is moved to {}", to.display()),
    }
}

fn summary(directory: &str, preview: &Preview) -> String {
    let mut parts = Vec::new();
    let mut part = |count: u64, what: &str| {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    };
    part(preview.stock, "there before the first scan, not dispatched");
    part(preview.known, "known as they are");
    part(preview.filtered, "left out by their names");
    part(preview.unmarked, "without their markers");
    part(preview.files.len() as u64, "to look at");
    if parts.is_empty() {
        parts.push("nothing there".to_owned());
    }
    format!("{directory}: {}", parts.join(", "))
}

fn files<'a>(
    job: &Job,
    directory: &'a str,
    preview: &'a Preview,
    complaints: &'a [String],
) -> Files<'a> {
    let count = |wanted: &str| {
        let is_it = |file: &&Previewed| words(&file.fate).0 == wanted;
        preview.files.iter().filter(is_it).count()
    };
    Files {
        dry_run: true,
        directory,
        stock: preview.stock,
        known: preview.known,
        filtered: preview.filtered,
        unmarked: preview.unmarked,
        new: count("new"),
        changed: count("changed"),
        touched: count("touched"),
        settling: count("settling"),
        written: count("written"),
        stuck: count("stuck"),
        after: match &job.terms.after {
            After::Keep => "keep".to_owned(),
            After::Delete => "delete".to_owned(),
            After::Move(to) => format!("move {}", to.display()),
        },
        leaving: &preview.leaving,
        is_scanned: preview.is_scanned,
        complaints,
    }
}
