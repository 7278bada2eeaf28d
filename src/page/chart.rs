//! Throughput as pictures: bars over time, placed in percent, so that they fit any width without being distorted.

use chrono::{DateTime, Datelike as _, Local, NaiveDate, TimeDelta, Utc};

use super::text::{Percent, number, percent};
use crate::domain::delivery::State;
use crate::domain::text::bytes;
use crate::journal::HourTally;

/// A longer time is shown by days, and one longer than the next by weeks.
const HOURLY_MAX_H: i64 = 72;
const DAILY_MAX_D: i64 = 62;
/// Labels below the bars.
const LABELS: usize = 6;
/// In the order in which they are stacked.
const OUTCOMES: [State; 4] = [State::Done, State::Failed, State::Unknown, State::Cancelled];

/// A part of a bar.
pub(super) struct Segment {
    /// The outcome's word.
    pub class: &'static str,
    /// Its upper edge.
    pub y: Percent,
    /// How high it is.
    pub height: Percent,
}

/// A bar.
pub(super) struct Bar {
    /// Its left edge.
    pub x: Percent,
    /// How wide it is.
    pub width: Percent,
    /// Where what is said about it belongs.
    pub middle: Percent,
    /// Deliveries, stacked.
    pub segments: Vec<Segment>,
    /// Bytes: the upper edge.
    pub bytes_y: Percent,
    /// Bytes: how high.
    pub bytes_height: Percent,
    /// When, in words.
    pub label: String,
    /// Whether the label stands below it.
    pub is_labelled: bool,
    /// For the table: one number for each outcome.
    pub counts: Vec<String>,
    /// For the table.
    pub bytes: String,
}

/// Throughput.
pub(super) struct Chart {
    /// `hour`, `day` or `week`.
    pub unit: &'static str,
    /// Oldest first.
    pub bars: Vec<Bar>,
    /// The number at the upper edge.
    pub top: String,
    /// The bytes at the upper edge.
    pub bytes_top: String,
    /// Deliveries by outcome, in words.
    pub totals: Vec<(&'static str, String)>,
    /// Bytes in all.
    pub bytes_total: String,
    /// Whether nothing settled.
    pub is_empty: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Hour,
    Day,
    Week,
}

#[derive(Default, Clone, Copy)]
struct Sum {
    counts: [u64; 4],
    bytes: u64,
}

impl Unit {
    fn of(time: TimeDelta) -> Self {
        if time.num_hours() <= HOURLY_MAX_H {
            Self::Hour
        } else if time.num_days() <= DAILY_MAX_D {
            Self::Day
        } else {
            Self::Week
        }
    }

    /// Which bar an hour belongs to: a day begins at midnight of this machine's zone.
    fn slot(self, time: DateTime<Utc>) -> i64 {
        let days = || i64::from(time.with_timezone(&Local).date_naive().num_days_from_ce());
        match self {
            Self::Hour => time.timestamp().div_euclid(3600),
            Self::Day => days(),
            // Mondays: the first day of our era was one.
            Self::Week => (days() - 1).div_euclid(7),
        }
    }

    fn label(self, slot: i64) -> String {
        let date = |days: i64| {
            let days = i32::try_from(days).unwrap_or_default();
            let date = NaiveDate::from_num_days_from_ce_opt(days).unwrap_or_default();
            date.format("%m-%d").to_string()
        };
        match self {
            Self::Hour => DateTime::from_timestamp(slot * 3600, 0)
                .unwrap_or_default()
                .with_timezone(&Local)
                .format("%a %H:00")
                .to_string(),
            Self::Day => date(slot),
            Self::Week => date(slot * 7 + 1),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }
}

/// The next round number, so that the highest bar is not cut.
fn round_up(value: u64) -> u64 {
    let mut unit = 1;
    loop {
        for step in [1, 2, 5] {
            if value <= unit * step {
                return unit * step;
            }
        }
        let Some(next) = unit.checked_mul(10).filter(|next| *next < u64::MAX / 10) else {
            return value;
        };
        unit = next;
    }
}

/// Draws what settled between the two moments.
pub(super) fn chart(hours: &[HourTally], since: DateTime<Utc>, now: DateTime<Utc>) -> Chart {
    let unit = Unit::of(now - since);
    let (first, last) = (unit.slot(since), unit.slot(now));
    let count = usize::try_from(last - first + 1).unwrap_or(1);
    let mut sums = vec![Sum::default(); count];
    let mut total = Sum::default();
    for hour in hours {
        let slot = usize::try_from(unit.slot(hour.from) - first).ok();
        let kind = OUTCOMES.iter().position(|one| *one == hour.outcome);
        let (Some(slot), Some(kind)) = (slot.and_then(|slot| sums.get_mut(slot)), kind) else {
            continue;
        };
        for sum in [slot, &mut total] {
            if let Some(count) = sum.counts.get_mut(kind) {
                *count += hour.deliveries;
            }
            sum.bytes += hour.bytes;
        }
    }
    let highest = sums.iter().map(|sum| sum.counts.iter().sum()).max();
    let top = round_up(highest.unwrap_or(1)).max(1);
    let bytes_top = sums.iter().map(|sum| sum.bytes).max().unwrap_or(1).max(1);
    let every = count.div_ceil(LABELS).max(1);
    let slots = sums.iter().zip(first..).enumerate();
    Chart {
        unit: unit.word(),
        bars: slots
            .map(|(index, (sum, slot))| {
                let is_labelled = (count - 1 - index) % every == every / 2;
                bar(
                    sum,
                    (index, count),
                    (top, bytes_top),
                    unit.label(slot),
                    is_labelled,
                )
            })
            .collect(),
        top: number(top),
        bytes_top: bytes(bytes_top),
        totals: OUTCOMES
            .iter()
            .zip(total.counts)
            .map(|(outcome, count)| (outcome.as_str(), number(count)))
            .collect(),
        bytes_total: bytes(total.bytes),
        is_empty: total.counts.iter().all(|count| *count == 0),
    }
}

fn bar(
    sum: &Sum,
    (index, count): (usize, usize),
    (top, bytes_top): (u64, u64),
    label: String,
    is_labelled: bool,
) -> Bar {
    let (index, count) = (index as u64, count as u64);
    // A fifth of its place is left free.
    let left = percent(10 * index + 1, 10 * count);
    let mut below = 0;
    let mut segments = Vec::new();
    for (outcome, height) in OUTCOMES.iter().zip(sum.counts) {
        below += height;
        if height > 0 {
            segments.push(Segment {
                class: outcome.as_str(),
                y: percent(top.saturating_sub(below), top),
                height: percent(height, top),
            });
        }
    }
    Bar {
        x: left,
        width: percent(8, 10 * count),
        middle: percent(2 * index + 1, 2 * count),
        segments,
        bytes_y: percent(bytes_top - sum.bytes, bytes_top),
        bytes_height: percent(sum.bytes, bytes_top),
        label,
        is_labelled,
        counts: sum.counts.iter().map(|count| number(*count)).collect(),
        bytes: bytes(sum.bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone as _;

    #[test]
    fn the_highest_bar_is_not_cut() {
        assert_eq!(
            [0, 1, 3, 5, 6, 11, 201].map(round_up),
            [1, 1, 5, 5, 10, 20, 500]
        );
        assert_eq!(round_up(u64::MAX), u64::MAX);
    }

    #[test]
    fn what_settled_is_stacked_in_its_bar_and_nothing_is_lost() {
        let now = Utc.timestamp_opt(1_750_000_000, 0).unwrap();
        let since = now - TimeDelta::hours(48);
        let tally = |hours, outcome, deliveries| HourTally {
            from: now - TimeDelta::hours(hours),
            outcome,
            deliveries,
            bytes: 100 * deliveries,
        };
        let hours = [
            tally(0, State::Done, 3),
            tally(0, State::Failed, 1),
            tally(48, State::Done, 2),
        ];
        let drawn = chart(&hours, since, now);
        assert_eq!(
            (drawn.unit, drawn.bars.len(), drawn.top.as_str()),
            ("hour", 49, "5")
        );
        let last = drawn.bars.last().unwrap();
        assert_eq!(last.segments.len(), 2);
        assert_eq!(last.segments[0].height, Percent(60.0));
        assert_eq!(last.segments[1].y, Percent(20.0));
        assert_eq!(drawn.totals[0], ("done", "5".to_owned()));
        for days in [3, 4, 62, 63, 400] {
            let drawn = chart(&hours, now - TimeDelta::days(days), now);
            assert!(drawn.bars.len() <= 73, "{days}: {}", drawn.bars.len());
            assert_eq!(drawn.totals[0].1, "5", "{days}");
        }
    }
}
