//! What `status` says of notices that could not be sent: who relies on them has to know.

use std::io::Write;

use serde::Serialize;

use super::lines::{json_line, local, rfc3339};
use crate::error::Result;
use crate::journal::Unsent;

#[derive(Serialize)]
struct UnsentJson<'a> {
    notifier: &'a str,
    made_at: String,
    tries: u32,
    given_up: bool,
    error: &'a str,
}

/// For programs.
pub(super) fn print_json(rows: &[Unsent], out: &mut dyn Write) -> Result<()> {
    rows.iter().try_for_each(|row| {
        json_line(
            out,
            &UnsentJson {
                notifier: &row.notifier,
                made_at: rfc3339(row.made_at),
                tries: row.tries,
                given_up: row.is_given_up,
                error: &row.error,
            },
        )
    })
}

/// For people, one of them.
pub(super) fn line(row: &Unsent) -> String {
    let next = if row.is_given_up {
        "given up".to_owned()
    } else {
        format!("tried again at {}", local(row.due_at))
    };
    format!(
        "a notice of {} for the notifier {} could not be sent (tries: {}, {next}): {}; `notify --test {}` tries that way",
        local(row.made_at),
        row.notifier,
        row.tries,
        row.error,
        row.notifier
    )
}
