//! Sets of characters, and which characters a member of a set takes: Python's categories and its rules for
//! matching without regard to case. Knows nothing of patterns as a whole.

use super::ast::{Category, Flags, Member};
use super::tables::{CASED, DIGIT, LOWER, SAME_UPPER, SPACE, WORD};

/// The last code point.
const LAST: u32 = 0x0010_ffff;

/// Code points as ascending ranges that neither overlap nor touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct CharSet(Vec<(u32, u32)>);

impl CharSet {
    fn from_ranges(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        Self(merged)
    }

    fn negated(&self) -> Self {
        let mut ranges = Vec::with_capacity(self.0.len() + 1);
        let mut next = 0;
        for &(low, high) in &self.0 {
            if low > next {
                ranges.push((next, low - 1));
            }
            next = high + 1;
        }
        if next <= LAST {
            ranges.push((next, LAST));
        }
        Self(ranges)
    }

    fn intersection(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(&&(low, high)), Some(&&(from, to))) = (mine.peek(), theirs.peek()) {
            if low.max(from) <= high.min(to) {
                ranges.push((low.max(from), high.min(to)));
            }
            if high < to {
                mine.next();
            } else {
                theirs.next();
            }
        }
        Self(ranges)
    }

    fn contains(&self, code: u32) -> bool {
        in_table(&self.0, code)
    }

    /// The ranges up to `last`, without surrogates: those that text can hold.
    pub(super) fn ranges_up_to(&self, last: u32) -> impl Iterator<Item = (char, char)> {
        self.0
            .iter()
            .take_while(move |(low, _)| *low <= last)
            .flat_map(move |&(low, high)| {
                let below = (low, high.min(0xd7ff).min(last));
                let above = (low.max(0xe000), high.min(last));
                [below, above].into_iter().filter_map(|(low, high)| {
                    (low <= high).then_some(())?;
                    Some((char::from_u32(low)?, char::from_u32(high)?))
                })
            })
    }
}

fn in_table(table: &[(u32, u32)], code: u32) -> bool {
    let after = table.partition_point(|(low, _)| *low <= code);
    after > 0 && table[after - 1].1 >= code
}

/// The characters that one code point of a pattern matches.
pub(super) fn one(code: u32, negated: bool, flags: Flags) -> CharSet {
    let mut codes = vec![code];
    if flags.has(Flags::IGNORECASE) && is_cased(code, flags) {
        let low = lower(code, flags);
        codes = vec![low];
        if !flags.has(Flags::ASCII) {
            codes.extend_from_slice(same_upper(low));
        }
        codes = raised(&codes, flags);
    }
    let set = CharSet::from_ranges(codes.into_iter().map(|code| (code, code)).collect());
    if negated { set.negated() } else { set }
}

/// The characters that a set matches.
pub(super) fn set(members: &[Member], negated: bool, flags: Flags) -> CharSet {
    let ignore_case = flags.has(Flags::IGNORECASE)
        && members.iter().any(|member| member_is_cased(*member, flags));
    let mut ranges = Vec::new();
    for member in members {
        match *member {
            Member::One(code) if ignore_case => {
                // As in sre: beyond the first 65,536 code points the member itself stands, not its lower case.
                let code = if lower(code, flags) > 0xffff {
                    code
                } else {
                    lower(code, flags)
                };
                ranges.push((code, code));
                if !flags.has(Flags::ASCII) {
                    ranges.extend(same_upper(code).iter().map(|&code| (code, code)));
                }
            }
            Member::One(code) => ranges.push((code, code)),
            Member::Range(low, high) if ignore_case => lowered_range(low, high, flags, &mut ranges),
            Member::Range(low, high) => ranges.push((low, high)),
            Member::Category { category, negated } => {
                category_ranges(category, negated, flags, &mut ranges);
            }
        }
    }
    let mut set = CharSet::from_ranges(ranges);
    if negated {
        set = set.negated();
    }
    if ignore_case {
        with_lower_in(&set, flags)
    } else {
        set
    }
}

/// `\w`.
pub(super) fn word(ascii: bool) -> CharSet {
    let mut ranges = Vec::new();
    let flags = if ascii {
        Flags::ASCII
    } else {
        Flags::default()
    };
    category_ranges(Category::Word, false, flags, &mut ranges);
    CharSet(ranges)
}

fn category_ranges(category: Category, negated: bool, flags: Flags, ranges: &mut Vec<(u32, u32)>) {
    let ascii: &[(u32, u32)];
    let unicode = match category {
        Category::Digit => {
            ascii = &[(0x30, 0x39)];
            DIGIT
        }
        Category::Space => {
            ascii = &[(9, 13), (32, 32)];
            SPACE
        }
        Category::Word => {
            ascii = &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)];
            WORD
        }
    };
    let table = if flags.has(Flags::ASCII) {
        ascii
    } else {
        unicode
    };
    if negated {
        ranges.extend(CharSet(table.to_vec()).negated().0);
    } else {
        ranges.extend_from_slice(table);
    }
}

fn member_is_cased(member: Member, flags: Flags) -> bool {
    match member {
        Member::One(code) => is_cased(code, flags) || lower(code, flags) > 0xffff,
        Member::Range(_, high) if high > 0xffff => true,
        Member::Range(low, high) if flags.has(Flags::ASCII) => {
            (low <= 0x5a && high >= 0x41) || (low <= 0x7a && high >= 0x61)
        }
        Member::Range(low, high) => {
            let after = CASED.partition_point(|(first, _)| *first <= high);
            after > 0 && CASED[after - 1].1 >= low
        }
        Member::Category { .. } => false,
    }
}

/// What the members of a range become before lower-cased text is compared with them.
fn lowered_range(low: u32, high: u32, flags: Flags, ranges: &mut Vec<(u32, u32)>) {
    if high > 0xffff {
        // sre compares such characters in both cases.
        ranges.push((low.max(0x1_0000), high));
        for (upper, lower) in lower_pairs() {
            if upper > 0xffff && (low..=high).contains(&upper) {
                ranges.push((lower, lower));
            }
        }
    }
    let high = high.min(0xffff);
    if low > high {
        return;
    }
    // Upper-case characters of the range stay in it: lower-cased text never holds one.
    ranges.push((low, high));
    if flags.has(Flags::ASCII) {
        ranges.extend((low.max(0x41)..=high.min(0x5a)).map(|code| (code + 32, code + 32)));
        return;
    }
    for (upper, lower) in lower_pairs() {
        if (low..=high).contains(&upper) {
            ranges.push((lower, lower));
            ranges.extend(same_upper(lower).iter().map(|&code| (code, code)));
        }
    }
    for class in SAME_UPPER {
        if class.iter().any(|code| (low..=high).contains(code)) {
            ranges.extend(class.iter().map(|&code| (code, code)));
        }
    }
}

/// All characters whose lower case is in `set`.
fn with_lower_in(set: &CharSet, flags: Flags) -> CharSet {
    let pairs = || lower_pairs().filter(|(upper, _)| !flags.has(Flags::ASCII) || *upper < 0x80);
    let uppers = CharSet::from_ranges(pairs().map(|(upper, _)| (upper, upper)).collect());
    let mut ranges = set.intersection(&uppers.negated()).0;
    ranges.extend(
        pairs()
            .filter(|(_, lower)| set.contains(*lower))
            .map(|(upper, _)| (upper, upper)),
    );
    CharSet::from_ranges(ranges)
}

/// `codes`, which are lower case, and the characters whose lower case they are.
fn raised(codes: &[u32], flags: Flags) -> Vec<u32> {
    let uppers = lower_pairs()
        .filter(|(upper, lower)| {
            codes.contains(lower) && (!flags.has(Flags::ASCII) || *upper < 0x80)
        })
        .map(|(upper, _)| upper);
    codes.iter().copied().chain(uppers).collect()
}

/// All characters that are not their own lower case, with it.
fn lower_pairs() -> impl Iterator<Item = (u32, u32)> {
    LOWER.iter().flat_map(|&(first, last, step, offset)| {
        (first..=last)
            .step_by(step as usize)
            .map(move |code| (code, code.wrapping_add_signed(offset)))
    })
}

fn lower(code: u32, flags: Flags) -> u32 {
    if code < 0x80 || flags.has(Flags::ASCII) {
        return if (0x41..=0x5a).contains(&code) {
            code + 32
        } else {
            code
        };
    }
    let after = LOWER.partition_point(|(first, ..)| *first <= code);
    match after.checked_sub(1).map(|at| LOWER[at]) {
        Some((first, last, step, offset))
            if code <= last && (code - first).is_multiple_of(step) =>
        {
            code.wrapping_add_signed(offset)
        }
        _ => code,
    }
}

fn is_cased(code: u32, flags: Flags) -> bool {
    if flags.has(Flags::ASCII) {
        return char::from_u32(code).is_some_and(|c| c.is_ascii_alphabetic());
    }
    in_table(CASED, code)
}

/// The class of lower-case characters with one upper case that `code` is in; empty if it is alone.
fn same_upper(code: u32) -> &'static [u32] {
    SAME_UPPER
        .iter()
        .copied()
        .find(|class| class.contains(&code))
        .unwrap_or_default()
}

/// One character for all that any pattern can take for each other without regard to case.
pub(super) fn fold(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let low = lower(u32::from(c), Flags::default());
    same_upper(low)
        .first()
        .copied()
        .or(Some(low))
        .and_then(char::from_u32)
        .unwrap_or(c)
}
