//! Scripts on the host, whatever its login shell is: the command line that reaches it holds nothing that
//! csh, fish or a POSIX shell read differently, `/bin/sh` takes the script from its input, and marked lines
//! tell its beginning, its end and its status from everything that start-up files print.

use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::time::{Duration, Instant};

use ssh2::{Channel, ExtendedData};

use super::markers::Reading;
use super::wire::{Code, Halt, Wire, code};

/// Reads lines up to `AD-GO`, then runs them; what follows on the input is theirs to read.
const LAUNCHER: &str = "exec /bin/sh -c 'n=$(printf \"\\012x\"); n=${n%x}; s=; while IFS= read -r l; do \
                        test \"x$l\" = xAD-GO && break; s=$s$l$n; done; eval \"$s\"'";

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

/// Runs a script on a channel that [`open`] gave, shows its output as it comes, feeds it `input`; gives its
/// status.
pub(super) fn stream(
    wire: &Wire,
    mut channel: Channel,
    script: &str,
    input: Option<Input<'_>>,
    patience: Patience,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<i32, ExecError> {
    let nonce = nonce();
    let head = format!(
        "exec 2>&1\nprintf '\\n%s\\n' {nonce}\n(\n{script}\n)\nprintf '\\n%s %s\\n' {nonce} \"$?\"\nAD-GO\n"
    );
    let mut reading = Reading::new(&nonce);
    let result = pump(
        wire,
        &mut channel,
        &head,
        input,
        patience,
        &mut reading,
        sink,
    );
    let status = reading.status;
    if let Err(broke) = result {
        let halt = match broke {
            Broke::Wire(halt) => halt,
            Broke::Here(error) => {
                finish(wire, &mut channel);
                return Err(ExecError::Local(error));
            }
        };
        if status.is_none() {
            return Err(match halt {
                Halt::Ssh(error) if reading.began => ExecError::Lost(error.message().to_owned()),
                other => ExecError::Halt(other),
            });
        }
        return status.ok_or_else(|| ExecError::Lost(String::new()));
    }
    finish(wire, &mut channel);
    match status {
        Some(status) => Ok(status),
        None if reading.began => Err(ExecError::Lost(
            "the script ended without a status".to_owned(),
        )),
        None => Err(ExecError::NoShell(reading.noise())),
    }
}

/// Opens a channel on which `/bin/sh` waits for a script, its outputs merged.
pub(super) fn open(wire: &Wire, limit: Duration) -> Result<Channel, ExecError> {
    let halt = |halt| match halt {
        Halt::Ssh(error) if !super::wire::is_lost(&error) => {
            ExecError::NoShell(error.message().to_owned())
        }
        other => ExecError::Halt(other),
    };
    let mut channel = wire
        .run(limit, || wire.session.channel_session())
        .map_err(|trouble| match trouble {
            Halt::Ssh(error) if code(&error) == CHANNEL_FAILURE => {
                ExecError::Busy(error.message().to_owned())
            }
            other => halt(other),
        })?;
    wire.run(limit, || channel.handle_extended_data(ExtendedData::Merge))
        .map_err(halt)?;
    wire.run(limit, || channel.exec(LAUNCHER)).map_err(halt)?;
    Ok(channel)
}

/// Whether the shell of a channel that [`open`] gave a while ago still waits for its script.
pub(super) fn waits(wire: &Wire, limit: Duration, channel: &mut Channel) -> bool {
    // What start-up files print comes before anything that counts.
    let mut noise = [0; 4096];
    for _ in 0..64 {
        match wire.transfer(limit, || channel.read(&mut noise)) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    false
}

/// Closes a channel and waits for the other side a moment, so that it no longer counts as a session there.
pub(super) fn finish(wire: &Wire, channel: &mut Channel) {
    let limit = Duration::from_secs(5);
    let _ = wire.run(limit, || channel.close());
    let _ = wire.run(limit, || channel.wait_close());
}

/// Why a script's input or output ended early.
enum Broke {
    /// The connection.
    Wire(Halt),
    /// The input cannot be read on this side.
    Here(io::Error),
}

/// Writes what there is to write and reads what there is to read until the end marker or the end.
fn pump(
    wire: &Wire,
    channel: &mut Channel,
    head: &str,
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
    let mut writing = Writing {
        pending: head.as_bytes().to_vec(),
        from: 0,
        done: false,
        handed: 0,
        head: head.len(),
    };
    let mut buffer = vec![0; 64 * 1024];
    let mut last = begun;
    loop {
        let mut moved = false;
        if !writing.done {
            match writing.step(wire, stall, channel, input.as_mut()) {
                Ok(step) => moved |= step,
                // A script that ended early closes its input: what it said tells why.
                Err(Unwritten::There) => writing.done = true,
                Err(Unwritten::Here(error)) => return Err(Broke::Here(error)),
            }
        }
        match wire.transfer(stall, || channel.read(&mut buffer)) {
            Ok(0) if channel.eof() => return Ok(()),
            Ok(0) => {}
            Ok(count) => {
                moved |= most.is_some();
                reading.take(&buffer[..count], sink);
                if reading.status.is_some() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Broke::Wire(wire_error(wire))),
        }
        if moved {
            last = Instant::now();
        }
        let paused = match (patience.limit, most) {
            (_, Some((end, _))) if moved && Instant::now() >= end => Err(wire.flooded()),
            _ if moved => wire.heed_stop(),
            (Patient::ForSilence(_), Some(most)) => wire.pause_listening(most, (last, stall)),
            _ => wire.pause(last + stall, stall),
        };
        paused.map_err(Broke::Wire)?;
    }
}

fn wire_error(wire: &Wire) -> Halt {
    let last = ssh2::Error::last_session_error(&wire.session);
    Halt::Ssh(last.unwrap_or_else(ssh2::Error::unknown))
}

/// The script, then the input, then the end of file.
struct Writing {
    pending: Vec<u8>,
    from: usize,
    done: bool,
    handed: u64,
    head: usize,
}

/// Why nothing more is written.
enum Unwritten {
    /// The input cannot be read.
    Here(io::Error),
    /// The other side takes no more.
    There,
}

impl Writing {
    /// Whether anything moved.
    fn step(
        &mut self,
        wire: &Wire,
        stall: Duration,
        channel: &mut Channel,
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
            let count = wire
                .transfer(stall, || channel.write(&self.pending[self.from..]))
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
