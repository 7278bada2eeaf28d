//! `replay REPOS REV[:REV]`: dispatches revisions again, as new batches that cite the old ones.

use std::io::Write;
use std::path::PathBuf;

use chrono::{Local, Utc};

use super::dry_run::{Batch, DryRun, Origin};
use super::foreground::{see_through, wake_or_start};
use super::lines::line_of;
use super::progress::{self, Progress, Unit};
use super::setup::Setup;
use super::{Globals, hook, signals};
use crate::domain::change::Change;
use crate::domain::pattern::Pattern;
use crate::domain::plan::{Filter, Plan};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Awaited, Journal, NewBatch, PlannedBatch, Source};
use crate::source::svnlook::{Repository, Svnlook};
use crate::worker::configurations::{Configurations, Loaded};
use crate::worker::planner::{changes_of, plan_changes};

/// Dispatch a revision again, and stay until it is settled
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "what was typed")]
pub(super) struct Args {
    /// The repository
    #[arg(value_name = "REPOS")]
    repository: PathBuf,
    /// The revision, or the first and the last one: 12 or 12:15
    #[arg(value_name = "REV[:REV]", value_parser = parse_range)]
    revisions: (u64, u64),
    /// Only packages whose name matches this Python regular expression, at its start
    #[arg(long, value_name = "RE")]
    package: Option<String>,
    /// Only this host; may be given several times
    #[arg(long, value_name = "H")]
    host: Vec<String>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: one JSON object a line, for each delivery and each skip
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// Upload, and run no install command
    #[arg(long)]
    upload_only: bool,
    /// Record it, leave the work to a worker and return
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
}

pub(super) fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    let (first, last) = (hook::parse_revision(first)?, hook::parse_revision(last)?);
    if first > last {
        return Err(format!(
            "{text} ends before it begins; write {last}:{first}"
        ));
    }
    Ok((first, last))
}

/// One revision, planned.
struct Planned {
    revision: u64,
    author: Option<String>,
    changes: Vec<Change>,
    plan: Plan,
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    signals::watch_early()?;
    let setup = Setup::new(globals, Some(&args.repository), true)?;
    let repository = Svnlook::new(setup.svnlook_program()?).repository(&args.repository)?;
    let configurations = Configurations::new(super::setup::environment());
    let rules_file = setup.places.rules()?;
    let netrc_file = globals.netrc.as_ref().and(setup.places.netrc.as_deref());
    let loaded = configurations.of(Some(rules_file), netrc_file, Some(repository.path()))?;
    let stamp = Local::now().format("%Y%m%d_%H%M%S").to_string();
    let progress = Progress::begin();
    // Everything is planned before anything is recorded: a mistake leaves nothing done by half.
    let planned = plan_range(args, &repository, &loaded, &stamp, &progress)?;
    let filtered = args.package.is_some() || !args.host.is_empty();
    if filtered
        && planned
            .iter()
            .all(|planned| planned.plan.deliveries.is_empty())
    {
        return Err(Error::new(
            ErrorKind::Delivery,
            "nothing of these revisions goes through --package and --host",
        )
        .with_hint("`auto-dispatcher changed REPOS REV` shows what they hold"));
    }
    if args.dry_run {
        progress::over();
        let mut report = DryRun::new(&setup, &loaded, args.json, out);
        for one in &planned {
            one.tell(&repository, &stamp, &mut report)?;
        }
        return report.end();
    }
    let state = setup.state()?;
    let prints = setup.start_logging(&state, true)?;
    let mut journal = Journal::open(&state.journal())?;
    let new: Vec<PlannedBatch<'_>> = planned
        .iter()
        .map(|planned| PlannedBatch {
            source: Source::Replay,
            replayed: Some(NewBatch {
                repository: repository.path(),
                uuid: repository.uuid(),
                revision: planned.revision,
                rules_file: Some(rules_file),
                netrc_file,
            }),
            is_part: filtered,
            directory: None,
            author: planned.author.as_deref(),
            rules_file: Some(rules_file),
            netrc_file,
            stamp: &stamp,
            changes: &planned.changes,
            artifacts: &[],
            plan: &planned.plan,
        })
        .collect();
    let batches = journal.record_planned(&new, Utc::now())?;
    drop(journal);
    if args.detach {
        progress::over();
        wake_or_start(&setup, &state, globals)?;
        line_of(out, &format!("recorded as batch {}", join(&batches)))?;
        return Ok(0);
    }
    see_through(
        &setup,
        state,
        &Awaited::Batches(batches),
        (&progress, prints),
        out,
    )
}

fn plan_range(
    args: &Args,
    repository: &Repository,
    loaded: &Loaded,
    stamp: &str,
    progress: &Progress,
) -> Result<Vec<Planned>> {
    let (first, last) = args.revisions;
    let youngest = repository.youngest()?;
    if last > youngest {
        return Err(Error::source(format!(
            "{} has no revision {last}; its youngest is {youngest}",
            repository.path().display()
        )));
    }
    let package = args
        .package
        .as_deref()
        .map(Pattern::new)
        .transpose()
        .map_err(|error| {
            Error::new(
                ErrorKind::Usage,
                format!("--package is no regular expression: {error}"),
            )
        })?;
    let filter = Filter {
        package,
        hosts: args.host.clone(),
        upload_only: args.upload_only,
    };
    (first..=last)
        .map(|revision| {
            let _planning = progress.stage(&format!("planning r{revision}"), Unit::Nothing);
            let changes = changes_of(repository, revision, loaded, None)?;
            let plan = plan_changes(loaded, &changes, stamp, &filter);
            Ok(Planned {
                revision,
                author: repository.author(revision)?,
                changes,
                plan,
            })
        })
        .collect()
}

fn join(batches: &[i64]) -> String {
    let words: Vec<String> = batches.iter().map(ToString::to_string).collect();
    words.join(", ")
}

impl Planned {
    fn tell(&self, repository: &Repository, stamp: &str, report: &mut DryRun<'_>) -> Result<()> {
        let author = self.author.as_deref();
        let by = author.map_or_else(String::new, |author| format!(" by {author}"));
        let heading = format!("r{} of {}{by}", self.revision, repository.path().display());
        let origin = Origin {
            source: Source::Replay,
            repository: Some(repository.path()),
            revision: Some(self.revision),
            author,
            directory: None,
        };
        report.batch(
            &heading,
            &Batch {
                origin,
                changes: &self.changes,
                plan: &self.plan,
                stamp,
                sizes: &[],
                note: None,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_revision_or_two_in_order() {
        assert_eq!(parse_range("12"), Ok((12, 12)));
        assert_eq!(parse_range("12:15"), Ok((12, 15)));
        assert!(parse_range("15:12").is_err());
        assert!(parse_range("HEAD").is_err());
        assert!(parse_range("-1").is_err());
    }
}
