//! logger.cfg, in the dialect of Python's `logging.config.fileConfig`, to plain data: the lowest level
//! that is logged, and where lines go. The logger `main` counts, then, unless `propagate` is 0, the
//! handlers of `root`. Opens no log.

mod handler;
mod literal;

use std::path::{Path, PathBuf};

use crate::config::finding::{Finding, Mistakes};
use crate::config::ini::{Document, Section, Value};
use crate::config::private;
use crate::domain::log_format::LogFormat;
use crate::domain::log_settings::{FileSink, LogLevel, LogSettings, Sink, SinkKind};

/// The format of the old script's logger.cfg.
const STANDARD_FORMAT: &str =
    "%(asctime)s [%(thread)d] %(filename)s[line:%(lineno)d] %(levelname)s %(message)s";

/// What the old script's logger.cfg says: stderr, and auto-dispatcher.log of 10 MiB with 5 backups, in
/// `dir`.
pub fn standard(dir: &Path) -> LogSettings {
    let format =
        LogFormat::parse(STANDARD_FORMAT, None).unwrap_or_else(|_| LogFormat::message_only());
    let sink = |kind| Sink {
        kind,
        level: LogLevel::NotSet,
        format: format.clone(),
    };
    let file = FileSink {
        path: dir.join("auto-dispatcher.log"),
        append: true,
        max_bytes: 10 << 20,
        backups: 5,
    };
    LogSettings {
        level: LogLevel::Debug,
        sinks: vec![sink(SinkKind::Stderr), sink(SinkKind::File(file))],
    }
}

/// Reads the file at `path`, if there is one, and says what is odd about it. Relative log files lie in `dir`.
pub fn load(path: &Path, dir: &Path) -> Result<Option<(LogSettings, Vec<Finding>)>, Mistakes> {
    let Some(text) = private::read(path)? else {
        return Ok(None);
    };
    // Whoever may write to it decides which files we write to.
    if let Some(mistake) = text.in_the_open(path, false) {
        return Err(mistake.into());
    }
    let settings = parse(path, &text.bytes, dir)?;
    Ok(Some((
        settings,
        text.of_another(path).into_iter().collect(),
    )))
}

/// Parses the bytes of the file `path`.
pub fn parse(path: &Path, bytes: &[u8], dir: &Path) -> Result<LogSettings, Mistakes> {
    let document = Document::parse(path, bytes)?;
    let mut reader = Reader {
        document: &document,
        dir: dir.to_owned(),
        mistakes: Vec::new(),
    };
    let config = reader.config();
    if reader.mistakes.is_empty() {
        Ok(config)
    } else {
        Err(Mistakes(reader.mistakes))
    }
}

/// A logger's section.
struct Logger {
    level: Option<LogLevel>,
    handlers: Vec<String>,
    propagates: bool,
}

struct Reader<'a> {
    document: &'a Document,
    dir: PathBuf,
    mistakes: Vec<Finding>,
}

impl<'a> Reader<'a> {
    fn config(&mut self) -> LogSettings {
        let formatters = self.listed("formatters", "formatter_");
        let handlers = self.listed("handlers", "handler_");
        let loggers = self.listed("loggers", "logger_");
        let formatters: Vec<(String, LogFormat)> = formatters
            .into_iter()
            .map(|(name, section)| (name, self.formatter(section)))
            .collect();
        let sinks: Vec<(String, Option<Sink>)> = handlers
            .into_iter()
            .map(|(name, section)| (name, self.handler(section, &formatters)))
            .collect();
        let mut root = None;
        let mut main = None;
        for (name, section) in loggers {
            let logger = self.logger(section, &sinks);
            if name == "root" {
                root = Some(logger);
            } else if self.is_main(section) {
                main = Some(logger);
            }
        }
        let Some(root) = root else {
            self.mistakes.push(Finding::about(
                &self.document.file,
                "`keys` of [loggers] has to name root",
            ));
            return standard(&self.dir);
        };
        let root_level = root.level.unwrap_or(LogLevel::Warning);
        let (level, names) = match main {
            None => (root_level, root.handlers),
            Some(main) => {
                let level = main
                    .level
                    .filter(|&level| level != LogLevel::NotSet)
                    .unwrap_or(root_level);
                let inherited = if main.propagates {
                    root.handlers
                } else {
                    Vec::new()
                };
                (level, main.handlers.into_iter().chain(inherited).collect())
            }
        };
        let sink_of = |name: &String| sinks.iter().find(|(known, _)| known == name)?.1.clone();
        LogSettings {
            level,
            sinks: names.iter().filter_map(sink_of).collect(),
        }
    }

    /// The sections that the `keys` of a list section name.
    fn listed(&mut self, list: &str, prefix: &str) -> Vec<(String, &'a Section)> {
        let Some(section) = self.section(list) else {
            self.mistakes.push(Finding::about(
                &self.document.file,
                format!("section [{list}] is missing; Python's fileConfig needs [loggers], [handlers] and [formatters]"),
            ));
            return Vec::new();
        };
        let Some(keys) = self.required(section, "keys") else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for name in names(&keys.text) {
            match self.section(&format!("{prefix}{name}")) {
                Some(section) => found.push((name, section)),
                None => self.mistake(
                    keys.line,
                    format!("names `{name}`, but section [{prefix}{name}] is missing"),
                ),
            }
        }
        found
    }

    fn formatter(&mut self, section: &Section) -> LogFormat {
        let raw = |key| {
            self.document
                .get_raw(section, key)
                .filter(|value| !value.text.is_empty())
        };
        let (format, date_format, style, class) =
            (raw("format"), raw("datefmt"), raw("style"), raw("class"));
        if let Some(style) = style.filter(|style| style.text.as_str() != "%") {
            self.mistake(
                style.line,
                "`style` other than % is not supported; write the format with %(name)s".to_owned(),
            );
        }
        if let Some(class) = class.filter(|class| class.text.as_str() != "logging.Formatter") {
            self.mistake(
                class.line,
                "`class` of a formatter: only logging.Formatter is supported".to_owned(),
            );
        }
        let Some(format) = format else {
            return LogFormat::message_only();
        };
        let date_format = date_format.as_ref().map(|value| value.text.as_str());
        LogFormat::parse(&format.text, date_format).unwrap_or_else(|why| {
            self.mistake(format.line, format!("`format`: {why}"));
            LogFormat::message_only()
        })
    }

    fn logger(&mut self, section: &Section, sinks: &[(String, Option<Sink>)]) -> Logger {
        let handlers = self.required(section, "handlers");
        let mut known = Vec::new();
        if let Some(handlers) = handlers {
            for name in names(&handlers.text) {
                if sinks.iter().any(|(sink, _)| *sink == name) {
                    known.push(name);
                } else {
                    self.mistake(
                        handlers.line,
                        format!("`handlers` names `{name}`, which `keys` of [handlers] does not"),
                    );
                }
            }
        }
        let propagates = self.value(section, "propagate").is_none_or(|value| {
            let number = value.text.trim().parse::<i64>();
            if number.is_err() {
                self.mistake(value.line, "`propagate` is neither 0 nor 1".to_owned());
            }
            number != Ok(0)
        });
        Logger {
            level: self.level(section),
            handlers: known,
            propagates,
        }
    }

    /// Whether a section's `qualname` is that of our logger. The old file writes it in quotes, which Python
    /// takes for a part of the name; the file says what was meant.
    fn is_main(&mut self, section: &Section) -> bool {
        self.required(section, "qualname")
            .is_some_and(|name| name.text.trim_matches(['"', '\'']) == "main")
    }

    fn level(&mut self, section: &Section) -> Option<LogLevel> {
        let value = self.value(section, "level")?;
        let level = LogLevel::parse(&value.text);
        if level.is_none() {
            let known = "`level` is none of DEBUG, INFO, WARNING, ERROR, CRITICAL, NOTSET";
            self.mistake(value.line, known.to_owned());
        }
        level
    }

    fn section(&self, name: &str) -> Option<&'a Section> {
        self.document
            .sections
            .iter()
            .find(|section| section.name == name)
    }

    fn value(&mut self, section: &Section, key: &str) -> Option<Value> {
        match self.document.get(section, key) {
            Ok(value) => value,
            Err(error) => {
                let line = self.document.line_of(section, key).unwrap_or(section.line);
                self.mistake(line, format!("`{key}` {error}"));
                None
            }
        }
    }

    fn required(&mut self, section: &Section, key: &str) -> Option<Value> {
        if self.document.line_of(section, key).is_none() {
            self.mistake(section.line, format!("[{}] has no `{key}`", section.name));
        }
        self.value(section, key)
    }

    fn mistake(&mut self, line: usize, text: String) {
        self.mistakes
            .push(Finding::at(&self.document.file, line, text));
    }
}

/// The names of a list separated by commas.
fn names(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests;
