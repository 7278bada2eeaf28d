//! `dismiss ID...`, `dismiss REPOS REV[:REV]` and `dismiss REPOS --former`: puts away what needs nobody any
//! more.

use std::io::Write;
use std::path::{Path, PathBuf};

use chrono::Utc;
use serde::Serialize;

use super::Globals;
use super::decide::{Report, let_go};
use super::replay::parse_range;
use super::setup::Setup;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Dismissal, DismissedRevisions, Journal, Retired};
use crate::source::repository_files;

/// Put away what failed, is unknown, or is not to be dispatched
///
/// Deliveries leave `status`, stop no lane, and their bytes go. Of revisions, gaps are closed, what could not be
/// planned is given up, and what was never recorded stays undispatched when it is.
#[derive(Debug, clap::Args)]
#[command(override_usage = "auto-dispatcher dismiss [OPTIONS] ID...\n       \
    auto-dispatcher dismiss [OPTIONS] REPOS REV[:REV]\n       \
    auto-dispatcher dismiss [OPTIONS] REPOS --former")]
pub(super) struct Args {
    /// Deliveries as `status` numbers them, or a repository and a revision or two: 12 or 12:15
    #[arg(value_name = "ID", required = true)]
    words: Vec<String>,
    /// Let the repository go that was under this path before the one that is there now
    #[arg(long)]
    former: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// What the words mean.
#[derive(Debug, PartialEq, Eq)]
enum What {
    Deliveries(Vec<i64>),
    Revisions(PathBuf, u64, u64),
    Former(PathBuf),
}

/// What became of revisions, for programs; about no delivery, so it has no `id`.
#[derive(Serialize)]
struct RevisionsJson<'a> {
    decision: &'static str,
    repository: String,
    /// Revisions that were recorded and not planned.
    unplanned: u64,
    /// Ends of the gaps that are closed now.
    gaps: &'a [(u64, u64)],
    /// Ends of ranges that were never recorded.
    unrecorded: &'a [(u64, u64)],
    /// UUIDs of repositories that were let go.
    former: &'a [String],
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let what = what(&args.words, args.former)?;
    let repository = match &what {
        What::Revisions(repository, ..) | What::Former(repository) => Some(repository.as_path()),
        What::Deliveries(_) => None,
    };
    let repository_given = repository.is_some();
    let setup = Setup::new(globals, repository, true)?;
    let (state, mut journal) = setup.look()?;
    let mut report = Report::new(out, args.json, "dismiss", "dismissed");
    let ids = match what {
        What::Deliveries(ids) => ids,
        What::Revisions(repository, low, high) => {
            dismiss_revisions(&mut report, &mut journal, &repository, (low, high))?
        }
        What::Former(repository) => {
            let_former_go(&mut report, &mut journal, &repository)?;
            Vec::new()
        }
    };
    for id in ids {
        let decided = journal.dismiss(id, Utc::now())?;
        report.add(id, decided, "dismissed")?;
    }
    if repository_given || !report.made.is_empty() {
        let_go(&setup, globals, &state, &journal, &report.made)?;
    }
    Ok(report.code)
}

/// Closes what of these revisions was not dispatched. Returns what waits for the operator: deliveries, also of
/// replays, that failed or are unknown; the caller dismisses and reports each.
fn dismiss_revisions(
    report: &mut Report<'_>,
    journal: &mut Journal,
    repository: &Path,
    (low, high): (u64, u64),
) -> Result<Vec<i64>> {
    // A repository that is gone may be what made them fail.
    let path = repository_files::canonical(repository)
        .or_else(|_| std::path::absolute(repository))
        .map_err(|error| Error::io(ErrorKind::Source, "cannot find", repository, &error))?;
    let uuid = repository_files::read_uuid(&path).ok();
    let what = Dismissal {
        repository: &path,
        uuid: uuid.as_deref(),
        youngest: repository_files::youngest(&path),
        low,
        high,
    };
    let done = journal.dismiss_revisions(&what, Utc::now())?;
    let ids = journal.troubled_of_revisions(&path.to_string_lossy(), low, high)?;
    if !done.is_known && ids.is_empty() {
        return Err(Error::source(format!(
            "the journal knows no revision of {}",
            path.display()
        ))
        .with_hint("`status` lists the repositories whose hook was seen"));
    }
    tell_of_revisions(report, &path, &done, ids.is_empty())?;
    Ok(ids)
}

fn tell_of_revisions(
    report: &mut Report<'_>,
    path: &Path,
    done: &DismissedRevisions,
    no_delivery: bool,
) -> Result<()> {
    report.object(&RevisionsJson {
        decision: "dismiss",
        repository: path.to_string_lossy().into_owned(),
        unplanned: done.batches,
        gaps: &done.gaps,
        unrecorded: &done.unrecorded,
        former: &[],
    })?;
    if done.batches > 0 {
        report.say(&format!(
            "{} of the revisions of {} had not been planned: they are not dispatched any more",
            done.batches,
            path.display()
        ))?;
    }
    for (low, high) in &done.gaps {
        report.say(&format!("gap r{low}:r{high} of {}: closed", path.display()))?;
    }
    for (low, high) in &done.unrecorded {
        report.say(&format!(
            "r{low}:r{high} of {}: not recorded, and not dispatched when a hook names them",
            path.display()
        ))?;
    }
    let nothing = done.batches == 0 && done.gaps.is_empty() && done.unrecorded.is_empty();
    if nothing && no_delivery {
        report.say("nothing of these revisions waits for you: no gap, no failed plan, no failed or unknown delivery")?;
    }
    Ok(())
}

fn let_former_go(report: &mut Report<'_>, journal: &mut Journal, repository: &Path) -> Result<()> {
    let path = repository_files::canonical(repository)?;
    let uuid = repository_files::read_uuid(&path)?;
    let Retired {
        uuids,
        batches,
        gaps,
        freed,
    } = journal.retire_former(&path, &uuid, Utc::now())?;
    report.object(&RevisionsJson {
        decision: "dismiss",
        repository: path.to_string_lossy().into_owned(),
        unplanned: batches,
        gaps: &gaps,
        unrecorded: &[],
        former: &uuids,
    })?;
    if uuids.is_empty() {
        return report.say(&format!(
            "no other repository than the one that is there now ({uuid}) was recorded under {}",
            path.display()
        ));
    }
    report.say(&format!(
        "{}: let go {}, with {batches} unplanned revisions and {} gaps; {freed} revisions of {uuid} are planned now",
        path.display(),
        uuids.join(", "),
        gaps.len()
    ))
}

fn what(words: &[String], former: bool) -> Result<What> {
    let usage = |message: String| {
        Error::new(ErrorKind::Usage, message).with_hint(
            "`dismiss ID...` takes the numbers of `status`, `dismiss REPOS REV[:REV]` a repository and its revisions, \
             `dismiss REPOS --former` a repository",
        )
    };
    if former {
        return match words {
            [repository] => Ok(What::Former(PathBuf::from(repository))),
            _ => Err(usage("--former takes one repository".to_owned())),
        };
    }
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
            what(&words, false)
        };
        assert_eq!(read(&["7", "8"]), Ok(What::Deliveries(vec![7, 8])));
        let revisions = |path: &str, low, high| Ok(What::Revisions(PathBuf::from(path), low, high));
        assert_eq!(read(&["/svn/x", "7"]), revisions("/svn/x", 7, 7));
        assert_eq!(read(&["./7", "8"]), revisions("./7", 8, 8));
        assert_eq!(read(&["7", "8:9"]), revisions("7", 8, 9));
        let path = ["/svn/x".to_owned()];
        assert_eq!(what(&path, true), Ok(What::Former("/svn/x".into())));
        assert!(what(&["/svn/x".to_owned(), "7".to_owned()], true).is_err());
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
