//! How badly an artifact is wanted: what decides whether it may leave the spool, and in which order.

/// The strongest wish among the deliveries of an artifact, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Want {
    /// No delivery wants it any more.
    Nobody,
    /// Only a `retry` could want it, or an install that needs the record alone; its repository can give it again.
    Maybe,
    /// Deliveries that do not run just now; its repository can give it again.
    Later,
    /// A running delivery, or it was sent by hand and nothing could give it again.
    Now,
}

impl Want {
    /// The want that `number` stands for in the journal's answer: its place in the order.
    pub fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Nobody,
            1 => Self::Maybe,
            2 => Self::Later,
            _ => Self::Now,
        }
    }
}
