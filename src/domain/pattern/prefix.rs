//! What every text begins with that a pattern matches at its start, found without running it. It lets an index be
//! asked for the few names that may match.

use super::ast::{At, Flags, Node};

/// The characters that stand at the beginning of every match.
pub(super) fn prefix(nodes: &[Node]) -> String {
    let mut found = String::new();
    for node in nodes {
        match node {
            Node::At(At::Start) => {}
            Node::One {
                code,
                negated: false,
                flags,
            } if !flags.has(Flags::IGNORECASE) => match char::from_u32(*code) {
                Some(c) => found.push(c),
                None => break,
            },
            _ => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::domain::pattern::Pattern;

    #[test]
    fn a_prefix_ends_where_texts_may_differ() {
        for (source, prefix) in [
            (r"app-1\.0\.tar", "app-1.0.tar"),
            (r"^\Aapp-\d+", "app-"),
            ("app+", "ap"),
            ("ab?c", "a"),
            ("xb|yc", ""),
            ("(ab)c", ""),
            ("(?i)app", ""),
            (".*app", ""),
            ("核心-.", "核心-"),
            ("", ""),
        ] {
            let pattern = Pattern::new(source).expect("a pattern");
            assert_eq!(pattern.prefix(), prefix, "{source}");
        }
    }
}
