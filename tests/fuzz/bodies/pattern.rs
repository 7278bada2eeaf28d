//! Python regular expressions: before the first NUL the pattern, behind it the name. What an engine is handed compiles
//! or is too large for it, and the short cut that many rules share agrees with the pattern itself.

use auto_dispatcher::domain::pattern::{MatchError, Pattern, is_plain};

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (source, name) = text.split_once('\0').unwrap_or((&text, "app-1.0.tar"));
    let Ok(pattern) = Pattern::new(source) else {
        return;
    };
    let shared = pattern.plain_regex();
    assert!(shared.is_none() || pattern.is_regular());
    let shared = shared.map(|text| {
        regex::RegexBuilder::new(&text)
            .size_limit(16 << 20)
            .nest_limit(4_000)
            .build()
    });
    if let Some(Err(error)) = &shared {
        assert!(matches!(error, regex::Error::CompiledTooBig(_)), "{error}");
    }
    for name in [name, "", &format!("{name}\n"), source] {
        let found = pattern.matches_at_start(name);
        if let Err(error) = &found {
            is_bounded(error);
        }
        if let (Some(Ok(shared)), Ok(found)) = (&shared, &found)
            && is_plain(name)
        {
            assert_eq!(shared.is_match(name), *found, "{name:?}");
        }
    }
}

/// A pattern that Python takes is refused for its size or its effort, never for its form.
fn is_bounded(MatchError { message }: &MatchError) {
    let is_form = message.contains("parse error") || message.contains("Parsing error");
    assert!(!is_form, "{message}");
}
