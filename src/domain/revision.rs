//! Revision numbers as people and hooks write them: `^[0-9]+$`, nothing else.

/// The largest revision that Subversion can name (`svn_revnum_t` is a signed long).
pub const MAX: u64 = i64::MAX as u64;

/// Reads a revision; no sign, no blank, no keyword such as `HEAD`.
pub fn parse(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|revision| *revision <= MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_alone_are_a_revision() {
        assert_eq!(parse("0"), Some(0));
        assert_eq!(parse("0042"), Some(42));
        assert_eq!(parse("9223372036854775807"), Some(MAX));
    }

    #[test]
    fn anything_else_is_none() {
        for wrong in [
            "",
            " 1",
            "1 ",
            "+1",
            "-1",
            "HEAD",
            "r1",
            "1:2",
            "٣",
            "9223372036854775808",
            "1\n",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
