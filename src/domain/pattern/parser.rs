//! Python 3.11's regular expression syntax: the alternations, groups and repetitions. It accepts what
//! `re.compile` accepts of a `str` and refuses the rest in Python's words and with its positions, with two
//! exceptions: `\N{...}` is not known, and groups nest up to `NEST_MAX`.

use std::collections::HashMap;

use super::PatternError;
use super::ast::{self, At, Flags, Greed, MAX_REPEAT, Node, Width};
use super::group::Opened;
use super::scanner::{Scanner, Token};

/// How deep groups may nest. Python's own limit depends on its stack, about 400.
pub(super) const NEST_MAX: usize = 200;

/// A pattern that Python accepts.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) nodes: Vec<Node>,
    /// The fewest characters that can match.
    pub(super) width_min: u64,
}

/// Parses `source`.
pub(super) fn parse(source: &str) -> Result<Parsed, PatternError> {
    let mut parser = Parser {
        scanner: Scanner::new(source)?,
        flags: Flags::default(),
        names: HashMap::new(),
        widths: vec![None],
        look_behind_groups: None,
        conditions: Vec::new(),
    };
    let nodes = parser.alternation(Flags::default(), 0)?;
    if parser.flags.has(Flags::ASCII) && parser.flags.has(Flags::UNICODE) {
        return Err(PatternError {
            message: "ASCII and UNICODE flags are incompatible".to_owned(),
        });
    }
    if parser.scanner.peek().is_some() {
        return Err(parser.scanner.error("unbalanced parenthesis", 0));
    }
    for &(group, position) in &parser.conditions {
        if group >= parser.widths.len() {
            return Err(parser
                .scanner
                .error_at(&format!("invalid group reference {group}"), position));
        }
    }
    if let Some(message) = refusal_of_compiler(&nodes, parser.flags, &parser.widths) {
        return Err(PatternError {
            message: message.to_owned(),
        });
    }
    let width_min = ast::width(&nodes, &parser.widths).min;
    Ok(Parsed { nodes, width_min })
}

pub(super) struct Parser {
    pub(super) scanner: Scanner,
    /// The global flags so far.
    pub(super) flags: Flags,
    pub(super) names: HashMap<String, usize>,
    /// Widths of the groups; none while a group is open.
    pub(super) widths: Vec<Option<Width>>,
    /// Number of groups when the outermost look-behind began.
    pub(super) look_behind_groups: Option<usize>,
    /// Groups that conditionals name, and where.
    pub(super) conditions: Vec<(usize, usize)>,
}

impl Parser {
    /// `a|b|c`. `scope` are the flags of the enclosing groups; the global ones come on top at the outermost level.
    pub(super) fn alternation(
        &mut self,
        scope: Flags,
        depth: usize,
    ) -> Result<Vec<Node>, PatternError> {
        if depth > NEST_MAX {
            return Err(self
                .scanner
                .error(&format!("groups nested more than {NEST_MAX} deep"), 0));
        }
        let mut scope = scope;
        let mut branches = Vec::new();
        loop {
            branches.push(self.sequence(scope, depth, depth == 0 && branches.is_empty())?);
            if !self.scanner.eat('|')? {
                break;
            }
            if depth == 0 {
                scope = self.flags;
            }
        }
        match branches.pop() {
            Some(only) if branches.is_empty() => Ok(only),
            last => {
                branches.extend(last);
                Ok(vec![Node::Branch(branches)])
            }
        }
    }

    /// One branch. Only at the start of the first one may global flags stand.
    pub(super) fn sequence(
        &mut self,
        scope: Flags,
        depth: usize,
        first: bool,
    ) -> Result<Vec<Node>, PatternError> {
        let mut flags = scope;
        let mut nodes: Vec<Node> = Vec::new();
        while let Some(this) = self.scanner.peek() {
            if this.is('|') || this.is(')') {
                break;
            }
            self.scanner.take()?;
            if flags.has(Flags::VERBOSE) && self.skips_verbose(this)? {
                continue;
            }
            match this {
                Token::Escape(c) => nodes.push(self.escape(c, flags)?),
                Token::Char('[') => nodes.push(self.set(flags)?),
                Token::Char(c @ ('?' | '*' | '+' | '{')) => self.repeat(c, flags, &mut nodes)?,
                Token::Char('.') => nodes.push(Node::Any {
                    dotall: flags.has(Flags::DOTALL),
                }),
                Token::Char('^') if flags.has(Flags::MULTILINE) => {
                    nodes.push(Node::At(At::LineStart));
                }
                Token::Char('^') => nodes.push(Node::At(At::Start)),
                Token::Char('$') if flags.has(Flags::MULTILINE) => {
                    nodes.push(Node::At(At::LineEnd));
                }
                Token::Char('$') => nodes.push(Node::At(At::Dollar)),
                Token::Char('(') => {
                    let start = self.scanner.tell() - 1;
                    match self.open(start, flags, depth, first && nodes.is_empty())? {
                        Opened::Nothing => {
                            if depth == 0 {
                                flags = flags.with(self.flags);
                            }
                        }
                        Opened::Done(node) => nodes.push(node),
                        opened @ Opened::Group { .. } => {
                            nodes.push(self.group(opened, start, flags, depth)?);
                        }
                    }
                }
                Token::Char(c) => nodes.push(Node::One {
                    code: u32::from(c),
                    negated: false,
                    flags,
                }),
            }
        }
        Ok(nodes)
    }

    /// Whether `this` is a blank or begins a comment of `(?x)`, which is then skipped.
    fn skips_verbose(&mut self, this: Token) -> Result<bool, PatternError> {
        if let Token::Char(' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c') = this {
            return Ok(true);
        }
        if !this.is('#') {
            return Ok(false);
        }
        while let Some(token) = self.scanner.take()? {
            if token.is('\n') {
                break;
            }
        }
        Ok(true)
    }

    /// A repetition of the last node, or a brace that is none.
    fn repeat(&mut self, c: char, flags: Flags, nodes: &mut Vec<Node>) -> Result<(), PatternError> {
        let here = self.scanner.tell();
        let Some((min, max)) = self.counts(c, here)? else {
            nodes.push(Node::One {
                code: u32::from('{'),
                negated: false,
                flags,
            });
            return Ok(());
        };
        let back = self.scanner.tell() - here + 1;
        let body = match nodes.pop() {
            None | Some(Node::At(_)) => return Err(self.scanner.error("nothing to repeat", back)),
            Some(Node::Repeat { .. }) => return Err(self.scanner.error("multiple repeat", back)),
            Some(node) => Box::new(node),
        };
        let greed = if self.scanner.eat('?')? {
            Greed::Lazy
        } else if self.scanner.eat('+')? {
            Greed::Possessive
        } else {
            Greed::Greedy
        };
        nodes.push(Node::Repeat {
            min,
            max,
            greed,
            body,
        });
        Ok(())
    }

    /// The bounds that `c` begins; none where it is a brace that stands for itself.
    fn counts(&mut self, c: char, here: usize) -> Result<Option<(u32, Option<u32>)>, PatternError> {
        match c {
            '?' => return Ok(Some((0, Some(1)))),
            '*' => return Ok(Some((0, None))),
            '+' => return Ok(Some((1, None))),
            _ => {}
        }
        if self.scanner.next_is('}') {
            return Ok(None);
        }
        let low = self
            .scanner
            .take_while(usize::MAX, |c| c.is_ascii_digit())?;
        let high = if self.scanner.eat(',')? {
            self.scanner
                .take_while(usize::MAX, |c| c.is_ascii_digit())?
        } else {
            low.clone()
        };
        if !self.scanner.eat('}')? {
            self.scanner.seek(here)?;
            return Ok(None);
        }
        let min = count(&low)?.unwrap_or(0);
        let max = count(&high)?;
        if max.is_some_and(|max| max < min) {
            let back = self.scanner.tell() - here;
            return Err(self
                .scanner
                .error("min repeat greater than max repeat", back));
        }
        Ok(Some((min, max)))
    }

    pub(super) fn is_closed(&self, group: usize) -> bool {
        self.widths.get(group).is_some_and(Option::is_some)
    }

    /// Inside a look-behind only groups closed before it can be referred to.
    pub(super) fn check_look_behind(&self, group: usize) -> Result<(), PatternError> {
        let Some(limit) = self.look_behind_groups else {
            return Ok(());
        };
        if !self.is_closed(group) {
            return Err(self.scanner.error("cannot refer to an open group", 0));
        }
        if group >= limit {
            return Err(self.scanner.error(
                "cannot refer to group defined in the same lookbehind subpattern",
                0,
            ));
        }
        Ok(())
    }

    /// Makes flags global.
    pub(super) fn add_global(&mut self, flags: Flags) {
        self.flags = self.flags.with(flags);
    }
}

/// What Python finds only when it compiles a pattern that it has parsed, outer parts first.
fn refusal_of_compiler(
    nodes: &[Node],
    flags: Flags,
    widths: &[Option<Width>],
) -> Option<&'static str> {
    let mut refusal = None;
    ast::walk(nodes, &mut |node| {
        let message = match node {
            Node::Look {
                ahead: false, body, ..
            } if !ast::width(body, widths).is_fixed() => "look-behind requires fixed-width pattern",
            Node::Repeat { greed, .. } if flags.has(Flags::TEMPLATE) => match greed {
                Greed::Lazy => "internal: unsupported template operator MIN_REPEAT",
                Greed::Greedy => "internal: unsupported template operator MAX_REPEAT",
                Greed::Possessive => "internal: unsupported template operator POSSESSIVE_REPEAT",
            },
            _ => return,
        };
        refusal.get_or_insert(message);
    });
    refusal
}

/// A repetition count; none where nothing is written.
fn count(digits: &str) -> Result<Option<u32>, PatternError> {
    if digits.is_empty() {
        return Ok(None);
    }
    match digits.parse::<u32>() {
        Ok(count) if u64::from(count) < MAX_REPEAT => Ok(Some(count)),
        _ => Err(PatternError {
            message: "the repetition number is too large".to_owned(),
        }),
    }
}
