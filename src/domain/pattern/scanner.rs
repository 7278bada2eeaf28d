//! The characters of a pattern, one token at a time: a character, or a backslash with the one after it.
//! Knows how Python numbers positions in its messages, nothing of what the tokens mean.

use super::PatternError;

/// A character, or `\` and the character after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Char(char),
    Escape(char),
}

impl Token {
    fn len(self) -> usize {
        match self {
            Self::Char(_) => 1,
            Self::Escape(_) => 2,
        }
    }

    pub(super) fn is(self, wanted: char) -> bool {
        self == Self::Char(wanted)
    }

    /// As it stands in the pattern.
    pub(super) fn text(self) -> String {
        match self {
            Self::Char(c) => c.to_string(),
            Self::Escape(c) => format!("\\{c}"),
        }
    }
}

/// Reads a pattern with one token of look-ahead, as Python's tokenizer does.
pub(super) struct Scanner {
    chars: Vec<char>,
    index: usize,
    next: Option<Token>,
}

impl Scanner {
    pub(super) fn new(source: &str) -> Result<Self, PatternError> {
        let mut scanner = Self {
            chars: source.chars().collect(),
            index: 0,
            next: None,
        };
        scanner.advance()?;
        Ok(scanner)
    }

    fn advance(&mut self) -> Result<(), PatternError> {
        self.next = match self.chars.get(self.index) {
            None => None,
            Some('\\') => match self.chars.get(self.index + 1) {
                Some(&c) => Some(Token::Escape(c)),
                None => {
                    return Err(self.error_at("bad escape (end of pattern)", self.chars.len() - 1));
                }
            },
            Some(&c) => Some(Token::Char(c)),
        };
        self.index += self.next.map_or(0, Token::len);
        Ok(())
    }

    pub(super) fn peek(&self) -> Option<Token> {
        self.next
    }

    pub(super) fn next_is(&self, wanted: char) -> bool {
        self.next == Some(Token::Char(wanted))
    }

    /// Takes the next token if it is `wanted`.
    pub(super) fn eat(&mut self, wanted: char) -> Result<bool, PatternError> {
        let found = self.next_is(wanted);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    pub(super) fn take(&mut self) -> Result<Option<Token>, PatternError> {
        let this = self.next;
        self.advance()?;
        Ok(this)
    }

    /// Takes up to `most` characters that `wanted` accepts.
    pub(super) fn take_while(
        &mut self,
        most: usize,
        wanted: fn(char) -> bool,
    ) -> Result<String, PatternError> {
        let mut taken = String::new();
        for _ in 0..most {
            match self.next {
                Some(Token::Char(c)) if wanted(c) => taken.push(c),
                _ => break,
            }
            self.advance()?;
        }
        Ok(taken)
    }

    /// Takes everything up to `end`, which is taken too; `what` names it in messages.
    pub(super) fn take_until(&mut self, end: char, what: &str) -> Result<String, PatternError> {
        let mut taken = String::new();
        loop {
            match self.take()? {
                None if taken.is_empty() => return Err(self.error(&format!("missing {what}"), 0)),
                None => {
                    let message = format!("missing {end}, unterminated name");
                    return Err(self.error(&message, taken.chars().count()));
                }
                Some(this) if this.is(end) => {
                    if taken.is_empty() {
                        return Err(self.error(&format!("missing {what}"), 1));
                    }
                    return Ok(taken);
                }
                Some(this) => taken.push_str(&this.text()),
            }
        }
    }

    /// The position of the next token, in characters from 0.
    pub(super) fn tell(&self) -> usize {
        self.index - self.next.map_or(0, Token::len)
    }

    pub(super) fn seek(&mut self, index: usize) -> Result<(), PatternError> {
        self.index = index;
        self.advance()
    }

    /// An error `back` characters before the next token.
    pub(super) fn error(&self, message: &str, back: usize) -> PatternError {
        self.error_at(message, self.tell().saturating_sub(back))
    }

    /// An error at a position, which is put into words as Python does.
    pub(super) fn error_at(&self, message: &str, position: usize) -> PatternError {
        let mut message = format!("{message} at position {position}");
        if self.chars.contains(&'\n') {
            let before = &self.chars[..position.min(self.chars.len())];
            let line = before.iter().filter(|&&c| c == '\n').count() + 1;
            let column = position + 1
                - before
                    .iter()
                    .rposition(|&c| c == '\n')
                    .map_or(0, |at| at + 1);
            message = format!("{message} (line {line}, column {column})");
        }
        PatternError { message }
    }
}
