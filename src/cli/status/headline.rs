//! The first line of `status`: whether all is well, and if not, what is not.

use super::standing::Standing;
use crate::cli::lines::local;
use crate::cli::screen::Tone;
use crate::domain::delivery::State;

/// `1 delivery`, `2 deliveries`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The line, and its tone.
pub(super) fn of(standing: &Standing) -> (String, Tone) {
    let bad = what_is_bad(standing);
    let odd = what_is_odd(standing);
    let busy: Vec<String> = [State::Running, State::Waiting, State::Queued]
        .into_iter()
        .map(|state| (state, standing.count(state)))
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let busy = if busy.is_empty() {
        "nothing is under way".to_owned()
    } else {
        busy.join(", ")
    };
    if bad.is_empty() && odd.is_empty() {
        return (format!("all well: {busy}"), Tone::Good);
    }
    let tone = if bad.is_empty() {
        Tone::Warn
    } else {
        Tone::Bad
    };
    let told = [bad, odd].concat().join(", ");
    (format!("{told}; {busy}"), tone)
}

/// What somebody has to decide, or to mend.
fn what_is_bad(standing: &Standing) -> Vec<String> {
    let mut told = Vec::new();
    let failed = standing.count(State::Failed);
    if failed > 0 {
        told.push(format!(
            "{} failed",
            counted(failed, "delivery", "deliveries")
        ));
    }
    let unknown = standing.count(State::Unknown);
    if unknown > 0 {
        let what = if failed > 0 {
            unknown.to_string()
        } else {
            counted(unknown, "delivery", "deliveries")
        };
        told.push(format!("{what} unknown"));
    }
    let stopped = standing.lanes.iter();
    let stopped = stopped.filter(|lane| lane.stopped_by.is_some()).count() as u64;
    if stopped > 0 {
        told.push(format!("{} stopped", counted(stopped, "lane", "lanes")));
    }
    let unplannable = standing.unplanned.iter();
    let unplannable = unplannable
        .filter(|batch| batch.plan_error.is_some())
        .count() as u64;
    if unplannable > 0 {
        let what = counted(unplannable, "revision", "revisions");
        told.push(format!("{what} cannot be planned"));
    }
    let troubled = standing.drop_directories.iter();
    let troubled = troubled.filter(|row| row.trouble.is_some()).count() as u64;
    if troubled > 0 {
        let what = counted(troubled, "drop directory", "drop directories");
        told.push(format!("{what} in trouble"));
    }
    let unsent = standing.unsent.len() as u64;
    if unsent > 0 {
        let what = counted(unsent, "notice", "notices");
        told.push(format!("{what} could not be sent"));
    }
    if standing.last_failure.is_some() {
        told.push("a worker could not start".to_owned());
    }
    told
}

/// What may mend itself, or may need somebody.
fn what_is_odd(standing: &Standing) -> Vec<String> {
    let mut told = Vec::new();
    match standing.unreachable.as_slice() {
        [] => {}
        [(host, since)] => told.push(format!(
            "1 host unreachable since {} ({host})",
            local(*since)
        )),
        [(_, first), others @ ..] => {
            let since = others
                .iter()
                .map(|(_, since)| *since)
                .fold(*first, Ord::min);
            told.push(format!(
                "{} hosts unreachable since {}",
                standing.unreachable.len(),
                local(since)
            ));
        }
    }
    if !standing.gaps.is_empty() {
        let gaps = standing.gaps.len() as u64;
        told.push(counted(gaps, "gap of revisions", "gaps of revisions"));
    }
    if let Some(disk) = &standing.disk {
        if disk.is_short() {
            told.push("the disk is nearly full".to_owned());
        }
        if disk.spool_is_short() {
            told.push("the spool is nearly full".to_owned());
        }
    }
    let held_up = standing.count(State::Queued)
        + standing.count(State::Waiting)
        + standing.unplanned.len() as u64;
    if standing.workers.is_empty() && held_up > 0 {
        told.push("no worker lives".to_owned());
    }
    told
}
