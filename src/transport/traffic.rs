//! How many are at work on the lines of this process. Knows nothing of what they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Those that share the lines and this machine. Clones count the same ones.
#[derive(Debug, Clone, Default)]
pub struct Traffic(Arc<AtomicU64>);

/// One that connects or uploads, until it is dropped.
#[derive(Debug)]
pub(super) struct AtWork(Arc<AtomicU64>);

impl Traffic {
    /// One more is at work.
    pub(super) fn begin(&self) -> AtWork {
        self.0.fetch_add(1, Ordering::Relaxed);
        AtWork(Arc::clone(&self.0))
    }

    /// How many are at work.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_ended_is_not_counted() {
        let traffic = Traffic::default();
        let clone = traffic.clone();
        let first = traffic.begin();
        let second = clone.begin();
        assert_eq!((traffic.count(), clone.count()), (2, 2));
        drop(first);
        assert_eq!(clone.count(), 1);
        drop(second);
        assert_eq!(traffic.count(), 0);
    }
}
