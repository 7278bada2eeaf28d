//! Runs a `password_command`: its words as they are, no shell, nothing on stdin, an environment of our
//! own, a time limit after which its whole process group is killed. The first line that it prints is
//! the password; what it prints is never quoted, but what else it says on stderr is.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

use crate::domain::mask::Mask;
use crate::domain::secret::Secret;

const LIMIT: Duration = Duration::from_secs(30);
/// How often a silent command is interrupted to ask whether to stop.
const STOP_CHECK: Duration = Duration::from_millis(100);
const STDOUT_MAX_BYTES: usize = 64 << 10;
const STDERR_SHOWN_MAX_BYTES: usize = 400;
/// How much of what was printed is looked for on stderr.
const HIDDEN_MAX_BYTES: usize = 4 << 10;
/// Where its program is looked for.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One call.
pub(super) struct Call<'a> {
    /// Program and arguments; not empty.
    pub(super) words: &'a [String],
    pub(super) home: Option<&'a Path>,
    pub(super) host: &'a str,
    pub(super) login: &'a str,
    /// Asked every now and then: whether to end before the command does.
    pub(super) is_stopped: &'a dyn Fn() -> bool,
}

/// The command and its children; unless it has ended by itself they are killed when this is dropped.
struct Group {
    leader: Child,
    is_reaped: bool,
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.is_reaped {
            return;
        }
        if let Some(pid) = i32::try_from(self.leader.id()).ok().and_then(Pid::from_raw) {
            // The leader is not reaped yet, so the number is still that of its group.
            let _gone_already = kill_process_group(pid, Signal::KILL);
        }
        let _status = self.leader.wait();
    }
}

/// Runs the command, or says why it gave no password.
pub(super) fn run(call: &Call<'_>) -> Result<Secret, String> {
    run_within(call, LIMIT)
}

pub(super) fn run_within(call: &Call<'_>, limit: Duration) -> Result<Secret, String> {
    let end = Instant::now() + limit;
    let (program, arguments) = call.words.split_first().ok_or("it is empty")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("LC_ALL", "C.UTF-8")
        .env("AD_HOST", call.host)
        .env("AD_LOGIN", call.login)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(home) = call.home {
        command.env("HOME", home);
    }
    let child = command
        .spawn()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    let mut group = Group {
        leader: child,
        is_reaped: false,
    };
    let stdout = drain(group.leader.stdout.take(), STDOUT_MAX_BYTES);
    let stderr = drain(group.leader.stderr.take(), STDERR_SHOWN_MAX_BYTES);
    let too_slow = || {
        format!(
            "{program} took longer than {} s and was ended",
            limit.as_secs()
        )
    };
    let remaining = || end.saturating_duration_since(Instant::now());
    let stopped = || format!("{program} was ended: the worker was told to stop");
    let hear = |pipe: &Receiver<Zeroizing<Vec<u8>>>| loop {
        match pipe.recv_timeout(remaining().min(STOP_CHECK)) {
            Ok(bytes) => return Ok(bytes),
            Err(_) if (call.is_stopped)() => return Err(stopped()),
            Err(RecvTimeoutError::Timeout) if !remaining().is_zero() => {}
            Err(_) => return Err(too_slow()),
        }
    };
    let printed = hear(&stdout)?;
    let said = hear(&stderr)?;
    let status = loop {
        match group.leader.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if (call.is_stopped)() => return Err(stopped()),
            Ok(None) if remaining().is_zero() => return Err(too_slow()),
            Ok(None) => thread::sleep(Duration::from_millis(2)),
            Err(error) => return Err(format!("{program} cannot be waited for: {error}")),
        }
    };
    group.is_reaped = true;
    if !status.success() {
        let said = quoted(&said, &printed);
        return Err(format!("{program} ended with {status}{said}"));
    }
    password(&printed).ok_or_else(|| {
        format!("the first line that {program} printed is empty, too long or no UTF-8")
    })
}

/// What the command said on stderr, without what it printed: a shell that traces or a tool that complains repeats it.
fn quoted(said: &[u8], printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let said_all = said.len() < STDERR_SHOWN_MAX_BYTES;
    let text = format!(": {}{}", text.trim(), if said_all { "" } else { "..." });
    if text == ": " {
        return String::new();
    }
    let mut mask = Mask::default();
    let printed = printed.get(..HIDDEN_MAX_BYTES).unwrap_or(printed);
    mask.add(&Secret::new(String::from_utf8_lossy(printed).into_owned()));
    mask.text(&text).into_owned()
}

/// Reads a pipe to its end, so that the command never blocks, and keeps its first bytes.
fn drain(
    pipe: Option<impl Read + Send + 'static>,
    keep_max: usize,
) -> Receiver<Zeroizing<Vec<u8>>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut kept = Zeroizing::new(Vec::with_capacity(keep_max));
        let mut buffer = Zeroizing::new([0_u8; 4096]);
        if let Some(mut pipe) = pipe {
            while let Ok(count @ 1..) = pipe.read(buffer.as_mut_slice()) {
                let room = keep_max - kept.len();
                kept.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
            }
        }
        // Nobody listens any more where the time limit has passed.
        let _late = sender.send(kept);
    });
    receiver
}

fn password(printed: &[u8]) -> Option<Secret> {
    let line = printed.split(|&byte| byte == b'\n').next()?;
    if line.len() >= STDOUT_MAX_BYTES {
        return None;
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line)
        .ok()
        .filter(|text| !text.is_empty())?;
    Some(Secret::new(text.to_owned()))
}
