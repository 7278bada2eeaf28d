//! What can be proved about the texts that patterns match: one that a pattern takes, and that another takes all of
//! them. Walks the automata of both at once, state by state, within bounds; what is not proved is not claimed. Knows
//! nothing of rules.

use std::collections::HashSet;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, util::start};

use super::Pattern;
use super::emit::{Alphabet, Engine, emit};
use super::parser;

/// Steps from one state to another before a proof is given up; some milliseconds.
const STEPS_MAX: usize = 200_000;
/// Memory of one automaton.
const AUTOMATON_MAX_BYTES: usize = 4 << 20;

/// Which texts are meant. None is empty, and none holds a line break: such names are nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Texts {
    /// Names of packages: without a slash.
    Names,
    /// Paths.
    Paths,
}

/// A text that a pattern takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Example {
    /// The shortest.
    Text(String),
    /// There is none, for certain.
    Nothing,
    /// It was not found out.
    Unknown,
}

/// The shortest of `texts` that `pattern` matches.
pub fn example(pattern: &Pattern, texts: Texts) -> Example {
    let mut found = Example::Nothing;
    for alphabet in [Alphabet::Ascii, Alphabet::Unicode] {
        match walk(pattern, None, texts, alphabet) {
            Ok(Some(text)) => match String::from_utf8(text) {
                Ok(text) => return Example::Text(text),
                Err(_) => found = Example::Unknown,
            },
            Ok(None) => {}
            Err(Undecided) => found = Example::Unknown,
        }
    }
    found
}

/// Whether `earlier` certainly matches each of `texts` that `later` matches.
pub fn takes_all_of(earlier: &Pattern, later: &Pattern, texts: Texts) -> bool {
    [Alphabet::Ascii, Alphabet::Unicode]
        .into_iter()
        .all(|alphabet| walk(later, Some(earlier), texts, alphabet) == Ok(None))
}

/// It cannot be told, or not within bounds.
#[derive(Debug, PartialEq, Eq)]
struct Undecided;

/// The shortest text of that alphabet that `taker` matches and `other` does not.
fn walk(
    taker: &Pattern,
    other: Option<&Pattern>,
    texts: Texts,
    alphabet: Alphabet,
) -> Result<Option<Vec<u8>>, Undecided> {
    let machine = |pattern| Machine::of(pattern, alphabet).ok_or(Undecided);
    let mut machines = vec![
        Machine::new(all_texts(texts, alphabet)).ok_or(Undecided)?,
        machine(taker)?,
    ];
    if let Some(other) = other {
        machines.push(machine(other)?);
    }
    Walk::new(machines).shortest()
}

fn all_texts(texts: Texts, alphabet: Alphabet) -> &'static str {
    match (texts, alphabet) {
        (Texts::Names, Alphabet::Ascii) => r"\A[\x00-\x7f&&[^/\n]]+\z",
        (Texts::Names, Alphabet::Unicode) => r"\A[^/\n]+\z",
        (Texts::Paths, Alphabet::Ascii) => r"\A[\x00-\x7f&&[^\n]]+\z",
        (Texts::Paths, Alphabet::Unicode) => r"\A[^\n]+\z",
    }
}

/// A deterministic automaton that is built as it is walked.
struct Machine {
    dfa: DFA,
    cache: Cache,
}

/// Where a machine stands behind a beginning of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    /// It has matched, whatever follows.
    Matched,
    /// In a state of its automaton.
    State(LazyStateID),
}

impl Machine {
    /// None where the automaton would not be exact for that alphabet, or is too large.
    fn of(pattern: &Pattern, alphabet: Alphabet) -> Option<Self> {
        let by_boundary = pattern.needs.boundary && alphabet == Alphabet::Unicode;
        if pattern.needs.backtracking || by_boundary {
            return None;
        }
        let parsed = parser::parse(&pattern.source).ok()?;
        Self::new(&emit(&parsed.nodes, Engine::Linear, alphabet)?)
    }

    fn new(text: &str) -> Option<Self> {
        let dfa = DFA::builder()
            .configure(
                DFA::config()
                    .cache_capacity(AUTOMATON_MAX_BYTES)
                    .skip_cache_capacity_check(true)
                    // States keep their names for as long as a walk takes: where memory is used up, it ends.
                    .minimum_cache_clear_count(Some(0)),
            )
            .thompson(thompson::Config::new().nfa_size_limit(Some(AUTOMATON_MAX_BYTES)))
            .build(text)
            .ok()?;
        let cache = dfa.create_cache();
        Some(Self { dfa, cache })
    }

    fn start(&mut self) -> Option<Place> {
        let config = start::Config::new().anchored(Anchored::Yes);
        let state = self.dfa.start_state(&mut self.cache, &config).ok()?;
        Some(Place::State(state))
    }

    fn step(&mut self, from: Place, byte: u8) -> Option<Place> {
        let Place::State(state) = from else {
            return Some(from);
        };
        let state = self.dfa.next_state(&mut self.cache, state, byte).ok()?;
        if state.is_quit() {
            return None;
        }
        // A state says that what came before its last byte matches.
        Some(if state.is_match() {
            Place::Matched
        } else {
            Place::State(state)
        })
    }

    /// Whether the text that led here matches, if it ends here.
    fn takes(&mut self, at: Place) -> Option<bool> {
        let Place::State(state) = at else {
            return Some(true);
        };
        let end = self.dfa.next_eoi_state(&mut self.cache, state).ok()?;
        (!end.is_quit()).then_some(end.is_match())
    }
}

/// All machines, led through all texts, the shortest first.
struct Walk {
    /// The texts that are meant, who takes them, and possibly who does not.
    machines: Vec<Machine>,
    /// One byte for each set of bytes that no machine tells apart.
    bytes: Vec<u8>,
    /// Where all of them stood, how they got there, and from which of these.
    trail: Vec<(Vec<Place>, u8, usize)>,
}

impl Walk {
    fn new(machines: Vec<Machine>) -> Self {
        let mut known = HashSet::new();
        // Letters first, so that examples look like names.
        let bytes = (b'a'..=b'z').chain(b'0'..=b'9').chain(0..=u8::MAX);
        let bytes = bytes
            .filter(|&byte| {
                let classes = machines
                    .iter()
                    .map(|machine| machine.dfa.byte_classes().get(byte));
                known.insert(classes.collect::<Vec<u8>>())
            })
            .collect();
        Self {
            machines,
            bytes,
            trail: Vec::new(),
        }
    }

    fn shortest(mut self) -> Result<Option<Vec<u8>>, Undecided> {
        let starts: Option<Vec<Place>> = self.machines.iter_mut().map(Machine::start).collect();
        let starts = starts.ok_or(Undecided)?;
        let mut known = HashSet::from([starts.clone()]);
        self.trail.push((starts, 0, 0));
        let mut at = 0;
        let mut steps = 0;
        while at < self.trail.len() {
            let places = self.trail[at].0.clone();
            if self.is_found(&places).ok_or(Undecided)? {
                return Ok(Some(self.text_to(at)));
            }
            for byte in self.bytes.clone() {
                steps += 1;
                if steps > STEPS_MAX {
                    return Err(Undecided);
                }
                let next = self.machines.iter_mut().zip(&places);
                let next: Option<Vec<Place>> = next
                    .map(|(machine, place)| machine.step(*place, byte))
                    .collect();
                let next = next.ok_or(Undecided)?;
                if !leads_nowhere(&next) && known.insert(next.clone()) {
                    self.trail.push((next, byte, at));
                }
            }
            at += 1;
        }
        Ok(None)
    }

    /// Whether the text that led here is meant, and taken by the one, and not by the other.
    fn is_found(&mut self, places: &[Place]) -> Option<bool> {
        for (index, (machine, place)) in self.machines.iter_mut().zip(places).enumerate() {
            if machine.takes(*place)? != (index < 2) {
                return Some(false);
            }
        }
        Some(true)
    }

    fn text_to(&self, mut at: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while at > 0 {
            let (_, byte, from) = &self.trail[at];
            text.push(*byte);
            at = *from;
        }
        text.reverse();
        text
    }
}

/// Whether no text that begins so can be found: it is not meant, not taken, or taken by the other as well.
fn leads_nowhere(places: &[Place]) -> bool {
    places.iter().enumerate().any(|(index, place)| match place {
        Place::Matched => index > 1,
        Place::State(state) => index < 2 && state.is_dead(),
    })
}
