//! The contract of [`crate::transport::Session`] over an authenticated connection: chooses between SFTP and
//! scripts, verifies, and keeps what is known of the peer.

use std::time::Duration;

use ssh2::{DisconnectCode, MethodType};

use super::exec::ExecError;
use super::link::Link;
use super::wire::{Halt, Wire};
use super::{abilities, group, install, places, resume, sftp, shell};
use crate::domain::fault::Fault;
use crate::domain::install::{InstallOutcome, InstallSpec};
use crate::domain::target::TransportKind;
use crate::transport::{
    Abilities, Brought, Dial, Group, Leftover, Located, Milestone, Session, SessionFacts, Space,
    Upload, Verified, check_name, replace,
};

/// The longest path that a host is believed.
const PATH_MAX_BYTES: usize = 4096;

/// How files travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Files {
    Sftp,
    Scp,
    Cat,
}

/// An open SSH session.
pub(super) struct SshSession {
    link: Link,
    files: Files,
    facts: SessionFacts,
    home: Option<String>,
    /// A temporary file that is not removed: the old one could not be put back.
    kept: Option<String>,
    /// Whether no group was refused.
    groups: bool,
}

impl SshSession {
    /// Finds out how files can travel.
    pub(super) fn new(wire: Wire, dial: &Dial<'_>, fingerprint: String) -> Result<Self, Fault> {
        let place = format!("{}@{}", dial.target.login, super::dial::place(dial));
        let stall = Duration::from_secs(dial.terms.stall_timeout_s.max(1));
        let mut link = Link {
            wire,
            place,
            stall,
            sftp: None,
            shell: None,
            fsync: true,
        };
        let limit = Duration::from_secs(dial.terms.connect_timeout_s.max(1));
        let files = match link.wire.run(limit, || link.wire.session.sftp()) {
            Ok(opened) => {
                link.sftp = Some(opened);
                Files::Sftp
            }
            // Servers say "no SFTP" in many ways; a lost connection shows in the next step.
            Err(Halt::Ssh(_)) => by_script(&mut link)?,
            Err(halt) => return Err(link.halt_fault(&halt, "opening SFTP")),
        };
        let how = match files {
            Files::Sftp => "SFTP",
            Files::Scp => "SCP",
            Files::Cat => "cat",
        };
        let cipher = link
            .wire
            .session
            .methods(MethodType::CryptCs)
            .unwrap_or("?");
        let detail = format!("{how}, {cipher}");
        let facts = SessionFacts {
            kind: TransportKind::Ssh,
            fingerprint: Some(fingerprint),
            detail,
        };
        Ok(Self {
            link,
            files,
            facts,
            home: None,
            kept: None,
            groups: true,
        })
    }

    fn home(&mut self) -> Result<String, Fault> {
        if let Some(home) = &self.home {
            return Ok(home.clone());
        }
        let home = if self.files == Files::Sftp {
            sftp::home(&mut self.link)?
        } else {
            shell::home(&mut self.link)?
        };
        if !home.starts_with('/') || home.len() > PATH_MAX_BYTES || home.contains('\0') {
            return Err(Fault::permanent(format!(
                "{}: what the host tells as the home of the login is no path: give `dest_dir` as an absolute path",
                self.link.place
            )));
        }
        self.home = Some(home.clone());
        Ok(home)
    }

    /// The directory, absolute, without a trailing slash.
    fn resolve(&mut self, dest_dir: &str) -> Result<String, Fault> {
        if dest_dir.contains('\0') {
            return Err(Fault::permanent(
                "a directory's name cannot hold a NUL byte",
            ));
        }
        let below = match dest_dir {
            "" | "~" => Some(""),
            absolute if absolute.starts_with('/') => None,
            other => Some(other.strip_prefix("~/").unwrap_or(other)),
        };
        let mut path = match below {
            Some(below) => format!("{}/{below}", self.home()?.trim_end_matches('/')),
            None => dest_dir.to_owned(),
        };
        while path.len() > 1 && path.ends_with('/') {
            path.pop();
        }
        Ok(path)
    }

    fn remove(&mut self, path: &str) -> Result<(), Fault> {
        if self.files == Files::Sftp {
            sftp::remove(&mut self.link, path)
        } else {
            shell::remove(&mut self.link, path)
        }
    }

    /// Length and digest of a file, the digest where the host can compute it.
    fn measure(&mut self, path: &str, size: u64) -> Result<Option<(u64, Option<String>)>, Fault> {
        match shell::digest(&mut self.link, path, size) {
            Ok(found) => Ok(found),
            Err(ExecError::NoShell(_)) if self.files == Files::Sftp => {
                Ok(sftp::length(&mut self.link, path)?.map(|length| (length, None)))
            }
            Err(error) => Err(self.link.exec_fault(&error, "verifying")),
        }
    }
}

fn by_script(link: &mut Link) -> Result<Files, Fault> {
    match link.script("command -v scp >/dev/null 2>&1 && echo scp; true") {
        Ok(ran) if ran.text() == "scp" => Ok(Files::Scp),
        Ok(_) => Ok(Files::Cat),
        Err(ExecError::NoShell(said)) => Err(Fault::unsupported(format!(
            "{}: the login is fine, but the host offers neither SFTP nor commands; it said: {said}",
            link.place
        ))),
        Err(error) => Err(link.exec_fault(&error, "asking the host for a shell")),
    }
}

/// `name` in `dir`; names with a slash or nothing in them cannot be one component.
fn in_dir(dir: &str, name: &str) -> Result<String, Fault> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(Fault::permanent(format!(
            "{name:?} cannot be a file's name on the host"
        )));
    }
    Ok(if dir.ends_with('/') {
        format!("{dir}{name}")
    } else {
        format!("{dir}/{name}")
    })
}

impl Session for SshSession {
    fn facts(&self) -> &SessionFacts {
        &self.facts
    }

    fn prepare_dir(&mut self, dest_dir: &str) -> Result<String, Fault> {
        let path = self.resolve(dest_dir)?;
        if self.files == Files::Sftp {
            sftp::make_dir(&mut self.link, &path)?;
        } else {
            shell::make_dir(&mut self.link, &path)?;
        }
        Ok(path)
    }

    fn upload(&mut self, upload: &Upload<'_>, progress: &mut dyn FnMut(u64)) -> Result<u64, Fault> {
        check_name(upload.name)?;
        let path = in_dir(upload.dir, upload.temporary)?;
        let by_sftp = self.files == Files::Sftp;
        let from = if upload.resume {
            resume::verified(&mut self.link, upload, &path, by_sftp)?
        } else {
            0
        };
        match self.files {
            Files::Sftp => sftp::upload(&mut self.link, upload, &path, from, progress),
            _ if from > 0 => resume::by_dd(&mut self.link, upload, &path, from, progress),
            Files::Scp => shell::upload(&mut self.link, upload, &path, true, progress).map(|()| 0),
            Files::Cat => shell::upload(&mut self.link, upload, &path, false, progress).map(|()| 0),
        }
    }

    fn verify(&mut self, upload: &Upload<'_>) -> Result<Verified, Fault> {
        let path = in_dir(upload.dir, upload.temporary)?;
        let place = self.link.place.clone();
        let difference = match self.measure(&path, upload.size)? {
            None => {
                return Err(Fault::transient(format!(
                    "{place}: {path} has vanished before it was verified"
                )));
            }
            Some((size, _)) if size != upload.size => {
                format!("{size} bytes arrived instead of {}", upload.size)
            }
            Some((_, None)) => return Ok(Verified::Length),
            Some((_, Some(digest))) if digest == upload.sha256 => return Ok(Verified::Digest),
            Some((_, Some(digest))) => {
                format!("its SHA-256 is {digest} instead of {}", upload.sha256)
            }
        };
        self.remove(&path)?;
        Err(Fault::transient(format!(
            "{place}: {path} arrived wrong: {difference}; it was removed"
        )))
    }

    fn publish(&mut self, upload: &Upload<'_>) -> Result<(), Fault> {
        check_name(upload.name)?;
        let temporary = in_dir(upload.dir, upload.temporary)?;
        let name = in_dir(upload.dir, upload.name)?;
        if self.files == Files::Sftp {
            sftp::publish(&mut self.link, &temporary, &name).map_err(|failed| {
                self.kept = failed.keep_new.then(|| temporary.clone());
                failed.fault
            })?;
            if upload.resume {
                replace::remove_aside(&mut sftp::Plain(&mut self.link), &temporary);
            }
            Ok(())
        } else {
            shell::publish(&mut self.link, &temporary, &name)
        }
    }

    fn takes_groups(&self) -> bool {
        self.groups && self.link.shell != Some(false)
    }

    fn bring_group(
        &mut self,
        group: &Group<'_>,
        passes: &mut dyn FnMut(Milestone<'_>) -> Result<(), Fault>,
    ) -> Result<Brought, Fault> {
        group
            .files
            .iter()
            .try_for_each(|file| check_name(file.name))?;
        let brought = group::bring(&mut self.link, group, passes)?;
        self.groups = matches!(brought, Brought::Published { .. });
        Ok(brought)
    }

    fn tidy_group(&mut self, dir: &str, temporary: &str) -> Result<(), Fault> {
        group::tidy(&mut self.link, &in_dir(dir, temporary)?)
    }

    fn discard(&mut self, upload: &Upload<'_>) -> Result<(), Fault> {
        let path = in_dir(upload.dir, upload.temporary)?;
        if self.kept.as_deref() == Some(path.as_str()) {
            return Err(Fault::permanent(format!(
                "{}: {path} is not removed: the old file of its name is not back",
                self.link.place
            )));
        }
        self.remove(&path)
    }

    fn tidy(&mut self, leftover: &Leftover<'_>) -> Result<(), Fault> {
        let temporary = in_dir(leftover.dir, leftover.temporary)?;
        let name = in_dir(leftover.dir, leftover.name)?;
        if self.files == Files::Sftp {
            replace::tidy(&mut sftp::Plain(&mut self.link), &temporary, &name)
        } else {
            shell::tidy(&mut self.link, &temporary, &name)
        }
    }

    fn install_when(
        &mut self,
        spec: &InstallSpec,
        may_begin: &mut dyn FnMut() -> Result<(), Fault>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<InstallOutcome, Fault> {
        install::install(&mut self.link, spec, may_begin, output)
    }

    fn forget_install(&mut self, token: &str) -> Result<bool, Fault> {
        install::forget(&mut self.link, token)
    }

    fn locate_dir(&mut self, dest_dir: &str) -> Result<Located, Fault> {
        let path = self.resolve(dest_dir)?;
        let existing = if self.files == Files::Sftp {
            places::nearest_by_sftp(&mut self.link, &path)?
        } else {
            places::nearest_by_script(&mut self.link, &path)?
        };
        Ok(Located { path, existing })
    }

    fn space(&mut self, file: &str) -> Result<Option<Space>, Fault> {
        if self.files == Files::Sftp
            && let Some(space) = places::space_by_sftp(&mut self.link, file)?
        {
            return Ok(Some(space));
        }
        places::space_by_df(&mut self.link, file)
    }

    fn abilities(&mut self) -> Result<Abilities, Fault> {
        abilities::ask(&mut self.link)
    }

    fn close(self: Box<Self>) {
        let wire = &self.link.wire;
        let _ = rustix::net::sockopt::set_socket_linger(wire.socket(), None);
        let bye = || {
            wire.session
                .disconnect(Some(DisconnectCode::ByApplication), "done", None)
        };
        let _ = wire.run(Duration::from_secs(1), bye);
        wire.cut();
    }
}
