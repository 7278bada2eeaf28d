//! A writer that tells how much went through it, and not too often.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Pause between two tidings.
const EVERY: Duration = Duration::from_millis(200);

/// Passes everything on, and tells how many bytes that were so far.
pub struct Counting<'a> {
    inner: &'a mut dyn Write,
    tell: &'a mut dyn FnMut(u64),
    bytes: u64,
    told: Instant,
}

impl<'a> Counting<'a> {
    /// Nothing has gone through it yet. What is over soon is never told.
    pub fn new(inner: &'a mut dyn Write, tell: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            inner,
            tell,
            bytes: 0,
            told: Instant::now(),
        }
    }
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        if self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            (self.tell)(self.bytes);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
