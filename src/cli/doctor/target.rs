//! The checks of one target: reached, logged in to and delivered to by the very code that brings packages. Nothing stays
//! on the host, and nothing of it is recorded here.

use std::cell::RefCell;
use std::time::Instant;

use chrono::Utc;
use rustix::rand::{GetRandomFlags, getrandom};

use super::aims::{Aim, Place};
use super::check::{Grouped, Outcome, Teller};
use super::targets::Common;
use crate::cli::lines::bytes;
use crate::config::credentials::PasswordSource;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::mask::Mask;
use crate::domain::secret::Secret;
use crate::domain::target::TransportKind;
use crate::domain::text::shell_quote;
use crate::transport::probe::{Trial, Tried};
use crate::transport::{
    Abilities, Credentials, Dial, Session, Stage, StopFlag, Surroundings, Verified, fallback, ssh,
};

/// How far a host's clock may be off, seconds.
const CLOCK_MAX_S: i64 = 60;

/// The credentials of a target, looked up once, and hidden in all that is told.
struct Looked<'a> {
    aim: &'a Aim,
    common: &'a Common<'a>,
    stop: &'a StopFlag,
    mask: &'a RefCell<Mask>,
    password: RefCell<Option<Result<Option<Secret>, Fault>>>,
}

impl Credentials for Looked<'_> {
    fn password(&self) -> Result<Option<Secret>, Fault> {
        if let Some(known) = &*self.password.borrow() {
            return known.clone();
        }
        let target = &self.aim.target;
        let found =
            self.common
                .store
                .lookup_unless(&self.aim.rule, &target.host, &target.login, &|| {
                    self.stop.is_raised()
                });
        let password = found
            .map(|found| found.password)
            .map_err(|error| Fault::ours(error.one_line()));
        if let Ok(Some(password)) = &password {
            self.mask.borrow_mut().add(password);
        }
        *self.password.borrow_mut() = Some(password.clone());
        password
    }

    fn account(&self) -> Result<Option<Secret>, Fault> {
        let target = &self.aim.target;
        let account = self
            .common
            .store
            .account(&self.aim.rule, &target.host, &target.login);
        account.map_err(|error| Fault::ours(error.one_line()))
    }
}

/// Looks at a target; true where its login was refused. `was_denied`: it was before, and is not tried again.
pub(super) fn look(
    aim: &Aim,
    common: &Common<'_>,
    number: usize,
    was_denied: bool,
    teller: &Teller<'_>,
) -> bool {
    let mask = RefCell::new(Mask::default());
    for secret in common
        .store
        .at_hand(&aim.rule, &aim.target.host, &aim.target.login)
    {
        mask.borrow_mut().add(&secret);
    }
    let hidden = |mut grouped: Grouped| {
        let check = &mut grouped.check;
        check.detail = mask.borrow().text(&check.detail).into_owned();
        check.mend = check
            .mend
            .as_ref()
            .map(|mend| mask.borrow().text(mend).into_owned());
        teller.pass(grouped);
    };
    let teller = Teller::new(teller.group().to_owned(), &hidden);
    let looked = Looked {
        aim,
        common,
        stop: common.stop,
        mask: &mask,
        password: RefCell::default(),
    };
    let visit = Visit {
        aim,
        common,
        teller: &teller,
        known_hosts: common.scratch.join(format!("known_hosts.{number}")),
    };
    visit.run(&looked, was_denied)
}

struct Visit<'a> {
    aim: &'a Aim,
    common: &'a Common<'a>,
    teller: &'a Teller<'a>,
    /// Takes up what accept-new would record.
    known_hosts: std::path::PathBuf,
}

impl Visit<'_> {
    fn about<'s>(&'s self, check: &'s str) -> (&'s str, &'s str) {
        (check, &self.aim.lane)
    }

    fn run(&self, looked: &Looked<'_>, was_denied: bool) -> bool {
        let aim = self.aim;
        let rules: Vec<String> = aim
            .places
            .iter()
            .map(|place| format!("[{}]", place.rule))
            .collect();
        if aim.target.login.is_empty() {
            let why = format!("neither rule {} nor netrc names a login", rules.join(", "));
            self.teller.fail(
                self.about("login"),
                why,
                Some("add `login = NAME` to the rule".to_owned()),
            );
            return false;
        }
        if was_denied {
            let why = "not tried with the terms of this rule: the login was refused a moment ago, and accounts lock";
            self.teller.warn(self.about("login"), why, None);
            return false;
        }
        self.credentials();
        let surroundings = self.surroundings();
        let mut terms = aim.terms.clone();
        terms.known_hosts = Some(self.known_hosts.clone());
        let dial = Dial {
            target: &aim.target,
            terms: &terms,
            credentials: looked,
            surroundings: &surroundings,
            tell: Box::new(|message| {
                // That a key was recorded is not so; the stage tells of it.
                if !message.contains("recorded at first contact") {
                    self.teller.warn(self.about("algorithms"), message, None);
                }
            }),
            reached: Box::new(|stage| self.stage(&stage)),
            stop: self.common.stop,
        };
        let mut passed: Vec<(TransportKind, Fault)> = Vec::new();
        let opened = fallback::connect(&dial, &[], &mut |kind, fault| {
            passed.push((kind, fault.clone()))
        });
        let mut session = match opened {
            Ok(session) => session,
            Err(fault) => return self.not_opened(&passed, &fault),
        };
        for (kind, fault) in &passed {
            let why = format!("does not serve, {} does: {fault}", session.facts().kind);
            self.teller.warn(self.about(kind.as_str()), why, None);
        }
        self.opened(session.as_mut(), &dial, &passed);
        session.close();
        false
    }

    fn credentials(&self) {
        let source = match self.aim.known.source {
            Some(PasswordSource::Config) => "a password in the rules file",
            Some(PasswordSource::Netrc) => "a password in netrc",
            Some(PasswordSource::Command) => "what password_command prints",
            None => "no password anywhere: a key or an agent has to do",
        };
        let rules: Vec<String> = self
            .aim
            .places
            .iter()
            .map(|place| format!("[{}] at line {}", place.rule, place.line))
            .collect();
        self.teller.ok(
            self.about("credentials"),
            format!("{source}; rule {}", rules.join(", ")),
        );
    }

    /// What we know of host keys is read, and what is new goes where it is forgotten.
    fn surroundings(&self) -> Surroundings {
        let mut surroundings = self.common.surroundings.clone();
        let own = self.aim.terms.known_hosts.clone();
        let own = own.unwrap_or_else(|| surroundings.own_known_hosts.clone());
        surroundings.other_known_hosts.insert(0, own);
        surroundings
    }

    fn stage(&self, stage: &Stage) {
        match stage {
            Stage::Resolved(addresses) => {
                let mut shown: Vec<String> = addresses
                    .iter()
                    .map(|address| address.ip().to_string())
                    .collect();
                shown.dedup();
                self.teller.ok(self.about("name"), shown.join(", "));
            }
            Stage::Connected(address) => self
                .teller
                .ok(self.about("port"), format!("{address} is open")),
            Stage::Greeted(banner) => self.teller.ok(self.about("banner"), banner.as_str()),
            Stage::Keyed {
                key,
                place,
                algorithms,
            } => {
                match place {
                    Some(place) => self.teller.ok(
                        self.about("host key"),
                        format!("{key}, on record at {place}"),
                    ),
                    None => {
                        let why = format!(
                            "{key} is new; the first delivery records it (host_key = accept-new)"
                        );
                        self.teller
                            .warn(self.about("host key"), why, Some(self.trust(key)));
                    }
                }
                self.teller
                    .ok(self.about("algorithms"), algorithms.as_str());
            }
            Stage::Secured { fingerprint, tls } => {
                self.teller.ok(
                    self.about("certificate"),
                    format!("accepted, SHA-256 {fingerprint}; {tls}"),
                );
            }
            Stage::LoggedIn(by) => {
                self.teller.ok(
                    self.about("login"),
                    format!("{} is let in by {by}", self.aim.target.login),
                );
            }
        }
    }

    /// The command that records a host key, once a person has compared it.
    fn trust(&self, key: &str) -> String {
        let target = &self.aim.target;
        let fingerprint = key
            .rsplit(' ')
            .next()
            .filter(|word| word.starts_with("SHA256:"));
        format!(
            "auto-dispatcher trust {} --port {} --fingerprint {}",
            shell_quote(&target.host),
            target.ssh_port,
            fingerprint.unwrap_or("SHA256:...")
        )
    }

    /// Tells why there is no session; true where the login was refused.
    fn not_opened(&self, passed: &[(TransportKind, Fault)], fault: &Fault) -> bool {
        for (kind, why) in passed {
            self.teller.fail(
                self.about(kind.as_str()),
                why.to_string(),
                self.closer(*kind, why),
            );
        }
        if passed.len() == self.aim.terms.transports.len() {
            return false;
        }
        let at = self.aim.terms.transports.get(passed.len()).copied();
        let kind = at.unwrap_or(TransportKind::Ssh);
        let check = match (fault.class, kind) {
            (FaultClass::Untrusted, TransportKind::Ssh) => "host key",
            (FaultClass::Untrusted, _) => "certificate",
            (FaultClass::Denied, _) => "login",
            _ if fault.is_ours => "credentials",
            _ => kind.as_str(),
        };
        self.teller.fail(
            self.about(check),
            fault.to_string(),
            self.closer(kind, fault),
        );
        fault.class == FaultClass::Denied
    }

    /// What helps with a connection that does not come about.
    fn closer(&self, kind: TransportKind, fault: &Fault) -> Option<String> {
        let target = &self.aim.target;
        match (fault.class, kind) {
            (FaultClass::Untrusted, TransportKind::Ssh) => Some(format!(
                "compare the key with the host's own, then {}",
                self.trust("")
            )),
            (FaultClass::Denied, _) => Some(
                "mend the password or key, then run doctor once: repeated refusals lock accounts"
                    .to_owned(),
            ),
            (FaultClass::Unreachable, TransportKind::Ssh) => {
                let (host, login) = (shell_quote(&target.host), shell_quote(&target.login));
                Some(format!("ssh -v -p {} -l {login} {host}", target.ssh_port))
            }
            (FaultClass::Unreachable, _) => Some(format!(
                "nc -vz {} {}",
                shell_quote(&target.host),
                target.ftp_port
            )),
            _ => None,
        }
    }

    fn opened(
        &self,
        session: &mut dyn Session,
        dial: &Dial<'_>,
        passed: &[(TransportKind, Fault)],
    ) {
        let (kind, detail) = (session.facts().kind, session.facts().detail.clone());
        if kind == TransportKind::Ftp {
            let why = "password and packages travel in clear";
            self.teller.warn(
                self.about("ftp"),
                why,
                Some("transports = ssh, ftps".to_owned()),
            );
        } else {
            self.teller.ok(self.about(kind.as_str()), detail);
        }
        for place in &self.aim.places {
            if !self.place(session, dial, place) {
                return;
            }
        }
        let asked = Instant::now();
        match session.abilities() {
            Ok(abilities) => self.abilities(&abilities, asked.elapsed().as_secs()),
            Err(fault) => self.teller.fail(self.about("sh"), fault.to_string(), None),
        }
        let installs = self.aim.places.iter().any(|place| place.installs);
        if installs && kind != TransportKind::Ssh {
            self.commands_behind_ftp(dial, passed);
        }
    }

    /// A trial in one directory; false where the session is of no more use.
    fn place(&self, session: &mut dyn Session, dial: &Dial<'_>, place: &Place) -> bool {
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
        let trial = Trial {
            local: &self.common.file,
            size: self.common.size,
            sha256: &self.common.sha256,
            dir: &located.existing,
            name: &name,
            temporary: &temporary,
        };
        let path = if located.path == located.existing {
            located.path.clone()
        } else {
            format!(
                "{} (to be made; tried in {})",
                located.path, located.existing
            )
        };
        match trial.run(session) {
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
                let left = is_cut && self.clear(session, dial, &trial).is_err();
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
    fn clear(
        &self,
        session: &mut dyn Session,
        dial: &Dial<'_>,
        trial: &Trial<'_>,
    ) -> Result<(), Fault> {
        if trial.clear(session).is_ok() {
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
        let mut session = fallback::connect(&again, &[], &mut |_, _| {})?;
        let cleared = trial.clear(session.as_mut());
        session.close();
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

    fn abilities(&self, abilities: &Abilities, took_s: u64) {
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
    fn commands_behind_ftp(&self, dial: &Dial<'_>, passed: &[(TransportKind, Fault)]) {
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
