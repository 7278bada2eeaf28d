//! How long the main loop sleeps when it has looked at everything. Knows no journal: it is told what was seen.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use crossbeam_channel::{Receiver, select};

use super::ending::Until;

/// Longest sleep of a worker that has nothing to do: the net under lost wake-ups.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// Longest sleep while something is open: how soon a dead worker is noticed.
const SLEEP_OPEN: Duration = Duration::from_secs(1);
/// While somebody at a terminal waits for batches that another worker may settle: how often it is looked whether
/// anything was written. Also while something is due that cannot begin.
pub(super) const SLEEP_WAITING: Duration = Duration::from_millis(50);

/// What was seen.
pub(super) struct Outlook {
    /// Whether anything is at work or open.
    pub(super) busy: bool,
    /// Since when nothing was.
    pub(super) idle_for: Duration,
    /// When the first of the lanes that nobody works at is due.
    pub(super) waiting: Option<DateTime<Utc>>,
    /// When the first unplanned batch is due.
    pub(super) unplanned: Option<DateTime<Utc>>,
    /// How long until notes of other users are looked for.
    pub(super) notes: Option<Duration>,
}

/// What ended a sleep.
pub(super) enum Woken<T> {
    /// Something that was at work tells how it went.
    ByWork(T),
    /// Somebody has called.
    ByOthers,
    /// It is over, or something was written.
    ByNobody,
}

/// How long the main loop sleeps.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pause {
    /// At most.
    pub(super) whole: Duration,
    /// Until it is looked whether somebody has written to the journal, which ends it.
    pub(super) step: Duration,
}

impl Pause {
    /// So long, whatever is written.
    pub(super) fn of(time: Duration) -> Self {
        Self {
            whole: time,
            step: time,
        }
    }

    /// What is right before the next look.
    pub(super) fn before(until: &Until, seen: &Outlook, now: DateTime<Utc>) -> Self {
        let awaited = matches!(until, Until::Settled(_));
        let longest = match until {
            _ if seen.unplanned.is_some_and(|due| due <= now) => SLEEP_WAITING,
            _ if seen.busy || awaited => SLEEP_OPEN,
            Until::IdleFor(limit) => limit
                .saturating_sub(seen.idle_for)
                .clamp(SLEEP_WAITING, SLEEP_MAX),
            _ => SLEEP_MAX,
        };
        let until_due = seen.waiting.filter(|due| *due > now);
        let until_due = until_due.and_then(|due| (due - now).to_std().ok());
        let whole = [until_due, seen.notes]
            .into_iter()
            .flatten()
            .fold(longest, Duration::min);
        let step = if awaited { SLEEP_WAITING } else { whole };
        Self { whole, step }
    }

    /// Sleeps. `is_over` is asked after each step.
    pub(super) fn sleep<T>(
        &self,
        work: &Receiver<T>,
        calls: &Receiver<()>,
        is_over: &dyn Fn() -> bool,
    ) -> Woken<T> {
        let end = Instant::now() + self.whole;
        loop {
            let step = end.saturating_duration_since(Instant::now()).min(self.step);
            select! {
                // Who holds the receiver holds a sender, too.
                recv(work) -> done => if let Ok(done) = done { return Woken::ByWork(done); },
                recv(calls) -> _ => return Woken::ByOthers,
                default(step) => {},
            }
            if Instant::now() >= end || is_over() {
                return Woken::ByNobody;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::journal::Awaited;

    fn pause(until: &Until, change: impl FnOnce(&mut Outlook, DateTime<Utc>)) -> Pause {
        let now = Utc::now();
        let mut seen = Outlook {
            busy: false,
            idle_for: Duration::ZERO,
            waiting: None,
            unplanned: None,
            notes: None,
        };
        change(&mut seen, now);
        Pause::before(until, &seen, now)
    }

    #[test]
    fn whoever_has_nothing_to_do_sleeps_long_and_wakes_when_something_is_due() {
        let told = Until::Told;
        assert_eq!(pause(&told, |_, _| {}), Pause::of(SLEEP_MAX));
        assert_eq!(
            pause(&told, |seen, _| seen.busy = true),
            Pause::of(SLEEP_OPEN)
        );
        let due = pause(&told, |seen, now| {
            seen.busy = true;
            seen.waiting = Some(now + TimeDelta::milliseconds(300));
        });
        assert_eq!(due, Pause::of(Duration::from_millis(300)));
        let notes = Duration::from_secs(1);
        assert_eq!(
            pause(&told, |seen, _| seen.notes = Some(notes)),
            Pause::of(notes)
        );
        let unplanned = pause(&told, |seen, now| seen.unplanned = Some(now));
        assert_eq!(unplanned, Pause::of(SLEEP_WAITING));
    }

    #[test]
    fn a_worker_that_a_hook_started_wakes_when_it_may_end() {
        let until = Until::IdleFor(Duration::from_secs(7));
        let left = pause(&until, |seen, _| seen.idle_for = Duration::from_secs(4));
        assert_eq!(left, Pause::of(Duration::from_secs(3)));
        let over = pause(&until, |seen, _| seen.idle_for = Duration::from_secs(9));
        assert_eq!(over, Pause::of(SLEEP_WAITING));
    }

    #[test]
    fn whoever_waits_at_a_terminal_looks_often_whether_anything_was_written() {
        let until = Until::Settled(Awaited::Batches(vec![1]));
        let (whole, step) = (SLEEP_OPEN, SLEEP_WAITING);
        assert_eq!(pause(&until, |_, _| {}), Pause { whole, step });
        let (call, calls) = crossbeam_channel::bounded(1);
        let (_work, work) = crossbeam_channel::bounded::<()>(1);
        let asleep = Pause { whole, step };
        let woken = asleep.sleep(&work, &calls, &|| true);
        assert!(matches!(woken, Woken::ByNobody));
        call.send(()).unwrap();
        assert!(matches!(
            asleep.sleep(&work, &calls, &|| false),
            Woken::ByOthers
        ));
    }
}
