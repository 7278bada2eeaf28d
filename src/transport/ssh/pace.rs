//! How much an upload has under way. A host that gets more than its programs take at once piles it up in memory, at great
//! cost: OpenSSH's sshd copies all that waits for each packet that comes. Knows neither connections nor files.

use std::time::{Duration, Instant};

use crate::transport::Traffic;

/// What a host is to be sent over the longest line, bytes a second.
pub(super) const AIM: u64 = 200_000_000;
/// What every upload may have under way.
const LEAST_BYTES: u64 = 512 << 10;
/// What all of them may have under way together, as far as that leaves each the least.
const ALL_BYTES: u64 = 16 << 20;
/// How long an upload that may not go on waits for the host to take some of what is under way. There are hosts that tell
/// only of much at a time.
const PATIENCE: Duration = Duration::from_millis(100);
/// After so many times it is not held up any more.
const RAISED_MAX: u32 = 12;

/// How many bytes one of those that are at work now may have under way.
pub(super) fn share(traffic: &Traffic) -> u64 {
    ALL_BYTES / traffic.count().max(1)
}

/// How many bytes a line of this length holds at [`AIM`].
pub(super) fn holds(round_trip: Duration) -> u64 {
    let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
    micros.saturating_mul(AIM / 1_000_000)
}

/// What one channel may have under way.
pub(super) struct Pace {
    traffic: Traffic,
    line: u64,
    /// The widest window so far: what is missing of it is under way.
    widest: u64,
    /// The window, and since when it has been so, while nothing may be written.
    held: Option<(u64, Instant)>,
    /// How often the bound was found too narrow for the host, and doubled.
    raised: u32,
}

impl Pace {
    /// The pace for a line with this round trip.
    pub(super) fn over(round_trip: Duration, traffic: Traffic) -> Self {
        Self {
            traffic,
            line: holds(round_trip),
            widest: 0,
            held: None,
            raised: 0,
        }
    }

    /// How many bytes may be written now that the host takes `window`.
    pub(super) fn allowed(&mut self, window: u64, now: Instant) -> usize {
        let share = share(&self.traffic);
        self.shared(window, share, now)
    }

    fn shared(&mut self, window: u64, share: u64, now: Instant) -> usize {
        self.widest = self.widest.max(window);
        let most = self.line.min(share).max(LEAST_BYTES);
        // In the end it is the host's business how much that is.
        let most = if self.raised < RAISED_MAX {
            most << self.raised
        } else {
            u64::MAX
        };
        let left = most.saturating_sub(self.widest - window);
        if left > 0 {
            self.held = None;
            return usize::try_from(left).unwrap_or(usize::MAX);
        }
        match self.held {
            Some((seen, since)) if seen == window => {
                if now.saturating_duration_since(since) >= PATIENCE {
                    self.raised = (self.raised + 1).min(RAISED_MAX);
                    self.held = None;
                }
            }
            _ => self.held = Some((window, now)),
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(200);
    const MIB: u64 = 1 << 20;

    #[test]
    fn no_more_is_under_way_than_the_line_holds_and_the_others_leave() {
        let now = Instant::now();
        let allowed = |round_trip, share, under_way: u64| {
            let mut pace = Pace::over(round_trip, Traffic::default());
            pace.shared(2 * MIB, share, now);
            pace.shared(2 * MIB - under_way, share, now) as u64
        };
        assert_eq!(allowed(SHORT, 16 * MIB, 0), MIB / 2);
        assert_eq!(allowed(SHORT, 16 * MIB, 100_000), MIB / 2 - 100_000);
        assert_eq!(allowed(SHORT, 16 * MIB, MIB), 0);
        let long = Duration::from_millis(50);
        assert_eq!(allowed(long, 16 * MIB, 0), 10_000_000);
        assert_eq!(allowed(long, 4 * MIB, MIB), 3 * MIB);
        assert_eq!(allowed(long, 1000, 0), MIB / 2);
        assert!(allowed(Duration::MAX, u64::MAX >> 12, MIB) > 1 << 40);
    }

    #[test]
    fn a_host_that_tells_only_of_much_at_a_time_is_sent_as_much() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut pace = Pace::over(SHORT, Traffic::default());
        assert!(pace.shared(2 * MIB, 16 * MIB, at(0)) > 0);
        // All is under way that may be.
        let window = 2 * MIB - MIB / 2;
        assert_eq!(pace.shared(window, 16 * MIB, at(1)), 0);
        assert_eq!(pace.shared(window, 16 * MIB, at(90)), 0);
        // It told of something: the patience begins anew.
        assert_eq!(pace.shared(window - 1, 16 * MIB, at(99)), 0);
        assert_eq!(pace.shared(window - 1, 16 * MIB, at(190)), 0);
        assert_eq!(pace.shared(window - 1, 16 * MIB, at(200)), 0);
        assert!(pace.shared(window - 1, 16 * MIB, at(200)) > 0);
    }

    #[test]
    fn a_host_that_tells_of_nothing_for_long_is_sent_all_that_it_takes() {
        const WINDOW: u64 = u32::MAX as u64;
        let begun = Instant::now();
        let mut pace = Pace::over(SHORT, Traffic::default());
        let (mut left, mut looks) = (WINDOW, 0);
        while left > 0 {
            let now = begun + PATIENCE * looks;
            left -= (pace.shared(left, 16 * MIB, now) as u64).min(left);
            looks += 1;
            assert!(looks < 100, "{left} bytes are never sent");
        }
    }

    #[test]
    fn those_at_work_share_what_is_under_way() {
        let traffic = Traffic::default();
        assert_eq!(share(&traffic), ALL_BYTES);
        let others: Vec<_> = (0..4).map(|_| traffic.begin()).collect();
        assert_eq!(share(&traffic), ALL_BYTES / 4);
        drop(others);
        assert_eq!(share(&traffic), ALL_BYTES);
    }
}
