//! Log records become lines, and lines reach their sinks, by the settings of `logger.cfg`. The one
//! place that names fern. Knows nothing of how settings are read. A line that cannot be written never
//! stops the work.

mod rotating_file;

use std::cell::Cell;
use std::io::{self, Write as _};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use chrono::{DateTime, FixedOffset, Local};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::domain::log_format::{LogFormat, LogLine};
use crate::domain::log_settings::{LogLevel, LogSettings, Sink, SinkKind};
use crate::error::{Error, Result};
pub use rotating_file::RotatingFile;

thread_local! {
    /// When the record in hand was made: every sink shows the same time.
    static MADE: Cell<Option<(DateTime<FixedOffset>, Instant)>> = const { Cell::new(None) };
}

thread_local! {
    /// Whether the lines of this thread are written together.
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

/// Runs something that logs many lines at a stretch: those for a file are written in large pieces, the last one before
/// this returns.
pub fn together(work: &mut dyn FnMut()) {
    /// However it ends.
    struct Holding(bool);
    impl Drop for Holding {
        fn drop(&mut self) {
            HOLDS.set(self.0);
            log::logger().flush();
        }
    }
    let _holding = Holding(HOLDS.replace(true));
    work();
}

/// Runs what writes to the terminal while nothing else is drawn there.
pub type Aside = fn(&mut dyn FnMut());

static ASIDE: OnceLock<Aside> = OnceLock::new();

/// From now on lines for the terminal are written by `aside`; the first one who asks for it is heard.
pub fn write_aside(aside: Aside) {
    let _ = ASIDE.set(aside);
}

fn aside(mut write: impl FnMut()) {
    match ASIDE.get() {
        Some(aside) => aside(&mut write),
        None => write(),
    }
}

/// Makes `settings` those of the process. Files are opened at the first line; an error means that
/// a logger is installed already.
pub fn install(settings: &LogSettings) -> Result<()> {
    dispatch(settings)
        .apply()
        .map_err(|error| Error::state(format!("cannot start logging: {error}")))
}

fn dispatch(settings: &LogSettings) -> fern::Dispatch {
    let started = Instant::now();
    let mut all = fern::Dispatch::new()
        .level(filter(settings.level))
        // Libraries log what they send, passwords among it; only this crate's own words are kept.
        .filter(|metadata| is_ours(metadata.target()))
        .format(|out, message, _| {
            MADE.set(Some((Local::now().fixed_offset(), Instant::now())));
            out.finish(format_args!("{message}"));
        });
    for sink in &settings.sinks {
        let Sink {
            kind,
            level,
            format,
        } = sink.clone();
        let format = Arc::new(format);
        let output: Box<dyn Log> = match kind {
            SinkKind::Stderr => Box::new(Stream::Stderr),
            SinkKind::Stdout => Box::new(Stream::Stdout),
            SinkKind::File(file) => Box::new(FileLog {
                file: RotatingFile::new(file),
                complained: AtomicBool::new(false),
            }),
        };
        all = all.chain(
            fern::Dispatch::new()
                .level(filter(level))
                .format(move |out, message, record| {
                    let line = render(&format, &message.to_string(), record, started);
                    out.finish(format_args!("{line}"));
                })
                .chain(output),
        );
    }
    all
}

fn render(format: &LogFormat, message: &str, record: &Record<'_>, started: Instant) -> String {
    let thread = thread::current();
    let (when, made) = MADE
        .get()
        .unwrap_or_else(|| (Local::now().fixed_offset(), Instant::now()));
    format.render(&LogLine {
        when,
        since_start_ms: made.saturating_duration_since(started).as_secs_f64() * 1000.0,
        level: level(record.level()),
        // The old script's one logger; its configuration may show the name.
        name: "main",
        path: record.file().unwrap_or("unknown"),
        line: record.line().unwrap_or(0),
        thread: u64::from(
            rustix::thread::gettid()
                .as_raw_nonzero()
                .get()
                .unsigned_abs(),
        ),
        thread_name: thread.name().unwrap_or("unnamed"),
        process: process::id(),
        message,
    })
}

fn is_ours(target: &str) -> bool {
    target.split("::").next() == Some(env!("CARGO_CRATE_NAME"))
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::NotSet => LevelFilter::Trace,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Warning => LevelFilter::Warn,
        LogLevel::Error => LevelFilter::Error,
        // Nothing that this program logs is beyond an error.
        LogLevel::Critical => LevelFilter::Off,
    }
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::Error => LogLevel::Error,
        Level::Warn => LogLevel::Warning,
        Level::Info => LogLevel::Info,
        // Python has no finer level.
        Level::Debug | Level::Trace => LogLevel::Debug,
    }
}

/// A standard stream. fern's own panics when stderr is closed.
enum Stream {
    Stderr,
    Stdout,
}

impl Log for Stream {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{}\n", record.args());
        aside(|| {
            // Where these streams are closed there is nobody left to tell.
            let _ = match self {
                Self::Stderr => io::stderr().lock().write_all(line.as_bytes()),
                Self::Stdout => io::stdout().lock().write_all(line.as_bytes()),
            };
        });
    }

    fn flush(&self) {
        let _ = io::stdout().flush();
    }
}

/// A file. The first line that it cannot take goes to stderr, with the reason.
struct FileLog {
    file: RotatingFile,
    complained: AtomicBool,
}

impl Log for FileLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        let written = if HOLDS.get() {
            self.file.hold_line(&line)
        } else {
            self.file.write_line(&line)
        };
        self.complain(written, &line);
    }

    fn flush(&self) {
        self.complain(self.file.flush(), "one of several");
    }
}

impl FileLog {
    fn complain(&self, written: Result<()>, line: &str) {
        if let Err(error) = written
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            aside(|| {
                let _ = writeln!(
                    io::stderr(),
                    "{error}; this is said once, the line was:\n{line}"
                );
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libraries_log_is_left_out() {
        assert!(is_ours("auto_dispatcher::worker"));
        assert!(is_ours("auto_dispatcher"));
        assert!(!is_ours("suppaftp::sync_ftp"));
        assert!(!is_ours("auto_dispatcher_other"));
    }
}
