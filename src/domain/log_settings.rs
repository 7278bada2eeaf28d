//! What logging is told to do: levels, sinks and their formats, as plain values. Knows neither the
//! file that they are read from (`config/logger`) nor how lines are written (`logging`).

use std::path::PathBuf;

use super::log_format::LogFormat;

/// Everything that installing the logger needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Records below it reach no sink.
    pub level: LogLevel,
    /// Where lines go; none: nothing is logged.
    pub sinks: Vec<Sink>,
}

/// One place that lines go to (what Python calls a handler).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// Which place.
    pub kind: SinkKind,
    /// Records below it do not reach this sink.
    pub level: LogLevel,
    /// How a record becomes a line.
    pub format: LogFormat,
}

/// The places that lines can go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKind {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file.
    File(FileSink),
}

/// A log file that rotates as Python's `RotatingFileHandler` does: `file`, `file.1` ... `file.N`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSink {
    /// The file, absolute: whoever reads the configuration resolves it in the state directory.
    pub path: PathBuf,
    /// Whether what an earlier process wrote stays (mode `a`); no: the file is emptied at the start,
    /// unless it rotates (Python takes mode `w` for `a` then).
    pub append: bool,
    /// The size in bytes above which the file is rotated; 0: never.
    pub max_bytes: u64,
    /// How many old files are kept; 0: the file is never rotated.
    pub backups: u32,
}

/// Python's levels. Ordered: a later one is more severe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Python's 0: everything.
    NotSet,
    /// Python's 10.
    Debug,
    /// Python's 20.
    Info,
    /// Python's 30.
    Warning,
    /// Python's 40.
    Error,
    /// Python's 50.
    Critical,
}

impl LogLevel {
    /// Every level with the name that Python gives it.
    const NAMES: [(Self, &'static str); 6] = [
        (Self::NotSet, "NOTSET"),
        (Self::Debug, "DEBUG"),
        (Self::Info, "INFO"),
        (Self::Warning, "WARNING"),
        (Self::Error, "ERROR"),
        (Self::Critical, "CRITICAL"),
    ];

    /// The level that a configuration names, in capitals as Python wants it; `WARN` and `FATAL` are
    /// other names of `WARNING` and `CRITICAL`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "WARN" => Some(Self::Warning),
            "FATAL" => Some(Self::Critical),
            _ => {
                let found = Self::NAMES.into_iter().find(|(_, name)| *name == word);
                found.map(|(level, _)| level)
            }
        }
    }

    /// Python's name of the level.
    pub fn as_str(self) -> &'static str {
        let found = Self::NAMES.into_iter().find(|(level, _)| *level == self);
        found.map_or("NOTSET", |(_, name)| name)
    }

    /// Python's number of the level.
    pub fn number(self) -> u8 {
        match self {
            Self::NotSet => 0,
            Self::Debug => 10,
            Self::Info => 20,
            Self::Warning => 30,
            Self::Error => 40,
            Self::Critical => 50,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_parsed_from_its_own_name() {
        for (level, name) in LogLevel::NAMES {
            assert_eq!(LogLevel::parse(name), Some(level));
            assert_eq!(level.as_str(), name);
        }
        assert_eq!(LogLevel::parse("FATAL"), Some(LogLevel::Critical));
        assert_eq!(LogLevel::parse("debug"), None, "Python refuses lower case");
    }

    #[test]
    fn levels_are_ordered_as_their_numbers_are() {
        for pair in LogLevel::NAMES.windows(2) {
            assert!(pair[0].0 < pair[1].0);
            assert!(pair[0].0.number() < pair[1].0.number());
        }
    }
}
