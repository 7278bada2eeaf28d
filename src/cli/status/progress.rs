//! How far a running delivery is, in words.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use super::standing::Running;
use crate::cli::lines::bytes;

/// With no byte for so long, the rate says nothing any more.
const STALLED_AFTER_S: i64 = 10;

/// `upload, 12.3 MiB of 100.0 MiB (12 %), 2.1 MiB/s, 0:42 left`.
pub(super) fn of(running: &Running, now: DateTime<Utc>) -> String {
    let step = running.row.step.as_str();
    let told = running.told_of_step();
    let since = told
        .and_then(|told| DateTime::from_timestamp_millis(told.since_ms))
        .unwrap_or(running.started_at);
    let Some((sent, total, told)) = told.and_then(|told| Some((told.bytes?, told.total?, told)))
    else {
        let for_ = clock(seconds(now - since));
        return match running.row.size {
            Some(size) if step == "upload" => format!("{step}, {} for {for_}", bytes(size)),
            _ => format!("{step} for {for_}"),
        };
    };
    let mut shown = format!("{step}, {} of {}", bytes(sent), bytes(total));
    if let Some(percent) = sent.saturating_mul(100).checked_div(total) {
        let _ = write!(shown, " ({percent} %)");
    }
    let moved = told.moved_ms.and_then(DateTime::from_timestamp_millis);
    let idle = moved.map_or(0, |moved| (now - moved).num_seconds());
    if idle >= STALLED_AFTER_S && sent < total {
        let _ = write!(
            shown,
            ", no byte for {}",
            clock(seconds(now - since).min(idle.unsigned_abs()))
        );
        return shown;
    }
    if let Some(rate) = told.rate.filter(|rate| *rate > 0) {
        let _ = write!(shown, ", {}/s", bytes(rate));
        if sent < total {
            let _ = write!(shown, ", {} left", clock((total - sent).div_ceil(rate)));
        }
    }
    shown
}

fn seconds(passed: chrono::Duration) -> u64 {
    passed.num_seconds().max(0).unsigned_abs()
}

/// `0:42`, `12:03`, `3:05:00`, `2 days`.
pub(super) fn clock(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{rest:02}"),
        1..48 => format!("{hours}:{minutes:02}:{rest:02}"),
        _ => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn a_span_reads_like_a_clock() {
        let shown = [0, 42, 723, 11_100, 172_799, 172_800].map(clock);
        assert_eq!(
            shown,
            ["0:00", "0:42", "12:03", "3:05:00", "47:59:59", "2 days"]
        );
    }
}
