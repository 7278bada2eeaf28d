//! The pre-scan: lays an INI text out as Python 3.11's `ConfigParser._read` does, notes the line of every
//! section and key, finds every mistake, and writes normalised text that the configparser crate cannot
//! misread.
//!
//! In the normalised text every name and key carries [`GUARD`], so that blanks are kept. For each value stands its
//! number: a value may be a password, and the crate gives memory up as it is.

use std::collections::HashMap;
use std::fmt::Write as _;

use zeroize::Zeroizing;

/// Stands before (and, for names, behind) whatever has to survive the crate as it is.
pub(super) const GUARD: char = '|';

/// The section whose keys all others inherit.
pub(super) const DEFAULT: &str = "DEFAULT";

/// A line with a mistake, and what it is. Nothing of a value is quoted.
pub(super) type LineMistake = (usize, String);

/// A section or key and the line it stands at.
pub(super) struct Place {
    pub(super) line: usize,
    /// The lines of a section's keys, in the order of their first appearance.
    pub(super) key_lines: Vec<usize>,
}

/// What the pre-scan found.
pub(super) struct Layout<'a> {
    /// For the configparser crate.
    pub(super) text: String,
    /// The lines of each value, in the order of the keys.
    values: Vec<Vec<&'a str>>,
    /// The sections in the order of their first appearance.
    pub(super) places: Vec<Place>,
    pub(super) mistakes: Vec<LineMistake>,
}

impl Layout<'_> {
    /// The value of this number, without the empty lines at its end.
    pub(super) fn value(&self, number: &str) -> Option<Zeroizing<String>> {
        let lines = self.values.get(number.parse::<usize>().ok()?)?;
        let filled = lines.iter().rposition(|line| !line.is_empty());
        let lines = lines.get(..=filled.unwrap_or(0)).unwrap_or_default();
        // With room for all of it: what grows is moved, and left behind.
        let bytes = lines.iter().map(|line| line.len() + 1).sum();
        let mut value = Zeroizing::new(String::with_capacity(bytes));
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                value.push('\n');
            }
            value.push_str(line);
        }
        Some(value)
    }
}

/// Python's `str.isspace`, which is also what `str.strip` and `\s` go by.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

struct Scan<'a> {
    layout: Layout<'a>,
    sections: HashMap<String, usize>,
    keys: HashMap<(usize, String), usize>,
    /// The section that keys go to; none before the first header and in a section that is refused.
    current: Option<usize>,
    /// Whether any header was seen: before it every line is a mistake.
    seen_header: bool,
    told_header_missing: bool,
    /// Whether a key is open that deeper lines continue.
    in_value: bool,
    indent: usize,
}

/// Lays `text` out; its line ends are plain.
pub(super) fn scan(text: &str) -> Layout<'_> {
    let mut scan = Scan {
        layout: Layout {
            text: String::new(),
            values: Vec::new(),
            places: Vec::new(),
            mistakes: Vec::new(),
        },
        sections: HashMap::new(),
        keys: HashMap::new(),
        current: None,
        seen_header: false,
        told_header_missing: false,
        in_value: false,
        indent: 0,
    };
    for (number, line) in (1..).zip(text.split('\n')) {
        scan.line(number, line);
    }
    scan.layout
}

impl<'a> Scan<'a> {
    fn line(&mut self, number: usize, line: &'a str) {
        let content = line.trim_matches(is_space);
        if content.starts_with(['#', ';']) {
            return;
        }
        if content.is_empty() {
            if self.in_value {
                self.continuation("");
            }
            return;
        }
        let indent = line.chars().take_while(|&c| is_space(c)).count();
        if self.in_value && indent > self.indent {
            self.continuation(content);
            return;
        }
        self.indent = indent;
        if let Some(name) = header(content) {
            self.section(number, name);
        } else if self.seen_header {
            self.option(number, content);
        } else if !self.told_header_missing {
            self.told_header_missing = true;
            self.mistake(
                number,
                "stands before the first [section]; begin a section above it",
            );
        }
    }

    fn continuation(&mut self, content: &'a str) {
        // Of a key that was refused: then the file is, and nobody reads its values.
        if let Some(value) = self.layout.values.last_mut() {
            value.push(content);
        }
    }

    fn section(&mut self, number: usize, name: &str) {
        self.seen_header = true;
        self.in_value = false;
        if let Some(&index) = self.sections.get(name) {
            if name == DEFAULT {
                self.current = Some(index);
                self.write_header(name);
                return;
            }
            let first = self.layout.places.get(index).map_or(0, |place| place.line);
            self.mistake(
                number,
                &format!(
                    "section [{name}] stands here again, first at line {first}; make one of the two"
                ),
            );
            self.current = None;
            return;
        }
        let index = self.layout.places.len();
        self.sections.insert(name.to_owned(), index);
        self.layout.places.push(Place {
            line: number,
            key_lines: Vec::new(),
        });
        self.current = Some(index);
        self.write_header(name);
    }

    fn write_header(&mut self, name: &str) {
        for part in ["[|", name, "|]\n"] {
            self.layout.text.push_str(part);
        }
    }

    fn option(&mut self, number: usize, content: &'a str) {
        let Some((key, value)) = content.split_once(['=', ':']) else {
            let what = if content == "[]" {
                "a section without a name: as a regular expression it would take every package"
            } else {
                "has neither `=` nor `:`; a line that continues a value is indented deeper than its key"
            };
            self.mistake(number, what);
            return;
        };
        let key = key.trim_end_matches(is_space).to_lowercase();
        if key.is_empty() {
            self.in_value = false;
            self.mistake(number, "has no key before the `=` or `:`");
            return;
        }
        self.in_value = true;
        let Some(section) = self.current else { return };
        if let Some(first) = self.keys.get(&(section, key.clone())) {
            let what = match shown_key(&key) {
                Some(key) => format!(
                    "key `{key}` stands here again, first at line {first}; take one of them out"
                ),
                None => format!("the key of line {first} stands here again; take one of them out"),
            };
            self.mistake(number, &what);
            return;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(self.layout.text, "|{key}={}", self.layout.values.len());
        self.layout.values.push(vec![value.trim_matches(is_space)]);
        self.keys.insert((section, key), number);
        if let Some(place) = self.layout.places.get_mut(section) {
            place.key_lines.push(number);
        }
    }

    fn mistake(&mut self, number: usize, what: &str) {
        self.layout.mistakes.push((number, what.to_owned()));
    }
}

/// The name in a section header, as `\[(?P<header>.+)\]` matches it at the start.
fn header(content: &str) -> Option<&str> {
    let inner = content.strip_prefix('[')?;
    let (name, _) = inner.rsplit_once(']')?;
    (!name.is_empty()).then_some(name)
}

/// A key as it may be shown: what does not look like a key could be part of a value that lost its
/// indentation.
pub(crate) fn shown_key(key: &str) -> Option<&str> {
    let plain = key.len() <= 40
        && key.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte)
        });
    plain.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_value_is_in_the_text_for_the_crate() {
        let layout = scan("[rule]\npassword = one\n  two\n\nhost : three\n\n");
        assert_eq!(layout.text, "[|rule|]\n|password=0\n|host=1\n");
        let value = |number| layout.value(number).map(|value| value.to_string());
        assert_eq!(value("0").as_deref(), Some("one\ntwo"));
        assert_eq!(value("1").as_deref(), Some("three"));
        assert_eq!(value("2"), None);
    }
}
