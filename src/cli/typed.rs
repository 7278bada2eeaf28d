//! Commands that the operator may type next, as he has to type them: with the configuration that was read, quoted for
//! his shell, and broken on narrow screens in a way that the shell takes, too.

use std::io::Write;
use std::path::Path;

use super::Globals;
use super::lines::line_of;
use super::screen::{Screen, Tone, width_of};
use crate::domain::text::{escape, shell_quote};
use crate::error::Result;

/// The beginning of each command: the program, and the files that were named to it.
#[derive(Debug, Clone)]
pub(super) struct Program(Vec<String>);

impl Program {
    pub(super) fn of(globals: &Globals) -> Self {
        let mut words = vec!["auto-dispatcher".to_owned()];
        for (option, file) in [("--config", &globals.config), ("--netrc", &globals.netrc)] {
            if let Some(file) = file {
                words.push(format!("{option} {}", quoted(file)));
            }
        }
        Self(words)
    }

    /// The words of a command; each of them is quoted where it has to be.
    pub(super) fn with(&self, words: &[&str]) -> Vec<String> {
        let more = words.iter().map(|&word| word.to_owned());
        self.0.iter().cloned().chain(more).collect()
    }
}

/// A path as an argument.
pub(super) fn quoted(path: &Path) -> String {
    shell_quote(&path.to_string_lossy())
}

/// Prints a command behind an indent.
pub(super) fn print_command(
    words: &[String],
    indent: usize,
    screen: &Screen,
    out: &mut dyn Write,
) -> Result<()> {
    let room = screen.width.map(|width| width.saturating_sub(indent + 2));
    let mut line = String::new();
    let mut margin = indent;
    let mut print = |margin: usize, line: &str, end: &str| {
        let shown = escape(line);
        let shown = screen.paint(Tone::Busy, &shown);
        line_of(out, &format!("{}{shown}{end}", " ".repeat(margin)))
    };
    for word in words {
        let longer = width_of(&line) + 1 + width_of(word);
        if !line.is_empty() && room.is_some_and(|room| longer > room) {
            print(margin, &line, " \\")?;
            line.clear();
            margin = indent + 2;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    print(margin, &line, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(width: Option<usize>) -> String {
        let globals = Globals {
            config: Some("/svn/prod's/rules.cfg".into()),
            netrc: None,
        };
        let words = Program::of(&globals).with(&["retry", "12", "13"]);
        let screen = Screen {
            colours: false,
            width,
        };
        let mut out = Vec::new();
        print_command(&words, 2, &screen, &mut out).expect("printed");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_command_is_quoted_and_breaks_where_the_shell_goes_on() {
        let whole = "  auto-dispatcher --config '/svn/prod'\\''s/rules.cfg' retry 12 13\n";
        assert_eq!(printed(None), whole);
        assert_eq!(printed(Some(80)), whole);
        assert_eq!(
            printed(Some(40)),
            "  auto-dispatcher \\\n    --config '/svn/prod'\\''s/rules.cfg' \\\n    retry 12 13\n"
        );
    }
}
