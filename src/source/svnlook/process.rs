//! Runs one svnlook or svnadmin: absolute program, empty environment but for the locale, nothing on stdin, both
//! outputs read as they come, memory bounded, silence limited. Knows no subcommand.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::super::repository_files::show;
use crate::children::Group;
use crate::domain::text::escape;
use crate::error::{Error, Result};

/// Names outside ASCII are falsified without a UTF-8 locale, silently.
const LOCALE: &str = "C.UTF-8";
/// What svnlook says, and goes on with falsified names, where that locale is not installed.
const LOCALE_WARNING: &str = "cannot set LC_CTYPE locale";
/// What is kept of stderr.
const COMPLAINT_MAX_BYTES: usize = 2048;
/// How often a silent svnlook is interrupted to ask whether to stop.
const STOP_CHECK: Duration = Duration::from_millis(200);
/// How often one whose outputs are closed is looked at, where the kernel does not tell of its end.
const END_CHECK: Duration = Duration::from_millis(2);
const CHUNK_BYTES: usize = 128 * 1024;

/// One invocation.
pub(super) struct Call<'a> {
    /// Absolute.
    pub(super) program: &'a Path,
    /// Subcommand, options, `--`, repository and path.
    pub(super) words: &'a [&'a OsStr],
    /// The longest time without any output, and between the end of the output and that of the process.
    pub(super) silence: Duration,
    /// Asked every now and then: whether to end before svnlook does.
    pub(super) is_stopped: &'a dyn Fn() -> bool,
}

/// How it ended.
pub(super) struct Finished {
    status: ExitStatus,
    complaint: Vec<u8>,
}

impl Finished {
    /// Whether it says that all went well.
    pub(super) fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// Whether stderr holds a message with this code of Subversion's, such as `E160006`.
    pub(super) fn has_code(&self, code: &str) -> bool {
        let text = String::from_utf8_lossy(&self.complaint);
        text.lines().any(|line| {
            let message = line.strip_prefix("svnlook: ");
            message.is_some_and(|message| {
                message
                    .strip_prefix(code)
                    .is_some_and(|rest| rest.starts_with(':'))
            })
        })
    }

    /// What it said and how it ended, in one line without control characters.
    pub(super) fn reason(&self) -> String {
        let said = quote(&self.complaint);
        if said.is_empty() {
            return format!("it said nothing and ended with {}", self.status);
        }
        format!("{said} ({})", self.status)
    }
}

/// Runs `call` to its end; `output` is handed stdout as it comes, and its error ends the process.
pub(super) fn run(
    call: &Call<'_>,
    output: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Finished> {
    pump(Running::start(call)?, call, output)
}

/// The same where it was started before.
pub(super) fn pump(
    mut running: Running,
    call: &Call<'_>,
    output: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Finished> {
    let (_, Some(mut stdout), Some(mut stderr)) = running.0.pipes() else {
        return Err(call.failed("its output cannot be read"));
    };
    let mut complaint = Vec::new();
    let mut buffer = vec![0_u8; CHUNK_BYTES];
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        let (out_ready, err_ready) = {
            let mut waiting = Vec::with_capacity(2);
            if out_open {
                waiting.push(PollFd::new(&stdout, PollFlags::IN));
            }
            if err_open {
                waiting.push(PollFd::new(&stderr, PollFlags::IN));
            }
            wait_readable(&mut waiting, call)?;
            let ready = |at: usize| waiting.get(at).is_some_and(|fd| !fd.revents().is_empty());
            (
                out_open && ready(0),
                err_open && ready(usize::from(out_open)),
            )
        };
        if out_ready {
            let length = read(&mut stdout, &mut buffer, call)?;
            out_open = length > 0;
            if let Some(chunk) = buffer.get(..length).filter(|chunk| !chunk.is_empty()) {
                output(chunk)?;
            }
        }
        if err_ready {
            let length = read(&mut stderr, &mut buffer, call)?;
            err_open = length > 0;
            let room = COMPLAINT_MAX_BYTES.saturating_sub(complaint.len());
            complaint.extend(buffer.iter().take(length.min(room)));
        }
    }
    let status = running.finish(call)?;
    if String::from_utf8_lossy(&complaint).contains(LOCALE_WARNING) {
        return Err(call
            .failed(&format!("the locale {LOCALE} is unusable: {}", quote(&complaint)))
            .with_hint(format!(
                "without it svnlook falsifies names; install it (`locale -a` must list {LOCALE}: Debian's libc-bin)"
            )));
    }
    Ok(Finished { status, complaint })
}

impl Call<'_> {
    /// An error of this invocation.
    fn failed(&self, why: &str) -> Error {
        let words: Vec<_> = self
            .words
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        let words = words.join(" ");
        Error::source(format!(
            "`{} {}` failed: {why}",
            show(self.program),
            escape(&words)
        ))
    }

    fn silent(&self) -> Error {
        self.failed(&format!(
            "nothing was heard of it for {} seconds, so it was ended",
            self.silence.as_secs()
        ))
        .with_hint("look for a disk or a network file system that hangs")
    }
}

/// A child that does not outlive its reader.
pub(super) struct Running(Group);

impl Running {
    /// Starts the program of `call`.
    pub(super) fn start(call: &Call<'_>) -> Result<Self> {
        if !call.program.is_absolute() {
            return Err(call
                .failed("the path of svnlook is not absolute")
                .with_hint(HINT));
        }
        let mut command = Command::new(call.program);
        command
            .args(call.words)
            .env_clear()
            .env("LC_ALL", LOCALE)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Group::start(&mut command).map(Self).map_err(|error| {
            let program = show(call.program);
            Error::source(format!("cannot run {program}: {error}")).with_hint(HINT)
        })
    }

    /// Waits for a child that has closed its outputs.
    fn finish(&mut self, call: &Call<'_>) -> Result<ExitStatus> {
        let failed = |error: io::Error| call.failed(&format!("cannot wait for its end: {error}"));
        loop {
            if let Some(status) = self.0.try_wait().map_err(failed)? {
                return Ok(status);
            }
            match self.0.handle() {
                Ok(handle) => wait_readable(&mut [PollFd::new(&handle, PollFlags::IN)], call)?,
                // A kernel before 5.3.
                Err(_) => std::thread::sleep(END_CHECK),
            }
        }
    }
}

const HINT: &str =
    "install Subversion's tools (Debian: subversion), or set `svnlook` in auto-dispatcher.cfg";

/// Waits until one of the descriptors can be read, up to the call's limit.
fn wait_readable(fds: &mut [PollFd<'_>], call: &Call<'_>) -> Result<()> {
    let end = Instant::now() + call.silence;
    loop {
        if (call.is_stopped)() {
            return Err(call.failed("it was ended: the worker was told to stop"));
        }
        let left = end.saturating_duration_since(Instant::now());
        let timeout = left
            .min(STOP_CHECK)
            .try_into()
            .map_err(|_| call.failed("its time limit is out of range"))?;
        match poll(fds, Some(&timeout)) {
            Ok(0) if left.is_zero() => return Err(call.silent()),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(call.failed(&format!("cannot wait for its output: {error}"))),
        }
    }
}

fn read(pipe: &mut impl Read, buffer: &mut [u8], call: &Call<'_>) -> Result<usize> {
    loop {
        match pipe.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(call.failed(&format!("cannot read its output: {error}"))),
            Ok(length) => return Ok(length),
        }
    }
}

/// What a program said, as one harmless line.
fn quote(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let lines: Vec<&str> = text
        .split('\n')
        .filter(|line| !line.trim().is_empty())
        .collect();
    escape(&lines.join("; ")).into_owned()
}
