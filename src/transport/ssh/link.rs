//! What the two ways of handling files, and installs, share: the connection with its limits, scripts with
//! classified faults, and the one place that says what an error of an open session means.

use std::time::{Duration, Instant};

use ssh2::Sftp;

use super::closing::Closing;
use super::counted::Tool;
use super::dial::stopped;
use super::exec::{self, ExecError, Fed, Input, MOST_SAID, Patience, Patient, Ran, Shell};
use super::wire::{Halt, Wire, code, is_lost};
use crate::domain::fault::Fault;

/// How soon a server that refused a channel is asked again.
const ASKED_AGAIN: Duration = Duration::from_millis(20);
/// How many characters of what a host says stand in a message.
const QUOTED_MAX_CHARS: usize = 500;

/// An authenticated connection. The wire comes first, so that it is cut before SFTP is freed.
pub(super) struct Link {
    pub(super) wire: Wire,
    /// `login@host:port`, for messages.
    pub(super) place: String,
    /// Limit without progress.
    pub(super) stall: Duration,
    /// The SFTP channel, where one is open.
    pub(super) sftp: Option<Sftp>,
    /// The shell that takes our scripts, one after the other, where one is open.
    pub(super) standing: Option<Shell>,
    closing: Closing,
    /// Whether the host runs scripts; nothing while that is not known.
    pub(super) shell: Option<bool>,
    /// What a host said that runs none.
    refusal: String,
    /// How long the host takes to answer, as far as we have seen.
    pub(super) round_trip: Duration,
    /// What takes a counted number of bytes on the host; nothing while that is not known.
    pub(super) tool: Option<Tool>,
    /// A file whose bytes the host's disk has.
    pub(super) synced: Option<String>,
    /// Whether SFTP is asked to write files through to the disk.
    pub(super) fsync: bool,
}

impl Link {
    /// Nothing is open on this connection yet.
    pub(super) fn new(wire: Wire, place: String, stall: Duration) -> Self {
        let closing = Closing::with(wire.session.banner());
        Self {
            wire,
            place,
            stall,
            sftp: None,
            standing: None,
            closing,
            shell: None,
            refusal: String::new(),
            round_trip: Duration::MAX,
            tool: None,
            synced: None,
            fsync: true,
        }
    }

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
        let status = self.converse(Patient::For(limit), ("", &script), None, &mut |bytes| {
            keep(&mut output, bytes);
        })?;
        Ok(Ran { status, output })
    }

    /// Runs a script, with the lesson that it builds on, in the standing shell, its output shown as it comes. It reads all
    /// of `input`, and no more.
    pub(super) fn converse(
        &mut self,
        limit: Patient,
        script: (&str, &str),
        input: Option<Input<'_>>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<i32, ExecError> {
        self.let_close();
        let mut shell = self.stand()?;
        let (fed, reusable) = match input {
            Some(input) => (Fed::Counted(input), false),
            None => (Fed::Nothing, true),
        };
        let patience = self.patience(limit);
        let result = shell.run(&self.wire, script, fed, patience, sink);
        match &result {
            Ok(status) if reusable || *status == 0 => self.standing = Some(shell),
            _ => self.let_go(shell),
        }
        self.learn(result)
    }

    /// Runs a script in a shell of its own, its output shown as it comes; its input ends with `input`.
    pub(super) fn stream_with(
        &mut self,
        limit: Patient,
        script: &str,
        input: Input<'_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<i32, ExecError> {
        self.let_close();
        let patience = self.patience(limit);
        let mut shell = self.open_shell()?;
        let script = ("", script);
        let result = shell.run(&self.wire, script, Fed::Whole(input), patience, sink);
        self.let_go(shell);
        self.learn(result)
    }

    fn patience(&self, limit: Patient) -> Patience {
        Patience {
            stall: self.stall,
            limit,
        }
    }

    /// Whether the host runs scripts shows in what the first one gave.
    pub(super) fn learn<T>(&mut self, result: Result<T, ExecError>) -> Result<T, ExecError> {
        match result {
            Ok(given) => {
                self.shell = Some(true);
                Ok(given)
            }
            // It did before.
            Err(ExecError::NoShell(said)) if self.shell == Some(true) => Err(ExecError::Lost(said)),
            Err(ExecError::NoShell(said)) => {
                self.shell = Some(false);
                self.refusal.clone_from(&said);
                Err(ExecError::NoShell(said))
            }
            Err(error) => Err(error),
        }
    }

    /// The standing shell, to be put back after use.
    pub(super) fn stand(&mut self) -> Result<Shell, ExecError> {
        if let Some(mut shell) = self.standing.take() {
            if !shell.is_over(&self.wire, self.stall) {
                return Ok(shell);
            }
            self.let_go(shell);
        }
        self.open_shell()
    }

    /// A shell on a channel of its own. A server that allows one channel at a time (`MaxSessions 1`) refuses it while
    /// another is open: then the others are closed first, and the server given a moment to notice.
    fn open_shell(&mut self) -> Result<Shell, ExecError> {
        if self.shell == Some(false) {
            return Err(ExecError::NoShell(self.refusal.clone()));
        }
        let begun = Instant::now();
        loop {
            self.clear();
            match Shell::open(&self.wire, self.stall) {
                Ok(shell) => {
                    self.round_trip = self.round_trip.min(shell.round_trip);
                    return Ok(shell);
                }
                Err(ExecError::Busy(said)) => {
                    let standing = self.standing.take();
                    if self.sftp.take().is_some() {
                        self.closing.note();
                    }
                    if let Some(shell) = standing {
                        self.let_go(shell);
                    }
                    if Instant::now() >= self.closing.counts_until(begun) {
                        return self.learn(Err(ExecError::NoShell(said)));
                    }
                    std::thread::sleep(ASKED_AGAIN);
                    self.let_close();
                }
                Err(error) => return self.learn(Err(error)),
            }
        }
    }

    /// To be called before a channel is opened.
    pub(super) fn clear(&mut self) {
        self.closing.clear(&self.wire, self.stall);
    }

    /// Closes a shell; that the host does so, too, is not waited for.
    pub(super) fn let_go(&mut self, shell: Shell) {
        self.closing.add(shell.channel, &self.wire, self.stall);
    }

    /// Lets those channels go that the host has closed by now.
    fn let_close(&mut self) {
        self.closing.go_on(&self.wire, self.stall);
    }

    /// Opens SFTP where it is closed, with the same patience.
    pub(super) fn open_sftp(&mut self) -> Result<(), Halt> {
        let begun = Instant::now();
        while self.sftp.is_none() {
            self.clear();
            match self.wire.run(self.stall, || self.wire.session.sftp()) {
                Ok(opened) => self.sftp = Some(opened),
                Err(Halt::Ssh(error))
                    if code(&error) == exec::CHANNEL_FAILURE
                        && Instant::now() < self.closing.counts_until(begun) =>
                {
                    let standing = self.standing.take();
                    if let Some(shell) = standing {
                        self.let_go(shell);
                    }
                    std::thread::sleep(ASKED_AGAIN);
                    self.let_close();
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
        "directory not empty",
        // What our own scripts say of a file that is renamed or removed under their hands.
        "has gone meanwhile",
    ];
    if passes.iter().any(|phrase| lower.contains(phrase)) {
        Fault::transient(message)
    } else {
        Fault::permanent(message)
    }
}
