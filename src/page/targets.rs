//! The table of targets: how each stands, when something last went well there, and how long things take.

use std::collections::HashMap;

use super::facts::Facts;
use super::text::{Percent, When, counted, name, span, took, when};
use crate::journal::LaneTally;

/// Targets that are shown, those that want somebody first.
const ROWS_MAX: usize = 150;
/// The left edge of the picture of durations: the logarithm of 100 ms.
const FROM_LOG: f64 = 2.0;
/// The right edge: that of a hundred minutes and more.
const TO_LOG: f64 = 6.8;

/// How long deliveries take at a target.
pub(super) struct Typical {
    /// Half of them take no longer.
    pub p50: String,
    /// Of twenty, nineteen take no longer.
    pub p95: String,
    /// Of how many.
    pub of: String,
    /// Where the first stands on a logarithmic scale.
    pub x50: Percent,
    /// Where the second does.
    pub x95: Percent,
    /// From one to the other.
    pub width: Percent,
}

/// A target.
pub(super) struct TargetRow {
    /// Its name.
    pub target: String,
    /// `stopped`, `failing`, `waiting`, `running`, `queued`, `undecided` or `well`.
    pub state: &'static str,
    /// More about that.
    pub more: String,
    /// When something was last done.
    pub done: Option<When>,
    /// What is open there, in words.
    pub open: String,
    /// How many failed or are unknown.
    pub undecided: u64,
    /// How long things take.
    pub typical: Option<Typical>,
}

/// The table.
pub(super) struct Targets {
    /// Those that want somebody first, then by name.
    pub rows: Vec<TargetRow>,
    /// Left out, because they are too many.
    pub more: usize,
    /// How many there are.
    pub all: usize,
}

/// Lays it out.
pub(super) fn targets(facts: &Facts) -> Targets {
    let standing = &facts.standing;
    let mut timed: HashMap<&str, Vec<u64>> = HashMap::new();
    for (lane, ms) in &facts.timed {
        timed.entry(lane).or_default().push(*ms);
    }
    let mut lanes: Vec<(usize, &'static str, &LaneTally)> = standing
        .lanes
        .iter()
        .map(|lane| {
            let is_stopped = standing.stopped.iter().any(|(name, _)| *name == lane.lane);
            let (rank, state) = state(lane, is_stopped);
            (rank, state, lane)
        })
        .collect();
    // The names are in order already.
    lanes.sort_by_key(|(rank, ..)| *rank);
    let rows = lanes.iter().take(ROWS_MAX).map(|(_, state, lane)| {
        let durations = timed.remove(lane.lane.as_str()).unwrap_or_default();
        row(facts, lane, state, durations)
    });
    Targets {
        rows: rows.collect(),
        more: lanes.len().saturating_sub(ROWS_MAX),
        all: lanes.len(),
    }
}

fn state(lane: &LaneTally, is_stopped: bool) -> (usize, &'static str) {
    let states = [
        (is_stopped, "stopped"),
        (
            lane.undecided > 0 && lane.failing_since.is_some(),
            "failing",
        ),
        (lane.waiting > 0, "waiting"),
        (lane.running > 0, "running"),
        (lane.queued > 0, "queued"),
        // Something went well there since.
        (lane.undecided > 0, "undecided"),
    ];
    let first = states.iter().position(|(is, _)| *is);
    first.map_or((states.len(), "well"), |at| {
        (at, states.get(at).map_or("well", |(_, state)| *state))
    })
}

fn row(facts: &Facts, lane: &LaneTally, state: &'static str, durations: Vec<u64>) -> TargetRow {
    let now = facts.standing.machine.now;
    let since = match state {
        "failing" | "stopped" => lane.failing_since,
        "waiting" => lane.open_since,
        _ => None,
    };
    let more = since.map_or_else(String::new, |since| {
        format!("for {}", span((now - since).num_seconds().unsigned_abs()))
    });
    let open = [
        (lane.running, "running"),
        (lane.waiting, "waiting"),
        (lane.queued, "queued"),
    ];
    let open: Vec<String> = open
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| counted(*count, word, word))
        .collect();
    TargetRow {
        target: name(&lane.lane),
        state,
        more,
        done: lane.done_at.map(|at| when(at, now)),
        open: open.join(", "),
        undecided: lane.undecided,
        typical: typical(durations),
    }
}

fn typical(mut durations: Vec<u64>) -> Option<Typical> {
    durations.sort_unstable();
    let at = |part: usize| durations.get((durations.len() * part / 100).min(durations.len() - 1));
    if durations.is_empty() {
        return None;
    }
    let (p50, p95) = (*at(50)?, *at(95)?);
    let (x50, x95) = (place(p50), place(p95));
    Some(Typical {
        p50: took(p50),
        p95: took(p95),
        of: counted(durations.len() as u64, "delivery", "deliveries"),
        x50: Percent(x50),
        x95: Percent(x95),
        width: Percent((x95 - x50).max(0.5)),
    })
}

/// Where a duration stands between the edges of the picture.
#[expect(clippy::cast_precision_loss, reason = "it is drawn")]
fn place(ms: u64) -> f64 {
    let part = ((ms.max(1) as f64).log10() - FROM_LOG) / (TO_LOG - FROM_LOG);
    3.0 + 94.0 * part.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typical_times_are_those_of_half_and_of_nineteen_in_twenty() {
        assert!(typical(Vec::new()).is_none());
        let all = typical((1..=100).rev().map(|n| n * 1000).collect()).unwrap();
        assert_eq!((all.p50.as_str(), all.p95.as_str()), ("51 s", "2 min"));
        assert!(all.x50.0 < all.x95.0 && all.x95.0 < 100.0);
        assert_eq!(typical(vec![7]).unwrap().p95, "7 ms");
    }
}
