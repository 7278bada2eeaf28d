//! Which of many patterns can match a name at all: by one search for the strings they require, and by
//! automata shared by many patterns where such strings tell little. It only leaves out patterns that cannot
//! match; whether the others do is for them to say.

use std::collections::HashMap;
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;
use regex::{RegexSet, RegexSetBuilder, SetMatches};

use crate::domain::pattern::{AnyOf, NEST_LIMIT, PROGRAM_MAX_BYTES, Pattern, is_plain};

/// As many patterns as are tried one by one without regret.
pub(super) const FEW: usize = 64;
/// Patterns that share an automaton.
const SHARED_MAX: usize = 1_000;

/// The required strings of a list of patterns, ready to be looked for.
#[derive(Debug)]
pub struct RuleIndex {
    strings: Option<AhoCorasick>,
    /// For each string, the patterns that it brings up.
    patterns_of: Vec<Vec<usize>>,
    /// The patterns that require no string.
    always: Vec<usize>,
    /// Where each pattern that strings tell apart poorly is found among the shared automata.
    shared_place: Vec<Option<(usize, usize)>>,
    shared: Vec<Shared>,
}

/// Patterns matched together.
#[derive(Debug)]
struct Shared {
    /// Their places.
    patterns: Vec<usize>,
    /// Built when first needed; none if it would be too large.
    set: OnceLock<Option<RegexSet>>,
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
        let mut crowded = Vec::new();
        let cost = |any_of: &AnyOf| {
            any_of
                .iter()
                .filter_map(|string| uses.get(&**string))
                .sum::<usize>()
        };
        for (at, pattern) in patterns.iter().enumerate() {
            // The rarest condition brings up the pattern least often.
            let rarest = pattern.required().iter().min_by_key(|any_of| cost(any_of));
            if rarest.is_none_or(|any_of| cost(any_of) > FEW) {
                crowded.push(at);
            }
            let Some(rarest) = rarest else {
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
        let strings = AhoCorasick::new(&strings).ok();
        if strings.is_none() {
            // Too much for one automaton: nothing is ruled out.
            always = (0..patterns.len()).collect();
        }
        crowded.retain(|&at| patterns[at].is_regular());
        let mut shared_place = vec![None; patterns.len()];
        for (order, &at) in crowded.iter().enumerate() {
            shared_place[at] = Some((order / SHARED_MAX, order % SHARED_MAX));
        }
        let shared = crowded
            .chunks(SHARED_MAX)
            .map(|chunk| Shared {
                patterns: chunk.to_vec(),
                set: OnceLock::new(),
            })
            .collect();
        Self {
            strings,
            patterns_of,
            always,
            shared_place,
            shared,
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
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Those of many `candidates` that can still match `text` when they are looked at together;
    /// `pattern_at` gives the pattern of a place.
    pub fn narrowed<'p>(
        &self,
        candidates: &[usize],
        text: &str,
        pattern_at: impl Fn(usize) -> Option<&'p Pattern>,
    ) -> Vec<usize> {
        let mut left = candidates.to_vec();
        if left.len() <= FEW || !is_plain(text) {
            return left;
        }
        let mut matches: Vec<Option<Option<SetMatches>>> =
            self.shared.iter().map(|_| None).collect();
        left.retain(|&at| {
            let Some(&Some((which, place))) = self.shared_place.get(at) else {
                return true;
            };
            let found = matches[which].get_or_insert_with(|| {
                let shared = &self.shared[which];
                shared
                    .set
                    .get_or_init(|| shared.build(&pattern_at))
                    .as_ref()
                    .map(|set| set.matches(text))
            });
            found.as_ref().is_none_or(|found| found.matched(place))
        });
        left
    }
}

impl Shared {
    /// What fits here fits alone, so that no pattern is passed over that would be an error by itself.
    fn build<'p>(&self, pattern_at: impl Fn(usize) -> Option<&'p Pattern>) -> Option<RegexSet> {
        let regexes = self
            .patterns
            .iter()
            .map(|&at| pattern_at(at)?.plain_regex());
        RegexSetBuilder::new(regexes.collect::<Option<Vec<String>>>()?)
            .size_limit(PROGRAM_MAX_BYTES)
            .dfa_size_limit(PROGRAM_MAX_BYTES)
            .nest_limit(NEST_LIMIT)
            .build()
            .ok()
    }
}
