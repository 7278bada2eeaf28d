//! What a note is worth. It is believed in nothing: its repository has to be one that the operator named or that is in
//! the ledger already, its revision has to be there, and the files that plan it are those that the operator's own hook
//! would find. Recording a revision once more changes nothing. Only a definite no removes a note.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;

use super::Notes;
use crate::config::locate::{Request, locate};
use crate::domain::incoming::{Note, admits};
use crate::domain::text::escape;
use crate::error::Result;
use crate::journal::{Journal, NewBatch, Standing};
use crate::source::incoming::{Fate, Left};
use crate::source::repository_files;
use crate::worker::Context;

/// How long a note of a repository that is in no ledger lies before its ledger begins: hooks of earlier revisions may be
/// slower.
const BEGIN_AFTER: Duration = Duration::from_secs(2);
/// How long a revision may be missing that a note names.
const MISSING_MAX: Duration = Duration::from_mins(1);
/// How long a note waits for its repository to be there again.
const WAIT_MAX: Duration = Duration::from_hours(24);
/// Repositories in no ledger that one pass keeps in mind.
const UNKNOWN_MAX: usize = 1000;
/// How much of a path is shown.
const SHOWN_MAX: usize = 200;

/// The first note of each repository that is in no ledger, and whether one of them is too young.
#[derive(Debug, Default)]
pub(super) struct Unknown(BTreeMap<String, (Note, u32, bool)>);

/// What beginning ledgers came to.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// Whether one began: its further notes are taken up from now on.
    pub(super) recorded: bool,
    /// Whether one waits for slower hooks.
    pub(super) waits: bool,
}

/// Judges the notes of one look.
pub(super) struct Judge<'a> {
    notes: &'a Notes,
    catch_up_max: u64,
    journal: Journal,
    allowed: Vec<PathBuf>,
}

/// What is found out about a note.
enum Found {
    /// The revision is there.
    There,
    /// Not now; perhaps later.
    Missing(String, Duration),
    /// Never.
    Wrong(String),
}

impl<'a> Judge<'a> {
    /// Errors: the journal cannot be read.
    pub(super) fn new(context: &Context, notes: &'a Notes) -> Result<Self> {
        let journal = context.journal()?;
        let ledgers = journal.ledgers()?;
        let mut allowed: Vec<PathBuf> = ledgers.into_iter().map(|ledger| ledger.path).collect();
        for pattern in &notes.repositories {
            allowed.push(pattern.clone());
            allowed.extend(resolved(pattern));
        }
        Ok(Self {
            notes,
            catch_up_max: context.settings.catch_up_max,
            journal,
            allowed,
        })
    }

    /// What becomes of a note, and whether a revision was recorded by it. What has to wait is told in `waiting`.
    pub(super) fn of(
        &mut self,
        left: &Left,
        unknown: &mut Unknown,
        waiting: &mut Vec<(u32, String)>,
    ) -> Result<(Fate, bool)> {
        let note = &left.note;
        match self.find(note) {
            Found::There => {}
            Found::Missing(why, max) if left.age <= max => {
                waiting.push((left.uid, why));
                return Ok((Fate::Stays, false));
            }
            Found::Missing(why, _) | Found::Wrong(why) => return Ok((Fate::Refused(why), false)),
        }
        let (path, revision) = (Path::new(&note.repository), note.revision);
        match self.journal.standing(path, &note.uuid, revision)? {
            Standing::Recorded => Ok((Fate::Taken, false)),
            Standing::Below(first) if first - revision > self.catch_up_max => {
                let why = format!(
                    "r{revision} of {} lies far below r{first}, where its ledger begins; `replay` dispatches it",
                    shown(&note.repository)
                );
                Ok((Fate::Refused(why), false))
            }
            Standing::New | Standing::Below(_) => {
                self.record(note)?;
                Ok((Fate::Taken, true))
            }
            Standing::Unknown => {
                unknown.meet(left);
                Ok((Fate::Stays, false))
            }
        }
    }

    /// Begins the ledgers of what a whole pass has met, each at its lowest revision. The notes stay for the next pass,
    /// which finds them recorded or above the beginning.
    pub(super) fn begin(
        &mut self,
        unknown: Unknown,
        waiting: &mut Vec<(u32, String)>,
    ) -> Result<Begun> {
        let mut begun = Begun::default();
        for (note, uid, is_young) in unknown.0.into_values() {
            let path = Path::new(&note.repository);
            let youngest = repository_files::youngest(path).unwrap_or(note.revision);
            if is_young {
                begun.waits = true;
            } else if youngest.saturating_sub(note.revision) > self.catch_up_max {
                waiting.push((
                    uid,
                    format!(
                        "the ledger of {} would begin at r{}, more than `catch_up_max` below its youngest, r{youngest}: \
                         record a later one as the service's user (auto-dispatcher hook), and `replay` what is before",
                        shown(&note.repository),
                        note.revision
                    ),
                ));
            } else {
                self.record(&note)?;
                begun.recorded = true;
            }
        }
        Ok(begun)
    }

    fn find(&self, note: &Note) -> Found {
        let path = Path::new(&note.repository);
        let shown = shown(&note.repository);
        // Before anything is asked of the file system: somebody may name a place where it hangs.
        if !self.allowed.iter().any(|pattern| admits(pattern, path)) {
            return Found::Wrong(format!(
                "{shown} is none of `repositories` in auto-dispatcher.cfg, nor in the ledger"
            ));
        }
        let canonical = match repository_files::canonical(path) {
            Ok(canonical) => canonical,
            Err(error) => return Found::Missing(clipped(&error.message), WAIT_MAX),
        };
        if canonical != path {
            return Found::Wrong(format!("{shown} is a symbolic link"));
        }
        match repository_files::read_uuid(path) {
            Ok(uuid) if uuid == note.uuid => {}
            Ok(_) => return Found::Wrong(format!("{shown} has another UUID")),
            Err(error) => return Found::Missing(clipped(&error.message), WAIT_MAX),
        }
        match repository_files::youngest(path) {
            Some(youngest) if note.revision <= youngest => Found::There,
            Some(_) => Found::Missing(format!("{shown} has no r{}", note.revision), MISSING_MAX),
            None => Found::Missing(
                format!("{shown} does not tell its youngest revision"),
                WAIT_MAX,
            ),
        }
    }

    fn record(&mut self, note: &Note) -> Result<()> {
        let path = Path::new(&note.repository);
        let places = locate(
            &Request {
                repository: Some(path.to_owned()),
                ..self.notes.request.clone()
            },
            &self.notes.environment,
        );
        self.journal
            .record_revision(
                &NewBatch {
                    repository: path,
                    uuid: &note.uuid,
                    revision: note.revision,
                    rules_file: places.rules().ok(),
                    netrc_file: places.netrc.as_deref().filter(|_| places.netrc_is_named),
                },
                Utc::now(),
            )
            .map(|_| ())
    }
}

impl Unknown {
    fn meet(&mut self, left: &Left) {
        let is_young = left.age < BEGIN_AFTER;
        if let Some((first, uid, any_young)) = self.0.get_mut(&left.note.repository) {
            *any_young |= is_young;
            if left.note.revision < first.revision {
                *first = left.note.clone();
                *uid = left.uid;
            }
        } else if self.0.len() < UNKNOWN_MAX {
            let met = (left.note.clone(), left.uid, is_young);
            self.0.insert(left.note.repository.clone(), met);
        }
    }
}

/// A path or pattern of the operator with its symbolic links resolved, where it is there.
fn resolved(pattern: &Path) -> Option<PathBuf> {
    if pattern.file_name().is_some_and(|name| name == "*") {
        let directory = std::fs::canonicalize(pattern.parent()?).ok()?;
        return Some(directory.join("*"));
    }
    std::fs::canonicalize(pattern).ok()
}

fn shown(path: &str) -> String {
    clipped(&escape(path))
}

/// The beginning of a text that somebody may have made long.
fn clipped(text: &str) -> String {
    if text.chars().count() <= SHOWN_MAX {
        return text.to_owned();
    }
    let start: String = text.chars().take(SHOWN_MAX).collect();
    format!("{start}…")
}
