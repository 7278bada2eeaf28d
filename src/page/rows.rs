//! Deliveries as the page shows them: what failed, one card for what failed alike; and the last ones, with details.

use chrono::{DateTime, Utc};

use super::text::{
    NAME_MAX, REASON_MAX, When, counted, destination, name, number, shown, source, when,
};
use crate::domain::delivery::State;
use crate::domain::text::{bytes, shell_quote};
use crate::journal::DeliveryRow;

/// Cards that are shown.
const CARDS_MAX: usize = 60;
/// Deliveries that a card names.
const NAMED_MAX: usize = 8;
/// Deliveries whose numbers a command lists; where there are more, it names the host.
const TYPED_MAX: usize = 12;

/// A delivery that failed, on its card.
pub(super) struct Named {
    /// Its number.
    pub id: i64,
    /// The package.
    pub package: String,
    /// `r12`.
    pub source: String,
    /// When it ended.
    pub at: When,
}

/// Deliveries to one target that failed for the same reason.
pub(super) struct Card {
    /// `failed` or `unknown`.
    pub state: &'static str,
    /// In words: which.
    pub title: String,
    /// The target.
    pub target: String,
    /// The class of the fault.
    pub fault: String,
    /// The step it ended at, and after how many attempts.
    pub step: String,
    /// The message, line by line.
    pub reason: Vec<String>,
    /// The first of them.
    pub named: Vec<Named>,
    /// How many more there are.
    pub more: String,
    /// What to type, and what it does.
    pub commands: Vec<(String, &'static str)>,
}

/// The cards; and how many deliveries are on none.
pub(super) fn cards(
    undecided: &[DeliveryRow],
    all: u64,
    program: &str,
    now: DateTime<Utc>,
) -> (Vec<Card>, u64) {
    let mut groups: Vec<Vec<&DeliveryRow>> = Vec::new();
    for row in undecided {
        let alike = groups.iter_mut().find(|group| {
            group.first().is_some_and(|first| {
                (
                    &first.lane,
                    first.state,
                    &first.fault,
                    &first.error,
                    first.exit_status,
                ) == (
                    &row.lane,
                    row.state,
                    &row.fault,
                    &row.error,
                    row.exit_status,
                )
            })
        });
        match alike {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups.truncate(CARDS_MAX);
    let on_cards: usize = groups.iter().map(Vec::len).sum();
    let cards = groups.iter().filter_map(|group| card(group, program, now));
    (cards.collect(), all.saturating_sub(on_cards as u64))
}

fn card(group: &[&DeliveryRow], program: &str, now: DateTime<Utc>) -> Option<Card> {
    let first = group.first()?;
    let ids: Vec<String> = group.iter().rev().map(|row| row.id.to_string()).collect();
    let which = if ids.len() > TYPED_MAX {
        format!("--host {}", shell_quote(&first.host))
    } else {
        ids.join(" ")
    };
    let mut commands = vec![
        (format!("{program} show {}", first.id), "tells all of it"),
        (
            shown(&format!("{program} retry {which}"), REASON_MAX),
            "tries again, once the cause is mended",
        ),
    ];
    if ids.len() <= TYPED_MAX {
        commands.push((format!("{program} dismiss {which}"), "puts it away"));
    }
    let title = match group {
        [one] => name(&one.package),
        many => counted(many.len() as u64, "delivery", "deliveries"),
    };
    let left = group.len().saturating_sub(NAMED_MAX);
    Some(Card {
        state: first.state.as_str(),
        title,
        target: name(&first.lane),
        fault: first.fault.as_deref().map(name).unwrap_or_default(),
        step: format!(
            "at {}, after {}",
            first.step.as_str(),
            counted(u64::from(first.attempts), "attempt", "attempts")
        ),
        reason: reason(first),
        named: group
            .iter()
            .take(NAMED_MAX)
            .map(|row| Named {
                id: row.id,
                package: name(&row.package),
                source: source(row.source, row.revision),
                at: when(row.settled_at.unwrap_or(row.queued_at), now),
            })
            .collect(),
        more: if left > 0 {
            format!("and {} more", number(left as u64))
        } else {
            String::new()
        },
        commands,
    })
}

fn reason(row: &DeliveryRow) -> Vec<String> {
    let text = row.error.as_deref().unwrap_or("no reason is on record");
    let text: String = text.chars().take(REASON_MAX).collect();
    text.lines()
        .take(20)
        .map(|line| shown(line, REASON_MAX))
        .collect()
}

/// A delivery of the list.
pub(super) struct RecentRow {
    /// Its number.
    pub id: i64,
    /// When it settled, else when it was queued.
    pub at: When,
    /// `r12`.
    pub source: String,
    /// The package.
    pub package: String,
    /// The target.
    pub target: String,
    /// Its size.
    pub size: String,
    /// The state.
    pub state: &'static str,
    /// Whether a card has its place to link to.
    pub is_on_card: bool,
    /// More, each with its name.
    pub details: Vec<(&'static str, String)>,
}

/// The list.
pub(super) fn recent(
    rows: &[DeliveryRow],
    on_cards: &dyn Fn(i64) -> bool,
    now: DateTime<Utc>,
) -> Vec<RecentRow> {
    rows.iter()
        .map(|row| RecentRow {
            id: row.id,
            at: when(row.settled_at.unwrap_or(row.queued_at), now),
            source: source(row.source, row.revision),
            package: name(&row.package),
            target: name(&row.lane),
            size: row.size.map_or_else(|| "–".to_owned(), bytes),
            state: row.state.as_str(),
            is_on_card: on_cards(row.id),
            details: details(row, now),
        })
        .collect()
}

fn details(row: &DeliveryRow, now: DateTime<Utc>) -> Vec<(&'static str, String)> {
    let tried = counted(u64::from(row.attempts), "attempt", "attempts");
    let tried = match &row.transport {
        Some(transport) => format!("{tried}, {transport}"),
        None => tried,
    };
    let due = (row.state == State::Waiting).then(|| when(row.due_at, now));
    let optional = [
        ("path", Some(name(&row.path))),
        ("repository", row.repository.as_deref().map(name)),
        ("directory", row.directory.as_deref().map(name)),
        ("author", row.author.as_deref().map(name)),
        (
            "rule",
            Some(name(&format!("[{}] line {}", row.rule, row.rule_line))),
        ),
        ("to", Some(destination(row))),
        ("SHA-256", row.sha256.clone()),
        ("queued", Some(when(row.queued_at, now).local)),
        ("settled", row.settled_at.map(|at| when(at, now).local)),
        ("tried", Some(tried)),
        (
            "again",
            due.map(|due| format!("{} ({})", due.local, due.ago)),
        ),
        (
            "exit status",
            row.exit_status.map(|status| status.to_string()),
        ),
        ("fault", row.fault.as_deref().map(name)),
        (
            "reason",
            row.error.as_deref().map(|error| shown(error, NAME_MAX * 3)),
        ),
        ("dismissed", row.dismissed_at.map(|at| when(at, now).local)),
    ];
    optional
        .into_iter()
        .filter_map(|(word, text)| Some((word, text?)))
        .collect()
}
