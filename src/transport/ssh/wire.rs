//! One SSH connection driven without blocking: every call of libssh2 is repeated until it is done, the
//! caller's patience ends, or the worker is told to stop. Knows nothing of files or commands.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use ssh2::{BlockDirections, ErrorCode};

use super::guard::{self, Guard};
use crate::transport::{StopFlag, Traffic};

/// libssh2's code for "try again".
pub(super) const EAGAIN: i32 = -37;
/// libssh2's code for a peer that does not keep to the protocol.
const PROTOCOL: i32 = -14;
/// And for a connection that has ended.
const DISCONNECTED: i32 = -13;
/// How long one wait for the socket lasts at most, so that the stop flag is seen soon.
const SLICE: Duration = Duration::from_millis(100);
/// Who waits looks at the socket more often than this, unless the machine does not let him.
const AWAY: Duration = Duration::from_secs(1);

/// What the kernel takes in from a peer before it is known. libssh2 reads on within one call while there is something to
/// read, and keeps all of it: a line that is soon empty has the call come back, however busy this machine is.
const STRANGER_BYTES: usize = 8 << 10;
/// The same for a host that has let us in.
const HOST_BYTES: usize = 1 << 20;

/// Why an operation did not end as wished.
#[derive(Debug)]
pub(super) enum Halt {
    /// The worker was told to stop.
    Stopped,
    /// Nothing came within this time.
    TimedOut(Duration),
    /// libssh2 reports an error.
    Ssh(ssh2::Error),
}

/// A connection.
pub(super) struct Wire {
    /// libssh2's session, never blocking.
    pub(super) session: ssh2::Session,
    socket: TcpStream,
    stop: StopFlag,
    /// Who else is at work.
    pub(super) traffic: Traffic,
    /// When something last came in while it was waited for.
    heard: Cell<Instant>,
    /// When it was last looked at whether something came.
    looked: Cell<Instant>,
    /// Whether both ways were closed, and everything read, when it was last waited for.
    is_over: Cell<bool>,
    guard: Guard,
}

impl Wire {
    /// Puts SSH on a connected socket; nothing is sent yet.
    pub(super) fn new(socket: TcpStream, stop: StopFlag, traffic: Traffic) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        socket.set_nonblocking(true).map_err(|e| text(&e))?;
        // A kernel that refuses leaves the guard alone with it.
        let _ = set_socket_recv_buffer_size(&socket, STRANGER_BYTES);
        let copy = socket.try_clone().map_err(|e| text(&e))?;
        let guard = Guard::start(&socket).map_err(|e| text(&e))?;
        let mut session = ssh2::Session::new().map_err(|e| text(&e))?;
        session.set_tcp_stream(copy);
        session.set_blocking(false);
        // For the few calls that block whatever we say: those that free what the other side holds open.
        session.set_timeout(5_000);
        Ok(Self {
            session,
            socket,
            stop,
            traffic,
            heard: Cell::new(Instant::now()),
            looked: Cell::new(Instant::now()),
            is_over: Cell::new(false),
            guard,
        })
    }

    /// The other side is known now, and we are let in: it may say more at a time.
    pub(super) fn acquainted(&self) {
        let _ = set_socket_recv_buffer_size(&self.socket, HOST_BYTES);
    }

    /// A halt when the worker is to stop.
    pub(super) fn heed_stop(&self) -> Result<(), Halt> {
        if self.stop.is_raised() {
            self.cut();
            return Err(Halt::Stopped);
        }
        Ok(())
    }

    /// Repeats `operation` until it no longer says "try again", for `limit` at most. After a halt other than
    /// an error of libssh2 itself the connection is cut, so that nothing waits for it any more.
    pub(super) fn run<T>(
        &self,
        limit: Duration,
        mut operation: impl FnMut() -> Result<T, ssh2::Error>,
    ) -> Result<T, Halt> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.call(left, &mut operation) {
                Err(error) if error.code() == ErrorCode::Session(EAGAIN) => {}
                Err(_) if self.guard.is_flooded() => return Err(self.flooded()),
                Err(error) => return Err(Halt::Ssh(error)),
                Ok(value) => return Ok(value),
            }
            self.pause(end, limit)?;
        }
    }

    /// Runs one call of libssh2 that may read or write, for `limit` at most: the connection is cut where the peer
    /// keeps it from coming back.
    pub(super) fn call<T>(&self, limit: Duration, call: impl FnOnce() -> T) -> T {
        self.guard.call(&self.socket, limit, call)
    }

    /// The same for a call that moves payload; what comes in without any is bounded.
    pub(super) fn transfer(
        &self,
        limit: Duration,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let moved = self.call(limit, call);
        if let Ok(count) = moved {
            self.guard.moved(count);
        }
        moved
    }

    /// Cuts the connection to a peer that sends without end.
    pub(super) fn flooded(&self) -> Halt {
        self.cut();
        Halt::Ssh(ssh2::Error::new(
            ErrorCode::Session(PROTOCOL),
            "the other side sent without end what nobody asked for",
        ))
    }

    /// A halt where there is no point in going on: the worker is to stop, or the peer sends without end.
    pub(super) fn heed(&self) -> Result<(), Halt> {
        self.heed_stop()?;
        if self.guard.is_flooded() {
            return Err(self.flooded());
        }
        Ok(())
    }

    /// Whether this thread was kept from looking for long: that time was not the other side's silence.
    fn was_away(&self) -> bool {
        self.looked.replace(Instant::now()).elapsed() > AWAY
    }

    /// Waits until the socket may have changed; a halt when `end` has passed or the worker is to stop.
    pub(super) fn pause(&self, end: Instant, limit: Duration) -> Result<(), Halt> {
        self.heed()?;
        let left = end.saturating_duration_since(Instant::now());
        if !self.was_away() && left.is_zero() {
            self.cut();
            return Err(Halt::TimedOut(limit));
        }
        // libssh2 tells the end of a connection once, and where that answer was not for the one who asked it says "try
        // again" for ever.
        if self.wait_socket(left.min(SLICE)) && self.is_over.replace(true) {
            return Err(Halt::Ssh(ssh2::Error::new(
                ErrorCode::Session(DISCONNECTED),
                "the other side closed the connection",
            )));
        }
        Ok(())
    }

    /// Waits as [`Wire::pause`] does where the other side may be silent by right: it is asked for a sign of life
    /// meanwhile, and a halt when none came for `quiet` (six seconds at least) after `since`.
    pub(super) fn pause_listening(
        &self,
        (end, limit): (Instant, Duration),
        (since, quiet): (Instant, Duration),
    ) -> Result<(), Halt> {
        // Time for three questions, which libssh2 sends every other second at most.
        let quiet = quiet.max(Duration::from_secs(6));
        let interval = u32::try_from(quiet.as_secs() / 3).unwrap_or(u32::MAX);
        self.session.set_keepalive(true, interval.min(30));
        match self.call(quiet, || self.session.keepalive_send()) {
            Ok(_) => {}
            Err(error) if error.code() == ErrorCode::Session(EAGAIN) => {}
            Err(error) => return Err(Halt::Ssh(error)),
        }
        if self.was_away() || guard::waiting(&self.socket) > 0 {
            self.heard.set(Instant::now());
        }
        if self.heard.get().max(since).elapsed() >= quiet {
            self.cut();
            return Err(Halt::TimedOut(quiet));
        }
        self.pause(end, limit)
    }

    /// Whether the connection is over, and everything that came was read.
    fn wait_socket(&self, time: Duration) -> bool {
        // A delayed acknowledgement here and Nagle's algorithm there would cost 40 ms a command.
        let _ = rustix::net::sockopt::set_tcp_quickack(&self.socket, true);
        let flags = match self.session.block_directions() {
            BlockDirections::Outbound => PollFlags::OUT,
            BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
            BlockDirections::Inbound | BlockDirections::None => PollFlags::IN,
        };
        let span = Timespec::try_from(time).unwrap_or(Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        });
        let mut fds = [PollFd::new(&self.socket, flags)];
        // An interrupted or failed poll only means that the operation is tried again sooner.
        let _ = poll(&mut fds, Some(&span));
        if fds[0].revents().contains(PollFlags::IN) {
            self.heard.set(Instant::now());
        }
        fds[0].revents().contains(PollFlags::HUP) && guard::waiting(&self.socket) == 0
    }

    /// Closes the socket both ways: whatever libssh2 still wants to say fails at once.
    pub(super) fn cut(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        self.session.set_timeout(1);
    }

    /// Whether the connection ended by a reset: not by the other side's own decision, as a rule.
    pub(super) fn was_reset(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let _ = poll(&mut fds, Some(&now));
        fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// The socket itself, for its options.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

/// Whatever is freed after this finds the socket closed and waits for nobody.
impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
    }
}

/// The number of an SSH error, by the side it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// libssh2's own (negative).
    Session(i32),
    /// The SFTP server's.
    Sftp(i32),
}

/// The number of `error`.
pub(super) fn code(error: &ssh2::Error) -> Code {
    match error.code() {
        ErrorCode::Session(code) => Code::Session(code),
        ErrorCode::SFTP(code) => Code::Sftp(code),
    }
}

/// Whether `error` means that the connection itself is gone.
pub(super) fn is_lost(error: &ssh2::Error) -> bool {
    // Socket send, timeout, disconnect, proto, socket timeout, socket receive, bad socket.
    matches!(
        code(error),
        Code::Session(-7 | -9 | -13 | -14 | -30 | -43 | -45)
    )
}
