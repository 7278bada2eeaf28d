//! Faults: the one table that says what a failure means for the next transport and the next attempt.
//! Adapters classify what they see; nobody else decides what a class entails.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure ended a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultClass {
    /// The name does not resolve, refused, no route, connect or banner time-out, not an SSH server,
    /// no common algorithm.
    Unreachable,
    /// SSH is fine but neither SFTP, SCP nor exec is allowed; or a server without what is needed.
    Unsupported,
    /// A host key changed or was revoked; a certificate is not trusted.
    Untrusted,
    /// The login was refused.
    Denied,
    /// No space, quota, stall, connection lost, FTP 4xx.
    Transient,
    /// No such directory and it cannot be made, no permission, bad name, FTP 5xx.
    Permanent,
    /// Lost after the install began, and its outcome cannot be had.
    Unknown,
}

impl FaultClass {
    /// Every class, in the order of the design's table.
    pub const ALL: [Self; 7] = [
        Self::Unreachable,
        Self::Unsupported,
        Self::Untrusted,
        Self::Denied,
        Self::Transient,
        Self::Permanent,
        Self::Unknown,
    ];

    /// Whether the next transport of the rule may be tried after this fault.
    pub fn tries_next_transport(self) -> bool {
        matches!(self, Self::Unreachable | Self::Unsupported)
    }

    /// Whether the delivery is attempted again later.
    pub fn is_retried(self) -> bool {
        matches!(self, Self::Unreachable | Self::Transient)
    }

    /// The word that begins the message of a fault, and that the journal keeps.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unsupported => "unsupported",
            Self::Untrusted => "untrusted",
            Self::Denied => "denied",
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Unknown => "unknown",
        }
    }

    /// The class that [`FaultClass::as_str`] names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }
}

impl fmt::Display for FaultClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A classified failure. Its message says what was tried, on what, why it failed and the way out.
/// It never holds a secret, and holds no control characters (see [`crate::domain::text`]).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {message}")]
pub struct Fault {
    /// What the failure means.
    pub class: FaultClass,
    /// One line for people, without the class.
    pub message: String,
    /// Whether it is our side that fails (rules, netrc, disk, svnlook): that says nothing about the
    /// target, and uses up no attempt.
    pub is_ours: bool,
}

impl Fault {
    /// A fault of `class`; control characters of the message are escaped.
    pub fn new(class: FaultClass, message: impl AsRef<str>) -> Self {
        Self {
            class,
            message: crate::domain::text::escape(message.as_ref()).into_owned(),
            is_ours: false,
        }
    }

    /// A transient fault of our own side.
    pub fn ours(message: impl AsRef<str>) -> Self {
        Self {
            is_ours: true,
            ..Self::transient(message)
        }
    }

    /// Shorthand for [`FaultClass::Unreachable`].
    pub fn unreachable(message: impl AsRef<str>) -> Self {
        Self::new(FaultClass::Unreachable, message)
    }

    /// Shorthand for [`FaultClass::Unsupported`].
    pub fn unsupported(message: impl AsRef<str>) -> Self {
        Self::new(FaultClass::Unsupported, message)
    }

    /// Shorthand for [`FaultClass::Untrusted`].
    pub fn untrusted(message: impl AsRef<str>) -> Self {
        Self::new(FaultClass::Untrusted, message)
    }

    /// Shorthand for [`FaultClass::Denied`].
    pub fn denied(message: impl AsRef<str>) -> Self {
        Self::new(FaultClass::Denied, message)
    }

    /// Shorthand for [`FaultClass::Transient`].
    pub fn transient(message: impl AsRef<str>) -> Self {
        Self::new(FaultClass::Transient, message)
    }

    /// Shorthand for [`FaultClass::Permanent`].
    pub fn permanent(message: impl AsRef<str>) -> Self {
        Self::new(FaultClass::Permanent, message)
    }

    /// Shorthand for [`FaultClass::Unknown`].
    pub fn unknown(message: impl AsRef<str>) -> Self {
        Self::new(FaultClass::Unknown, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_design_holds() {
        use FaultClass::{
            Denied, Permanent, Transient, Unknown, Unreachable, Unsupported, Untrusted,
        };
        let rows = [
            (Unreachable, true, true),
            (Unsupported, true, false),
            (Untrusted, false, false),
            (Denied, false, false),
            (Transient, false, true),
            (Permanent, false, false),
            (Unknown, false, false),
        ];
        for (class, next, again) in rows {
            assert_eq!(class.tries_next_transport(), next, "{class}");
            assert_eq!(class.is_retried(), again, "{class}");
            assert_eq!(FaultClass::parse(class.as_str()), Some(class));
        }
    }

    #[test]
    fn a_message_begins_with_its_class_and_shows_no_escape_sequences() {
        let fault = Fault::denied("login refused\u{1b}[2J");
        assert_eq!(fault.to_string(), "denied: login refused\\x1b[2J");
    }
}
