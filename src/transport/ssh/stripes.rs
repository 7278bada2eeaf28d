//! A large file over a long line. What one channel carries is bounded by its window and the round trip (2 MiB and 50 ms:
//! 40 MB/s), so that several are opened over the one connection, and each brings pieces of the file to their places in
//! it. Should they be cut off, the file may have holes behind its beginning: `resume` finds them.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use ssh2::ErrorCode;

use super::counted::{self, CANNOT_COUNT_STATUS, NO_MORE, TAKE_PIECES, Tool};
use super::exec::{ExecError, Shell, ended, sends, wire_error};
use super::link::{Link, keep, refused};
use super::markers::Reading;
use super::pace;
use super::shell::{self, BLOCK_BYTES};
use super::wire::{EAGAIN, Halt};
use super::writing::{window, write_many};
use crate::domain::fault::Fault;
use crate::domain::text::shell_quote;
use crate::transport::Upload;

/// Sessions on one connection, of which OpenSSH allows ten.
const LANES_MAX: u64 = 8;
/// On shorter lines one channel is fast enough.
const LONG: Duration = Duration::from_millis(5);
/// What OpenSSH and others grant.
const WINDOW_BYTES: u64 = 2 << 20;
/// Less is not worth a second channel.
const LEAST_BYTES: u64 = 4 << 20;
/// The largest piece.
const STRIPE_BYTES: u64 = 4 << 20;
/// How much is written to one channel before the next one has its turn.
const TURN_BYTES: usize = 256 * 1024;
/// Holes lie at most so far before the end of what was written: in the pieces that were under way.
pub(super) const HOLES_BYTES: u64 = LANES_MAX * (STRIPE_BYTES + WINDOW_BYTES);

/// How many channels a file is worth that has so many bytes to go.
pub(super) fn lanes(link: &Link, left: u64) -> usize {
    if link.round_trip < LONG || link.round_trip == Duration::MAX || link.tool == Some(Tool::None) {
        return 1;
    }
    let wanted = pace::holds(link.round_trip).div_ceil(WINDOW_BYTES);
    let wanted = wanted
        .min(left / LEAST_BYTES)
        .min(pace::share(&link.wire.traffic) / WINDOW_BYTES);
    usize::try_from(wanted.clamp(1, LANES_MAX)).unwrap_or(1)
}

/// One channel, and what it is at.
struct Lane {
    shell: Shell,
    reading: Reading,
    /// Bytes to be written next, from `sent` on.
    pending: Vec<u8>,
    sent: usize,
    /// How many of the pending bytes are no payload.
    words: usize,
    /// The piece that is under way.
    piece: (u64, u64),
    /// The last word is given.
    is_done: bool,
    /// Its script runs.
    is_ready: bool,
    status: Option<i32>,
    said: Vec<u8>,
}

impl Lane {
    fn new(mut shell: Shell, script: &str) -> Self {
        let (head, reading) = shell.wrapped(("", script), true);
        Self {
            shell,
            reading,
            words: head.len(),
            pending: head.into_bytes(),
            sent: 0,
            piece: (0, 0),
            is_done: false,
            is_ready: false,
            status: None,
            said: Vec::new(),
        }
    }
}

/// What is left of the file.
struct Rest<'a> {
    local: &'a File,
    at: u64,
    end: u64,
    lanes: u64,
}

impl Rest<'_> {
    /// The next piece, smaller ones towards the end, so that all lanes end together.
    fn next(&mut self) -> Option<(u64, u64)> {
        let left = self.end - self.at;
        if left == 0 {
            return None;
        }
        let share = (left / (self.lanes * 2)).next_multiple_of(BLOCK_BYTES);
        let size = share.clamp(4 * BLOCK_BYTES, STRIPE_BYTES).min(left);
        let piece = (self.at, self.at + size);
        self.at += size;
        Some(piece)
    }
}

/// Why nothing came of it.
enum Broke {
    /// The host lacks what it takes.
    Unfit,
    Fault(Fault),
}

/// Brings the bytes from `from` on, which is a multiple of a block, by so many channels, fewer where the host opens no
/// more. False where the host cannot do it so.
pub(super) fn upload(
    link: &mut Link,
    upload: &Upload<'_>,
    path: &str,
    (from, lanes): (u64, usize),
    progress: &mut dyn FnMut(u64),
) -> Result<bool, Fault> {
    let local = shell::open_local(upload)?;
    let begins = if from == 0 {
        shell::create_script(upload, path)
    } else {
        let blocks = from / BLOCK_BYTES;
        format!(
            "f={}\ndd if=/dev/null of=\"$f\" bs={BLOCK_BYTES} seek={blocks} 2>/dev/null || exit 1\n",
            shell_quote(path)
        )
    };
    let words = counted::words(link);
    let first = format!("LC_ALL=C; export LC_ALL\n{words}{begins}{TAKE_PIECES}");
    let shell = link
        .stand()
        .map_err(|error| link.exec_fault(&error, "uploading"))?;
    // Further channels follow.
    link.clear();
    let mut stripes = Stripes {
        path,
        rest: Rest {
            local: &local,
            at: from,
            end: upload.size,
            lanes: lanes as u64,
        },
        lanes: vec![Lane::new(shell, &first)],
        wanted: lanes,
        asked: None,
        stuck: None,
        tool: String::new(),
        sent: from,
        progress,
    };
    let result = stripes.run(link);
    let (lanes, tool) = (stripes.lanes, stripes.tool);
    let is_whole = result.is_ok();
    for (number, lane) in lanes.into_iter().enumerate() {
        if is_whole && number == 0 {
            link.standing = Some(lane.shell);
        } else {
            link.let_go(lane.shell);
        }
    }
    match result {
        Ok(()) => {
            counted::learn(link, &tool);
            finish(link, upload, path).map(|()| true)
        }
        Err(Broke::Unfit) => {
            link.tool = Some(Tool::None);
            Ok(false)
        }
        Err(Broke::Fault(fault)) => {
            // The space it takes may be what is missing. After a stop or a cut nothing reaches the host any more, and
            // the file stays for the next attempt.
            let _ = shell::remove(link, path);
            Err(fault)
        }
    }
}

fn finish(link: &mut Link, upload: &Upload<'_>, path: &str) -> Result<(), Fault> {
    let mode = shell::mode_script(upload);
    if mode.is_empty() {
        return Ok(());
    }
    let script = format!("f={}\n{mode}", shell_quote(path));
    shell::run(link, &script, "cannot set the mode of", path).map(|_| ())
}

/// What a lane says when its script runs, before the name of its tool.
const READY: &[u8] = b"ready ";

struct Stripes<'a> {
    path: &'a str,
    rest: Rest<'a>,
    lanes: Vec<Lane>,
    /// How many lanes there are to be.
    wanted: usize,
    /// Since when another channel is asked for.
    asked: Option<Instant>,
    /// The lane that has sent a part of a packet: libssh2 has no other one send before it has sent the rest.
    stuck: Option<usize>,
    /// What takes the bytes on the host.
    tool: String,
    sent: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl Stripes<'_> {
    fn run(&mut self, link: &Link) -> Result<(), Broke> {
        let mut last = Instant::now();
        while self.lanes.iter().any(|lane| lane.status.is_none()) {
            let granted = self.granted();
            let mut moved = self.stuck.is_none() && self.open_another(link)?;
            for number in 0..self.lanes.len() {
                if self.stuck.is_none_or(|stuck| stuck == number) {
                    moved |= self.write(link, number)?;
                }
                moved |= self.read(link, number)?;
            }
            let paused = if moved {
                last = Instant::now();
                link.wire.heed_stop()
            } else if self.granted() > granted {
                // Whichever lane was read, what came for the others was taken in as well.
                link.wire.heed()
            } else {
                link.wire.pause(last + link.stall, link.stall)
            };
            paused.map_err(|halt| halted(link, &halt))?;
        }
        Ok(())
    }

    /// How much the lanes may write that have something to write.
    fn granted(&self) -> u64 {
        let lanes = self.lanes.iter();
        let waiting = lanes.filter(|lane| lane.status.is_none() && lane.sent < lane.pending.len());
        waiting.map(|lane| window(&lane.shell.channel)).sum()
    }

    /// Opens one channel after the other while there is something left for it.
    fn open_another(&mut self, link: &Link) -> Result<bool, Broke> {
        let wire = &link.wire;
        if self.lanes.len() >= self.wanted
            || (self.asked.is_none() && self.rest.at == self.rest.end)
        {
            return Ok(false);
        }
        let asked = *self.asked.get_or_insert_with(Instant::now);
        let opened = loop {
            match wire.call(link.stall, || wire.session.channel_session()) {
                Err(error) if error.code() == ErrorCode::Session(EAGAIN) && sends(wire) => wire
                    .pause(asked + link.stall, link.stall)
                    .map_err(|halt| halted(link, &halt))?,
                other => break other,
            }
        };
        let opened = match opened {
            Err(error) if error.code() == ErrorCode::Session(EAGAIN) => return Ok(false),
            Ok(channel) => Shell::start(wire, channel, asked.elapsed(), link.stall).ok(),
            // A host that opens no more channels has said so; a line that is cut shows elsewhere.
            Err(_) => None,
        };
        self.asked = None;
        match opened {
            Some(shell) => {
                let (f, words) = (shell_quote(self.path), counted::words(link));
                let script = format!("LC_ALL=C; export LC_ALL\n{words}f={f}\n{TAKE_PIECES}");
                self.lanes.push(Lane::new(shell, &script));
            }
            None => self.wanted = self.lanes.len(),
        }
        Ok(true)
    }

    /// Writes what the channel takes.
    fn write(&mut self, link: &Link, number: usize) -> Result<bool, Broke> {
        let mut turn = 0;
        self.stuck = None;
        loop {
            self.refill(number)?;
            let lane = &mut self.lanes[number];
            if lane.sent == lane.pending.len() || turn >= TURN_BYTES {
                return Ok(turn > 0);
            }
            let (channel, bytes) = (&mut lane.shell.channel, &lane.pending[lane.sent..]);
            match link
                .wire
                .transfer(link.stall, || write_many(channel, bytes))
            {
                Ok(count) => {
                    let is_short = count < bytes.len();
                    lane.sent += count;
                    let words = count.min(lane.words);
                    lane.words -= words;
                    self.sent += (count - words) as u64;
                    if count > words {
                        (self.progress)(self.sent);
                    }
                    turn += count;
                    if is_short {
                        self.stuck = sends(&link.wire).then_some(number);
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    // A script that ended early closes its input: what it said tells why.
                    lane.pending.clear();
                    (lane.sent, lane.is_done) = (0, true);
                }
                Err(_) => {
                    self.stuck = sends(&link.wire).then_some(number);
                    return Ok(turn > 0);
                }
            }
        }
    }

    /// Has the lane have something to write, if there is something left.
    fn refill(&mut self, number: usize) -> Result<(), Broke> {
        let is_first = number == 0;
        let lane = &mut self.lanes[number];
        // The first lane makes the file: what it takes is on its way behind that. The others wait for it, and show that
        // they are there at all.
        if lane.sent < lane.pending.len() || lane.is_done || !(is_first || lane.is_ready) {
            return Ok(());
        }
        lane.pending.clear();
        lane.sent = 0;
        if lane.piece.0 == lane.piece.1 {
            let word = if let Some(piece) = self.rest.next() {
                lane.piece = piece;
                counted::piece(piece.0, piece.1)
            } else {
                lane.is_done = true;
                NO_MORE.to_owned()
            };
            lane.words = word.len();
            lane.pending = word.into_bytes();
        }
        let (at, end) = lane.piece;
        let count = usize::try_from(end - at).map_or(TURN_BYTES, |left| left.min(TURN_BYTES));
        let from = lane.pending.len();
        lane.pending.resize(from + count, 0);
        self.rest
            .local
            .read_exact_at(&mut lane.pending[from..], at)
            .map_err(|error| Broke::Fault(shell::local_fault(&error)))?;
        lane.piece.0 += count as u64;
        Ok(())
    }

    /// Takes what the host says.
    fn read(&mut self, link: &Link, number: usize) -> Result<bool, Broke> {
        let is_created = number == 0 || self.lanes[0].is_ready;
        let lane = &mut self.lanes[number];
        if lane.status.is_some() {
            return Ok(false);
        }
        let wire = &link.wire;
        if let Err(error) = lane.shell.has_started(wire, link.stall) {
            return self.lost(link, number, &error);
        }
        let mut buffer = [0; 4096];
        let channel = &mut lane.shell.channel;
        match wire.transfer(link.stall, || channel.read(&mut buffer)) {
            Ok(0) if channel.eof() => {
                let error = ended(&lane.reading);
                return self.lost(link, number, &error);
            }
            Ok(count) => {
                let said = &mut lane.said;
                lane.reading
                    .take(&buffer[..count], &mut |bytes| keep(said, bytes));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Err(halted(link, &wire_error(wire))),
        }
        if !lane.is_ready
            && is_created
            && lane.said.starts_with(READY)
            && let Some(end) = lane.said.iter().position(|&byte| byte == b'\n')
        {
            let told: Vec<u8> = lane.said.drain(..=end).collect();
            let tool = String::from_utf8_lossy(&told[READY.len()..]);
            tool.trim().clone_into(&mut self.tool);
            lane.is_ready = true;
            return Ok(true);
        }
        lane.status = lane.reading.status;
        match lane.status {
            None => Ok(false),
            Some(0) => Ok(true),
            Some(CANNOT_COUNT_STATUS) if !lane.is_ready => Err(Broke::Unfit),
            Some(_) => {
                let said = String::from_utf8_lossy(&lane.said).into_owned();
                let fault = refused(&link.place, "cannot write", self.path, said.trim());
                Err(Broke::Fault(fault))
            }
        }
    }

    /// A lane that has ended without a status. One that had nothing to do yet is not needed.
    fn lost(&mut self, link: &Link, number: usize, error: &ExecError) -> Result<bool, Broke> {
        let lane = &mut self.lanes[number];
        if number > 0 && !lane.is_ready && !matches!(error, ExecError::Halt(_)) {
            lane.is_done = true;
            lane.status = Some(-1);
            self.wanted = 0;
            return Ok(true);
        }
        let fault = match error {
            // It ran scripts before.
            ExecError::NoShell(said) => {
                link.exec_fault(&ExecError::Lost(said.clone()), "uploading")
            }
            other => link.exec_fault(other, "uploading"),
        };
        Err(Broke::Fault(fault))
    }
}

fn halted(link: &Link, halt: &Halt) -> Broke {
    Broke::Fault(link.halt_fault(halt, "uploading"))
}
