//! The pre-scan of a netrc file: cuts it into one piece an entry, by the rules of Python's `netrc` module,
//! so that several entries of a host are kept apart, lines are counted right, and macros and comments
//! are gone before the netrc crate sees anything.
//!
//! Comments are the one thing read otherwise than Python does: a `#` where a keyword is expected starts a
//! comment that ends with its line. Python takes the words of a comment for keywords when an empty line
//! stands before it.

use zeroize::Zeroizing;

/// Longer than any password that is meant.
const ROOM_MAX_BYTES: usize = 4096;

/// One `machine` or `default` entry.
pub(super) struct Piece {
    /// Its tokens as written, quotes and all, without comments. Accounts and passwords are places in `secrets`: what
    /// the crate copies while it reads, it does not wipe.
    pub(super) text: Zeroizing<String>,
    /// Accounts and passwords, as meant.
    pub(super) secrets: Vec<Zeroizing<String>>,
    /// The line of its first token.
    pub(super) line: usize,
}

struct Token<'a> {
    /// As written.
    raw: &'a str,
    /// As meant: quotes and backslashes resolved.
    meant: Zeroizing<String>,
    /// Its line.
    line: usize,
    /// Whether the line break behind it was taken with it.
    ended_line: bool,
    /// Whether its quote is open at the end of the file.
    unclosed: bool,
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn next_char(&mut self) -> Option<char> {
        let c = self.text.get(self.at..)?.chars().next()?;
        self.at += c.len_utf8();
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    /// The next token, as Python's lexer cuts it; `None` at the end.
    fn token(&mut self) -> Option<Token<'a>> {
        let mut first = self.next_char()?;
        while is_blank(first) {
            first = self.next_char()?;
        }
        let (start, line) = (self.at - first.len_utf8(), self.line);
        // A string that grows leaves copies behind.
        let room = (self.text.len() - start).min(ROOM_MAX_BYTES);
        let mut meant = Zeroizing::new(String::with_capacity(room));
        let mut end = self.text.len();
        let mut ended_line = false;
        let quoted = first == '"';
        let mut next = if quoted {
            self.next_char()
        } else {
            Some(first)
        };
        while let Some(c) = next {
            if (quoted && c == '"') || (!quoted && is_blank(c)) {
                end = if quoted { self.at } else { self.at - 1 };
                ended_line = c == '\n';
                break;
            }
            if c == '\\' {
                meant.extend(self.next_char());
            } else {
                meant.push(c);
            }
            next = self.next_char();
        }
        let raw = self.text.get(start..end).unwrap_or_default();
        Some(Token {
            raw,
            meant,
            line,
            ended_line,
            unclosed: quoted && next.is_none(),
        })
    }

    fn skip_line(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let line = rest.split_inclusive('\n').next()?;
        self.at += line.len();
        self.line += usize::from(line.ends_with('\n'));
        Some(line)
    }

    /// The next token that is no comment.
    fn keyword(&mut self) -> Option<Token<'a>> {
        loop {
            let token = self.token()?;
            if !token.meant.starts_with('#') {
                return Some(token);
            }
            if !token.ended_line {
                self.skip_line();
            }
        }
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, '\n' | '\t' | '\r' | ' ')
}

/// Cuts `text` into its entries, or says what is wrong at which line. Quotes nothing.
pub(super) fn cut(text: &str) -> Result<Vec<Piece>, (usize, &'static str)> {
    // A backslash at the very end escapes nothing.
    let backslashes = text.len() - text.trim_end_matches('\\').len();
    let text = if backslashes % 2 == 1 {
        text.get(..text.len() - 1).unwrap_or(text)
    } else {
        text
    };
    let mut lexer = Lexer {
        text,
        at: 0,
        line: 1,
    };
    let mut pieces: Vec<Piece> = Vec::new();
    let mut in_entry = false;
    while let Some(token) = lexer.keyword() {
        match token.meant.as_str() {
            // An empty token ends the file, as in Python.
            "" => break,
            "machine" => {
                let name = lexer.token().filter(|name| !name.meant.is_empty());
                let name = name.ok_or((token.line, "`machine` has no name behind it"))?;
                pieces.push(Piece {
                    text: Zeroizing::new(String::with_capacity(256)),
                    secrets: Vec::new(),
                    line: token.line,
                });
                add(&mut pieces, "machine");
                add_token(&mut pieces, &name);
                in_entry = true;
            }
            "default" => {
                pieces.push(Piece {
                    text: Zeroizing::new(String::with_capacity(256)),
                    secrets: Vec::new(),
                    line: token.line,
                });
                add(&mut pieces, "default");
                in_entry = true;
            }
            "macdef" => {
                lexer.token();
                skip_macro(&mut lexer, token.line)?;
                in_entry = false;
            }
            keyword @ ("account" | "password") if in_entry => {
                add(&mut pieces, keyword);
                let value = lexer.token().map(|token| token.meant).unwrap_or_default();
                add_secret(&mut pieces, value);
            }
            keyword @ ("login" | "user") if in_entry => {
                add(&mut pieces, keyword);
                match lexer.token() {
                    Some(value) => add_token(&mut pieces, &value),
                    None => add(&mut pieces, "\"\""),
                }
            }
            _ if in_entry => {
                return Err((
                    token.line,
                    "a word stands here that is neither `login`, `account`, `password`, `machine`, `default` nor \
                     `macdef`; a value with blanks is put in double quotes",
                ));
            }
            _ => {
                return Err((
                    token.line,
                    "`machine`, `default` or `macdef` is expected here",
                ));
            }
        }
    }
    Ok(pieces)
}

fn add(pieces: &mut [Piece], raw: &str) {
    if let Some(piece) = pieces.last_mut() {
        piece.text.push_str(raw);
        piece.text.push('\n');
    }
}

fn add_token(pieces: &mut [Piece], token: &Token<'_>) {
    if let (true, Some(piece)) = (token.unclosed, pieces.last_mut()) {
        piece.text.push_str(token.raw);
        piece.text.push_str("\"\n");
    } else {
        add(pieces, token.raw);
    }
}

fn add_secret(pieces: &mut [Piece], value: Zeroizing<String>) {
    if let Some(piece) = pieces.last_mut() {
        let place = piece.secrets.len().to_string();
        piece.secrets.push(value);
        add(pieces, &place);
    }
}

/// A macro ends with an empty line.
fn skip_macro(lexer: &mut Lexer<'_>, line: usize) -> Result<(), (usize, &'static str)> {
    loop {
        match lexer.skip_line() {
            Some("\n") => return Ok(()),
            Some(_) => {}
            None => {
                return Err((
                    line,
                    "the macro that begins here has no empty line at its end",
                ));
            }
        }
    }
}
