//! Backslash sequences, outside and inside character sets, and inline flags: what they mean, and which of
//! them Python refuses. Knows nothing of groups beyond their numbers.

use super::PatternError;
use super::ast::{At, Category, Flags, Member, Node};
use super::parser::Parser;
use super::scanner::Token;

impl Parser {
    /// The node that `\c` begins, outside sets.
    pub(super) fn escape(&mut self, c: char, flags: Flags) -> Result<Node, PatternError> {
        let ascii = flags.has(Flags::ASCII);
        match c {
            'A' => return Ok(Node::At(At::Start)),
            'Z' => return Ok(Node::At(At::End)),
            'b' | 'B' => {
                return Ok(Node::At(At::Boundary {
                    negated: c == 'B',
                    ascii,
                }));
            }
            _ => {}
        }
        if let Some(member) = category(c) {
            return Ok(Node::Set {
                members: vec![member],
                negated: false,
                flags,
            });
        }
        if ('1'..='9').contains(&c) {
            return self.octal_or_reference(c, flags);
        }
        let code = match c {
            '0' => octal(&self.scanner.take_while(2, |c| c.is_digit(8))?),
            c => self.literal_escape(c)?,
        };
        Ok(Node::One {
            code,
            negated: false,
            flags,
        })
    }

    /// The member that `\c` stands for inside a set.
    pub(super) fn set_escape(&mut self, c: char) -> Result<Member, PatternError> {
        if c == 'b' {
            return Ok(Member::One(8));
        }
        if let Some(member) = category(c) {
            return Ok(member);
        }
        if !c.is_digit(8) {
            return self.literal_escape(c).map(Member::One);
        }
        let digits = format!("{c}{}", self.scanner.take_while(2, |c| c.is_digit(8))?);
        self.octal_in_range(&digits).map(Member::One)
    }

    /// Escapes that mean one character wherever they stand.
    fn literal_escape(&mut self, c: char) -> Result<u32, PatternError> {
        match c {
            'a' => Ok(7),
            'f' => Ok(12),
            'n' => Ok(10),
            'r' => Ok(13),
            't' => Ok(9),
            'v' => Ok(11),
            'x' => self.hexadecimal(c, 2),
            'u' => self.hexadecimal(c, 4),
            'U' => self.hexadecimal(c, 8),
            'N' => self.named_character(),
            c if c.is_ascii_alphanumeric() => {
                Err(self.scanner.error(&format!("bad escape \\{c}"), 2))
            }
            c => Ok(u32::from(c)),
        }
    }

    fn hexadecimal(&mut self, letter: char, digits: usize) -> Result<u32, PatternError> {
        let hex = self.scanner.take_while(digits, |c| c.is_ascii_hexdigit())?;
        if hex.len() < digits {
            let message = format!("incomplete escape \\{letter}{hex}");
            return Err(self.scanner.error(&message, hex.len() + 2));
        }
        match u32::from_str_radix(&hex, 16) {
            Ok(code) if code <= 0x0010_ffff => Ok(code),
            _ => Err(self
                .scanner
                .error(&format!("bad escape \\{letter}{hex}"), hex.len() + 2)),
        }
    }

    /// `\N{...}`: the thirty thousand names of Unicode are not built in.
    fn named_character(&mut self) -> Result<u32, PatternError> {
        if !self.scanner.eat('{')? {
            return Err(self.scanner.error("missing {", 0));
        }
        let name = self.scanner.take_until('}', "character name")?;
        let message = format!(
            "character names such as \\N{{{name}}} are not known here; write \\uXXXX instead"
        );
        Err(self.scanner.error(&message, name.chars().count() + 4))
    }

    /// `\1`: three octal digits are a character, anything else is a group.
    fn octal_or_reference(&mut self, first: char, flags: Flags) -> Result<Node, PatternError> {
        let mut digits = String::from(first);
        digits.push_str(&self.scanner.take_while(1, |c| c.is_ascii_digit())?);
        if digits.len() == 2 && digits.chars().all(|c| c.is_digit(8)) {
            let third = self.scanner.take_while(1, |c| c.is_digit(8))?;
            if !third.is_empty() {
                digits.push_str(&third);
                let code = self.octal_in_range(&digits)?;
                return Ok(Node::One {
                    code,
                    negated: false,
                    flags,
                });
            }
        }
        let group = digits
            .bytes()
            .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        if group >= self.widths.len() {
            return Err(self
                .scanner
                .error(&format!("invalid group reference {group}"), digits.len()));
        }
        if !self.is_closed(group) {
            return Err(self
                .scanner
                .error("cannot refer to an open group", digits.len() + 1));
        }
        self.check_look_behind(group)?;
        Ok(Node::BackReference {
            group,
            ignore_case: flags.has(Flags::IGNORECASE),
        })
    }

    fn octal_in_range(&self, digits: &str) -> Result<u32, PatternError> {
        let code = octal(digits);
        if code > 0o377 {
            let message = format!("octal escape value \\{digits} outside of range 0-0o377");
            return Err(self.scanner.error(&message, digits.len() + 1));
        }
        Ok(code)
    }

    /// A set in brackets; the opening one has been taken.
    pub(super) fn set(&mut self, flags: Flags) -> Result<Node, PatternError> {
        let start = self.scanner.tell() - 1;
        let unterminated = "unterminated character set";
        let negated = self.scanner.eat('^')?;
        let mut members: Vec<Member> = Vec::new();
        loop {
            let Some(this) = self.scanner.take()? else {
                return Err(self.scanner.error_at(unterminated, start));
            };
            if this.is(']') && !members.is_empty() {
                break;
            }
            let low = self.set_member(this)?;
            if !self.scanner.eat('-')? {
                members.push(low);
                continue;
            }
            let Some(that) = self.scanner.take()? else {
                return Err(self.scanner.error_at(unterminated, start));
            };
            if that.is(']') {
                members.push(low);
                members.push(Member::One(u32::from('-')));
                break;
            }
            match (low, self.set_member(that)?) {
                (Member::One(low), Member::One(high)) if low <= high => {
                    members.push(Member::Range(low, high));
                }
                _ => {
                    let shown = format!("{}-{}", this.text(), that.text());
                    let message = format!("bad character range {shown}");
                    return Err(self.scanner.error(&message, shown.chars().count()));
                }
            }
        }
        let mut unique: Vec<Member> = Vec::with_capacity(members.len());
        for member in members {
            if !unique.contains(&member) {
                unique.push(member);
            }
        }
        // A set of one character is that character: under (?i) Python treats the two differently.
        if let [Member::One(code)] = unique[..] {
            return Ok(Node::One {
                code,
                negated,
                flags,
            });
        }
        Ok(Node::Set {
            members: unique,
            negated,
            flags,
        })
    }

    fn set_member(&mut self, token: Token) -> Result<Member, PatternError> {
        match token {
            Token::Char(c) => Ok(Member::One(u32::from(c))),
            Token::Escape(c) => self.set_escape(c),
        }
    }

    /// `(?flags)`, which become global (none is returned), or the flags that `(?add-del:` turns on and off.
    pub(super) fn inline_flags(
        &mut self,
        first: char,
    ) -> Result<Option<(Flags, Flags)>, PatternError> {
        let mut add = Flags::default();
        let mut end = first;
        if first != '-' {
            (add, end) = self.flags_on(first)?;
        }
        if end == ')' {
            self.add_global(add);
            return Ok(None);
        }
        if add.has(Flags::TEMPLATE) {
            return Err(self
                .scanner
                .error("bad inline flags: cannot turn on global flag", 1));
        }
        let del = if end == '-' {
            self.flags_off()?
        } else {
            Flags::default()
        };
        if del.has(Flags::TEMPLATE) {
            return Err(self
                .scanner
                .error("bad inline flags: cannot turn off global flag", 1));
        }
        if add.has(del) {
            return Err(self
                .scanner
                .error("bad inline flags: flag turned on and off", 1));
        }
        Ok(Some((add, del)))
    }

    fn flags_on(&mut self, first: char) -> Result<(Flags, char), PatternError> {
        let mut add = Flags::default();
        let mut letter = first;
        loop {
            let flag = Flags::of_letter(letter).unwrap_or_default();
            if flag == Flags::LOCALE {
                let message = "bad inline flags: cannot use 'L' flag with a str pattern";
                return Err(self.scanner.error(message, 0));
            }
            add = add.with(flag);
            if flag.has(Flags::TYPES) && add.and(Flags::TYPES) != flag {
                let message = "bad inline flags: flags 'a', 'u' and 'L' are incompatible";
                return Err(self.scanner.error(message, 0));
            }
            letter = self.next_flag("missing -, : or )", &[')', '-', ':'])?;
            if matches!(letter, ')' | '-' | ':') {
                return Ok((add, letter));
            }
        }
    }

    fn flags_off(&mut self) -> Result<Flags, PatternError> {
        let mut del = Flags::default();
        let mut letter = self.next_flag("missing flag", &[])?;
        loop {
            let flag = Flags::of_letter(letter).unwrap_or_default();
            if flag.has(Flags::TYPES) {
                let message = "bad inline flags: cannot turn off flags 'a', 'u' and 'L'";
                return Err(self.scanner.error(message, 0));
            }
            del = del.with(flag);
            letter = self.next_flag("missing :", &[':'])?;
            if letter == ':' {
                return Ok(del);
            }
        }
    }

    /// The next flag letter, or one of `ends`.
    fn next_flag(&mut self, missing: &str, ends: &[char]) -> Result<char, PatternError> {
        match self.scanner.take()? {
            None => Err(self.scanner.error(missing, 0)),
            Some(Token::Char(c)) if ends.contains(&c) || Flags::of_letter(c).is_some() => Ok(c),
            Some(Token::Char(c)) if c.is_alphabetic() => Err(self.scanner.error("unknown flag", 1)),
            Some(other) => Err(self.scanner.error(missing, other.text().chars().count())),
        }
    }
}

/// `\d`, `\D` and so on.
fn category(c: char) -> Option<Member> {
    let category = match c.to_ascii_lowercase() {
        'd' => Category::Digit,
        's' => Category::Space,
        'w' => Category::Word,
        _ => return None,
    };
    Some(Member::Category {
        category,
        negated: c.is_ascii_uppercase(),
    })
}

fn octal(digits: &str) -> u32 {
    digits
        .bytes()
        .fold(0, |sum, digit| sum * 8 + u32::from(digit - b'0'))
}
