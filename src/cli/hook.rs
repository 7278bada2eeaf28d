//! `hook REPOS REV [TXN]`: records the revision durably, wakes or starts a worker, and returns. Runs no
//! svnlook, reads no rules, dials no host.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use chrono::Utc;

use super::Globals;
use super::foreground::{see_through, wake_or_start};
use super::lines::line_of;
use super::progress::Progress;
use super::setup::{Setup, environment};
use crate::domain::incoming::Note;
use crate::domain::revision;
use crate::domain::text::shell_quote;
use crate::error::{Error, Result};
use crate::fail_points;
use crate::journal::{Awaited, Journal, NewBatch};
use crate::source::repository_files;
use crate::worker::planner::changed_uuid;

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
    if let Some(incoming) = setup.incoming_of_others()? {
        check_that_it_exists(args, &repository)?;
        incoming.leave(&note(&repository, uuid, args.revision))?;
        if args.wait {
            let line =
                "noted for the worker, which runs as another user; --wait cannot follow it there";
            line_of(out, line)?;
        }
        return Ok(0);
    }
    let state = setup.state()?;
    let mut journal = Journal::open(&state.journal())?.closing_at_once()?;
    fail_points::hit("hook.opened");
    check_that_it_exists(args, &repository)?;
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
    if let Some(holder) = &recorded.holder {
        wake_or_start(&setup, &state, globals)?;
        return Ok(complain_of_holder(
            args,
            &changed_uuid(&repository, holder, &uuid),
        ));
    }
    if recorded.is_dismissed && args.wait {
        let line = format!("r{} was dismissed; `replay` dispatches it", args.revision);
        line_of(out, &line)?;
    }
    if args.wait {
        let setup = Setup::new(globals, Some(&repository), false)?;
        let prints = setup.start_logging(&state, true)?;
        let ended = see_through(
            &setup,
            state.clone(),
            &Awaited::Batches(vec![recorded.batch]),
            (&Progress::begin(), prints),
            out,
        );
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

fn check_that_it_exists(args: &Args, repository: &Path) -> Result<()> {
    match repository_files::youngest(repository) {
        Some(youngest) if args.revision > youngest => Err(Error::source(format!(
            "{} has no revision {}; its youngest is {youngest}",
            repository.display(),
            args.revision
        ))),
        _ => Ok(()),
    }
}

fn note(repository: &Path, uuid: String, revision: u64) -> Note {
    Note {
        // A canonical path is UTF-8.
        repository: repository.to_string_lossy().into_owned(),
        uuid,
        revision,
    }
}

/// The line that reaches the committer: short, ASCII, with the revision and the command that repeats it.
pub(super) fn complaint(args: &Args, globals: &Globals, error: &Error) -> String {
    let reason = error.message.lines().next().unwrap_or_default();
    let mut repeat = "auto-dispatcher".to_owned();
    // What the hook found by its environment is named, for whoever types this has another one.
    let config = globals.config.clone().or_else(|| environment().config);
    for (option, file) in [("--config", &config), ("--netrc", &globals.netrc)] {
        if let Some(file) = file {
            let _ = write!(repeat, " {option} {}", ascii_word(&absolute(file)));
        }
    }
    let repository = ascii_word(&absolute(&args.repository));
    let _ = write!(repeat, " hook {repository} {}", args.revision);
    let line = format!("auto-dispatcher: r{}: {reason}", args.revision);
    format!("{}; to repeat: {repeat}", ascii(&line))
}

/// Tells the committer that the revision is recorded, and held for the operator to decide.
fn complain_of_holder(args: &Args, error: &Error) -> u8 {
    let line = format!(
        "auto-dispatcher: r{}: recorded, but not dispatched: {}; {}",
        args.revision,
        error.message,
        error.hint.as_deref().unwrap_or_default()
    );
    // Where stderr is closed, the exit status has to do.
    let _ = writeln!(io::stderr(), "{}", ascii(&line));
    error.kind.exit_code()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn ascii(line: &str) -> String {
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

/// A path as a word of any POSIX shell, in printable ASCII whatever it holds.
fn ascii_word(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return shell_quote(&path.to_string_lossy());
    }
    let mut word = String::from("\"$(printf '");
    for &byte in bytes {
        match byte {
            b'%' => word.push_str("%%"),
            b'\'' | b'\\' | ..b' ' | b'\x7f'.. => drop(write!(word, "\\{byte:03o}")),
            byte => word.push(char::from(byte)),
        }
    }
    word + "')\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_is_one_ascii_line_with_the_command_that_repeats_it() {
        let mut args = Args {
            repository: "/svn/the packages".into(),
            revision: 7,
            transaction: None,
            wait: false,
        };
        let mut globals = Globals {
            config: None,
            netrc: None,
        };
        let error = Error::state("disk full: \u{5305}\nsecond line");
        assert_eq!(
            complaint(&args, &globals, &error),
            "auto-dispatcher: r7: disk full: {U+5305}; to repeat: auto-dispatcher hook '/svn/the packages' 7"
        );
        globals.config = Some("/etc/a b.cfg".into());
        globals.netrc = Some("/etc/netrc".into());
        args.repository = "/svn/\u{5305}'%\\".into();
        let line = complaint(&args, &globals, &error);
        let (_, repeat) = line.split_once("; to repeat: ").unwrap();
        assert_eq!(
            repeat,
            "auto-dispatcher --config '/etc/a b.cfg' --netrc '/etc/netrc' hook \
             \"$(printf '/svn/\\345\\214\\205\\047%%\\134')\" 7"
        );
    }
}
