//! A bound on what libssh2 does within one call. It reads on while there is something to read: a peer that never
//! stops sending keeps a call from coming back, and packets that nobody asked for in memory. A small thread for each
//! connection shuts the socket down then. Knows nothing of SSH.

use std::cell::Cell;
use std::fs;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a call is looked at: what comes in between two looks, gigabytes a second perhaps, is not bounded.
const TICK: Duration = Duration::from_millis(5);
/// After so many looks that find no call the thread sleeps until there is one.
const IDLE_LOOKS: u32 = 100;
/// What a call gets beyond the caller's patience: calls that do not read come back in no time.
const GRACE: Duration = Duration::from_secs(1);
/// How much the process may grow while one call runs; what is asked for comes in pieces of 2 MiB at most.
const GROWTH_MAX_BYTES: u64 = 64 << 20;
/// What has to lie unread then, too: who grew may have been another connection, while this one's thread was not run.
const MORE_BYTES: u64 = 4 << 10;
/// How much may come in that nobody asked for.
const UNASKED_MAX_BYTES: u64 = 16 << 20;
/// What may come in for each byte that is handed over or sent: envelopes, acknowledgements.
const ENVELOPE: u64 = 4;

#[derive(Debug, Default)]
struct State {
    /// When the call that runs has to be over.
    until: Option<Instant>,
    /// Counts the calls.
    number: u64,
    is_tripped: bool,
    is_over: bool,
    /// The thread waits to be woken by the next call.
    is_asleep: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

/// The guard of one connection; its thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Guard {
    shared: Arc<Shared>,
    received: Cell<u64>,
    /// What the last call left unread.
    left: Cell<u64>,
    asked_for: Cell<u64>,
}

impl Guard {
    /// Starts it.
    pub(super) fn start(socket: &TcpStream) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (copy, watched) = (socket.try_clone()?, Arc::clone(&shared));
        thread::Builder::new()
            .name("ssh-guard".to_owned())
            .spawn(move || watch(&watched, &copy))?;
        Ok(Self {
            shared,
            received: Cell::new(0),
            left: Cell::new(0),
            asked_for: Cell::new(0),
        })
    }

    /// Runs one call on `socket`, which has to be over within `limit`.
    pub(super) fn call<T>(
        &self,
        socket: &TcpStream,
        limit: Duration,
        call: impl FnOnce() -> T,
    ) -> T {
        // What has come since the last call. What comes during a call and is read by it is not counted: how long that
        // goes on is what the thread looks at.
        let more = waiting(socket).saturating_sub(self.left.get());
        self.received.set(self.received.get().saturating_add(more));
        let until = limit.saturating_add(GRACE);
        {
            let mut state = lock(&self.shared);
            state.until = Instant::now().checked_add(until);
            state.number += 1;
            if state.is_asleep {
                self.shared.wake.notify_all();
            }
        }
        let given = call();
        self.left.set(waiting(socket));
        lock(&self.shared).until = None;
        given
    }

    /// So many bytes were handed over to the caller, or sent for him.
    pub(super) fn moved(&self, count: usize) {
        let more = (count as u64).saturating_mul(ENVELOPE);
        self.asked_for
            .set(self.asked_for.get().saturating_add(more));
    }

    /// Whether the peer sent, or made us do, more than can be asked for.
    pub(super) fn is_flooded(&self) -> bool {
        let unasked = self.received.get().saturating_sub(self.asked_for.get());
        unasked > UNASKED_MAX_BYTES || lock(&self.shared).is_tripped
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        lock(&self.shared).is_over = true;
        self.shared.wake.notify_all();
    }
}

fn watch(shared: &Shared, socket: &TcpStream) {
    // The call seen last, and what the process took up then.
    let mut seen = (0, 0);
    let mut idle_looks = 0;
    let mut state = lock(shared);
    while !state.is_over && !state.is_tripped {
        idle_looks += 1;
        if let Some(until) = state.until {
            idle_looks = 0;
            let is_late = Instant::now() >= until;
            if seen.0 != state.number {
                seen = (state.number, resident_bytes());
            } else if is_late || has_grown(seen.1, socket) {
                state.is_tripped = true;
                // A socket that is not connected any more has nothing to shut down.
                drop(socket.shutdown(Shutdown::Both));
            }
        }
        state.is_asleep = idle_looks >= IDLE_LOOKS;
        state = if state.is_asleep {
            let woken = shared.wake.wait(state);
            woken.unwrap_or_else(PoisonError::into_inner)
        } else {
            let waited = shared.wake.wait_timeout(state, TICK);
            waited.unwrap_or_else(PoisonError::into_inner).0
        };
        state.is_asleep = false;
    }
}

/// Whether a call that found the process with so many bytes has made it grow beyond measure, and is not done.
fn has_grown(from_bytes: u64, socket: &TcpStream) -> bool {
    resident_bytes().saturating_sub(from_bytes) > GROWTH_MAX_BYTES && waiting(socket) > MORE_BYTES
}

/// How many bytes can be read.
pub(super) fn waiting(socket: &TcpStream) -> u64 {
    rustix::io::ioctl_fionread(socket).unwrap_or(0)
}

/// What this process takes up of the memory; nothing where that cannot be known.
fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_ascii_whitespace().nth(1);
    let pages: u64 = pages.and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages.saturating_mul(rustix::param::page_size() as u64)
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (ours, listener.accept().unwrap().0)
    }

    #[test]
    fn a_call_that_does_not_come_back_finds_its_socket_shut() {
        let (mut ours, _theirs) = pair();
        let guard = Guard::start(&ours).unwrap();
        let copy = ours.try_clone().unwrap();
        let read = guard.call(&copy, Duration::ZERO, || ours.read(&mut [0]));
        assert_eq!(read.unwrap(), 0);
        assert!(guard.is_flooded());
    }

    #[test]
    fn what_waits_over_many_calls_is_counted_once() {
        let (mut ours, mut theirs) = pair();
        let guard = Guard::start(&ours).unwrap();
        let copy = ours.try_clone().unwrap();
        let writer = thread::spawn(move || theirs.write_all(&vec![0; 4 << 20]).unwrap());
        for _ in 0..(4 << 20) / 1024 {
            guard.call(&copy, Duration::from_mins(1), || {
                ours.read_exact(&mut [0; 1024]).unwrap();
            });
        }
        writer.join().unwrap();
        assert!(!guard.is_flooded());
    }

    #[test]
    fn what_comes_unasked_is_counted_and_what_is_asked_for_is_not() {
        let (mut ours, mut theirs) = pair();
        let guard = Guard::start(&ours).unwrap();
        let copy = ours.try_clone().unwrap();
        let piece = vec![0; 64 * 1024];
        let mut sent = 0;
        let mut pass = |asked: bool| {
            theirs.write_all(&piece).unwrap();
            sent += piece.len() as u64;
            guard.call(&copy, Duration::from_mins(1), || {
                ours.read_exact(&mut vec![0; piece.len()]).unwrap();
            });
            if asked {
                guard.moved(piece.len());
            }
        };
        for _ in 0..1000 {
            pass(true);
        }
        assert!(!guard.is_flooded());
        for _ in 0..10_000 {
            pass(false);
        }
        assert!(guard.is_flooded());
    }

    #[test]
    fn memory_that_somebody_else_takes_up_says_nothing_against_a_silent_peer() {
        for (waits, trips) in [(0, false), (64 << 10, true)] {
            let (ours, mut theirs) = pair();
            theirs.write_all(&vec![0; waits]).unwrap();
            while waiting(&ours) < waits as u64 {
                thread::yield_now();
            }
            let guard = Guard::start(&ours).unwrap();
            guard.call(&ours, Duration::from_mins(1), || {
                // So that the call is known before the process grows.
                thread::sleep(TICK * 20);
                let taken = std::hint::black_box(vec![1_u8; 160 << 20]);
                thread::sleep(TICK * 20);
                drop(taken);
            });
            assert_eq!(guard.is_flooded(), trips, "{waits} bytes wait");
        }
    }
}
