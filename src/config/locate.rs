//! Where the three files and netrc are. What was typed and what the environment says is handed in; looks
//! only whether files are there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::text::escape;
use crate::error::{Error, Result};

/// The name of the rules file.
pub const RULES_FILE: &str = "general-dispatch-info.cfg";
/// The name of the settings file, beside the rules.
pub const SETTINGS_FILE: &str = "auto-dispatcher.cfg";
/// The name of the logging file, beside the rules.
pub const LOGGER_FILE: &str = "logger.cfg";

const SYSTEM_DIR: &str = "/etc/auto-dispatcher";

/// What of the process's environment matters here.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `$AUTO_DISPATCHER_CONFIG`.
    pub config: Option<PathBuf>,
    /// `$HOME`, else that of the password database.
    pub home: Option<PathBuf>,
    /// The working directory.
    pub cwd: Option<PathBuf>,
}

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--netrc`.
    pub netrc: Option<PathBuf>,
    /// The repository that the command is about.
    pub repository: Option<PathBuf>,
    /// Whether a person typed the command: only then does the working directory count.
    pub typed: bool,
}

/// Where the files are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The rules file that was found.
    rules: Option<PathBuf>,
    /// Every place where the rules file was looked for, in order.
    pub looked_at: Vec<PathBuf>,
    /// auto-dispatcher.cfg, which need not exist.
    pub settings: PathBuf,
    /// logger.cfg, which need not exist.
    pub logger: PathBuf,
    /// netrc; none: there is no home.
    pub netrc: Option<PathBuf>,
    /// Whether `--netrc` named it: then it has to exist.
    pub netrc_is_named: bool,
}

impl Places {
    /// The rules file, or the error that lists every place looked at.
    pub fn rules(&self) -> Result<&Path> {
        if let Some(rules) = &self.rules {
            return Ok(rules);
        }
        let places: Vec<String> = self
            .looked_at
            .iter()
            .map(|place| escape(&place.to_string_lossy()).into_owned())
            .collect();
        Err(Error::config(format!(
            "there is no rules file; looked for {}",
            places.join(", ")
        ))
        .with_hint("write one there, or name it with --config FILE or $AUTO_DISPATCHER_CONFIG"))
    }
}

impl Places {
    /// What another process has to be given as `--config` to find the same settings, whether or not
    /// there is a rules file.
    pub fn anchor(&self) -> PathBuf {
        self.rules
            .clone()
            .unwrap_or_else(|| self.settings.with_file_name(RULES_FILE))
    }

    /// Whether every command finds them, wherever it is typed.
    pub fn are_standard(&self) -> bool {
        self.anchor() == Path::new(SYSTEM_DIR).join(RULES_FILE)
    }
}

/// Finds the files. That there are no rules is no error before [`Places::rules`] is asked for: the hook
/// needs the settings only.
pub fn locate(request: &Request, environment: &Environment) -> Places {
    let absolute = |path: &PathBuf| match &environment.cwd {
        Some(cwd) => cwd.join(path),
        None => path.clone(),
    };
    let looked_at = match request.config.as_ref().or(environment.config.as_ref()) {
        Some(named) => vec![absolute(named)],
        None => candidates(request, environment, absolute),
    };
    let rules = looked_at.iter().find(|place| is_there(place)).cloned();
    // Without rules the settings still count: the state directory may not wander when rules vanish.
    let beside = rules
        .as_ref()
        .or_else(|| {
            looked_at
                .iter()
                .find(|place| is_there(&place.with_file_name(SETTINGS_FILE)))
        })
        .or(looked_at.first())
        .cloned()
        .unwrap_or_default();
    Places {
        settings: beside.with_file_name(SETTINGS_FILE),
        logger: beside.with_file_name(LOGGER_FILE),
        netrc: match &request.netrc {
            Some(named) => Some(absolute(named)),
            None => environment.home.as_ref().map(|home| home.join(".netrc")),
        },
        netrc_is_named: request.netrc.is_some(),
        rules,
        looked_at,
    }
}

fn candidates(
    request: &Request,
    environment: &Environment,
    absolute: impl Fn(&PathBuf) -> PathBuf,
) -> Vec<PathBuf> {
    let repository = request
        .repository
        .as_ref()
        .map(|repository| absolute(repository).join("conf"));
    let cwd = environment.cwd.clone().filter(|_| request.typed);
    [repository, cwd, Some(PathBuf::from(SYSTEM_DIR))]
        .into_iter()
        .flatten()
        .map(|directory| directory.join(RULES_FILE))
        .collect()
}

/// Whether something is there; what may not be looked at counts as being there, so that two users never
/// take two different places for the right one.
fn is_there(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(_) => true,
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        _root: tempfile::TempDir,
        environment: Environment,
        repository: PathBuf,
    }

    fn world() -> World {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in ["home", "cwd", "repos/conf"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        let environment = Environment {
            config: None,
            home: Some(at("home")),
            cwd: Some(at("cwd")),
        };
        let repository = at("repos");
        World {
            _root: root,
            environment,
            repository,
        }
    }

    fn touch(path: &Path) {
        fs::write(path, "").unwrap();
    }

    #[test]
    fn the_places_are_tried_in_the_order_of_the_design() {
        let mut world = world();
        let cwd = world.environment.cwd.clone().unwrap();
        let mut request = Request {
            repository: Some(world.repository.clone()),
            typed: true,
            ..Request::default()
        };

        touch(&cwd.join(RULES_FILE));
        let places = locate(&request, &world.environment);
        assert_eq!(places.rules(), Ok(cwd.join(RULES_FILE).as_path()));
        assert_eq!(places.settings, cwd.join(SETTINGS_FILE));

        touch(&world.repository.join("conf").join(RULES_FILE));
        let places = locate(&request, &world.environment);
        assert_eq!(
            places.rules(),
            Ok(world.repository.join("conf").join(RULES_FILE).as_path())
        );
        assert_eq!(
            places.logger,
            world.repository.join("conf").join(LOGGER_FILE)
        );

        world.environment.config = Some("named.cfg".into());
        touch(&cwd.join("named.cfg"));
        assert_eq!(
            locate(&request, &world.environment).rules(),
            Ok(cwd.join("named.cfg").as_path())
        );

        request.config = Some("/nowhere/other.cfg".into());
        let places = locate(&request, &world.environment);
        assert_eq!(places.settings, Path::new("/nowhere").join(SETTINGS_FILE));
        let error = places.rules().unwrap_err().to_string();
        assert!(
            error.contains("/nowhere/other.cfg") && !error.contains("named.cfg"),
            "{error}"
        );
    }

    #[test]
    fn the_hook_never_looks_into_its_working_directory() {
        let world = world();
        touch(&world.environment.cwd.clone().unwrap().join(RULES_FILE));
        let request = Request {
            repository: Some(world.repository.clone()),
            ..Request::default()
        };
        let places = locate(&request, &world.environment);
        let error = places.rules().unwrap_err().to_string();
        assert!(
            error.contains("repos/conf/general-dispatch-info.cfg"),
            "{error}"
        );
        assert!(
            error.contains("/etc/auto-dispatcher/general-dispatch-info.cfg"),
            "{error}"
        );
        assert!(!error.contains("cwd"), "{error}");
    }

    #[test]
    fn settings_are_found_though_the_rules_are_missing() {
        let world = world();
        let settings = world.repository.join("conf").join(SETTINGS_FILE);
        touch(&settings);
        let request = Request {
            repository: Some(world.repository.clone()),
            ..Request::default()
        };
        assert_eq!(locate(&request, &world.environment).settings, settings);
    }

    #[test]
    fn netrc_is_that_of_the_home_unless_named() {
        let world = world();
        let places = locate(&Request::default(), &world.environment);
        assert_eq!(
            places.netrc,
            Some(world.environment.home.clone().unwrap().join(".netrc"))
        );
        assert!(!places.netrc_is_named);
        let request = Request {
            netrc: Some("/n".into()),
            ..Request::default()
        };
        let places = locate(&request, &Environment::default());
        assert_eq!(
            (places.netrc.as_deref(), places.netrc_is_named),
            (Some(Path::new("/n")), true)
        );
    }
}
