//! The SHA-256 of bytes while they are written: of many bytes by a thread beside the writer, for hashing takes as long
//! as writing. Knows nothing of files.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::domain::artifact::Digester;

/// How much is handed over at a time.
const PIECE_BYTES: usize = 256 << 10;
/// How many pieces are on their way at most.
const PIECES: usize = 4;

/// Takes bytes, and gives their digest.
pub(super) enum Hashing {
    /// By who writes.
    Here(Digester),
    /// By a thread.
    Beside(Beside),
}

impl Hashing {
    /// For so many bytes, or others. Where there is no thread to be had, who writes hashes.
    pub(super) fn new(size: u64) -> Self {
        let is_worth_it = size > (PIECES * PIECE_BYTES) as u64;
        let beside = is_worth_it.then(Beside::start).flatten();
        beside.map_or_else(|| Self::Here(Digester::default()), Self::Beside)
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Here(digester) => digester.update(bytes),
            Self::Beside(beside) => beside.update(bytes),
        }
    }

    /// The digest; none where the thread broke down.
    pub(super) fn finish(self) -> Option<String> {
        match self {
            Self::Here(digester) => Some(digester.finish()),
            Self::Beside(beside) => beside.finish(),
        }
    }
}

pub(super) struct Beside {
    /// Pieces to be hashed.
    pieces: Sender<Vec<u8>>,
    /// Pieces that were: their memory is used again.
    hashed: Receiver<Vec<u8>>,
    thread: JoinHandle<String>,
}

impl Beside {
    fn start() -> Option<Self> {
        let (pieces, to_hash) = bounded::<Vec<u8>>(PIECES);
        let (give_back, hashed) = bounded(PIECES);
        for _ in 0..PIECES {
            give_back.send(Vec::with_capacity(PIECE_BYTES)).ok()?;
        }
        let hash = move || {
            let mut digester = Digester::default();
            for piece in to_hash {
                digester.update(&piece);
                // Who writes may have given up.
                let _ = give_back.send(piece);
            }
            digester.finish()
        };
        let thread = std::thread::Builder::new().name("hashing".to_owned());
        Some(Self {
            pieces,
            hashed,
            thread: thread.spawn(hash).ok()?,
        })
    }

    fn update(&self, bytes: &[u8]) {
        for bytes in bytes.chunks(PIECE_BYTES) {
            // Where the thread broke down it gives no digest, and that is told.
            let Ok(mut piece) = self.hashed.recv() else {
                return;
            };
            piece.clear();
            piece.extend_from_slice(bytes);
            let _ = self.pieces.send(piece);
        }
    }

    fn finish(self) -> Option<String> {
        drop(self.pieces);
        self.thread.join().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_digest_of_all_bytes_in_order() {
        let bytes: Vec<u8> = (0..3_000_017_u32).map(|at| (at % 251) as u8).collect();
        for size in [0, 3_000_017] {
            let mut hashing = Hashing::new(size);
            assert_eq!(matches!(hashing, Hashing::Beside(_)), size > 0);
            for piece in bytes.chunks(700_001) {
                hashing.update(piece);
            }
            assert_eq!(hashing.finish(), Some(Digester::of(&bytes)));
        }
    }

    #[test]
    fn who_gives_up_leaves_no_thread_behind() {
        let mut hashing = Hashing::new(1 << 30);
        hashing.update(&vec![0; 5_000_000]);
        let Hashing::Beside(beside) = hashing else {
            panic!("no thread");
        };
        let Beside { pieces, thread, .. } = beside;
        drop(pieces);
        thread.join().expect("the thread ends");
    }
}
