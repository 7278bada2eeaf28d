//! A pattern as the parser understood it. Knows Python's meaning of each part and how wide it can be,
//! but neither the syntax it came from nor the engine it will run on.

/// Inline flags in force at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags(u8);

impl Flags {
    pub(super) const IGNORECASE: Self = Self(1);
    pub(super) const MULTILINE: Self = Self(2);
    pub(super) const DOTALL: Self = Self(4);
    pub(super) const VERBOSE: Self = Self(8);
    pub(super) const ASCII: Self = Self(16);
    pub(super) const UNICODE: Self = Self(32);
    pub(super) const TEMPLATE: Self = Self(64);
    pub(super) const LOCALE: Self = Self(128);
    /// Those that exclude each other.
    pub(super) const TYPES: Self = Self(16 | 32 | 128);

    pub(super) fn of_letter(letter: char) -> Option<Self> {
        Some(match letter {
            'i' => Self::IGNORECASE,
            'L' => Self::LOCALE,
            'm' => Self::MULTILINE,
            's' => Self::DOTALL,
            'x' => Self::VERBOSE,
            'a' => Self::ASCII,
            't' => Self::TEMPLATE,
            'u' => Self::UNICODE,
            _ => return None,
        })
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The flags inside `(?add-del:...)`.
    pub(super) fn scoped(self, add: Self, del: Self) -> Self {
        let outer = if add.has(Self::TYPES) {
            self.without(Self::TYPES)
        } else {
            self
        };
        outer.with(add).without(del)
    }
}

/// `\d`, `\s`, `\w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Category {
    Digit,
    Space,
    Word,
}

/// One member of a character set. Code points may be surrogates, which match nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    One(u32),
    Range(u32, u32),
    Category { category: Category, negated: bool },
}

/// A place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// `\A`, and `^` without `(?m)`.
    Start,
    /// `^` with `(?m)`.
    LineStart,
    /// `\Z`.
    End,
    /// `$` without `(?m)`: the end, or before a newline that ends the text.
    Dollar,
    /// `$` with `(?m)`.
    LineEnd,
    /// `\b` and `\B`.
    Boundary { negated: bool, ascii: bool },
}

/// How a repetition gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Greed {
    Greedy,
    Lazy,
    Possessive,
}

/// A part of a pattern.
#[derive(Debug)]
pub(super) enum Node {
    One {
        code: u32,
        negated: bool,
        flags: Flags,
    },
    Set {
        members: Vec<Member>,
        negated: bool,
        flags: Flags,
    },
    Any {
        dotall: bool,
    },
    At(At),
    Repeat {
        min: u32,
        max: Option<u32>,
        greed: Greed,
        body: Box<Node>,
    },
    /// `index` is 0 where nothing is captured.
    Group {
        index: usize,
        body: Vec<Node>,
        width: Width,
    },
    Branch(Vec<Vec<Node>>),
    Atomic(Vec<Node>),
    Look {
        ahead: bool,
        negated: bool,
        body: Vec<Node>,
    },
    BackReference {
        group: usize,
        ignore_case: bool,
    },
    Conditional {
        group: usize,
        yes: Vec<Node>,
        no: Option<Vec<Node>>,
    },
}

/// The fewest and the most characters that a part can take, as `sre` computes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Width {
    pub(super) min: u64,
    pub(super) max: u64,
}

/// Python's `MAXREPEAT`: no repetition count reaches it.
pub(super) const MAX_REPEAT: u64 = 0xffff_ffff;

impl Width {
    const ONE: Self = Self { min: 1, max: 1 };
    const ZERO: Self = Self { min: 0, max: 0 };

    fn either(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }

    fn then(self, other: Self) -> Self {
        Self {
            min: self.min + other.min,
            max: self.max + other.max,
        }
    }

    fn capped(self) -> Self {
        Self {
            min: self.min.min(MAX_REPEAT - 1),
            max: self.max.min(MAX_REPEAT),
        }
    }

    pub(super) fn is_fixed(self) -> bool {
        self.min == self.max
    }
}

/// The width of a sequence; `groups` holds the widths of the closed groups, from 1.
pub(super) fn width(nodes: &[Node], groups: &[Option<Width>]) -> Width {
    nodes.iter().fold(Width::ZERO, |sum, node| {
        sum.then(width_of(node, groups)).capped()
    })
}

fn width_of(node: &Node, groups: &[Option<Width>]) -> Width {
    match node {
        Node::One { .. } | Node::Set { .. } | Node::Any { .. } => Width::ONE,
        Node::At(_) | Node::Look { .. } => Width::ZERO,
        Node::Repeat { min, max, body, .. } => {
            let one = width_of(body, groups);
            let most = max.map_or(MAX_REPEAT, u64::from);
            Width {
                min: one.min * u64::from(*min),
                max: one.max * most,
            }
            .capped()
        }
        Node::Group { width, .. } => *width,
        Node::Branch(branches) => branches
            .iter()
            .map(|branch| width(branch, groups))
            .reduce(Width::either)
            .unwrap_or(Width::ZERO),
        Node::Atomic(body) => width(body, groups),
        Node::BackReference { group, .. } => {
            groups.get(*group).copied().flatten().unwrap_or(Width::ZERO)
        }
        Node::Conditional { yes, no, .. } => {
            let otherwise = no.as_ref().map_or(Width::ZERO, |no| width(no, groups));
            width(yes, groups).either(otherwise)
        }
    }
}

/// Calls `visit` with every node below `nodes`, parents first.
pub(super) fn walk<'n>(nodes: &'n [Node], visit: &mut impl FnMut(&'n Node)) {
    for node in nodes {
        visit(node);
        match node {
            Node::Repeat { body, .. } => walk(std::slice::from_ref(body), visit),
            Node::Group { body, .. } | Node::Atomic(body) | Node::Look { body, .. } => {
                walk(body, visit);
            }
            Node::Branch(branches) => branches.iter().for_each(|branch| walk(branch, visit)),
            Node::Conditional { yes, no, .. } => {
                walk(yes, visit);
                if let Some(no) = no {
                    walk(no, visit);
                }
            }
            Node::One { .. }
            | Node::Set { .. }
            | Node::Any { .. }
            | Node::At(_)
            | Node::BackReference { .. } => {}
        }
    }
}
