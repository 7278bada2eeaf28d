//! Subversion repositories, read by svnlook: what a revision changed, and the stored bytes. svnlook
//! looks past authz and rewrites no keywords. Knows nothing of rules or of what becomes of the bytes.

mod begun;
mod changes;
mod commit;
mod dump;
mod listing;
#[cfg(feature = "probes")]
#[doc(hidden)]
pub mod probes;
mod process;
pub mod trial;
mod whole;

use std::ffi::OsStr;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

pub use begun::Begun;
pub use commit::Commit;
pub use whole::{Choice, Dumped, End, Revision};

use super::repository_files::{canonical, check_uuid, read_uuid, show};
use crate::domain::revision;
use crate::domain::text::escape;
use crate::error::{Error, ErrorKind, Result};
use listing::Lines;
use process::{Call, Finished, Running, pump, run};

/// No such revision.
const NO_REVISION: &str = "E160006";
/// No such property.
const NO_PROPERTY: &str = "E200017";
/// What the short answers (a UUID, a number, an author) may amount to.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// How long a silent svnlook is believed to be at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For commands that look one thing up.
    pub lookup: Duration,
    /// For lists of paths: `changed` reads every added file in full before it prints a line.
    pub listing: Duration,
    /// Between two pieces of a file.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lookup: Duration::from_mins(2),
            listing: Duration::from_hours(1),
            stall: Duration::from_mins(5),
        }
    }
}

/// The program svnlook, and svnadmin for who wants many files of a revision.
#[derive(Debug, Clone)]
pub struct Svnlook {
    program: PathBuf,
    svnadmin: Option<PathBuf>,
    limits: Limits,
    stop: Stop,
}

/// Whether to end before svnlook does.
#[derive(Clone)]
struct Stop(Arc<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stop")
    }
}

/// One repository, found and identified.
#[derive(Debug, Clone)]
pub struct Repository {
    svnlook: Svnlook,
    path: PathBuf,
    uuid: String,
}

impl Svnlook {
    /// `program` is svnlook's absolute path; it is not tried before a repository is opened.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            svnadmin: None,
            limits: Limits::default(),
            stop: Stop(Arc::new(|| false)),
        }
    }

    /// The same with svnadmin, by its absolute path; it need not be there.
    #[must_use]
    pub fn with_svnadmin(self, svnadmin: PathBuf) -> Self {
        Self {
            svnadmin: Some(svnadmin),
            ..self
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same, ended soon after `is_stopped` says so.
    #[must_use]
    pub fn stopped_by(self, is_stopped: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            stop: Stop(Arc::new(is_stopped)),
            ..self
        }
    }

    /// Finds the repository in `path` and asks svnlook for its UUID, which shows that both can be used.
    pub fn repository(&self, path: &Path) -> Result<Repository> {
        let path = canonical(path)?;
        let mut repository = Repository {
            svnlook: self.clone(),
            path,
            uuid: String::new(),
        };
        let what = "read the UUID";
        let uuid = repository.ask(what, None, &["uuid".as_ref()], None)?;
        repository.uuid = check_uuid(uuid.strip_suffix('\n').unwrap_or(&uuid), &repository.path)?;
        Ok(repository)
    }

    /// The same without a process, where the repository keeps its UUID in a file: for those who ask svnlook for
    /// something else next, which shows whether it can be used.
    pub fn known_repository(&self, path: &Path) -> Result<Repository> {
        match read_uuid(path) {
            Ok(uuid) => Ok(Repository {
                svnlook: self.clone(),
                path: canonical(path)?,
                uuid,
            }),
            Err(_) => self.repository(path),
        }
    }
}

impl Repository {
    /// Absolute, symbolic links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The repository's UUID.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The newest revision.
    pub fn youngest(&self) -> Result<u64> {
        let what = "read the youngest revision";
        let answer = self.ask(what, None, &["youngest".as_ref()], None)?;
        revision::parse(answer.trim_end_matches('\n'))
            .ok_or_else(|| self.nonsense(what, &format!("svnlook answered `{answer}`")))
    }

    /// Who committed it; none if nobody is named.
    pub fn author(&self, revision: u64) -> Result<Option<String>> {
        let author = self.ask(
            "read the author",
            Some(revision),
            &["author".as_ref()],
            None,
        )?;
        let author = author.strip_suffix('\n').unwrap_or(&author);
        Ok(Some(author.to_owned()).filter(|author| !author.is_empty()))
    }

    /// When it was committed; none if that is not recorded.
    pub fn date(&self, revision: u64) -> Result<Option<DateTime<Utc>>> {
        let what = "read the date";
        let words: [&OsStr; 2] = ["propget".as_ref(), "--revprop".as_ref()];
        let (finished, answer) = self.lookup(Some(revision), &words, Some("svn:date"), None)?;
        if finished.has_code(NO_PROPERTY) {
            return Ok(None);
        }
        self.check(what, Some(revision), &finished)?;
        let date = DateTime::parse_from_rfc3339(answer.trim()).map(|date| date.to_utc());
        date.map(Some)
            .map_err(|error| self.nonsense(what, &format!("`{answer}`: {error}")))
    }

    /// The size of a file in bytes, as it is stored.
    pub fn file_size(&self, revision: u64, path: &str) -> Result<u64> {
        let what = format!("read the size of {}", escape(path));
        let answer = self.ask(&what, Some(revision), &["filesize".as_ref()], Some(path))?;
        answer
            .trim_end_matches('\n')
            .parse()
            .map_err(|_| self.nonsense(&what, &format!("svnlook answered `{answer}`")))
    }

    /// Writes the stored bytes of a file to `out` as they come and returns how many there are. An error
    /// leaves an unknown part of them written: svnlook prints what it can of a corrupt revision.
    pub fn export(&self, revision: u64, path: &str, out: &mut dyn Write) -> Result<u64> {
        let size = self.file_size(revision, path)?;
        self.export_sized(revision, path, size, out)?;
        Ok(size)
    }

    /// The same where [`Repository::file_size`] was asked before.
    pub fn export_sized(
        &self,
        revision: u64,
        path: &str,
        size: u64,
        out: &mut dyn Write,
    ) -> Result<()> {
        self.exporting(revision, path, |export| export.give(size, out))
    }

    /// Has svnlook begin to read a file, before its size is known: what it reads ahead is what a pipe holds.
    pub fn exporting<T>(
        &self,
        revision: u64,
        path: &str,
        then: impl FnOnce(Export<'_>) -> Result<T>,
    ) -> Result<T> {
        let number = revision.to_string();
        let words = words(
            &["cat".as_ref()],
            Some(&number),
            None,
            &self.path,
            Some(path),
        );
        let call = self.call(&words, self.svnlook.limits.stall);
        then(Export {
            running: Running::start(&call)?,
            call: &call,
            repository: self,
            revision,
            path,
        })
    }

    /// Whether a path has the property `svn:special`: such a file is a symbolic link.
    fn is_special(&self, revision: u64, path: &str) -> Result<bool> {
        let what = format!("read the properties of {}", escape(path));
        let words: [&OsStr; 1] = ["propget".as_ref()];
        let (finished, _) = self.lookup(Some(revision), &words, Some("svn:special"), Some(path))?;
        if finished.has_code(NO_PROPERTY) {
            return Ok(false);
        }
        self.check(&what, Some(revision), &finished)?;
        Ok(true)
    }

    /// Runs a command that prints lines; `each` is handed one after the other.
    fn lines(
        &self,
        what: &str,
        revision: u64,
        command: &[&OsStr],
        path: Option<&str>,
        each: &mut dyn FnMut(&str) -> Result<(), String>,
    ) -> Result<()> {
        let number = revision.to_string();
        let words = words(command, Some(&number), None, &self.path, path);
        let call = self.call(&words, self.svnlook.limits.listing);
        let mut lines = Lines::default();
        let finished = run(&call, &mut |chunk| {
            lines
                .feed(chunk, each)
                .map_err(|why| self.failed(what, Some(revision), &escape(&why)))
        })?;
        self.check(what, Some(revision), &finished)?;
        lines
            .end()
            .map_err(|why| self.failed(what, Some(revision), &why))
    }

    /// Runs a command with a short answer that must succeed.
    fn ask(
        &self,
        what: &str,
        revision: Option<u64>,
        command: &[&OsStr],
        path: Option<&str>,
    ) -> Result<String> {
        let (finished, answer) = self.lookup(revision, command, None, path)?;
        self.check(what, revision, &finished)?;
        Ok(answer)
    }

    fn lookup(
        &self,
        revision: Option<u64>,
        command: &[&OsStr],
        property: Option<&str>,
        path: Option<&str>,
    ) -> Result<(Finished, String)> {
        let number = revision.map(|revision| revision.to_string());
        let words = words(command, number.as_deref(), property, &self.path, path);
        let call = self.call(&words, self.svnlook.limits.lookup);
        let mut answer = Vec::new();
        let finished = run(&call, &mut |chunk| {
            answer.extend_from_slice(chunk);
            if answer.len() > ANSWER_MAX_BYTES {
                let why = format!("svnlook answered more than {ANSWER_MAX_BYTES} bytes");
                return Err(self.failed("look something up", revision, &why));
            }
            Ok(())
        })?;
        Ok((finished, String::from_utf8_lossy(&answer).into_owned()))
    }

    fn call<'a>(&'a self, words: &'a [&'a OsStr], silence: Duration) -> Call<'a> {
        Call {
            program: &self.svnlook.program,
            words,
            silence,
            is_stopped: &*self.svnlook.stop.0,
        }
    }

    /// An error if svnlook ended with one.
    fn check(&self, what: &str, revision: Option<u64>, finished: &Finished) -> Result<()> {
        if finished.succeeded() {
            return Ok(());
        }
        if let Some(revision) = revision.filter(|_| finished.has_code(NO_REVISION)) {
            let youngest = self.youngest()?;
            let place = show(&self.path);
            return Err(Error::source(format!(
                "revision {revision} does not exist in {place}: the youngest is {youngest}"
            )));
        }
        Err(self.failed(what, revision, &finished.reason()))
    }

    fn nonsense(&self, what: &str, why: &str) -> Error {
        self.failed(what, None, &escape(why))
    }

    fn failed(&self, what: &str, revision: Option<u64>, why: &str) -> Error {
        let place = show(&self.path);
        let of = revision.map_or(String::new(), |revision| format!(" of revision {revision}"));
        Error::source(format!("cannot {what}{of} of {place}: {why}"))
    }
}

/// A file that svnlook has begun to read.
pub struct Export<'a> {
    running: Running,
    call: &'a Call<'a>,
    repository: &'a Repository,
    revision: u64,
    path: &'a str,
}

impl Export<'_> {
    /// Writes its stored bytes to `out` as they come; an error unless there are `size`.
    pub fn give(self, size: u64, out: &mut dyn Write) -> Result<()> {
        let (repository, revision) = (self.repository, self.revision);
        let what = format!("export {}", escape(self.path));
        let mut written = 0_u64;
        let finished = pump(self.running, self.call, &mut |chunk| {
            written += chunk.len() as u64;
            out.write_all(chunk).map_err(|error| {
                let place = format!(
                    "{what} of revision {revision} of {}",
                    show(&repository.path)
                );
                Error::new(
                    ErrorKind::State,
                    format!("cannot {place}: cannot write the bytes: {error}"),
                )
            })
        })?;
        repository.check(&what, Some(revision), &finished)?;
        if written != size {
            let why = format!("svnlook gave {written} bytes of {size}");
            return Err(repository.failed(&what, Some(revision), &why));
        }
        Ok(())
    }
}

/// The words of an invocation, in the one order that no name can disturb.
fn words<'a>(
    command: &[&'a OsStr],
    revision: Option<&'a str>,
    property: Option<&'a str>,
    repository: &'a Path,
    path: Option<&'a str>,
) -> Vec<&'a OsStr> {
    let mut words = command.to_vec();
    if let Some(revision) = revision {
        words.extend::<[&OsStr; 2]>(["-r".as_ref(), revision.as_ref()]);
    }
    words.extend::<[&OsStr; 2]>(["--".as_ref(), repository.as_ref()]);
    words.extend(property.map(OsStr::new));
    words.extend(path.map(OsStr::new));
    words
}
