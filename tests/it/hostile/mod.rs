//! Hosts, names and texts that mean harm, through the whole pipeline: nothing of it runs, escapes its place, reaches
//! a screen or a log raw, or is swallowed without a bound.

mod floods;
mod names;
mod texts;

/// What may be neither on a screen nor in a log: a terminal obeys it, or it turns the direction of reading.
fn is_forbidden(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

/// Neither bytes that are no text, nor characters that are forbidden, nor a line that somebody forged.
#[track_caller]
fn assert_harmless(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    for line in text.split('\n') {
        if let Some(c) = line.chars().find(|&c| is_forbidden(c)) {
            panic!("{what} has {c:?} raw: {line:?}");
        }
        assert!(!line.starts_with("FORGED"), "{what} has a forged line");
    }
}
