//! Scripts on the host, whatever its login shell is: the command line that reaches it holds nothing that
//! csh, fish or a POSIX shell read differently, `/bin/sh` takes the script from its input, and marked lines
//! tell its beginning, its end and its status from everything that start-up files print.

use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::time::{Duration, Instant};

use ssh2::{Channel, ExtendedData};

use super::wire::{Code, Halt, Wire, code};

/// Reads lines up to `AD-GO`, then runs them; what follows on the input is theirs to read.
const LAUNCHER: &str = "exec /bin/sh -c 'n=$(printf \"\\012x\"); n=${n%x}; s=; while IFS= read -r l; do \
                        test \"x$l\" = xAD-GO && break; s=$s$l$n; done; eval \"$s\"'";

/// libssh2's code for a channel that the server did not open.
pub(super) const CHANNEL_FAILURE: Code = Code::Session(-21);

/// How much is said of what a host printed instead of running a script.
const QUOTED_BYTES: usize = 300;
/// How much of it is kept while waiting for the script's beginning.
const MOST_NOISE: usize = 1024 * 1024;
/// How much is kept of what a script of ours prints: its answers and complaints are far shorter.
pub(super) const MOST_SAID: usize = 64 * 1024;
/// A line with a status is shorter, whatever the host makes of it.
const STATUS_MAX_BYTES: usize = 32;

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

/// Finds the markers in what comes.
pub(super) struct Reading {
    marker: Vec<u8>,
    /// What may yet turn out to be a marker, or is quoted where none comes.
    pub(super) held: Vec<u8>,
    began: bool,
    pub(super) status: Option<i32>,
}

impl Reading {
    pub(super) fn new(nonce: &str) -> Self {
        Self {
            marker: format!("\n{nonce}").into_bytes(),
            held: Vec::new(),
            began: false,
            status: None,
        }
    }

    /// Takes bytes; what surely belongs to the script goes to `sink`.
    pub(super) fn take(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) {
        self.held.extend_from_slice(bytes);
        if !self.began && !self.begins_within(bytes.len()) {
            return;
        }
        let mut from = 0;
        while let Some(found) = find(&self.held[from..], &self.marker) {
            let at = from + found;
            let behind = &self.held[at + self.marker.len()..];
            let line = &behind[..behind.len().min(STATUS_MAX_BYTES)];
            if let Some(end) = line.iter().position(|&byte| byte == b'\n') {
                self.status = String::from_utf8_lossy(&line[..end]).trim().parse().ok();
                if self.status.is_some() {
                    sink(&self.held[..at]);
                    self.held.clear();
                    return;
                }
            } else if line.len() < STATUS_MAX_BYTES {
                self.hand_over(at, sink);
                return;
            }
            // No status stands there, so that it was no marker.
            from = at + self.marker.len();
        }
        // The last bytes may be the beginning of the end marker.
        let rest = &self.held[from..];
        let first = rest.len().saturating_sub(self.marker.len());
        let partial = (first..rest.len()).find(|&at| self.marker.starts_with(&rest[at..]));
        self.hand_over(from + partial.unwrap_or(rest.len()), sink);
    }

    /// Looks for the script's beginning where the last `fresh` bytes may have completed it.
    fn begins_within(&mut self, fresh: usize) -> bool {
        let mut start = self.marker.clone();
        start.push(b'\n');
        let from = (self.held.len() - fresh).saturating_sub(start.len());
        if let Some(at) = find(&self.held[from..], &start) {
            self.began = true;
            self.held.drain(..from + at + start.len());
        } else if self.held.len() > MOST_NOISE {
            // However much start-up files print, only their beginning is of interest.
            self.held.drain(QUOTED_BYTES..self.held.len() - start.len());
        }
        self.began
    }

    /// Hands the first `count` bytes to `sink`.
    fn hand_over(&mut self, count: usize, sink: &mut dyn FnMut(&[u8])) {
        if count > 0 {
            sink(&self.held[..count]);
            self.held.drain(..count);
        }
    }

    /// What was printed instead of the script's beginning.
    pub(super) fn noise(&self) -> String {
        let shown = &self.held[..self.held.len().min(QUOTED_BYTES)];
        String::from_utf8_lossy(shown).trim().to_owned()
    }
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_talks_without_end_takes_no_room() {
        let piece = vec![b'n'; 100_000];
        let mut reading = Reading::new("ADx");
        for _ in 0..50 {
            reading.take(&piece, &mut |_| {});
            assert!(reading.held.len() <= MOST_NOISE + piece.len());
        }
        reading.take(b"\nADx\n\nADx 1", &mut |_| {});
        assert!(reading.began && reading.status.is_none());
        reading.take(&piece, &mut |_| {});
        assert!(
            reading.status.is_none() && reading.held.is_empty(),
            "no status"
        );
    }

    #[test]
    fn markers_are_found_wherever_the_pieces_are_cut() {
        let text = b"noise\nADx more\n\nADx\nout\n\nAD put\n\nADx 7\nlater";
        for size in 1..text.len() {
            let mut reading = Reading::new("ADx");
            let mut seen = Vec::new();
            for piece in text.chunks(size) {
                if reading.status.is_none() {
                    reading.take(piece, &mut |bytes| seen.extend_from_slice(bytes));
                }
            }
            assert_eq!(reading.status, Some(7), "pieces of {size}");
            assert_eq!(
                String::from_utf8_lossy(&seen),
                "out\n\nAD put\n",
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn a_marker_without_a_status_is_output_and_holds_nothing_back() {
        let endless = [b'x'; 100];
        let text = [b"\nADx\na\nADx b\nADx", &endless[..], b"\nADx 7\n"].concat();
        for size in [1, 3, text.len()] {
            let mut reading = Reading::new("ADx");
            let mut seen = Vec::new();
            for piece in text.chunks(size) {
                reading.take(piece, &mut |bytes| seen.extend_from_slice(bytes));
                assert!(reading.held.len() <= STATUS_MAX_BYTES + 4);
            }
            assert_eq!(reading.status, Some(7), "pieces of {size}");
            assert_eq!(seen, [b"a\nADx b\nADx", &endless[..]].concat());
        }
    }
}
