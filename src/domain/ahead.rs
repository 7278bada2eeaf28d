//! How far the dump of a revision is worth being read for the files that are wanted out of it: one look at svnlook
//! costs a process, three for each file, while a dump has to be read through, whatever it holds. Large files are
//! cheaper had one by one.

use std::ops::RangeInclusive;

/// Larger files are not taken out of a dump.
pub const SMALL_MAX_BYTES: u64 = 1 << 20;
/// What one dump brings at most: the first of it should soon be on its way.
const TAKEN_MAX_BYTES: u64 = 256 << 20;
/// So much may be read in vain for each wanted file: it takes as long as to ask svnlook for that one.
const WORTH_BYTES: u64 = 2 << 20;
/// A path costs as much as so many bytes, whatever it holds.
const PATH_BYTES: u64 = 32 << 10;

/// What becomes of a path in the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The file is taken.
    Take,
    /// It is read in vain.
    PassOver,
    /// Nothing more is read.
    Stop(Enough),
}

/// Why nothing more is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enough {
    /// Everything is there, or as much as one dump may bring: another one may go on.
    ForNow,
    /// The rest is cheaper had one by one.
    ForGood,
}

/// A dump that is being read.
#[derive(Debug)]
pub struct Reading {
    /// Files that may still come.
    wanted: u64,
    taken_bytes: u64,
    vain_bytes: u64,
}

impl Reading {
    /// For so many wanted files.
    pub fn new(wanted: usize) -> Self {
        Self {
            wanted: wanted as u64,
            taken_bytes: 0,
            vain_bytes: 0,
        }
    }

    /// The next path: whether its file is wanted, and its text, of so many bytes, can be had; and what has to be read to
    /// get beyond it.
    pub fn next(&mut self, wanted_bytes: Option<u64>, bytes: u64) -> Next {
        if self.wanted == 0 {
            return Next::Stop(Enough::ForNow);
        }
        match wanted_bytes {
            Some(size) if size <= SMALL_MAX_BYTES => {
                if self.taken_bytes + size > TAKEN_MAX_BYTES {
                    return Next::Stop(Enough::ForNow);
                }
                self.wanted -= 1;
                self.taken_bytes += size;
                Next::Take
            }
            too_large => {
                self.wanted -= u64::from(too_large.is_some());
                self.vain_bytes = self
                    .vain_bytes
                    .saturating_add(bytes)
                    .saturating_add(PATH_BYTES);
                if self.vain_bytes > self.wanted.saturating_mul(WORTH_BYTES) {
                    return Next::Stop(Enough::ForGood);
                }
                Next::PassOver
            }
        }
    }
}

/// Of which packages of a batch a dump was read: they lie in the order of the tree, and so do those that are wanted next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    tried: Option<RangeInclusive<i64>>,
    is_over: bool,
}

impl Progress {
    /// Whether a dump may bring the package, which is not there. One that was looked for in vain, or is gone since, is
    /// not looked for again.
    pub fn may_bring(&self, package: i64) -> bool {
        !self.is_over
            && !self
                .tried
                .as_ref()
                .is_some_and(|tried| tried.contains(&package))
    }

    /// A dump was read for the packages from `first` on, up to `last`.
    pub fn read(&mut self, first: i64, last: i64) {
        let (low, high) = match &self.tried {
            Some(tried) => (first.min(*tried.start()), last.max(*tried.end())),
            None => (first, last),
        };
        self.tried = Some(low..=high);
    }

    /// No other one is worth reading.
    pub fn end(&mut self) {
        self.is_over = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    #[test]
    fn small_wanted_files_are_taken_and_others_read_in_vain_as_far_as_that_pays() {
        let mut reading = Reading::new(3);
        assert_eq!(reading.next(None, 3 * MIB), Next::PassOver);
        assert_eq!(reading.next(Some(10 * KIB), 10 * KIB), Next::Take);
        assert_eq!(reading.next(Some(SMALL_MAX_BYTES), MIB), Next::Take);
        assert_eq!(reading.next(None, 0), Next::Stop(Enough::ForGood));
        let mut reading = Reading::new(3);
        assert_eq!(reading.next(None, 10 << 30), Next::Stop(Enough::ForGood));
        let mut reading = Reading::new(1);
        assert_eq!(reading.next(None, u64::MAX), Next::Stop(Enough::ForGood));
    }

    #[test]
    fn a_large_wanted_file_is_left_to_svnlook() {
        let mut reading = Reading::new(1);
        assert_eq!(
            reading.next(Some(SMALL_MAX_BYTES + 1), SMALL_MAX_BYTES + 1),
            Next::Stop(Enough::ForGood)
        );
        let mut reading = Reading::new(9);
        let size = 3 * MIB;
        assert_eq!(reading.next(Some(size), size), Next::PassOver);
        assert_eq!(reading.next(Some(1), 1), Next::Take);
    }

    #[test]
    fn nothing_is_read_behind_the_last_one() {
        let mut reading = Reading::new(1);
        assert_eq!(reading.next(Some(0), 0), Next::Take);
        assert_eq!(reading.next(None, 1), Next::Stop(Enough::ForNow));
    }

    #[test]
    fn one_dump_brings_no_more_than_it_may() {
        let mut reading = Reading::new(1000);
        let mut taken = 0;
        while reading.next(Some(MIB), MIB) == Next::Take {
            taken += MIB;
        }
        assert_eq!(taken, TAKEN_MAX_BYTES);
        assert_eq!(reading.next(Some(MIB), MIB), Next::Stop(Enough::ForNow));
    }

    #[test]
    fn a_package_is_looked_for_once() {
        let mut progress = Progress::default();
        assert!(progress.may_bring(7));
        progress.read(5, 9);
        let asked = [4, 5, 9, 10].map(|package| progress.may_bring(package));
        assert_eq!(asked, [true, false, false, true]);
        progress.read(10, 12);
        let asked = [4, 5, 12, 13].map(|package| progress.may_bring(package));
        assert_eq!(asked, [true, false, false, true]);
        progress.end();
        assert!(!progress.may_bring(13));
    }
}
