//! The request to end: a flag that transfers and waits look at, with a bell for whoever sleeps. Knows nothing of what
//! ends.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::domain::fault::Fault;

/// Sleep of whoever could get no bell.
const STEP: Duration = Duration::from_millis(500);

/// A request to end that transfers and waits look at. Clones are the same flag: a session keeps one.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    is_raised: AtomicBool,
    /// Readable once the flag is raised, and for ever; made when somebody sleeps first. None: the system gave none.
    bell: OnceLock<Option<OwnedFd>>,
}

impl Flag {
    fn ring(&self) {
        if let Some(Some(bell)) = self.bell.get() {
            // It cannot be full: it is rung twice at most.
            let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
        }
    }
}

impl StopFlag {
    /// Asks everything that looks here to end.
    pub fn raise(&self) {
        self.0.is_raised.store(true, Ordering::SeqCst);
        self.0.ring();
    }

    /// Whether to end.
    pub fn is_raised(&self) -> bool {
        self.0.is_raised.load(Ordering::SeqCst)
    }

    /// A transient fault when the flag is raised.
    pub fn check(&self) -> Result<(), Fault> {
        if self.is_raised() {
            return Err(Fault::transient("interrupted: the worker was told to stop"));
        }
        Ok(())
    }

    /// Sleeps so long, or until the flag is raised or something is to be read from `other`; or for a moment.
    pub fn wait(&self, time: Duration, other: Option<BorrowedFd<'_>>) {
        let bell = self
            .0
            .bell
            .get_or_init(|| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok());
        // Raised while there was no bell.
        if self.is_raised() {
            return;
        }
        let time = if bell.is_some() { time } else { time.min(STEP) };
        let mut fds: Vec<PollFd<'_>> = bell
            .as_ref()
            .map(OwnedFd::as_fd)
            .into_iter()
            .chain(other)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let timeout = Timespec::try_from(time).ok();
        // Interrupted or not: whoever waits looks by itself what there is.
        let _ = poll(&mut fds, timeout.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn whoever_sleeps_is_woken_whether_the_flag_is_raised_before_or_after() {
        let stop = StopFlag::default();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| stop.wait(Duration::from_secs(60), None));
            scope.spawn(|| stop.raise());
        });
        stop.wait(Duration::from_secs(60), None);
        let early = StopFlag::default();
        early.raise();
        early.wait(Duration::from_secs(60), None);
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
