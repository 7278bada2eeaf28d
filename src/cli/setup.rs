//! From what was typed, the files and the environment to plain values: the one place where they meet.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::{Globals, report};
use crate::config::finding::{Finding, Mistakes};
use crate::config::locate::{Environment, Places, Request, locate};
use crate::config::logger;
use crate::config::notifiers::secrets::SecretPlaces;
use crate::config::settings::{self, Settings};
use crate::domain::event::Event;
use crate::domain::log_settings::{LogSettings, Sink, SinkKind};
use crate::domain::notice::message::word;
use crate::domain::notice::notifier::Notifier;
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::source::incoming::Incoming;
use crate::source::svnlook::Svnlook;
use crate::spool::Spool;
use crate::state_dir::StateDir;
use crate::transport::{StopFlag, Surroundings, Traffic};
use crate::worker::configurations::Configurations;
use crate::worker::parking::Parking;
use crate::worker::tellers::Telling;
use crate::worker::underway::Board;
use crate::worker::{Context, Exports, Notes, Pulse, Wake};

/// Where the state lies unless auto-dispatcher.cfg says otherwise.
const SYSTEM_STATE_DIR: &str = "/var/lib/auto-dispatcher";
/// Where svnlook is looked for.
const SVNLOOK_PLACES: [&str; 3] = [
    "/usr/bin/svnlook",
    "/usr/local/bin/svnlook",
    "/opt/subversion/bin/svnlook",
];

/// Places and settings of one run.
pub(super) struct Setup {
    /// Where the files are.
    pub places: Places,
    /// auto-dispatcher.cfg.
    pub settings: Settings,
    /// HOME, or that of the password database.
    pub home: Option<PathBuf>,
    environment: Environment,
    /// What was named on the command line.
    named: Request,
    /// One for the whole run: what it has written it need not read again.
    spool: OnceLock<Spool>,
}

fn owner_of(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|metadata| metadata.uid())
}

fn is_mine(path: &Path) -> bool {
    owner_of(path) == Some(rustix::process::geteuid().as_raw())
}

pub(super) fn environment() -> Environment {
    Environment {
        home: std::env::home_dir().filter(|home| home.is_absolute()),
        ..environment_without_passwords()
    }
}

/// The same without a question to the password database: where `$HOME` is not set there is no home.
fn environment_without_passwords() -> Environment {
    let path = |name| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    Environment {
        config: path("AUTO_DISPATCHER_CONFIG"),
        home: path("HOME").filter(|home| home.is_absolute()),
        cwd: std::env::current_dir().ok(),
    }
}

/// Where the files are, for commands that look at the configuration alone; and the home.
pub(super) fn places(globals: &Globals) -> (Places, Option<PathBuf>) {
    let environment = environment();
    let request = Request {
        config: globals.config.clone(),
        netrc: globals.netrc.clone(),
        repository: None,
        typed: true,
    };
    (locate(&request, &environment), environment.home)
}

impl Setup {
    /// Finds the files and reads the settings. `typed`: a person typed the command.
    pub(super) fn new(globals: &Globals, repository: Option<&Path>, typed: bool) -> Result<Self> {
        let asked = (repository, typed);
        Self::with(globals, asked, environment(), |path, home| {
            settings::load(path, home)
        })
    }

    /// The same for the hook, which only needs to know where to record: other mistakes in the settings must
    /// not keep a revision from being recorded.
    pub(super) fn for_recording(globals: &Globals, repository: &Path) -> Result<Self> {
        let found_in = |environment| {
            Self::with(
                globals,
                (Some(repository), false),
                environment,
                settings::for_recording,
            )
        };
        // The password database may lie on another machine: it is asked only where something hangs on it.
        match found_in(environment_without_passwords()) {
            Ok(setup) if setup.state_path().is_ok() => Ok(setup),
            _ => found_in(environment()),
        }
    }

    fn with(
        globals: &Globals,
        (repository, typed): (Option<&Path>, bool),
        environment: Environment,
        load: impl FnOnce(&Path, Option<&Path>) -> Result<Settings, Mistakes>,
    ) -> Result<Self> {
        let request = Request {
            config: globals.config.clone(),
            netrc: globals.netrc.clone(),
            repository: repository.map(Path::to_owned),
            typed,
        };
        let places = locate(&request, &environment);
        let settings = load(&places.settings, environment.home.as_deref())?;
        Ok(Self {
            places,
            settings,
            home: environment.home.clone(),
            environment,
            named: Request {
                repository: None,
                typed: false,
                ..request
            },
            spool: OnceLock::new(),
        })
    }

    /// The spool of this state directory.
    pub(super) fn spool(&self, state: &StateDir) -> Result<Spool> {
        if let Some(spool) = self.spool.get() {
            return Ok(spool.clone());
        }
        let spool = Spool::open(&state.spool(), self.settings.spool_max_bytes)?;
        Ok(self.spool.get_or_init(|| spool).clone())
    }

    /// The state directory, made if it is missing.
    pub(super) fn state(&self) -> Result<StateDir> {
        StateDir::open(&self.state_path()?)
    }

    /// Where the state directory is, whether or not it is there.
    pub(super) fn state_path(&self) -> Result<PathBuf> {
        if let Some(path) = &self.settings.state_dir {
            return Ok(path.clone());
        }
        let system = Path::new(SYSTEM_STATE_DIR);
        if is_mine(system) || (!system.exists() && rustix::process::geteuid().is_root()) {
            return Ok(system.to_owned());
        }
        let home = self.home.as_ref().ok_or_else(|| {
            Error::state(format!(
                "no state directory: {SYSTEM_STATE_DIR} is not ours, and there is no home"
            ))
            .with_hint("name one by `state_dir` in auto-dispatcher.cfg")
        })?;
        Ok(home.join(".local/state/auto-dispatcher"))
    }

    /// Where this process leaves a note instead of recording: it runs as another user than the worker. None: it
    /// records.
    pub(super) fn incoming_of_others(&self) -> Result<Option<Incoming>> {
        let Some(path) = &self.settings.incoming else {
            return Ok(None);
        };
        let named = self.settings.state_dir.as_deref();
        let state = named.unwrap_or(Path::new(SYSTEM_STATE_DIR));
        match Incoming::open(path) {
            Ok(incoming) if incoming.is_ours() => Ok(None),
            Ok(incoming) => {
                // Whoever owns it can remove what is left there.
                let owner = owner_of(state).unwrap_or(incoming.owner());
                if owner != incoming.owner() {
                    return Err(Error::state(format!(
                        "{} belongs to uid {}, and the state directory {} to uid {owner}: nothing is left there",
                        path.display(),
                        incoming.owner(),
                        state.display()
                    ))
                    .with_hint("give both to the user of the worker"));
                }
                Ok(Some(incoming))
            }
            // The worker was never started; its own user needs no note.
            Err(_) if is_mine(state) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a worker that serves everybody has to know to take up notes.
    fn notes(&self) -> Option<Notes> {
        Some(Notes {
            directory: self.settings.incoming.clone()?,
            repositories: self.settings.repositories.clone(),
            environment: self.environment.clone(),
            request: self.named.clone(),
        })
    }

    /// What it takes to tell people.
    pub(super) fn telling(&self) -> Telling {
        let notifiers = &self.settings.notifiers;
        let host_name = || {
            let system = rustix::system::uname();
            system.nodename().to_string_lossy().into_owned()
        };
        let netrc = self.places.netrc.clone();
        Telling {
            subscriptions: notifiers.iter().map(Notifier::subscription).collect(),
            site: self.settings.site.clone().unwrap_or_else(host_name),
            program: if self.places.are_standard() {
                "auto-dispatcher".to_owned()
            } else {
                let rules = self.places.anchor();
                format!(
                    "auto-dispatcher --config {}",
                    word(&rules.to_string_lossy())
                )
            },
            secrets: SecretPlaces {
                home: self.home.clone(),
                netrc: netrc.map(|path| (path, self.places.netrc_is_named)),
            },
        }
    }

    /// Absolute path of svnlook.
    pub(super) fn svnlook_program(&self) -> Result<PathBuf> {
        if let Some(program) = &self.settings.svnlook {
            return Ok(program.clone());
        }
        SVNLOOK_PLACES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .ok_or_else(|| {
                Error::source(format!(
                    "svnlook is in none of {}",
                    SVNLOOK_PLACES.join(", ")
                ))
                .with_hint(
                    "install Subversion, or name the program by `svnlook` in auto-dispatcher.cfg",
                )
            })
    }

    /// Path of svnadmin, which need not be there.
    pub(super) fn svnadmin_program(&self, svnlook: &Path) -> PathBuf {
        let named = self.settings.svnadmin.clone();
        named.unwrap_or_else(|| svnlook.with_file_name("svnadmin"))
    }

    /// The state directory and its journal, for commands that only look.
    pub(super) fn look(&self) -> Result<(StateDir, Journal)> {
        let state = StateDir::look(&self.state_path()?)?;
        let journal = Journal::open(&state.journal())?;
        Ok((state, journal.telling(&self.telling().subscriptions)))
    }

    /// Installs the logger: what is logged goes where logger.cfg says. Without one, the log file, and for a
    /// worker stderr; a foreground command says what it does itself then. Returns whether it is to.
    pub(super) fn start_logging(&self, state: &StateDir, foreground: bool) -> Result<bool> {
        let told = logger::load(&self.places.logger, state.path())?;
        let (told, odd) = told.unzip();
        self.install_logger(told, &odd.unwrap_or_default(), state, foreground)
    }

    /// The same for a worker whose stderr nobody sees: it logs by the standard settings where logger.cfg
    /// has mistakes, and logs those.
    pub(super) fn start_logging_anyhow(&self, state: &StateDir) -> Result<()> {
        let told = logger::load(&self.places.logger, state.path());
        let (told, mistakes) = match told {
            Ok(told) => (told, None),
            Err(mistakes) => (None, Some(mistakes.to_string())),
        };
        let (told, odd) = told.unzip();
        self.install_logger(told, &odd.unwrap_or_default(), state, false)?;
        if let Some(message) = mistakes {
            report::log_event(&Event::Notice {
                message: format!("{message}; until it is mended, this is the standard log"),
            });
        }
        Ok(())
    }

    fn install_logger(
        &self,
        told: Option<LogSettings>,
        odd: &[Finding],
        state: &StateDir,
        foreground: bool,
    ) -> Result<bool> {
        let speaks = |sink: &Sink| matches!(sink.kind, SinkKind::Stderr | SinkKind::Stdout);
        let logging = told.unwrap_or_else(|| {
            let mut standard = logger::standard(state.path());
            standard.sinks.retain(|sink| !(foreground && speaks(sink)));
            standard
        });
        crate::logging::install(&logging)?;
        for warning in self.settings.warnings.iter().chain(odd) {
            report::log_event(&Event::Notice {
                message: warning.to_string(),
            });
        }
        Ok(foreground && !logging.sinks.iter().any(speaks))
    }

    /// What this machine contributes to logins.
    pub(super) fn surroundings(&self, state: &StateDir) -> Surroundings {
        self.surroundings_of(state.known_hosts())
    }

    /// The same with another file of accepted keys.
    pub(super) fn surroundings_of(&self, own_known_hosts: PathBuf) -> Surroundings {
        let home = self.home.clone();
        let mut other_known_hosts = vec![PathBuf::from("/etc/ssh/ssh_known_hosts")];
        other_known_hosts.extend(home.as_ref().map(|home| home.join(".ssh/known_hosts")));
        Surroundings {
            agent_socket: std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from),
            own_known_hosts,
            other_known_hosts,
            home,
            traffic: Traffic::default(),
        }
    }

    /// The journal as a dry run may look at it, where there is one: nothing is made.
    pub(super) fn peek(&self) -> Result<Option<(StateDir, Journal)>> {
        let Some(state) = StateDir::peek(&self.state_path()?)? else {
            return Ok(None);
        };
        if !state.journal().exists() {
            return Ok(None);
        }
        let journal = Journal::peek(&state.journal())?;
        Ok(Some((state, journal)))
    }

    /// Everything that a worker needs. `report` hears of events after the log has.
    pub(super) fn context(
        &self,
        state: StateDir,
        report: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Arc<Context>> {
        let spool = self.spool(&state)?;
        Ok(self.context_with(state, spool, move |event| {
            report::log_event(event);
            report(event);
        }))
    }

    /// The same for a dry run: nothing is made, nothing logged, and `report` alone hears of events.
    pub(super) fn dry_context(
        &self,
        report: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Arc<Context>> {
        let state = StateDir::unused(&self.state_path()?);
        let spool = Spool::unused(&state.spool(), self.settings.spool_max_bytes);
        Ok(self.context_with(state, spool, report))
    }

    fn context_with(
        &self,
        state: StateDir,
        spool: Spool,
        report: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Arc<Context> {
        let stop = StopFlag::default();
        let svnlook_stop = stop.clone();
        // Without svnlook each export says that it is missing, and waits.
        let svnlook = self.svnlook_program();
        let svnlook = svnlook.unwrap_or_else(|_| PathBuf::from(SVNLOOK_PLACES[0]));
        let svnadmin = self.svnadmin_program(&svnlook);
        Arc::new(Context {
            spool,
            svnlook: Svnlook::new(svnlook)
                .with_svnadmin(svnadmin)
                .stopped_by(move || svnlook_stop.is_raised()),
            surroundings: self.surroundings(&state),
            configurations: Configurations::new(self.environment.clone()),
            settings: self.settings.clone(),
            stop,
            wake: Wake::default(),
            report: Box::new(report),
            trouble: AtomicBool::new(false),
            exports: Exports::default(),
            board: Board::default(),
            parking: Parking::new(Duration::from_secs(self.settings.keep_session_s)),
            idle_journals: Mutex::default(),
            pulse: Pulse::default(),
            notes: self.notes(),
            telling: self.telling(),
            state,
        })
    }
}
