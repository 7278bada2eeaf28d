//! Hides the secrets of a delivery in what its host says: faults, and the output of install commands. Knows
//! the forms that a secret takes on its way through shells, URLs and base64, and the places where a text was
//! cut, at which a part of a secret may stand. Does not know where secrets come from.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::domain::install::CUT_MARK;
use crate::domain::secret::Secret;
use crate::domain::text::escape;

/// What is shorter is not hidden: it would be found in every second word.
const HIDDEN_MIN_BYTES: usize = 4;

/// What stands in the place of a secret. Shorter than anything that is hidden, so no text grows.
const STARS: &[u8] = b"***";

/// How a quotation says that it goes on where it was cut.
const ELLIPSES: [&str; 2] = ["...", "…"];

/// The secrets to hide.
#[derive(Debug, Clone, Default)]
pub struct Mask {
    /// Each secret in every form that is looked for; wiped on drop.
    forms: Vec<Secret>,
}

/// A place at which something of the text is missing: all before `start` and all from `end` on is text.
struct Gap {
    start: usize,
    end: usize,
}

impl Mask {
    /// Hides one secret more.
    pub fn add(&mut self, secret: &Secret) {
        for form in forms(secret.expose()) {
            if form.expose().len() >= HIDDEN_MIN_BYTES && !self.forms.contains(&form) {
                self.forms.push(form);
            }
        }
    }

    /// `text` with stars in the place of every secret, also where a quotation cuts one in two.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut gaps = Vec::new();
        for ellipsis in ELLIPSES {
            gaps.extend(gaps_at(text.as_bytes(), ellipsis));
        }
        match self.hide(text.as_bytes(), &gaps) {
            // Forms and text are UTF-8, and a part of a form is found at a boundary of the text only.
            Some(hidden) => Cow::Owned(String::from_utf8_lossy(&hidden).into_owned()),
            None => Cow::Borrowed(text),
        }
    }

    /// The same for the output of an install command; `is_cut`: there was more before it.
    pub fn output(&self, output: Vec<u8>, is_cut: bool) -> Vec<u8> {
        let mut gaps = gaps_at(&output, &format!("\n{CUT_MARK}\n"));
        if is_cut {
            gaps.push(Gap { start: 0, end: 0 });
        }
        self.hide(&output, &gaps).unwrap_or(output)
    }

    /// None: there is nothing to hide.
    fn hide(&self, text: &[u8], gaps: &[Gap]) -> Option<Vec<u8>> {
        if self.forms.is_empty() {
            return None;
        }
        let mut covered = self.covered(text, gaps);
        if covered.is_empty() {
            return None;
        }
        covered.sort_unstable();
        let mut hidden = Vec::with_capacity(text.len());
        let mut done = 0;
        for (start, end) in covered {
            if start >= done {
                hidden.extend_from_slice(text.get(done..start).unwrap_or_default());
                hidden.extend_from_slice(STARS);
            }
            // What overlaps goes under the same stars.
            done = done.max(end);
        }
        hidden.extend_from_slice(text.get(done..).unwrap_or_default());
        Some(hidden)
    }

    /// Every range that shows a secret, or a part of one beside a gap.
    fn covered(&self, text: &[u8], gaps: &[Gap]) -> Vec<(usize, usize)> {
        let forms = || self.forms.iter().map(|form| form.expose().as_bytes());
        let mut covered = Vec::new();
        for at in 0..text.len() {
            let rest = text.get(at..).unwrap_or_default();
            let longest = forms()
                .filter(|form| rest.starts_with(form))
                .map(<[u8]>::len)
                .max();
            covered.extend(longest.map(|length| (at, at + length)));
        }
        for gap in gaps {
            let before = text.get(..gap.start).unwrap_or_default();
            let behind = text.get(gap.end..).unwrap_or_default();
            for form in forms() {
                let part = (HIDDEN_MIN_BYTES..form.len())
                    .rev()
                    .find(|&length| before.ends_with(form.get(..length).unwrap_or_default()));
                covered.extend(part.map(|length| (gap.start - length, gap.start)));
                let part = (HIDDEN_MIN_BYTES..form.len()).rev().find(|&length| {
                    behind.starts_with(form.get(form.len() - length..).unwrap_or_default())
                });
                covered.extend(part.map(|length| (gap.end, gap.end + length)));
            }
        }
        covered
    }
}

fn gaps_at(text: &[u8], mark: &str) -> Vec<Gap> {
    let mark = mark.as_bytes();
    text.windows(mark.len())
        .enumerate()
        .filter(|(_, window)| *window == mark)
        .map(|(start, _)| Gap {
            start,
            end: start + mark.len(),
        })
        .collect()
}

/// A secret as it is; each of its lines; as shells quote it, as messages escape it, as URLs and JSON hold it,
/// and in base64, wherever it begins there.
fn forms(secret: &str) -> Vec<Secret> {
    let mut forms = vec![
        secret.to_owned(),
        secret.replace('\n', "\r\n"),
        escape(secret).into_owned(),
        shell_quoted(secret),
        debugged(secret),
        in_json(secret),
    ];
    forms.extend(secret.lines().map(str::to_owned));
    for digits in [b"0123456789ABCDEF", b"0123456789abcdef"] {
        for blank in ["%20", "+"] {
            forms.push(percent(secret, digits, blank));
        }
    }
    for offset in 0..3 {
        forms.push(base64(secret, offset, &STANDARD_NO_PAD));
        forms.push(base64(secret, offset, &URL_SAFE_NO_PAD));
    }
    forms.into_iter().map(Secret::new).collect()
}

/// Without the quotation marks around it.
fn inner(quoted: &str) -> String {
    let inner = quoted.get(1..quoted.len() - 1);
    inner.unwrap_or_default().to_owned()
}

/// As [`crate::domain::text::shell_quote`] does it.
fn shell_quoted(secret: &str) -> String {
    let mut form = String::with_capacity(secret.len() * 4);
    for c in secret.chars() {
        match c {
            '\'' => form.push_str("'\\''"),
            c => form.push(c),
        }
    }
    form
}

fn debugged(secret: &str) -> String {
    // A control becomes `\u{1f}`, a character of four bytes `\u{10ffff}`. Room for all from the beginning, here and
    // below: a text that grows leaves copies of itself behind.
    let mut quoted = Zeroizing::new(String::with_capacity(secret.len() * 6 + 2));
    // Writing to a String does not fail.
    let _ = write!(quoted, "{secret:?}");
    inner(&quoted)
}

fn in_json(secret: &str) -> String {
    let mut quoted = Zeroizing::new(Vec::with_capacity(secret.len() * 6 + 2));
    // Texts always serialise.
    let _ = serde_json::to_writer(&mut *quoted, secret);
    inner(std::str::from_utf8(&quoted).unwrap_or_default())
}

fn percent(secret: &str, digits: &[u8; 16], blank: &str) -> String {
    let digit = |value: u8| digits.get(usize::from(value)).map_or('0', |&d| d.into());
    let mut form = String::with_capacity(secret.len() * 3);
    for byte in secret.bytes() {
        match byte {
            b' ' => form.push_str(blank),
            b'-' | b'.' | b'_' | b'~' => form.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => form.push(byte.into()),
            _ => form.extend(['%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
    form
}

/// The digits that `secret` alone decides when `offset` (0 to 2) bytes of a group of three stand before it.
fn base64(secret: &str, offset: usize, engine: &impl Engine) -> String {
    let mut bytes = Zeroizing::new(Vec::with_capacity(offset + secret.len()));
    bytes.resize(offset, 0);
    bytes.extend_from_slice(secret.as_bytes());
    let bits = bytes.len() * 8;
    let text = Zeroizing::new(engine.encode(&*bytes));
    text.get((offset * 8).div_ceil(6)..bits / 6)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::text::shell_quote;

    fn mask(secrets: &[&str]) -> Mask {
        let mut mask = Mask::default();
        for secret in secrets {
            mask.add(&Secret::new((*secret).to_owned()));
        }
        mask
    }

    /// Whether `text` holds four bytes in a row of `secret`.
    fn shows_a_part(text: &[u8], secret: &str) -> bool {
        secret
            .as_bytes()
            .windows(HIDDEN_MIN_BYTES)
            .any(|part| text.windows(HIDDEN_MIN_BYTES).any(|window| window == part))
    }

    #[test]
    fn secrets_are_hidden_and_the_rest_is_kept() {
        let mask = mask(&["hunter2", "acct"]);
        assert_eq!(
            mask.text("pass hunter2hunter2 of acct, hunter 2"),
            "pass ****** of ***, hunter 2"
        );
        assert!(matches!(mask.text("nothing here"), Cow::Borrowed(_)));
        assert_eq!(
            mask.output(b"\xff hunter2\xfe".to_vec(), false),
            b"\xff ***\xfe"
        );
    }

    #[test]
    fn secrets_that_overlap_go_under_the_same_stars() {
        let mask = mask(&["abcdef", "defghi", "cdef"]);
        assert_eq!(mask.text("xabcdefghiy"), "x***y");
    }

    #[test]
    fn what_is_short_is_not_hidden() {
        let mask = mask(&["abc", "", "a\nb\nlong"]);
        assert_eq!(mask.text("abc a b long"), "abc a b ***");
    }

    #[test]
    fn a_secret_is_known_in_its_other_forms() {
        let secret = "pa's \"w\u{e9}\\\u{1b}/1";
        let mask = mask(&[secret]);
        let url = "pa%27s%20%22w%C3%A9%5C%1B%2F1";
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("tom:{secret}\n"));
        for form in [
            shell_quote(secret),
            escape(secret).into_owned(),
            format!("{secret:?}"),
            serde_json::Value::from(secret).to_string(),
            url.to_owned(),
            url.to_lowercase().replace("%20", "+"),
        ] {
            let hidden = mask.text(&form).into_owned();
            let bare = hidden.trim_matches(['\'', '"']);
            assert_eq!(bare, "***", "{form}");
        }
        for before in ["", "x", "xy", "xyz"] {
            let text = STANDARD_NO_PAD.encode(format!("{before}{secret}"));
            assert!(mask.text(&text).contains("***"), "{text}");
        }
        assert!(mask.text(&basic).contains("***"), "{basic}");
    }

    #[test]
    fn a_secret_that_is_cut_in_two_shows_no_part() {
        let secret = "sEcReT-0123456789";
        let mask = mask(&[secret]);
        for at in 1..secret.len() {
            let (start, end) = secret.split_at(at);
            let cut = mask.output(format!("{end} and {secret}").into_bytes(), true);
            assert!(!shows_a_part(&cut, secret), "{at}");
            let marked = format!("a {start}\n{CUT_MARK}\n{end} b");
            let marked = mask.output(marked.into_bytes(), false);
            assert!(!shows_a_part(&marked, secret), "{at}");
            for ellipsis in ELLIPSES {
                let quoted = format!("\"{start}{ellipsis}\"");
                let hidden = mask.text(&quoted).into_owned();
                assert!(!shows_a_part(hidden.as_bytes(), secret), "{hidden}");
            }
        }
        // Where nothing was cut, the end of a secret is a word like any other.
        assert_eq!(mask.output(b"56789".to_vec(), false), b"56789");
    }

    #[test]
    fn random_texts_lose_their_secrets_and_nothing_else() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let mut word = |least, most| -> String {
                let length = random.usize(least..most);
                (0..length).map(|_| random.char('a'..='c')).collect()
            };
            let (secret, pieces) = (word(4, 9), [word(0, 9), word(0, 9), word(0, 9)]);
            let text = pieces.join(&secret);
            let mask = mask(&[&secret]);
            let hidden = mask.text(&text).into_owned();
            assert!(!hidden.contains(&secret), "{secret} in {text}: {hidden}");
            assert!(hidden.len() <= text.len());
            let shows = |at: usize| {
                let mut starts = text.match_indices(&secret[..1]).map(|(start, _)| start);
                starts.any(|start| {
                    text[start..].starts_with(&secret)
                        && (start..start + secret.len()).contains(&at)
                })
            };
            let kept: String = (0..text.len())
                .filter(|&at| !shows(at))
                .map(|at| &text[at..=at])
                .collect();
            assert_eq!(hidden.replace('*', ""), kept, "{secret} in {text}");
            // Cut anywhere, the tail shows no part that is long enough to be told.
            let cut = random.usize(0..=text.len());
            let tail = mask.output(text.as_bytes()[cut..].to_vec(), true);
            let parts =
                (HIDDEN_MIN_BYTES..secret.len()).map(|length| &secret[secret.len() - length..]);
            for part in parts {
                assert!(
                    !tail.starts_with(part.as_bytes()),
                    "{secret}, {text} from {cut}"
                );
            }
        }
    }
}
