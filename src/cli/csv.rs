//! Deliveries as CSV (RFC 4180), for spreadsheets: a header, the names of `--json`, and no cell that a spreadsheet would
//! take for a formula.

use std::borrow::Cow;
use std::io::Write;

use serde_json::Value;

use super::lines::DeliveryJson;
use super::output_error;
use crate::domain::text::escape;
use crate::error::{Error, Result};

/// The header: the names of `--json` in their order.
pub(super) const NAMES: [&str; 24] = [
    "id",
    "batch",
    "source",
    "repository",
    "revision",
    "package",
    "path",
    "rule",
    "host",
    "login",
    "state",
    "step",
    "attempts",
    "transport",
    "remote_path",
    "sha256",
    "size",
    "exit_status",
    "fault",
    "error",
    "queued_at",
    "settled_at",
    "directory",
    "author",
];

/// Writes the header.
pub(super) fn header(out: &mut dyn Write) -> Result<()> {
    write_row(out, NAMES.iter().map(|name| Cow::Borrowed(*name)))
}

/// Writes a delivery.
pub(super) fn row(out: &mut dyn Write, delivery: &DeliveryJson<'_>) -> Result<()> {
    let value = serde_json::to_value(delivery)
        .map_err(|error| Error::state(format!("cannot write CSV: {error}")))?;
    write_row(
        out,
        NAMES.iter().map(|name| match &value[name] {
            Value::Null => Cow::Borrowed(""),
            Value::String(text) => Cow::Owned(harmless(text)),
            other => Cow::Owned(other.to_string()),
        }),
    )
}

/// Text without anything that moves a cursor, and behind an apostrophe where it would begin a formula.
fn harmless(text: &str) -> String {
    let text = escape(text);
    if text
        .trim_start()
        .starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
    {
        return format!("'{text}");
    }
    text.into_owned()
}

fn write_row<'a>(out: &mut dyn Write, cells: impl Iterator<Item = Cow<'a, str>>) -> Result<()> {
    let cells: Vec<Cow<'_, str>> = cells.map(quoted).collect();
    write!(out, "{}\r\n", cells.join(",")).map_err(|error| output_error(&error))
}

fn quoted(cell: Cow<'_, str>) -> Cow<'_, str> {
    if cell.contains([',', '"', '\r', '\n']) || cell.starts_with(' ') || cell.ends_with(' ') {
        return Cow::Owned(format!("\"{}\"", cell.replace('"', "\"\"")));
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_have_to_be() {
        assert_eq!(quoted("plain".into()), "plain");
        assert_eq!(quoted("a,b".into()), "\"a,b\"");
        assert_eq!(quoted("say \"x\"".into()), "\"say \"\"x\"\"\"");
        assert_eq!(quoted(" x".into()), "\" x\"");
    }

    #[test]
    fn no_cell_begins_a_formula_or_moves_a_cursor() {
        for text in ["=1+1", "+1", "-1", "@x", " =1", "\u{ff1d}1"] {
            assert!(harmless(text).starts_with('\''), "{text}");
        }
        assert_eq!(harmless("\t=1"), "\\t=1");
        assert_eq!(harmless("a=1\n\u{1b}[31m"), "a=1\\n\\x1b[31m");
        assert_eq!(harmless("app-1.0.tar"), "app-1.0.tar");
    }
}
