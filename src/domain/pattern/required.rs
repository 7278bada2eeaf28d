//! Strings that every text must hold for a pattern to match it, found without running it. They let most
//! patterns be passed over at the price of a substring search. All strings are folded (`charset::fold`).

use super::ast::{Member, Node};
use super::charset::fold;

/// Strings one of which must be in the text.
pub type AnyOf = Vec<Box<str>>;

/// More alternatives than this are not worth their search.
const ALTERNATIVES_MAX: usize = 32;
/// More conditions than this are not worth their memory.
const CONDITIONS_MAX: usize = 4;
/// Counted repetitions are not written out beyond this length.
const STRING_MAX: usize = 64;

/// The conditions that a text must meet, all of them, the longest strings first.
pub(super) fn required(nodes: &[Node]) -> Vec<AnyOf> {
    let mut found = Collector::default();
    found.sequence(nodes);
    found.end_run();
    let mut conditions = found.conditions;
    conditions.sort_by_key(|any_of| std::cmp::Reverse(shortest(any_of)));
    conditions.dedup();
    conditions.truncate(CONDITIONS_MAX);
    conditions
}

/// `text` in the form that required strings are looked for in.
pub fn folded(text: &str) -> String {
    text.chars().map(fold).collect()
}

fn shortest(any_of: &AnyOf) -> usize {
    any_of.iter().map(|string| string.len()).min().unwrap_or(0)
}

#[derive(Default)]
struct Collector {
    /// Characters that stand next to each other in every match.
    run: String,
    /// How often a run has ended.
    ends: usize,
    conditions: Vec<AnyOf>,
}

impl Collector {
    fn end_run(&mut self) {
        self.ends += 1;
        if !self.run.is_empty() {
            let run = std::mem::take(&mut self.run);
            self.conditions.push(vec![run.into_boxed_str()]);
        }
    }

    fn sequence(&mut self, nodes: &[Node]) {
        for node in nodes {
            self.node(node);
        }
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::One {
                code,
                negated: false,
                ..
            } => self.character(char::from_u32(*code).map(fold)),
            Node::Set {
                members,
                negated: false,
                ..
            } => self.character(common_fold(members)),
            Node::One { .. } | Node::Set { .. } | Node::Any { .. } => self.end_run(),
            // These take no characters, so what stands before and after them is adjacent.
            Node::At(_) | Node::Look { .. } => {}
            Node::Group { body, .. } | Node::Atomic(body) => self.sequence(body),
            Node::Repeat { min: 0, .. } | Node::BackReference { .. } | Node::Conditional { .. } => {
                self.end_run();
            }
            Node::Repeat { min, max, body, .. } => self.repeat(*min, *max, body),
            Node::Branch(branches) => self.branches(branches),
        }
    }

    fn character(&mut self, c: Option<char>) {
        match c {
            Some(c) => self.run.push(c),
            None => self.end_run(),
        }
    }

    fn repeat(&mut self, min: u32, max: Option<u32>, body: &Node) {
        let (before, ends) = (self.run.len(), self.ends);
        self.node(body);
        let is_plain = self.ends == ends && self.run.len() > before;
        if is_plain {
            let once = self.run[before..].to_owned();
            let mut times = 1;
            while times < min && self.run.len() < STRING_MAX {
                self.run.push_str(&once);
                times += 1;
            }
            if times == min && max == Some(min) {
                return;
            }
        }
        self.end_run();
    }

    fn branches(&mut self, branches: &[Vec<Node>]) {
        self.end_run();
        let mut any_of = AnyOf::new();
        for branch in branches {
            let Some(best) = required(branch).into_iter().next() else {
                return;
            };
            any_of.extend(best);
        }
        if any_of.len() <= ALTERNATIVES_MAX {
            any_of.sort();
            any_of.dedup();
            self.conditions.push(any_of);
        }
    }
}

/// What all members fold to, such as `n` for `[Nn]`.
fn common_fold(members: &[Member]) -> Option<char> {
    let mut common = None;
    for member in members {
        let Member::One(code) = *member else {
            return None;
        };
        let folded = fold(char::from_u32(code)?);
        if *common.get_or_insert(folded) != folded {
            return None;
        }
    }
    common
}
