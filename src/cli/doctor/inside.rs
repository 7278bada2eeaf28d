//! The process that looks: by now it is who the hook would be, where the hook would be. Says what it finds in lines of
//! JSON, for the one that started it.

use std::cell::RefCell;
use std::io::Write;
use std::path::Path;

use chrono::{TimeDelta, Utc};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::aims::Only;
use super::check::{Grouped, Teller};
use super::here::{Here, us};
use super::user::User;
use super::{Args, Part, group, hook, targets};
use crate::cli::Globals;
use crate::cli::lines::json_line;
use crate::cli::setup::Setup;
use crate::config::credentials::CredentialStore;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::transport::StopFlag;

/// Packages since then tell how much room hosts need.
const OF_LATE: TimeDelta = TimeDelta::days(90);

pub(super) fn run(part: Part, args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let stop = StopFlag::default();
    watch(&stop)?;
    let out = RefCell::new(out);
    let tell = |grouped: Grouped| {
        // Whoever started this may have gone; what was begun is ended all the same.
        let _ = json_line(*out.borrow_mut(), &grouped);
    };
    let teller = Teller::new(group(&User::me()), &tell);
    let looks = Looks {
        args,
        globals,
        repository: args.repository.as_deref(),
        teller: &teller,
        stop: &stop,
        tell: &tell,
    };
    if let (Some(repository), true) = (looks.repository, part != Part::Work) {
        hook::repository(repository, &teller);
        hook::look(repository, globals.config.as_deref(), &teller);
        if looks.is_all(repository, part) {
            return Ok(0);
        }
    }
    if part != Part::Hook {
        looks.work(part);
    }
    if stop.is_raised() {
        return Ok(ErrorKind::Interrupted.exit_code());
    }
    Ok(0)
}

struct Looks<'a> {
    args: &'a Args,
    globals: &'a Globals,
    repository: Option<&'a Path>,
    teller: &'a Teller<'a>,
    stop: &'a StopFlag,
    tell: &'a dyn Fn(Grouped),
}

impl Looks<'_> {
    /// Whether there is nothing more to look at for this user, who leaves notes for a worker of another one, or whose
    /// settings cannot be read.
    fn is_all(&self, repository: &Path, part: Part) -> bool {
        let about = ("settings", "auto-dispatcher.cfg");
        let setup = match Setup::for_recording(self.globals, repository) {
            Ok(setup) => setup,
            Err(error) => {
                self.teller.error(about, &error);
                return true;
            }
        };
        match setup.incoming_of_others() {
            Ok(None) => false,
            Ok(Some(_)) => {
                let here = Here {
                    setup: &setup,
                    repository: Some(repository),
                    teller: self.teller,
                };
                here.incoming(false);
                if part == Part::Both {
                    let why = "a worker of another user takes up what this one leaves; what it needs was not tried";
                    let mend = "sudo auto-dispatcher doctor ...".to_owned();
                    self.teller.warn(("worker", "incoming"), why, Some(mend));
                }
                true
            }
            Err(error) => {
                self.teller.error(("incoming", "incoming"), &error);
                true
            }
        }
    }

    fn work(&self, part: Part) {
        let setup = match Setup::new(self.globals, self.repository, false) {
            Ok(setup) => setup,
            Err(error) => {
                return self
                    .teller
                    .error(("settings", "auto-dispatcher.cfg"), &error);
            }
        };
        let here = Here {
            setup: &setup,
            repository: self.repository,
            teller: self.teller,
        };
        let has_rules = here.configuration(self.globals.config.is_some());
        here.svnlook();
        let (state, journal) = here.state().unzip();
        here.clock(state.as_ref());
        here.log(state.as_ref());
        if let Some(state) = &state {
            here.worker(state);
        }
        here.incoming(part == Part::Work || setup.settings.incoming.is_some());
        if self.args.local || !has_rules || self.stop.is_raised() {
            return;
        }
        let Ok(store) = CredentialStore::load(&setup.places, setup.home.clone()) else {
            let why = "not tried: the configuration has mistakes";
            return self.teller.warn(
                ("targets", "rules"),
                why,
                Some(format!("{} check", us(&setup))),
            );
        };
        let known_hosts = setup.state_path().map(|path| path.join("known_hosts"));
        let only = Only {
            host: self.args.host.clone(),
            rule: self.args.rule.clone(),
        };
        let largest = journal.flatten().map_or(0, |journal: Journal| {
            journal.largest_package(Utc::now() - OF_LATE).unwrap_or(0)
        });
        let looked = known_hosts.and_then(|known_hosts| {
            targets::look(
                (&setup, &store),
                &only,
                &known_hosts,
                largest,
                self.stop,
                self.tell,
            )
        });
        if let Err(error) = looked {
            self.teller.error(("targets", "rules"), &error);
        }
    }
}

/// A signal ends what is under way: each target's trial is taken away, nothing more is begun.
fn watch(stop: &StopFlag) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Error::state(format!("cannot watch for signals: {error}")))?;
    let stop = stop.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                stop.raise();
            }
        })
        .map(|_| ())
        .map_err(|error| Error::state(format!("cannot start the signal thread: {error}")))
}
