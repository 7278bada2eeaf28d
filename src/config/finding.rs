//! What is wrong, or odd, about a configuration file: one line of text for each finding, with the
//! place it stands at. Never quotes a value.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::domain::text::escape;
use crate::error::Error;

/// More findings than this are counted, not shown.
const SHOWN_MAX: usize = 50;

/// One mistake or one warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file it is about.
    pub file: PathBuf,
    /// The line, from 1; none: the file as a whole.
    pub line: Option<usize>,
    /// What is wrong and what to do, one line.
    pub text: String,
}

impl Finding {
    /// A finding at a line of `file`.
    pub fn at(file: &Path, line: usize, text: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: Some(line),
            text: text.into(),
        }
    }

    /// A finding about `file` as a whole.
    pub fn about(file: &Path, text: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            text: text.into(),
        }
    }
}

impl Finding {
    /// File and line, escaped.
    pub fn place(&self) -> String {
        let file = self.file.to_string_lossy();
        match self.line {
            Some(line) => format!("{}:{line}", escape(&file)),
            None => escape(&file).into_owned(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), escape(&self.text))
    }
}

/// Every mistake of a file; it cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Finding>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().take(SHOWN_MAX).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{finding}")?;
        }
        match self.0.len().checked_sub(SHOWN_MAX) {
            Some(more) if more > 0 => write!(f, "\n… and {more} more mistakes"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Mistakes {}

impl From<Finding> for Mistakes {
    fn from(finding: Finding) -> Self {
        Self(vec![finding])
    }
}

impl From<Mistakes> for Error {
    fn from(mistakes: Mistakes) -> Self {
        Error::config(mistakes.to_string())
    }
}
