//! Which hosts the rules reach, each once: what is tried at them, and all directories and commands that they are for.

use crate::config::credentials::{CredentialStore, Described};
use crate::domain::rule::RuleTerms;
use crate::domain::target::{ConnectionTerms, Target};

/// Stands for the stamp of a batch in the directory that rules have by default.
const STAMPED: &str = "~/newcx/00000000_000000";

/// One directory of a target, and the rule that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub rule: String,
    pub line: usize,
    pub dest_dir: String,
    /// Whether an install command is run there.
    pub installs: bool,
}

/// A target, reached once.
#[derive(Debug, Clone)]
pub(super) struct Aim {
    /// `login@host`, ports where they are unusual.
    pub lane: String,
    pub target: Target,
    pub terms: ConnectionTerms,
    /// The rule whose credentials are used.
    pub rule: String,
    pub known: Described,
    pub places: Vec<Place>,
}

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Only {
    pub host: Option<String>,
    pub rule: Option<String>,
}

/// The targets of all rules that can serve, in the order of the file. One whose login nobody knows has an empty one.
pub(super) fn aims(store: &CredentialStore, only: &Only) -> Vec<Aim> {
    let mut aims: Vec<Aim> = Vec::new();
    for rule in &store.rules().set.rules {
        let Ok(terms) = &rule.terms else { continue };
        if only.rule.as_ref().is_some_and(|name| *name != rule.name) {
            continue;
        }
        for host in &terms.hosts {
            if only
                .host
                .as_ref()
                .is_some_and(|name| !name.eq_ignore_ascii_case(host))
            {
                continue;
            }
            let known = store.describe(&rule.name, host);
            let target = target(terms, host, known.login.clone().unwrap_or_default());
            let place = Place {
                rule: rule.name.clone(),
                line: rule.line,
                dest_dir: terms.dest_dir.clone().unwrap_or_else(|| STAMPED.to_owned()),
                installs: terms.service.install_command.is_some(),
            };
            let lane = target.lane();
            let same = |aim: &&mut Aim| aim.lane == lane && aim.terms == terms.connection;
            match aims.iter_mut().find(same) {
                Some(aim) => aim.add(place),
                None => aims.push(Aim {
                    lane,
                    target,
                    terms: terms.connection.clone(),
                    rule: rule.name.clone(),
                    known,
                    places: vec![place],
                }),
            }
        }
    }
    aims
}

impl Aim {
    fn add(&mut self, place: Place) {
        match self
            .places
            .iter_mut()
            .find(|known| known.dest_dir == place.dest_dir)
        {
            Some(known) => known.installs |= place.installs,
            None => self.places.push(place),
        }
    }
}

fn target(terms: &RuleTerms, host: &str, login: String) -> Target {
    Target {
        host: host.to_owned(),
        login,
        ssh_port: terms.ssh_port,
        ftp_port: terms.ftp_port,
    }
}
