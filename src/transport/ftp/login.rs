//! Logging in as Python's ftplib does (`USER`, then `PASS` and `ACCT` only when they are asked for), and what
//! a session needs to know afterwards.

use crate::domain::fault::Fault;
use crate::domain::secret::Secret;
use crate::transport::{Dial, Stage};

use super::path;
use super::reply::{Features, Reply, quoted_path};
use super::wire::Wire;

/// What is known after the login.
#[derive(Debug)]
pub(super) struct Welcome {
    /// What `FEAT` lists.
    pub(super) features: Features,
    /// The login's home, as `PWD` gives it.
    pub(super) home: Option<String>,
}

/// Logs in and makes transfers binary.
pub(super) fn login(wire: &mut Wire, dial: &Dial<'_>) -> Result<Welcome, Fault> {
    authenticate(wire, dial)?;
    let limit = wire.limits().connect;
    let features = Features::parse(&wire.ask_within(limit, "FEAT", "FEAT")?);
    if features.has("UTF8") {
        // A refusal changes nothing: names go as UTF-8 in any case.
        wire.ask_within(limit, "OPTS UTF8", "OPTS UTF8 ON")?;
    }
    let binary = wire.ask_within(limit, "TYPE I", "TYPE I")?;
    if !binary.is_done() {
        return Err(Fault::unsupported(format!(
            "{} has no binary transfers: it answers TYPE I with \"{}\"",
            wire.peer(),
            binary.quote()
        )));
    }
    let home = wire.ask_within(limit, "PWD", "PWD")?;
    let home = (home.code == 257).then(|| quoted_path(&home)).flatten();
    let home = home.filter(|home| path::is_plausible(home));
    Ok(Welcome { features, home })
}

fn authenticate(wire: &mut Wire, dial: &Dial<'_>) -> Result<(), Fault> {
    let login = &dial.target.login;
    let limit = wire.limits().connect;
    let mut by = "its name alone";
    let mut reply = wire.ask_within(limit, "USER", &format!("USER {login}"))?;
    if reply.wants_more() && reply.code != 332 {
        let Some(password) = password(dial)? else {
            return Err(Fault::denied(format!(
                "{login} at {} needs a password and none is configured: give one in the rule (`password`, \
                 `password_command`) or in netrc",
                wire.peer()
            )));
        };
        check_secret("password", &password)?;
        reply = wire.ask_secret("PASS", "PASS", &password)?;
        by = "password";
    }
    if reply.wants_more() {
        let Some(account) = dial.credentials.account()? else {
            return Err(Fault::denied(format!(
                "{} asks for an account after the login of {login} (\"{}\"): set `account` in the rule or in netrc",
                wire.peer(),
                reply.quote()
            )));
        };
        check_secret("account", &account)?;
        reply = wire.ask_secret("ACCT", "ACCT", &account)?;
        by = "password and account";
    }
    if reply.is_done() {
        (dial.reached)(Stage::LoggedIn(by.to_owned()));
        Ok(())
    } else {
        Err(refused(wire, login, &reply))
    }
}

/// The password; an anonymous login without one says what everybody says.
fn password(dial: &Dial<'_>) -> Result<Option<Secret>, Fault> {
    let password = dial.credentials.password()?;
    if password.is_none() && matches!(dial.target.login.as_str(), "anonymous" | "ftp") {
        return Ok(Some(Secret::new("anonymous@".to_owned())));
    }
    Ok(password)
}

fn check_secret(what: &str, secret: &Secret) -> Result<(), Fault> {
    if secret.expose().contains(['\r', '\n', '\0']) {
        return Err(Fault::denied(format!(
            "the {what} holds a line break or NUL, which FTP cannot carry: nothing was sent"
        )));
    }
    Ok(())
}

fn refused(wire: &Wire, login: &str, reply: &Reply) -> Fault {
    let what = format!("the login of {login} at {}", wire.peer());
    match reply.code {
        // A wrong command rather than a wrong password; vsftpd's "500 OOPS" is trouble of its own.
        500..=504 => reply.refusal(&what),
        430 | 500..=599 => Fault::denied(format!(
            "{} refuses the login of {login}: \"{}\"",
            wire.peer(),
            reply.quote()
        )),
        _ => reply.refusal(&what),
    }
}
