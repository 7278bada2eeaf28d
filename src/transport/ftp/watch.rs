//! Bounds on everything that waits for a peer. A socket's own time-outs bound one read or write, not a
//! reply that drips in byte by byte, and cannot be cut short by a request to stop; so a small thread for each
//! session watches one deadline and the stop flag, and shuts the sockets down. Knows nothing of FTP.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::transport::StopFlag;

/// How often the stop flag is looked at.
const TICK: Duration = Duration::from_millis(100);
/// What an operation gets to end in good order once the stop flag is raised.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Why the sockets were shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nothing came within this many seconds.
    TimedOut(u64),
    /// The worker was told to stop.
    Stopped,
}

#[derive(Debug, Default)]
struct State {
    /// When the operation in hand has to be over, and its limit.
    deadline: Option<(Instant, Duration)>,
    /// Whether the operation in hand ends when the flag is raised.
    heeds_stop: bool,
    /// When the raised flag was first seen during an operation.
    stop_seen: Option<Instant>,
    control: Option<TcpStream>,
    data: Option<TcpStream>,
    cut: Option<Cut>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

/// The watch over one session's sockets; its thread ends with the last handle's [`Watch::end`].
#[derive(Debug, Clone)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    stop: StopFlag,
}

impl Watch {
    /// Starts the watch over a control connection.
    pub(super) fn start(control: &TcpStream, stop: &StopFlag) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        lock(&shared).control = Some(control.try_clone()?);
        let watch = Self {
            shared,
            stop: stop.clone(),
        };
        let watcher = watch.clone();
        thread::Builder::new()
            .name("ftp-watch".to_owned())
            .spawn(move || watcher.run())?;
        Ok(watch)
    }

    /// From now on the operation in hand may take this long.
    pub(super) fn arm(&self, limit: Duration) {
        self.set(limit, true);
    }

    /// The same for what has to be done even when the worker is told to stop: parting.
    pub(super) fn arm_regardless(&self, limit: Duration) {
        self.set(limit, false);
    }

    fn set(&self, limit: Duration, heeds_stop: bool) {
        let mut state = lock(&self.shared);
        // Far deadlines are noticed within a tick, near ones wake the watcher: only those need a signal.
        state.deadline = Instant::now().checked_add(limit).map(|end| (end, limit));
        state.heeds_stop = heeds_stop;
        state.stop_seen = None;
    }

    /// No operation is in hand.
    pub(super) fn disarm(&self) {
        let mut state = lock(&self.shared);
        state.deadline = None;
        state.heeds_stop = false;
        state.stop_seen = None;
    }

    /// A data connection to shut down together with the control connection.
    pub(super) fn add_data(&self, data: &TcpStream) -> io::Result<()> {
        let data = data.try_clone()?;
        let mut state = lock(&self.shared);
        if state.cut.is_some() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        state.data = Some(data);
        Ok(())
    }

    /// The data connection is about to be closed: the handle that the watch holds would keep it open.
    pub(super) fn forget_data(&self) {
        lock(&self.shared).data = None;
    }

    /// Why the sockets were shut down, if they were.
    pub(super) fn cut(&self) -> Option<Cut> {
        lock(&self.shared).cut
    }

    /// Ends the watcher.
    pub(super) fn end(&self) {
        let mut state = lock(&self.shared);
        state.ended = true;
        state.control = None;
        state.data = None;
        self.shared.wake.notify_all();
    }

    fn run(&self) {
        let mut state = lock(&self.shared);
        while !state.ended {
            let now = Instant::now();
            if state.cut.is_none()
                && let Some(cut) = state.verdict(now, self.stop.is_raised())
            {
                state.cut = Some(cut);
                for socket in [&state.control, &state.data].into_iter().flatten() {
                    // A socket that is not connected any more has nothing to shut down.
                    drop(socket.shutdown(Shutdown::Both));
                }
            }
            let waited = self.shared.wake.wait_timeout(state, TICK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    fn verdict(&mut self, now: Instant, stop_is_raised: bool) -> Option<Cut> {
        let (end, limit) = self.deadline?;
        if now >= end {
            return Some(Cut::TimedOut(limit.as_secs().max(1)));
        }
        if !(self.heeds_stop && stop_is_raised) {
            return None;
        }
        let seen = *self.stop_seen.get_or_insert(now);
        (now.duration_since(seen) >= STOP_GRACE).then_some(Cut::Stopped)
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (ours, listener.accept().unwrap().0)
    }

    #[test]
    fn a_read_ends_when_its_deadline_passes() {
        let (mut ours, _theirs) = pair();
        let watch = Watch::start(&ours, &StopFlag::default()).unwrap();
        watch.arm(Duration::from_millis(50));
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
        assert_eq!(watch.cut(), Some(Cut::TimedOut(1)));
        watch.end();
    }

    #[test]
    fn a_read_ends_when_the_stop_flag_is_raised() {
        let (mut ours, _theirs) = pair();
        let stop = StopFlag::default();
        let watch = Watch::start(&ours, &stop).unwrap();
        watch.arm(Duration::from_mins(10));
        stop.raise();
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
        assert_eq!(watch.cut(), Some(Cut::Stopped));
        watch.end();
    }

    #[test]
    fn an_idle_session_is_left_alone() {
        let mut state = State::default();
        assert_eq!(state.verdict(Instant::now(), true), None);
    }
}
