//! `changed REPOS REV`: what a revision would dispatch, and what it would skip and why. Rules are not
//! asked.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::signals;
use crate::domain::artifact::Digester;
use crate::domain::change::Change;
use crate::domain::revision;
use crate::domain::text::{escape, escape_json};
use crate::error::{Error, ErrorKind, Result};
use crate::source::svnlook::{Repository, Svnlook};

/// Show what a revision would dispatch, and what it would skip and why.
///
/// Rules are not asked: `explain` shows which rule takes a package.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of the repository
    #[arg(value_name = "REPOS")]
    pub repository: PathBuf,
    /// Number of the revision
    #[arg(value_name = "REV", value_parser = parse_revision)]
    pub revision: u64,
    /// Show also what is skipped, with the reason
    #[arg(long)]
    pub all: bool,
    /// One JSON object a line: path, action, size, sha256; or path, action, skipped
    #[arg(long)]
    pub json: bool,
}

/// What the command needs of the settings.
#[derive(Debug, Clone)]
pub(super) struct Context<'a> {
    /// Absolute path of svnlook.
    pub svnlook: &'a Path,
    /// Whether the files inside a copied directory are dispatched.
    pub copied_directories: bool,
}

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
}

/// Runs the command; each line is written as soon as its digest is known.
pub(super) fn run(args: &Args, context: &Context<'_>, out: &mut dyn Write) -> Result<()> {
    signals::watch_early()?;
    let repository = Svnlook::new(context.svnlook.to_owned()).repository(&args.repository)?;
    let changes = repository.changes(args.revision, context.copied_directories)?;
    let mut shown = 0_usize;
    for change in &changes {
        if change.skipped.is_some() && !args.all {
            continue;
        }
        let line = describe(&repository, args.revision, change)?;
        if !args.json && shown == 0 {
            write_line(
                out,
                format_args!("{:<10} {:>14}  {:<64}  PATH", "ACTION", "SIZE", "SHA-256"),
            )?;
        }
        shown += 1;
        if args.json {
            let text = serde_json::to_string(&line).map_err(|error| {
                Error::source(format!("cannot write a change as JSON: {error}"))
            })?;
            write_line(out, format_args!("{}", escape_json(&text)))?;
        } else {
            write_row(out, &line)?;
        }
    }
    if !args.json && shown < changes.len() {
        let skipped = changes.len() - shown;
        write_line(
            out,
            format_args!("{shown} to dispatch, {skipped} skipped (--all shows them and why)"),
        )?;
    } else if !args.json && changes.is_empty() {
        write_line(
            out,
            format_args!("revision {} changes nothing", args.revision),
        )?;
    }
    out.flush().map_err(|error| unwritable(&error))
}

fn describe<'a>(repository: &Repository, revision: u64, change: &'a Change) -> Result<Line<'a>> {
    let (path, action) = (change.path.as_str(), change.action.as_str());
    if let Some(reason) = &change.skipped {
        let skipped = Some(reason.to_string());
        return Ok(Line {
            path,
            action,
            size: None,
            sha256: None,
            skipped,
        });
    }
    let mut digest = Digesting(Digester::default());
    let size = repository.export(revision, path, &mut digest)?;
    let sha256 = digest.0.finish();
    Ok(Line {
        path,
        action,
        size: Some(size),
        sha256: Some(sha256),
        skipped: None,
    })
}

fn write_row(out: &mut dyn Write, line: &Line<'_>) -> Result<()> {
    let path = escape(line.path);
    if let Some(reason) = &line.skipped {
        let reason = format!("skipped: {}", escape(reason));
        return write_line(
            out,
            format_args!("{:<10} {:>14}  {reason:<64}  {path}", line.action, "-"),
        );
    }
    let sha256 = line.sha256.as_deref().unwrap_or("-");
    let size = line.size.unwrap_or(0);
    write_line(
        out,
        format_args!("{:<10} {size:>14}  {sha256:<64}  {path}", line.action),
    )
}

fn write_line(out: &mut dyn Write, line: std::fmt::Arguments<'_>) -> Result<()> {
    writeln!(out, "{line}").map_err(|error| unwritable(&error))
}

fn unwritable(error: &io::Error) -> Error {
    Error::new(
        ErrorKind::State,
        format!("cannot write the output: {error}"),
    )
}

fn parse_revision(text: &str) -> Result<u64, String> {
    revision::parse(text).ok_or_else(|| "a revision is a number, digits only".to_owned())
}

/// Digests what is written to it.
struct Digesting(Digester);

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
