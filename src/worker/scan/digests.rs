//! What was there before the first start, and what no rule took, is read when there is nothing else to do: only by
//! its content can a file that is touched later be told from a new one. In small pieces, with pauses.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::{Duration, Instant};

use super::Scanner;
use crate::domain::artifact::Digester;
use crate::error::Result;
use crate::journal::Undigested;
use crate::source::directory::Root;

/// How long is read in one go, and the pause behind it: others use these disks.
const AT_WORK: Duration = Duration::from_millis(40);
const BREATH: Duration = Duration::from_millis(40);
/// Files that are asked for at a time.
const PAGE: u32 = 500;
const PIECE: usize = 256 << 10;

/// How far the reading has come. No file is kept open in the pauses: its file system can be unmounted.
#[derive(Default)]
pub(super) struct Digests {
    /// The last file that was asked for.
    cursor: i64,
    queue: Vec<Undigested>,
    /// The file in hand, and how much of it was read.
    current: Option<(Undigested, u64, Digester)>,
    done: Vec<(Undigested, String)>,
    /// Whether there was nothing left.
    is_over: bool,
}

impl Digests {
    /// There may be more to read.
    pub(super) fn wake(&mut self) {
        self.is_over = false;
    }
}

impl Scanner<'_> {
    /// Reads for a moment. After which pause there is more; none: everything is read.
    pub(super) fn digest_some(&mut self, root: &Root) -> Result<Option<Duration>> {
        if self.digests.is_over || !self.is_stocked() {
            return Ok(None);
        }
        let end = Instant::now() + AT_WORK;
        let mut piece = vec![0_u8; PIECE];
        while Instant::now() < end {
            if self.digests.current.is_none() && !self.next_to_digest()? {
                self.digests.is_over = true;
                return Ok(None);
            }
            if let Some((file, read, digester)) = self.digests.current.take() {
                self.digests.current = read_on(
                    root,
                    (file, read, digester),
                    end,
                    &mut piece,
                    &mut self.digests.done,
                );
            }
        }
        Ok(Some(BREATH))
    }

    /// Chooses the next file. Whether there was one.
    fn next_to_digest(&mut self) -> Result<bool> {
        if self.digests.queue.is_empty() {
            let done = std::mem::take(&mut self.digests.done);
            if !done.is_empty() {
                self.journal.note_digests(&done)?;
            }
            let mut page = self
                .journal
                .undigested(self.row.id, self.digests.cursor, PAGE)?;
            page.reverse();
            self.digests.queue = page;
        }
        let Some(file) = self.digests.queue.pop() else {
            return Ok(false);
        };
        self.digests.cursor = file.id;
        self.digests.current = Some((file, 0, Digester::default()));
        Ok(true)
    }
}

/// Reads on until `end`. Returns what is left to do; a file that changed or cannot be read is asked for at the next
/// start, if it is still of interest then.
fn read_on(
    root: &Root,
    (file, mut read, mut digester): (Undigested, u64, Digester),
    end: Instant,
    piece: &mut [u8],
    done: &mut Vec<(Undigested, String)>,
) -> Option<(Undigested, u64, Digester)> {
    let (mut open, stamp) = root.file(&file.path).ok()?;
    if stamp != file.stamp {
        return None;
    }
    open.seek(SeekFrom::Start(read)).ok()?;
    loop {
        match open.read(piece) {
            Ok(0) => {
                if root.stamp_of_file(&open).is_ok_and(|now| now == file.stamp) {
                    done.push((file, digester.finish()));
                }
                return None;
            }
            Ok(count) => {
                digester.update(piece.get(..count).unwrap_or_default());
                read += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
        if Instant::now() >= end {
            return Some((file, read, digester));
        }
    }
}
