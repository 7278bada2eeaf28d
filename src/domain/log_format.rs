//! Python's `%`-style log formats: checked when they are read, so that a mistake is reported with the
//! configuration and not at the first line, and rendered without a clock or a thread of its own.

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, FixedOffset};

use super::log_settings::LogLevel;
use super::percent::{Conversion, Value};
use super::text::escape;

/// A format such as `%(asctime)s [%(thread)d] %(levelname)s %(message)s`, with its date format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFormat {
    pieces: Vec<Piece>,
    /// None: `2016-07-25 10:07:33,123`.
    date_format: Option<String>,
}

/// What one record brings.
#[derive(Debug, Clone)]
pub struct LogLine<'a> {
    /// When it was made, in the time zone that people read.
    pub when: DateTime<FixedOffset>,
    /// Milliseconds since the process began to log.
    pub since_start_ms: f64,
    /// How severe it is.
    pub level: LogLevel,
    /// The logger's name.
    pub name: &'a str,
    /// The source file, with its directories.
    pub path: &'a str,
    /// The line in it.
    pub line: u32,
    /// The kernel's number of the thread.
    pub thread: u64,
    /// The thread's name.
    pub thread_name: &'a str,
    /// The process's number.
    pub process: u32,
    /// The text; it is escaped when it is rendered.
    pub message: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field {
        field: Field,
        conversion: Conversion,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    LevelNumber,
    LevelName,
    PathName,
    FileName,
    Module,
    LineNumber,
    Function,
    Created,
    AscTime,
    Milliseconds,
    RelativeCreated,
    Thread,
    ThreadName,
    Process,
    ProcessName,
    Message,
}

const FIELDS: [(&str, Field); 17] = [
    ("name", Field::Name),
    ("levelno", Field::LevelNumber),
    ("levelname", Field::LevelName),
    ("pathname", Field::PathName),
    ("filename", Field::FileName),
    ("module", Field::Module),
    ("lineno", Field::LineNumber),
    ("funcName", Field::Function),
    ("created", Field::Created),
    ("asctime", Field::AscTime),
    ("msecs", Field::Milliseconds),
    ("relativeCreated", Field::RelativeCreated),
    ("thread", Field::Thread),
    ("threadName", Field::ThreadName),
    ("process", Field::Process),
    ("processName", Field::ProcessName),
    ("message", Field::Message),
];

impl LogFormat {
    /// Reads a format and, if there is one, its date format (`strftime`). The error says what is wrong
    /// with it, in words that fit behind the name of the key.
    pub fn parse(format: &str, date_format: Option<&str>) -> Result<Self, String> {
        if let Some(dates) = date_format
            && StrftimeItems::new(dates).any(|item| matches!(item, Item::Error))
        {
            return Err(format!("the date format `{}` is not valid", escape(dates)));
        }
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix('%') {
                text.push('%');
                rest = behind;
                continue;
            }
            let (piece, behind) = parse_field(rest)?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(piece);
            rest = behind;
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        if !pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Field { .. }))
        {
            return Err("the format names no field; try `%(asctime)s %(message)s`".to_owned());
        }
        let date_format = date_format.map(str::to_owned);
        Ok(Self {
            pieces,
            date_format,
        })
    }

    /// Python's format for a sink that names none: the message alone.
    pub fn message_only() -> Self {
        let conversion = Conversion::plain('s');
        Self {
            pieces: vec![Piece::Field {
                field: Field::Message,
                conversion,
            }],
            date_format: None,
        }
    }

    /// The line, without a line end.
    pub fn render(&self, line: &LogLine<'_>) -> String {
        let mut shown = String::with_capacity(96 + line.message.len());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => shown.push_str(text),
                Piece::Field { field, conversion } => {
                    conversion.write(&mut shown, &self.value(*field, line));
                }
            }
        }
        shown
    }

    fn value<'a>(&self, field: Field, line: &LogLine<'a>) -> Value<'a> {
        let file = line.path.rsplit('/').next().unwrap_or(line.path);
        match field {
            Field::Name => Value::Text(escape(line.name)),
            Field::LevelNumber => Value::Whole(i64::from(line.level.number())),
            Field::LevelName => Value::Text(line.level.as_str().into()),
            Field::PathName => Value::Text(line.path.into()),
            Field::FileName => Value::Text(file.into()),
            Field::Module => {
                Value::Text(file.rsplit_once('.').map_or(file, |(stem, _)| stem).into())
            }
            Field::LineNumber => Value::Whole(i64::from(line.line)),
            Field::Function => Value::Text("(unknown function)".into()),
            #[expect(
                clippy::cast_precision_loss,
                reason = "microseconds since 1970 fit into 53 bits"
            )]
            Field::Created => Value::Real(line.when.timestamp_micros() as f64 / 1e6),
            Field::AscTime => Value::Text(self.asc_time(line).into()),
            Field::Milliseconds => Value::Real(f64::from(line.when.timestamp_subsec_millis())),
            Field::RelativeCreated => Value::Real(line.since_start_ms),
            Field::Thread => Value::Whole(i64::try_from(line.thread).unwrap_or(i64::MAX)),
            Field::ThreadName => Value::Text(escape(line.thread_name)),
            Field::Process => Value::Whole(i64::from(line.process)),
            Field::ProcessName => Value::Text("MainProcess".into()),
            Field::Message => Value::Text(escape(line.message)),
        }
    }

    fn asc_time(&self, line: &LogLine<'_>) -> String {
        match &self.date_format {
            Some(dates) => line.when.format(dates).to_string(),
            None => line.when.format("%Y-%m-%d %H:%M:%S,%3f").to_string(),
        }
    }
}

/// Reads what stands behind a `%`: `(name)`, flags, width, precision, type.
fn parse_field(rest: &str) -> Result<(Piece, &str), String> {
    let named = rest
        .strip_prefix('(')
        .and_then(|inner| inner.split_once(')'));
    let Some((name, behind)) = named else {
        return Err("a `%` stands alone; a field is `%(name)s`, a percent sign `%%`".to_owned());
    };
    let Some((_, field)) = FIELDS.into_iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = FIELDS.iter().map(|(known, _)| *known).collect();
        return Err(format!(
            "no field is called `{}`; there are {}",
            escape(name),
            known.join(", ")
        ));
    };
    let (conversion, behind) =
        Conversion::parse(behind).map_err(|why| format!("`%({name})` {why}"))?;
    let kind = conversion.kind();
    if !conversion.is_textual() && field.is_text() {
        return Err(format!(
            "`%({name}){kind}`: {name} is no number; try `%({name})s`"
        ));
    }
    Ok((Piece::Field { field, conversion }, behind))
}

impl Field {
    fn is_text(self) -> bool {
        !matches!(
            self,
            Self::LevelNumber
                | Self::LineNumber
                | Self::Created
                | Self::Milliseconds
                | Self::RelativeCreated
                | Self::Thread
                | Self::Process
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str =
        "%(asctime)s [%(thread)d] %(filename)s[line:%(lineno)d] %(levelname)s %(message)s";

    fn line(message: &str) -> LogLine<'_> {
        LogLine {
            when: DateTime::parse_from_rfc3339("2016-07-25T10:07:33.123+08:00").unwrap(),
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

    fn shown(format: &str) -> String {
        LogFormat::parse(format, None)
            .unwrap()
            .render(&line("text"))
    }

    #[test]
    fn the_old_format_gives_the_old_lines() {
        assert_eq!(
            LogFormat::parse(OLD, None)
                .unwrap()
                .render(&line("完成 ftp")),
            "2016-07-25 10:07:33,123 [7] mod.rs[line:42] WARNING 完成 ftp"
        );
    }

    #[test]
    fn widths_and_flags_are_those_of_python() {
        assert_eq!(shown("%(levelname)-9s|"), "WARNING  |");
        assert_eq!(shown("%(levelname)9s|%(levelname).4s"), "  WARNING|WARN");
        assert_eq!(
            shown("%(levelname)-10.3s|%(lineno)-05d|"),
            "WAR       |42   |"
        );
        assert_eq!(
            shown("%(lineno).3d|%(lineno)5.1f|%(lineno)+05d|%(lineno) d"),
            "042| 42.0|+0042| 42"
        );
        assert_eq!(
            shown("%(msecs)s %(created)s %(created)d"),
            "123.0 1469412453.123 1469412453"
        );
        assert_eq!(
            shown("%(lineno)05d %(lineno)+d %(msecs)03d"),
            "00042 +42 123"
        );
        assert_eq!(
            shown("100%% %(process)x %(created).3f"),
            "100% 63 1469412453.123"
        );
        assert_eq!(shown("%(module)s %(name)s %(levelno)s"), "mod main 30");
    }

    #[test]
    fn a_date_format_is_used() {
        let format = LogFormat::parse("%(asctime)s", Some("%d.%m.%y %H:%M")).unwrap();
        assert_eq!(format.render(&line("")), "25.07.16 10:07");
    }

    #[test]
    fn a_message_stays_on_its_line() {
        let format = LogFormat::message_only();
        assert_eq!(
            format.render(&line("a\n2016 forged\u{1b}[2J")),
            "a\\n2016 forged\\x1b[2J"
        );
    }

    #[test]
    fn a_mistake_is_found_when_the_format_is_read() {
        for wrong in [
            "plain",
            "%(nosuch)s",
            "%(message)",
            "%(message",
            "50 % %(message)s",
            "%(message)d",
        ] {
            assert!(LogFormat::parse(wrong, None).is_err(), "{wrong}");
        }
        assert!(LogFormat::parse("%(asctime)s", Some("%Q")).is_err());
    }
}
