//! Scripts on the host, whatever its login shell is: the command line that reaches it holds nothing that
//! csh, fish or a POSIX shell read differently, `/bin/sh` takes one script after the other from its input, and marked
//! lines tell a script's beginning, its end and its status from everything that start-up files print.

use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use ssh2::{BlockDirections, Channel, ErrorCode, ExtendedData};

use super::markers::Reading;
use super::pace::Pace;
use super::wire::{Code, EAGAIN, Halt, Wire, code};
use super::writing::{Unwritten, Writing, window};

/// Reads lines up to the word that stands in the first one, runs them, and so on until its input ends; what follows on
/// the input is theirs to read. (A shell that has `TMOUT` would end earlier.)
const LAUNCHER: &str = "exec /bin/sh -c 'unset TMOUT; n=$(printf \"\\012x\"); n=${n%x}; IFS= read -r g || exit; \
                        while :; do s=; while :; do IFS= read -r l || exit; test \"x$l\" = \"x$g\" && break; \
                        s=$s$l$n; done; eval \"$s\"; done'";

/// libssh2's code for a channel that the server did not open.
pub(super) const CHANNEL_FAILURE: Code = Code::Session(-21);

/// How much is kept of what a script of ours prints: its answers and complaints are far shorter.
pub(super) const MOST_SAID: usize = 64 * 1024;

/// Why a script gave no status.
#[derive(Debug)]
pub(super) enum ExecError {
    /// The host opens no (further) channel at the moment.
    Busy(String),
    /// The host refuses commands, or ran something else; what it said.
    NoShell(String),
    /// The script began, and the connection or the script ended without a status.
    Lost(String),
    /// The input could not be read on this side.
    Local(io::Error),
    /// As the wire says.
    Halt(Halt),
}

/// How long a script may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Without a byte in either direction; where it is silent by right: without a sign of life from the host.
    pub(super) stall: Duration,
    /// In all, however much it says.
    pub(super) limit: Patient,
}

/// What bounds a script in all.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patient {
    /// This time.
    For(Duration),
    /// This time, and it may be silent by right.
    ForSilence(Duration),
    /// As long as it takes input: what it says is no progress.
    WithInput,
}

/// Bytes for a script's input.
pub(super) struct Input<'a> {
    /// Where they come from. `WouldBlock` means that the next ones depend on what the script says.
    pub(super) reader: &'a mut dyn io::Read,
    /// Told how many have been handed over.
    pub(super) progress: &'a mut dyn FnMut(u64),
}

/// What a script gave.
#[derive(Debug)]
pub(super) struct Ran {
    /// Its exit status.
    pub(super) status: i32,
    /// What it printed on both outputs.
    pub(super) output: Vec<u8>,
}

impl Ran {
    /// The output as text, for messages.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).trim().to_owned()
    }
}

/// A word that nothing prints by chance.
pub(super) fn nonce() -> String {
    let word = || std::hash::RandomState::new().build_hasher().finish();
    format!("AD{:016x}{:08x}", word(), word() & 0xffff_ffff)
}

/// What a script finds on its input.
pub(super) enum Fed<'a> {
    /// Nothing.
    Nothing,
    /// These bytes, of which it reads every one, and no more: another script comes behind them.
    Counted(Input<'a>),
    /// These bytes, and then the end.
    Whole(Input<'a>),
}

/// `/bin/sh` on the host, which takes scripts; its outputs are merged.
pub(super) struct Shell {
    pub(super) channel: Channel,
    /// The line that ends a script; the first one that the launcher reads. In no list of processes, unlike the launcher.
    go: String,
    is_new: bool,
    /// It knows the lesson that scripts of ours build on; there is one.
    is_taught: bool,
    /// The host has not said yet that it runs the launcher.
    is_starting: bool,
    /// How long the host took to open the channel.
    pub(super) round_trip: Duration,
    pace: Pace,
}

impl Shell {
    /// Opens a channel and asks for the shell. Whether the host runs one shows with the first script: to wait for its
    /// word would cost a round trip.
    pub(super) fn open(wire: &Wire, limit: Duration) -> Result<Self, ExecError> {
        let begun = Instant::now();
        let channel = wire
            .run(limit, || wire.session.channel_session())
            .map_err(|trouble| match trouble {
                Halt::Ssh(error) if code(&error) == CHANNEL_FAILURE => {
                    ExecError::Busy(error.message().to_owned())
                }
                other => refusal(other),
            })?;
        Self::start(wire, channel, begun.elapsed(), limit)
    }

    /// Asks for the shell on a channel that is open.
    pub(super) fn start(
        wire: &Wire,
        mut channel: Channel,
        round_trip: Duration,
        limit: Duration,
    ) -> Result<Self, ExecError> {
        wire.run(limit, || channel.handle_extended_data(ExtendedData::Merge))
            .map_err(refusal)?;
        let mut shell = Self {
            channel,
            go: nonce(),
            is_new: true,
            is_taught: false,
            is_starting: true,
            round_trip,
            pace: Pace::over(round_trip, wire.traffic.clone()),
        };
        let end = Instant::now() + limit;
        // The question itself has to be on its way before anything else is.
        while !shell.has_started(wire, limit)? && sends(wire) {
            wire.pause(end, limit).map_err(ExecError::Halt)?;
        }
        Ok(shell)
    }

    /// Whether the host has said that it runs the launcher; an error where it does not.
    pub(super) fn has_started(&mut self, wire: &Wire, limit: Duration) -> Result<bool, ExecError> {
        if self.is_starting {
            match wire.call(limit, || self.channel.exec(LAUNCHER)) {
                Ok(()) => self.is_starting = false,
                Err(error) if error.code() == ErrorCode::Session(EAGAIN) => {}
                Err(error) => return Err(refusal(Halt::Ssh(error))),
            }
        }
        Ok(!self.is_starting)
    }

    /// Whether it takes no more scripts. What it says meanwhile is nobody's.
    pub(super) fn is_over(&mut self, wire: &Wire, limit: Duration) -> bool {
        match wire.call(limit, || self.channel.read(&mut [0; 4096])) {
            Ok(0) => self.channel.eof(),
            Ok(_) => false,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// The bytes that have it run a script, which may build on a lesson, and what finds the script's output in what comes.
    pub(super) fn wrapped(
        &mut self,
        (lesson, script): (&str, &str),
        is_fed: bool,
    ) -> (String, Reading) {
        let nonce = nonce();
        let go = &self.go;
        let greeting = if std::mem::take(&mut self.is_new) {
            format!("{go}\n")
        } else {
            String::new()
        };
        let is_known = lesson.is_empty() || std::mem::replace(&mut self.is_taught, true);
        let lesson = if is_known { "" } else { lesson };
        // Where a script fails nobody knows how much of its input it has read: what is left must never be taken for
        // the next script.
        let (input, then) = if is_fed {
            ("", "test \"$s\" = 0 || exit 0\n")
        } else {
            (" </dev/null", "")
        };
        let text = format!(
            "{greeting}{lesson}exec 2>&1\nprintf '\\n%s\\n' {nonce}\n(\n{script}\n){input}\ns=$?\n\
             printf '\\n%s %s\\n' {nonce} \"$s\"\n{then}{go}\n"
        );
        (text, Reading::new(&nonce))
    }

    /// Runs a script, with its lesson, shows its output as it comes, feeds it; gives its status. After an error, and after a status
    /// other than 0 of a script that was fed, the shell takes no more.
    pub(super) fn run(
        &mut self,
        wire: &Wire,
        script: (&str, &str),
        fed: Fed<'_>,
        patience: Patience,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<i32, ExecError> {
        let (head, mut reading) = self.wrapped(script, !matches!(fed, Fed::Nothing));
        let (input, closes) = match fed {
            Fed::Nothing => (None, false),
            Fed::Counted(input) => (Some(input), false),
            Fed::Whole(input) => (Some(input), true),
        };
        let writing = Writing::new(head, closes);
        let result = self.pump(wire, writing, input, patience, &mut reading, sink);
        match (result, reading.status) {
            (Err(Broke::Here(error)), _) => Err(ExecError::Local(error)),
            (_, Some(status)) => Ok(status),
            (Err(Broke::Refused(error)), None) => Err(error),
            (Err(Broke::Wire(Halt::Ssh(error))), None) if reading.began => {
                Err(ExecError::Lost(error.message().to_owned()))
            }
            (Err(Broke::Wire(halt)), None) => Err(ExecError::Halt(halt)),
            (Ok(()), None) => Err(ended(&reading)),
        }
    }

    /// Writes what there is to write and reads what there is to read until the end marker or the end.
    fn pump(
        &mut self,
        wire: &Wire,
        mut writing: Writing,
        mut input: Option<Input<'_>>,
        patience: Patience,
        reading: &mut Reading,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Broke> {
        let stall = patience.stall;
        let begun = Instant::now();
        let most = match patience.limit {
            Patient::For(limit) | Patient::ForSilence(limit) => Some((begun + limit, limit)),
            Patient::WithInput => None,
        };
        let mut buffer = vec![0; 64 * 1024];
        let mut last = begun;
        let mut unread = None;
        loop {
            let mut moved = false;
            self.has_started(wire, stall).map_err(Broke::Refused)?;
            let channel = &mut self.channel;
            if !writing.done {
                let input = input.as_mut().filter(|_| unread.is_none());
                match writing.step((wire, stall), channel, &mut self.pace, input) {
                    Ok(step) => moved |= step,
                    // A script that ended early closes its input: what it said tells why.
                    Err(Unwritten::There) => writing.done = true,
                    // It may still make what its input was for: who removes that has to wait until it has ended.
                    Err(Unwritten::Here(error)) => {
                        unread = Some(error);
                        writing.closes = true;
                    }
                }
            }
            let window_before = window(channel);
            match wire.transfer(stall, || channel.read(&mut buffer)) {
                Ok(0) if channel.eof() => return unread.map_or(Ok(()), |e| Err(Broke::Here(e))),
                Ok(0) => {}
                Ok(count) => {
                    moved |= most.is_some();
                    reading.take(&buffer[..count], sink);
                    if reading.status.is_some() {
                        return unread.map_or(Ok(()), |e| Err(Broke::Here(e)));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Broke::Wire(wire_error(wire))),
            }
            if moved {
                last = Instant::now();
            }
            // Reading took in that the other side takes more: there is nothing to wait for.
            let is_granted = !writing.done && window(channel) > window_before;
            let paused = match (patience.limit, most) {
                (_, Some((end, _))) if moved && Instant::now() >= end => Err(wire.flooded()),
                _ if moved => wire.heed_stop(),
                _ if is_granted => wire.heed(),
                (Patient::ForSilence(_), Some(most)) => wire.pause_listening(most, (last, stall)),
                _ => wire.pause(last + stall, stall),
            };
            paused.map_err(Broke::Wire)?;
        }
    }
}

/// Why there is no status although nothing broke.
pub(super) fn ended(reading: &Reading) -> ExecError {
    if reading.began {
        ExecError::Lost("the script ended without a status".to_owned())
    } else {
        ExecError::NoShell(reading.noise())
    }
}

/// What it means that the host opened no channel, or started nothing on it.
fn refusal(halt: Halt) -> ExecError {
    match halt {
        Halt::Ssh(error) if !super::wire::is_lost(&error) => {
            ExecError::NoShell(error.message().to_owned())
        }
        other => ExecError::Halt(other),
    }
}

/// Whether a packet is partly sent: only the call that began it may go on.
pub(super) fn sends(wire: &Wire) -> bool {
    matches!(
        wire.session.block_directions(),
        BlockDirections::Outbound | BlockDirections::Both
    )
}

/// Why a script's input or output ended early.
enum Broke {
    /// The connection.
    Wire(Halt),
    /// The input cannot be read on this side.
    Here(io::Error),
    /// The host starts nothing.
    Refused(ExecError),
}

pub(super) fn wire_error(wire: &Wire) -> Halt {
    let last = ssh2::Error::last_session_error(&wire.session);
    Halt::Ssh(last.unwrap_or_else(ssh2::Error::unknown))
}
