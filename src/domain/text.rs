//! Hostile text made harmless for screens, logs and line-wise output. What is stored and sent stays
//! as it is; only what people look at passes through here.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with everything that could move a cursor, end a line or reverse the reading direction
/// written as an escape (`\n`, `\t`, `\x1b`, `\u{202e}`), and a backslash left alone.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if !is_hostile(c) => shown.push(c),
            // Writing to a String does not fail.
            c if c.is_ascii() => drop(write!(shown, "\\x{:02x}", c as u32)),
            c => drop(write!(shown, "\\u{{{:x}}}", c as u32)),
        }
    }
    Cow::Owned(shown)
}

/// One object of JSON with what [`escape`] would change written as `\u202e`. JSON itself writes no more than the
/// controls of ASCII so, and everything else can only stand in its strings.
pub fn escape_json(object: &str) -> Cow<'_, str> {
    if !object.chars().any(is_hostile) {
        return Cow::Borrowed(object);
    }
    let mut shown = String::with_capacity(object.len() + 8);
    for c in object.chars() {
        if is_hostile(c) {
            // All of them lie in the first plane. Writing to a String does not fail.
            let _ = write!(shown, "\\u{:04x}", c as u32);
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Controls of all kinds, line and paragraph separators, bidirectional overrides and the byte order mark.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}'
        )
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// A size for people.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut unit = UNITS[0];
    #[expect(
        clippy::cast_precision_loss,
        reason = "one digit behind the point is shown"
    )]
    let mut value = size as f64 / 1024.0;
    for next in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `word` quoted for a POSIX shell, always inside single quotes.
pub fn shell_quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_untouched() {
        assert!(matches!(
            escape("中文 包-1.tar"),
            Cow::Borrowed("中文 包-1.tar")
        ));
    }

    #[test]
    fn controls_and_direction_marks_are_escaped() {
        assert_eq!(
            escape("a\u{1b}[31m\nb\u{202e}\u{85}"),
            "a\\x1b[31m\\nb\\u{202e}\\u{85}"
        );
    }

    #[test]
    fn json_stays_the_same_json() {
        let text = "a\u{7f}\u{85}\u{202e}\u{2028}\u{feff}\n\\ \"中文\"";
        let line = serde_json::to_string(text).unwrap();
        let shown = escape_json(&line);
        assert_eq!(shown, r#""a\u007f\u0085\u202e\u2028\ufeff\n\\ \"中文\"""#);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        assert!(matches!(escape_json(r#"{"a":"中文"}"#), Cow::Borrowed(_)));
    }

    #[test]
    fn a_quoted_word_survives_a_shell() {
        assert_eq!(shell_quote("it's $(x)"), r"'it'\''s $(x)'");
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(5 * 1024 * 1024 * 1024), "5.0 GiB");
    }
}
