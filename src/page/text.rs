//! Words, numbers and times as the page writes them. What others have named is made harmless and short enough here.

use std::fmt;

use chrono::{DateTime, Local, SecondsFormat, TimeDelta, Utc};

use crate::domain::delivery::State;
use crate::domain::text::escape;
use crate::journal::{DeliveryRow, Source};

/// Characters of a name that are shown.
pub(super) const NAME_MAX: usize = 160;
/// Characters of a reason or a command that are shown.
pub(super) const REASON_MAX: usize = 1500;

/// What somebody else has named: controls and direction marks written out, and at most `most` characters of it, the
/// beginning and the end.
pub(super) fn shown(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return escape(text).into_owned();
    }
    let tail = most / 3;
    let head: String = text.chars().take(most - tail).collect();
    let end: String = text.chars().skip(count - tail).collect();
    format!("{}…{}", escape(&head), escape(&end))
}

/// A name of somebody else.
pub(super) fn name(text: &str) -> String {
    shown(text, NAME_MAX)
}

/// A moment, as the page has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct When {
    /// For programs.
    pub iso: String,
    /// For people, in the zone of this machine.
    pub local: String,
    /// How long before the page was made.
    pub ago: String,
}

/// A moment.
pub(super) fn when(time: DateTime<Utc>, now: DateTime<Utc>) -> When {
    When {
        iso: time.to_rfc3339_opts(SecondsFormat::Secs, true),
        local: time
            .with_timezone(&Local)
            .format("%Y-%m-%d %H:%M:%S")
            .to_string(),
        ago: ago(now - time),
    }
}

/// `3 min ago`, or `in 3 min`.
fn ago(age: TimeDelta) -> String {
    let seconds = age.num_seconds();
    let words = span(seconds.unsigned_abs());
    match seconds {
        0..5 => "just now".to_owned(),
        5.. => format!("{words} ago"),
        _ => format!("in {words}"),
    }
}

/// The largest unit of a number of seconds that says enough.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5_400 => format!("{} min", (seconds + 30) / 60),
        5_400..172_800 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} days", (seconds + 43_200) / 86_400),
    }
}

/// How long something took.
#[expect(
    clippy::cast_precision_loss,
    reason = "one or two digits behind the point are shown"
)]
pub(super) fn took(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => span(ms / 1000),
    }
}

/// A number with its thousands apart.
pub(super) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

/// `1 delivery`, `2 deliveries`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// `r12`, `replay r12`, `send`.
pub(super) fn source(source: Source, revision: Option<u64>) -> String {
    match (source, revision) {
        (Source::Revision, Some(revision)) => format!("r{revision}"),
        (source, Some(revision)) => format!("{} r{revision}", source.as_str()),
        (source, None) => source.as_str().to_owned(),
    }
}

/// Where a package went, or is to go.
pub(super) fn destination(row: &DeliveryRow) -> String {
    match &row.remote_path {
        Some(path) => name(path),
        None => name(&format!("{}/{}", row.dest_dir, row.package)),
    }
}

/// What a delivery's state says first when there are several in one place.
pub(super) fn worst(states: impl Iterator<Item = State>) -> Option<State> {
    states.max_by_key(|state| match state {
        State::Failed => 6,
        State::Unknown => 5,
        State::Waiting => 4,
        State::Running => 3,
        State::Queued => 2,
        State::Done => 1,
        State::Cancelled => 0,
    })
}

/// A part of a whole in percent, as SVG takes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Percent(pub f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}%", self.0)
    }
}

/// `part` of `whole` in percent.
#[expect(clippy::cast_precision_loss, reason = "it is drawn")]
pub(super) fn percent(part: u64, whole: u64) -> Percent {
    Percent(100.0 * part as f64 / whole.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_harmless_and_bounded() {
        assert_eq!(shown("a\u{202e}b\n", 10), "a\\u{202e}b\\n");
        let long = shown(&"中".repeat(1000), 30);
        assert_eq!(long.chars().count(), 31, "{long}");
    }

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(number(999), "999");
        assert_eq!((took(999), took(1500)), ("999 ms".into(), "1.5 s".into()));
        assert_eq!(ago(TimeDelta::seconds(120)), "2 min ago");
        assert_eq!(ago(TimeDelta::seconds(-40)), "in 40 s");
        assert_eq!(span(3 * 86_400), "3 days");
    }

    #[test]
    fn what_is_worst_comes_first() {
        let states = [State::Done, State::Unknown, State::Cancelled];
        assert_eq!(worst(states.into_iter()), Some(State::Unknown));
        assert_eq!(worst(std::iter::empty()), None);
    }
}
