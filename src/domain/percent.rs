//! Conversions of Python's `%` operator, as far as log formats use them: `%-8s`, `%05d`, `%.3f`.

/// Flags, width, precision and type of a `%` conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conversion {
    left: bool,
    zeros: bool,
    /// What stands before a number that is not negative.
    sign: Option<char>,
    width: usize,
    precision: Option<usize>,
    kind: char,
}

/// A value as Python's `%` operator sees it.
pub(super) enum Value<'a> {
    Text(std::borrow::Cow<'a, str>),
    Whole(i64),
    Real(f64),
}

/// No column of a log is wider.
const MAX_WIDTH: usize = 1000;

impl Conversion {
    /// Without flags and width.
    pub(super) fn plain(kind: char) -> Self {
        Self {
            left: false,
            zeros: false,
            sign: None,
            width: 0,
            precision: None,
            kind,
        }
    }

    /// Reads what stands behind `%(name)`: flags, width, precision, type; and what is left of the text.
    pub(super) fn parse(text: &str) -> Result<(Self, &str), String> {
        let mut conversion = Self::plain('s');
        let rest = text.trim_start_matches(['0', '+', ' ', '-']);
        for flag in text[..text.len() - rest.len()].chars() {
            match flag {
                '-' => conversion.left = true,
                '0' => conversion.zeros = true,
                '+' => conversion.sign = Some('+'),
                _ => conversion.sign = conversion.sign.or(Some(' ')),
            }
        }
        let (width, mut rest) = digits(rest);
        conversion.width = width.unwrap_or(0);
        if let Some(behind) = rest.strip_prefix('.') {
            let (precision, behind) = digits(behind);
            conversion.precision = Some(precision.unwrap_or(0));
            rest = behind;
        }
        if conversion.width.max(conversion.precision.unwrap_or(0)) > MAX_WIDTH {
            return Err(format!("is wider than {MAX_WIDTH}"));
        }
        let mut chars = rest.chars();
        conversion.kind = match chars.next() {
            Some('d' | 'i' | 'u') => 'd',
            Some(kind @ ('o' | 'x' | 'f' | 's')) => kind,
            Some('e' | 'g' | 'r' | 'a' | '#') => {
                return Err(
                    "has a form that logs have no use for; a text is `s`, a number `d` or `f`"
                        .to_owned(),
                );
            }
            _ => return Err("lacks its type; a text is `s`, a number `d`".to_owned()),
        };
        Ok((conversion, chars.as_str()))
    }

    /// The letter of its type.
    pub(super) fn kind(&self) -> char {
        self.kind
    }

    /// Writes a value as Python would.
    pub(super) fn write(&self, out: &mut String, value: &Value<'_>) {
        let body = match (value, self.is_textual()) {
            (Value::Text(text), _) => self.cut(text),
            (Value::Whole(whole), true) => self.cut(&whole.to_string()),
            (Value::Real(real), true) => self.cut(&format!("{real:?}")),
            (Value::Whole(whole), false) => self.number(*whole),
            (Value::Real(real), false) => self.real(*real),
        };
        let missing = self.width.saturating_sub(body.chars().count());
        if self.left {
            out.push_str(&body);
            out.extend(std::iter::repeat_n(' ', missing));
        } else if self.zeros && !self.is_textual() {
            let sign = body.len() - body.trim_start_matches(['-', '+', ' ']).len();
            out.push_str(&body[..sign]);
            out.extend(std::iter::repeat_n('0', missing));
            out.push_str(&body[sign..]);
        } else {
            out.extend(std::iter::repeat_n(' ', missing));
            out.push_str(&body);
        }
    }

    /// Whether it takes text as well as numbers.
    pub(super) fn is_textual(&self) -> bool {
        self.kind == 's'
    }

    fn cut(&self, text: &str) -> String {
        match self.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.to_owned(),
        }
    }

    fn number(&self, whole: i64) -> String {
        let digits = match self.kind {
            'x' => format!("{whole:x}"),
            'o' => format!("{whole:o}"),
            #[expect(
                clippy::cast_precision_loss,
                reason = "Python converts to a double here as well"
            )]
            'f' => return self.real(whole as f64),
            _ => whole.to_string(),
        };
        // No number of a log is negative, so that a precision is a matter of zeros in front.
        self.signed(format!(
            "{digits:0>least$}",
            least = self.precision.unwrap_or(0)
        ))
    }

    fn real(&self, real: f64) -> String {
        let places = self.precision.unwrap_or(6);
        let digits = match self.kind {
            'f' => format!("{real:.places$}"),
            _ => format!("{:.0}", real.trunc()),
        };
        self.signed(digits)
    }

    fn signed(&self, digits: String) -> String {
        match self.sign {
            Some(sign) if !digits.starts_with('-') => format!("{sign}{digits}"),
            _ => digits,
        }
    }
}

/// The number that a text begins with, if it does, and what is behind it.
fn digits(text: &str) -> (Option<usize>, &str) {
    let behind = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text[..text.len() - behind.len()]
        .bytes()
        .map(|digit| usize::from(digit - b'0'))
        .reduce(|number, digit| number.saturating_mul(10).saturating_add(digit));
    (number, behind)
}
