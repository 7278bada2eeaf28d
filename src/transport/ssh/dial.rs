//! From a name to a key exchange with a host whose key we accept: resolving, connecting, banner and key
//! exchange, each bounded. Logging in comes after.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use ssh2::MethodType;

use super::known_hosts;
use super::trust::Known;
use super::wire::{Code, Halt, Wire, code};
use crate::domain::fault::Fault;
use crate::transport::{Dial, StopFlag};

/// Ciphers, the fastest of libssh2 first.
const CIPHERS: &str = "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,\
                       aes256-ctr,aes192-ctr,aes128-ctr";

/// `host:port` for messages.
pub(super) fn place(dial: &Dial<'_>) -> String {
    format!("{}:{}", dial.target.host, dial.target.ssh_port)
}

/// Connects and exchanges keys; gives the connection and the fingerprint of the key, which was accepted.
pub(super) fn open(dial: &Dial<'_>) -> Result<(Wire, String), Fault> {
    let known = Known::load(dial)?;
    let place = place(dial);
    let limit = Duration::from_secs(dial.terms.connect_timeout_s.max(1));
    let socket = connect(dial, &place, limit)?;
    let cannot = |what: &str| Fault::unreachable(format!("cannot speak SSH with {place}: {what}"));
    let wire = Wire::new(socket, dial.stop.clone()).map_err(|error| cannot(&error))?;
    let _ = sockopt::set_tcp_nodelay(wire.socket(), true);
    // What a broken network held back is dropped with the connection, also when we are killed: a command that
    // arrives after the next attempt has ended would run once more.
    let _ = sockopt::set_socket_linger(wire.socket(), Some(Duration::ZERO));
    let _ = sockopt::set_socket_keepalive(wire.socket(), true);
    let _ = sockopt::set_tcp_keepidle(wire.socket(), Duration::from_secs(30));
    let _ = sockopt::set_tcp_keepintvl(wire.socket(), Duration::from_secs(10));
    let _ = sockopt::set_tcp_keepcnt(wire.socket(), 6);
    prefer(&wire, &known).map_err(|error| cannot(&error.to_string()))?;
    let mut session = wire.session.clone();
    wire.run(limit, || session.handshake())
        .map_err(|halt| handshake_fault(&halt, &place))?;
    let key = wire.session.host_key().map(|(key, _)| key.to_vec());
    let key = key.ok_or_else(|| cannot("it shows no host key"))?;
    if let Err(fault) = known.judge(dial, &key) {
        wire.cut();
        return Err(fault);
    }
    Ok((wire, known_hosts::fingerprint(&key)))
}

/// Fast ciphers first; the key types on record first, for a key of another type reads as a change.
fn prefer(wire: &Wire, known: &Known) -> Result<(), ssh2::Error> {
    wire.session.method_pref(MethodType::CryptCs, CIPHERS)?;
    wire.session.method_pref(MethodType::CryptSc, CIPHERS)?;
    let recorded = known.key_types();
    if recorded.is_empty() {
        return Ok(());
    }
    let supported = wire.session.supported_algs(MethodType::HostKey)?;
    let is_recorded = |algorithm: &str| {
        let rsa = algorithm.starts_with("rsa-sha2-") && recorded.contains(&"ssh-rsa");
        rsa || recorded.contains(&algorithm)
    };
    let (first, last): (Vec<&str>, Vec<&str>) =
        supported.into_iter().partition(|name| is_recorded(name));
    wire.session
        .method_pref(MethodType::HostKey, &[first, last].concat().join(","))
}

fn handshake_fault(halt: &Halt, place: &str) -> Fault {
    match halt {
        Halt::Stopped => stopped(),
        Halt::TimedOut(limit) => Fault::unreachable(format!(
            "{place} accepted the connection but sent no SSH banner or key exchange within {} s (connect_timeout)",
            limit.as_secs()
        )),
        Halt::Ssh(error) => {
            let what = match code(error) {
                Code::Session(-5 | -8) => "no common algorithm, or the key exchange failed",
                Code::Session(-2 | -13 | -43 | -14) => {
                    "it does not speak SSH, or closed the connection"
                }
                _ => "the key exchange failed",
            };
            Fault::unreachable(format!("no SSH with {place}: {what} ({})", error.message()))
        }
    }
}

/// The fault of an operation that the worker's end interrupts.
pub(super) fn stopped() -> Fault {
    Fault::transient("interrupted: the worker was told to stop")
}

/// Tries every address of the name; the limit covers them all.
fn connect(dial: &Dial<'_>, place: &str, limit: Duration) -> Result<TcpStream, Fault> {
    let end = Instant::now() + limit;
    let addresses = resolve(dial, place, end)?;
    let mut reasons = Vec::new();
    for (tried, address) in addresses.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
        match connect_one(*address, Instant::now() + share, dial.stop) {
            Ok(Some(socket)) => return Ok(socket),
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
