//! The two shortest answers: whether the program can do its work, and how things stand in one JSON object.

use serde_json::{Map, Value, json};

use super::attention::{Concern, Weight, concerns};
use super::facts::Standing;
use super::text::when;
use crate::domain::delivery::State;

/// The reasons why the program cannot do its work, one a line; none: it can. A host that fails is none of them.
pub fn health(standing: &Standing) -> Option<String> {
    let concerns = concerns(standing).into_iter();
    let ill = concerns.filter(|concern| concern.weight == Weight::Ill);
    let lines: Vec<String> = ill
        .map(|concern| format!("{}: {}\n", concern.title, concern.reason))
        .collect();
    (!lines.is_empty()).then(|| lines.concat())
}

/// How things stand, for programs.
pub fn status_json(standing: &Standing) -> String {
    let states = [
        State::Queued,
        State::Running,
        State::Waiting,
        State::Failed,
        State::Unknown,
    ];
    let counts: Map<String, Value> = states
        .iter()
        .map(|state| (state.as_str().to_owned(), json!(standing.count(*state))))
        .collect();
    let concerns = concerns(standing);
    let is_well =
        concerns.is_empty() && standing.count(State::Failed) + standing.count(State::Unknown) == 0;
    let told = |concern: &Concern| {
        let weight = match concern.weight {
            Weight::Ill => "ill",
            Weight::Trouble => "trouble",
            Weight::Decision => "decision",
        };
        json!({"weight": weight, "title": concern.title, "reason": concern.reason})
    };
    let object = json!({
        "made_at": when(standing.machine.now, standing.machine.now).iso,
        "well": is_well,
        "deliveries": counts,
        "concerns": concerns.iter().map(told).collect::<Vec<_>>(),
        "workers": standing.machine.workers.len(),
    });
    format!("{object}\n")
}
