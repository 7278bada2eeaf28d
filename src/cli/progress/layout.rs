//! The board in lines that fit a terminal. Pure.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use chrono::Local;

use super::board::{Board, Doing, Now, Row, Stage, Unit};
use super::rate::clock;
use crate::cli::lines::bytes;
use crate::cli::report::counted;
use crate::cli::screen::{Tone, shorten, width_of};
use crate::domain::delivery::Step;
use crate::domain::text::escape;

/// From this width on there is room for bars, and from this one on for rates.
const WITH_BARS: usize = 100;
const WITH_RATES: usize = 64;
/// Columns of a bar between its ends.
const BAR: usize = 20;
/// A name keeps that much, and a reason.
const NAME_MIN: usize = 16;
const REASON_MIN: usize = 12;
/// More lines than that nobody reads.
const ROWS_MAX: usize = 30;

/// A line in pieces.
pub(super) type Line = Vec<(Tone, String)>;

/// Columns and rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    pub columns: usize,
    pub rows: usize,
}

/// Everything that is to be shown now. No line fills the width.
pub(super) fn lines(board: &Board, space: Space, now: Now) -> Vec<Line> {
    let width = space.columns.saturating_sub(1).max(1);
    let mut lines: Vec<Line> = board
        .stages
        .values()
        .map(|stage| stage_line(stage, width, now))
        .collect();
    if board.followed.is_some() {
        followed_lines(board, (width, space.rows), now, &mut lines);
    }
    lines.truncate(space.rows.saturating_sub(1).max(1));
    lines.into_iter().map(|line| clamped(line, width)).collect()
}

/// Deliveries, and the total.
fn followed_lines(board: &Board, (width, height): (usize, usize), now: Now, lines: &mut Vec<Line>) {
    let unplanned = board.tally.as_ref().map_or(0, |tally| tally.unplanned);
    if unplanned > 0 {
        let stage = Stage {
            what: format!("planning {}", counted(unplanned, "revision")),
            since: board.followed.unwrap_or_default(),
            ..Stage::default()
        };
        lines.push(stage_line(&stage, width, now));
    }
    // The last line of the terminal but one, for those that are counted, and the total.
    let room = height.saturating_sub(3 + lines.len()).clamp(1, ROWS_MAX);
    let mut rows = board.rows();
    rows.truncate(room);
    lines.extend(row_lines(&rows, width, now));
    let shown: HashSet<&str> = rows.iter().map(|(lane, _)| *lane).collect();
    let beside = board.lanes_beside(&shown);
    if beside > 0 {
        let more = if rows.is_empty() { "" } else { " more" };
        let text = format!("{}{more} to be served", counted(beside, "target"));
        lines.push(vec![(Tone::Dim, shorten(&text, width))]);
    }
    lines.extend(total_line(board, width, now));
}

/// A line that fits the narrowest terminal.
fn clamped(line: Line, width: usize) -> Line {
    let mut left = width;
    line.into_iter()
        .map(|(tone, text)| {
            let text = cut(&text, left);
            left -= width_of(&text);
            (tone, text)
        })
        .collect()
}

fn stage_line(stage: &Stage, width: usize, now: Now) -> Line {
    const TURN: [&str; 4] = ["|", "/", "-", "\\"];
    let turn = usize::try_from(now.since_start.as_millis() / 100).unwrap_or(0);
    let took = now.since_start.saturating_sub(stage.since);
    let far = match (stage.unit, stage.total) {
        (Unit::Bytes, Some(total)) => {
            let left = total.saturating_sub(stage.done);
            let left = stage.rate.time_for(left, now.since_start);
            format!(
                "{}{}",
                of_all(stage.done, total),
                left.map_or_else(String::new, |left| format!("  {}", clock(left)))
            )
        }
        (Unit::Bytes, None) => bytes(stage.done),
        (Unit::Files, _) => counted(stage.done, "file"),
        (Unit::Nothing, _) => clock(took),
    };
    let far = shorten(&far, width.saturating_sub(NAME_MIN));
    let room = width.saturating_sub(width_of(&far) + 4);
    vec![
        (Tone::Busy, format!("{} ", TURN[turn % TURN.len()])),
        (Tone::Plain, format!("{}  ", shorten(&stage.what, room))),
        (Tone::Dim, far),
    ]
}

fn row_lines(rows: &[(&str, Row)], width: usize, now: Now) -> Vec<Line> {
    let names: Vec<String> = rows
        .iter()
        .map(|(lane, row)| format!("{} -> {}", row.package, escape(lane)))
        .collect();
    let status: Vec<(Tone, String)> = rows
        .iter()
        .map(|(_, row)| status_of(row, width, now))
        .collect();
    let longest = names.iter().map(|name| width_of(name)).max().unwrap_or(0);
    // A reason gives way to names, up to a point; a figure does not.
    let is_reason = |row: &Row| matches!(row.doing, Doing::Waits(..));
    let needed = rows
        .iter()
        .zip(&status)
        .map(|((_, row), (_, text))| {
            let wide = width_of(text);
            if is_reason(row) {
                wide.min(width / 2)
            } else {
                wide
            }
        })
        .max()
        .unwrap_or(0);
    let column = longest.min(width.saturating_sub(needed + 2).max(NAME_MIN.min(width)));
    names
        .iter()
        .zip(status)
        .map(|(name, (tone, text))| {
            let name = shorten(name, column);
            let gap = " ".repeat(column - width_of(&name) + 2);
            let room = width.saturating_sub(column + 2).max(REASON_MIN.min(width));
            let text = cut(&text, room.min(width.saturating_sub(column + 2)));
            vec![(Tone::Plain, name), (Tone::Plain, gap), (tone, text)]
        })
        .collect()
}

fn status_of(row: &Row, width: usize, now: Now) -> (Tone, String) {
    let took = row
        .since
        .map(|since| clock(now.since_start.saturating_sub(since)));
    let with_time = |what: &str| match &took {
        Some(took) => format!("{what}  {took}"),
        None => format!("{what}, by another worker"),
    };
    let text = match &row.doing {
        Doing::Waits(until, why) => {
            let until = until.with_timezone(&Local).format("%H:%M:%S");
            let what = if width + 1 < WITH_RATES {
                "again at"
            } else {
                "waits until"
            };
            let because = if why.is_empty() { "" } else { ": " };
            return (Tone::Warn, format!("{what} {until}{because}{why}"));
        }
        Doing::Begins => with_time("begins"),
        Doing::Step(step @ (Step::Upload | Step::Export)) if row.total > 0 => {
            moving(*step, row, width, now)
        }
        Doing::Step(step) => with_time(step.as_str()),
    };
    (Tone::Busy, text)
}

fn moving(step: Step, row: &Row, width: usize, now: Now) -> String {
    let left = row.total.saturating_sub(row.bytes);
    let left = row.rate.time_for(left, now.since_start);
    let left = left.map_or_else(String::new, |left| format!("  {}", clock(left)));
    if width + 1 < WITH_RATES {
        let percent = row.bytes.saturating_mul(100) / row.total.max(1);
        return format!("{step} {percent:>3}%{left}");
    }
    let rate = row.rate.per_second(now.since_start);
    let rate = rate.map_or_else(String::new, |rate| format!("  {}/s", bytes(rate)));
    let bar = if width + 1 < WITH_BARS {
        String::new()
    } else {
        bar(row.bytes, row.total) + "  "
    };
    format!("{step}  {bar}{}{rate}{left}", of_all(row.bytes, row.total))
}

fn of_all(done: u64, total: u64) -> String {
    format!("{} of {}", bytes(done), bytes(total))
}

fn bar(done: u64, total: u64) -> String {
    let full = usize::try_from(done.saturating_mul(BAR as u64) / total.max(1)).unwrap_or(BAR);
    let full = full.min(BAR);
    let head = if full < BAR { ">" } else { "" };
    format!(
        "[{}{head}{}]",
        "=".repeat(full),
        " ".repeat(BAR - full - head.len())
    )
}

/// Everything in a line: what matters least is left out first.
fn total_line(board: &Board, width: usize, now: Now) -> Option<Line> {
    let counts = board.counts().filter(|counts| counts.all > 0)?;
    let mut first = format!("{} of {} done", counts.done, counts.all);
    for (count, what) in [(counts.troubled, "failed"), (counts.cancelled, "cancelled")] {
        if count > 0 {
            // Writing to a String does not fail.
            let _ = write!(first, ", {count} {what}");
        }
    }
    let moved = board.bytes().filter(|(_, all)| *all > 0);
    let moved = moved.map(|(there, all)| of_all(there, all));
    let rate = board.rate.per_second(now.since_start);
    let rate = rate.map(|rate| format!("{}/s", bytes(rate)));
    let left = board.time_left(now).map(left_words);
    let joined = |parts: &[&Option<String>]| {
        let parts = parts.iter().filter_map(|part| part.as_deref());
        let all: Vec<&str> = std::iter::once(first.as_str()).chain(parts).collect();
        all.join("; ")
    };
    let texts = [
        joined(&[&moved, &rate, &left]),
        joined(&[&moved, &left]),
        joined(&[&left]),
    ];
    let text = texts.into_iter().find(|text| width_of(text) <= width);
    let text = text.unwrap_or_else(|| first.clone());
    let tone = if counts.troubled > 0 {
        Tone::Bad
    } else {
        Tone::Good
    };
    Some(vec![(tone, cut(&text, width))])
}

fn left_words(left: Duration) -> String {
    format!("{} left", clock(left))
}

/// `text`, its end cut off where it is too long: what a reason begins with tells most.
fn cut(text: &str, columns: usize) -> String {
    if width_of(text) <= columns {
        return text.to_owned();
    }
    let mut shown = String::new();
    for c in text.chars() {
        if width_of(&shown) + width_of(c.encode_utf8(&mut [0; 4])) + 1 > columns {
            break;
        }
        shown.push(c);
    }
    if columns > 0 {
        shown.push('…');
    }
    shown
}
