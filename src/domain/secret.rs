//! A text that must never leave memory except to its own host: stars in Debug, no Display, no
//! serialisation, wiped on drop.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroize as _;

/// A password, pass phrase or account.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes the text over and wipes where it was.
    pub fn new(mut text: String) -> Self {
        // Not the String itself: what has room to spare is moved when it is boxed, and left behind unwiped.
        let exact: Box<str> = text.as_str().into();
        text.zeroize();
        Self(SecretString::from(exact))
    }

    /// The text itself; only for handing it to the host it belongs to, or to mask it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_stars() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(format!("{:#?}", Some(secret)), "Some(\n    ***,\n)");
    }
}
