//! When a delivery is tried again: a pure function of policy, attempts, and a jitter passed in.

use std::time::Duration;

/// The longest pause between two attempts.
pub const MAX_DELAY: Duration = Duration::from_mins(10);

/// How often and how soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub retries: u32,
    /// Delay before the second attempt; doubles with each further one.
    pub delay: Duration,
}

impl RetryPolicy {
    /// The pause before the next attempt after `attempts` attempts have ended (1 or more), or none
    /// when they are used up. `jitter` (0.0 to 1.0) shortens the pause by up to a tenth, so that the
    /// lanes of a host that was down do not all knock at once.
    pub fn delay_after(&self, attempts: u32, jitter: f64) -> Option<Duration> {
        if attempts > self.retries {
            return None;
        }
        let doublings = attempts.saturating_sub(1).min(30);
        let full = self
            .delay
            .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
            .min(MAX_DELAY);
        Some(full.mul_f64(1.0 - 0.1 * jitter.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_ten_minutes_and_ends_with_the_retries() {
        let policy = RetryPolicy {
            retries: 9,
            delay: Duration::from_secs(10),
        };
        let seconds: Vec<u64> = (1..=9)
            .map(|n| policy.delay_after(n, 0.0).expect("attempts left").as_secs())
            .collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(policy.delay_after(10, 0.0), None);
    }

    #[test]
    fn jitter_only_shortens() {
        let policy = RetryPolicy {
            retries: 1,
            delay: Duration::from_secs(10),
        };
        assert_eq!(policy.delay_after(1, 1.0), Some(Duration::from_secs(9)));
    }

    #[test]
    fn no_retries_means_one_attempt() {
        let policy = RetryPolicy {
            retries: 0,
            delay: Duration::from_secs(10),
        };
        assert_eq!(policy.delay_after(1, 0.5), None);
    }
}
