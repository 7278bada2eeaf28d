//! What is written to a channel: a script, then its input, paced. Waits for nothing, and does not know what is read.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use ssh2::Channel;

use super::exec::{Input, sends};
use super::pace::Pace;
use super::wire::Wire;

/// Writes what the channel takes: a packet, which is all that libssh2 takes at a time, costs little beside a look at
/// whether the other side has said something. Where less was written than asked for, a part of the next packet may be
/// sent: only who goes on behind it may write then.
pub(super) fn write_many(channel: &mut Channel, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match channel.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) if written > 0 && error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// How many bytes the other side takes at the moment.
pub(super) fn window(channel: &Channel) -> u64 {
    u64::from(channel.write_window().remaining)
}

/// The script, then the input, then, if it `closes`, the end of file.
pub(super) struct Writing {
    pending: Vec<u8>,
    from: usize,
    pub(super) done: bool,
    /// The end of the file follows on the input.
    pub(super) closes: bool,
    handed: u64,
    head: usize,
}

/// Why nothing more is written.
pub(super) enum Unwritten {
    /// The input cannot be read.
    Here(io::Error),
    /// The other side takes no more.
    There,
}

impl Writing {
    pub(super) fn new(script: String, closes: bool) -> Self {
        Self {
            head: script.len(),
            pending: script.into_bytes(),
            from: 0,
            done: false,
            closes,
            handed: 0,
        }
    }

    /// Whether anything moved.
    pub(super) fn step(
        &mut self,
        (wire, stall): (&Wire, Duration),
        channel: &mut Channel,
        pace: &mut Pace,
        input: Option<&mut Input<'_>>,
    ) -> Result<bool, Unwritten> {
        let again = |error: io::Error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                Ok(0)
            } else {
                Err(Unwritten::There)
            }
        };
        if self.from < self.pending.len() {
            let mut bytes = &self.pending[self.from..];
            // A packet that is partly sent is gone on with, whatever the pace.
            if !sends(wire) {
                let allowed = pace.allowed(window(channel), Instant::now());
                bytes = &bytes[..bytes.len().min(allowed)];
                if bytes.is_empty() {
                    return Ok(false);
                }
            }
            let count = wire
                .transfer(stall, || write_many(channel, bytes))
                .or_else(again)?;
            self.from += count;
            if self.head > 0 {
                self.head -= count;
            } else if let Some(input) = input {
                self.handed += count as u64;
                if count > 0 {
                    (input.progress)(self.handed);
                }
            }
            return Ok(count > 0);
        }
        if let Some(input) = input {
            self.pending.resize(256 * 1024, 0);
            let read = loop {
                match input.reader.read(&mut self.pending) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            let count = *read.as_ref().unwrap_or(&0);
            self.pending.truncate(count);
            self.from = 0;
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(Unwritten::Here(error)),
                Ok(_) => {}
            }
            if count > 0 {
                return Ok(true);
            }
        }
        if !self.closes {
            self.done = true;
            return Ok(true);
        }
        match wire
            .call(stall, || channel.send_eof())
            .map_err(io::Error::from)
        {
            Ok(()) => self.done = true,
            Err(error) => {
                again(error)?;
            }
        }
        Ok(self.done)
    }
}
