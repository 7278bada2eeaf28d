//! `%(key)s` and `%%` as Python's `BasicInterpolation` fills them, but for a bare `%`, which stands for
//! itself: passwords hold it, and old files were never checked for it.

use zeroize::Zeroizing;

/// References within references deeper than this are an error, as in Python.
const DEPTH_MAX: usize = 10;

/// A value that grows beyond this many bytes is an error: a few lines could ask for gigabytes.
const LENGTH_MAX: usize = 1 << 20;

/// Why a value cannot be filled. Quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadReference {
    /// `%(` without its `)s`.
    #[error("holds `%(` without `)s`; a literal percent sign before a parenthesis is written `%%`")]
    Unfinished,
    /// The key that is referred to does not exist.
    #[error(
        "refers by `%(…)s` to a key that neither its section nor [DEFAULT] has; add the key, or write `%%(` \
         for a literal `%(`"
    )]
    Missing,
    /// References in a circle, or too deep.
    #[error("refers to itself, or through more than 10 keys; write the value itself there")]
    TooDeep,
    /// The filled value is too long.
    #[error("grows beyond 1 MiB when its references are filled")]
    TooLong,
}

/// `raw` with its references filled by `lookup`, which takes lower-case keys.
pub(super) fn fill<'a>(
    raw: &str,
    lookup: &dyn Fn(&str) -> Option<&'a str>,
) -> Result<Zeroizing<String>, BadReference> {
    let mut filled = Zeroizing::new(String::with_capacity(raw.len()));
    let mut steps = 0;
    fill_into(&mut filled, raw, lookup, 1, &mut steps)?;
    Ok(filled)
}

fn fill_into<'a>(
    filled: &mut String,
    raw: &str,
    lookup: &dyn Fn(&str) -> Option<&'a str>,
    depth: usize,
    steps: &mut usize,
) -> Result<(), BadReference> {
    if depth > DEPTH_MAX {
        return Err(BadReference::TooDeep);
    }
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('%') {
        filled.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            filled.push('%');
            rest = after;
        } else if let Some(reference) = after.strip_prefix('(') {
            let (key, behind) = reference.split_once(')').ok_or(BadReference::Unfinished)?;
            let behind = behind.strip_prefix('s').ok_or(BadReference::Unfinished)?;
            if key.is_empty() {
                return Err(BadReference::Unfinished);
            }
            let value = lookup(&key.to_lowercase()).ok_or(BadReference::Missing)?;
            if value.contains('%') {
                fill_into(filled, value, lookup, depth + 1, steps)?;
            } else {
                filled.push_str(value);
            }
            // Empty values grow nothing, so the steps are bounded beside the length.
            *steps += 1;
            if filled.len() > LENGTH_MAX || *steps > LENGTH_MAX {
                return Err(BadReference::TooLong);
            }
            rest = behind;
        } else {
            filled.push('%');
            rest = after;
        }
    }
    filled.push_str(rest);
    Ok(())
}

/// The keys that `raw` refers to, in lower case.
pub(super) fn references(raw: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut rest = raw;
    while let Some((_, after)) = rest.split_once('%') {
        rest = after.strip_prefix('%').unwrap_or(after);
        if let Some((key, behind)) = after
            .strip_prefix('(')
            .and_then(|text| text.split_once(')'))
            && behind.starts_with('s')
        {
            keys.push(key.to_lowercase());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill_one(raw: &str) -> Result<String, BadReference> {
        fill(raw, &|key| match key {
            "a" => Some("A"),
            "b" => Some("%(a)s%%"),
            "loop" => Some("%(loop)s"),
            "big" => Some("%(big1)s%(big1)s%(big1)s%(big1)s%(big1)s%(big1)s%(big1)s%(big1)s"),
            "big1" => Some("%(big2)s%(big2)s%(big2)s%(big2)s%(big2)s%(big2)s%(big2)s%(big2)s"),
            "big2" => Some("%(big3)s%(big3)s%(big3)s%(big3)s%(big3)s%(big3)s%(big3)s%(big3)s"),
            "big3" => Some("%(big4)s%(big4)s%(big4)s%(big4)s%(big4)s%(big4)s%(big4)s%(big4)s"),
            "big4" => Some("%(big5)s%(big5)s%(big5)s%(big5)s%(big5)s%(big5)s%(big5)s%(big5)s"),
            "big5" => Some("%(big6)s%(big6)s%(big6)s%(big6)s%(big6)s%(big6)s%(big6)s%(big6)s"),
            "big6" => Some("%(big7)s%(big7)s%(big7)s%(big7)s%(big7)s%(big7)s%(big7)s%(big7)s"),
            "big7" => Some(""),
            _ => None,
        })
        .map(|filled| filled.to_string())
    }

    #[test]
    fn references_are_filled_and_bare_percent_signs_kept() {
        assert_eq!(fill_one("x%(A)sy").unwrap(), "xAy");
        assert_eq!(fill_one("%(b)s").unwrap(), "A%");
        assert_eq!(fill_one("20%off 5%% %").unwrap(), "20%off 5% %");
    }

    #[test]
    fn bad_references_are_told_apart() {
        assert_eq!(fill_one("%(a)").unwrap_err(), BadReference::Unfinished);
        assert_eq!(fill_one("%()s").unwrap_err(), BadReference::Unfinished);
        assert_eq!(fill_one("%(nil)s").unwrap_err(), BadReference::Missing);
        assert_eq!(fill_one("%(loop)s").unwrap_err(), BadReference::TooDeep);
        assert_eq!(fill_one("%(big)s").unwrap_err(), BadReference::TooLong);
    }

    #[test]
    fn references_are_listed() {
        assert_eq!(references("%%(x)s %(Login)s %(y) %(z)s"), ["login", "z"]);
    }
}
