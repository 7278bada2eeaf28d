//! `trust HOST`: shows the keys of a host beside those on record, and records them on a person's word. Logs in
//! nowhere and looks no password up.

use std::io::{self, IsTerminal as _, Write};

use serde_json::{Value, json};

use super::lines::line_of;
use super::setup::Setup;
use super::{Globals, report};
use crate::config::rules::{self, LoadedRules};
use crate::domain::event::Event;
use crate::domain::fault::Fault;
use crate::domain::secret::Secret;
use crate::domain::target::{ConnectionTerms, Target, TransportKind};
use crate::domain::text::escape;
use crate::error::{Error, ErrorKind, Result};
use crate::transport::ssh::{self, ShownKey, Standing, Survey};
use crate::transport::{Credentials, Dial, StopFlag, Surroundings};

/// Show a host's SSH keys, and record them
///
/// Asks the host for its keys and compares them with those on record. They are recorded when --fingerprint names one
/// of them, when --yes says so, or when a person at a terminal does. A key that has changed is never replaced by --yes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The host, as rules name it
    #[arg(value_name = "HOST")]
    host: String,
    /// The port of its SSH server [default: those of the rules that name the host, else 22]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Record the key with this fingerprint, in the place of one that has changed, too
    #[arg(long, value_name = "SHA256:...", conflicts_with = "yes")]
    fingerprint: Option<String>,
    /// Record what is new without asking
    #[arg(long)]
    yes: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// One SSH server, and where its keys are recorded.
#[derive(Debug, PartialEq)]
struct Place {
    target: Target,
    terms: ConnectionTerms,
}

/// What is to be done about a server's keys.
enum Decision<'a> {
    /// The record accepts the server already.
    Nothing,
    /// Not without another word.
    Refused(String),
    Record {
        keys: Vec<&'a ShownKey>,
        /// What our file has of keys that the server does not show goes.
        replace: bool,
    },
}

/// Nobody logs in.
struct NoCredentials;

impl Credentials for NoCredentials {
    fn password(&self) -> Result<Option<Secret>, Fault> {
        Ok(None)
    }

    fn account(&self) -> Result<Option<Secret>, Fault> {
        Ok(None)
    }
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    rules::check_host(&args.host).map_err(|why| {
        Error::new(ErrorKind::Usage, format!("{}: HOST {why}", args.host))
            .with_hint("a port is given by --port")
    })?;
    let setup = Setup::new(globals, None, true)?;
    // A host may be known before a rule is written; a rules file that was named has to be there.
    let rules = match setup.places.rules() {
        Err(_) if globals.config.is_none() => None,
        Err(error) => return Err(error),
        Ok(path) => Some(rules::load(path, setup.home.as_deref())?),
    };
    let state = setup.state()?;
    let surroundings = setup.surroundings(&state);
    setup.start_logging(&state, true)?;
    let mut code = 0;
    for place in places(args, rules.as_ref()) {
        let mut teller = Teller {
            args,
            out,
            place: &place,
        };
        if !teller.serve(&surroundings)? {
            code = ErrorKind::Delivery.exit_code();
        }
    }
    Ok(code)
}

/// The servers of the host, as rules name them, each with its file once.
fn places(args: &Args, rules: Option<&LoadedRules>) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let reached = rules.into_iter().flat_map(|rules| rules.naming(&args.host));
    for (host, terms) in reached {
        let by_ssh = terms.connection.transports.contains(&TransportKind::Ssh)
            || terms.service.install_command.is_some();
        if !by_ssh || args.port.is_some_and(|port| port != terms.ssh_port) {
            continue;
        }
        let known = places.iter_mut().find(|place| {
            place.target.ssh_port == terms.ssh_port
                && place.terms.known_hosts == terms.connection.known_hosts
        });
        if let Some(place) = known {
            place.terms.old_algorithms |= terms.connection.old_algorithms;
        } else {
            places.push(place(host, terms.ssh_port, terms.connection.clone()));
        }
    }
    if places.is_empty() {
        let port = args.port.unwrap_or(22);
        places.push(place(&args.host, port, ConnectionTerms::default()));
    }
    places
}

fn place(host: &str, ssh_port: u16, terms: ConnectionTerms) -> Place {
    let target = Target {
        host: host.to_owned(),
        login: String::new(),
        ssh_port,
        ftp_port: 21,
    };
    Place { target, terms }
}

/// Serves one server and tells about it.
struct Teller<'a> {
    args: &'a Args,
    out: &'a mut dyn Write,
    place: &'a Place,
}

impl Teller<'_> {
    /// Shows and records; whether the record accepts the server now.
    fn serve(&mut self, surroundings: &Surroundings) -> Result<bool> {
        let dial = Dial {
            target: &self.place.target,
            terms: &self.place.terms,
            credentials: &NoCredentials,
            surroundings,
            tell: Box::new(|_| {}),
            reached: Box::new(|_| {}),
            stop: &StopFlag::default(),
        };
        let survey = match ssh::survey(&dial) {
            Ok(survey) => survey,
            Err(fault) => return self.failed(&fault),
        };
        self.show(&survey)?;
        let (keys, replace) = match self.decide(&survey)? {
            Decision::Nothing => {
                self.end(true, &[], "the keys on record are those that it shows")?;
                return Ok(true);
            }
            Decision::Refused(why) => {
                self.end(false, &[], &why)?;
                return Ok(false);
            }
            Decision::Record { keys, replace } => (keys, replace),
        };
        if let Err(fault) = ssh::record_keys(&dial, &survey, &keys, replace) {
            return self.failed(&fault);
        }
        let listed: Vec<String> = keys
            .iter()
            .map(|key| format!("{} {}", key.key_type, key.fingerprint))
            .collect();
        let note = if keys.is_empty() {
            format!(
                "{} holds no other key of it any more",
                survey.file.display()
            )
        } else {
            let file = survey.file.display();
            format!("recorded in {file}: {}", listed.join(", "))
        };
        report::log_event(&Event::Notice {
            message: format!("trust: host keys of {}: {note}", survey.name),
        });
        self.end(true, &keys, &note)?;
        Ok(true)
    }

    fn decide<'s>(&self, survey: &'s Survey) -> Result<Decision<'s>> {
        let is = |standing: &Standing| survey.shown.iter().any(|key| key.standing == *standing);
        let has_changed = is(&Standing::Changed);
        let is_known = survey.shown.iter().any(ShownKey::is_known);
        let theirs: Vec<&str> = survey
            .missing
            .iter()
            .filter(|key| !key.is_ours)
            .map(|key| key.place.as_str())
            .collect();
        let named = self.args.fingerprint.as_deref();
        let chosen: Vec<&ShownKey> = survey
            .shown
            .iter()
            .filter(|key| named.is_none_or(|named| named == key.fingerprint))
            .collect();
        if let (Some(named), true) = (named, chosen.is_empty()) {
            return Ok(Decision::Refused(format!(
                "nothing was recorded: you named {named}, and it shows {}",
                fingerprints(survey.shown.iter())
            )));
        }
        if let Some(Standing::Revoked(place)) = chosen
            .iter()
            .map(|key| &key.standing)
            .find(|standing| matches!(standing, Standing::Revoked(_)))
            && (named.is_some() || !is_known || has_changed)
        {
            return Ok(Decision::Refused(format!(
                "nothing was recorded: it shows a key that is marked @revoked at {place}"
            )));
        }
        if has_changed && !theirs.is_empty() {
            return Ok(Decision::Refused(format!(
                "nothing was recorded: files that are not ours hold other keys of it: {}. Take them out there first, \
                 say by: ssh-keygen -R '{}' -f FILE",
                theirs.join(", "),
                survey.name
            )));
        }
        let keys: Vec<&ShownKey> = chosen
            .into_iter()
            .filter(|key| matches!(key.standing, Standing::New | Standing::Changed))
            .collect();
        let wanted = Decision::Record {
            keys,
            replace: has_changed,
        };
        if let Decision::Record { keys, .. } = &wanted
            && keys.is_empty()
            && !has_changed
        {
            return Ok(Decision::Nothing);
        }
        if named.is_some() || (self.args.yes && !has_changed) {
            return Ok(wanted);
        }
        if is_known && !has_changed {
            return Ok(Decision::Nothing);
        }
        if !self.args.yes && !self.args.json && asks(survey, has_changed)? {
            return Ok(wanted);
        }
        Ok(Decision::Refused(self.way_out(has_changed)))
    }

    fn way_out(&self, has_changed: bool) -> String {
        let (host, port) = (&self.place.target.host, self.place.target.ssh_port);
        let command = format!("auto-dispatcher trust {host} --port {port}");
        let fingerprint =
            format!("compare it with the host's own, then: {command} --fingerprint SHA256:...");
        if has_changed {
            format!(
                "nothing was recorded: THE KEY HAS CHANGED, somebody may be listening in; {fingerprint}"
            )
        } else {
            format!(
                "nothing was recorded: {fingerprint}, or, to believe it as it is: {command} --yes"
            )
        }
    }

    fn show(&mut self, survey: &Survey) -> Result<()> {
        if !self.args.json {
            let line = format!(
                "{}: known keys are recorded in {}",
                survey.name,
                survey.file.display()
            );
            self.line(&line)?;
            if let Some(place) = &survey.authority {
                let line = format!(
                    "  its certificate authority is known ({place}); certificates are not supported, the plain key counts"
                );
                self.line(&line)?;
            }
        }
        for key in &survey.shown {
            let (standing, place) = match &key.standing {
                Standing::Same(place) => ("same", Some(place)),
                Standing::New => ("new", None),
                Standing::Changed => ("changed", None),
                Standing::Revoked(place) => ("revoked", Some(place)),
            };
            self.key((&key.key_type, &key.fingerprint), standing, place)?;
        }
        for key in &survey.missing {
            let known = (key.key_type.as_str(), key.fingerprint.as_str());
            self.key(known, "missing", Some(&key.place))?;
        }
        Ok(())
    }

    fn key(
        &mut self,
        (key_type, fingerprint): (&str, &str),
        standing: &str,
        place: Option<&String>,
    ) -> Result<()> {
        if self.args.json {
            let key = json!({"key_type": key_type, "fingerprint": fingerprint, "standing": standing, "place": place});
            return self.object(&key);
        }
        let shown = match (standing, place) {
            ("changed", _) => "CHANGED".to_owned(),
            ("revoked", Some(place)) => format!("REVOKED at {place}"),
            ("missing", Some(place)) => format!("on record at {place}, not shown by the host"),
            (standing, Some(place)) => format!("{standing} as at {place}"),
            (standing, None) => standing.to_owned(),
        };
        self.line(&format!("  {key_type:<19} {fingerprint}  {shown}"))
    }

    /// The last line about a server.
    fn end(&mut self, is_trusted: bool, recorded: &[&ShownKey], note: &str) -> Result<()> {
        if self.args.json {
            let recorded: Vec<&str> = recorded
                .iter()
                .map(|key| key.fingerprint.as_str())
                .collect();
            return self
                .object(&json!({"trusted": is_trusted, "recorded": recorded, "note": note}));
        }
        self.line(&format!("  {note}"))
    }

    fn failed(&mut self, fault: &Fault) -> Result<bool> {
        if self.args.json {
            self.object(&json!({"trusted": false, "recorded": [], "note": fault.to_string()}))?;
        } else {
            let name = format!("{}:{}", self.place.target.host, self.place.target.ssh_port);
            self.line(&format!("{name}: {fault}"))?;
        }
        Ok(false)
    }

    /// With the server that it is about.
    fn object(&mut self, about: &Value) -> Result<()> {
        let mut line = json!({"host": self.place.target.host, "port": self.place.target.ssh_port});
        if let (Some(line), Some(about)) = (line.as_object_mut(), about.as_object()) {
            line.extend(about.clone());
        }
        line_of(self.out, &line.to_string())
    }

    fn line(&mut self, text: &str) -> Result<()> {
        line_of(self.out, &escape(text))
    }
}

fn fingerprints<'a>(keys: impl Iterator<Item = &'a ShownKey>) -> String {
    let listed: Vec<&str> = keys.map(|key| key.fingerprint.as_str()).collect();
    listed.join(", ")
}

/// Asks whoever sits at the terminal; nobody else says yes.
fn asks(survey: &Survey, has_changed: bool) -> Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    let question = if has_changed {
        "THE KEY HAS CHANGED: somebody may be listening in. Replace what is on record by what it shows"
    } else {
        "Record what is new"
    };
    let mut err = io::stderr().lock();
    let asked = write!(
        err,
        "{}: {question}? Only after comparing it with the host's own; type yes: ",
        escape(&survey.name)
    )
    .and_then(|()| err.flush());
    let mut answer = String::new();
    asked
        .and_then(|()| io::stdin().read_line(&mut answer))
        .map_err(|error| Error::state(format!("cannot ask at the terminal: {error}")))?;
    Ok(answer.trim() == "yes")
}
