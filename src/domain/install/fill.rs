//! Placeholders in an install command. A value never becomes shell text that somebody could have chosen: where
//! the facts are in the environment the command names the variable, which sh, csh and fish read alike; else the
//! value is quoted. Knows the quotes of a POSIX shell, and that `-c '...'` holds another command.

use super::InstallFacts;
use crate::domain::text::shell_quote;

/// What may stand in braces.
pub const PLACEHOLDERS: [&str; 4] = ["package", "path", "dest_dir", "revision"];

/// A placeholder's value, as a word of its own outside quotes.
type Word<'a> = &'a dyn Fn(&Placeholder<'_>) -> String;

/// One of the four.
struct Placeholder<'a> {
    name: &'static str,
    variable: &'static str,
    value: &'a str,
}

fn placeholders(facts: &InstallFacts) -> [Placeholder<'_>; 4] {
    let one = |name, variable, value| Placeholder {
        name,
        variable,
        value,
    };
    [
        one("{package}", "\"$AD_PACKAGE\"", facts.package.as_str()),
        one("{path}", "\"$AD_PATH\"", &facts.path),
        one("{dest_dir}", "\"$AD_DEST_DIR\"", &facts.dest_dir),
        one("{revision}", "\"$AD_REVISION\"", &facts.revision),
    ]
}

/// The command with `{package}`, `{path}`, `{dest_dir}` and `{revision}` replaced by their quoted values, whatever
/// quotes they stand in. `${path}` is the shell's own and left alone, as is everything else in braces.
pub fn fill(command: &str, facts: &InstallFacts) -> String {
    render(command, &placeholders(facts), &literal)
}

/// The same, but the values stay in the environment (`AD_PATH` and its siblings), except in the argument of an
/// option `-c`, whose shell may have another environment.
pub(super) fn refer(command: &str, facts: &InstallFacts) -> String {
    render(command, &placeholders(facts), &|one| {
        one.variable.to_owned()
    })
}

fn literal(one: &Placeholder<'_>) -> String {
    shell_quote(one.value)
}

/// What surrounds a place in a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Single,
    Double,
    /// `(`, `$(`.
    Parenthesis,
    Backquote,
}

/// The quotes and substitutions that are open.
#[derive(Debug, Default)]
struct Context {
    frames: Vec<Frame>,
    escaped: bool,
}

impl Context {
    fn top(&self) -> Option<Frame> {
        self.frames.last().copied()
    }

    /// The quote that a word has to step out of.
    fn quote(&self) -> &'static str {
        match self.top() {
            Some(Frame::Single) => "'",
            Some(Frame::Double) => "\"",
            _ => "",
        }
    }

    /// Takes one character; `before` is the one in front of it.
    fn step(&mut self, c: char, before: Option<char>) {
        if std::mem::take(&mut self.escaped) {
            return;
        }
        let quoted = self.top() == Some(Frame::Double);
        match (c, self.top()) {
            ('\'', Some(Frame::Single))
            | ('"', Some(Frame::Double))
            | (')', Some(Frame::Parenthesis))
            | ('`', Some(Frame::Backquote)) => {
                self.frames.pop();
            }
            (_, Some(Frame::Single)) => {}
            ('\\', _) => self.escaped = true,
            ('\'', _) if !quoted => self.frames.push(Frame::Single),
            ('"', _) => self.frames.push(Frame::Double),
            ('(', _) if !quoted || before == Some('$') => self.frames.push(Frame::Parenthesis),
            ('`', _) => self.frames.push(Frame::Backquote),
            _ => {}
        }
    }
}

fn render(command: &str, all: &[Placeholder<'_>], word: Word<'_>) -> String {
    let mut filled = String::with_capacity(command.len() + 64);
    let mut context = Context::default();
    let mut before = None;
    let mut at = 0;
    while let Some(c) = command[at..].chars().next() {
        let rest = &command[at..];
        if let Some(one) = placeholder(rest, before, all) {
            let quote = context.quote();
            for part in [quote, &word(one), quote] {
                filled.push_str(part);
            }
            context.escaped = false;
            before = None;
            at += one.name.len();
            continue;
        }
        let opens = matches!(c, '\'' | '"') && context.quote().is_empty() && !context.escaped;
        if opens
            && is_option_c(&command[..at])
            && let Some(length) = nested_length(rest, c)
        {
            let inner = &rest[1..length - 1];
            filled.push_str(&render_nested(inner, c, all));
            before = Some(c);
            at += length;
            continue;
        }
        context.step(c, before);
        filled.push(c);
        before = Some(c);
        at += c.len_utf8();
    }
    filled
}

/// The placeholder that a text begins with; after `$` the braces are the shell's own.
fn placeholder<'a, 'b>(
    rest: &str,
    before: Option<char>,
    all: &'a [Placeholder<'b>],
) -> Option<&'a Placeholder<'b>> {
    all.iter()
        .find(|one| rest.starts_with(one.name) && before != Some('$'))
}

/// Whether a command ends in an option like `-c` or `-lc`, whose argument comes next.
fn is_option_c(before: &str) -> bool {
    let words = before.trim_end();
    words.len() < before.len()
        && words
            .rsplit(char::is_whitespace)
            .next()
            .and_then(|word| word.strip_prefix('-'))
            .and_then(|letters| letters.strip_suffix('c'))
            .is_some_and(|letters| letters.bytes().all(|b| b.is_ascii_lowercase()))
}

/// The length of a quoted text, quotes included, that holds more than one word: a command, not a name.
fn nested_length(quoted: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in quoted.char_indices().skip(1) {
        if std::mem::take(&mut escaped) {
            continue;
        }
        if c == quote {
            let inner = &quoted[1..at];
            return inner.contains(char::is_whitespace).then_some(at + 1);
        }
        escaped = c == '\\' && quote == '"';
    }
    None
}

/// A quoted command for another shell: each value is quoted for that shell, then for this one. The rest stays
/// as it is, for this shell to read.
fn render_nested(inner: &str, quote: char, all: &[Placeholder<'_>]) -> String {
    let mut filled = String::from(quote);
    let mut context = Context::default();
    let mut before = None;
    let mut at = 0;
    while let Some(c) = inner[at..].chars().next() {
        let rest = &inner[at..];
        if let Some(one) = placeholder(rest, before, all) {
            let inner_quote = context.quote();
            let text = format!("{inner_quote}{}{inner_quote}", literal(one));
            filled.push(quote);
            filled.push_str(&shell_quote(&text));
            filled.push(quote);
            context.escaped = false;
            before = None;
            at += one.name.len();
            continue;
        }
        // What this shell takes out of a double-quoted text, the other one does not see.
        let hidden = quote == '"' && c == '\\' && rest[1..].starts_with(['"', '\\', '$', '`']);
        if hidden {
            filled.push('\\');
            at += 1;
        }
        if let Some(seen) = inner[at..].chars().next() {
            context.step(seen, before);
            filled.push(seen);
            before = Some(seen);
            at += seen.len_utf8();
        }
    }
    filled.push(quote);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> InstallFacts {
        InstallFacts {
            package: "it's".to_owned(),
            path: "/a b/it's".to_owned(),
            ..InstallFacts::default()
        }
    }

    #[test]
    fn placeholders_are_quoted_and_the_shells_own_are_left_alone() {
        let filled = fill("x {path} ${path} {package}{revision} {other} {", &facts());
        assert_eq!(filled, r"x '/a b/it'\''s' ${path} 'it'\''s''' {other} {");
    }

    #[test]
    fn a_value_that_looks_like_a_placeholder_is_not_filled_again() {
        let facts = InstallFacts {
            package: "{path}".to_owned(),
            path: "/x".to_owned(),
            ..InstallFacts::default()
        };
        assert_eq!(fill("{package}", &facts), "'{path}'");
        assert_eq!(refer("{package}", &facts), "\"$AD_PACKAGE\"");
        assert_eq!(
            refer("sh -c 'echo {package}'", &facts),
            r"sh -c 'echo '''\''{path}'\'''''"
        );
    }

    #[test]
    fn values_stay_in_the_environment_whatever_quotes_they_stand_in() {
        for (command, wanted) in [
            ("x {path}", r#"x "$AD_PATH""#),
            ("x --file={path}", r#"x --file="$AD_PATH""#),
            (r#"x "{path}""#, r#"x """$AD_PATH""""#),
            ("x '{path}'", r#"x ''"$AD_PATH"''"#),
            (r"echo don\'t {path}", r#"echo don\'t "$AD_PATH""#),
            (r#"x "$(f {path})""#, r#"x "$(f "$AD_PATH")""#),
            (r#"x "`f {path}`""#, r#"x "`f "$AD_PATH"`""#),
            (r#"x "(it's {path})""#, r#"x "(it's ""$AD_PATH"")""#),
            ("tar -c '{path}'", r#"tar -c ''"$AD_PATH"''"#),
            ("x ${path} {other}", "x ${path} {other}"),
        ] {
            assert_eq!(refer(command, &facts()), wanted, "{command}");
        }
    }
}
