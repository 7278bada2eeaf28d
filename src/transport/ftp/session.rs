//! The contract of [`Session`] in FTP's commands. Every path is absolute and every reply is looked at.

use super::login::Welcome;
use super::reply::Features;
use super::upload::Unsent;
use super::wire::Wire;
use super::{digest, path};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::install::{InstallOutcome, InstallSpec};
use crate::transport::replace::{self, Failed, Files};
use crate::transport::{
    Abilities, Leftover, Located, PEER_ANSWERS_WITHIN, Session, SessionFacts, Space, StopFlag,
    Upload, Verified, check_name,
};

/// One open FTP or FTPS session.
pub(super) struct FtpSession {
    pub(super) wire: Wire,
    facts: SessionFacts,
    pub(super) features: Features,
    home: Option<String>,
    pub(super) stop: StopFlag,
    /// A temporary file that is not removed: the old one could not be put back.
    kept: Option<String>,
}

impl FtpSession {
    pub(super) fn new(wire: Wire, facts: SessionFacts, welcome: Welcome, stop: &StopFlag) -> Self {
        Self {
            wire,
            facts,
            features: welcome.features,
            home: welcome.home,
            stop: stop.clone(),
            kept: None,
        }
    }

    /// The directory, absolute.
    fn resolve(&self, dest_dir: &str) -> Result<String, Fault> {
        path::check("the directory", dest_dir)?;
        let home = match &self.home {
            Some(home) => home.as_str(),
            None if path::needs_home(dest_dir) => {
                return Err(Fault::permanent(format!(
                    "{} does not tell the login's home (PWD), which {dest_dir} begins at: give `dest_dir` as an \
                     absolute path",
                    self.wire.peer()
                )));
            }
            None => "/",
        };
        Ok(path::resolve(dest_dir, home))
    }

    /// Whether `path` is a directory that can be entered.
    fn enters(&mut self, path: &str) -> Result<bool, Fault> {
        let what = format!("entering the directory {path}");
        let reply = self.wire.ask(&what, &format!("CWD {path}"))?;
        match reply.code / 100 {
            2 => Ok(true),
            5 => Ok(false),
            _ => Err(reply.refusal(&what)),
        }
    }

    fn make_levels(&mut self, path: &str) -> Result<(), Fault> {
        let levels = path::levels(path);
        let mut missing = levels.len();
        // From the bottom up: directories in the middle may be closed to listing and still lead on.
        while missing > 0 && !self.enters(levels[missing - 1])? {
            missing -= 1;
        }
        for level in &levels[missing..] {
            let what = format!("cannot make the directory {level} at {}", self.wire.peer());
            let reply = self.wire.ask(&what, &format!("MKD {level}"))?;
            // Somebody else may have made it meanwhile.
            if !reply.is_done() && !self.enters(level)? {
                return Err(reply.refusal(&what));
            }
        }
        if missing < levels.len() && !self.enters(path)? {
            return Err(Fault::permanent(format!(
                "made the directory {path} at {} but cannot enter it: has the login the permission?",
                self.wire.peer()
            )));
        }
        Ok(())
    }

    /// Renames; a refusal says whether it was the new name that the server refused.
    fn try_rename(&mut self, from: &str, to: &str) -> Result<(), Unnamed> {
        let what = format!("renaming {from} to {to} at {}", self.wire.peer());
        let reply = self
            .wire
            .ask(&what, &format!("RNFR {from}"))
            .map_err(Unnamed::At)?;
        if !reply.wants_more() {
            return Err(Unnamed::At(reply.refusal(&what)));
        }
        let reply = self
            .wire
            .ask(&what, &format!("RNTO {to}"))
            .map_err(Unnamed::At)?;
        if reply.is_done() {
            Ok(())
        } else {
            Err(Unnamed::Onto(reply.refusal(&what)))
        }
    }
}

/// Why a file was not renamed.
enum Unnamed {
    /// The server refuses to rename it at all, or the connection ended.
    At(Fault),
    /// The server refuses the new name.
    Onto(Fault),
}

impl Files for FtpSession {
    fn rename(&mut self, from: &str, to: &str) -> Result<(), Fault> {
        self.try_rename(from, to)
            .map_err(|(Unnamed::At(fault) | Unnamed::Onto(fault))| fault)
    }

    fn remove(&mut self, path: &str) -> Result<(), Fault> {
        let what = format!("removing {path} at {}", self.wire.peer());
        let reply = self.wire.ask(&what, &format!("DELE {path}"))?;
        if reply.is_done() {
            Ok(())
        } else {
            Err(reply.refusal(&what))
        }
    }

    fn exists(&mut self, path: &str) -> Result<bool, Fault> {
        Ok(digest::length(&mut self.wire, path)?.is_some())
    }

    fn remove_if_there(&mut self, path: &str) -> Result<(), Fault> {
        let what = format!("removing {path} at {}", self.wire.peer());
        let reply = self.wire.ask(&what, &format!("DELE {path}"))?;
        if reply.is_done() || (reply.code / 100 == 5 && !self.exists(path)?) {
            return Ok(());
        }
        Err(reply.refusal(&what))
    }
}

impl Session for FtpSession {
    fn facts(&self) -> &SessionFacts {
        &self.facts
    }

    fn prepare_dir(&mut self, dest_dir: &str) -> Result<String, Fault> {
        let path = self.resolve(dest_dir)?;
        self.make_levels(&path)?;
        Ok(path)
    }

    fn upload(&mut self, upload: &Upload<'_>, progress: &mut dyn FnMut(u64)) -> Result<u64, Fault> {
        check_names(upload)?;
        self.send(upload, progress).map_err(|unsent| match unsent {
            Unsent::Cut(fault) => fault,
            Unsent::Ended(fault) | Unsent::NotFromThere(fault) => {
                let remote = path::join(upload.dir, upload.temporary);
                self.wire.remove(&remote);
                fault
            }
        })
    }

    fn verify(&mut self, upload: &Upload<'_>) -> Result<Verified, Fault> {
        check_names(upload)?;
        let remote = path::join(upload.dir, upload.temporary);
        let peer = self.wire.peer().to_owned();
        match digest::length(&mut self.wire, &remote)? {
            Some(length) if length == upload.size => {}
            Some(length) => {
                self.wire.remove(&remote);
                return Err(Fault::transient(format!(
                    "{remote} at {peer} has {length} bytes instead of {}: removed, to be sent again",
                    upload.size
                )));
            }
            None => {
                return Err(Fault::transient(format!(
                    "{remote} at {peer} is gone: to be sent again"
                )));
            }
        }
        match digest::sha256(&mut self.wire, &self.features, &remote, upload.size)? {
            None => Ok(Verified::Length),
            Some(sha256) if sha256.eq_ignore_ascii_case(upload.sha256) => Ok(Verified::Digest),
            Some(sha256) => {
                self.wire.remove(&remote);
                Err(Fault::transient(format!(
                    "{remote} at {peer} has the SHA-256 {sha256} instead of {}: removed, to be sent again",
                    upload.sha256
                )))
            }
        }
    }

    fn publish(&mut self, upload: &Upload<'_>) -> Result<(), Fault> {
        check_names(upload)?;
        let from = path::join(upload.dir, upload.temporary);
        let to = path::join(upload.dir, upload.name);
        let refusal = match self.try_rename(&from, &to) {
            Ok(()) => {
                if upload.resume {
                    replace::remove_aside(self, &from);
                }
                return Ok(());
            }
            Err(Unnamed::Onto(fault)) if fault.class == FaultClass::Permanent => fault,
            Err(Unnamed::At(fault) | Unnamed::Onto(fault)) => return Err(fault),
        };
        if self.enters(&to)? {
            return Err(Fault::permanent(format!(
                "a directory is in the way of {to} at {}: remove it or choose another `dest_dir`",
                self.wire.peer()
            )));
        }
        // Some servers do not rename onto a file. Nothing is touched unless both files are there.
        let both = digest::length(&mut self.wire, &from)?.is_some()
            && digest::length(&mut self.wire, &to)?.is_some();
        if !both {
            return Err(refusal);
        }
        // What an attempt that was cut off put aside is older than the file that has the name.
        let aside = replace::aside(&from);
        if digest::length(&mut self.wire, &aside)?.is_some() {
            self.remove(&aside)?;
        }
        replace::replace(self, &from, &to).map_err(|Failed { fault, keep_new }| {
            self.kept = keep_new.then_some(from);
            fault
        })
    }

    fn discard(&mut self, upload: &Upload<'_>) -> Result<(), Fault> {
        check_names(upload)?;
        let remote = path::join(upload.dir, upload.temporary);
        if self.kept.as_deref() == Some(remote.as_str()) {
            return Err(Fault::permanent(format!(
                "{remote} at {} is not removed: the old file of its name is not back",
                self.wire.peer()
            )));
        }
        self.remove_if_there(&remote)
    }

    fn tidy(&mut self, leftover: &Leftover<'_>) -> Result<(), Fault> {
        let parts = [leftover.dir, leftover.name, leftover.temporary];
        parts
            .iter()
            .try_for_each(|part| path::check("the name", part))?;
        let temporary = path::join(leftover.dir, leftover.temporary);
        let name = path::join(leftover.dir, leftover.name);
        replace::tidy(self, &temporary, &name)
    }

    fn install_when(
        &mut self,
        _spec: &InstallSpec,
        _may_begin: &mut dyn FnMut() -> Result<(), Fault>,
        _output: &mut dyn FnMut(&[u8]),
    ) -> Result<InstallOutcome, Fault> {
        Err(no_commands(&self.wire))
    }

    fn forget_install(&mut self, _token: &str) -> Result<bool, Fault> {
        Err(no_commands(&self.wire))
    }

    fn locate_dir(&mut self, dest_dir: &str) -> Result<Located, Fault> {
        let path = self.resolve(dest_dir)?;
        let mut existing = "/".to_owned();
        for level in path::levels(&path).into_iter().rev() {
            if self.enters(level)? {
                level.clone_into(&mut existing);
                break;
            }
        }
        Ok(Located { path, existing })
    }

    fn space(&mut self, _file: &str) -> Result<Option<Space>, Fault> {
        Ok(None)
    }

    fn abilities(&mut self) -> Result<Abilities, Fault> {
        let has = |name: &str| self.features.has(name).then(|| name.to_owned());
        let known = ["UTF8", "MLST", "SIZE", "REST"];
        Ok(Abilities {
            shell: None,
            digests: ["HASH", "XSHA256"].into_iter().filter_map(has).collect(),
            features: known.into_iter().filter_map(has).collect(),
        })
    }

    fn is_alive(&mut self) -> bool {
        let answer = self
            .wire
            .ask_within(PEER_ANSWERS_WITHIN, "asking for a sign of life", "NOOP");
        answer.is_ok_and(|reply| reply.is_done())
    }

    fn close(mut self: Box<Self>) {
        self.wire.ask_in_passing("QUIT");
    }
}

fn no_commands(wire: &Wire) -> Fault {
    Fault::unsupported(format!(
        "FTP to {} cannot run commands: the install command goes over SSH",
        wire.peer()
    ))
}

fn check_names(upload: &Upload<'_>) -> Result<(), Fault> {
    path::check("the directory", upload.dir)?;
    path::check("the name", upload.name)?;
    check_name(upload.name)?;
    path::check("the temporary name", upload.temporary)
}
