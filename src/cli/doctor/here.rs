//! The checks of what a worker needs on this machine: configuration, svnlook, clock, log, and that somebody works. Changes nothing that a hook or a worker would not.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use chrono::{Datelike as _, TimeDelta, Utc};
use rustix::fs::Access;

use super::check::Teller;
use super::hook::may;
use crate::cli::check;
use crate::cli::setup::Setup;
use crate::config::logger;
use crate::config::review::Review;
use crate::domain::log_settings::SinkKind;
use crate::domain::text::shell_quote;
use crate::error::Error;
use crate::source::incoming::Incoming;
use crate::source::svnlook::{Svnlook, trial};
use crate::state_dir::StateDir;
use crate::worker::presence;

/// No clock that is right shows an earlier year.
const YEAR_MIN: i32 = 2025;
const YEAR_MAX: i32 = 2100;

pub(super) fn quoted(path: &Path) -> String {
    shell_quote(&path.to_string_lossy())
}

/// How this program is called so that it finds the same configuration, for commands to copy.
pub(super) fn us(setup: &Setup) -> String {
    format!(
        "auto-dispatcher --config {}",
        quoted(&setup.places.anchor())
    )
}

/// What the checks are about.
pub(super) struct Here<'a> {
    pub setup: &'a Setup,
    pub repository: Option<&'a Path>,
    pub teller: &'a Teller<'a>,
}

impl Here<'_> {
    /// Every file of the configuration, as `check` sees it; false where rules are not to be had.
    pub(super) fn configuration(&self, named: bool) -> bool {
        let places = &self.setup.places;
        let rules = match places.rules() {
            Ok(rules) => rules.to_owned(),
            Err(error) => {
                self.teller.error(("configuration", "rules"), &error);
                return false;
            }
        };
        let beside = self.repository.map(|repository| repository.join("conf"));
        let how = if named {
            "named by --config"
        } else if std::env::var_os("AUTO_DISPATCHER_CONFIG").is_some() {
            "named by AUTO_DISPATCHER_CONFIG"
        } else if rules.parent() == beside.as_deref() {
            "found in the repository's conf"
        } else {
            "the machine's"
        };
        let files = [&places.settings, &places.logger];
        let files: Vec<String> = files
            .into_iter()
            .chain(&places.netrc)
            .filter(|path| path.exists())
            .map(|path| path.display().to_string())
            .collect();
        let with = if files.is_empty() {
            "nothing".to_owned()
        } else {
            files.join(", ")
        };
        let shown = rules.to_string_lossy();
        self.teller.ok(
            ("configuration", &shown),
            format!("{shown} ({how}), with {with}"),
        );
        let Review {
            mistakes, warnings, ..
        } = check::findings(places, &rules, self.setup.home.clone());
        for (findings, is_mistake) in [(mistakes, true), (warnings, false)] {
            for finding in findings {
                let text = finding.to_string();
                let (detail, mend) = match text.split_once("; mend it with: ") {
                    Some((detail, mend)) => (detail.to_owned(), Some(mend.to_owned())),
                    None => (text, None),
                };
                let subject = finding.file.to_string_lossy().into_owned();
                let about = ("configuration", subject.as_str());
                if is_mistake {
                    self.teller.fail(about, detail, mend);
                } else {
                    self.teller.warn(about, detail, mend);
                }
            }
        }
        true
    }

    /// svnlook: there, runs, names come through, the repository can be read.
    pub(super) fn svnlook(&self) {
        let program = match self.setup.svnlook_program() {
            Ok(program) => program,
            Err(error) => return self.teller.error(("svnlook", "svnlook"), &error),
        };
        let shown = program.to_string_lossy().into_owned();
        let about = ("svnlook", shown.as_str());
        let ran = std::process::Command::new(&program)
            .args(["--version", "-q"])
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/")
            .output();
        match ran {
            Err(error) => {
                let mend =
                    "install Subversion, or name the program by `svnlook` in auto-dispatcher.cfg";
                return self.teller.fail(
                    about,
                    format!("{shown} cannot be run: {error}"),
                    Some(mend.to_owned()),
                );
            }
            Ok(ran) if !ran.status.success() => {
                let said = String::from_utf8_lossy(&ran.stderr)
                    .trim()
                    .replace('\n', "; ");
                return self.teller.fail(
                    about,
                    format!("{shown} does not work: {said} ({})", ran.status),
                    None,
                );
            }
            Ok(ran) => {
                let version = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
                self.teller.ok(about, format!("{shown}, version {version}"));
            }
        }
        self.names(&program);
        let Some(repository) = self.repository else {
            return;
        };
        let subject = repository.to_string_lossy();
        let about = ("svnlook reads", subject.as_ref());
        let opened = Svnlook::new(program).repository(repository);
        match opened.and_then(|opened| Ok((opened.uuid().to_owned(), opened.youngest()?))) {
            Ok((uuid, youngest)) => {
                self.teller
                    .ok(about, format!("UUID {uuid}, youngest r{youngest}"));
            }
            Err(error) => self.teller.error(about, &error),
        }
    }

    fn names(&self, program: &Path) {
        let about = ("locale", "svnlook");
        let svnadmin = self.setup.svnadmin_program(program);
        if !svnadmin.is_file() {
            let why = format!(
                "not tried: there is no {}, without which packages are exported one by one, too",
                svnadmin.display()
            );
            return self.teller.warn(about, why, None);
        }
        let tried = tempfile::tempdir()
            .map_err(|error| Error::state(format!("cannot make a scratch directory: {error}")))
            .and_then(|scratch| trial::names_come_through(program, &svnadmin, scratch.path()));
        match tried {
            Ok(()) => {
                let what = format!("C.UTF-8: {} comes through as it is", trial::TRIAL_PATH);
                self.teller.ok(about, what);
            }
            Err(error) => self.teller.error(about, &error),
        }
    }

    /// The clock, as far as this machine can tell.
    pub(super) fn clock(&self, state: Option<&StateDir>) {
        let now = Utc::now();
        let shown = now.format("%Y-%m-%d %H:%M:%S UTC").to_string();
        let about = ("clock", "this machine");
        let mend = || Some("timedatectl set-ntp true".to_owned());
        let journal = state.and_then(|state| state.journal().metadata().ok()?.modified().ok());
        let ahead = journal.is_some_and(|changed| {
            chrono::DateTime::<Utc>::from(changed) > now + TimeDelta::minutes(1)
        });
        if !(YEAR_MIN..YEAR_MAX).contains(&now.year()) {
            self.teller.fail(about, format!("it says {shown}"), mend());
        } else if ahead {
            self.teller.warn(
                about,
                format!(
                    "it says {shown}, and the journal was written later than that: it was set back"
                ),
                mend(),
            );
        } else {
            self.teller.ok(about, shown);
        }
    }

    /// Where lines are logged.
    pub(super) fn log(&self, state: Option<&StateDir>) {
        let directory = state.map_or_else(
            || self.setup.state_path().unwrap_or_default(),
            |state| state.path().to_owned(),
        );
        // Mistakes are told with the configuration.
        let told = logger::load(&self.setup.places.logger, &directory)
            .ok()
            .flatten();
        let logging = told.map_or_else(|| logger::standard(&directory), |(told, _)| told);
        for sink in &logging.sinks {
            let SinkKind::File(file) = &sink.kind else {
                continue;
            };
            let shown = file.path.to_string_lossy().into_owned();
            let about = ("log", shown.as_str());
            let (place, access) = if file.path.exists() {
                (file.path.as_path(), Access::WRITE_OK)
            } else {
                (nearest(&file.path), Access::WRITE_OK | Access::EXEC_OK)
            };
            if may(place, access) {
                self.teller.ok(about, shown.clone());
            } else {
                let why = format!("this user cannot write to {}", place.display());
                let user = rustix::process::geteuid().as_raw();
                self.teller
                    .fail(about, why, Some(format!("chown {user} {}", quoted(place))));
            }
        }
    }

    /// Whether somebody works.
    pub(super) fn worker(&self, state: &StateDir) {
        let shown = state.path().to_string_lossy().into_owned();
        let about = ("worker", shown.as_str());
        match presence::a_worker_lives(state) {
            Err(error) => self.teller.error(about, &error),
            Ok(true) => self.teller.ok(about, "one lives"),
            Ok(false) => {
                if let Some(why) = presence::last_failure(state) {
                    let why = format!("the last one that a hook started could not work: {why}");
                    self.teller.fail(
                        about,
                        why,
                        Some(format!("{} worker --until-idle", us(self.setup))),
                    );
                } else if self.setup.settings.incoming.is_some() {
                    let why = "none lives: what other users' hooks leave in `incoming` waits for the service";
                    self.teller.warn(
                        about,
                        why,
                        Some("systemctl start auto-dispatcher".to_owned()),
                    );
                } else {
                    self.teller.ok(about, "none lives; this program starts here as this user, so the next commit starts one");
                }
            }
        }
    }

    /// Where hooks of other users leave notes.
    pub(super) fn incoming(&self, is_the_workers: bool) {
        let Some(path) = &self.setup.settings.incoming else {
            return;
        };
        let shown = path.to_string_lossy().into_owned();
        let about = ("incoming", shown.as_str());
        match Incoming::open(path) {
            Err(error) if is_the_workers => {
                let why = format!("{}; the service makes it when it starts", error.message);
                self.teller.warn(
                    about,
                    why,
                    Some("systemctl start auto-dispatcher".to_owned()),
                );
            }
            Err(error) => self.teller.error(about, &error),
            Ok(_) if !may(path, Access::WRITE_OK | Access::EXEC_OK) => {
                let mend = Some(format!("chmod 1733 {}", quoted(path)));
                self.teller.fail(
                    about,
                    format!("this user cannot leave a note in {shown}"),
                    mend,
                );
            }
            Ok(found) => self
                .teller
                .ok(about, format!("{shown}, of uid {}", found.owner())),
        }
    }
}

/// The nearest directory above that is there.
pub(super) fn nearest(path: &Path) -> &Path {
    path.ancestors()
        .skip(1)
        .find(|above| above.is_dir())
        .unwrap_or(Path::new("/"))
}

/// Whose worker takes up what hooks leave in `incoming`.
pub(super) fn owner_of_incoming(setup: &Setup) -> Option<(u32, PathBuf)> {
    let path = setup.settings.incoming.clone()?;
    let owner = Incoming::open(&path).ok()?.owner();
    is_entitled(setup, owner).then_some((owner, path))
}

/// Whether the configuration is that user's, or root's: nobody else has root run what it says as somebody.
pub(super) fn is_entitled(setup: &Setup, uid: u32) -> bool {
    let rules = setup.places.rules().ok();
    let files = rules.into_iter().chain([setup.places.settings.as_path()]);
    files
        .filter_map(|file| file.metadata().ok())
        .all(|found| found.uid() == uid || found.uid() == 0)
}
