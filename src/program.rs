//! Runs a program of the operator's: its words as they are, no shell, an environment of our own, `/` as working
//! directory, a time limit after which its whole process group is killed. Knows nothing of what it is for.

use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::children::Group;

/// How often a silent program is interrupted to ask whether to stop.
const STOP_CHECK: Duration = Duration::from_millis(100);
/// Where a program without a slash is looked for.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One call.
pub struct Call<'a> {
    /// Program and arguments; not empty.
    pub words: &'a [String],
    /// HOME, if it is known.
    pub home: Option<&'a Path>,
    /// Further variables.
    pub variables: &'a [(&'a str, &'a str)],
    /// What it reads on stdin.
    pub input: &'a [u8],
    /// How long it may take.
    pub limit: Duration,
    /// What is kept of stdout.
    pub stdout: Kept,
    /// What is kept of stderr.
    pub stderr: Kept,
    /// Asked every now and then: whether to end before the program does.
    pub is_stopped: &'a dyn Fn() -> bool,
}

/// Which bytes are kept of what a program prints.
#[derive(Debug, Clone, Copy)]
pub enum Kept {
    /// The first.
    Head(usize),
    /// The last.
    Tail(usize),
}

/// A program that ended by itself.
pub struct Ran {
    /// How.
    pub status: ExitStatus,
    /// What was kept of stdout.
    pub stdout: Zeroizing<Vec<u8>>,
    /// And of stderr.
    pub stderr: Zeroizing<Vec<u8>>,
}

/// Runs it to its end, or says why that was not reached.
pub fn run(call: &Call<'_>) -> Result<Ran, String> {
    let end = Instant::now() + call.limit;
    let (program, arguments) = call.words.split_first().ok_or("it is empty")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("LC_ALL", "C.UTF-8")
        .envs(call.variables.iter().copied())
        .current_dir("/")
        .stdin(if call.input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(home) = call.home {
        command.env("HOME", home);
    }
    let mut group = Group::start(&mut command)
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    let (stdin, stdout, stderr) = group.pipes();
    if let Some(mut pipe) = stdin {
        let input = call.input.to_owned();
        // A program that does not read keeps nobody waiting; whether it reads is its own business.
        thread::spawn(move || pipe.write_all(&input));
    }
    let stdout = drain(stdout, call.stdout);
    let stderr = drain(stderr, call.stderr);
    let too_slow = || {
        format!(
            "{program} took longer than {} s and was ended",
            call.limit.as_secs()
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
    let stdout = hear(&stdout)?;
    let stderr = hear(&stderr)?;
    let status = loop {
        match group.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if (call.is_stopped)() => return Err(stopped()),
            Ok(None) if remaining().is_zero() => return Err(too_slow()),
            Ok(None) => thread::sleep(Duration::from_millis(2)),
            Err(error) => return Err(format!("{program} cannot be waited for: {error}")),
        }
    };
    Ok(Ran {
        status,
        stdout,
        stderr,
    })
}

/// Reads a pipe to its end, so that the program never blocks, and keeps some of its bytes.
fn drain(pipe: Option<impl Read + Send + 'static>, kept: Kept) -> Receiver<Zeroizing<Vec<u8>>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let most = match kept {
            Kept::Head(most) | Kept::Tail(most) => most,
        };
        let mut buffer = Zeroizing::new([0_u8; 4096]);
        let mut bytes = Zeroizing::new(Vec::with_capacity(most + buffer.len()));
        if let Some(mut pipe) = pipe {
            while let Ok(count @ 1..) = pipe.read(buffer.as_mut_slice()) {
                bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
                let beyond = bytes.len().saturating_sub(most);
                match kept {
                    Kept::Head(_) => bytes.truncate(most),
                    Kept::Tail(_) => drop(bytes.drain(..beyond)),
                }
            }
        }
        // Nobody listens any more where the time limit has passed.
        let _late = sender.send(bytes);
    });
    receiver
}
