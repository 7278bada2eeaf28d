//! `dismiss ID...` and `dismiss REPOS REV[:REV]`: puts away what needs nobody any more.

use std::io::Write;
use std::path::{Path, PathBuf};

use chrono::Utc;

use super::Globals;
use super::decide::{Report, let_go};
use super::replay::parse_range;
use super::setup::Setup;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::source::repository_files;

/// Put failed or unknown deliveries away: they leave `status`, stop no lane, and their bytes go
#[derive(Debug, clap::Args)]
#[command(override_usage = "auto-dispatcher dismiss [OPTIONS] ID...\n       \
    auto-dispatcher dismiss [OPTIONS] REPOS REV[:REV]")]
pub(super) struct Args {
    /// Deliveries as `status` numbers them, or a repository and a revision or two: 12 or 12:15
    #[arg(value_name = "ID", required = true)]
    words: Vec<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// What the words mean.
#[derive(Debug, PartialEq, Eq)]
enum What {
    Deliveries(Vec<i64>),
    Revisions(PathBuf, u64, u64),
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let what = what(&args.words)?;
    let repository = match &what {
        What::Revisions(repository, ..) => Some(repository.as_path()),
        What::Deliveries(_) => None,
    };
    let setup = Setup::new(globals, repository, true)?;
    let (state, mut journal) = setup.look()?;
    let mut report = Report::new(out, args.json, "dismiss", "dismissed");
    let ids = match what {
        What::Deliveries(ids) => ids,
        What::Revisions(repository, low, high) => {
            let ids = dismiss_revisions(&setup, &mut journal, &repository, low, high)?;
            if ids.is_empty() {
                report.say("no delivery of these revisions is failed or unknown")?;
            }
            ids
        }
    };
    for id in ids {
        let decided = journal.dismiss(id, Utc::now())?;
        report.add(id, decided, "dismissed")?;
    }
    let_go(&setup, globals, &state, &journal, &report.made)?;
    Ok(report.code)
}

/// What of these revisions waits for the operator: deliveries, also of replays, that failed or are unknown.
/// Returns them; the caller dismisses and reports each.
fn dismiss_revisions(
    _setup: &Setup,
    journal: &mut Journal,
    repository: &Path,
    low: u64,
    high: u64,
) -> Result<Vec<i64>> {
    // A repository that is gone may be what made them fail.
    let path = repository_files::canonical(repository)
        .or_else(|_| std::path::absolute(repository))
        .map_err(|error| Error::io(ErrorKind::Source, "cannot find", repository, &error))?;
    journal.troubled_of_revisions(&path.to_string_lossy(), low, high)
}

fn what(words: &[String]) -> Result<What> {
    let usage = |message: String| {
        Error::new(ErrorKind::Usage, message).with_hint(
            "`dismiss ID...` takes the numbers of `status`, `dismiss REPOS REV[:REV]` a repository and its revisions",
        )
    };
    let is_number = |word: &String| word.bytes().all(|byte| byte.is_ascii_digit());
    if words.iter().all(is_number) {
        let number = |word: &String| {
            word.parse()
                .map_err(|_| usage(format!("{word:?} is the number of no delivery")))
        };
        return Ok(What::Deliveries(
            words.iter().map(number).collect::<Result<_>>()?,
        ));
    }
    let [repository, revisions] = words else {
        let odd = words.iter().find(|word| !is_number(word));
        return Err(usage(format!(
            "{:?} is neither a delivery nor a repository with revisions",
            odd.map(String::as_str).unwrap_or_default()
        )));
    };
    let (low, high) = parse_range(revisions).map_err(usage)?;
    Ok(What::Revisions(PathBuf::from(repository), low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_deliveries_and_a_path_with_revisions_is_a_repository() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            what(&words)
        };
        assert_eq!(read(&["7", "8"]), Ok(What::Deliveries(vec![7, 8])));
        let revisions = |path: &str, low, high| Ok(What::Revisions(PathBuf::from(path), low, high));
        assert_eq!(read(&["/svn/x", "7"]), revisions("/svn/x", 7, 7));
        assert_eq!(read(&["./7", "8"]), revisions("./7", 8, 8));
        assert_eq!(read(&["7", "8:9"]), revisions("7", 8, 9));
        for bad in [
            &["x"][..],
            &["x", "y"],
            &["x", "9:8"],
            &["7", "x", "8"],
            &["99999999999999999999"],
        ] {
            let error = read(bad).expect_err("no such thing");
            assert_eq!(error.kind, ErrorKind::Usage, "{error}");
        }
    }
}
