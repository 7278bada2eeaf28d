//! A file brought, verified and published: by one script where it is small, step by step otherwise.

use super::super::counted;
use super::super::paths::in_dir;
use super::super::shell;
use super::{Files, SshSession};
use crate::domain::fault::Fault;
use crate::transport::{Placing, Session as _, Upload, Verified, check_name};

/// Up to here a host that has the bytes verifies and publishes them in one go, which spares a round trip. For larger ones
/// the journal is to tell the one from the other.
const ONE_GO_MAX_BYTES: u64 = 256 << 20;

impl SshSession {
    /// What [`Session::place`] promises.
    pub(super) fn bring(
        &mut self,
        upload: &Upload<'_>,
        progress: &mut dyn FnMut(u64),
        told: &mut dyn FnMut(Placing) -> Result<(), Fault>,
    ) -> Result<Verified, Fault> {
        let is_for_shell = self.files != Some(Files::Sftp) && self.link.shell != Some(false);
        if is_for_shell
            && !upload.resume
            && counted::is_small(&self.link, upload)
            && let Some(verified) = self.place_small(upload, progress, told)?
        {
            return Ok(verified);
        }
        if self.files()? == Files::Sftp && !self.dirs.contains(upload.dir) {
            self.prepare_dir(upload.dir)?;
        }
        let resumed_at = self.upload(upload, progress)?;
        told(Placing::Uploaded(resumed_at))?;
        let in_one_go = self.files == Some(Files::Shell) && upload.size <= ONE_GO_MAX_BYTES;
        if in_one_go {
            told(Placing::Publishing)?;
            let path = in_dir(upload.dir, upload.temporary)?;
            let name = in_dir(upload.dir, upload.name)?;
            let published = shell::publish_if_right(&mut self.link, upload, &path, &name)
                .map_err(|error| self.link.exec_fault(&error, "verifying"))?;
            if published {
                return Ok(Verified::Digest);
            }
        }
        let verified = self.verify(upload)?;
        if !in_one_go {
            told(Placing::Publishing)?;
        }
        self.publish(upload)?;
        Ok(verified)
    }

    /// All of it by one script; nothing where the host cannot do it so.
    fn place_small(
        &mut self,
        upload: &Upload<'_>,
        progress: &mut dyn FnMut(u64),
        told: &mut dyn FnMut(Placing) -> Result<(), Fault>,
    ) -> Result<Option<Verified>, Fault> {
        check_name(upload.name)?;
        let path = in_dir(upload.dir, upload.temporary)?;
        let name = in_dir(upload.dir, upload.name)?;
        told(Placing::Publishing)?;
        let is_first = self.files.is_none();
        let how = (Some(name.as_str()), is_first);
        let brought = counted::small(&mut self.link, upload, &path, how, progress)?;
        let Some((_, digest)) = brought.there else {
            return Ok(None);
        };
        if is_first {
            self.home = brought.home;
            self.travel(Files::Shell);
        }
        self.know(upload.dir);
        if brought.is_published {
            return Ok(Some(match digest {
                Some(_) => Verified::Digest,
                None => Verified::Length,
            }));
        }
        // Something is wrong with it, as a rule.
        let verified = self.verify(upload)?;
        self.publish(upload)?;
        Ok(Some(verified))
    }
}
