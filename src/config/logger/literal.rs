//! The Python expressions that `args` and `kwargs` of a handler hold: tuples, dictionaries, strings,
//! numbers with `*` and `+`, and a few names. Read, never evaluated.

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    Text(String),
    Number(i64),
    /// `sys.stderr`, `None`, `True` and their like.
    Name(String),
}

/// Reads a tuple such as `("a.log", "a", 10*1024*1024, 5)`; a value without parentheses is refused, as
/// Python could not spread it.
pub(super) fn tuple(text: &str) -> Result<Vec<Literal>, String> {
    let mut reader = Reader { rest: text.trim() };
    let close = match reader.next() {
        Some('(') => ')',
        Some('[') => ']',
        _ => return Err("is no tuple such as (\"auto-dispatcher.log\", \"a\")".to_owned()),
    };
    let mut values = Vec::new();
    loop {
        if reader.take(close) {
            break;
        }
        values.push(reader.sum()?);
        if !reader.take(',') {
            if reader.take(close) {
                // `("x")` is a text in parentheses; Python would spread its letters.
                if close == ')' && values.len() == 1 {
                    return Err(
                        "has one value without a comma behind it; write (value,)".to_owned()
                    );
                }
                break;
            }
            return Err("is no tuple: a comma or its end is missing".to_owned());
        }
    }
    reader.end().map(|()| values)
}

/// Reads a dictionary such as `{'maxBytes': 1024}`.
pub(super) fn dictionary(text: &str) -> Result<Vec<(String, Literal)>, String> {
    let wrong = || "is no dictionary such as {'maxBytes': 1024}".to_owned();
    let mut reader = Reader { rest: text.trim() };
    if !reader.take('{') {
        return Err(wrong());
    }
    let mut pairs = Vec::new();
    while !reader.take('}') {
        let Literal::Text(key) = reader.sum()? else {
            return Err(wrong());
        };
        if !reader.take(':') {
            return Err(wrong());
        }
        pairs.push((key, reader.sum()?));
        if !reader.take(',') && !reader.rest.trim_start().starts_with('}') {
            return Err(wrong());
        }
    }
    reader.end().map(|()| pairs)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
        Some(c)
    }

    /// Takes `wanted`, blanks before it skipped.
    fn take(&mut self, wanted: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn end(&self) -> Result<(), String> {
        if self.rest.trim().is_empty() {
            Ok(())
        } else {
            Err("has something behind its end".to_owned())
        }
    }

    /// Products, added.
    fn sum(&mut self) -> Result<Literal, String> {
        let mut sum = self.product()?;
        while self.take('+') {
            sum = match (sum, self.product()?) {
                (Literal::Number(a), Literal::Number(b)) => {
                    Literal::Number(a.checked_add(b).ok_or_else(too_large)?)
                }
                (Literal::Text(a), Literal::Text(b)) => Literal::Text(a + &b),
                _ => return Err("adds what cannot be added".to_owned()),
            };
        }
        Ok(sum)
    }

    fn product(&mut self) -> Result<Literal, String> {
        let mut product = self.atom()?;
        while self.take('*') {
            product = match (product, self.atom()?) {
                (Literal::Number(a), Literal::Number(b)) => {
                    Literal::Number(a.checked_mul(b).ok_or_else(too_large)?)
                }
                _ => return Err("multiplies what is no number".to_owned()),
            };
        }
        Ok(product)
    }

    fn atom(&mut self) -> Result<Literal, String> {
        self.rest = self.rest.trim_start();
        let word_end = self
            .rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(word_end);
        match rest.chars().next() {
            Some('"' | '\'') if word.len() <= 1 => {
                let raw = matches!(word, "r" | "R");
                if !(raw || matches!(word, "" | "u" | "U")) {
                    return Err("holds a kind of text that is not supported".to_owned());
                }
                self.rest = rest;
                self.text(raw).map(Literal::Text)
            }
            _ if word.starts_with(|c: char| c.is_ascii_digit()) => {
                self.rest = rest;
                word.replace('_', "")
                    .parse()
                    .map(Literal::Number)
                    .map_err(|_| "holds no whole number".to_owned())
            }
            _ if !word.is_empty() => {
                self.rest = rest;
                Ok(Literal::Name(word.to_owned()))
            }
            _ => Err("holds something other than texts, whole numbers and sys.stderr".to_owned()),
        }
    }

    fn text(&mut self, raw: bool) -> Result<String, String> {
        let open = || "holds a text without its closing quote".to_owned();
        let quote = self.next().ok_or_else(open)?;
        let mut text = String::new();
        loop {
            match self.next().ok_or_else(open)? {
                c if c == quote => return Ok(text),
                '\n' => return Err(open()),
                '\\' => match self.next().ok_or_else(open)? {
                    c if raw => text.extend(['\\', c]),
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    c @ ('\\' | '\'' | '"') => text.push(c),
                    _ => {
                        return Err(
                            "holds an escape that is not supported; write r\"…\"".to_owned()
                        );
                    }
                },
                c => text.push(c),
            }
        }
    }
}

fn too_large() -> String {
    "holds too large a number".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Literal {
        Literal::Text(text.to_owned())
    }

    #[test]
    fn the_old_files_arguments_are_read() {
        let expected = [
            text("auto-dispatcher.log"),
            text("a"),
            Literal::Number(10 << 20),
            Literal::Number(5),
        ];
        assert_eq!(
            tuple("(\"auto-dispatcher.log\",\"a\",10*1024*1024,5)").unwrap(),
            expected
        );
        assert_eq!(
            tuple("(sys.stderr,)").unwrap(),
            [Literal::Name("sys.stderr".to_owned())]
        );
        assert_eq!(tuple("()").unwrap(), []);
        assert_eq!(
            tuple("[ r'a\\b' , 1_0 + 2, ]").unwrap(),
            [text("a\\b"), Literal::Number(12)]
        );
    }

    #[test]
    fn dictionaries_are_read() {
        let expected = [
            ("maxBytes".to_owned(), Literal::Number(4)),
            ("mode".to_owned(), text("w")),
        ];
        assert_eq!(
            dictionary("{'maxBytes': 2*2, \"mode\": 'w',}").unwrap(),
            expected
        );
        assert_eq!(dictionary("{}").unwrap(), []);
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in [
            "",
            "x",
            "(",
            "(1",
            "(1 2)",
            "('a)",
            "(open('x'),)",
            "(1,) + 2",
            "('x')",
            "(9999999999*9999999999,)",
        ] {
            assert!(tuple(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "{", "{1: 2}", "{'a' 1}", "{'a': 1 'b': 2}"] {
            assert!(dictionary(wrong).is_err(), "{wrong}");
        }
    }
}
