//! Planning: what a revision changed x rules = deliveries, one batch after the other, in revision order.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;

use chrono::{Duration, Utc};

use super::Context;
use super::configurations::Loaded;
use crate::domain::change::{Change, base_name};
use crate::domain::event::Event;
use crate::domain::plan::{Filter, Plan, PlanInput, plan};
use crate::domain::rule::Choice;
use crate::domain::text::escape;
use crate::error::{Error, ErrorKind, Result};
use crate::fail_points;
use crate::journal::{BatchRow, Journal};
use crate::source::svnlook::Repository;

/// Plans everything that is due, unless another process is at it.
pub(super) fn plan_all(context: &Context) -> Result<()> {
    let path = context.plan_lock();
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
    let mut journal = context.journal()?;
    while !context.stop.is_raised() {
        let Some(batch) = journal.next_unplanned(Utc::now())? else {
            return Ok(());
        };
        if fill_gap(context, &mut journal, &batch)? {
            fail_points::hit("planner.gap_filled");
            continue;
        }
        // A late hook may have recorded an earlier revision before the ledger was asked for gaps.
        let first = journal.next_unplanned(Utc::now())?;
        if first.is_none_or(|first| first.id != batch.id) {
            continue;
        }
        plan_one(context, &mut journal, &batch)?;
        context.wake.now();
    }
    Ok(())
}

/// Sees to it that no revision below this batch's is forgotten or overtaken: hooks overlap, start out of
/// order, and are killed. True when the ledger has grown, and something else is to be planned first.
fn fill_gap(context: &Context, journal: &mut Journal, batch: &BatchRow) -> Result<bool> {
    // Asked with 0, which fills nothing: svnlook costs a process, and a gap is rare.
    if journal.fill_gap(batch.id, 0, Utc::now())? == 0 || !exists(context, batch) {
        return Ok(false);
    }
    fail_points::hit("planner.gap_found");
    let most = context.settings.catch_up_max;
    let missing = journal.fill_gap(batch.id, most, Utc::now())?;
    if missing > most {
        context.emit(&Event::Notice {
            message: format!(
                "{}: the {missing} revisions below it were never recorded, more than catch_up_max ({most}): they are \
                 not dispatched; `replay` them if they should be",
                batch.describe()
            ),
        });
    }
    Ok((1..=most).contains(&missing))
}

/// Whether the revision was ever committed; a hook records what it is told.
fn exists(context: &Context, batch: &BatchRow) -> bool {
    let (Some(path), Some(revision)) = (&batch.repository, batch.revision) else {
        return false;
    };
    let youngest = context
        .svnlook
        .repository(path)
        .and_then(|repository| repository.youngest());
    // Where that cannot be told, planning fails with the reason, and this is asked again.
    youngest.is_ok_and(|youngest| revision <= youngest)
}

fn plan_one(context: &Context, journal: &mut Journal, batch: &BatchRow) -> Result<()> {
    match plan_of(context, batch) {
        Ok((author, changes, plan)) => {
            fail_points::hit("planner.made");
            let written =
                journal.settle_plan(batch.id, author.as_deref(), &changes, &plan, Utc::now())?;
            fail_points::hit("planner.planned");
            if written {
                context.emit(&planned_event(batch.id, batch.describe(), &changes, &plan));
            }
            Ok(())
        }
        // svnlook was ended with us: that says nothing about the revision.
        Err(_) if context.stop.is_raised() => Ok(()),
        Err(error) => {
            let pause = context.settings.plan_retry_s;
            let now = Utc::now();
            let due = now + Duration::seconds(i64::try_from(pause).unwrap_or(i64::MAX / 1_000_000));
            journal.fail_plan(batch.id, &error, now, due)?;
            context.emit(&Event::PlanFailed {
                batch: batch.id,
                source: batch.describe(),
                error: error.one_line(),
                again_in_s: pause,
            });
            Ok(())
        }
    }
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

fn plan_of(context: &Context, batch: &BatchRow) -> Result<(Option<String>, Vec<Change>, Plan)> {
    let (Some(path), Some(revision)) = (&batch.repository, batch.revision) else {
        return Err(Error::state(format!(
            "batch {} names no revision",
            batch.id
        )));
    };
    let repository = context.svnlook.repository(path)?;
    check_uuid(&repository, batch)?;
    let loaded = context.configurations.of(
        batch.rules_file.as_deref(),
        batch.netrc_file.as_deref(),
        Some(path),
    )?;
    for warning in loaded.warnings_once() {
        context.emit(&Event::Notice { message: warning });
    }
    let changes = changes_of(&repository, revision, &loaded)?;
    let author = repository.author(revision)?;
    let plan = plan_changes(&loaded, &changes, &batch.stamp, &Filter::default());
    Ok((author, changes, plan))
}

/// What a revision changed. Whether a file is a symbolic link costs a process, and is asked only where a
/// rule may take the file.
pub fn changes_of(repository: &Repository, revision: u64, loaded: &Loaded) -> Result<Vec<Change>> {
    let wanted = |path: &str| !matches!(loaded.rules().choose(base_name(path), path), Choice::None);
    repository.changes_wanted(revision, loaded.copied_directories(), &wanted)
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
        Some(recorded) if recorded != repository.uuid() => Err(Error::source(format!(
            "the repository at {} has changed its UUID from {recorded} to {}: it is not the one that was recorded",
            repository.path().display(),
            repository.uuid()
        ))
        .with_hint("put the recorded repository back, or `replay` the revisions of the new one")),
        _ => Ok(()),
    }
}
