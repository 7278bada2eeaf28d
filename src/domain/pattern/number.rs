//! Numbers as Python's `int` reads them, where a pattern may hold them.

use super::tables::DIGIT;

/// `int(text)` for what is not negative: blanks around it, a sign, underscores between digits, and the
/// decimal digits of every script are accepted. Numbers too large for us are as good as the largest.
pub(super) fn python_int(text: &str) -> Option<u64> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c));
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut value: u64 = 0;
    let mut after_digit = false;
    for c in digits.chars() {
        if c == '_' && after_digit {
            after_digit = false;
            continue;
        }
        value = value.saturating_mul(10).saturating_add(digit(c)?);
        after_digit = true;
    }
    (after_digit && !(negative && value > 0)).then_some(value)
}

/// The value of a decimal digit: each block of ten begins with a zero.
fn digit(c: char) -> Option<u64> {
    let code = u32::from(c);
    let (first, _) = DIGIT
        .iter()
        .find(|(first, last)| (*first..=*last).contains(&code))?;
    Some(u64::from((code - first) % 10))
}

#[cfg(test)]
mod tests {
    use super::python_int;

    #[test]
    fn numbers_are_read_as_int_does() {
        assert_eq!(python_int(" 1 "), Some(1));
        assert_eq!(python_int("+1_0"), Some(10));
        assert_eq!(python_int("\u{661}"), Some(1));
        assert_eq!(python_int("-0"), Some(0));
        for wrong in ["", "-1", "_1", "1_", "1__0", "1 0", "x", "+"] {
            assert_eq!(python_int(wrong), None, "{wrong}");
        }
    }
}
