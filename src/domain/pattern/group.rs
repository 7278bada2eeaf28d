//! What begins with a parenthesis: groups, their names and options, look-around, conditionals, comments.

use super::PatternError;
use super::ast::{self, Flags, MAX_REPEAT, Node};
use super::number::python_int;
use super::parser::{NEST_MAX, Parser};
use super::scanner::Token;

/// What follows `(` and its options.
pub(super) enum Opened {
    /// A group whose contents follow.
    Group {
        name: Option<String>,
        capture: bool,
        atomic: bool,
        add: Flags,
        del: Flags,
    },
    /// A complete node.
    Done(Node),
    /// Nothing: a comment, or global flags.
    Nothing,
}

impl Opened {
    fn plain(capture: bool, atomic: bool) -> Self {
        Self::Group {
            name: None,
            capture,
            atomic,
            add: Flags::default(),
            del: Flags::default(),
        }
    }
}

impl Parser {
    /// What stands between `(` and the contents of a group.
    pub(super) fn open(
        &mut self,
        start: usize,
        flags: Flags,
        depth: usize,
        first: bool,
    ) -> Result<Opened, PatternError> {
        if !self.scanner.eat('?')? {
            return Ok(Opened::plain(true, false));
        }
        let Some(token) = self.scanner.take()? else {
            return Err(self.scanner.error("unexpected end of pattern", 0));
        };
        match token {
            Token::Char('P') => self.python_group(flags),
            Token::Char(':') => Ok(Opened::plain(false, false)),
            Token::Char('>') => Ok(Opened::plain(false, true)),
            Token::Char('#') => self.comment(start),
            Token::Char('=') => self.look(start, flags, depth, true, false),
            Token::Char('!') => self.look(start, flags, depth, true, true),
            Token::Char('<') => match self.scanner.take()? {
                None => Err(self.scanner.error("unexpected end of pattern", 0)),
                Some(Token::Char('=')) => self.look(start, flags, depth, false, false),
                Some(Token::Char('!')) => self.look(start, flags, depth, false, true),
                Some(other) => Err(self.unknown_extension("?<", other)),
            },
            Token::Char('(') => self.conditional(start, flags, depth),
            Token::Char(c) if c == '-' || Flags::of_letter(c).is_some() => {
                match self.inline_flags(c)? {
                    Some((add, del)) => Ok(Opened::Group {
                        name: None,
                        capture: false,
                        atomic: false,
                        add,
                        del,
                    }),
                    None if first => Ok(Opened::Nothing),
                    None => Err(self
                        .scanner
                        .error_at("global flags not at the start of the expression", start)),
                }
            }
            other => Err(self.unknown_extension("?", other)),
        }
    }

    fn unknown_extension(&self, opening: &str, token: Token) -> PatternError {
        let shown = format!("{opening}{}", token.text());
        self.scanner
            .error(&format!("unknown extension {shown}"), shown.chars().count())
    }

    fn comment(&mut self, start: usize) -> Result<Opened, PatternError> {
        loop {
            match self.scanner.take()? {
                None => {
                    return Err(self
                        .scanner
                        .error_at("missing ), unterminated comment", start));
                }
                Some(token) if token.is(')') => return Ok(Opened::Nothing),
                Some(_) => {}
            }
        }
    }

    /// `(?P<name>` and `(?P=name)`.
    fn python_group(&mut self, flags: Flags) -> Result<Opened, PatternError> {
        if self.scanner.eat('<')? {
            let name = self.scanner.take_until('>', "group name")?;
            self.check_name(&name)?;
            let name = Some(name);
            return Ok(Opened::Group {
                name,
                capture: true,
                atomic: false,
                add: Flags::default(),
                del: Flags::default(),
            });
        }
        if self.scanner.eat('=')? {
            let name = self.scanner.take_until(')', "group name")?;
            self.check_name(&name)?;
            let back = name.chars().count() + 1;
            let Some(&group) = self.names.get(&name) else {
                return Err(self
                    .scanner
                    .error(&format!("unknown group name {}", repr(&name)), back));
            };
            if !self.is_closed(group) {
                return Err(self.scanner.error("cannot refer to an open group", back));
            }
            self.check_look_behind(group)?;
            return Ok(Opened::Done(Node::BackReference {
                group,
                ignore_case: flags.has(Flags::IGNORECASE),
            }));
        }
        match self.scanner.take()? {
            None => Err(self.scanner.error("unexpected end of pattern", 0)),
            Some(token) => Err(self.unknown_extension("?P", token)),
        }
    }

    fn look(
        &mut self,
        start: usize,
        flags: Flags,
        depth: usize,
        ahead: bool,
        negated: bool,
    ) -> Result<Opened, PatternError> {
        let outer = self.look_behind_groups;
        if !ahead && outer.is_none() {
            self.look_behind_groups = Some(self.widths.len());
        }
        let body = self.alternation(flags, depth + 1)?;
        if !ahead {
            self.look_behind_groups = outer;
        }
        self.close(start)?;
        Ok(Opened::Done(Node::Look {
            ahead,
            negated,
            body,
        }))
    }

    /// `(?(group)yes|no)`.
    fn conditional(
        &mut self,
        start: usize,
        flags: Flags,
        depth: usize,
    ) -> Result<Opened, PatternError> {
        let name = self.scanner.take_until(')', "group name")?;
        let back = name.chars().count() + 1;
        let group = if is_identifier(&name) {
            self.names.get(&name).copied().ok_or_else(|| {
                self.scanner
                    .error(&format!("unknown group name {}", repr(&name)), back)
            })?
        } else {
            let bad = || {
                self.scanner.error(
                    &format!("bad character in group name {}", repr(&name)),
                    back,
                )
            };
            let number = python_int(&name).ok_or_else(bad)?;
            if number == 0 {
                return Err(self.scanner.error("bad group number", back));
            }
            let group = usize::try_from(number).unwrap_or(usize::MAX);
            if number >= MAX_REPEAT / 4 {
                return Err(self
                    .scanner
                    .error(&format!("invalid group reference {number}"), back));
            }
            if !self.conditions.iter().any(|&(known, _)| known == group) {
                self.conditions.push((group, self.scanner.tell() - back));
            }
            group
        };
        self.check_look_behind(group)?;
        if depth + 1 > NEST_MAX {
            return Err(self
                .scanner
                .error(&format!("groups nested more than {NEST_MAX} deep"), 0));
        }
        let yes = self.sequence(flags, depth + 1, false)?;
        let mut no = None;
        if self.scanner.eat('|')? {
            no = Some(self.sequence(flags, depth + 1, false)?);
            if self.scanner.next_is('|') {
                return Err(self
                    .scanner
                    .error("conditional backref with more than two branches", 0));
            }
        }
        self.close(start)?;
        Ok(Opened::Done(Node::Conditional { group, yes, no }))
    }

    /// The contents of a group, up to its end.
    pub(super) fn group(
        &mut self,
        opened: Opened,
        start: usize,
        flags: Flags,
        depth: usize,
    ) -> Result<Node, PatternError> {
        let Opened::Group {
            name,
            capture,
            atomic,
            add,
            del,
        } = opened
        else {
            return Err(self.scanner.error("unexpected end of pattern", 0));
        };
        let index = if capture { self.open_group(name)? } else { 0 };
        let body = self.alternation(flags.scoped(add, del), depth + 1)?;
        self.close(start)?;
        if atomic {
            return Ok(Node::Atomic(body));
        }
        let width = ast::width(&body, &self.widths);
        if index > 0 {
            self.widths[index] = Some(width);
        }
        Ok(Node::Group { index, body, width })
    }

    fn open_group(&mut self, name: Option<String>) -> Result<usize, PatternError> {
        let index = self.widths.len();
        self.widths.push(None);
        if let Some(name) = name {
            let back = name.chars().count() + 1;
            if let Some(known) = self.names.get(&name) {
                let shown = repr(&name);
                let message = format!(
                    "redefinition of group name {shown} as group {index}; was group {known}"
                );
                return Err(self.scanner.error(&message, back));
            }
            self.names.insert(name, index);
        }
        Ok(index)
    }

    fn close(&mut self, start: usize) -> Result<(), PatternError> {
        if self.scanner.eat(')')? {
            return Ok(());
        }
        Err(self
            .scanner
            .error_at("missing ), unterminated subpattern", start))
    }

    fn check_name(&self, name: &str) -> Result<(), PatternError> {
        if is_identifier(name) {
            return Ok(());
        }
        let message = format!("bad character in group name {}", repr(name));
        Err(self.scanner.error(&message, name.chars().count() + 1))
    }
}

/// `str.isidentifier`.
fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c == '_' || unicode_ident::is_xid_start(c))
        && chars.all(unicode_ident::is_xid_continue)
}

/// `repr` of a string.
fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut shown = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => shown.push_str("\\\\"),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if c == quote => {
                shown.push('\\');
                shown.push(c);
            }
            ' ' => shown.push(' '),
            c if !c.is_control() && !c.is_whitespace() => shown.push(c),
            c if u32::from(c) < 0x100 => {
                escaped(&mut shown, format_args!("\\x{:02x}", u32::from(c)));
            }
            c => escaped(&mut shown, format_args!("\\u{:04x}", u32::from(c))),
        }
    }
    shown.push(quote);
    shown
}

fn escaped(shown: &mut String, escape: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = std::fmt::Write::write_fmt(shown, escape);
}
