//! Logging in: keys first, and the password only when they did not do. Answers prompts, handles hosts that
//! want several methods, and says what was tried when all is refused.

use std::cell::Cell;
use std::time::Duration;

use super::answers::Answers;
use super::dial::stopped;
use super::wire::{Code, Halt, Wire, code, is_lost};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::secret::Secret;
use crate::transport::{Dial, Stage};

mod keys;

/// Each refused key counts against the server's `MaxAuthTries` (6), and the password needs its turn.
const MAX_KEYS: usize = 4;

/// The method of keys.
const KEYS: &str = "publickey";

/// In which order a login tries what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// The key that the rule names, before the server is asked what it takes, which would cost a round trip.
    NamedKeyFirst,
    /// The server is asked first.
    AskingFirst,
    /// By password alone.
    PasswordAlone,
}

/// How a login that failed ended.
pub(super) enum Refusal {
    /// Finally.
    Fault(Fault),
    /// The server hung up while keys were tried; another connection may try the password alone.
    CutAmongKeys(Fault),
    /// It hung up before it had answered anything; another connection may ask first.
    CutUnheard(Fault),
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
    /// Something was tried that the server may have refused.
    is_attempted: Cell<bool>,
    /// The server has answered something.
    is_heard: Cell<bool>,
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
            is_attempted: Cell::new(false),
            is_heard: Cell::new(false),
            is_named_tried: false,
            encrypted: None,
            password: None,
        }
    }

    /// Logs in.
    pub(super) fn run(mut self, manner: Manner) -> Result<(), Refusal> {
        // Each turn takes a method out: a server that wants several offers the rest.
        let mut done: Vec<&str> = Vec::new();
        if manner == Manner::NamedKeyFirst {
            let mut answer = self.named_key()?;
            if self.is_attempted.get() {
                // To ask now counts as one more failure: the other keys come first.
                if matches!(answer, Answer::No) {
                    answer = self.keys()?;
                }
                if matches!(answer, Answer::In) {
                    return Ok(());
                }
                done.push(KEYS);
            }
        }
        let mut offered = match self.methods() {
            Ok(Some(offered)) => offered,
            Ok(None) => return Ok(()),
            Err(cut) if self.is_attempted.get() && !self.dial.stop.is_raised() => {
                return Err(among_keys(cut));
            }
            Err(refusal) => return Err(refusal),
        };
        let with_keys = manner != Manner::PasswordAlone;
        for _ in 0..3 {
            let Some(method) = next_method(&offered, &done, with_keys) else {
                break;
            };
            done.push(method);
            let answer = match method {
                KEYS => self.keys()?,
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
                Err(cut) if method == KEYS => return Err(among_keys(cut)),
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
            Ok(methods) => {
                self.is_heard.set(true);
                Ok(Some(methods.split(',').map(str::to_owned).collect()))
            }
            Err(_) if self.wire.session.authenticated() => Ok(None),
            Err(halt) => Err(self.broken(halt, "asking for the login methods")),
        }
    }

    /// Tries a method; an error is a connection that ended.
    fn attempt(
        &self,
        operation: impl FnMut() -> Result<(), ssh2::Error>,
    ) -> Result<Result<(), ssh2::Error>, Halt> {
        self.is_attempted.set(true);
        match self.wire.run(self.limit, operation) {
            Ok(()) => Ok(Ok(())),
            Err(Halt::Ssh(error)) if !is_lost(&error) => Ok(Err(error)),
            Err(halt) => Err(halt),
        }
    }

    /// Says what let us in.
    fn by(&self, what: &str) -> Answer {
        (self.dial.reached)(Stage::LoggedIn(what.to_owned()));
        Answer::In
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
            Halt::Ssh(error) if !self.is_attempted.get() => Fault::unreachable(format!(
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
    [KEYS, "password", "keyboard-interactive"]
        .into_iter()
        .find(|method| {
            (with_keys || *method != KEYS)
                && !done.contains(method)
                && offered.iter().any(|one| one == method)
        })
}
