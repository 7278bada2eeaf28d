//! From a name to a connected socket: resolving and connecting, within a limit and until the worker is told to
//! stop. Knows nothing of SSH.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::dial::stopped;
use crate::domain::fault::Fault;
use crate::transport::{Dial, Stage, StopFlag};

/// Tries every address of the name; the limit covers them all.
pub(super) fn connect(dial: &Dial<'_>, place: &str, limit: Duration) -> Result<TcpStream, Fault> {
    let end = Instant::now() + limit;
    let addresses = resolve(dial, place, end)?;
    (dial.reached)(Stage::Resolved(addresses.clone()));
    let mut reasons = Vec::new();
    for (tried, address) in addresses.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
        match connect_one(*address, Instant::now() + share, dial.stop) {
            Ok(Some(socket)) => {
                (dial.reached)(Stage::Connected(*address));
                return Ok(socket);
            }
            Ok(None) => return Err(stopped()),
            Err(reason) => reasons.push(format!("{address}: {reason}")),
        }
    }
    Err(Fault::unreachable(format!(
        "cannot connect to {place}: {}",
        reasons.join("; ")
    )))
}

/// Resolves in a thread of its own: the system's resolver knows no time limit.
fn resolve(dial: &Dial<'_>, place: &str, end: Instant) -> Result<Vec<SocketAddr>, Fault> {
    let host = dial
        .target
        .host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = dial.target.ssh_port;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let found = (host.as_str(), port)
            .to_socket_addrs()
            .map(Iterator::collect::<Vec<_>>);
        // Nobody listens any more when the limit has passed.
        let _ = sender.send(found);
    });
    loop {
        dial.stop.check()?;
        let slice = Duration::from_millis(100).min(end.saturating_duration_since(Instant::now()));
        match receiver.recv_timeout(slice) {
            Ok(Ok(addresses)) if !addresses.is_empty() => return Ok(addresses),
            Ok(Ok(_)) => {
                return Err(Fault::unreachable(format!(
                    "{place}: the name has no address"
                )));
            }
            Ok(Err(error)) => {
                return Err(Fault::unreachable(format!(
                    "{place}: the name does not resolve: {error}"
                )));
            }
            Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() < end => {}
            Err(_) => {
                return Err(Fault::unreachable(format!(
                    "{place}: resolving the name took too long"
                )));
            }
        }
    }
}

/// A connected socket, nothing when the worker is to stop, or the reason.
fn connect_one(
    address: SocketAddr,
    end: Instant,
    stop: &StopFlag,
) -> Result<Option<TcpStream>, String> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket: OwnedFd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)
        .map_err(|error| error.to_string())?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => return Ok(Some(TcpStream::from(socket))),
        Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(std::io::Error::from(error).to_string()),
    }
    loop {
        if stop.is_raised() {
            return Ok(None);
        }
        if Instant::now() >= end {
            return Err("no answer (connect_timeout)".to_owned());
        }
        let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
        let slice = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        if poll(&mut fds, Some(&slice)).is_ok_and(|ready| ready > 0) {
            return match sockopt::socket_error(&socket) {
                Ok(Ok(())) => Ok(Some(TcpStream::from(socket))),
                Ok(Err(error)) | Err(error) => Err(std::io::Error::from(error).to_string()),
            };
        }
    }
}
