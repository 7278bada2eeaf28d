//! The dump of a small revision that has just been committed, read while svnlook still tells what it changed: each of the
//! two takes a process some milliseconds, and who committed a package waits for both. Nothing but time hangs on it.

use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::super::repository_files::{names_any, youngest};
use super::dump::Reader;
use super::process::run;
use super::whole::DumpCall;
use super::{Repository, Svnlook};
use crate::error::{Error, Result};

/// Longer dumps are left to who wants what is in them.
const DUMP_MAX_BYTES: usize = 1 << 20;

/// A dump that is being read, by a thread that ends when svnadmin does or has written too much.
#[derive(Debug)]
pub struct Begun {
    coming: Receiver<Vec<u8>>,
    come: Option<Vec<u8>>,
}

impl Repository {
    /// Begins to read the dump of the newest revision, if it is a small one that names a path which is `wanted`.
    pub fn begin_dump(&self, revision: u64, wanted: &dyn Fn(&str) -> bool) -> Option<Begun> {
        let is_worth_it = self.svnlook.svnadmin().is_some()
            && youngest(&self.path) == Some(revision)
            && names_any(&self.path, revision, wanted);
        if !is_worth_it {
            return None;
        }
        let (svnlook, path) = (self.svnlook.clone(), self.path.clone());
        let thread = thread::Builder::new().name("dump".to_owned());
        let (give, coming) = bounded(1);
        let reading = thread.spawn(move || {
            if let Ok(Some(whole)) = read(&svnlook, &path, revision) {
                // Nobody may want it any more.
                let _ = give.send(whole);
            }
        });
        let come = None;
        reading.ok().map(|_| Begun { coming, come })
    }
}

impl Begun {
    /// All of the dump, if it comes within so long.
    pub(super) fn look(&mut self, patience: Duration) -> Option<&[u8]> {
        if self.come.is_none() {
            self.come = self.coming.recv_timeout(patience).ok();
        }
        self.come.as_deref()
    }

    /// All of the dump; none where that was not to be had, for whatever reason.
    pub(super) fn whole(self) -> Option<Vec<u8>> {
        self.come.or_else(|| self.coming.recv().ok())
    }
}

fn read(svnlook: &Svnlook, repository: &Path, revision: u64) -> Result<Option<Vec<u8>>> {
    let number = revision.to_string();
    let Some(dump) = DumpCall::new(svnlook, repository, &number) else {
        return Ok(None);
    };
    let mut whole = Vec::new();
    let finished = run(&dump.call(), &mut |chunk| {
        if whole.len() + chunk.len() > DUMP_MAX_BYTES {
            return Err(Error::source("the dump is a long one"));
        }
        whole.extend_from_slice(chunk);
        Ok(())
    })?;
    let mut reader = Reader::new(revision);
    let is_whole = finished.succeeded()
        && reader
            .feed(&whole, &mut |_| ControlFlow::Continue(()))
            .is_ok()
        && reader.end().is_ok();
    Ok(is_whole.then_some(whole))
}
