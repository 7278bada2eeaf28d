//! One client: what it has sent, what it still gets, and until when it is borne. Knows nothing of other clients.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Response;
use super::request::{HEAD_MAX_BYTES, Parsed, Request, parse};

/// How long a client may take to send its request.
const READING_MAX: Duration = Duration::from_secs(5);
/// How long it may take to read the answer.
const WRITING_MAX: Duration = Duration::from_secs(20);
/// How long its end is awaited afterwards: who closes while bytes arrive takes the answer back.
const ENDING_MAX: Duration = Duration::from_secs(1);
/// Who has not sent his request by then gives way to others when there are many.
const GIVES_WAY_AFTER: Duration = Duration::from_millis(500);

enum Stage {
    Reading(Vec<u8>),
    Writing {
        head: Vec<u8>,
        body: Option<Arc<Vec<u8>>>,
        written: usize,
    },
    Ending,
    Over,
}

/// What a client's bytes ask for.
pub(super) enum Asked {
    /// Nothing yet, or nothing any more.
    Nothing,
    /// An answer to this.
    Answer(Request),
}

/// A client.
pub(super) struct Connection {
    stream: TcpStream,
    stage: Stage,
    since: Instant,
    deadline: Instant,
}

impl Connection {
    /// Takes a client up.
    pub(super) fn new(stream: TcpStream, now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            stage: Stage::Reading(Vec::new()),
            since: now,
            deadline: now + READING_MAX,
        })
    }

    /// The socket.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether it waits to write, and not to read.
    pub(super) fn is_writing(&self) -> bool {
        matches!(self.stage, Stage::Writing { .. })
    }

    /// Whether nothing more comes of it.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// When it is borne no longer.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Since when it keeps its place without having asked anything, if for so long that others may have it.
    pub(super) fn gives_way(&self, now: Instant) -> Option<Instant> {
        let is_idle = !self.is_writing() && now.duration_since(self.since) >= GIVES_WAY_AFTER;
        is_idle.then_some(self.since)
    }

    /// Its time is up: who has sent the beginning of a request is told so.
    pub(super) fn expire(&mut self, now: Instant) {
        match &self.stage {
            Stage::Reading(bytes) if !bytes.is_empty() => {
                let late = Response::text(408, "the request took longer than 5 s\n");
                self.answer(&late, false, now);
            }
            _ => self.stage = Stage::Over,
        }
    }

    /// Reads what there is.
    pub(super) fn read(&mut self, now: Instant) -> Asked {
        let mut buffer = [0_u8; HEAD_MAX_BYTES];
        let count = match self.stream.read(&mut buffer) {
            Ok(0) => {
                self.stage = Stage::Over;
                return Asked::Nothing;
            }
            Ok(count) => count,
            Err(error) => {
                self.fail(&error);
                return Asked::Nothing;
            }
        };
        let Stage::Reading(bytes) = &mut self.stage else {
            // What comes behind a request is read away.
            return Asked::Nothing;
        };
        bytes.extend(buffer.iter().take(count));
        match parse(bytes) {
            Parsed::Partial => Asked::Nothing,
            Parsed::Whole(request) => Asked::Answer(request),
            Parsed::Refused(response) => {
                self.answer(&response, false, now);
                Asked::Nothing
            }
        }
    }

    /// Begins to answer.
    pub(super) fn answer(&mut self, response: &Response, is_head: bool, now: Instant) {
        self.deadline = now + WRITING_MAX;
        self.stage = Stage::Writing {
            head: response.head(),
            body: (!is_head).then(|| Arc::clone(&response.body)),
            written: 0,
        };
        self.write(now);
    }

    /// Writes what can be written.
    pub(super) fn write(&mut self, now: Instant) {
        loop {
            let Stage::Writing {
                head,
                body,
                written,
            } = &mut self.stage
            else {
                return;
            };
            let rest = match head.get(*written..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => {
                    let body = body.as_ref().map_or(&[][..], |body| body.as_slice());
                    body.get(*written - head.len()..).unwrap_or_default()
                }
            };
            if rest.is_empty() {
                self.stage = match self.stream.shutdown(Shutdown::Write) {
                    Ok(()) => Stage::Ending,
                    Err(_) => Stage::Over,
                };
                self.deadline = now + ENDING_MAX;
                return;
            }
            match self.stream.write(rest) {
                Ok(count) => *written += count,
                Err(error) => return self.fail(&error),
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        if !matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
        ) {
            self.stage = Stage::Over;
        }
    }
}
