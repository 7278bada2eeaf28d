//! The time line: what each of the last batches came to at each target, a row for each target and a column for each
//! batch. Bounded, whatever the journal holds.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::facts::Facts;
use super::text::{counted, name, shown, source, when, worst};
use crate::domain::delivery::State;
use crate::journal::BatchLane;

/// Targets that are shown.
const ROWS_MAX: usize = 40;

/// A batch.
pub(super) struct Column {
    /// `r12`.
    pub label: String,
    /// Where from, by whom, when.
    pub title: String,
}

/// What a batch came to at a target.
pub(super) struct Cell {
    /// The worst state; empty: nothing of that batch went there.
    pub state: &'static str,
    /// How many deliveries, where they are several.
    pub count: String,
    /// In words.
    pub title: String,
    /// The delivery to look at further down.
    pub link: Option<i64>,
}

/// A target.
pub(super) struct Row {
    /// The target.
    pub target: String,
    /// One for each column.
    pub cells: Vec<Cell>,
}

/// The time line.
pub(super) struct Matrix {
    /// Oldest first.
    pub columns: Vec<Column>,
    /// Those that want somebody first.
    pub rows: Vec<Row>,
    /// Targets that are left out.
    pub more: usize,
}

/// Lays it out. `anchors` are the deliveries that the page tells more of.
pub(super) fn matrix(facts: &Facts, anchors: &HashSet<i64>) -> Matrix {
    let now = facts.standing.machine.now;
    let places: HashMap<i64, usize> = facts
        .batches
        .iter()
        .rev()
        .enumerate()
        .map(|(place, batch)| (batch.id, place))
        .collect();
    let mut lanes: BTreeMap<&str, Vec<Vec<&BatchLane>>> = BTreeMap::new();
    for part in &facts.batch_lanes {
        if let Some(place) = places.get(&part.batch) {
            let cells = lanes
                .entry(&part.lane)
                .or_insert_with(|| vec![Vec::new(); places.len()]);
            cells
                .iter_mut()
                .skip(*place)
                .take(1)
                .for_each(|cell| cell.push(part));
        }
    }
    let mut lanes: Vec<_> = lanes.into_iter().collect();
    let more = lanes.len().saturating_sub(ROWS_MAX);
    // Only where not all find room do those go first that want somebody; else the order is one to get used to.
    if more > 0 {
        lanes.sort_by_key(|(_, cells)| std::cmp::Reverse(trouble(cells)));
        lanes.truncate(ROWS_MAX);
        lanes.sort_by_key(|(lane, _)| *lane);
    }
    let repositories: HashSet<_> = facts
        .batches
        .iter()
        .map(|batch| &batch.repository)
        .collect();
    let are_several = repositories.len() > 1;
    let columns = facts.batches.iter().rev().map(|batch| {
        let by = batch
            .author
            .as_deref()
            .map(|author| format!(" by {author}"));
        let of = batch
            .repository
            .as_deref()
            .map(|path| format!(" of {path}"));
        let label = source(batch.source, batch.revision);
        let label = match batch.repository.as_deref().filter(|_| are_several) {
            Some(path) => format!("{} {label}", short(path)),
            None => label,
        };
        Column {
            title: name(&format!(
                "{label}{}{}, {}",
                of.unwrap_or_default(),
                by.unwrap_or_default(),
                when(batch.recorded_at, now).local
            )),
            label,
        }
    });
    let columns: Vec<Column> = columns.collect();
    let rows = lanes.into_iter().map(|(lane, cells)| Row {
        target: name(lane),
        cells: columns
            .iter()
            .zip(cells)
            .map(|(column, parts)| cell(&parts, &column.label, anchors))
            .collect(),
    });
    Matrix {
        rows: rows.collect(),
        columns,
        more,
    }
}

/// The beginning of a repository's own name.
fn short(path: &str) -> String {
    let own = path.rsplit('/').next().unwrap_or(path);
    shown(&own.chars().take(8).collect::<String>(), 8)
}

/// How many cells of a row want somebody.
fn trouble(cells: &[Vec<&BatchLane>]) -> usize {
    let parts = cells.iter().flatten();
    parts
        .filter(|part| matches!(part.state, State::Failed | State::Unknown | State::Waiting))
        .count()
}

fn cell(parts: &[&BatchLane], column: &str, anchors: &HashSet<i64>) -> Cell {
    let Some(state) = worst(parts.iter().map(|part| part.state)) else {
        return Cell {
            state: "",
            count: String::new(),
            title: String::new(),
            link: None,
        };
    };
    let all: u64 = parts.iter().map(|part| part.deliveries).sum();
    let words: Vec<String> = parts
        .iter()
        .map(|part| format!("{} {}", part.deliveries, part.state))
        .collect();
    let what = if all == 1 {
        state.to_string()
    } else {
        format!(
            "{}: {}",
            counted(all, "delivery", "deliveries"),
            words.join(", ")
        )
    };
    let example = parts.iter().find(|part| part.state == state);
    let example = example.map(|part| part.example).unwrap_or_default();
    Cell {
        state: state.as_str(),
        count: if all > 1 {
            all.to_string()
        } else {
            String::new()
        },
        title: format!("{column}: {what} (show {example})"),
        link: anchors.contains(&example).then_some(example),
    }
}
