//! The contract of [`crate::transport::Session`] over an authenticated connection: chooses between scripts and SFTP,
//! verifies, and keeps what is known of the peer.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use ssh2::{DisconnectCode, MethodType};

use super::exec::ExecError;
use super::link::{Link, quoted, refused};
use super::paths::{below_home, in_dir, without_slash};
use super::shell::Met;
use super::wire::{Code, Halt, Wire, code, is_lost};
use super::{abilities, counted, group, install, places, resume, sftp, shell, stripes};
use crate::domain::fault::Fault;
use crate::domain::install::{InstallOutcome, InstallSpec};
use crate::domain::target::TransportKind;
use crate::transport::{
    Abilities, Brought, Dial, Group, Leftover, Located, Milestone, PEER_ANSWERS_WITHIN, Placing,
    Session, SessionFacts, Space, Upload, Verified, check_name, replace,
};

mod placing;

/// The longest path that a host is believed.
const PATH_MAX_BYTES: usize = 4096;

/// The most directories that are known to be there; more of them are asked for again.
const DIRS_MAX: usize = 1000;

/// How files travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Files {
    /// By scripts: one round trip each.
    Shell,
    /// By SFTP, on hosts whose shell does not do.
    Sftp,
}

/// An open SSH session.
pub(super) struct SshSession {
    link: Link,
    /// Nothing as long as the host was asked for nothing.
    files: Option<Files>,
    facts: SessionFacts,
    /// The login's home; empty where it has none.
    home: Option<String>,
    /// Directories that were there when this session asked for them. Should one have gone, the upload makes it again.
    dirs: HashSet<String>,
    /// A temporary file that is not removed: the old one could not be put back.
    kept: Option<String>,
    /// Whether no group was refused.
    groups: bool,
}

impl SshSession {
    /// A session on a connection that is logged in. What the host offers shows when it is asked for something.
    pub(super) fn new(wire: Wire, dial: &Dial<'_>, fingerprint: String) -> Self {
        wire.acquainted();
        let place = format!("{}@{}", dial.target.login, super::dial::place(dial));
        let stall = Duration::from_secs(dial.terms.stall_timeout_s.max(1));
        let link = Link::new(wire, place, stall);
        let facts = SessionFacts {
            kind: TransportKind::Ssh,
            fingerprint: Some(fingerprint),
            detail: cipher(&link),
        };
        Self {
            link,
            files: None,
            facts,
            home: None,
            dirs: HashSet::new(),
            kept: None,
            groups: true,
        }
    }

    /// How files travel, found out at the first need.
    fn files(&mut self) -> Result<Files, Fault> {
        match self.files {
            Some(files) => Ok(files),
            None => self.meet("").map(|(files, _)| files),
        }
    }

    /// Finds out how files can travel. Where they do by scripts, `rest` is run, too; what became of it.
    fn meet(&mut self, rest: &str) -> Result<(Files, Result<(), String>), Fault> {
        let met = shell::meet(&mut self.link, rest);
        let why = match met {
            Ok(Met::Fit { home, rest }) => {
                self.home = Some(home);
                return Ok((self.travel(Files::Shell), rest));
            }
            Ok(Met::Lacks(program)) => format!("commands without {program}"),
            Err(ExecError::NoShell(said)) => format!("no commands{}", quoted(&said)),
            Err(error) => return Err(self.link.exec_fault(&error, "asking the host for a shell")),
        };
        match self.link.open_sftp() {
            Ok(()) => Ok((self.travel(Files::Sftp), Ok(()))),
            // Servers say "no SFTP" in many ways.
            Err(Halt::Ssh(error)) if !is_lost(&error) || why.starts_with("no commands") => {
                Err(Fault::unsupported(format!(
                    "{}: the login is fine, but the host offers no SFTP, and {why}",
                    self.link.place
                )))
            }
            Err(halt) => Err(self.link.halt_fault(&halt, "opening SFTP")),
        }
    }

    fn travel(&mut self, files: Files) -> Files {
        let how = match files {
            Files::Shell => "sh",
            Files::Sftp => "SFTP",
        };
        self.facts.detail = format!("{how}, {}", cipher(&self.link));
        self.files = Some(files);
        files
    }

    fn home(&mut self) -> Result<String, Fault> {
        if let Some(home) = &self.home {
            return self.believed(home);
        }
        let home = match self.files()? {
            Files::Sftp => sftp::home(&mut self.link)?,
            Files::Shell => self.home.take().unwrap_or_default(),
        };
        let home = self.believed(&home)?;
        self.home = Some(home.clone());
        Ok(home)
    }

    fn believed(&self, home: &str) -> Result<String, Fault> {
        if !home.starts_with('/')
            || home.len() > PATH_MAX_BYTES
            || home.contains(['\0', '\u{fffd}'])
        {
            return Err(Fault::permanent(format!(
                "{}: what the host tells as the home of the login is no path: give `dest_dir` as an absolute path",
                self.link.place
            )));
        }
        Ok(home.to_owned())
    }

    /// The directory, absolute, without a trailing slash.
    fn resolve(&mut self, dest_dir: &str) -> Result<String, Fault> {
        let path = match below_home(dest_dir)? {
            Some(below) => format!("{}/{below}", self.home()?.trim_end_matches('/')),
            None => dest_dir.to_owned(),
        };
        Ok(without_slash(path))
    }

    /// The first thing that a host is asked for, as a rule: one script does it all.
    fn prepare_first(&mut self, dest_dir: &str) -> Result<Option<String>, Fault> {
        let below = below_home(dest_dir)?;
        let given = without_slash(below.unwrap_or(dest_dir).to_owned());
        let (files, made) = self.meet(&shell::make_script(&given, below.is_some()))?;
        if files == Files::Sftp {
            return Ok(None);
        }
        let path = self.resolve(dest_dir)?;
        match made {
            Ok(()) => Ok(Some(path)),
            Err(why) => {
                let place = &self.link.place;
                Err(refused(place, "cannot make the directory", &path, &why))
            }
        }
    }

    fn know(&mut self, dir: &str) {
        if self.dirs.len() >= DIRS_MAX {
            self.dirs.clear();
        }
        self.dirs.insert(dir.to_owned());
    }

    fn remove(&mut self, path: &str) -> Result<(), Fault> {
        match self.files()? {
            Files::Sftp => sftp::remove(&mut self.link, path),
            Files::Shell => shell::remove(&mut self.link, path),
        }
    }

    /// Length and digest of a file, the digest where the host can compute it.
    fn measure(&mut self, path: &str, size: u64) -> Result<Option<(u64, Option<String>)>, Fault> {
        match shell::digest(&mut self.link, path, size) {
            Ok(found) => Ok(found),
            Err(ExecError::NoShell(_)) if self.files == Some(Files::Sftp) => {
                Ok(sftp::length(&mut self.link, path)?.map(|length| (length, None)))
            }
            Err(error) => Err(self.link.exec_fault(&error, "verifying")),
        }
    }
}

fn cipher(link: &Link) -> String {
    let methods = link.wire.session.methods(MethodType::CryptCs);
    methods.unwrap_or("?").to_owned()
}

impl Session for SshSession {
    fn facts(&self) -> &SessionFacts {
        &self.facts
    }

    fn prepare_dir(&mut self, dest_dir: &str) -> Result<String, Fault> {
        let path = match self.files {
            None => self.prepare_first(dest_dir)?,
            Some(_) => None,
        };
        let path = if let Some(path) = path {
            path
        } else {
            let path = self.resolve(dest_dir)?;
            match self.files()? {
                Files::Sftp => sftp::make_dir(&mut self.link, &path)?,
                Files::Shell if self.dirs.contains(&path) => {}
                Files::Shell => shell::make_dir(&mut self.link, &path)?,
            }
            path
        };
        self.know(&path);
        Ok(path)
    }

    fn aim(&mut self, dest_dir: &str) -> Result<String, Fault> {
        if below_home(dest_dir)?.is_none() && self.link.shell != Some(false) {
            // What uploads by scripts makes the directory, too.
            return Ok(without_slash(dest_dir.to_owned()));
        }
        match self.files {
            Some(Files::Shell) => self.resolve(dest_dir),
            _ => self.prepare_dir(dest_dir),
        }
    }

    fn upload(&mut self, upload: &Upload<'_>, progress: &mut dyn FnMut(u64)) -> Result<u64, Fault> {
        check_name(upload.name)?;
        let _at_work = self.link.wire.traffic.begin();
        let path = in_dir(upload.dir, upload.temporary)?;
        let by_sftp = self.files()? == Files::Sftp;
        let from = if upload.resume {
            resume::verified(&mut self.link, upload, &path, by_sftp)?
        } else {
            0
        };
        if by_sftp {
            return sftp::upload(&mut self.link, upload, &path, from, progress);
        }
        let lanes = stripes::lanes(&self.link, upload.size - from);
        if lanes > 1 && stripes::upload(&mut self.link, upload, &path, (from, lanes), progress)? {
            return Ok(from);
        }
        if from > 0 {
            return resume::by_dd(&mut self.link, upload, &path, from, progress);
        }
        if counted::is_small(&self.link, upload) {
            let how = (None, false);
            let brought = counted::small(&mut self.link, upload, &path, how, progress)?;
            if brought.there.is_some() {
                return Ok(0);
            }
        }
        shell::by_cat(&mut self.link, upload, &path, progress)?;
        Ok(0)
    }

    fn place(
        &mut self,
        upload: &Upload<'_>,
        progress: &mut dyn FnMut(u64),
        told: &mut dyn FnMut(Placing) -> Result<(), Fault>,
    ) -> Result<Verified, Fault> {
        self.bring(upload, progress, told)
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
        if self.files()? == Files::Shell {
            return shell::publish(&mut self.link, &temporary, &name, upload.resume);
        }
        sftp::publish(&mut self.link, &temporary, &name).map_err(|failed| {
            self.kept = failed.keep_new.then(|| temporary.clone());
            failed.fault
        })?;
        if upload.resume {
            replace::remove_aside(&mut sftp::Plain(&mut self.link), &temporary);
        }
        Ok(())
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
        let _at_work = self.link.wire.traffic.begin();
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
        match self.files()? {
            Files::Sftp => replace::tidy(&mut sftp::Plain(&mut self.link), &temporary, &name),
            Files::Shell => shell::tidy(&mut self.link, &temporary, &name),
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
        let existing = match self.files()? {
            Files::Sftp => places::nearest_by_sftp(&mut self.link, &path)?,
            Files::Shell => places::nearest_by_script(&mut self.link, &path)?,
        };
        Ok(Located { path, existing })
    }

    fn space(&mut self, file: &str) -> Result<Option<Space>, Fault> {
        if self.files()? == Files::Sftp
            && let Some(space) = places::space_by_sftp(&mut self.link, file)?
        {
            return Ok(Some(space));
        }
        places::space_by_df(&mut self.link, file)
    }

    fn abilities(&mut self) -> Result<Abilities, Fault> {
        abilities::ask(&mut self.link)
    }

    fn is_alive(&mut self) -> bool {
        let link = &mut self.link;
        if let Some(sftp) = &link.sftp {
            let asked = link
                .wire
                .run(PEER_ANSWERS_WITHIN, || sftp.stat(Path::new("/")));
            return match asked {
                Ok(_) => true,
                Err(Halt::Ssh(error)) => matches!(code(&error), Code::Sftp(_)),
                Err(_) => false,
            };
        }
        link.script_for(PEER_ANSWERS_WITHIN, "true").is_ok()
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
