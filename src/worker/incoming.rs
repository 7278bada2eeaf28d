//! Takes up the notes that hooks of other users left. A note is believed in nothing: its repository has to be one that
//! the operator named or that is in the ledger already, its revision has to be there and above the ledger's beginning,
//! and the files that plan it are those that the operator's own hook would find. Recording it once more changes nothing.

use std::path::{Path, PathBuf};
use std::thread::Scope;
use std::time::{Duration, Instant};

use chrono::Utc;

use super::{Context, coordinator};
use crate::config::locate::{Environment, Request, locate};
use crate::domain::event::Event;
use crate::domain::incoming::{Note, admits};
use crate::domain::text::escape;
use crate::error::Result;
use crate::fail_points;
use crate::journal::{Journal, NewBatch, Standing};
use crate::source::incoming::{Incoming, Look};
use crate::source::repository_files;

/// Longest pause between two looks: the net under lost wake-ups.
const EVERY: Duration = Duration::from_secs(1);
/// Shortest pause: whoever writes there without end keeps nobody busy.
const REST: Duration = Duration::from_millis(20);
/// A look that took long is followed by a pause of so many times as much.
const REST_FACTOR: u32 = 4;
/// How many refusals are told one by one, and how often that may be.
const TOLD_MAX: usize = 3;
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// What the operator says about notes.
#[derive(Debug, Clone)]
pub struct Notes {
    /// The directory that they are left in.
    pub directory: PathBuf,
    /// Repositories, and directories of them (`DIR/*`), that they may name.
    pub repositories: Vec<PathBuf>,
    /// Where rules are looked for.
    pub environment: Environment,
    /// The files that were named on the command line.
    pub request: Request,
}

/// When to look next.
#[derive(Debug, Default)]
pub(super) struct Taking {
    is_at_work: bool,
    watches: bool,
    may_find_more: bool,
    rests_until: Option<Instant>,
    began: Option<Instant>,
    /// End of the last look, and the shortest pause after it.
    last: Option<(Instant, Duration)>,
    /// What was told last, so that it is told once.
    told: Option<String>,
    refusals: Refusals,
}

/// What was refused and not told yet.
#[derive(Debug, Default)]
struct Refusals {
    shown: Vec<String>,
    more: usize,
    told_at: Option<Instant>,
}

/// What a look came to.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Whether there may be more.
    more: bool,
    /// What cannot be removed.
    stuck: usize,
    refused: Vec<String>,
}

impl Taking {
    /// Whether a look is under way.
    pub(super) fn is_at_work(&self) -> bool {
        self.is_at_work
    }

    /// Whether something may lie there that was not looked at.
    pub(super) fn may_find_more(&self) -> bool {
        self.is_at_work || self.may_find_more || self.last.is_none()
    }

    /// Something came.
    pub(super) fn hasten(&mut self) {
        self.rests_until = self.last.map(|(last, rest)| last + rest);
    }

    /// Looks in a thread of its own, for a file system that hangs must hold up nothing else; `done` hears of its end.
    pub(super) fn start<'scope, 'env: 'scope>(
        &mut self,
        context: &'env Context,
        scope: &'scope Scope<'scope, 'env>,
        done: impl FnOnce(Result<Taken>) + Send + 'scope,
    ) {
        let Some(notes) = &context.notes else {
            return;
        };
        let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
        if self.is_at_work || rests {
            return;
        }
        self.is_at_work = true;
        self.began = Some(Instant::now());
        let watches = std::mem::replace(&mut self.watches, true);
        scope.spawn(move || done(coordinator::catch(|| take_up(context, notes, !watches))));
    }

    /// A look has ended.
    pub(super) fn ended(&mut self, context: &Context, result: Result<Taken>) {
        let now = Instant::now();
        self.is_at_work = false;
        // Whoever fills the directory with what cannot be removed makes looks long, and not frequent.
        let took = self.began.map_or(Duration::ZERO, |began| now - began);
        let rest = REST.max(took * REST_FACTOR);
        self.last = Some((now, rest));
        let trouble = match result {
            Ok(taken) => {
                self.may_find_more = taken.more;
                self.rests_until = Some(now + if taken.more { rest } else { rest.max(EVERY) });
                self.refusals.add(taken.refused);
                (taken.stuck > 0).then(|| {
                    "some of what lies there cannot be removed (somebody's directories that are not empty): root can"
                        .to_owned()
                })
            }
            Err(error) => {
                self.may_find_more = false;
                self.watches = false;
                self.rests_until = Some(now + EVERY);
                Some(format!("{}; trying on", error.one_line()))
            }
        };
        if let Some(notes) = &context.notes {
            self.refusals.tell(context, &notes.directory);
        }
        if trouble != self.told {
            if let Some(message) = &trouble {
                context.emit(&Event::Notice {
                    message: format!("notes of other users' hooks: {message}"),
                });
            }
            self.told = trouble;
        }
    }
}

impl Refusals {
    fn add(&mut self, refused: Vec<String>) {
        for refusal in refused {
            if self.shown.len() < TOLD_MAX {
                self.shown.push(refusal);
            } else {
                self.more += 1;
            }
        }
    }

    /// Tells some of them, and how many more, once in a while: whoever leaves thousands does not fill the log.
    fn tell(&mut self, context: &Context, directory: &Path) {
        let waits = |at: Instant| at.elapsed() < TOLD_EVERY;
        if self.shown.is_empty() || self.told_at.is_some_and(waits) {
            return;
        }
        self.told_at = Some(Instant::now());
        let shown = directory.display();
        for refusal in std::mem::take(&mut self.shown) {
            context.emit(&Event::Notice {
                message: format!("a note in {shown} was refused and removed: {refusal}"),
            });
        }
        let more = std::mem::take(&mut self.more);
        if more > 0 {
            context.emit(&Event::Notice {
                message: format!("{more} more notes in {shown} were refused and removed"),
            });
        }
    }
}

/// Records what the notes name, and removes them.
fn take_up(context: &Context, notes: &Notes, watches_not: bool) -> Result<Taken> {
    let incoming = Incoming::own(&notes.directory)?;
    if watches_not {
        let wake = context.wake.clone();
        if let Err(error) = incoming.watch(move || wake.now()) {
            context.emit(&Event::Notice {
                message: format!(
                    "cannot watch {}: {error}; it is looked at every second",
                    notes.directory.display()
                ),
            });
        }
    }
    let look = incoming.look()?;
    let mut journal = context.journal()?;
    let allowed = allowed(notes, &journal)?;
    let mut refused = refusals(&look);
    let mut is_new = false;
    let most = context.settings.catch_up_max;
    // In the order of the revisions where several came together.
    let mut left: Vec<_> = look.left.iter().collect();
    left.sort_by_key(|left| left.note.revision);
    for left in left {
        if context.stop.is_raised() {
            break;
        }
        match record(&left.note, &allowed, (notes, most), &mut journal)? {
            Ok(recorded) => is_new |= recorded,
            Err(why) => refused.push(format!("one of uid {}: {why}", left.uid)),
        }
        fail_points::hit("incoming.recorded");
        if let Err(error) = incoming.remove(&left.name) {
            refused.push(format!(
                "one of uid {} cannot be removed: {error}",
                left.uid
            ));
        }
    }
    if is_new {
        context.wake.now();
    }
    Ok(Taken {
        more: look.more,
        stuck: look.stuck,
        refused,
    })
}

fn refusals(look: &Look) -> Vec<String> {
    look.refused
        .iter()
        .map(|(uid, why)| format!("one of uid {uid}: {why}"))
        .collect()
}

/// The repositories that notes may name, symbolic links of the operator resolved: paths, and patterns `DIR/*`.
fn allowed(notes: &Notes, journal: &Journal) -> Result<Vec<PathBuf>> {
    let mut allowed: Vec<PathBuf> = journal
        .ledgers()?
        .into_iter()
        .map(|ledger| ledger.path)
        .collect();
    for pattern in &notes.repositories {
        let is_directory = pattern.file_name().is_some_and(|name| name == "*");
        let named = if is_directory {
            pattern.parent().unwrap_or(pattern)
        } else {
            pattern
        };
        // What is not there has no revisions either.
        if let Ok(resolved) = std::fs::canonicalize(named) {
            allowed.push(if is_directory {
                resolved.join("*")
            } else {
                resolved
            });
        }
    }
    Ok(allowed)
}

/// Records a revision that a note names. Whether that was new, or why it is not recorded.
fn record(
    note: &Note,
    allowed: &[PathBuf],
    (notes, catch_up_max): (&Notes, u64),
    journal: &mut Journal,
) -> Result<std::result::Result<bool, String>> {
    let path = Path::new(&note.repository);
    let shown = escape(&note.repository);
    // Before anything is asked of the file system: somebody may name a place where it hangs.
    if !allowed.iter().any(|pattern| admits(pattern, path)) {
        return Ok(Err(format!(
            "{shown} is none of `repositories` in auto-dispatcher.cfg, nor in the ledger"
        )));
    }
    let revision = note.revision;
    let youngest = repository_files::youngest(path);
    let there = repository_files::canonical(path).and_then(|canonical| {
        repository_files::read_uuid(path).map(|uuid| canonical == path && uuid == note.uuid)
    });
    let youngest = match (there, youngest) {
        (Err(error), _) => return Ok(Err(error.message)),
        (Ok(false), _) => return Ok(Err(format!("{shown} is not the repository that it names"))),
        (Ok(true), Some(youngest)) if revision <= youngest => youngest,
        _ => return Ok(Err(format!("{shown} has no r{revision}"))),
    };
    match journal.standing(path, &note.uuid, revision)? {
        Standing::Recorded => return Ok(Ok(false)),
        Standing::Unknown if youngest - revision > catch_up_max => {
            return Ok(Err(format!(
                "r{revision} of {shown}, whose ledger would begin there, is older than `catch_up_max` revisions; \
                 `replay` dispatches it"
            )));
        }
        Standing::Below(first) => {
            return Ok(Err(format!(
                "r{revision} of {shown} lies below r{first}, where its ledger begins; `replay` dispatches it"
            )));
        }
        Standing::Unknown | Standing::New => {}
    }
    let places = locate(
        &Request {
            repository: Some(path.to_owned()),
            ..notes.request.clone()
        },
        &notes.environment,
    );
    let netrc = places.netrc.as_deref().filter(|_| places.netrc_is_named);
    journal.record_revision(
        &NewBatch {
            repository: path,
            uuid: &note.uuid,
            revision,
            rules_file: places.rules().ok(),
            netrc_file: netrc,
        },
        Utc::now(),
    )?;
    Ok(Ok(true))
}
