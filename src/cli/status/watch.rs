//! `status --watch`: the same screen again and again, in place, until somebody has seen enough. Leaves the terminal as it
//! was, whatever ends it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use crate::cli::lines::line_of;
use crate::cli::output_error;
use crate::error::{Error, Result};

/// Another screen, home, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// What comes while one waits.
#[derive(PartialEq, Eq)]
enum Told {
    End,
    Resized,
}

/// The other screen of the terminal, for as long as this lives.
struct OtherScreen;

impl OtherScreen {
    fn enter() -> Self {
        write_through(ENTER.as_bytes());
        Self
    }
}

impl Drop for OtherScreen {
    fn drop(&mut self) {
        write_through(LEAVE.as_bytes());
    }
}

/// A terminal that is gone is told by the next screen.
fn write_through(bytes: &[u8]) {
    let mut out = io::stdout();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Prints what `render` gives every so often. On a terminal it replaces what was there, elsewhere it follows it.
pub(super) fn run(
    every: Duration,
    out: &mut dyn Write,
    render: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let told = listen()?;
    let is_terminal = io::stdout().is_terminal();
    let _screen = is_terminal.then(OtherScreen::enter);
    loop {
        let mut text = Vec::new();
        render(&mut text)?;
        if is_terminal {
            show(&String::from_utf8_lossy(&text), rows(), out)?;
        } else {
            out.write_all(&text).map_err(|error| output_error(&error))?;
            line_of(out, "")?;
        }
        out.flush().map_err(|error| output_error(&error))?;
        let next = Instant::now() + every;
        match told.recv_deadline(next) {
            Ok(Told::End) => return Ok(()),
            Ok(Told::Resized) | Err(_) => {}
        }
    }
}

fn listen() -> Result<Receiver<Told>> {
    let failed = |error: io::Error| Error::state(format!("cannot watch for signals: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH]).map_err(failed)?;
    let (sender, receiver) = bounded(1);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGWINCH {
                    // Full means that something is told already.
                    let _ = sender.try_send(Told::Resized);
                } else if sender.send(Told::End).is_err() {
                    return;
                }
            }
        })
        .map_err(failed)?;
    Ok(receiver)
}

/// Lines that the terminal has.
fn rows() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_row)).filter(|rows| *rows > 1)
}

/// Line over line, each cleared behind its end, and what was below: so nothing flickers.
fn show(text: &str, rows: Option<usize>, out: &mut dyn Write) -> Result<()> {
    let lines: Vec<&str> = text.lines().collect();
    let room = rows.unwrap_or(usize::MAX);
    let mut frame = String::from("\x1b[H");
    if lines.len() <= room {
        frame.push_str(&lines.join("\x1b[K\r\n"));
    } else {
        let shown = &lines[..room - 1];
        frame.push_str(&shown.join("\x1b[K\r\n"));
        let hidden = lines.len() - shown.len();
        let _ = write!(frame, "\x1b[K\r\n... {hidden} lines more");
    }
    frame.push_str("\x1b[K\x1b[J");
    out.write_all(frame.as_bytes())
        .map_err(|error| output_error(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_written_over_and_never_longer_than_the_terminal() {
        let mut out = Vec::new();
        show("a\nb\n", Some(2), &mut out).expect("shown");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J"
        );
        out.clear();
        show("a\nb\nc\n", Some(2), &mut out).expect("shown");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "\x1b[Ha\x1b[K\r\n... 2 lines more\x1b[K\x1b[J"
        );
    }
}
