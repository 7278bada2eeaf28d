//! Sessions that lanes have done with for now, kept open for a moment: the next package for the same target saves the
//! connection, the key exchange and the login. Knows nothing of what they are for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::sessions::Sessions;

/// How many lanes have sessions here at the same time; beyond, the oldest are closed.
const MOST: usize = 32;
/// A session is not kept beyond this age: what a host has changed for its logins since then comes to bear.
const AGE_MAX: Duration = Duration::from_mins(10);

struct Parked {
    lane: String,
    sessions: Sessions,
    until: Instant,
}

/// The sessions that nobody uses at the moment, oldest first.
pub struct Parking {
    keep: Duration,
    parked: Mutex<Vec<Parked>>,
}

impl Parking {
    /// Keeps what it is given for `keep`.
    pub fn new(keep: Duration) -> Self {
        Self {
            keep,
            parked: Mutex::default(),
        }
    }

    /// Keeps the open sessions of a lane, or closes them politely.
    pub(super) fn leave(&self, lane: &str, sessions: Sessions) {
        let Some(age) = sessions.age() else {
            return;
        };
        let until = Instant::now().checked_add(self.keep.min(AGE_MAX.saturating_sub(age)));
        let leaving = match until {
            Some(until) if until > Instant::now() => {
                let mut parked = self.lock();
                parked.push(Parked {
                    lane: lane.to_owned(),
                    sessions,
                    until,
                });
                let beyond = parked.len().saturating_sub(MOST);
                parked.drain(..beyond).map(|old| old.sessions).collect()
            }
            _ => vec![sessions],
        };
        leaving.into_iter().for_each(Sessions::close);
    }

    /// The sessions of a lane, if it left some. They may have broken meanwhile.
    pub(super) fn fetch(&self, lane: &str) -> Option<Sessions> {
        let mut parked = self.lock();
        let at = parked.iter().position(|one| one.lane == lane)?;
        Some(parked.remove(at).sessions)
    }

    /// Whether some have been here long enough.
    pub(super) fn is_over_for_some(&self) -> bool {
        let now = Instant::now();
        self.lock().iter().any(|one| one.until <= now)
    }

    /// Closes those that have been here long enough. May take a second for each.
    pub(super) fn close_old(&self) {
        let now = Instant::now();
        self.close_those(|one| one.until <= now);
    }

    /// Closes all. May take a second for each.
    pub(super) fn close_all(&self) {
        self.close_those(|_| true);
    }

    fn close_those(&self, mut is_over: impl FnMut(&Parked) -> bool) {
        let over: Vec<Parked> = self.lock().extract_if(.., |one| is_over(one)).collect();
        for one in over {
            one.sessions.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
