//! What a scan would do with what lies in a drop directory now: the scanner's own judgement, on a draft of the journal.
//! Records nothing, copies nothing and waits for nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;

use super::jobs::look_for_all;
use super::lock;
use super::take::planned;
use super::{Job, Scanner};
use crate::domain::change::Change;
use crate::domain::drop_directory::{After, FileStamp, join};
use crate::domain::plan::Plan;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::source::directory::{Interest, Kind, Root, Writer, list, writers_of};
use crate::state_dir::StateDir;
use crate::worker::Context;
use crate::worker::configurations::Loaded;

/// What would become of a file that is not known as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is new, and would be taken.
    New,
    /// Another one was known under its name, and it would be taken.
    Changed,
    /// It holds what was known, and would not be taken again.
    Known,
    /// It would be taken if it did not change for so many seconds more.
    Settling(u64),
    /// A process has it open for writing.
    Written {
        /// Number of the process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// It cannot be taken.
    Stuck(String),
}

impl Fate {
    /// Whether it would be dispatched, now or when it has settled.
    pub fn is_taken(&self) -> bool {
        matches!(
            self,
            Self::New | Self::Changed | Self::Settling(_) | Self::Written { .. }
        )
    }
}

/// A file that is not known as it is.
#[derive(Debug)]
pub struct Previewed {
    /// Bytes.
    pub size: u64,
    /// What would become of it.
    pub fate: Fate,
    /// The file, as plans know it.
    pub change: Change,
    /// What would come of it.
    pub plan: Plan,
    /// The stamp of its batch, if it were recorded now.
    pub stamp: String,
}

/// What the files of one look have in common.
struct Looks<'a> {
    loaded: &'a Loaded,
    writers: HashMap<(u64, u64), Writer>,
    /// Records that were found again: each is one file's.
    claimed: HashSet<i64>,
}

/// What a scan of one directory would do.
#[derive(Debug, Default)]
pub struct Preview {
    /// Files that would be taken stock of and not dispatched.
    pub stock: u64,
    /// Files that are known as they are.
    pub known: u64,
    /// Files whose names are left out.
    pub filtered: u64,
    /// Files without their markers.
    pub unmarked: u64,
    /// The others, in the order in which they would be taken.
    pub files: Vec<Previewed>,
    /// Files whose deliveries are done and that would leave at once.
    pub leaving: Vec<String>,
    /// Whether another process scans the directory, so that no second one could.
    pub is_scanned: bool,
}

/// Looks at the directory of a job. `kept` is the state directory with its journal, where there is one. The context
/// hears of what a scan would complain of.
pub fn preview(
    context: &Arc<Context>,
    job: &Job,
    kept: Option<&(StateDir, Journal)>,
) -> Result<Preview> {
    look_for_all(std::slice::from_ref(job))?;
    let terms = &job.terms;
    let path = kept.map(|(state, _)| state.journal());
    let mut journal = Journal::draft(path.as_deref(), &terms.directory)?;
    let row = journal.drop_directory(&terms.directory, Utc::now())?;
    let mut preview = Preview::default();
    if let Some((state, journal)) = kept {
        let known = journal.drop_directories()?;
        let is_known = known.iter().any(|known| known.path == terms.directory);
        preview.is_scanned = (is_known && lock::is_held(state, &row))
            || known
                .iter()
                .any(|other| lock::look_for_overlap(state, terms, other).is_err());
        if is_known && terms.after != After::Keep {
            let ready = journal.ready_to_leave(row.id)?;
            preview.leaving = ready.into_iter().map(|row| row.path).collect();
        }
    }
    let mut scanner = Scanner::with(context, job, journal, row, None)?;
    scanner.greets = false;
    scanner.preview(&mut preview)?;
    Ok(preview)
}

impl Scanner<'_> {
    fn preview(&mut self, preview: &mut Preview) -> Result<()> {
        let Some(root) = self.look()? else {
            let why: Vec<String> = self.troubles.values().cloned().collect();
            return Err(Error::source(format!("cannot scan: {}", why.join("; "))));
        };
        self.walk_from(&root, "")?;
        self.flush_gone()?;
        preview.stock = self.stocked;
        preview.known = self.tree.files() as u64 - self.stocked;
        self.count_others(&root, preview);
        let paths: Vec<String> = self.settling.paths().map(str::to_owned).collect();
        let mut found: Vec<(String, FileStamp)> = paths
            .into_iter()
            .filter_map(|path| Some((root.stamp(&path).ok()??, path)))
            .map(|(stamp, path)| (path, stamp))
            .collect();
        // What was known at these names is counted here and not there.
        let changed = |(path, _): &&(String, FileStamp)| self.tree.judged(path).is_some();
        preview.known -= found.iter().filter(changed).count() as u64;
        found.sort_by(|(path, stamp), (other, other_stamp)| {
            (stamp.modified_ns, path).cmp(&(other_stamp.modified_ns, other))
        });
        let loaded = self.context.configurations.of(
            Some(&self.job.rules_file),
            self.job.netrc_file.as_deref(),
            None,
        )?;
        let files = found.iter().map(|(_, stamp)| root.file_of(*stamp));
        let mut looks = Looks {
            loaded: &loaded,
            writers: writers_of(&files.collect()),
            claimed: HashSet::new(),
        };
        for (path, stamp) in found {
            let ready = planned(&loaded, &path, stamp);
            let is_planned = !ready.plan.deliveries.is_empty();
            let fate = self.fate(&root, (&path, stamp), is_planned, &mut looks)?;
            preview.files.push(Previewed {
                size: stamp.size,
                fate,
                change: ready.change,
                plan: ready.plan,
                stamp: ready.dated,
            });
        }
        Ok(())
    }

    fn fate(
        &mut self,
        root: &Root,
        (path, stamp): (&str, FileStamp),
        is_planned: bool,
        looks: &mut Looks<'_>,
    ) -> Result<Fate> {
        if let Some(writer) = looks.writers.remove(&root.file_of(stamp)) {
            return Ok(Fate::Written {
                pid: writer.pid,
                name: writer.name,
            });
        }
        let most = self.context.settings.spool_max_bytes;
        if is_planned && stamp.size > most {
            return Ok(Fate::Stuck(format!(
                "{} bytes are more than the spool may ever hold (spool_max is {most})",
                stamp.size
            )));
        }
        let Ok(mut file) = self.open(root, path, stamp) else {
            return Ok(Fate::Stuck("it cannot be read".to_owned()));
        };
        let known = self.known(root, looks.loaded, path, stamp, &mut file, &looks.claimed);
        let known = match known {
            Err(error) if error.kind == ErrorKind::Source => {
                return Ok(Fate::Stuck(error.one_line()));
            }
            other => other?,
        };
        if let Some(known) = known
            && (!known.is_skipped || !is_planned)
        {
            looks.claimed.insert(known.id);
            return Ok(Fate::Known);
        }
        let is_marked = self.terms.filter.marker.is_some();
        let rest = self.quiet_for(stamp).filter(|_| !is_marked);
        Ok(match rest {
            Some(rest) => Fate::Settling(rest.as_secs().max(1)),
            None if self.tree.judged(path).is_some() => Fate::Changed,
            None => Fate::New,
        })
    }

    /// How long a file has to be left alone still; none: it was for long enough. A time in the future says nothing.
    fn quiet_for(&self, stamp: FileStamp) -> Option<Duration> {
        let now_ns = Utc::now().timestamp_nanos_opt().unwrap_or(i64::MAX);
        let since_ns = now_ns.checked_sub(stamp.changed_ns.max(stamp.modified_ns))?;
        let since = Duration::from_nanos(u64::try_from(since_ns).ok()?);
        Duration::from_secs(self.terms.settle_s)
            .checked_sub(since)
            .filter(|rest| !rest.is_zero())
    }

    /// Counts what the walk did not look at: names that are left out, and files without markers.
    fn count_others(&self, root: &Root, preview: &mut Preview) {
        let filter = &self.terms.filter;
        for directory in self.tree.paths() {
            let listing = root
                .directory(directory)
                .and_then(|open| list(root, &open, &|_| Interest::Any));
            // What cannot be read was complained of.
            for entry in listing.map(|listing| listing.entries).unwrap_or_default() {
                let path = join(directory, &entry.name);
                if !matches!(entry.kind, Kind::File(_)) || filter.marked_by(&entry.name).is_some() {
                    continue;
                }
                if !filter.takes(&path) {
                    preview.filtered += 1;
                } else if self.tree.judged(&path).is_none() && !self.settling.has(&path) {
                    preview.unmarked += 1;
                }
            }
        }
    }
}
