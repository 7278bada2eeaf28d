//! Which of many patterns can match a name at all, by one search for the strings they require. It only
//! leaves out patterns that cannot match; whether the others do is for them to say.

use std::collections::HashMap;

use aho_corasick::AhoCorasick;

use crate::domain::pattern::{AnyOf, Pattern};

/// The required strings of a list of patterns, ready to be looked for.
#[derive(Debug)]
pub struct RuleIndex {
    strings: Option<AhoCorasick>,
    /// For each string, the patterns that it brings up.
    patterns_of: Vec<Vec<usize>>,
    /// The patterns that require no string, ascending.
    always: Vec<usize>,
}

impl RuleIndex {
    /// Indexes `patterns`, which are known by their place from 0.
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p Pattern>) -> Self {
        let patterns: Vec<&Pattern> = patterns.into_iter().collect();
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for string in patterns
            .iter()
            .flat_map(|pattern| pattern.required())
            .flatten()
        {
            *uses.entry(string).or_default() += 1;
        }
        let mut strings: Vec<&str> = Vec::new();
        let mut known: HashMap<&str, usize> = HashMap::new();
        let mut patterns_of: Vec<Vec<usize>> = Vec::new();
        let mut always = Vec::new();
        for (at, pattern) in patterns.iter().enumerate() {
            // The rarest condition brings up the pattern least often.
            let cost = |any_of: &&AnyOf| {
                any_of
                    .iter()
                    .filter_map(|string| uses.get(&**string))
                    .sum::<usize>()
            };
            let Some(rarest) = pattern.required().iter().min_by_key(cost) else {
                always.push(at);
                continue;
            };
            for string in rarest {
                let id = *known.entry(string).or_insert_with(|| {
                    strings.push(string);
                    patterns_of.push(Vec::new());
                    strings.len() - 1
                });
                patterns_of[id].push(at);
            }
        }
        match AhoCorasick::new(&strings) {
            Ok(strings) => Self {
                strings: Some(strings),
                patterns_of,
                always,
            },
            // Too much for one automaton: every pattern is then tried.
            Err(_) => Self {
                strings: None,
                patterns_of: Vec::new(),
                always: (0..patterns.len()).collect(),
            },
        }
    }

    /// The patterns that can match a text whose [`folded`](crate::domain::pattern::folded) form is given,
    /// ascending.
    pub fn candidates(&self, folded: &str) -> Vec<usize> {
        let mut found = self.always.clone();
        if let Some(strings) = &self.strings {
            for hit in strings.find_overlapping_iter(folded) {
                found.extend_from_slice(&self.patterns_of[hit.pattern().as_usize()]);
            }
        }
        if found.len() > self.always.len() {
            found.sort_unstable();
            found.dedup();
        }
        found
    }
}
