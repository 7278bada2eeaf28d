//! Regular expressions as people write them, as nobody would, and as no parser accepts them, each with names
//! that have a fair chance to match.

/// Characters of names: letters that fold in odd ways, digits that are none to others, separators.
const LETTERS: &[&str] = &[
    "a", "b", "A", "B", "k", "K", "s", "S", "i", "I", "1", "2", "-", ".", "_", " ", "中", "包",
    "é", "É", "ſ", "\u{130}", "ı", "\u{212a}", "ß", "①", "\u{665}", "\n", "\t", "\u{1c}", "\u{a0}",
    "web", "db", "x", "σ", "ς", "µ", "\u{301}", "😀",
];

/// Escapes and what they match; an empty sample for what matches nothing or is an error.
const ESCAPES: &[(&str, &str)] = &[
    (r"\d", "1"),
    (r"\D", "a"),
    (r"\w", "b"),
    (r"\W", "-"),
    (r"\s", " "),
    (r"\S", "x"),
    (r"\b", ""),
    (r"\B", ""),
    (r"\A", ""),
    (r"\Z", ""),
    (r"\.", "."),
    (r"\-", "-"),
    (r"\<", "<"),
    (r"\x61", "a"),
    (r"\u4e2d", "中"),
    (r"\U0001F600", "😀"),
    (r"\101", "A"),
    (r"\0", "\0"),
    (r"\07", "\u{7}"),
    (r"\n", "\n"),
    (r"\t", "\t"),
    (r"\\", "\\"),
    (r"\377", "\u{ff}"),
    (r"\ud800", ""),
    (r"\中", "中"),
    (r"\ ", " "),
];

/// Escapes that are mostly errors.
const BAD_ESCAPES: &[&str] = &[
    r"\1",
    r"\2",
    r"\10",
    r"\400",
    r"\q",
    r"\x6",
    r"\u12",
    r"\U00110000",
    r"\N{EM DASH}",
    r"\N{NO SUCH NAME}",
    r"\N",
    r"\N{",
];

/// Members of sets.
const MEMBERS: &[&str] = &[
    "a",
    "b",
    "a-c",
    "A-Z",
    "a-z",
    "0-9",
    "-",
    "--",
    "&&",
    "||",
    "~~",
    "[",
    "[:digit:]",
    "^",
    r"\]",
    r"\d",
    r"\w",
    r"\W",
    r"\s",
    r"\D",
    "中",
    "一-龥",
    r"\b",
    r"\x41",
    r"\101",
    r"\u00e9-\u00ff",
    "é",
    "ſ",
    "k",
    "s",
    ".",
    "+--",
    r"\-",
    "😀",
    "#",
    " ",
    "\n",
    "I",
    "i",
    "à-þ",
    "Α-Ω",
    "!-~",
    "𐐀",
    "𐐀-𐐧",
    "İ-ſ",
];

/// Members that are mostly errors, or end the set.
const BAD_MEMBERS: &[&str] = &[
    "z-a", "]", r"a-\d", r"\Z", r"\8", r"\w-z", r"\400", r"\x", "-a-",
];

const REPEATS: &[&str] = &[
    "*", "+", "?", "*?", "+?", "??", "*+", "++", "?+", "{2}", "{1,3}", "{,2}", "{2,}", "{1,2}?",
    "{1,2}+", "{0}", "{ 1}", "{1, 2}", "{}", "{,}", "{x", "{0,0}", "{3}",
];

/// Repetitions that are errors.
const BAD_REPEATS: &[&str] = &[
    "{2,1}",
    "**",
    "{3}{2}",
    "{4294967295}",
    "{99999999999}",
    "+*",
    "?++",
];

const FLAGS: &[&str] = &[
    "i", "s", "m", "x", "a", "u", "is", "im", "xi", "i-s", "a-i", "-i", "ai",
];

/// Flags that are mostly errors.
const BAD_FLAGS: &[&str] = &["L", "au", "t", "i-i", "-a", "q", "", "-", "i-", "it"];

const SPECIAL: &str = "()[]{}|*+?^$\\.-#<>=!:,P&~ i1a\n";

/// Makes patterns and names from a seed.
pub(crate) struct Generator {
    random: fastrand::Rng,
    groups: usize,
}

/// A piece of a pattern, and a text that it may match.
type Piece = (String, String);

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            groups: 0,
        }
    }

    /// A pattern and names for it.
    pub(crate) fn pattern_and_names(&mut self, names: usize) -> (String, Vec<String>) {
        self.groups = 0;
        let (mut pattern, sample) = self.alternation(3);
        if self.one_in(6) {
            pattern = format!("(?{}){pattern}", self.pick_mostly(FLAGS, BAD_FLAGS));
        }
        if self.one_in(12) {
            pattern = format!(
                "(?x) {} # a comment)\n",
                pattern.replace('a', "a ").replace('b', " b #c\n")
            );
        }
        if self.one_in(6) {
            for _ in 0..self.random.usize(1..3) {
                pattern = self.mutated(&pattern);
            }
        }
        let names = (0..names).map(|at| self.name(&sample, at)).collect();
        (pattern, names)
    }

    fn name(&mut self, sample: &str, at: usize) -> String {
        match at {
            0 => sample.to_owned(),
            1 => format!("{sample}{}", self.letters(3)),
            2 => sample.to_uppercase(),
            3 => format!("{sample}\n"),
            4 => self.letters(8),
            5 => {
                let mut pieces: Vec<char> = sample.chars().collect();
                self.random.shuffle(&mut pieces);
                pieces.into_iter().collect()
            }
            _ => self.mutated(sample),
        }
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.random.usize(..n) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.random.usize(..from.len())]
    }

    /// One of `good`, and now and then one of `bad`.
    fn pick_mostly<'a>(&mut self, good: &[&'a str], bad: &[&'a str]) -> &'a str {
        let from = if self.one_in(40) { bad } else { good };
        self.pick(from)
    }

    fn letters(&mut self, most: usize) -> String {
        (0..self.random.usize(..=most))
            .map(|_| self.pick(LETTERS))
            .collect()
    }

    /// `text` with one character gone, doubled, replaced or put in.
    fn mutated(&mut self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        let at = self.random.usize(..=chars.len());
        let special: Vec<char> = SPECIAL.chars().collect();
        let new = special[self.random.usize(..special.len())];
        match self.random.usize(..4) {
            0 if at < chars.len() => {
                chars.remove(at);
            }
            1 if at < chars.len() => chars.insert(at, chars[at]),
            2 if at < chars.len() => chars[at] = new,
            _ => chars.insert(at, new),
        }
        chars.into_iter().collect()
    }

    fn alternation(&mut self, depth: usize) -> Piece {
        let mut branches = vec![self.sequence(depth)];
        while self.one_in(4) {
            branches.push(self.sequence(depth));
        }
        let sample = branches[self.random.usize(..branches.len())].1.clone();
        let patterns: Vec<String> = branches.into_iter().map(|(pattern, _)| pattern).collect();
        (patterns.join("|"), sample)
    }

    fn sequence(&mut self, depth: usize) -> Piece {
        let mut whole = Piece::default();
        for _ in 0..self.random.usize(1..5) {
            let (mut pattern, mut sample) = self.atom(depth);
            if self.one_in(4) {
                let repeat = self.pick_mostly(REPEATS, BAD_REPEATS);
                pattern.push_str(repeat);
                sample = match self.random.usize(..3) {
                    0 if repeat.starts_with(['*', '?']) => String::new(),
                    1 if !repeat.contains('?') => sample.repeat(2),
                    _ => sample,
                };
            }
            whole.0.push_str(&pattern);
            whole.1.push_str(&sample);
        }
        whole
    }

    fn atom(&mut self, depth: usize) -> Piece {
        match self.random.usize(..if depth == 0 { 12 } else { 18 }) {
            0..=4 => {
                let letter = self.pick(LETTERS);
                let pattern = if letter == "." {
                    r"\.".to_owned()
                } else {
                    letter.to_owned()
                };
                (pattern, letter.to_owned())
            }
            5 | 6 if self.one_in(20) => (self.pick(BAD_ESCAPES).to_owned(), String::new()),
            5 | 6 => {
                let (pattern, sample) = ESCAPES[self.random.usize(..ESCAPES.len())];
                (pattern.to_owned(), sample.to_owned())
            }
            7 => (".".to_owned(), self.pick(LETTERS).to_owned()),
            8 | 9 => self.set(),
            10 => ("$".to_owned(), String::new()),
            11 if self.one_in(3) => ("^".to_owned(), String::new()),
            11 => ("(?# a comment)".to_owned(), String::new()),
            _ => self.group(depth - 1),
        }
    }

    fn set(&mut self) -> Piece {
        let members: Vec<&str> = (0..self.random.usize(1..4))
            .map(|_| self.pick_mostly(MEMBERS, BAD_MEMBERS))
            .collect();
        let caret = if self.one_in(4) { "^" } else { "" };
        let sample = members[0]
            .chars()
            .next()
            .filter(|&c| c != '\\' && caret.is_empty())
            .unwrap_or('1');
        (format!("[{caret}{}]", members.concat()), sample.to_string())
    }

    fn group(&mut self, depth: usize) -> Piece {
        let kind = self.random.usize(..16);
        if matches!(kind, 0..=5 | 14) {
            self.groups += 1;
        }
        let number = self.groups;
        let (body, sample) = self.alternation(depth);
        let some = if self.one_in(10) {
            self.groups + 1
        } else {
            self.random.usize(..=self.groups)
        };
        match kind {
            0..=2 => (format!("({body})"), sample),
            3 => (format!("(?P<n{number}>{body})"), sample),
            4 => (
                format!("(?P<n{number}>{body})-(?P=n{number})"),
                format!("{sample}-{sample}"),
            ),
            5 => (format!(r"({body})\{number}"), sample.repeat(2)),
            6 | 7 => (format!("(?:{body})"), sample),
            8 => (format!("(?={body})"), String::new()),
            9 => (format!("(?!{body})"), String::new()),
            10 => {
                let letter = self.pick(LETTERS);
                (
                    format!("(?:{body}|{0})(?<={0})", letter.replace('.', r"\.")),
                    letter.to_owned(),
                )
            }
            11 if self.one_in(3) => (format!("(?<!{body})"), String::new()),
            11 => {
                let set = self.set();
                (format!("{body}(?<!{}a)", set.0), sample)
            }
            12 => (format!("(?>{body})"), sample),
            13 if some == 0 => (format!("(?:{body})"), sample),
            13 if self.one_in(2) => (format!(r"(?:{body})\{some}"), format!("{sample}{sample}")),
            13 => (format!("(?({some})(?:{body}))"), sample),
            14 => (format!("({body})?(?({number})b|c)"), format!("{sample}b")),
            _ => (
                format!("(?{}:{body})", self.pick_mostly(FLAGS, BAD_FLAGS)),
                sample,
            ),
        }
    }
}
