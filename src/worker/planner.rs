//! Planning: what a revision changed x rules = deliveries, one batch of a repository after the other, in
//! revision order.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use chrono::{Duration, Utc};

use super::Context;
use super::catch_up::tell_of_gaps;
use super::configurations::Loaded;
use crate::domain::change::{Change, base_name};
use crate::domain::event::Event;
use crate::domain::plan::{Filter, Plan, PlanInput, plan};
use crate::domain::rule::Choice;
use crate::domain::text::{escape, shell_quote};
use crate::error::{Error, ErrorKind, Result};
use crate::fail_points;
use crate::journal::{BatchRow, Journal, Missing, Origin};
use crate::source::svnlook::{Begun, Commit, Repository};

/// Plans everything of a repository that is due, unless another process is at it.
pub(super) fn plan_all(context: &Context, repository: i64) -> Result<()> {
    let path = context.plan_lock(repository);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| Error::io(ErrorKind::State, "cannot open", &path, &error))?;
    if lock.try_lock().is_err() {
        return Ok(());
    }
    context.with_journal(|journal| plan_due(context, journal, repository))
}

fn plan_due(context: &Context, journal: &mut Journal, repository: i64) -> Result<()> {
    while !context.stop.is_raised() {
        let Some(batch) = journal.next_unplanned(repository, Utc::now())? else {
            return Ok(());
        };
        if let Some(holder) = journal.holder_of_path(batch.id)? {
            hold(context, journal, &batch, &holder)?;
            continue;
        }
        if fill_gap(context, journal, &batch)? {
            fail_points::hit("planner.gap_filled");
            continue;
        }
        // A hook may have recorded an earlier one since this one was chosen; none can from here on, for
        // nothing is missing below.
        let first = journal.next_unplanned(repository, Utc::now())?;
        if first.is_none_or(|first| first.id != batch.id) {
            continue;
        }
        plan_one(context, journal, &batch)?;
        context.wake.now();
    }
    Ok(())
}

/// Another repository holds the path: this one's revisions wait for the operator's decision, which no
/// later try can replace.
fn hold(context: &Context, journal: &mut Journal, batch: &BatchRow, holder: &str) -> Result<()> {
    let path = batch.repository.as_deref().unwrap_or(Path::new(""));
    let uuid = batch.uuid.as_deref().unwrap_or_default();
    let error = changed_uuid(path, holder, uuid);
    journal.hold_plan(batch.id, &error, Utc::now())?;
    context.emit(&Event::Notice {
        message: format!("{} is held: {}", batch.describe(), error.one_line()),
    });
    Ok(())
}

/// Sees to it that no revision below this batch's is forgotten or overtaken: hooks overlap, start out of
/// order, and are killed. True when the ledger has changed, and what is to be planned first is asked again.
fn fill_gap(context: &Context, journal: &mut Journal, batch: &BatchRow) -> Result<bool> {
    // Asked first without writing: svnlook costs a process, and a gap is rare.
    if journal.missing_below(batch.id)? == 0 {
        return Ok(false);
    }
    match exists(context, batch) {
        Ok(true) => {}
        Ok(false) => return Ok(false),
        Err(error) => return fail(context, journal, batch, &error).map(|()| true),
    }
    fail_points::hit("planner.gap_found");
    let most = context.settings.catch_up_max;
    let missing = journal.fill_gap(batch.id, most, Utc::now())?;
    let path = batch.repository.as_deref().unwrap_or(Path::new(""));
    tell_of_gaps(context, path, &missing);
    // Nothing: a hook was faster.
    Ok(!matches!(missing, Missing::Gaps(_)))
}

/// Whether the revision was ever committed; a hook records what it is told.
fn exists(context: &Context, batch: &BatchRow) -> Result<bool> {
    let (Some(path), Some(revision)) = (&batch.repository, batch.revision) else {
        return Ok(false);
    };
    let repository = context.svnlook.known_repository(path)?;
    check_uuid(&repository, batch)?;
    Ok(revision <= repository.youngest()?)
}

fn plan_one(context: &Context, journal: &mut Journal, batch: &BatchRow) -> Result<()> {
    match plan_of(context, batch) {
        Ok((commit, changes, plan)) => {
            fail_points::hit("planner.made");
            let origin = Origin {
                author: commit.author.as_deref(),
                committed_at: commit.committed_at,
                message: commit.message.as_deref(),
            };
            let written = journal.settle_plan(batch.id, origin, &changes, &plan, Utc::now())?;
            fail_points::hit("planner.planned");
            if written {
                context.emit(&planned_event(batch.id, batch.describe(), &changes, &plan));
            }
            Ok(())
        }
        Err(error) => fail(context, journal, batch, &error),
    }
}

/// Records that a batch cannot be planned, and when that is tried again.
fn fail(context: &Context, journal: &mut Journal, batch: &BatchRow, error: &Error) -> Result<()> {
    // svnlook was ended with us: that says nothing about the revision.
    if context.stop.is_raised() {
        return Ok(());
    }
    let pause = context.settings.plan_retry_s;
    let now = Utc::now();
    let due = now + Duration::seconds(i64::try_from(pause).unwrap_or(i64::MAX / 1_000_000));
    journal.fail_plan(batch.id, error, now, due)?;
    // The same again says nothing new, and is in `status`.
    if batch.plan_error.as_deref() != Some(error.one_line().as_str()) {
        context.emit(&Event::PlanFailed {
            batch: batch.id,
            source: batch.describe(),
            error: error.one_line(),
            again_in_s: pause,
        });
    }
    Ok(())
}

/// The event that tells of a plan.
pub fn planned_event(batch: i64, source: String, changes: &[Change], plan: &Plan) -> Event {
    let skips = plan
        .skips
        .iter()
        .filter_map(|skip| {
            let change = changes.get(skip.change)?;
            Some((
                escape(&change.path).into_owned(),
                skip.reason.to_string(),
                skip.reason.is_trouble(),
            ))
        })
        .collect();
    Event::Planned {
        batch,
        source,
        deliveries: plan.deliveries.len(),
        skips,
    }
}

fn plan_of(context: &Context, batch: &BatchRow) -> Result<(Commit, Vec<Change>, Plan)> {
    let (Some(path), Some(revision)) = (&batch.repository, batch.revision) else {
        return Err(Error::state(format!(
            "batch {} names no revision",
            batch.id
        )));
    };
    let repository = context.svnlook.known_repository(path)?;
    check_uuid(&repository, batch)?;
    let loaded = context.configurations.of(
        batch.rules_file.as_deref(),
        batch.netrc_file.as_deref(),
        Some(path),
    )?;
    for warning in loaded.warnings_once() {
        context.emit(&Event::Notice { message: warning });
    }
    let mut begun = repository.begin_dump(revision, &|path| may_take(&loaded, path));
    let (changes, commit) = std::thread::scope(|scope| {
        let commit = scope.spawn(|| repository.commit(revision));
        let changes = changes_of(&repository, revision, &loaded, begun.as_mut());
        (changes, commit.join())
    });
    let changes = changes?;
    let commit = commit.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let plan = plan_changes(&loaded, &changes, &batch.stamp, &Filter::default());
    if let Some(dump) = begun.filter(|_| !plan.deliveries.is_empty()) {
        context.exports.begin(batch.id, dump);
    }
    Ok((commit, changes, plan))
}

/// What a revision changed. Whether a file is a symbolic link may cost a process, and is asked only where a
/// rule may take the file.
pub fn changes_of(
    repository: &Repository,
    revision: u64,
    loaded: &Loaded,
    begun: Option<&mut Begun>,
) -> Result<Vec<Change>> {
    let wanted = |path: &str| may_take(loaded, path);
    repository.changes_wanted(revision, loaded.copied_directories(), &wanted, begun)
}

/// Whether a rule takes a file with this path, if it is one.
fn may_take(loaded: &Loaded, path: &str) -> bool {
    !matches!(loaded.rules().choose(base_name(path), path), Choice::None)
}

/// Plans changes by loaded rules.
pub fn plan_changes(loaded: &Loaded, changes: &[Change], stamp: &str, filter: &Filter) -> Plan {
    plan(&PlanInput {
        changes,
        rules: loaded.rules(),
        stamp,
        login_of: &|rule, host| loaded.login(rule, host),
        filter,
    })
}

/// A repository is bound to its UUID and its path: another one under the same path is not dispatched.
pub(super) fn check_uuid(repository: &Repository, batch: &BatchRow) -> Result<()> {
    match &batch.uuid {
        Some(recorded) if recorded != repository.uuid() => {
            Err(changed_uuid(repository.path(), recorded, repository.uuid()))
        }
        _ => Ok(()),
    }
}

/// Why nothing of `path` is dispatched when the repository there is not the one that was recorded.
pub fn changed_uuid(path: &Path, recorded: &str, found: &str) -> Error {
    Error::source(format!(
        "the repository at {} has changed its UUID from {recorded} to {found}",
        path.display()
    ))
    .with_hint(format!(
        "put the recorded repository back, or let it go: auto-dispatcher dismiss {} --former",
        shell_quote(&path.to_string_lossy())
    ))
}
