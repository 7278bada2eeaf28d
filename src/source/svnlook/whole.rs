//! Many files of a revision for the price of one process: `svnadmin dump` brings all that the revision changed, each
//! text with its SHA-1. What it does not bring (a copy that was not changed) is had from svnlook. Knows nothing of
//! who wants which file.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::path::Path;

use sha1::{Digest as _, Sha1};

use super::begun::Begun;
use super::dump::{Piece, Reader};
use super::process::{Call, run};
use super::{Svnlook, words};
use crate::domain::artifact::hex;
use crate::domain::text::escape;
use crate::error::{Error, Result};
use crate::source::repository_files::{canonical, show};

/// Which revision.
#[derive(Debug, Clone, Copy)]
pub struct Revision<'a> {
    /// The repository.
    pub repository: &'a Path,
    /// Its UUID, without which nothing is read; none: whichever it has.
    pub uuid: Option<&'a str>,
    /// The number.
    pub number: u64,
}

/// What a dump holds next.
#[derive(Debug)]
pub enum Dumped<'a> {
    /// A path that the revision changed.
    Path {
        /// As `svnlook changed` shows it, without the slash of a directory.
        path: &'a str,
        /// Bytes of a file's text which is in the dump and can be checked.
        text: Option<u64>,
        /// What has to be read to get beyond it.
        bytes: u64,
    },
    /// A file that was chosen, with the bytes that its SHA-1 is of.
    File {
        /// The same path again.
        path: &'a str,
        /// All of it.
        bytes: Vec<u8>,
    },
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Its text is wanted. It is held in memory, so that only a small one should be.
    Take,
    /// It is not.
    PassOver,
    /// Nor is anything behind it.
    Stop,
}

/// How far a dump was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// To its end.
    Whole,
    /// To where it was stopped.
    Stopped,
    /// Not at all: there is no svnadmin.
    Untried,
}

/// The words of a dump.
pub(super) struct DumpCall<'a> {
    svnlook: &'a Svnlook,
    svnadmin: &'a Path,
    words: Vec<&'a OsStr>,
}

impl<'a> DumpCall<'a> {
    /// Of one revision; none where there is no svnadmin.
    pub(super) fn new(svnlook: &'a Svnlook, repository: &'a Path, number: &'a str) -> Option<Self> {
        let command = ["dump".as_ref(), "-q".as_ref(), "--incremental".as_ref()];
        Some(Self {
            svnlook,
            svnadmin: svnlook.svnadmin()?,
            words: words(&command, Some(number), None, repository, None),
        })
    }

    pub(super) fn call(&self) -> Call<'_> {
        Call {
            program: self.svnadmin,
            words: &self.words,
            silence: self.svnlook.limits.stall,
            is_stopped: &*self.svnlook.stop.0,
        }
    }
}

impl Svnlook {
    /// svnadmin, if it is there.
    pub(super) fn svnadmin(&self) -> Option<&Path> {
        self.svnadmin.as_deref().filter(|path| path.is_file())
    }

    /// Reads all that a revision changed. `each` hears of every path in the order of the tree, and of the files it
    /// chooses once they are whole and checked. What it was handed before an error is as good as with none. Where it was
    /// `begun` before, it need not be read again.
    pub fn dump(
        &self,
        revision: Revision<'_>,
        begun: Option<Begun>,
        each: &mut dyn FnMut(Dumped<'_>) -> Result<Choice>,
    ) -> Result<End> {
        let repository = canonical(revision.repository)?;
        let number = revision.number.to_string();
        let Some(dump) = DumpCall::new(self, &repository, &number) else {
            return Ok(End::Untried);
        };
        let failed = |why: &str| {
            let place = show(&repository);
            Error::source(format!(
                "cannot read the dump of revision {number} of {place}: {}",
                escape(why)
            ))
        };
        let mut reader = Reader::new(revision.number);
        let mut taker = Taker {
            uuid: revision.uuid,
            taken: None,
            each,
            broke: None,
        };
        let mut feed = |chunk: &[u8]| {
            let flow = reader.feed(chunk, &mut |piece| taker.hear(piece));
            match flow.map_err(|why| failed(&why))? {
                ControlFlow::Continue(()) => Ok(()),
                // The error ends the process, and is not looked at.
                ControlFlow::Break(()) => Err(failed("broken off")),
            }
        };
        let ran = match begun.and_then(Begun::whole) {
            Some(whole) => feed(&whole).map(|()| None),
            None => run(&dump.call(), &mut feed).map(Some),
        };
        match taker.broke {
            Some(Broke::Stopped) => return Ok(End::Stopped),
            Some(Broke::Error(error)) => return Err(error),
            Some(Broke::Wrong(why)) => return Err(failed(&why)),
            None => {}
        }
        if let Some(finished) = ran?.filter(|finished| !finished.succeeded()) {
            return Err(failed(&finished.reason()));
        }
        reader.end().map_err(|why| failed(&why))?;
        Ok(End::Whole)
    }
}

/// Why a dump was not read to its end.
enum Broke {
    Stopped,
    /// The taker's own.
    Error(Error),
    /// The dump says what is not so.
    Wrong(String),
}

/// Gathers the text of a chosen file.
struct Taker<'a> {
    uuid: Option<&'a str>,
    /// The one that is being read.
    taken: Option<Taken>,
    each: &'a mut dyn FnMut(Dumped<'_>) -> Result<Choice>,
    broke: Option<Broke>,
}

struct Taken {
    path: String,
    sha1: String,
    bytes: Vec<u8>,
}

impl Taker<'_> {
    fn hear(&mut self, piece: Piece<'_>) -> ControlFlow<()> {
        if let Err(broke) = self.take(piece) {
            self.broke = Some(broke);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn take(&mut self, piece: Piece<'_>) -> Result<(), Broke> {
        match piece {
            Piece::Uuid(found) if self.uuid.is_some_and(|uuid| uuid != found) => {
                Err(Broke::Stopped)
            }
            Piece::Uuid(_) => Ok(()),
            Piece::Path { path, text, bytes } => {
                let checked = text.and_then(|text| Some((text.size, text.sha1?)));
                let choice = (self.each)(Dumped::Path {
                    path,
                    text: checked.map(|(size, _)| size),
                    bytes,
                });
                match (choice.map_err(Broke::Error)?, checked) {
                    (Choice::Stop, _) => Err(Broke::Stopped),
                    (Choice::Take, Some((_, sha1))) => {
                        self.taken = Some(Taken {
                            path: path.to_owned(),
                            sha1: sha1.to_owned(),
                            bytes: Vec::new(),
                        });
                        Ok(())
                    }
                    (Choice::Take | Choice::PassOver, _) => Ok(()),
                }
            }
            Piece::Bytes(bytes) => {
                if let Some(taken) = &mut self.taken {
                    taken.bytes.extend_from_slice(bytes);
                }
                Ok(())
            }
            Piece::End => match self.taken.take() {
                Some(taken) => self.whole(taken),
                None => Ok(()),
            },
        }
    }

    fn whole(&mut self, taken: Taken) -> Result<(), Broke> {
        let Taken { path, sha1, bytes } = taken;
        let found = hex(&Sha1::digest(&bytes));
        if found != sha1 {
            return Err(Broke::Wrong(format!(
                "the SHA-1 of {path} is {found} instead of {sha1}"
            )));
        }
        let file = Dumped::File { path: &path, bytes };
        match (self.each)(file).map_err(Broke::Error)? {
            Choice::Stop => Err(Broke::Stopped),
            Choice::Take | Choice::PassOver => Ok(()),
        }
    }
}
