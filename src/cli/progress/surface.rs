//! The terminal as indicatif draws on it: whole frames in one write, each line ended by itself, so that a terminal that
//! was made narrower has broken only what was too long, and that is cleared, too. The one place that names indicatif.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::cli::screen::width_of;

/// A terminal whose size nobody tells.
const STANDARD: (u16, u16) = (80, 24);

/// What is drawn on the terminal.
pub(super) struct Drawing {
    surface: Arc<Mutex<Surface>>,
    bar: Option<ProgressBar>,
}

#[derive(Debug, Default)]
struct Surface {
    /// What indicatif has asked for since the last frame.
    frame: String,
    /// Widths of the lines of this frame, and of those that are on the terminal.
    coming: Vec<usize>,
    shown: Vec<usize>,
    /// Whether the next text begins a line.
    is_ended: bool,
}

/// Columns and rows of the terminal behind stderr.
pub(super) fn size() -> (u16, u16) {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    size.map(|size| (size.ws_col, size.ws_row))
        .filter(|&(columns, rows)| columns > 0 && rows > 0)
        .unwrap_or(STANDARD)
}

impl Drawing {
    pub(super) fn new() -> Self {
        Self {
            surface: Arc::default(),
            bar: None,
        }
    }

    /// Shows these lines in place of those before; none of them fills the terminal's width.
    pub(super) fn show(&mut self, lines: &[String]) {
        let surface = &self.surface;
        let bar = self.bar.get_or_insert_with(|| {
            let terminal = Terminal(Arc::clone(surface));
            let target = ProgressDrawTarget::term_like(Box::new(terminal));
            let style = ProgressStyle::with_template("{msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::with_draw_target(None, target).with_style(style);
            // Tabs are no business of a line that was laid out.
            bar.with_tab_width(1)
        });
        bar.set_message(lines.join("\n"));
    }

    /// Takes everything away while something else is written.
    pub(super) fn aside(&mut self, write: &mut dyn FnMut()) {
        match &self.bar {
            // indicatif draws nothing in a thread that panics.
            Some(_) if std::thread::panicking() => {
                self.erase();
                write();
            }
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes everything away; what is shown next begins where the cursor is then.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// The same by hand.
    fn erase(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let mut surface = self.surface.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = surface.rows();
        let up = rows.saturating_sub(1);
        if rows > 0 {
            surface.up(up);
            surface.frame.push_str("\r\u{1b}[J");
        }
        surface.coming.clear();
        // A terminal that has gone shows nothing.
        let _ = surface.write();
    }
}

impl Surface {
    /// How many rows the terminal uses for what is on it.
    fn rows(&self) -> usize {
        let columns = usize::from(size().0).max(1);
        self.shown
            .iter()
            .map(|width| width.div_ceil(columns).max(1))
            .sum()
    }

    fn up(&mut self, rows: usize) {
        if rows > 0 {
            // Writing to a String does not fail.
            let _ = write!(self.frame, "\u{1b}[{rows}A");
        }
    }

    /// Before the first word of a frame: where the terminal has broken lines, they are taken away here, for indicatif
    /// counts those that it has written.
    fn begin(&mut self) {
        if !self.frame.is_empty() {
            return;
        }
        let (rows, known) = (self.rows(), self.shown.len());
        if rows > known {
            self.up(rows - 1);
            self.frame.push_str("\r\u{1b}[J");
            self.frame.push_str(&"\r\n".repeat(known - 1));
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let frame = std::mem::take(&mut self.frame);
        self.shown = std::mem::take(&mut self.coming);
        self.is_ended = false;
        let mut stderr = io::stderr().lock();
        stderr.write_all(frame.as_bytes())?;
        stderr.flush()
    }
}

/// indicatif's view of it.
#[derive(Debug)]
struct Terminal(Arc<Mutex<Surface>>);

impl Terminal {
    fn surface(&self) -> MutexGuard<'_, Surface> {
        let mut surface = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        surface.begin();
        surface
    }

    fn say(&self, text: &str) {
        self.surface().frame.push_str(text);
    }

    fn go(&self, by: usize, way: char) {
        if by > 0 {
            self.say(&format!("\u{1b}[{by}{way}"));
        }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        size().0
    }

    fn height(&self) -> u16 {
        size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.go(n, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.go(n, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.go(n, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.go(n, 'D');
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.say(&format!("{text}\r\n"));
        Ok(())
    }

    /// indicatif fills each line with blanks to the terminal's width; here it is ended instead.
    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut surface = self.surface();
        if text == "\r" {
            surface.frame.push_str(text);
        } else if text.bytes().all(|byte| byte == b' ') {
            surface.frame.push_str("\u{1b}[K");
            surface.is_ended = true;
        } else {
            if std::mem::take(&mut surface.is_ended) {
                surface.frame.push_str("\r\n");
            }
            surface.frame.push_str(text);
            surface.coming.push(width_of(&without_colours(text)));
        }
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.say("\r\u{1b}[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.surface().write()
    }
}

/// The text alone.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        plain.push_str(&rest[..at]);
        rest = rest[at..].split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_columns() {
        assert_eq!(without_colours("a\u{1b}[31mred\u{1b}[0m b"), "ared b");
        assert_eq!(without_colours("plain"), "plain");
    }
}
