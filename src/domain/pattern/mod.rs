//! Python regular expressions: checked when they are read, compiled when they are first needed, matched at
//! the start of a text as `re.match` does. Knows nothing of rules or packages.
//!
//! The dialect is Python 3.11's. A parser of its own (`parser`, `group`, `escape`) accepts and refuses what Python
//! does; `emit` writes the result for an engine: `regex`, in linear time, unless the pattern needs
//! backtracking; then `fancy-regex`, with bounded effort.

mod ast;
mod charset;
mod emit;
mod escape;
mod group;
mod number;
mod parser;
mod prefix;
mod reach;
mod required;
mod scanner;
mod tables;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use ast::{At, Node};
use emit::{Alphabet, Engine};
pub use reach::{Example, Texts, example, takes_all_of};
pub use required::{AnyOf, folded};

/// Steps that a backtracking match may take before it is given up; about a tenth of a second.
const BACKTRACK_MAX: usize = 1_000_000;
/// Bytes that a compiled pattern may take.
pub(super) const PROGRAM_MAX_BYTES: usize = 16 << 20;
/// How deep the text handed to `regex` may nest; each group of ours becomes a few of its levels.
pub(super) const NEST_LIMIT: u32 = 4_000;

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

/// A Python pattern. It can be shared between threads.
#[derive(Debug)]
pub struct Pattern {
    source: Box<str>,
    needs: Needs,
    /// The fewest characters that can match.
    width_min: u64,
    required: Vec<AnyOf>,
    prefix: Box<str>,
    programs: Programs,
}

/// What a pattern holds that an engine or a text may not be up to.
#[derive(Debug, Clone, Copy, Default)]
struct Needs {
    /// Look-around, references, atomic groups, possessive repetitions or conditionals.
    backtracking: bool,
    /// `$` without `(?m)`.
    dollar: bool,
    /// `\b` or `\B`.
    boundary: bool,
}

/// The pattern for each engine and alphabet, compiled when a text first asks for it.
#[derive(Debug, Default)]
struct Programs {
    linear_ascii: Slot,
    linear_unicode: Slot,
    backtracking_ascii: Slot,
    backtracking_unicode: Slot,
}

type Slot = OnceLock<Result<Box<Program>, MatchError>>;

#[derive(Debug)]
enum Program {
    Linear(regex::Regex),
    Backtracking(fancy_regex::Regex),
}

/// Whether a text is of the kind that nearly all are: ASCII in one line, not empty.
pub fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.is_ascii() && !text.contains('\n')
}

impl Pattern {
    /// Checks `source`, a pattern of Python 3.11's `re`, without compiling it yet.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        let parsed = parser::parse(source)?;
        Ok(Self {
            source: source.into(),
            needs: Needs::of(&parsed.nodes),
            width_min: parsed.width_min,
            required: required::required(&parsed.nodes),
            prefix: prefix::prefix(&parsed.nodes).into(),
            programs: Programs::default(),
        })
    }

    /// The pattern as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Conditions that every text meets that this pattern matches: of each, one string is in the text's
    /// [`folded`] form.
    pub fn required(&self) -> &[AnyOf] {
        &self.required
    }

    /// What every text begins with that this pattern matches at its start; often empty.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether the pattern matches at the start of `text`, as `re.match` does.
    pub fn matches_at_start(&self, text: &str) -> Result<bool, MatchError> {
        self.matches_folded(text, &folded(text))
    }

    /// The same for a caller who has `folded(text)` at hand.
    pub fn matches_folded(&self, text: &str, folded: &str) -> Result<bool, MatchError> {
        // Beside its speed this spares huge counts (`.{999999}`) their compilation.
        if self.width_min > 1 && (text.chars().count() as u64) < self.width_min {
            return Ok(false);
        }
        let is_possible = self
            .required
            .iter()
            .all(|any_of| any_of.iter().any(|string| folded.contains(string.as_ref())));
        if !is_possible {
            return Ok(false);
        }
        match self.program(text)? {
            Program::Linear(regex) => Ok(regex.is_match(text)),
            Program::Backtracking(regex) => regex.is_match(text).map_err(|error| self.late(&error)),
        }
    }

    /// Whether it runs in linear time.
    pub fn is_regular(&self) -> bool {
        !self.needs.backtracking
    }

    /// Whether it repeats anything beyond a `?`, so that backtracking may take long.
    pub fn repeats(&self) -> bool {
        let Ok(parsed) = parser::parse(&self.source) else {
            return false;
        };
        let mut repeats = false;
        ast::walk(&parsed.nodes, &mut |node| {
            let many = |max: &Option<u32>| max.is_none_or(|max| max > 1);
            repeats |= matches!(node, Node::Repeat { max, .. } if many(max));
        });
        repeats
    }

    /// Compiles it for names like most; Err: it is too large.
    pub fn runs(&self) -> Result<(), MatchError> {
        self.program("a").map(|_| ())
    }

    /// How many bytes at the start of `text` match; none: it does not match.
    pub fn matched_bytes(&self, text: &str) -> Result<Option<usize>, MatchError> {
        if !self.matches_at_start(text)? {
            return Ok(None);
        }
        Ok(match self.program(text)? {
            Program::Linear(regex) => regex.find(text).map(|found| found.end()),
            Program::Backtracking(regex) => {
                let found = regex.find(text).map_err(|error| self.late(&error))?;
                found.map(|found| found.end())
            }
        })
    }

    /// The pattern as the engine reads it that runs it for names like most; none if it is too large.
    pub fn translated(&self) -> Option<String> {
        let engine = if self.needs.backtracking {
            Engine::Backtracking
        } else {
            Engine::Linear
        };
        let parsed = parser::parse(&self.source).ok()?;
        emit::emit(&parsed.nodes, engine, Alphabet::Ascii)
    }

    fn late(&self, error: &fancy_regex::Error) -> MatchError {
        MatchError {
            message: format!(
                "matching {:?} took too long and was given up: {error}",
                &*self.source
            ),
        }
    }

    /// The pattern as `regex` takes it, exact for texts that [`is_plain`] accepts; none if it needs backtracking, or is
    /// too large.
    pub fn plain_regex(&self) -> Option<String> {
        if self.needs.backtracking {
            return None;
        }
        self.translated()
    }

    /// The program that is exact for `text`.
    fn program(&self, text: &str) -> Result<&Program, MatchError> {
        let is_ascii = text.is_ascii();
        // `regex` knows other words than Python beyond ASCII, and finds `\B` in an empty text.
        let by_boundary = self.needs.boundary && (!is_ascii || text.is_empty());
        // For `$`, `regex` is told `(?m:$)`: the same unless a newline stands elsewhere than at the end.
        let by_dollar = self.needs.dollar && text.find('\n').is_some_and(|at| at + 1 < text.len());
        let engine = if self.needs.backtracking || by_boundary || by_dollar {
            Engine::Backtracking
        } else {
            Engine::Linear
        };
        let alphabet = if is_ascii {
            Alphabet::Ascii
        } else {
            Alphabet::Unicode
        };
        let slot = match (engine, alphabet) {
            (Engine::Linear, Alphabet::Ascii) => &self.programs.linear_ascii,
            (Engine::Linear, Alphabet::Unicode) => &self.programs.linear_unicode,
            (Engine::Backtracking, Alphabet::Ascii) => &self.programs.backtracking_ascii,
            (Engine::Backtracking, Alphabet::Unicode) => &self.programs.backtracking_unicode,
        };
        match slot.get_or_init(|| self.compile(engine, alphabet)) {
            Ok(program) => Ok(program),
            Err(error) => Err(error.clone()),
        }
    }

    fn compile(&self, engine: Engine, alphabet: Alphabet) -> Result<Box<Program>, MatchError> {
        let refused = |error: &dyn std::fmt::Display| MatchError {
            message: format!(
                "pattern {:?} is valid but too large or too intricate to run: {error}",
                &*self.source
            ),
        };
        let parsed = parser::parse(&self.source).map_err(|error| refused(&error))?;
        let text = emit::emit(&parsed.nodes, engine, alphabet)
            .ok_or_else(|| refused(&"its sets, written out, are too long"))?;
        let program = match engine {
            Engine::Linear => regex::RegexBuilder::new(&text)
                .size_limit(PROGRAM_MAX_BYTES)
                .nest_limit(NEST_LIMIT)
                .build()
                .map(Program::Linear)
                .map_err(|error| refused(&error))?,
            Engine::Backtracking => fancy_regex::RegexBuilder::new(&text)
                .backtrack_limit(BACKTRACK_MAX)
                .delegate_size_limit(PROGRAM_MAX_BYTES)
                .build()
                .map(Program::Backtracking)
                .map_err(|error| refused(&error))?,
        };
        Ok(Box::new(program))
    }
}

impl Needs {
    fn of(nodes: &[Node]) -> Self {
        let mut needs = Self::default();
        ast::walk(nodes, &mut |node| match node {
            Node::Atomic(_)
            | Node::Look { .. }
            | Node::BackReference { .. }
            | Node::Conditional { .. }
            | Node::Repeat {
                greed: ast::Greed::Possessive,
                ..
            } => needs.backtracking = true,
            Node::At(At::Dollar) => needs.dollar = true,
            Node::At(At::Boundary { .. }) => needs.boundary = true,
            _ => {}
        });
        needs
    }
}
