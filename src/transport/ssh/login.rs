//! Logging in: keys first, and the password only when they did not do. Answers prompts, handles hosts that
//! want several methods, and says what was tried when all is refused.

use std::path::Path;
use std::time::Duration;

use super::answers::Answers;
use super::dial::stopped;
use super::key_file::{self, KeyFile};
use super::wire::{Code, Halt, Wire, code, is_lost};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::secret::Secret;
use crate::transport::{Dial, Stage};

/// Each refused key counts against the server's `MaxAuthTries` (6), and the password needs its turn.
const MAX_KEYS: usize = 4;

/// How a login that failed ended.
pub(super) enum Refusal {
    /// Finally.
    Fault(Fault),
    /// The server hung up while keys were tried; another connection may try the password alone.
    CutAmongKeys(Fault),
    /// The server takes no password.
    NoTurn(Fault),
}

/// One login in progress.
pub(super) struct Login<'a> {
    wire: &'a Wire,
    dial: &'a Dial<'a>,
    limit: Duration,
    /// What was tried and what came of it, for the message.
    tried: Vec<String>,
    keys_left: usize,
    /// The key that the rule names has had its turn.
    is_named_tried: bool,
    /// The public key of an encrypted `identity_file`, and its name: the agent may hold it.
    encrypted: Option<(Vec<u8>, String)>,
    password: Option<Secret>,
}

/// What one method came to.
enum Answer {
    In,
    /// Not tried, or refused.
    No,
    /// Refused, or taken as one of several methods that the server wants.
    Perhaps,
}

impl<'a> Login<'a> {
    pub(super) fn new(wire: &'a Wire, dial: &'a Dial<'a>) -> Self {
        let limit = Duration::from_secs(dial.terms.connect_timeout_s.max(1));
        Self {
            wire,
            dial,
            limit,
            tried: Vec::new(),
            keys_left: MAX_KEYS,
            is_named_tried: false,
            encrypted: None,
            password: None,
        }
    }

    /// Logs in; with `with_keys` false by password alone.
    pub(super) fn run(mut self, with_keys: bool) -> Result<(), Refusal> {
        // To ask first would cost a round trip.
        if with_keys && matches!(self.named_key()?, Answer::In) {
            return Ok(());
        }
        let mut offered = match self.methods() {
            Ok(Some(offered)) => offered,
            Ok(None) => return Ok(()),
            Err(cut) if self.keys_left < MAX_KEYS && !self.dial.stop.is_raised() => {
                return Err(among_keys(cut));
            }
            Err(refusal) => return Err(refusal),
        };
        // Each turn takes a method out: a server that wants several offers the rest.
        let mut done: Vec<&str> = Vec::new();
        for _ in 0..3 {
            let Some(method) = next_method(&offered, &done, with_keys) else {
                break;
            };
            done.push(method);
            let answer = match method {
                "publickey" => self.keys()?,
                "password" => self.by_password()?,
                _ => self.by_questions()?,
            };
            match answer {
                Answer::In => return Ok(()),
                Answer::No => continue,
                Answer::Perhaps => {}
            }
            // To ask counts as one more failure: a server that hangs up now has refused.
            let now = match self.methods() {
                Ok(Some(now)) => now,
                Ok(None) => return Ok(()),
                Err(_) if self.dial.stop.is_raised() => return Err(Refusal::Fault(stopped())),
                Err(cut) if method == "publickey" => return Err(among_keys(cut)),
                Err(_) => break,
            };
            // A refused password asked again in another way would count twice against the account; a
            // server that took it as one of several offers something else now.
            let partial = now != offered;
            if method == "password" && !partial {
                break;
            }
            offered = now;
        }
        if !with_keys && self.tried.is_empty() {
            return Err(Refusal::NoTurn(self.denied(&offered)));
        }
        Err(Refusal::Fault(self.denied(&offered)))
    }

    /// What the server offers; nothing when we are in already.
    fn methods(&mut self) -> Result<Option<Vec<String>>, Refusal> {
        let login = &self.dial.target.login;
        let listed = self.wire.run(self.limit, || {
            self.wire.session.auth_methods(login).map(str::to_owned)
        });
        match listed {
            Ok(methods) => Ok(Some(methods.split(',').map(str::to_owned).collect())),
            Err(_) if self.wire.session.authenticated() => Ok(None),
            Err(halt) => Err(self.broken(halt, "asking for the login methods")),
        }
    }

    /// Tries a method; an error is a connection that ended.
    fn attempt(
        &self,
        operation: impl FnMut() -> Result<(), ssh2::Error>,
    ) -> Result<Result<(), ssh2::Error>, Halt> {
        match self.wire.run(self.limit, operation) {
            Ok(()) => Ok(Ok(())),
            Err(Halt::Ssh(error)) if !is_lost(&error) => Ok(Err(error)),
            Err(halt) => Err(halt),
        }
    }

    fn keys(&mut self) -> Result<Answer, Refusal> {
        match self.named_key()? {
            Answer::No => {}
            answer => return Ok(answer),
        }
        match self.agent()? {
            Answer::No => {}
            answer => return Ok(answer),
        }
        if let Some(home) = &self.dial.surroundings.home {
            for name in ["id_ed25519", "id_ecdsa", "id_rsa"] {
                let file = home.join(".ssh").join(name);
                if Some(&file) == self.dial.terms.identity_file.as_ref() {
                    continue;
                }
                match self.key_file(&file, false)? {
                    Answer::No => {}
                    answer => return Ok(answer),
                }
            }
        }
        Ok(Answer::No)
    }

    /// The key that the rule names, once.
    fn named_key(&mut self) -> Result<Answer, Refusal> {
        match self.dial.terms.identity_file.clone() {
            Some(file) if !std::mem::replace(&mut self.is_named_tried, true) => {
                self.key_file(&file, true)
            }
            _ => Ok(Answer::No),
        }
    }

    fn key_file(&mut self, file: &Path, named: bool) -> Result<Answer, Refusal> {
        let shown = file.display();
        let text = match key_file::read(file) {
            KeyFile::Open(text) => text,
            KeyFile::Encrypted(Some(public)) if named && self.has_agent() => {
                self.encrypted = Some((public, shown.to_string()));
                return Ok(Answer::No);
            }
            KeyFile::Encrypted(_) => {
                self.tried.push(format!(
                    "key {shown}: skipped, it is encrypted (use an agent, or a key without pass phrase)"
                ));
                return Ok(Answer::No);
            }
            KeyFile::LeftOut(why) => {
                self.tried.push(format!("key {shown}: {why}"));
                return Ok(Answer::No);
            }
            KeyFile::Missing(error) => {
                if named {
                    self.tried
                        .push(format!("identity_file {shown}: cannot be read ({error})"));
                }
                return Ok(Answer::No);
            }
        };
        if self.keys_left == 0 {
            return Ok(Answer::No);
        }
        self.keys_left -= 1;
        let login = &self.dial.target.login;
        let answer = self.attempt(|| {
            self.wire
                .session
                .userauth_pubkey_memory(login, None, &text, None)
        });
        self.key_answer(answer, format!("key {shown}"))
    }

    fn key_answer(
        &mut self,
        answer: Result<Result<(), ssh2::Error>, Halt>,
        what: String,
    ) -> Result<Answer, Refusal> {
        match answer {
            Ok(Ok(())) => Ok(self.by(&what)),
            // libssh2 gives a hang-up at this point the same code as a refused signature.
            Ok(Err(error)) if error.message().starts_with("Waiting") => {
                self.tried.push(what);
                Err(self.cut_among_keys(Halt::Ssh(error)))
            }
            Ok(Err(error)) => {
                let (why, answer) = match code(&error) {
                    Code::Session(-18) => ("refused", Answer::No),
                    Code::Session(-19) => ("not enough, or refused", Answer::Perhaps),
                    _ => (error.message(), Answer::No),
                };
                self.tried.push(format!("{what}: {why}"));
                Ok(answer)
            }
            Err(halt) => {
                self.tried.push(what);
                Err(self.cut_among_keys(halt))
            }
        }
    }

    /// Says what let us in.
    fn by(&self, what: &str) -> Answer {
        (self.dial.reached)(Stage::LoggedIn(what.to_owned()));
        Answer::In
    }

    fn cut_among_keys(&self, halt: Halt) -> Refusal {
        among_keys(self.broken(halt, "trying keys"))
    }

    fn has_agent(&self) -> bool {
        self.dial.surroundings.agent_socket.is_some()
    }

    /// The agent's keys; that of an encrypted `identity_file` first, for it is the one that is meant.
    fn agent(&mut self) -> Result<Answer, Refusal> {
        let Some(socket) = self.dial.surroundings.agent_socket.clone() else {
            return Ok(Answer::No);
        };
        let opened = self.open_agent(&socket);
        let (agent, mut identities) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.tried.push(format!("agent: {}", error.message()));
                return Ok(Answer::No);
            }
        };
        let encrypted = self.encrypted.take();
        let is_meant = |identity: &ssh2::PublicKey| {
            let public = encrypted.as_ref().map(|(public, _)| public.as_slice());
            public == Some(identity.blob())
        };
        if let Some((_, file)) = &encrypted
            && !identities.iter().any(is_meant)
        {
            self.tried.push(format!(
                "key {file}: skipped, it is encrypted and the agent does not hold it (ssh-add)"
            ));
        }
        identities.sort_by_key(|identity| !is_meant(identity));
        for identity in identities {
            if self.keys_left == 0 {
                break;
            }
            self.keys_left -= 1;
            let answer = self.attempt(|| agent.userauth(&self.dial.target.login, &identity));
            let what = match &encrypted {
                Some((_, file)) if is_meant(&identity) => {
                    format!("key {file}, encrypted, by the agent")
                }
                _ => format!("agent's key {}", identity.comment()),
            };
            match self.key_answer(answer, what)? {
                Answer::No => {}
                answer => return Ok(answer),
            }
        }
        Ok(Answer::No)
    }

    fn open_agent(
        &self,
        socket: &Path,
    ) -> Result<(ssh2::Agent, Vec<ssh2::PublicKey>), ssh2::Error> {
        let mut agent = self.wire.session.agent()?;
        agent.set_identity_path(socket)?;
        agent.connect()?;
        agent.list_identities()?;
        let identities = agent.identities()?;
        Ok((agent, identities))
    }

    /// The password, looked up at the first need.
    fn secret(&mut self) -> Result<Option<Secret>, Refusal> {
        if self.password.is_none() {
            self.password = self.dial.credentials.password().map_err(Refusal::Fault)?;
            if self.password.is_none() {
                self.tried.push("password: none is configured".to_owned());
            }
        }
        Ok(self.password.clone())
    }

    fn by_password(&mut self) -> Result<Answer, Refusal> {
        let Some(secret) = self.secret()? else {
            return Ok(Answer::No);
        };
        let login = &self.dial.target.login;
        match self.attempt(|| self.wire.session.userauth_password(login, secret.expose())) {
            Ok(Ok(())) => Ok(self.by("password")),
            Ok(Err(error)) => {
                let why = match code(&error) {
                    Code::Session(-18) => "refused",
                    Code::Session(-23) => "expired, the host wants a new one",
                    _ => "failed",
                };
                self.tried.push(format!("password: {why}"));
                Ok(Answer::Perhaps)
            }
            Err(halt) => {
                self.tried.push("password".to_owned());
                Err(self.broken(halt, "trying the password"))
            }
        }
    }

    fn by_questions(&mut self) -> Result<Answer, Refusal> {
        let Some(secret) = self.secret()? else {
            return Ok(Answer::No);
        };
        let mut answers = Answers::new(secret);
        let login = &self.dial.target.login;
        let answer = self.attempt(|| {
            self.wire
                .session
                .userauth_keyboard_interactive(login, &mut answers)
        });
        match answer {
            Ok(Ok(())) => Ok(self.by("password, asked for by keyboard-interactive")),
            Ok(Err(_)) => {
                self.tried.push("keyboard-interactive: refused".to_owned());
                Ok(Answer::Perhaps)
            }
            Err(halt) => {
                self.tried.push("keyboard-interactive".to_owned());
                Err(self.broken(halt, "answering questions"))
            }
        }
    }

    /// A connection that ended while logging in. A server that hangs up after an attempt has refused it.
    fn broken(&self, halt: Halt, doing: &str) -> Refusal {
        let target = &self.dial.target;
        let place = format!("{}@{}", target.login, super::dial::place(self.dial));
        Refusal::Fault(match halt {
            Halt::Stopped => stopped(),
            Halt::TimedOut(limit) => Fault::unreachable(format!(
                "{place}: no answer within {} s (connect_timeout) while {doing}",
                limit.as_secs()
            )),
            Halt::Ssh(error) if self.tried.is_empty() => Fault::unreachable(format!(
                "{place}: the connection ended before the login: {}",
                error.message()
            )),
            Halt::Ssh(error) if self.wire.was_reset() => Fault::transient(format!(
                "{place}: the connection was lost while {doing}: {}",
                error.message()
            )),
            Halt::Ssh(error) => Fault::denied(format!(
                "{place}: the server hung up while {doing} ({}); tried {}",
                error.message(),
                self.tried.join(", ")
            )),
        })
    }

    fn denied(&self, offered: &[String]) -> Fault {
        let target = &self.dial.target;
        let tried = if self.tried.is_empty() {
            "nothing that it offers".to_owned()
        } else {
            self.tried.join(", ")
        };
        Fault::denied(format!(
            "login as {} refused by {}: tried {tried}; the server offers {}",
            target.login,
            super::dial::place(self.dial),
            offered.join(", ")
        ))
    }
}

/// A server that has had enough of keys hangs up as a network that breaks does. No account is locked for keys,
/// so they may be tried again.
fn among_keys(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Fault(fault) if fault.class == FaultClass::Denied => {
            Refusal::CutAmongKeys(Fault::transient(fault.message))
        }
        other => other,
    }
}

fn next_method(offered: &[String], done: &[&str], with_keys: bool) -> Option<&'static str> {
    ["publickey", "password", "keyboard-interactive"]
        .into_iter()
        .find(|method| {
            (with_keys || *method != "publickey")
                && !done.contains(method)
                && offered.iter().any(|one| one == method)
        })
}
