//! A trial delivery: a small file is written, verified, renamed, read back and removed, by the same steps as a package
//! takes. Leaves nothing on the host, and says what it could not take away.

use std::path::Path;

use crate::domain::fault::Fault;
use crate::transport::{Session, Space, Upload, Verified};

/// A file to try with, and the names that are its alone.
#[derive(Debug, Clone)]
pub struct Trial<'a> {
    /// The file.
    pub local: &'a Path,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, lower-case hex.
    pub sha256: &'a str,
    /// Absolute directory on the host, which is there.
    pub dir: &'a str,
    /// The name that it gets there.
    pub name: &'a str,
    /// The name that it has before.
    pub temporary: &'a str,
}

/// What a trial showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// How the file was verified.
    pub verified: Verified,
    /// The room there.
    pub space: Option<Space>,
}

impl Trial<'_> {
    /// Tries it. After a fault that leaves the session usable nothing lies there; after another one, see
    /// [`Trial::clear`].
    pub fn run(&self, session: &mut dyn Session) -> Result<Tried, Fault> {
        let tried = self.try_it(session);
        if tried.as_ref().is_err_and(|fault| !fault.class.is_retried()) {
            // What is wrong with the host is told by what failed first.
            let _ = self.clear(session);
        }
        tried
    }

    fn try_it(&self, session: &mut dyn Session) -> Result<Tried, Fault> {
        let upload = self.upload(self.temporary);
        session.upload(&upload, &mut |_| {})?;
        session.verify(&upload)?;
        session.publish(&upload)?;
        let published = self.upload(self.name);
        let verified = session.verify(&published)?;
        let space = session.space(&format!("{}/{}", self.dir.trim_end_matches('/'), self.name))?;
        session.discard(&published)?;
        Ok(Tried { verified, space })
    }

    /// Removes what a trial may have left, by a session that may be another one. Idempotent.
    pub fn clear(&self, session: &mut dyn Session) -> Result<(), Fault> {
        session.discard(&self.upload(self.temporary))?;
        session.discard(&self.upload(self.name))
    }

    fn upload<'s>(&'s self, temporary: &'s str) -> Upload<'s> {
        Upload {
            local: self.local,
            size: self.size,
            sha256: self.sha256,
            dir: self.dir,
            name: self.name,
            temporary,
            mode: None,
            resume: false,
        }
    }
}
