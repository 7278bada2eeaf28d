//! What is tried at a target that has let us in: a delivery into each directory, room, shell, clock, and the way of
//! install commands. Nothing stays on the host.

use chrono::Utc;
use rustix::rand::{GetRandomFlags, getrandom};

use super::aims::Place;
use super::check::Outcome;
use super::target::Visit;
use crate::cli::lines::bytes;
use crate::domain::fault::Fault;
use crate::domain::target::TransportKind;
use crate::domain::text::shell_quote;
use crate::transport::probe::{self, Tried};
use crate::transport::{Abilities, Dial, Session, StopFlag, Upload, Verified, fallback, ssh};

/// How often a connection is sought that takes a trial away.
const CLEARINGS: u32 = 3;
/// How far a host's clock may be off, seconds.
const CLOCK_MAX_S: i64 = 60;

impl Visit<'_> {
    /// A trial in one directory; false where the session is of no more use.
    pub(super) fn place(&self, session: &mut dyn Session, dial: &Dial<'_>, place: &Place) -> bool {
        let about = self.about("directory");
        let located = match session.locate_dir(&place.dest_dir) {
            Ok(located) => located,
            Err(fault) => {
                self.teller
                    .fail(about, format!("[{}]: {fault}", place.rule), None);
                return !fault.class.is_retried();
            }
        };
        let unique = unique();
        let (name, temporary) = (
            format!(".ad-doctor-{unique}"),
            format!(".ad-doctor-{unique}.part"),
        );
        let trial = Upload {
            local: &self.common.file,
            size: self.common.size,
            sha256: &self.common.sha256,
            dir: &located.existing,
            name: &name,
            temporary: &temporary,
            mode: None,
            resume: false,
        };
        let path = if located.path == located.existing {
            located.path.clone()
        } else {
            format!(
                "{} (to be made; tried in {})",
                located.path, located.existing
            )
        };
        match probe::try_out(&trial, session) {
            Ok(tried) => {
                let how = match tried.verified {
                    Verified::Digest => "length and SHA-256",
                    Verified::Length => "length",
                };
                let does = format!("{path}: written, {how} checked, renamed, removed");
                self.teller.ok(about, does);
                self.space(&tried, &located.existing);
                true
            }
            Err(fault) => {
                let is_cut = fault.class.is_retried();
                let left = is_cut && Self::clear(session, dial, &trial).is_err();
                let mut why = format!("{path}: {fault}");
                let mut mend = Some(format!(
                    "on the host, as root: install -d -o {} {}",
                    shell_quote(&self.aim.target.login),
                    shell_quote(&located.path)
                ));
                if left {
                    let lies = format!("{}/{name}", located.existing.trim_end_matches('/'));
                    why = format!(
                        "{why}; it could not be seen to that nothing stays: {lies} or {lies}.part may lie there"
                    );
                    mend = Some(format!(
                        "on the host: rm -f {0} {0}.part",
                        shell_quote(&lies)
                    ));
                } else if is_cut {
                    mend = None;
                }
                self.teller.fail(about, why, mend);
                !is_cut
            }
        }
    }

    /// Removes what a trial that was cut may have left: by this session if it lives, else by another one. A worker's end
    /// does not stop that.
    fn clear(session: &mut dyn Session, dial: &Dial<'_>, trial: &Upload<'_>) -> Result<(), Fault> {
        if probe::clear(trial, session).is_ok() {
            return Ok(());
        }
        let stop = StopFlag::default();
        let again = Dial {
            target: dial.target,
            terms: dial.terms,
            credentials: dial.credentials,
            surroundings: dial.surroundings,
            tell: Box::new(|_| {}),
            reached: Box::new(|_| {}),
            stop: &stop,
        };
        let clear = || {
            let mut session = fallback::connect(&again, &[], &mut |_, _| {})?;
            let cleared = probe::clear(trial, session.as_mut());
            session.close();
            cleared
        };
        let mut cleared = clear();
        for _ in 1..CLEARINGS {
            match &cleared {
                Err(fault) if fault.class.is_retried() => cleared = clear(),
                _ => break,
            }
        }
        cleared
    }

    fn space(&self, tried: &Tried, directory: &str) {
        let about = self.about("space");
        let Some(space) = tried.space else {
            return self.teller.ok(about, "the server does not tell");
        };
        let says = format!(
            "{} of {} free at {directory}",
            bytes(space.free),
            bytes(space.total)
        );
        let largest = self.common.largest;
        let mend = Some(format!("on the host: df -h {}", shell_quote(directory)));
        if space.free < largest {
            let why = format!(
                "{says}: less than the largest package of late ({})",
                bytes(largest)
            );
            self.teller.warn(about, why, mend);
        } else if space.free < space.total / 20 {
            self.teller
                .warn(about, format!("{says}: less than 5 %"), mend);
        } else {
            self.teller.ok(about, says);
        }
    }

    pub(super) fn abilities(&self, abilities: &Abilities, took_s: u64) {
        let installs = self.aim.places.iter().any(|place| place.installs);
        let shell = match &abilities.shell {
            None => {
                let known = [abilities.features.as_slice(), abilities.digests.as_slice()].concat();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                self.teller.ok(self.about("features"), known);
                None
            }
            Some(Err(why)) => {
                let result = if installs {
                    Outcome::Failure
                } else {
                    Outcome::Warning
                };
                let what = if installs {
                    "install commands cannot run"
                } else {
                    "packages are verified by their length alone"
                };
                self.teller
                    .tell(result, self.about("sh"), format!("{why}: {what}"), None);
                return;
            }
            Some(Ok(shell)) => Some(shell),
        };
        if abilities.digests.is_empty() {
            let why = "the host computes no SHA-256: packages are verified by their length alone";
            let mend = shell.map(|_| "install openssl or coreutils on the host".to_owned());
            self.teller.warn(self.about("digest"), why, mend);
        } else {
            self.teller
                .ok(self.about("digest"), abilities.digests.join(", "));
        }
        let Some(shell) = shell else { return };
        self.teller.ok(self.about("sh"), "runs our scripts");
        match &shell.no_records {
            Some(why) if installs => {
                let why =
                    format!("no record of an install can be made in ~/.auto-dispatcher: {why}");
                let mend = Some("on the host: mkdir -p -m 700 ~/.auto-dispatcher".to_owned());
                self.teller.fail(self.about("records"), why, mend);
            }
            None if installs => self
                .teller
                .ok(self.about("records"), "~/.auto-dispatcher can be written"),
            _ => {}
        }
        self.clock(shell.time_s, took_s);
    }

    fn clock(&self, time_s: Option<i64>, took_s: u64) {
        let about = self.about("clock");
        let Some(time_s) = time_s else {
            return self
                .teller
                .warn(about, "the host's `date` does not tell the time", None);
        };
        let took = i64::try_from(took_s).unwrap_or(0);
        let off = time_s - Utc::now().timestamp() + took / 2;
        if off.abs() > CLOCK_MAX_S + took {
            let way = if off > 0 { "ahead of" } else { "behind" };
            let why = format!("the host's clock is {} s {way} this machine's", off.abs());
            self.teller.warn(
                about,
                why,
                Some("on the host: timedatectl set-ntp true".to_owned()),
            );
        } else {
            self.teller.ok(about, "agrees with this machine's");
        }
    }

    /// Install commands go over SSH, also where FTP brings the files.
    pub(super) fn commands_behind_ftp(&self, dial: &Dial<'_>, passed: &[(TransportKind, Fault)]) {
        let about = self.about("install");
        let mend = || {
            Some("give the rule an SSH way to the host, or take its install_command out".to_owned())
        };
        if let Some((_, fault)) = passed.iter().find(|(kind, _)| *kind == TransportKind::Ssh) {
            let why = format!("the rule has an install_command, which needs SSH: {fault}");
            return self.teller.fail(about, why, mend());
        }
        match ssh::connect(dial) {
            Ok(session) => {
                session.close();
                self.teller.ok(about, "install commands go over SSH");
            }
            Err(error) => {
                let why = format!(
                    "the rule has an install_command, which needs SSH: {}",
                    error.fault
                );
                self.teller.fail(about, why, mend());
            }
        }
    }
}

/// Sixteen hexadecimal digits that nothing else has.
fn unique() -> String {
    let mut bytes = [0_u8; 8];
    if getrandom(&mut bytes, GetRandomFlags::empty()).is_err() {
        bytes = u64::from(std::process::id()).to_ne_bytes();
    }
    format!("{:016x}", u64::from_ne_bytes(bytes))
}
