//! The bytes of an upload: from the beginning, or behind what is there; and what becomes of them when it ends early.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use super::session::FtpSession;
use super::wire::{Unfinished, Unopened};
use super::{path, resume};
use crate::domain::fault::Fault;
use crate::transport::Upload;

/// What is read from the spool and handed over at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why a transfer ended before the file did.
enum Broke {
    /// On our side: nothing the server says matters.
    Here(Unsent),
    /// On the way or on the server's side.
    There(std::io::Error),
}

/// Why a file did not arrive, and what that means for what did.
pub(super) enum Unsent {
    /// A connection broke, or the worker has to stop: it can be gone on from.
    Cut(Fault),
    /// It goes: the space it takes may be what is missing.
    Ended(Fault),
    /// The server does not go on in the middle of a file; nothing was sent.
    NotFromThere(Fault),
}

impl From<Fault> for Unsent {
    fn from(fault: Fault) -> Self {
        Self::Ended(fault)
    }
}

impl FtpSession {
    /// Sends a file's bytes from `from` on to `remote`. From the beginning on it replaces what is there.
    fn store(
        &mut self,
        remote: &str,
        from: u64,
        mut source: impl FnMut(&mut [u8]) -> Result<usize, Fault>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Unsent> {
        let what = format!("the upload of {remote} to {}", self.wire.peer());
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut sent = from;
        let opened = self
            .wire
            .open_data_at(&what, &format!("STOR {remote}"), from);
        let mut transfer = opened.map_err(|unopened| match unopened {
            Unopened::Refused(fault) if from > 0 => Unsent::NotFromThere(fault),
            Unopened::Refused(fault) => Unsent::Ended(fault),
            Unopened::Failed(fault) => Unsent::Cut(fault),
        })?;
        let broke = 'file: loop {
            if let Err(fault) = self.stop.check() {
                break Some(Broke::Here(Unsent::Cut(fault)));
            }
            let mut piece = match source(&mut buffer) {
                Ok(0) => break None,
                Ok(n) => &buffer[..n],
                Err(fault) => break Some(Broke::Here(Unsent::Ended(fault))),
            };
            while !piece.is_empty() {
                match transfer.write(piece) {
                    Ok(0) => break 'file Some(Broke::There(std::io::ErrorKind::WriteZero.into())),
                    Ok(n) => {
                        piece = &piece[n..];
                        sent += n as u64;
                        progress(sent);
                    }
                    Err(error) => break 'file Some(Broke::There(error)),
                }
            }
        };
        let finished = match broke {
            None => transfer.finish(&what, None),
            Some(Broke::There(error)) => transfer.finish(&what, Some(error)),
            Some(Broke::Here(unsent)) => {
                transfer.give_up();
                return Err(unsent);
            }
        };
        finished.map_err(|Unfinished { fault, is_cut }| {
            if is_cut {
                Unsent::Cut(fault)
            } else {
                Unsent::Ended(fault)
            }
        })
    }

    /// Sets permission bits on the way to those that the rule asks for.
    fn change_mode(&mut self, remote: &str, bits: u32, asked: u32) -> Result<(), Fault> {
        let what = format!(
            "the rule's file_mode {asked:o} for {remote} at {}",
            self.wire.peer()
        );
        let reply = self
            .wire
            .ask(&what, &format!("SITE CHMOD {bits:03o} {remote}"))?;
        if reply.is_done() && reply.code != 202 {
            return Ok(());
        }
        if reply.is_not_known() {
            return Err(Fault::permanent(format!(
                "{what}: the server has no SITE CHMOD (\"{}\"); take `file_mode` out of the rule",
                reply.quote()
            )));
        }
        Err(reply.refusal(&what))
    }

    /// Brings the file; returns how many bytes of it were there already.
    pub(super) fn send(
        &mut self,
        upload: &Upload<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, Unsent> {
        let remote = path::join(upload.dir, upload.temporary);
        let from = if upload.resume {
            resume::verified(&mut self.wire, &self.features, upload, &remote, &self.stop)
                .map_err(Unsent::Cut)?
        } else {
            0
        };
        if from > 0 {
            match self.send_from(upload, &remote, from, progress) {
                Err(Unsent::NotFromThere(fault)) => {
                    log::debug!("{remote} is sent again from its beginning: {fault}");
                }
                other => return other.map(|()| from),
            }
        }
        self.send_from(upload, &remote, 0, progress).map(|()| 0)
    }

    fn send_from(
        &mut self,
        upload: &Upload<'_>,
        remote: &str,
        from: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Unsent> {
        let mut file = File::open(upload.local).map_err(|error| local_fault(upload, &error))?;
        file.seek(SeekFrom::Start(from))
            .map_err(|error| local_fault(upload, &error))?;
        if let Some(mode) = upload.mode {
            // The file gets its bytes when nobody else may read them; a mode without the owner's write bit
            // could not be written to at all.
            if from == 0 {
                self.store(remote, 0, |_| Ok(0), &mut |_| {})?;
            }
            self.change_mode(remote, 0o600 & (mode | 0o200), mode)?;
        }
        let mut left = upload.size - from;
        let source = |buffer: &mut [u8]| {
            let n = file
                .read(buffer)
                .map_err(|error| local_fault(upload, &error))?;
            let read = n as u64;
            if read > left || (n == 0 && left > 0) {
                return Err(Fault::permanent(format!(
                    "the artifact {} has not the {} bytes that the journal says",
                    upload.local.display(),
                    upload.size
                )));
            }
            left -= read;
            Ok(n)
        };
        self.store(remote, from, source, progress)?;
        if let Some(mode) = upload.mode {
            self.change_mode(remote, mode, mode)?;
        }
        Ok(())
    }
}

fn local_fault(upload: &Upload<'_>, error: &std::io::Error) -> Fault {
    Fault::permanent(format!(
        "cannot read the artifact {}: {error}",
        upload.local.display()
    ))
}
