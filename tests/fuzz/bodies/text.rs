//! Hostile text on its way to a screen or a shell: nothing that a terminal obeys is left of it, plain text is left
//! alone, and a quoted word is one word.

use std::borrow::Cow;

use auto_dispatcher::domain::log_format::LogFormat;
use auto_dispatcher::domain::revision;
use auto_dispatcher::domain::text::{escape, escape_json, shell_quote};

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let shown = escape(&text);
    assert!(!shown.contains(char::is_control), "{shown:?}");
    assert!(!shown.contains(['\u{202e}', '\u{2028}', '\u{2066}', '\u{feff}']));
    assert!(matches!(escape(&shown), Cow::Borrowed(again) if again == shown));
    let json = serde_json::Value::from(&*text).to_string();
    let safe = escape_json(&json);
    assert!(!safe.contains(char::is_control) && !safe.contains(['\u{202e}', '\u{2028}']));
    assert_eq!(
        serde_json::from_str::<String>(&safe).ok().as_deref(),
        Some(&*text)
    );
    let plain = |c: char| c.is_ascii_graphic() || c == ' ';
    assert!(shown == text || !text.chars().all(plain));
    assert_eq!(
        shell_words::split(&shell_quote(&text)),
        Ok(vec![text.to_string()])
    );
    if let Some(number) = revision::parse(&text) {
        assert_eq!(number.to_string(), zeroless(&text));
    }
    let (format, dates) = text.split_once('\n').unwrap_or((&text, "%Y"));
    drop(LogFormat::parse(format, Some(dates)));
}

fn zeroless(digits: &str) -> &str {
    match digits.trim_start_matches('0') {
        "" => "0",
        rest => rest,
    }
}
