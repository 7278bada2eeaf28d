//! `hook REPOS REV [TXN]`: records the revision durably, wakes or starts a worker, and returns. Runs no
//! svnlook, reads no rules, dials no host.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use chrono::Utc;

use super::Globals;
use super::foreground::{see_through, wake_or_start};
use super::setup::Setup;
use crate::domain::revision;
use crate::domain::text::shell_quote;
use crate::error::{Error, Result};
use crate::fail_points;
use crate::journal::{Journal, NewBatch};
use crate::source::repository_files;

/// Record a committed revision, for the post-commit hook
///
/// Exit status 0 means that the revision is recorded durably; a worker takes it from there.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The repository
    #[arg(value_name = "REPOS")]
    repository: PathBuf,
    /// The revision
    #[arg(value_name = "REV", value_parser = parse_revision)]
    revision: u64,
    /// The transaction; Subversion passes it, nothing uses it
    #[arg(value_name = "TXN")]
    transaction: Option<String>,
    /// Stay until everything of this revision is settled
    #[arg(long)]
    wait: bool,
}

pub(super) fn parse_revision(text: &str) -> Result<u64, String> {
    revision::parse(text).ok_or_else(|| format!("{text:?} is no revision: digits only, as in 42"))
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let repository = repository_files::canonical(&args.repository)?;
    let uuid = repository_files::read_uuid(&repository)?;
    let setup = Setup::for_recording(globals, &repository)?;
    let state = setup.state()?;
    let mut journal = Journal::open(&state.journal())?;
    fail_points::hit("hook.opened");
    if let Some(youngest) = repository_files::youngest(&repository)
        && args.revision > youngest
    {
        return Err(Error::source(format!(
            "{} has no revision {}; its youngest is {youngest}",
            repository.display(),
            args.revision
        )));
    }
    let recorded = journal.record_revision(
        &NewBatch {
            repository: &repository,
            uuid: &uuid,
            revision: args.revision,
            rules_file: setup.places.rules().ok(),
            netrc_file: globals.netrc.as_ref().and(setup.places.netrc.as_deref()),
        },
        Utc::now(),
    )?;
    drop(journal);
    fail_points::hit("hook.recorded");
    if args.wait {
        let setup = Setup::new(globals, Some(&repository), false)?;
        let prints = setup.start_logging(&state, true)?;
        let ended = see_through(&setup, state.clone(), &[recorded.batch], prints, out);
        // What was planned on the way, revisions whose own hooks were lost, is a worker's.
        if Journal::open(&state.journal())?.has_work()? {
            wake_or_start(&setup, &state, globals)?;
        }
        return ended;
    }
    wake_or_start(&setup, &state, globals)?;
    fail_points::hit("hook.worker_started");
    Ok(0)
}

/// The line that reaches the committer: short, ASCII, with the revision and the command that repeats it.
pub(super) fn complaint(args: &Args, error: &Error) -> String {
    let reason = error.message.lines().next().unwrap_or_default();
    let repeat = format!(
        "auto-dispatcher hook {} {}",
        shell_quote(&args.repository.to_string_lossy()),
        args.revision
    );
    let line = format!(
        "auto-dispatcher: r{}: {reason}; to repeat: {repeat}",
        args.revision
    );
    line.chars()
        .fold(String::with_capacity(line.len()), |mut ascii, c| {
            match c {
                ' '..='~' => ascii.push(c),
                // Writing to a String does not fail.
                c => drop(write!(ascii, "{{U+{:04X}}}", c as u32)),
            }
            ascii
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_is_one_ascii_line_with_the_command_that_repeats_it() {
        let args = Args {
            repository: "/svn/包".into(),
            revision: 7,
            transaction: None,
            wait: false,
        };
        let line = complaint(&args, &Error::state("disk full\nsecond line"));
        assert_eq!(
            line,
            "auto-dispatcher: r7: disk full; to repeat: auto-dispatcher hook '/svn/{U+5305}' 7"
        );
    }
}
