//! Runs a `password_command`, or another one that prints a secret: the first line that it prints is the secret. What it
//! prints is never quoted, but what else it says on stderr is.

use std::path::Path;
use std::time::Duration;

use crate::domain::mask::Mask;
use crate::domain::secret::Secret;
use crate::program::{self, Kept};

const LIMIT: Duration = Duration::from_secs(30);
const STDOUT_MAX_BYTES: usize = 64 << 10;
const STDERR_SHOWN_MAX_BYTES: usize = 400;
/// How much of what was printed is looked for on stderr.
const HIDDEN_MAX_BYTES: usize = 4 << 10;

/// One call.
pub(in crate::config) struct Call<'a> {
    /// Program and arguments; not empty.
    pub(in crate::config) words: &'a [String],
    pub(in crate::config) home: Option<&'a Path>,
    /// AD_HOST.
    pub(in crate::config) host: &'a str,
    /// AD_LOGIN.
    pub(in crate::config) login: &'a str,
    /// Asked every now and then: whether to end before the command does.
    pub(in crate::config) is_stopped: &'a dyn Fn() -> bool,
}

/// Runs the command, or says why it gave no password.
pub(in crate::config) fn run(call: &Call<'_>) -> Result<Secret, String> {
    run_within(call, LIMIT)
}

pub(super) fn run_within(call: &Call<'_>, limit: Duration) -> Result<Secret, String> {
    let ran = program::run(&program::Call {
        words: call.words,
        home: call.home,
        variables: &[("AD_HOST", call.host), ("AD_LOGIN", call.login)],
        input: &[],
        limit,
        stdout: Kept::Head(STDOUT_MAX_BYTES),
        stderr: Kept::Head(STDERR_SHOWN_MAX_BYTES),
        is_stopped: call.is_stopped,
    })?;
    let program = call.words.first().map_or("", String::as_str);
    if !ran.status.success() {
        let said = quoted(&ran.stderr, &ran.stdout);
        return Err(format!("{program} ended with {}{said}", ran.status));
    }
    password(&ran.stdout).ok_or_else(|| {
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
