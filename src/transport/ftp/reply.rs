//! What FTP servers say: codes, texts, and which class of fault a refusal is. Pure.

use crate::domain::fault::{Fault, FaultClass};
use crate::domain::secret::Secret;

/// How much of a reply a message quotes, in characters.
const QUOTE_MAX_CHARS: usize = 300;

/// One whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// The code of its last line: 226, 550.
    pub(super) code: u16,
    /// All its lines, codes included, bytes that are not UTF-8 replaced.
    pub(super) text: String,
}

impl Reply {
    /// Takes a reply's bytes apart; none when they do not end in a line with a code.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes)
            .trim_end_matches(['\r', '\n'])
            .to_owned();
        let last = text.rsplit('\n').next()?;
        let code = last.get(..3)?;
        if !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            code: code.parse().ok()?,
            text,
        })
    }

    /// 2xx.
    pub(super) fn is_done(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3xx.
    pub(super) fn wants_more(&self) -> bool {
        self.code / 100 == 3
    }

    /// The server is about to end, or lost the data connection; what it has of the file is as good as before.
    pub(super) fn tells_of_a_cut(&self) -> bool {
        matches!(self.code, 421 | 425 | 426)
    }

    /// The command is not known to this server, or not with this argument.
    pub(super) fn is_not_known(&self) -> bool {
        matches!(self.code, 202 | 500 | 501 | 502 | 504)
    }

    /// What messages quote: one line, of bounded length.
    pub(super) fn quote(&self) -> String {
        let mut quote: String = self
            .text
            .lines()
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" / ");
        if let Some((at, _)) = quote.char_indices().nth(QUOTE_MAX_CHARS) {
            quote.truncate(at);
            quote.push_str("...");
        }
        quote
    }

    /// The same reply without a secret that the server may have echoed.
    pub(super) fn without(mut self, secret: &Secret) -> Self {
        if !secret.is_empty() {
            self.text = self.text.replace(secret.expose(), "***");
        }
        self
    }

    /// The fault that this refusal of `what` is: 4xx transient, 5xx permanent, but for want of space.
    pub(super) fn refusal(&self, what: &str) -> Fault {
        let message = format!("{what}: the server answers \"{}\"", self.quote());
        Fault::new(self.class(), message)
    }

    fn class(&self) -> FaultClass {
        // 552 is "exceeded storage allocation". Servers that hand on the system's error answer 550 or 553
        // for a full disk, and only the text tells.
        let text = self.text.to_ascii_lowercase();
        let is_full = [
            "no space",
            "quota",
            "disk full",
            "insufficient",
            "not enough space",
        ]
        .iter()
        .any(|words| text.contains(words));
        match self.code / 100 {
            5 if self.code == 552 || is_full => FaultClass::Transient,
            5 => FaultClass::Permanent,
            _ => FaultClass::Transient,
        }
    }
}

/// What `FEAT` says that a server can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Features {
    /// Upper case, one feature an entry: `HASH SHA-1;SHA-256*`.
    lines: Vec<String>,
}

impl Features {
    /// Reads a reply to `FEAT`; a refusal means that nothing is known.
    pub(super) fn parse(reply: &Reply) -> Self {
        if reply.code != 211 {
            return Self::default();
        }
        let lines = reply
            .text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.starts_with("211"))
            .map(|line| line.trim_start().to_ascii_uppercase())
            .filter(|line| !line.is_empty())
            .collect();
        Self { lines }
    }

    /// Whether the server told of none.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether the feature of this name (upper case) is listed.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values(name).is_some()
    }

    /// What stands behind the name; empty when nothing does.
    pub(super) fn values(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| {
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            (first == name).then_some(rest.trim())
        })
    }
}

/// The directory in a reply to `PWD`: between the first quote and its partner, a doubled quote being one.
pub(super) fn quoted_path(reply: &Reply) -> Option<String> {
    let (_, rest) = reply.text.split_once('"')?;
    let mut path = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '"' {
            path.push(c);
        } else if chars.peek() == Some(&'"') {
            chars.next();
            path.push('"');
        } else {
            return Some(path);
        }
    }
    None
}

/// The number in a reply to `SIZE`.
pub(super) fn size_of(reply: &Reply) -> Option<u64> {
    if reply.code != 213 {
        return None;
    }
    reply
        .text
        .rsplit('\n')
        .next()?
        .get(3..)?
        .trim()
        .parse()
        .ok()
}

/// The SHA-256, lower case, in a reply to `XSHA256` or `HASH`: the word of 64 hexadecimal digits.
pub(super) fn sha256_of(reply: &Reply) -> Option<String> {
    if !reply.is_done() {
        return None;
    }
    reply
        .text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .find(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map(str::to_ascii_lowercase)
}

/// The `size` fact in a reply to `MLST`.
pub(super) fn mlst_size_of(reply: &Reply) -> Option<u64> {
    if !reply.is_done() {
        return None;
    }
    let facts = reply
        .text
        .lines()
        .find(|line| line.starts_with(' '))?
        .trim_start();
    let (facts, _name) = facts.split_once(' ')?;
    facts.split(';').find_map(|fact| {
        let (name, value) = fact.split_once('=')?;
        name.eq_ignore_ascii_case("size")
            .then(|| value.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_last_line_has_the_code() {
        let told = reply("230-Welcome\r\n230-to 550 hosts\r\n230 Done\r\n");
        assert_eq!(told.code, 230);
        assert_eq!(told.quote(), "230-Welcome / 230-to 550 hosts / 230 Done");
        assert_eq!(Reply::parse(b"hello\r\n"), None);
        assert_eq!(Reply::parse(b""), None);
    }

    #[test]
    fn refusals_have_their_classes() {
        let cases = [
            ("450 busy", FaultClass::Transient),
            ("452 full", FaultClass::Transient),
            ("552 quota", FaultClass::Transient),
            ("550 No space left on device.", FaultClass::Transient),
            ("553 Disk quota exceeded", FaultClass::Transient),
            ("550 Permission denied.", FaultClass::Permanent),
            ("500 what?", FaultClass::Permanent),
        ];
        for (text, class) in cases {
            assert_eq!(reply(text).refusal("x").class, class, "{text}");
        }
    }

    #[test]
    fn an_echoed_secret_is_masked_and_a_long_reply_is_cut() {
        let told =
            reply("530 no such pair: joe/hunter2").without(&Secret::new("hunter2".to_owned()));
        assert_eq!(told.quote(), "530 no such pair: joe/***");
        let long = reply(&format!("550 {}", "é".repeat(5000)));
        assert_eq!(long.quote().chars().count(), QUOTE_MAX_CHARS + 3);
    }

    #[test]
    fn features_are_found_by_name_whatever_their_case_and_indent() {
        let told = reply("211-Features:\r\n utf8\r\nSIZE\r\n HASH SHA-1;SHA-256*\r\n211 End\r\n");
        let features = Features::parse(&told);
        assert!(features.has("UTF8") && features.has("SIZE") && !features.has("EPSV"));
        assert_eq!(features.values("HASH"), Some("SHA-1;SHA-256*"));
        assert_eq!(Features::parse(&reply("500 FEAT?")), Features::default());
    }

    #[test]
    fn doubled_quotes_in_a_path_are_one() {
        assert_eq!(
            quoted_path(&reply("257 \"/a \"\"b\"\"\" is it")).as_deref(),
            Some("/a \"b\"")
        );
        assert_eq!(quoted_path(&reply("257 /nothing quoted")), None);
        assert_eq!(quoted_path(&reply("257 \"/open")), None);
    }

    #[test]
    fn sizes_and_digests_are_read_from_replies() {
        assert_eq!(size_of(&reply("213 5368709120")), Some(5_368_709_120));
        assert_eq!(size_of(&reply("213 about 3")), None);
        assert_eq!(size_of(&reply("550 213")), None);
        let digest = "AB".repeat(32);
        let expected = Some("ab".repeat(32));
        assert_eq!(sha256_of(&reply(&format!("250 {digest}"))), expected);
        assert_eq!(
            sha256_of(&reply(&format!("213 SHA-256 0-49 {digest} f.txt"))),
            expected
        );
        assert_eq!(sha256_of(&reply(&format!("550 {digest}"))), None);
        let mlst = "250-Listing /a\r\n type=file;Size=42;modify=2; /a b;size=1\r\n250 End";
        assert_eq!(mlst_size_of(&reply(mlst)), Some(42));
    }
}
