//! logger.cfg: the input is read as a file, and as the arguments and the format of a handler in one. Whatever a format
//! is, a message stays on its line.

use std::path::Path;

use auto_dispatcher::config::logger;
use auto_dispatcher::domain::log_format::{LogFormat, LogLine};
use auto_dispatcher::domain::log_settings::{LogLevel, LogSettings, SinkKind};
use chrono::DateTime;

use super::rules;

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    let file = Path::new("/etc/ad/logger.cfg");
    let dir = Path::new("/var/lib/ad");
    match logger::parse(file, data, dir) {
        Ok(settings) => written(&settings),
        Err(mistakes) => rules::are_told(&mistakes, data),
    }
    let text = String::from_utf8_lossy(data).replace(['\n', '\r'], " ");
    let (args, format) = text.split_once('|').unwrap_or((&text, &text));
    for class in ["FileHandler", "handlers.RotatingFileHandler"] {
        let whole = format!(
            "[loggers]\nkeys = root\n[handlers]\nkeys = h\n[formatters]\nkeys = f\n[logger_root]\nlevel = INFO\n\
             handlers = h\n[handler_h]\nclass = {class}\nformatter = f\nargs = {args}\n[formatter_f]\nformat = {format}\n"
        );
        match logger::parse(file, whole.as_bytes(), dir) {
            Ok(settings) => written(&settings),
            Err(mistakes) => rules::are_told(&mistakes, whole.as_bytes()),
        }
    }
    let message = String::from_utf8_lossy(data);
    let line = LogFormat::message_only().render(&line(&message));
    assert!(!line.contains(char::is_control), "{line:?}");
}

fn written(settings: &LogSettings) {
    for sink in &settings.sinks {
        let rendered = sink.format.render(&line("a\nb\u{1b}[2J"));
        // What the format itself holds is the operator's.
        let escapes = |text: &str| text.matches('\u{1b}').count();
        let own = escapes(&sink.format.render(&line("ab")));
        assert!(!rendered.contains("a\nb") && escapes(&rendered) == own);
        if let SinkKind::File(file) = &sink.kind {
            assert!(file.append || file.max_bytes == 0);
            assert!(file.path.is_absolute());
        }
    }
}

fn line(message: &str) -> LogLine<'_> {
    LogLine {
        when: DateTime::UNIX_EPOCH.fixed_offset(),
        since_start_ms: 12.5,
        level: LogLevel::Warning,
        name: "main",
        path: "src/worker/mod.rs",
        line: 42,
        thread: 7,
        thread_name: "lane-1",
        process: 99,
        message,
    }
}
