//! Errors that end a command: kind, message and hint, and the one function from kind to exit code.

use std::fmt;
use std::io;
use std::path::Path;

/// What kind of error ended a command; each kind has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A delivery failed, is unknown, or had no rule.
    Delivery,
    /// The command line is wrong.
    Usage,
    /// The configuration, also its permissions.
    Config,
    /// Repository, revision, svnlook, directory, a file to send.
    Source,
    /// Journal, spool, state directory or disk.
    State,
    /// The same: a disk or the spool is full. It may be had later.
    NoRoom,
    /// The same: the journal is damaged. Nobody but the operator can help.
    Damaged,
    /// SIGINT or SIGTERM.
    Interrupted,
    /// Whoever read our output went away, as `head` does: nothing is wrong.
    ReaderGone,
}

impl ErrorKind {
    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Delivery => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::Source => 4,
            Self::State | Self::NoRoom | Self::Damaged => 5,
            Self::Interrupted => 130,
            Self::ReaderGone => 0,
        }
    }
}

/// An error that a person reads: what was tried, on what, why it failed, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Decides the exit code.
    pub kind: ErrorKind,
    /// One line, or for a configuration one line a mistake. Holds no secret.
    pub message: String,
    /// The way out, if it is not part of the message.
    pub hint: Option<String>,
}

/// A result that ends a command when it is an error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// The same with a way out.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Shorthand for [`ErrorKind::Config`].
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Shorthand for [`ErrorKind::Source`].
    pub fn source(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Source, message)
    }

    /// Shorthand for [`ErrorKind::State`].
    pub fn state(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::State, message)
    }

    /// Message and hint in one line, for the log and the journal.
    pub fn one_line(&self) -> String {
        let message = self.message.replace('\n', "; ");
        match &self.hint {
            Some(hint) => format!("{message} ({hint})"),
            None => message,
        }
    }

    /// An I/O error with the operation (`cannot open`) and the path it failed on.
    pub fn io(kind: ErrorKind, operation: &str, path: &Path, cause: &io::Error) -> Self {
        let shown = path.to_string_lossy();
        let shown = crate::domain::text::escape(&shown);
        Self::new(kind, format!("{operation} {shown}: {cause}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
