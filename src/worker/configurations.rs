//! Rules, netrc and secrets as the worker needs them: read when they are asked for, kept while the files
//! stay the same, so that a mended rule or a new password counts at the next attempt.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::credentials::{CredentialStore, Described};
use crate::config::locate::{Environment, Request, locate};
use crate::config::settings::{self, Settings};
use crate::domain::fault::Fault;
use crate::domain::mask::Mask;
use crate::domain::rule::{Rule, RuleSet};
use crate::domain::secret::Secret;
use crate::error::Result;
use crate::journal::Work;
use crate::transport::{Credentials, StopFlag};

/// One rules file with its netrc.
#[derive(Debug)]
pub struct Loaded {
    store: CredentialStore,
    settings: Settings,
    warnings: Mutex<Vec<String>>,
}

impl Loaded {
    /// Whether the files inside a copied directory are dispatched: the settings beside these rules say
    /// so, whichever repository's hook started this worker.
    pub fn copied_directories(&self) -> bool {
        self.settings.copied_directories
    }

    /// The rules.
    pub fn rules(&self) -> &RuleSet {
        &self.store.rules().set
    }

    /// Who logs in to `host` by `rule`.
    pub fn login(&self, rule: &Rule, host: &str) -> Option<String> {
        self.store.login(&rule.name, host)
    }

    /// What is known of the credentials for `host` by the rule called `rule`; runs and reveals nothing.
    pub fn describe(&self, rule: &str, host: &str) -> Described {
        self.store.describe(rule, host)
    }

    /// What is odd about the rules; given once, for the log.
    pub fn warnings_once(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

type Key = (PathBuf, Option<PathBuf>);

/// What tells that a file is still the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Of rules, netrc and settings.
type Stamps = (Option<Stamp>, Option<Stamp>, Option<Stamp>);

/// Every rules file that this worker has met.
#[derive(Debug)]
pub struct Configurations {
    environment: Environment,
    loaded: Mutex<HashMap<Key, (Stamps, Arc<Loaded>)>>,
}

impl Configurations {
    /// Knows no file yet.
    pub fn new(environment: Environment) -> Self {
        Self {
            environment,
            loaded: Mutex::default(),
        }
    }

    /// The rules file of a batch with its netrc: the file that was found when the batch was recorded,
    /// else the one that is found now.
    pub fn of(
        &self,
        rules_file: Option<&Path>,
        netrc_file: Option<&Path>,
        repository: Option<&Path>,
    ) -> Result<Arc<Loaded>> {
        let places = locate(
            &Request {
                config: rules_file.map(Path::to_owned),
                netrc: netrc_file.map(Path::to_owned),
                repository: repository.map(Path::to_owned),
                typed: false,
            },
            &self.environment,
        );
        let key = (places.rules()?.to_owned(), places.netrc.clone());
        let stamps = (
            Stamp::of(&key.0),
            key.1.as_deref().and_then(Stamp::of),
            Stamp::of(&places.settings),
        );
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, configuration)) = loaded.get(&key)
            && *known == stamps
        {
            return Ok(Arc::clone(configuration));
        }
        let store = CredentialStore::load(&places, self.environment.home.clone())?;
        let warnings = store
            .rules()
            .warnings
            .iter()
            .chain(&store.netrc().warnings)
            .map(ToString::to_string)
            .collect();
        let settings = settings::load(&places.settings, self.environment.home.as_deref())?;
        let configuration = Arc::new(Loaded {
            store,
            settings,
            warnings: Mutex::new(warnings),
        });
        loaded.insert(key, (stamps, Arc::clone(&configuration)));
        Ok(configuration)
    }
}

/// The credentials of one delivery, looked up when a transport asks for them and not before.
pub(super) struct LateCredentials<'a> {
    configurations: &'a Configurations,
    work: &'a Work,
    stop: &'a StopFlag,
    /// Learns every secret that is given out.
    mask: &'a RefCell<Mask>,
}

impl<'a> LateCredentials<'a> {
    pub(super) fn new(
        configurations: &'a Configurations,
        work: &'a Work,
        stop: &'a StopFlag,
        mask: &'a RefCell<Mask>,
    ) -> Self {
        Self {
            configurations,
            work,
            stop,
            mask,
        }
    }

    /// Has the mask learn what rules and netrc hold for this delivery, whether or not a transport asks for it: a
    /// command may print a password that a key made needless. Runs nothing, and says nothing of mistakes.
    pub(super) fn teach(&self) {
        let Ok(loaded) = self.store() else { return };
        let (work, target) = (self.work, &self.work.target);
        for secret in loaded
            .store
            .at_hand(&work.rule, &target.host, &target.login)
        {
            self.mask.borrow_mut().add(&secret);
        }
    }

    fn store(&self) -> Result<Arc<Loaded>, Fault> {
        let batch = &self.work.batch;
        self.configurations
            .of(
                batch.rules_file.as_deref(),
                batch.netrc_file.as_deref(),
                batch.repository.as_deref(),
            )
            .map_err(|error| Fault::ours(error.one_line()))
    }
}

impl Credentials for LateCredentials<'_> {
    fn password(&self) -> Result<Option<Secret>, Fault> {
        let (work, store) = (self.work, self.store()?);
        self.entitled(&store)?;
        store
            .store
            .lookup_unless(&work.rule, &work.target.host, &work.target.login, &|| {
                self.stop.is_raised()
            })
            .map(|found| found.password)
            .inspect(|password| {
                if let Some(password) = password {
                    self.mask.borrow_mut().add(password);
                }
            })
            // What is left is the rule's password_command, which may recover.
            .map_err(|error| Fault::ours(error.one_line()))
    }

    fn account(&self) -> Result<Option<Secret>, Fault> {
        let store = self.store()?;
        let account = self.entitled(&store)?;
        if let Some(account) = &account {
            self.mask.borrow_mut().add(account);
        }
        Ok(account)
    }
}

impl LateCredentials<'_> {
    /// The account, if the rule still names this host and login; credentials of a rule that was changed
    /// are not for the old target, and waiting does not mend that.
    fn entitled(&self, loaded: &Loaded) -> Result<Option<Secret>, Fault> {
        let work = self.work;
        loaded
            .store
            .account(&work.rule, &work.target.host, &work.target.login)
            .map_err(|error| Fault::permanent(error.one_line()))
    }
}
