//! A parsed pattern written for the engines that run it. Everything is spelled out (sets as ranges, flags
//! resolved, groups explicit), so that nothing depends on how an engine reads a dialect.

use std::fmt::Write as _;

use super::ast::{At, Greed, Node};
use super::charset::{self, CharSet};

/// The longest text that an engine is handed: sets are written out, a word's letters alone in 8 KiB, and engines read
/// some MiB a second.
const TEXT_MAX_BYTES: usize = 8 << 20;

/// A set without members.
const NOTHING: &str = r"[^\x{0}-\x{10ffff}]";

/// What the text to be matched consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// ASCII alone: sets shrink to a few ranges.
    Ascii,
    /// Anything.
    Unicode,
}

/// Which engine the pattern is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    /// `regex`. It reads `$` as "before a newline or at the end", and `\b` by its own idea of a word: exact
    /// only for texts where that comes to the same (see `Pattern::matches_at_start`).
    Linear,
    /// `fancy-regex`, exact for every text.
    Backtracking,
}

/// Writes `nodes` so that they match at the start of a text; none where that would take too long to read.
pub(super) fn emit(nodes: &[Node], engine: Engine, alphabet: Alphabet) -> Option<String> {
    let mut emitter = Emitter {
        out: String::from(r"\A"),
        engine,
        alphabet,
    };
    emitter.wrapped("(?:", nodes);
    (emitter.out.len() <= TEXT_MAX_BYTES).then_some(emitter.out)
}

struct Emitter {
    out: String,
    engine: Engine,
    alphabet: Alphabet,
}

impl Emitter {
    fn sequence(&mut self, nodes: &[Node]) {
        for node in nodes {
            if self.out.len() > TEXT_MAX_BYTES {
                return;
            }
            self.node(node);
        }
    }

    fn wrapped(&mut self, opening: &str, nodes: &[Node]) {
        self.out.push_str(opening);
        self.sequence(nodes);
        self.out.push(')');
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::One {
                code,
                negated,
                flags,
            } => self.set(&charset::one(*code, *negated, *flags)),
            Node::Set {
                members,
                negated,
                flags,
            } => self.set(&charset::set(members, *negated, *flags)),
            Node::Any { dotall: true } => self.out.push_str("(?s:.)"),
            Node::Any { dotall: false } => self.out.push_str(r"[^\n]"),
            Node::At(at) => self.at(*at),
            Node::Repeat {
                min,
                max,
                greed,
                body,
            } => self.repeat(*min, *max, *greed, body),
            Node::Group { index, body, .. }
                if *index > 0 && self.engine == Engine::Backtracking =>
            {
                self.wrapped("(", body);
            }
            Node::Group { body, .. } => self.wrapped("(?:", body),
            Node::Branch(branches) => {
                self.out.push_str("(?:");
                for (at, branch) in branches.iter().enumerate() {
                    if at > 0 {
                        self.out.push('|');
                    }
                    self.sequence(branch);
                }
                self.out.push(')');
            }
            Node::Atomic(body) => self.wrapped("(?>", body),
            Node::Look {
                ahead,
                negated,
                body,
            } => {
                let opening = match (ahead, negated) {
                    (true, false) => "(?=",
                    (true, true) => "(?!",
                    (false, false) => "(?<=",
                    (false, true) => "(?<!",
                };
                self.wrapped(opening, body);
            }
            Node::BackReference { group, ignore_case } => {
                let flag = if *ignore_case { "i" } else { "" };
                self.write(format_args!("(?{flag}:\\{group})"));
            }
            // Written out, fancy-regex would take two empty branches for a test of the group.
            Node::Conditional { yes, no, .. }
                if is_empty(yes) && is_empty(no.as_deref().unwrap_or_default()) => {}
            Node::Conditional { group, yes, no } => {
                self.write(format_args!("(?({group})"));
                self.wrapped("(?:", yes);
                self.out.push('|');
                self.wrapped("(?:", no.as_deref().unwrap_or_default());
                self.out.push(')');
            }
        }
    }

    fn repeat(&mut self, min: u32, max: Option<u32>, greed: Greed, body: &Node) {
        let body = std::slice::from_ref(body);
        // Python gives nothing back of a possessive repetition, neither a whole turn nor a part of one.
        if greed == Greed::Possessive {
            self.out.push_str("(?>");
        }
        self.out.push_str("(?:");
        match greed {
            Greed::Possessive => self.wrapped("(?>", body),
            Greed::Lazy | Greed::Greedy => self.sequence(body),
        }
        if self.engine == Engine::Backtracking && body.iter().all(is_assertion) {
            // fancy-regex refuses to repeat a bare assertion, but not an alternation that comes to one.
            self.write(format_args!("|{NOTHING}"));
        }
        self.out.push(')');
        match (min, max) {
            (0, None) => self.out.push('*'),
            (1, None) => self.out.push('+'),
            (0, Some(1)) => self.out.push('?'),
            (min, None) => self.write(format_args!("{{{min},}}")),
            (min, Some(max)) => self.write(format_args!("{{{min},{max}}}")),
        }
        match greed {
            Greed::Possessive => self.out.push(')'),
            Greed::Lazy => self.out.push('?'),
            Greed::Greedy => {}
        }
    }

    fn at(&mut self, at: At) {
        match (at, self.engine) {
            (At::Start, _) => self.out.push_str(r"\A"),
            (At::LineStart, _) => self.out.push_str("(?m:^)"),
            (At::End, _) => self.out.push_str(r"\z"),
            (At::LineEnd, _) | (At::Dollar, Engine::Linear) => self.out.push_str("(?m:$)"),
            (At::Dollar, Engine::Backtracking) => self.out.push_str(r"(?=\n?\z)"),
            (At::Boundary { negated, .. }, Engine::Linear) => {
                self.out.push_str(if negated { r"\B" } else { r"\b" });
            }
            (At::Boundary { negated, ascii }, Engine::Backtracking) => {
                self.boundary(negated, ascii);
            }
        }
    }

    /// `\b` by Python's idea of a word. In an empty text neither `\b` nor `\B` matches.
    fn boundary(&mut self, negated: bool, ascii: bool) {
        let mut word = Self {
            out: String::new(),
            engine: self.engine,
            alphabet: self.alphabet,
        };
        word.set(&charset::word(ascii));
        let word = word.out;
        if negated {
            self.write(format_args!(
                r"(?:(?<={word})(?={word})|(?<!{word})(?!{word})(?!\A\z))"
            ));
        } else {
            self.write(format_args!(
                "(?:(?<={word})(?!{word})|(?<!{word})(?={word}))"
            ));
        }
    }

    fn set(&mut self, set: &CharSet) {
        let last = if self.alphabet == Alphabet::Ascii {
            0x7f
        } else {
            0x0010_ffff
        };
        let ranges: Vec<(char, char)> = set.ranges_up_to(last).collect();
        match ranges[..] {
            [] => self.out.push_str(NOTHING),
            [(low, high)] if low == high => self.character(low),
            _ => {
                self.out.push('[');
                for (low, high) in ranges {
                    self.character(low);
                    if low < high {
                        self.out.push('-');
                        self.character(high);
                    }
                }
                self.out.push(']');
            }
        }
    }

    fn character(&mut self, c: char) {
        if c.is_ascii_alphanumeric() {
            self.out.push(c);
        } else {
            self.write(format_args!("\\x{{{:x}}}", u32::from(c)));
        }
    }

    fn write(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.out.write_fmt(arguments);
    }
}

/// Whether a node is nothing but an assertion.
fn is_assertion(node: &Node) -> bool {
    match node {
        Node::Look { .. } | Node::At(_) => true,
        Node::Group { body, .. } => body.iter().all(is_assertion),
        _ => false,
    }
}

/// Whether nodes are nothing but empty groups.
fn is_empty(nodes: &[Node]) -> bool {
    nodes
        .iter()
        .all(|node| matches!(node, Node::Group { index: 0, body, .. } if is_empty(body)))
}
