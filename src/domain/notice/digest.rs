//! When a message is made: what is new is told at once, what was told a moment ago waits and is summed, and no
//! host, nor many of them, can make more than a handful of messages within a window. Reads no clock.

use chrono::{DateTime, TimeDelta, Utc};

/// So many messages may be made within one window.
pub const MESSAGES_MAX: usize = 3;

/// What waits to be told under one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// [`super::Occurrence::topic`].
    pub topic: String,
    /// When the first of it happened.
    pub since: DateTime<Utc>,
}

/// A message that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// When.
    pub at: DateTime<Utc>,
    /// Of what.
    pub topics: Vec<String>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// There is nothing to tell.
    Nothing,
    /// One message is made of everything that waits.
    Now,
    /// Not before then.
    At(DateTime<Utc>),
}

/// Decides. `gather`: how long something new waits for what happens at the same moment.
#[must_use]
pub fn next(
    pending: &[Pending],
    made: &[Made],
    window: TimeDelta,
    gather: TimeDelta,
    now: DateTime<Utc>,
) -> Next {
    // What a clock that was set back has in the future tells nothing.
    let mut within: Vec<&Made> = made
        .iter()
        .filter(|made| made.at <= now && now - made.at < window)
        .collect();
    within.sort_by_key(|made| made.at);
    let told_at = |topic: &str| {
        within
            .iter()
            .rev()
            .find(|made| made.topics.iter().any(|told| told == topic))
            .map(|made| made.at)
    };
    let due = pending.iter().map(|waiting| match told_at(&waiting.topic) {
        Some(at) => at + window,
        None => (waiting.since + gather).min(now + gather),
    });
    let Some(due) = due.min() else {
        return Next::Nothing;
    };
    let in_the_way = within.len().checked_sub(MESSAGES_MAX);
    let room = in_the_way.and_then(|index| within.get(index));
    let due = room.map_or(due, |oldest| due.max(oldest.at + window));
    if due <= now { Next::Now } else { Next::At(due) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + s, 0).unwrap()
    }

    fn pending(topic: &str, s: i64) -> Pending {
        Pending {
            topic: topic.to_owned(),
            since: at(s),
        }
    }

    fn made(topics: &[&str], s: i64) -> Made {
        Made {
            at: at(s),
            topics: topics.iter().map(ToString::to_string).collect(),
        }
    }

    fn decide(pending: &[Pending], made: &[Made], now: i64) -> Next {
        let (window, gather) = (TimeDelta::seconds(600), TimeDelta::seconds(1));
        next(pending, made, window, gather, at(now))
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_when_the_window_ends() {
        assert_eq!(decide(&[], &[], 0), Next::Nothing);
        assert_eq!(decide(&[pending("a", 0)], &[], 0), Next::At(at(1)));
        assert_eq!(decide(&[pending("a", 0)], &[], 1), Next::Now);
        let told = [made(&["a"], 1)];
        assert_eq!(decide(&[pending("a", 2)], &told, 5), Next::At(at(601)));
        assert_eq!(decide(&[pending("a", 2)], &told, 601), Next::Now);
        // Another host is news, and takes along what waits.
        let both = [pending("a", 2), pending("b", 7)];
        assert_eq!(decide(&both, &told, 8), Next::Now);
    }

    #[test]
    fn many_hosts_make_a_handful_of_messages() {
        let told = [made(&["a"], 1), made(&["b"], 2), made(&["c"], 30)];
        assert_eq!(decide(&[pending("d", 40)], &told, 50), Next::At(at(601)));
        assert_eq!(decide(&[pending("d", 40)], &told, 601), Next::Now);
        let mut told: Vec<Made> = Vec::new();
        for now in 0..6000 {
            let new = pending(&format!("host {now}"), now - 1);
            if decide(std::slice::from_ref(&new), &told, now) == Next::Now {
                told.push(made(&[&new.topic], now));
            }
        }
        assert!(told.len() <= 3 * 11, "{}", told.len());
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nothing_waiting() {
        let told = [made(&["a"], 5000), made(&["a"], 5001), made(&["a"], 5002)];
        assert_eq!(decide(&[pending("a", 4000)], &told, 10), Next::At(at(11)));
        assert_eq!(decide(&[pending("a", 9)], &told, 10), Next::Now);
    }
}
