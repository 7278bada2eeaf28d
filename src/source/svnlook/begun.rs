//! The dump of a small revision that has just been committed, read while svnlook still tells what it changed: each of the
//! two takes a process some milliseconds, and who committed a package waits for both. Nothing but time hangs on it.

use std::path::Path;
use std::thread::{self, JoinHandle};

use super::super::repository_files::{names_any, youngest};
use super::process::run;
use super::whole::DumpCall;
use super::{Repository, Svnlook};
use crate::error::{Error, Result};

/// Longer dumps are left to who wants what is in them.
const DUMP_MAX_BYTES: usize = 1 << 20;

/// A dump that is being read, by a thread that ends when svnadmin does or has written too much.
#[derive(Debug)]
pub struct Begun(JoinHandle<Option<Vec<u8>>>);

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
        let reading = thread.spawn(move || read(&svnlook, &path, revision).ok().flatten());
        reading.ok().map(Begun)
    }
}

impl Begun {
    /// All of the dump; none where that was not to be had, for whatever reason.
    pub(super) fn whole(self) -> Option<Vec<u8>> {
        self.0.join().ok().flatten()
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
    Ok(finished.succeeded().then_some(whole))
}
