//! The loop that serves all clients: it accepts, reads, answers and gives up, and sleeps otherwise. When there are too
//! many, those that have asked nothing give way.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connection::{Asked, Connection};
use super::{Guard, Request, Response};

/// Clients that are served at the same time. More wait in the kernel's queue.
const CLIENTS_MAX: usize = 256;
/// Clients that are accepted before those that are there are looked at again.
const ACCEPTED_AT_ONCE: usize = 64;
/// Pause when the process has no descriptor left for a client.
const REST: Duration = Duration::from_millis(100);

/// A server that listens.
pub struct Server(TcpListener);

/// Where a server, or who waits to become one, sees that it is to end.
#[derive(Debug)]
pub struct Ended(UnixStream);

/// Ends its server when it is dropped.
#[derive(Debug)]
pub struct Stopper {
    /// Closed with us, which the other end of the pair sees.
    _pair: UnixStream,
}

impl Stopper {
    /// A stopper, and where its server sees that it was dropped.
    pub fn new() -> io::Result<(Self, Ended)> {
        let (ours, servers) = UnixStream::pair()?;
        Ok((Self { _pair: ours }, Ended(servers)))
    }
}

impl Ended {
    /// Waits for so long. Whether the end has come.
    pub fn within(&self, time: Duration) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        let timeout = Timespec::try_from(time).ok();
        poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0)
    }
}

impl Server {
    /// Listens at `address`.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Where it listens: the port is the kernel's choice where 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Serves until the stopper is dropped.
pub fn serve(
    server: &Server,
    ended: &Ended,
    guard: &Guard,
    handler: &mut dyn FnMut(&Request) -> Response,
) {
    let mut clients: Vec<Connection> = Vec::new();
    loop {
        let Ok((is_over, is_called, ready)) = wait(server, ended, &clients) else {
            if ended.within(REST) {
                return;
            }
            continue;
        };
        if is_over {
            return;
        }
        let now = Instant::now();
        for (client, is_ready) in clients.iter_mut().zip(ready) {
            if is_ready {
                tend(client, guard, handler, now);
            } else if client.deadline() <= now {
                client.expire(now);
            }
        }
        clients.retain(|client| !client.is_over());
        if is_called {
            accept(server, &mut clients, guard, handler);
        }
    }
}

/// Sleeps until something happens. Whether it is the end, whether somebody calls, and which clients are ready.
fn wait(
    server: &Server,
    ended: &Ended,
    clients: &[Connection],
) -> io::Result<(bool, bool, Vec<bool>)> {
    let now = Instant::now();
    let is_full = clients.len() >= CLIENTS_MAX;
    let mut next = clients.iter().map(Connection::deadline).min();
    if is_full {
        // Somebody may give way before.
        next = next.map(|next| next.min(now + REST));
    }
    let timeout =
        next.and_then(|next| Timespec::try_from(next.saturating_duration_since(now)).ok());
    let nobody = is_full && !clients.iter().any(|client| client.gives_way(now).is_some());
    let calls = if nobody {
        PollFlags::empty()
    } else {
        PollFlags::IN
    };
    let mut fds = Vec::with_capacity(clients.len() + 2);
    fds.push(PollFd::from_borrowed_fd(ended.0.as_fd(), PollFlags::IN));
    fds.push(PollFd::from_borrowed_fd(server.0.as_fd(), calls));
    fds.extend(clients.iter().map(|client| {
        let flags = if client.is_writing() {
            PollFlags::OUT
        } else {
            PollFlags::IN
        };
        PollFd::from_borrowed_fd(client.stream().as_fd(), flags)
    }));
    poll(&mut fds, timeout.as_ref())?;
    let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
    let (is_over, is_called) = (ready.next() == Some(true), ready.next() == Some(true));
    Ok((is_over, is_called, ready.collect()))
}

fn tend(
    client: &mut Connection,
    guard: &Guard,
    handler: &mut dyn FnMut(&Request) -> Response,
    now: Instant,
) {
    if client.is_writing() {
        return client.write(now);
    }
    if let Asked::Answer(request) = client.read(now) {
        let refusal = guard.refusal(&request);
        let response = refusal.unwrap_or_else(|| handler(&request));
        client.answer(&response, request.is_head, Instant::now());
    }
}

/// Takes up who calls; most have sent their request with the call.
fn accept(
    server: &Server,
    clients: &mut Vec<Connection>,
    guard: &Guard,
    handler: &mut dyn FnMut(&Request) -> Response,
) {
    for _ in 0..ACCEPTED_AT_ONCE {
        let now = Instant::now();
        if clients.len() >= CLIENTS_MAX && !make_way(clients, now) {
            return;
        }
        match server.0.accept() {
            Ok((stream, _)) => {
                if let Ok(mut client) = Connection::new(stream, now) {
                    tend(&mut client, guard, handler, now);
                    if !client.is_over() {
                        clients.push(client);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // No descriptor left: others need them more.
            Err(_) => {
                clients.retain(Connection::is_writing);
                std::thread::sleep(REST);
                return;
            }
        }
    }
}

/// Drops the client that has kept its place for longest without asking anything. Whether there is one.
fn make_way(clients: &mut Vec<Connection>, now: Instant) -> bool {
    let idle = clients.iter().enumerate();
    let idle = idle.filter_map(|(index, client)| Some((client.gives_way(now)?, index)));
    let Some((_, index)) = idle.min() else {
        return false;
    };
    clients.swap_remove(index);
    true
}
