//! What a command prints to: whether colours are wanted there, and how wide it is. Knows nothing of what is printed.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// How a piece of text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// All well.
    Good,
    /// Somebody has to look at it.
    Bad,
    /// It may need somebody.
    Warn,
    /// It is being worked at.
    Busy,
    /// Less important than the rest.
    Dim,
}

impl Tone {
    fn style(self) -> Style {
        let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Good => colour(AnsiColor::Green),
            Self::Bad => colour(AnsiColor::Red).bold(),
            Self::Warn => colour(AnsiColor::Yellow),
            Self::Busy => colour(AnsiColor::Cyan),
            Self::Dim => Style::new().dimmed(),
        }
    }
}

/// Where output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Screen {
    /// Whether colours are shown.
    pub colours: bool,
    /// Columns; none: as many as it takes.
    pub width: Option<usize>,
}

/// Narrower than that nothing can be laid out.
const NARROWEST: usize = 30;

impl Screen {
    /// Stdout: colours on a terminal that can show them unless `NO_COLOR` is set; as wide as `COLUMNS` says or the
    /// terminal is, and without limit in a pipe or a file.
    pub(super) fn stdout() -> Self {
        Self::of(&std::io::stdout())
    }

    /// The same of stderr.
    pub(super) fn stderr() -> Self {
        Self::of(&std::io::stderr())
    }

    fn of(stream: &(impl IsTerminal + AsFd)) -> Self {
        let is_terminal = stream.is_terminal();
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let can_show = set("TERM").is_none_or(|term| term != "dumb");
        let told = set("COLUMNS").and_then(|columns| columns.to_str()?.parse().ok());
        let seen = || {
            let size = is_terminal.then(|| rustix::termios::tcgetwinsize(stream).ok())?;
            size.map(|size| usize::from(size.ws_col))
        };
        Self {
            colours: is_terminal && can_show && set("NO_COLOR").is_none(),
            width: told
                .or_else(seen)
                .filter(|&width| width > 0)
                .map(|width| width.max(NARROWEST)),
        }
    }

    /// `text` in its tone. What could harm a terminal must have been escaped before.
    pub(super) fn paint<'a>(&self, tone: Tone, text: &'a str) -> Cow<'a, str> {
        if !self.colours || tone == Tone::Plain || text.is_empty() {
            return Cow::Borrowed(text);
        }
        let style = tone.style();
        Cow::Owned(format!("{style}{text}{style:#}"))
    }

    /// `text` in lines that fit behind an indent of so many columns.
    pub(super) fn wrap(&self, text: &str, indent: usize) -> Vec<String> {
        match self.width {
            Some(width) => wrap(text, width.saturating_sub(indent).max(NARROWEST / 2)),
            None => vec![text.to_owned()],
        }
    }
}

/// Columns that `text` takes.
pub(super) fn width_of(text: &str) -> usize {
    text.width()
}

/// `text`, shortened in its middle to at most so many columns: of a path, both ends tell most.
pub(super) fn shorten(text: &str, columns: usize) -> String {
    if width_of(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    let tail_room = room / 2;
    let mut tail: Vec<char> = Vec::new();
    let mut taken = 0;
    for c in text.chars().rev() {
        let wide = c.width().unwrap_or(0);
        if taken + wide > tail_room {
            break;
        }
        taken += wide;
        tail.push(c);
    }
    let mut shown = String::new();
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if taken + wide > room {
            break;
        }
        taken += wide;
        shown.push(c);
    }
    shown.push('…');
    shown.extend(tail.iter().rev());
    shown
}

/// `text` in lines of at most so many columns, broken at blanks where there are any.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        let bare = width_of(word.trim_end());
        if used > 0 && used + bare > columns {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
            used = 0;
        }
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if used + wide > columns && c != ' ' {
                lines.push(std::mem::take(&mut line).trim_end().to_owned());
                used = 0;
            }
            used += wide;
            line.push(c);
        }
    }
    let rest = line.trim_end();
    if !rest.is_empty() || lines.is_empty() {
        lines.push(rest.to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_loses_its_middle() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefgh", 5), "ab…gh");
        assert_eq!(shorten("核心系统升级包.tar", 9), "核心….tar");
        assert_eq!(shorten("abc", 1), "…");
    }

    #[test]
    fn lines_break_at_blanks_and_within_what_has_none() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("核心系统", 5), ["核心", "系统"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn colours_are_shown_only_where_they_are_wanted() {
        let plain = Screen::default();
        assert_eq!(plain.paint(Tone::Bad, "x"), "x");
        let coloured = Screen {
            colours: true,
            ..plain
        };
        let shown = coloured.paint(Tone::Bad, "x");
        assert!(
            shown.starts_with('\u{1b}') && shown.ends_with("\u{1b}[0m"),
            "{shown:?}"
        );
    }
}
