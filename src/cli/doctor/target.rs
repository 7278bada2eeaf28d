//! The checks of one target: reached, logged in to and delivered to by the very code that brings packages. Nothing stays
//! on the host, and nothing of it is recorded here.

use std::cell::RefCell;
use std::time::Instant;

use super::aims::Aim;
use super::check::{Grouped, Teller};
use super::targets::Common;
use crate::config::credentials::PasswordSource;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::mask::Mask;
use crate::domain::secret::Secret;
use crate::domain::target::TransportKind;
use crate::domain::text::shell_quote;
use crate::transport::{Credentials, Dial, Session, Stage, StopFlag, Surroundings, fallback, ssh};

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
        told: RefCell::default(),
    };
    visit.run(&looked, was_denied)
}

pub(super) struct Visit<'a> {
    pub(super) aim: &'a Aim,
    pub(super) common: &'a Common<'a>,
    pub(super) teller: &'a Teller<'a>,
    /// Takes up what accept-new would record.
    known_hosts: std::path::PathBuf,
    told: RefCell<Vec<Stage>>,
}

impl Visit<'_> {
    pub(super) fn about<'s>(&'s self, check: &'s str) -> (&'s str, &'s str) {
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
        if !self.knows_hosts(looked) {
            return false;
        }
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
            passed.push((kind, fault.clone()));
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

    /// Whether the files of known host keys can be used as deliveries use them.
    fn knows_hosts(&self, looked: &Looked<'_>) -> bool {
        let dial = Dial {
            target: &self.aim.target,
            terms: &self.aim.terms,
            credentials: looked,
            surroundings: &self.common.surroundings,
            tell: Box::new(|_| {}),
            reached: Box::new(|_| {}),
            stop: self.common.stop,
        };
        let known = ssh::known_key(&dial);
        if let Err(fault) = &known {
            self.teller
                .fail(self.about("host key"), fault.to_string(), None);
        }
        known.is_ok()
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
        // Each transport of a rule comes this way; what was told stays true.
        let mut known = stage.clone();
        if let Stage::Resolved(addresses) = &mut known {
            for address in addresses {
                address.set_port(0);
            }
        }
        if self.told.borrow().contains(&known) {
            return;
        }
        self.told.borrow_mut().push(known);
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
                let about = self.about("host key");
                if let Some(place) = place {
                    self.teller
                        .ok(about, format!("{key}, on record at {place}"));
                } else {
                    let why = format!(
                        "{key} is new; the first delivery records it (host_key = accept-new)"
                    );
                    self.teller.warn(about, why, Some(self.trust(key)));
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
            "{} trust {} --port {} --fingerprint {}",
            self.common.us,
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
}
