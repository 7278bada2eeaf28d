//! The network between us and a host: a TCP proxy whose faults can be switched at any time. What it holds back
//! is not lost: it is delivered when the network is healed, as TCP would, unless the sender has reset the
//! connection meanwhile.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;

/// How soon a switched fault is felt.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the host.
    Up,
    /// To us.
    Down,
}

/// How the network is, until it is switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Nobody listens.
    Closed,
    /// Connections are reset as they come; those that are there go on.
    Refuse,
    /// Connections are accepted; no byte goes anywhere, on any of them.
    BlackHole,
    /// So many bytes a second on each connection and way.
    Throttle(u64),
}

/// What becomes of the connection that carries the fatal byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doom {
    /// Reset at both ends.
    Cut,
    /// Nothing goes this way any more, until the network is healed.
    Stall,
}

#[derive(Debug, Clone, Copy)]
struct Trip {
    direction: Direction,
    left: u64,
    doom: Doom,
}

struct State {
    mode: Mode,
    trip: Option<Trip>,
    lines: Vec<Weak<Line>>,
}

struct Shared {
    address: Ipv4Addr,
    /// Our port and the host's, on 127.0.0.1.
    ports: Vec<(u16, u16)>,
    state: Mutex<State>,
    is_over: AtomicBool,
    carried: [AtomicU64; 2],
    fired: AtomicU64,
}

/// One connection. It is reset when it is dropped after a cut.
struct Line {
    client: TcpStream,
    server: TcpStream,
    is_cut: AtomicBool,
    stalls: [AtomicBool; 2],
}

/// The proxy; it ends, with all its connections, when it is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on `address` and leads `ports.0` to `ports.1` of 127.0.0.1. An error when a port is taken.
    pub fn open(address: Ipv4Addr, ports: &[(u16, u16)]) -> std::io::Result<Self> {
        let listeners = listen(address, ports)?;
        let shared = Arc::new(Shared {
            address,
            ports: ports.to_vec(),
            state: Mutex::new(State {
                mode: Mode::Pass,
                trip: None,
                lines: Vec::new(),
            }),
            is_over: AtomicBool::new(false),
            carried: [AtomicU64::new(0), AtomicU64::new(0)],
            fired: AtomicU64::new(0),
        });
        let ours = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept_all(&ours, listeners));
        Ok(Self {
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Switches the network for every connection, those that are there and those to come.
    pub fn set(&self, mode: Mode) {
        self.shared.state.lock().unwrap().mode = mode;
        if mode != Mode::Pass {
            self.shared.fired.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Once `after` more bytes have gone this way, counted over all connections, the connection that would
    /// carry the next one is doomed. Happens once.
    pub fn trip(&self, direction: Direction, after: u64, doom: Doom) {
        self.shared.state.lock().unwrap().trip = Some(Trip {
            direction,
            left: after,
            doom,
        });
    }

    /// Everything passes again, also what was held back.
    pub fn heal(&self) {
        let mut state = self.shared.state.lock().unwrap();
        state.mode = Mode::Pass;
        state.trip = None;
        for line in state.lines.iter().filter_map(Weak::upgrade) {
            for stall in &line.stalls {
                stall.store(false, Ordering::SeqCst);
            }
        }
    }

    /// Resets every connection that is there.
    pub fn cut_all(&self) {
        for line in self.shared.lines() {
            line.is_cut.store(true, Ordering::SeqCst);
        }
    }

    /// Bytes that went this way.
    pub fn carried(&self, direction: Direction) -> u64 {
        self.shared.carried[direction as usize].load(Ordering::SeqCst)
    }

    /// Faults that took hold.
    pub fn fired(&self) -> u64 {
        self.shared.fired.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn mode(&self) -> Mode {
        self.state.lock().unwrap().mode
    }

    fn lines(&self) -> Vec<Arc<Line>> {
        let mut state = self.state.lock().unwrap();
        state.lines.retain(|line| line.strong_count() > 0);
        state.lines.iter().filter_map(Weak::upgrade).collect()
    }

    /// How many of `wanted` bytes may go, and what becomes of the connection if none may.
    fn allowance(&self, direction: Direction, wanted: usize) -> Result<usize, Doom> {
        let mut state = self.state.lock().unwrap();
        match state.trip {
            Some(trip) if trip.direction == direction => {
                if trip.left == 0 {
                    state.trip = None;
                    self.fired.fetch_add(1, Ordering::SeqCst);
                    return Err(trip.doom);
                }
                Ok(wanted.min(usize::try_from(trip.left).unwrap_or(wanted)))
            }
            _ => Ok(wanted),
        }
    }

    fn has_carried(&self, direction: Direction, count: usize) {
        self.carried[direction as usize].fetch_add(count as u64, Ordering::SeqCst);
        if let Some(trip) = &mut self.state.lock().unwrap().trip
            && trip.direction == direction
        {
            trip.left = trip.left.saturating_sub(count as u64);
        }
    }
}

fn listen(address: Ipv4Addr, ports: &[(u16, u16)]) -> std::io::Result<Vec<(TcpListener, u16)>> {
    ports
        .iter()
        .map(|&(ours, theirs)| {
            let listener = TcpListener::bind((address, ours))?;
            listener.set_nonblocking(true)?;
            Ok((listener, theirs))
        })
        .collect()
}

fn accept_all(shared: &Arc<Shared>, mut listeners: Vec<(TcpListener, u16)>) {
    while !shared.is_over() {
        if shared.mode() == Mode::Closed {
            listeners.clear();
        } else if listeners.is_empty() {
            // Somebody may have the port for a moment.
            listeners = listen(shared.address, &shared.ports).unwrap_or_default();
        }
        let mut fds: Vec<PollFd<'_>> = listeners
            .iter()
            .map(|(listener, _)| PollFd::new(listener, PollFlags::IN))
            .collect();
        let _ = poll(&mut fds, Some(&TICK));
        for (listener, target) in &listeners {
            while let Ok((client, _)) = listener.accept() {
                connect(shared, client, *target);
            }
        }
    }
}

fn reset(stream: &TcpStream) {
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}

fn connect(shared: &Arc<Shared>, client: TcpStream, target: u16) {
    if shared.mode() == Mode::Refuse {
        reset(&client);
        return;
    }
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
    let Ok(server) = TcpStream::connect(target) else {
        reset(&client);
        return;
    };
    for stream in [&client, &server] {
        stream.set_nonblocking(true).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
    }
    let line = Arc::new(Line {
        client,
        server,
        is_cut: AtomicBool::new(false),
        stalls: [AtomicBool::new(false), AtomicBool::new(false)],
    });
    shared.lines();
    let weak = Arc::downgrade(&line);
    shared.state.lock().unwrap().lines.push(weak);
    for direction in [Direction::Up, Direction::Down] {
        let (shared, line) = (Arc::clone(shared), Arc::clone(&line));
        std::thread::spawn(move || {
            let pumped = pump(&shared, &line, direction);
            if pumped.is_none() {
                // Whoever is at the other way sees it, too; the last one to go closes the sockets.
                line.is_cut.store(true, Ordering::SeqCst);
                reset(&line.client);
                reset(&line.server);
            }
        });
    }
}

fn ready(stream: &TcpStream, flags: PollFlags) -> PollFlags {
    let mut fds = [PollFd::new(stream, flags)];
    let _ = poll(&mut fds, Some(&TICK));
    fds[0].revents()
}

/// Carries bytes one way until their end; nothing when the connection is to be reset.
fn pump(shared: &Shared, line: &Line, direction: Direction) -> Option<()> {
    let (mut from, mut to) = match direction {
        Direction::Up => (&line.client, &line.server),
        Direction::Down => (&line.server, &line.client),
    };
    let mut buffer = vec![0; 16 * 1024];
    let is_gone = || shared.is_over() || line.is_cut.load(Ordering::SeqCst);
    loop {
        wait_for_leave(shared, line, direction, from)?;
        if is_gone() {
            return None;
        }
        if ready(from, PollFlags::IN).is_empty() {
            continue;
        }
        let mode = shared.mode();
        let most = match mode {
            Mode::Throttle(rate) => usize::try_from(rate / 20).unwrap_or(1).clamp(1, 16 * 1024),
            Mode::BlackHole => continue,
            _ => buffer.len(),
        };
        let most = match shared.allowance(direction, most) {
            Ok(most) => most,
            Err(Doom::Cut) => return None,
            Err(Doom::Stall) => {
                line.stalls[direction as usize].store(true, Ordering::SeqCst);
                continue;
            }
        };
        let count = match from.read(&mut buffer[..most]) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return Some(());
            }
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => return None,
        };
        shared.has_carried(direction, count);
        let mut piece = &buffer[..count];
        while !piece.is_empty() {
            if is_gone() {
                return None;
            }
            match to.write(piece) {
                Ok(written) => piece = &piece[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready(to, PollFlags::OUT);
                }
                Err(_) => return None,
            }
        }
        if let Mode::Throttle(_) = mode {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Waits while nothing may go this way. A reset overtakes what is held back.
fn wait_for_leave(
    shared: &Shared,
    line: &Line,
    direction: Direction,
    from: &TcpStream,
) -> Option<()> {
    let mut has_waited = false;
    while line.stalls[direction as usize].load(Ordering::SeqCst) || shared.mode() == Mode::BlackHole
    {
        if shared.is_over() || line.is_cut.load(Ordering::SeqCst) {
            return None;
        }
        has_waited = true;
        std::thread::sleep(Duration::from_millis(10));
    }
    let was_reset = || {
        let seen = ready(from, PollFlags::IN);
        seen.contains(PollFlags::ERR)
    };
    (!has_waited || !was_reset()).then_some(())
}
