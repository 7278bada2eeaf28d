//! Handlers: the classes that are supported, and what their arguments mean.

use super::literal::{self, Literal};
use super::{FileSink, LogFormat, LogLevel, Reader, Sink, SinkKind};
use crate::config::ini::Section;

const SUPPORTED: &str = "StreamHandler, FileHandler, handlers.WatchedFileHandler, handlers.RotatingFileHandler, NullHandler";

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Stream,
    File,
    Rotating,
    Null,
}

impl Class {
    /// The names of the arguments, in order.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Stream => &["stream"],
            Self::File => &["filename", "mode", "encoding", "delay", "errors"],
            Self::Rotating => &[
                "filename",
                "mode",
                "maxBytes",
                "backupCount",
                "encoding",
                "delay",
                "errors",
            ],
            Self::Null => &[],
        }
    }
}

impl Reader<'_> {
    /// The sink that a handler's section describes; none for a `NullHandler`, or after a mistake.
    pub(super) fn handler(
        &mut self,
        section: &Section,
        formatters: &[(String, LogFormat)],
    ) -> Option<Sink> {
        let level = self.level(section).unwrap_or(LogLevel::NotSet);
        let format = self
            .value(section, "formatter")
            .filter(|name| !name.text.is_empty());
        let format = match format {
            None => LogFormat::message_only(),
            Some(name) => {
                let known = formatters.iter().find(|(known, _)| *known == *name.text);
                let Some((_, formatter)) = known else {
                    let text = "`formatter` is none that `keys` of [formatters] names";
                    self.mistake(name.line, text.to_owned());
                    return None;
                };
                formatter.clone()
            }
        };
        let class = self.class(section)?;
        let arguments = self.arguments(section, class)?;
        let kind = match class {
            Class::Null => None,
            Class::Stream => self.stream(section, arguments.first()?.as_ref()),
            Class::File | Class::Rotating => self.file(section, class, &arguments),
        }?;
        Some(Sink {
            kind,
            level,
            format,
        })
    }

    fn class(&mut self, section: &Section) -> Option<Class> {
        let value = self.required(section, "class")?;
        let name = value.text.strip_prefix("logging.").unwrap_or(&value.text);
        let class = match name {
            "StreamHandler" => Class::Stream,
            "FileHandler" | "handlers.WatchedFileHandler" => Class::File,
            "handlers.RotatingFileHandler" => Class::Rotating,
            "NullHandler" => Class::Null,
            _ => {
                self.mistake(
                    value.line,
                    format!("`class` is a handler that is not supported; there are {SUPPORTED}"),
                );
                return None;
            }
        };
        Some(class)
    }

    /// The arguments in the order of the class's parameters, those of `kwargs` put in.
    fn arguments(&mut self, section: &Section, class: Class) -> Option<Vec<Option<Literal>>> {
        let mut wrong = Vec::new();
        let parameters = class.parameters();
        let mut arguments: Vec<Option<Literal>> = vec![None; parameters.len()];
        if let Some(args) = self.value(section, "args") {
            match literal::tuple(&args.text) {
                Ok(values) if values.len() > parameters.len() => {
                    wrong.push((args.line, "`args` has too many values".to_owned()));
                }
                Ok(values) => {
                    for (slot, value) in arguments.iter_mut().zip(values) {
                        *slot = Some(value);
                    }
                }
                Err(why) => wrong.push((args.line, format!("`args` {why}"))),
            }
        }
        if let Some(kwargs) = self.value(section, "kwargs") {
            match literal::dictionary(&kwargs.text) {
                Ok(pairs) => {
                    for (key, value) in pairs {
                        let slot = parameters.iter().position(|&name| name == key);
                        match slot.and_then(|index| arguments.get_mut(index)) {
                            Some(slot) => *slot = Some(value),
                            None => wrong.push((
                                kwargs.line,
                                "`kwargs` has a key that the class does not know".to_owned(),
                            )),
                        }
                    }
                }
                Err(why) => wrong.push((kwargs.line, format!("`kwargs` {why}"))),
            }
        }
        let fine = wrong.is_empty();
        for (line, text) in wrong {
            self.mistake(line, text);
        }
        fine.then_some(arguments)
    }

    fn stream(&mut self, section: &Section, stream: Option<&Literal>) -> Option<SinkKind> {
        let name = match stream {
            None => "None",
            Some(Literal::Name(name)) => name.as_str(),
            Some(_) => "",
        };
        match name {
            "None" | "sys.stderr" => Some(SinkKind::Stderr),
            "sys.stdout" => Some(SinkKind::Stdout),
            _ => {
                self.wrong_arguments(section, "sys.stderr or sys.stdout is meant");
                None
            }
        }
    }

    fn file(
        &mut self,
        section: &Section,
        class: Class,
        arguments: &[Option<Literal>],
    ) -> Option<SinkKind> {
        let argument = |name: &str| {
            let index = class.parameters().iter().position(|&known| known == name)?;
            arguments.get(index)?.as_ref()
        };
        let Some(Literal::Text(path)) =
            argument("filename").filter(|path| **path != Literal::Text(String::new()))
        else {
            self.wrong_arguments(section, "the first is the file's name");
            return None;
        };
        let append = match argument("mode") {
            None => true,
            Some(Literal::Text(mode)) if matches!(mode.as_str(), "a" | "at" | "a+") => true,
            Some(Literal::Text(mode)) if matches!(mode.as_str(), "w" | "wt" | "w+") => false,
            Some(_) => {
                self.wrong_arguments(section, "the mode is neither \"a\" nor \"w\"");
                return None;
            }
        };
        let number = |name: &str| match argument(name) {
            None => Some(0),
            Some(Literal::Number(number)) => u64::try_from(*number).ok(),
            Some(_) => None,
        };
        let (Some(max_bytes), Some(backups)) = (number("maxBytes"), number("backupCount")) else {
            self.wrong_arguments(section, "maxBytes and backupCount are whole numbers");
            return None;
        };
        Some(SinkKind::File(FileSink {
            path: self.dir.join(path),
            // A log that is rotated is never cut short at the start, as in Python.
            append: append || max_bytes > 0,
            max_bytes,
            backups: u32::try_from(backups).unwrap_or(u32::MAX),
        }))
    }

    fn wrong_arguments(&mut self, section: &Section, why: &str) {
        let line = self
            .document
            .line_of(section, "args")
            .unwrap_or(section.line);
        self.mistake(
            line,
            format!("the arguments of [{}] do not fit: {why}", section.name),
        );
    }
}
