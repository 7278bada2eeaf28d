//! What the two ways of handling files, and installs, share: the connection with its limits, scripts with
//! classified faults, and the one place that says what an error of an open session means.

use std::time::{Duration, Instant};

use ssh2::{Channel, Sftp};

use super::dial::stopped;
use super::exec::{self, ExecError, Input, MOST_SAID, Patience, Patient, Ran};
use super::wire::{Halt, Wire, code, is_lost};
use crate::domain::fault::Fault;

/// How long a server may take to notice that a channel was closed.
const BUSY: Duration = Duration::from_secs(1);
/// How many characters of what a host says stand in a message.
const QUOTED_MAX_CHARS: usize = 500;
/// How many channels are kept for scripts to come: a package is verified and installed by one each.
const SPARES: usize = 2;

/// An authenticated connection. The wire comes first, so that it is cut before SFTP is freed.
pub(super) struct Link {
    pub(super) wire: Wire,
    /// `login@host:port`, for messages.
    pub(super) place: String,
    /// Limit without progress.
    pub(super) stall: Duration,
    /// The SFTP channel, where one is open.
    pub(super) sftp: Option<Sftp>,
    /// Whether the host runs scripts; nothing while that is not known.
    pub(super) shell: Option<bool>,
    /// Whether SFTP is asked to write files through to the disk.
    pub(super) fsync: bool,
    /// Channels on which the host's shell waits for scripts to come: opening one costs two round trips there and back,
    /// and two processes.
    pub(super) spares: Vec<Channel>,
}

impl Link {
    /// A fault of the connection, while `doing` something.
    pub(super) fn halt_fault(&self, halt: &Halt, doing: &str) -> Fault {
        match halt {
            Halt::Stopped => stopped(),
            Halt::TimedOut(limit) => Fault::transient(format!(
                "{}: stalled while {doing}: nothing moved for {} s (stall_timeout)",
                self.place,
                limit.as_secs()
            )),
            Halt::Ssh(error) if is_lost(error) => Fault::transient(format!(
                "{}: connection lost while {doing}: {}",
                self.place,
                error.message()
            )),
            Halt::Ssh(error) => Fault::transient(format!(
                "{}: {doing} failed: {}",
                self.place,
                error.message()
            )),
        }
    }

    /// A fault of a script, while `doing` something.
    pub(super) fn exec_fault(&self, error: &ExecError, doing: &str) -> Fault {
        match error {
            ExecError::NoShell(said) | ExecError::Busy(said) => Fault::unsupported(format!(
                "{}: the host runs no commands (needed for {doing}){}",
                self.place,
                quoted(said)
            )),
            ExecError::Lost(why) => Fault::transient(format!(
                "{}: connection lost while {doing}: {}",
                self.place,
                shortened(why)
            )),
            ExecError::Local(error) => Fault::transient(format!(
                "cannot read the artifact while {doing} to {}: {error}",
                self.place
            )),
            ExecError::Halt(halt) => self.halt_fault(halt, doing),
        }
    }

    /// Runs a script of ours and keeps its output, as far as it is bounded; messages are in English.
    pub(super) fn script(&mut self, script: &str) -> Result<Ran, ExecError> {
        self.script_within(Duration::ZERO, script)
    }

    /// The same where it may take so much longer.
    pub(super) fn script_within(&mut self, more: Duration, script: &str) -> Result<Ran, ExecError> {
        // One that says nothing has half of it; the other half is for start-up files that talk.
        let limit = self.stall.saturating_mul(2).saturating_add(more);
        self.script_for(limit, script)
    }

    /// The same where it may take this time in all.
    pub(super) fn script_for(&mut self, limit: Duration, script: &str) -> Result<Ran, ExecError> {
        let script = format!("LC_ALL=C; export LC_ALL\n{script}");
        let mut output = Vec::new();
        let status = self.stream_with(Patient::For(limit), &script, None, &mut |bytes| {
            keep(&mut output, bytes);
        })?;
        Ok(Ran { status, output })
    }

    /// Runs a script, its output shown as it comes.
    pub(super) fn stream_with(
        &mut self,
        limit: Patient,
        script: &str,
        input: Option<Input<'_>>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<i32, ExecError> {
        if self.shell == Some(false) {
            return Err(ExecError::NoShell("as was found out before".to_owned()));
        }
        let patience = Patience {
            stall: self.stall,
            limit,
        };
        let channel = self.channel();
        let result = channel
            .and_then(|channel| exec::stream(&self.wire, channel, script, input, patience, sink));
        match &result {
            Ok(_) => self.shell = Some(true),
            Err(ExecError::NoShell(_)) if self.shell.is_none() => self.shell = Some(false),
            Err(_) => {}
        }
        result
    }

    /// A channel for a script. A server that allows one channel at a time (`MaxSessions 1`) refuses it while
    /// SFTP is open: then SFTP is closed first, and the server given a moment to notice.
    fn channel(&mut self) -> Result<Channel, ExecError> {
        while let Some(mut spare) = self.spares.pop() {
            if exec::waits(&self.wire, self.stall, &mut spare) {
                return Ok(spare);
            }
            exec::finish(&self.wire, &mut spare);
        }
        let end = Instant::now() + BUSY;
        loop {
            match exec::open(&self.wire, self.stall) {
                Err(ExecError::Busy(said)) => {
                    if self.sftp.take().is_none() && Instant::now() >= end {
                        return Err(ExecError::NoShell(said));
                    }
                    std::thread::sleep(BUSY / 50);
                }
                other => return other,
            }
        }
    }

    /// Opens channels ahead, where the host runs scripts and has room for them; the connection may lie idle for a while.
    pub(super) fn keep_spares(&mut self) {
        while self.shell == Some(true) && self.spares.len() < SPARES {
            match exec::open(&self.wire, self.stall) {
                Ok(channel) => self.spares.push(channel),
                Err(_) => return,
            }
        }
    }

    /// Opens SFTP where it is closed, with the same patience.
    pub(super) fn open_sftp(&mut self) -> Result<(), Halt> {
        let end = Instant::now() + BUSY;
        while self.sftp.is_none() {
            match self.wire.run(self.stall, || self.wire.session.sftp()) {
                Ok(opened) => self.sftp = Some(opened),
                Err(Halt::Ssh(error))
                    if code(&error) == exec::CHANNEL_FAILURE && Instant::now() < end =>
                {
                    if let Some(mut spare) = self.spares.pop() {
                        exec::finish(&self.wire, &mut spare);
                    }
                    std::thread::sleep(BUSY / 50);
                }
                Err(halt) => return Err(halt),
            }
        }
        Ok(())
    }
}

/// Adds to what a script said, as long as there is room.
pub(super) fn keep(said: &mut Vec<u8>, bytes: &[u8]) {
    let room = MOST_SAID.saturating_sub(said.len());
    said.extend_from_slice(&bytes[..room.min(bytes.len())]);
}

/// The beginning of what a host said.
fn shortened(said: &str) -> &str {
    said.char_indices()
        .nth(QUOTED_MAX_CHARS)
        .map_or(said, |(at, _)| &said[..at])
}

/// What a host said, for the end of a message.
pub(super) fn quoted(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!("; it said: {}", shortened(said))
    }
}

/// The fault of a step that the host refused with a message in English.
pub(super) fn refused(place: &str, doing: &str, path: &str, why: &str) -> Fault {
    let message = format!("{place}: {doing} {path}: {}", shortened(why));
    let lower = why.to_lowercase();
    let passes = [
        "no space",
        "quota",
        "disk full",
        "input/output error",
        // All that dash says of a full disk.
        "i/o error",
        "too many open files",
        "cannot allocate",
    ];
    if passes.iter().any(|phrase| lower.contains(phrase)) {
        Fault::transient(message)
    } else {
        Fault::permanent(message)
    }
}
