//! `notify_command`: our JSON on its stdin, one object in one line.

use super::{Sending, quoted};
use crate::program::{self, Kept};

const SHOWN_MAX_BYTES: usize = 400;

pub(super) fn send(words: &[String], sending: &Sending<'_>) -> Result<String, String> {
    let mut input = sending.json()?;
    input.push('\n');
    let ran = program::run(&program::Call {
        words,
        home: sending.home,
        variables: &[],
        input: input.as_bytes(),
        limit: sending.limit(),
        stdout: Kept::Tail(SHOWN_MAX_BYTES),
        stderr: Kept::Tail(SHOWN_MAX_BYTES),
        is_stopped: sending.is_stopped,
    })?;
    let program = words.first().map_or("", String::as_str);
    let said = match quoted(&String::from_utf8_lossy(&ran.stderr)) {
        said if said.is_empty() => said,
        said => format!(": {said}"),
    };
    if ran.status.success() {
        Ok(format!("{program} ended well{said}"))
    } else {
        Err(format!("{program} ended with {}{said}", ran.status))
    }
}
