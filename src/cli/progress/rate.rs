//! How fast something goes, and how long it will take. Times are handed in.

use std::collections::VecDeque;
use std::time::Duration;

/// What is older says nothing about now.
const WINDOW: Duration = Duration::from_secs(8);
/// Less is no measure.
const LEAST: Duration = Duration::from_millis(500);

/// What was moved lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Rate {
    samples: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// So many bytes were moved in all, at this time.
    pub(super) fn note(&mut self, now: Duration, bytes: u64) {
        // It began anew.
        if self.samples.back().is_some_and(|(_, last)| bytes < *last) {
            self.samples.clear();
        }
        self.samples.push_back((now, bytes));
        while self.samples.len() > 2
            && self
                .samples
                .get(1)
                .is_some_and(|(then, _)| *then + WINDOW < now)
        {
            self.samples.pop_front();
        }
    }

    /// Bytes a second; none where too little is known. What stands still becomes slower and slower.
    pub(super) fn per_second(&self, now: Duration) -> Option<u64> {
        let (first, from) = *self.samples.front()?;
        let (_, to) = *self.samples.back()?;
        let took = now.saturating_sub(first);
        if took < LEAST || to <= from {
            return None;
        }
        let millis = u64::try_from(took.as_millis()).ok()?.max(1);
        Some((to - from).saturating_mul(1000) / millis)
    }

    /// How long `left` bytes take.
    pub(super) fn time_for(&self, left: u64, now: Duration) -> Option<Duration> {
        let rate = self.per_second(now).filter(|&rate| rate > 0)?;
        Some(Duration::from_secs(left.div_ceil(rate)))
    }
}

/// `0:07`, `12:30`, `3:05:00`.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(Duration::from_secs(1)), None);
        for second in 0..60 {
            rate.note(Duration::from_secs(second), second * 100);
        }
        for second in 60..80 {
            rate.note(Duration::from_secs(second), 5900 + (second - 59) * 1000);
        }
        let now = Duration::from_secs(79);
        assert_eq!(rate.per_second(now), Some(1000));
        assert_eq!(rate.time_for(4500, now), Some(Duration::from_secs(5)));
        rate.note(now, 7);
        assert_eq!(rate.per_second(now), None, "it began anew");
    }

    #[test]
    fn times_read_well() {
        assert_eq!(clock(Duration::from_secs(7)), "0:07");
        assert_eq!(clock(Duration::from_secs(750)), "12:30");
        assert_eq!(clock(Duration::from_mins(185)), "3:05:00");
    }
}
