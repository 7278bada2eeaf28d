//! auto-dispatcher.cfg: the settings of this machine. The hook reads it at every commit, so it does no
//! more than read one small file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::finding::{Finding, Mistakes};
use crate::config::ini::{Document, Section, shown_key};
use crate::config::listening::{self, Listening};
use crate::config::scans::{self, Scan};
use crate::config::{notifiers, private, value};
use crate::domain::notice::notifier::Notifier;

const SECTION: &str = "auto-dispatcher";

/// Every key of `[auto-dispatcher]`.
pub const KEYS: [&str; 16] = [
    "state_dir",
    "svnlook",
    "svnadmin",
    "workers",
    "idle_exit",
    "keep_session",
    "spool_max",
    "keep_history",
    "catch_up_max",
    "plan_retry",
    "copied_directories",
    "incoming",
    "repositories",
    "site",
    "listen",
    "listen_token_file",
];

/// The settings, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The state directory; none: the default, which depends on who asks.
    pub state_dir: Option<PathBuf>,
    /// The svnlook program, absolute; none: it is looked for in the usual places.
    pub svnlook: Option<PathBuf>,
    /// The svnadmin program, absolute; none: it is looked for beside svnlook.
    pub svnadmin: Option<PathBuf>,
    /// How many lanes run in parallel.
    pub workers: usize,
    /// When a worker that was started by a hook ends; seconds without work.
    pub idle_exit_s: u64,
    /// How long a session stays open for the next package; seconds.
    pub keep_session_s: u64,
    /// How many bytes of artifacts the spool may hold.
    pub spool_max_bytes: u64,
    /// How long settled deliveries are kept; seconds.
    pub keep_history_s: u64,
    /// The largest gap of revisions that is filled without asking.
    pub catch_up_max: u64,
    /// Delay before a batch that could not be planned is tried again; seconds.
    pub plan_retry_s: u64,
    /// Whether the files inside a copied directory are dispatched.
    pub copied_directories: bool,
    /// Where hooks of other users leave their notes; none: only the owner of the state directory records.
    pub incoming: Option<PathBuf>,
    /// Whose revisions such notes may name: repositories, and directories of them (`DIR/*`).
    pub repositories: Vec<PathBuf>,
    /// Where `worker` as a service serves the page; none: nowhere.
    pub listen: Option<SocketAddr>,
    /// A file with the token that readers of the page have to show.
    pub listen_token_file: Option<PathBuf>,
    /// The drop directories, in file order.
    pub scans: Vec<Scan>,
    /// What this place is called in notices; none: by its host name.
    pub site: Option<String>,
    /// Who is told of what, in file order.
    pub notifiers: Vec<Notifier>,
    /// What is odd; for the log, once, and for `check`.
    pub warnings: Vec<Finding>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state_dir: None,
            svnlook: None,
            svnadmin: None,
            workers: 8,
            idle_exit_s: 60,
            keep_session_s: 30,
            spool_max_bytes: 20 << 30,
            keep_history_s: 365 * 86_400,
            catch_up_max: 100,
            plan_retry_s: 30,
            copied_directories: false,
            incoming: None,
            repositories: Vec::new(),
            listen: None,
            listen_token_file: None,
            scans: Vec::new(),
            site: None,
            notifiers: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// Reads the settings at `path`; a file that is not there means the defaults. `home` stands for `~/`.
pub fn load(path: &Path, home: Option<&Path>) -> Result<Settings, Mistakes> {
    let Some(text) = private::read(path)? else {
        return Ok(Settings::default());
    };
    refuse_open(path, &text)?;
    read(path, &text, home)
}

/// The same for a file that was read.
pub(super) fn read(
    path: &Path,
    text: &private::FileText,
    home: Option<&Path>,
) -> Result<Settings, Mistakes> {
    let document = Document::parse(path, &text.bytes)?;
    let mut settings = Settings {
        warnings: warnings(&document),
        ..Settings::default()
    };
    settings.warnings.extend(text.of_another(path));
    let nothing = Section::default();
    let mut reader = Reader::new(&document, &nothing);

    settings.scans = scans::read(&document, home, &mut reader.mistakes);
    settings.notifiers = notifiers::read(&document, home, &mut reader.mistakes);
    reader
        .mistakes
        .extend(notifiers::in_the_open(&settings.notifiers, path, text));
    settings.site = reader.get("site", notifiers::one_line);
    let limit = |text: &str| {
        value::duration_s(text).and_then(|s| {
            if s == 0 {
                Err("may not be 0".to_owned())
            } else {
                Ok(s)
            }
        })
    };
    let number = |text: &str| value::number_within(text, 0, 1_000_000);
    settings.state_dir = reader.path("state_dir", home);
    settings.incoming = reader.path("incoming", home);
    let repositories = reader.get("repositories", |text| repositories(text, path, home));
    settings.repositories = repositories.unwrap_or_default();
    settings.listen_token_file = reader.path("listen_token_file", home);
    let token_file = settings.listen_token_file.clone();
    settings.listen = reader.get("listen", |text| {
        let address = listening::address(text)?;
        let token_file = token_file.clone();
        let listening = Listening {
            address,
            token_file,
        };
        listening.mistake().map_or(Ok(address), Err)
    });
    settings.svnlook = reader.program("svnlook", home);
    settings.svnadmin = reader.program("svnadmin", home);
    let workers = reader.get("workers", |text| value::number_within(text, 1, 256));
    let pause = value::duration_s;
    reader.set(&mut settings.idle_exit_s, "idle_exit", pause);
    reader.set(&mut settings.keep_session_s, "keep_session", pause);
    reader.set(
        &mut settings.spool_max_bytes,
        "spool_max",
        value::size_bytes,
    );
    reader.set(&mut settings.keep_history_s, "keep_history", limit);
    reader.set(&mut settings.catch_up_max, "catch_up_max", number);
    reader.set(&mut settings.plan_retry_s, "plan_retry", limit);
    reader.set(
        &mut settings.copied_directories,
        "copied_directories",
        value::yes_no,
    );
    if let Some(workers) = workers.and_then(|workers| usize::try_from(workers).ok()) {
        settings.workers = workers;
    }
    if reader.mistakes.is_empty() {
        Ok(settings)
    } else {
        Err(Mistakes(reader.mistakes))
    }
}

/// Reads what the hook needs, `state_dir` and `incoming`, and leaves the rest at its defaults: a commit is recorded
/// whatever else the file gets wrong. That stays a mistake for [`load`]. Errors: the file cannot be read or parsed, or
/// one of the two is wrong.
pub fn for_recording(path: &Path, home: Option<&Path>) -> Result<Settings, Mistakes> {
    let Some(text) = private::read(path)? else {
        return Ok(Settings::default());
    };
    refuse_open(path, &text)?;
    let document = Document::parse(path, &text.bytes)?;
    let nothing = Section::default();
    let mut reader = Reader::new(&document, &nothing);
    let settings = Settings {
        state_dir: reader.path("state_dir", home),
        incoming: reader.path("incoming", home),
        ..Settings::default()
    };
    if reader.mistakes.is_empty() {
        Ok(settings)
    } else {
        Err(Mistakes(reader.mistakes))
    }
}

/// Paths of repositories, one a line.
fn repositories(text: &str, file: &Path, home: Option<&Path>) -> Result<Vec<PathBuf>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            if !line.starts_with(['/', '~']) {
                return Err(format!("names {line:?}, which is no absolute path"));
            }
            value::path(line, file, home)
        })
        .collect()
}

/// Whoever may write to the settings decides where everything is kept, and which program svnlook is.
fn refuse_open(path: &Path, text: &private::FileText) -> Result<(), Finding> {
    text.in_the_open(path, false).map_or(Ok(()), Err)
}

/// Reads the keys of one section, and keeps its mistakes.
pub(super) struct Reader<'a> {
    document: &'a Document,
    section: &'a Section,
    pub(super) mistakes: Vec<Finding>,
}

impl<'a> Reader<'a> {
    /// `nothing` is the section where the file has none of ours: then [DEFAULT] counts.
    fn new(document: &'a Document, nothing: &'a Section) -> Self {
        let ours = |section: &&Section| section.name == SECTION;
        let section = document.sections.iter().find(ours).unwrap_or(nothing);
        Self::of(document, section)
    }

    /// For a section.
    pub(super) fn of(document: &'a Document, section: &'a Section) -> Self {
        Self {
            document,
            section,
            mistakes: Vec::new(),
        }
    }

    fn path(&mut self, key: &str, home: Option<&Path>) -> Option<PathBuf> {
        let file = &self.document.file;
        self.get(key, |text| value::path(text, file, home))
    }

    fn program(&mut self, key: &str, home: Option<&Path>) -> Option<PathBuf> {
        let file = &self.document.file;
        self.get(key, |text| {
            if text.starts_with(['/', '~']) {
                value::path(text, file, home)
            } else {
                Err(format!(
                    "is no absolute path; for example /usr/bin/{key} is meant"
                ))
            }
        })
    }

    pub(super) fn get<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let line = self.document.line_of(self.section, key)?;
        let read = match self.document.get(self.section, key) {
            Ok(Some(value)) if !value.text.is_empty() => parse(&value.text),
            Ok(_) => return None,
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(value) => Some(value),
            Err(why) => {
                self.mistakes.push(Finding::at(
                    &self.document.file,
                    line,
                    format!("`{key}` {why}"),
                ));
                None
            }
        }
    }

    pub(super) fn set<T>(
        &mut self,
        target: &mut T,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) {
        if let Some(value) = self.get(key, parse) {
            *target = value;
        }
    }
}

fn warnings(document: &Document) -> Vec<Finding> {
    let file = &document.file;
    let referenced = document.referenced_keys();
    let mut warnings = Vec::new();
    let mut look = |section: &Section, known: &[&str]| {
        for entry in &section.entries {
            let key = entry.key.as_str();
            if known.contains(&key) || referenced.contains(key) {
                continue;
            }
            let meant =
                value::nearest(key, known).map(|known| format!("; did you mean `{known}`?"));
            let text = format!(
                "unknown key `{}` is ignored{}",
                shown_key(key).unwrap_or("…"),
                meant.unwrap_or_default()
            );
            warnings.push(Finding::at(file, entry.line, text));
        }
    };
    // [DEFAULT] is inherited by sections of all kinds.
    look(
        &document.defaults,
        &[&KEYS[..], &scans::KEYS, &notifiers::KEYS].concat(),
    );
    for section in &document.sections {
        if section.name == SECTION {
            look(section, &KEYS);
        } else if scans::name_of(section).is_some() {
            look(section, &scans::KEYS);
        } else if notifiers::name_of(section).is_some() {
            look(section, &notifiers::KEYS);
        }
    }
    for section in &document.sections {
        let is_known = section.name == SECTION
            || scans::name_of(section).is_some()
            || notifiers::name_of(section).is_some();
        if !is_known {
            let text = format!(
                "unknown section [{}] is ignored; settings stand in [{SECTION}], drop directories in [scan:NAME], \
                 notifiers in [notify:NAME]",
                section.name
            );
            warnings.push(Finding::at(file, section.line, text));
        }
    }
    warnings
}

#[cfg(test)]
mod tests;
