//! What was there before the first start, and what no rule took, is read when there is nothing else to do: only by
//! its content can a file that is touched later be told from a new one. In small pieces, with pauses.

use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, Instant};

use super::Scanner;
use crate::domain::artifact::Digester;
use crate::error::Result;
use crate::journal::Undigested;
use crate::source::directory::{Root, stamp_of_file};

/// How long is read in one go, and the pause behind it: others use these disks.
const AT_WORK: Duration = Duration::from_millis(40);
const BREATH: Duration = Duration::from_millis(40);
/// Files that are asked for at a time.
const PAGE: u32 = 500;
const PIECE: usize = 256 << 10;

/// How far the reading has come.
#[derive(Default)]
pub(super) struct Digests {
    /// The last file that was asked for.
    cursor: i64,
    queue: Vec<Undigested>,
    current: Option<(Undigested, File, Digester)>,
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
            let Some((file, open, digester)) = &mut self.digests.current else {
                if !self.next_to_digest(root)? {
                    self.digests.is_over = true;
                    return Ok(None);
                }
                continue;
            };
            match open.read(&mut piece) {
                Ok(0) => {
                    let is_same = stamp_of_file(open).is_ok_and(|now| now == file.stamp);
                    let done = (file.clone(), std::mem::take(digester).finish());
                    self.digests.current = None;
                    if is_same {
                        self.digests.done.push(done);
                    }
                }
                Ok(count) => digester.update(piece.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // What cannot be read now is asked for at the next start.
                Err(_) => self.digests.current = None,
            }
        }
        Ok(Some(BREATH))
    }

    /// Opens the next file. Whether there was one.
    fn next_to_digest(&mut self, root: &Root) -> Result<bool> {
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
        if let Ok((open, stamp)) = root.file(&file.path)
            && stamp == file.stamp
        {
            self.digests.current = Some((file, open, Digester::default()));
        }
        Ok(true)
    }
}
