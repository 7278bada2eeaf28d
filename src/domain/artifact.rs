//! What artifacts are told by, their SHA-256, and how badly they are wanted: what decides whether one may leave
//! the spool, and in which order.

use sha2::{Digest as _, Sha256};

/// The strongest wish among the deliveries of an artifact, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Want {
    /// No delivery wants it any more.
    Nobody,
    /// Only a `retry` could want it, or an install that needs the record alone; its repository can give it again.
    Maybe,
    /// Deliveries that do not run just now; its repository can give it again.
    Later,
    /// Nothing could give it again, for it was sent by hand or dropped; it waits behind others of its lane.
    Kept,
    /// A running delivery, or the next one of a lane, or one that failed, where nothing could give it again.
    Now,
}

impl Want {
    /// The want that `number` stands for in the journal's answer: its place in the order.
    pub fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Nobody,
            1 => Self::Maybe,
            2 => Self::Later,
            3 => Self::Kept,
            _ => Self::Now,
        }
    }
}

/// The SHA-256 of bytes that come piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Digester(Sha256);

impl Digester {
    /// More bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> String {
        let mut digester = Self::default();
        digester.update(bytes);
        digester.finish()
    }

    /// Of all of them, in lower-case hex.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
