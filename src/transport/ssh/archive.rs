//! An archive that `tar` unpacks, made while it is read: nothing of it is held but a header, and one file is open at a
//! time. Knows plain files with short names only. (The crate `tar` writes to a writer; whoever reads here cannot wait.)

use std::fs::File;
use std::io::{self, Read};

use crate::transport::Grouped;

/// Everything in an archive begins at a multiple of this.
const BLOCK: u64 = 512;
/// GNU tar reads as much at a time, and waits until it has it.
const RECORD: u64 = 10_240;

/// The archive of some files.
pub(super) struct Archive<'a> {
    files: std::vec::IntoIter<&'a Grouped<'a>>,
    /// How many of them have begun.
    begun: usize,
    mode: u32,
    /// The file that is being read, with the bytes of it and of its padding that are still to come.
    open: Option<(File, u64, u64)>,
    /// What comes before that.
    pending: Vec<u8>,
    from: usize,
    /// Zeros still to come at the end.
    end: u64,
}

impl<'a> Archive<'a> {
    /// All of them get these permission bits.
    pub(super) fn new(files: Vec<&'a Grouped<'a>>, mode: u32) -> Self {
        let content = content_bytes(&files);
        Self {
            files: files.into_iter(),
            begun: 0,
            mode,
            open: None,
            pending: Vec::new(),
            from: 0,
            end: whole_bytes(content) - content,
        }
    }

    /// How long the archive of these files is.
    pub(super) fn bytes(files: &[&Grouped<'_>]) -> u64 {
        whole_bytes(content_bytes(files))
    }

    /// How many files have begun, so far.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    /// Reads something, or nothing at the end.
    fn piece(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let zeros = |buffer: &mut [u8], most: u64| {
            let count = usize::try_from(most).map_or(buffer.len(), |most| most.min(buffer.len()));
            buffer[..count].fill(0);
            count
        };
        if self.from < self.pending.len() {
            let count = (&self.pending[self.from..]).read(buffer)?;
            self.from += count;
            return Ok(count);
        }
        if let Some((file, left, padding)) = &mut self.open {
            if *left > 0 {
                let count = file.take(*left).read(buffer)?;
                if count == 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "an artifact is shorter than it was",
                    ));
                }
                *left -= count as u64;
                return Ok(count);
            }
            if *padding > 0 {
                let count = zeros(buffer, *padding);
                *padding -= count as u64;
                return Ok(count);
            }
            self.open = None;
        }
        if let Some(next) = self.files.next() {
            let file = File::open(next.local)?;
            self.begun += 1;
            self.pending = header(next, self.mode).to_vec();
            self.from = 0;
            let padding = next.size.next_multiple_of(BLOCK) - next.size;
            self.open = Some((file, next.size, padding));
            return self.piece(buffer);
        }
        let count = zeros(buffer, self.end);
        self.end -= count as u64;
        Ok(count)
    }
}

impl Read for Archive<'_> {
    /// As much as there is room for.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.piece(&mut buffer[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }
}

fn content_bytes(files: &[&Grouped<'_>]) -> u64 {
    files
        .iter()
        .map(|file| BLOCK + file.size.next_multiple_of(BLOCK))
        .sum()
}

/// Two blocks of zeros end an archive, and it fills its last record.
fn whole_bytes(content: u64) -> u64 {
    (content + 2 * BLOCK).next_multiple_of(RECORD)
}

/// The header of a file, as POSIX lays it out (`ustar`).
fn header(file: &Grouped<'_>, mode: u32) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &str| {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    let name = file
        .name
        .get(..file.name.len().min(100))
        .unwrap_or_default();
    put(0, name);
    put(100, &format!("{:07o}", mode & 0o777));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", file.size & 0o77_777_777_777));
    put(136, "00000000000");
    // The sum of all bytes, this field taken for blanks.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    let sum = format!("{sum:06o}\0");
    block[148..148 + sum.len()].copy_from_slice(sum.as_bytes());
    block
}
