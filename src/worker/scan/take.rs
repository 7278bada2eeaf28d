//! Taking what has settled: is it new, which rule takes it, a copy in the spool that is sure to be of one unchanging
//! file, and one record of all that. In the order in which files were last written: what goes to one target
//! arrives in that order.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use chrono::{Local, Utc};

use super::walk::is_marked;
use super::{AT_ONCE, Scanner};
use crate::domain::change::{Action, Change};
use crate::domain::drop_directory::{After, FileStamp, Look};
use crate::domain::event::Event;
use crate::domain::plan::{Filter, Plan};
use crate::domain::rule::Choice;
use crate::error::{Error, ErrorKind, Result};
use crate::fail_points;
use crate::journal::{Dropped, DroppedRow, PlannedBatch, Source};
use crate::source::contents;
use crate::source::directory::{Root, stamp_of_file, writers_of};
use crate::spool::{Keep, Outside};
use crate::worker::configurations::Loaded;
use crate::worker::planner::plan_changes;

/// Pause before a file that found no room is tried again.
const ROOM_PAUSE: Duration = Duration::from_secs(1);
/// How long a file is open for writing before that is worth a line.
const OPEN_TOLD: Duration = Duration::from_mins(1);
/// Files, and bytes of them, that are recorded together, at most.
const RECORDED_AT_ONCE: usize = 50;
const BYTES_AT_ONCE: u64 = 64 << 20;

/// A file that is to be recorded.
struct Ready {
    path: String,
    stamp: FileStamp,
    change: Change,
    plan: Plan,
    /// When it was planned, as `dest_dir` shows it.
    dated: String,
    artifact: Option<(String, u64)>,
}

/// What became of a file that had settled.
enum Taken {
    /// It is to be recorded.
    Ready(Box<Ready>),
    /// It is the one that was known.
    Known,
    /// It changed while it was read.
    Restless,
    /// It cannot be taken for now, and is tried again after a pause.
    Later(Duration),
}

/// One round of taking.
struct Round {
    /// Held from the first copy until the journal knows of it.
    keep: Option<Keep>,
    ready: Vec<Ready>,
    bytes: u64,
}

impl Scanner<'_> {
    /// Takes what has settled. Whether there is more of it at once.
    pub(super) fn take_what_is_due(&mut self, root: &Root) -> Result<bool> {
        let due = self.settling.due(self.now(), AT_ONCE);
        if due.is_empty() {
            return Ok(false);
        }
        let is_more = due.len() == AT_ONCE;
        let mut settled = self.look_at(root, &due);
        self.leave_out_what_is_written(&mut settled);
        if settled.is_empty() {
            return Ok(is_more);
        }
        settled.sort_by(|(path, stamp), (other, other_stamp)| {
            (stamp.modified_ns, path).cmp(&(other_stamp.modified_ns, other))
        });
        let loaded = self.context.configurations.of(
            Some(&self.job.rules_file),
            self.job.netrc_file.as_deref(),
            None,
        );
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                let pause = Duration::from_secs(self.context.settings.plan_retry_s);
                for (path, _) in &settled {
                    self.settling.postpone(path, self.now(), pause);
                }
                self.trouble("rules", Some(error.one_line()));
                return Ok(is_more);
            }
        };
        self.trouble("rules", None);
        for message in loaded.warnings_once() {
            self.context.emit(&Event::Notice { message });
        }
        let mut round = Round {
            keep: None,
            ready: Vec::new(),
            bytes: 0,
        };
        let settling = &self.settling;
        self.held.retain(|(_, path), _| settling.has(path));
        for (path, stamp) in settled {
            if self.context.stop.is_raised() {
                break;
            }
            match self.take(root, &loaded, &path, stamp, &mut round)? {
                Taken::Ready(ready) => round.add(*ready),
                Taken::Known => {
                    self.settling.forget(&path);
                    self.tree.judge(&path, stamp);
                }
                Taken::Restless => self.settling.changes(&path, self.now()),
                Taken::Later(pause) => self.settling.postpone(&path, self.now(), pause),
            }
            if round.ready.len() >= RECORDED_AT_ONCE || round.bytes >= BYTES_AT_ONCE {
                self.record(&mut round)?;
            }
        }
        self.record(&mut round)?;
        if self.held.is_empty() {
            self.trouble("room", None);
        }
        Ok(is_more)
    }

    /// Looks at files that are due; returns those that did not change.
    fn look_at(&mut self, root: &Root, due: &[String]) -> Vec<(String, FileStamp)> {
        let mut settled = Vec::new();
        for path in due {
            match root.stamp(path) {
                Ok(None) => self.is_gone(path),
                Ok(Some(stamp)) if self.tree.judged(path) == Some(stamp) => {
                    self.settling.forget(path);
                }
                Ok(Some(stamp)) => {
                    let marker = self.marker_now(root, path);
                    if self.terms.filter.marker.is_some() && !is_marked(stamp, marker) {
                        self.settling.forget(path);
                    } else if self.settling.look(path, stamp, self.now()) == Look::Settled {
                        settled.push((path.clone(), stamp));
                    }
                }
                Err(error) => self.cannot_read(path, &error.to_string()),
            }
        }
        settled
    }

    fn leave_out_what_is_written(&mut self, settled: &mut Vec<(String, FileStamp)>) {
        if settled.is_empty() {
            return;
        }
        let files: Vec<(u64, u64)> = settled
            .iter()
            .map(|(_, stamp)| (stamp.device, stamp.inode))
            .collect();
        let writers = writers_of(&files);
        if writers.is_empty() {
            return;
        }
        settled.retain(|(path, stamp)| {
            let Some(writer) = writers.get(&(stamp.device, stamp.inode)) else {
                return true;
            };
            if self.settling.is_open(path, self.now()) >= OPEN_TOLD {
                let why = format!(
                    "does not change, but process {} ({}) has it open for writing; it is waited for",
                    writer.pid, writer.name
                );
                self.complain(path, &why);
            }
            false
        });
    }

    fn cannot_read(&mut self, path: &str, why: &str) {
        self.complain(path, &format!("cannot be read: {why}; it is tried again"));
        let pause = Duration::from_secs(self.terms.interval_s);
        self.settling.postpone(path, self.now(), pause);
    }

    fn take(
        &mut self,
        root: &Root,
        loaded: &Loaded,
        path: &str,
        stamp: FileStamp,
        round: &mut Round,
    ) -> Result<Taken> {
        let (mut file, found) = match root.file(path) {
            Ok(opened) => opened,
            Err(error) => {
                self.cannot_read(path, &error.to_string());
                return Ok(Taken::Later(Duration::from_secs(self.terms.interval_s)));
            }
        };
        if found != stamp {
            return Ok(Taken::Restless);
        }
        self.praise(path);
        let known = match self.known(root, loaded, path, stamp, &mut file) {
            Ok(known) => known,
            Err(error) if error.kind == ErrorKind::Source => {
                return Ok(self.unreadable(path, &error));
            }
            Err(error) => return Err(error),
        };
        if !is_unchanged(root, path, stamp, &file) {
            return Ok(Taken::Restless);
        }
        if let Some(known) = known {
            self.journal.see_dropped_again(known.id, path, stamp)?;
            return Ok(Taken::Known);
        }
        let change = Change {
            path: path.to_owned(),
            action: Action::Added,
            skipped: None,
        };
        let dated = Local::now().format("%Y%m%d_%H%M%S").to_string();
        let plan = plan_changes(
            loaded,
            std::slice::from_ref(&change),
            &dated,
            &Filter::default(),
        );
        let mut ready = Ready {
            path: path.to_owned(),
            stamp,
            change,
            plan,
            dated,
            artifact: None,
        };
        if ready.plan.deliveries.is_empty() {
            return Ok(Taken::Ready(Box::new(ready)));
        }
        let place = (stamp.modified_ns, path.to_owned());
        if self.is_held(&place, &ready) {
            self.held.insert(place, ready.lanes().collect());
            return Ok(Taken::Later(ROOM_PAUSE));
        }
        match self.copy(root, &mut file, path, stamp, round) {
            Ok(Some(artifact)) => {
                self.held.remove(&place);
                ready.artifact = Some(artifact);
                Ok(Taken::Ready(Box::new(ready)))
            }
            Ok(None) => Ok(Taken::Restless),
            Err(error) if error.kind == ErrorKind::NoRoom => {
                self.held.insert(place, ready.lanes().collect());
                let shown = self.terms.directory.join(path);
                self.trouble(
                    "room",
                    Some(format!("{}: {}", shown.display(), error.one_line())),
                );
                Ok(Taken::Later(ROOM_PAUSE))
            }
            Err(error) if error.kind == ErrorKind::Source => Ok(self.unreadable(path, &error)),
            Err(error) => Err(error),
        }
    }

    /// Whether an earlier file waits for room that goes to one of the same targets.
    fn is_held(&self, place: &(i64, String), ready: &Ready) -> bool {
        self.held
            .range(..place.clone())
            .any(|(_, lanes)| ready.lanes().any(|lane| lanes.contains(&lane)))
    }

    fn unreadable(&mut self, path: &str, error: &Error) -> Taken {
        self.cannot_read(path, &error.one_line());
        Taken::Later(Duration::from_secs(self.terms.interval_s))
    }

    /// The record of this very file with this very content, if there is one: it was only touched, came back, or was
    /// moved here from elsewhere in the directory, to where the same rule takes it.
    fn known(
        &self,
        root: &Root,
        loaded: &Loaded,
        path: &str,
        stamp: FileStamp,
        file: &mut File,
    ) -> Result<Option<DroppedRow>> {
        let mut digest = None;
        if let Some(row) = self.journal.dropped_at(self.row.id, path)? {
            return Ok(self
                .is_same(&row, path, stamp, file, &mut digest)?
                .then_some(row));
        }
        let rule_at = |path: &str| {
            let name = crate::domain::change::base_name(path);
            match loaded.rules().choose(name, path) {
                Choice::Rule(rule) => Some(rule.name.clone()),
                _ => None,
            }
        };
        for row in self
            .journal
            .dropped_elsewhere(self.row.id, path, stamp.size)?
        {
            // What lies on a file system that is not mounted is not here.
            let has_left = row.stamp.device == stamp.device
                && root.stamp(&row.path).is_ok_and(|found| found.is_none());
            if has_left
                && rule_at(&row.path) == rule_at(path)
                && self.is_same(&row, path, stamp, file, &mut digest)?
            {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// Whether a file holds what its record says.
    fn is_same(
        &self,
        row: &DroppedRow,
        path: &str,
        stamp: FileStamp,
        file: &mut File,
        digest: &mut Option<String>,
    ) -> Result<bool> {
        if row.stamp == stamp {
            return Ok(true);
        }
        let Some(sha256) = &row.sha256 else {
            return Ok(row.stamp.has_content_of(&stamp));
        };
        if row.stamp.size != stamp.size {
            return Ok(false);
        }
        if digest.is_none() {
            let shown = self.terms.directory.join(path);
            *digest = Some(contents::digest(
                &mut (&mut *file).take(stamp.size + 1),
                &shown,
                &|| !self.context.stop.is_raised(),
            )?);
            file.seek(SeekFrom::Start(0))
                .map_err(|error| Error::io(ErrorKind::Source, "cannot read", &shown, &error))?;
        }
        Ok(digest.as_ref() == Some(sha256))
    }

    /// Copies a file into the spool; none where it changed meanwhile.
    fn copy(
        &self,
        root: &Root,
        file: &mut File,
        path: &str,
        stamp: FileStamp,
        round: &mut Round,
    ) -> Result<Option<(String, u64)>> {
        let context = self.context;
        let keep = match &mut round.keep {
            Some(keep) => keep,
            none => none.insert(context.spool.keep()?),
        };
        let outside = Outside {
            want: &|sha256| self.journal.artifact_want(sha256),
            tell: &|message| context.emit(&Event::Notice { message }),
        };
        let shown = self.terms.directory.join(path);
        let artifact = context.spool.store(keep, stamp.size, &outside, |out| {
            // Somebody may write faster than we read; more than was there is not wanted.
            let mut most = (&mut *file).take(stamp.size + 1);
            contents::copy(&mut most, &shown, &|| !context.stop.is_raised(), out)
        })?;
        fail_points::hit("scan.copied");
        let is_whole = artifact.size == stamp.size && is_unchanged(root, path, stamp, file);
        Ok(is_whole.then_some((artifact.sha256, artifact.size)))
    }

    /// Records what is ready, all of it or nothing, and lets the lanes know.
    fn record(&mut self, round: &mut Round) -> Result<()> {
        let ready = std::mem::take(&mut round.ready);
        round.bytes = 0;
        if ready.is_empty() {
            round.keep = None;
            return Ok(());
        }
        let directory = &self.terms.directory;
        let artifacts: Vec<[Option<(String, u64)>; 1]> =
            ready.iter().map(|one| [one.artifact.clone()]).collect();
        let files: Vec<Dropped<'_>> = ready
            .iter()
            .zip(&artifacts)
            .map(|(one, artifacts)| Dropped {
                directory: self.row.id,
                path: &one.path,
                stamp: one.stamp,
                sha256: one.artifact.as_ref().map(|(sha256, _)| sha256.as_str()),
                leaves: self.terms.after != After::Keep,
                batch: PlannedBatch {
                    source: Source::Directory,
                    replayed: None,
                    is_part: false,
                    directory: Some(directory),
                    author: None,
                    rules_file: Some(&self.job.rules_file),
                    netrc_file: self.job.netrc_file.as_deref(),
                    stamp: &one.dated,
                    changes: std::slice::from_ref(&one.change),
                    artifacts,
                    plan: &one.plan,
                },
            })
            .collect();
        let batches = self.journal.record_dropped(&files, Utc::now())?;
        fail_points::hit("scan.recorded");
        round.keep = None;
        self.context.wake.now();
        for (one, batch) in ready.iter().zip(batches) {
            self.settling.forget(&one.path);
            self.tree.judge(&one.path, one.stamp);
            if one.plan.deliveries.is_empty() {
                self.digests.wake();
            } else {
                self.leaving.wake();
            }
            self.context.emit(&Event::Dropped {
                batch,
                directory: directory.to_string_lossy().into_owned(),
                path: one.path.clone(),
                size: one.stamp.size,
                deliveries: one.plan.deliveries.len(),
                skipped: one
                    .plan
                    .skips
                    .first()
                    .map(|skip| (skip.reason.to_string(), skip.reason.is_trouble())),
            });
        }
        Ok(())
    }
}

impl Round {
    fn add(&mut self, ready: Ready) {
        self.bytes += ready.stamp.size;
        self.ready.push(ready);
    }
}

impl Ready {
    fn lanes(&self) -> impl Iterator<Item = String> {
        self.plan.deliveries.iter().map(|one| one.target.lane())
    }
}

/// Whether the file that was read is still the one at its path, and nobody has written to it.
fn is_unchanged(root: &Root, path: &str, stamp: FileStamp, file: &File) -> bool {
    stamp_of_file(file).is_ok_and(|now| now == stamp)
        && root.stamp(path).is_ok_and(|now| now == Some(stamp))
}
