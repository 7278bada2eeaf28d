//! Taking what has settled: is it new, which rule takes it, a copy in the spool that is sure to be of one unchanging
//! file, and one record of all that. In the order in which files were last written: what goes to one target
//! arrives in that order.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Local;

use super::Scanner;
use super::copying::LARGE_BYTES;
use super::record::{Ready, Round, Seen, is_unchanged};
use super::walk::is_marked;
use crate::domain::change::{Action, Change};
use crate::domain::drop_directory::{FileStamp, Look};
use crate::domain::event::Event;
use crate::domain::plan::Filter;
use crate::error::{ErrorKind, Result};
use crate::source::directory::{Root, is_link, is_nothing, writers_of};
use crate::worker::configurations::Loaded;
use crate::worker::planner::plan_changes;

/// Pause before a file that found no room is tried again.
pub(super) const ROOM_PAUSE: Duration = Duration::from_secs(1);
/// Files that wait are looked at together.
const ROOM_TICK: Duration = Duration::from_millis(250);
/// So much longer for each file that waits.
const ROOM_PAUSE_EACH: Duration = Duration::from_micros(500);
/// Pause before a file with its marker is looked at again that changed while it was read.
const MARKED_PAUSE: Duration = Duration::from_secs(1);
/// Pause before a file is opened again that somebody is asked to give free first (a lease).
const LEASE_PAUSE: Duration = Duration::from_secs(1);
/// After how many files it is heard what happens meanwhile.
const HEARD_EVERY: usize = 64;
/// How long a file is open for writing before that is worth a line.
const OPEN_TOLD: Duration = Duration::from_mins(1);

/// What became of a file that had settled.
pub(super) enum Taken {
    /// It is to be recorded.
    Ready(Box<Ready>),
    /// It is the one that was known.
    Known(Seen),
    /// It changed while it was read.
    Restless,
    /// It cannot be taken for now, and is tried again after a pause.
    Later(Duration),
}

impl Scanner<'_> {
    /// Takes what has settled, all of it in the order in which it was written.
    pub(super) fn take_what_is_due(&mut self, root: &Root) -> Result<()> {
        if self.rules_again.is_some_and(|again| again > Instant::now()) {
            return Ok(());
        }
        let due = self.settling.due(self.now(), usize::MAX);
        let mut settled = self.look_at(root, &due);
        self.leave_out_what_waits(&mut settled);
        self.leave_out_what_is_written(root, &mut settled);
        if settled.is_empty() {
            return Ok(());
        }
        settled.sort_by(|(path, stamp), (other, other_stamp)| {
            (stamp.modified_ns, path).cmp(&(other_stamp.modified_ns, other))
        });
        let Some(loaded) = self.rules() else {
            return Ok(());
        };
        let mut round = Round::default();
        let settling = &self.settling;
        self.held.retain(|path| settling.has(path));
        for (index, (path, stamp)) in settled.into_iter().enumerate() {
            if self.context.stop.is_raised() {
                break;
            }
            if index % HEARD_EVERY == HEARD_EVERY - 1 {
                self.hear(root)?;
            }
            match self.take(root, &loaded, &path, stamp, &mut round)? {
                Taken::Ready(ready) => round.add(*ready),
                Taken::Known(seen) => round.know(seen),
                Taken::Restless => self.is_restless(&path),
                Taken::Later(pause) => self.settling.postpone(&path, self.now(), pause),
            }
            if round.is_full() {
                self.record(&mut round)?;
            }
        }
        self.record(&mut round)?;
        self.tell_of_known(&round);
        Ok(())
    }

    /// A file changed while it was read: it has to settle again, or to be marked as whole once more.
    pub(super) fn is_restless(&mut self, path: &str) {
        let now = self.now();
        if self.terms.filter.marker.is_some() {
            self.settling.postpone(path, now, MARKED_PAUSE);
        } else {
            self.settling.changes(path, now);
        }
    }

    /// The rules, unless they are broken: then nothing is taken before they are read again, so that nothing overtakes.
    fn rules(&mut self) -> Option<Arc<Loaded>> {
        let loaded = self.context.configurations.of(
            Some(&self.job.rules_file),
            self.job.netrc_file.as_deref(),
            None,
        );
        match loaded {
            Ok(loaded) => {
                self.rules_again = None;
                self.trouble("rules", None);
                for message in loaded.warnings_once() {
                    self.context.emit(&Event::Notice { message });
                }
                Some(loaded)
            }
            Err(error) => {
                let pause = Duration::from_secs(self.context.settings.plan_retry_s);
                self.rules_again = Some(Instant::now() + pause);
                self.trouble("rules", Some(error.one_line()));
                None
            }
        }
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
                    if self.terms.filter.marker.is_some() {
                        if is_marked(stamp, marker) {
                            settled.push((path.clone(), stamp));
                        } else {
                            self.settling.forget(path);
                        }
                    } else if self.settling.look(path, stamp, self.now()) == Look::Settled {
                        settled.push((path.clone(), stamp));
                    }
                }
                Err(error) if is_link(&error) => self.is_gone(path),
                Err(error) => self.cannot_read(path, &error.to_string()),
            }
        }
        settled
    }

    /// What is being copied, or stands behind another file, waits: all of it for the next turn of the same clock.
    fn leave_out_what_waits(&mut self, settled: &mut Vec<(String, FileStamp)>) {
        if self.held.is_empty() {
            return;
        }
        settled.retain(|(path, stamp)| {
            let Some(pause) = self.waits(path, *stamp) else {
                return true;
            };
            self.settling.postpone(path, self.now(), pause);
            false
        });
    }

    fn leave_out_what_is_written(&mut self, root: &Root, settled: &mut Vec<(String, FileStamp)>) {
        if settled.is_empty() {
            return;
        }
        let files: HashSet<(u64, u64)> = settled
            .iter()
            .map(|(_, stamp)| root.file_of(*stamp))
            .collect();
        let writers = writers_of(&files);
        if writers.is_empty() {
            return;
        }
        settled.retain(|(path, stamp)| {
            let Some(writer) = writers.get(&root.file_of(*stamp)) else {
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

    pub(super) fn cannot_read(&mut self, path: &str, why: &str) {
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
        if let Some(pause) = self.waits(path, stamp) {
            return Ok(Taken::Later(pause));
        }
        let mut file = match self.open(root, path, stamp) {
            Ok(file) => file,
            Err(taken) => return Ok(taken),
        };
        let known = match self.known(root, loaded, path, stamp, &mut file, &round.claimed) {
            Err(error) if error.kind == ErrorKind::Source => {
                return Ok(self.unreadable(path, &error.one_line()));
            }
            other => other?,
        };
        if !is_unchanged(root, path, stamp, &file) {
            return Ok(Taken::Restless);
        }
        let ready = planned(loaded, path, stamp);
        // What no rule took then is new when it comes again and one takes it.
        if let Some(known) = known
            && (!known.is_skipped || ready.plan.deliveries.is_empty())
        {
            return Ok(Taken::Known(Seen {
                row: known.id,
                path: path.to_owned(),
                stamp,
                is_told: !known.is_skipped
                    && !known.is_stock
                    && known.stamp.modified_ns != stamp.modified_ns,
            }));
        }
        if ready.plan.deliveries.is_empty() {
            return Ok(Taken::Ready(Box::new(ready)));
        }
        self.bring_in(root, file, ready, round)
    }

    /// How long a file that is being copied, or stands behind another one, is not looked at.
    fn waits(&mut self, path: &str, stamp: FileStamp) -> Option<Duration> {
        let place = (stamp.modified_ns, path.to_owned());
        let copying = self.copying.as_ref();
        if copying.is_some_and(|copying| copying.is_of(&place)) {
            return Some(ROOM_PAUSE);
        }
        self.held.renew(&place);
        let lanes = self.held.lanes(&place)?;
        self.held
            .is_behind(&place, lanes)
            .then(|| self.room_pause())
    }

    /// Opens a file that has settled, if it still is the one that did.
    pub(super) fn open(
        &mut self,
        root: &Root,
        path: &str,
        stamp: FileStamp,
    ) -> Result<File, Taken> {
        match root.file(path) {
            Ok((file, found)) if found == stamp => Ok(file),
            Ok(_) => Err(Taken::Restless),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(Taken::Later(LEASE_PAUSE))
            }
            // It went, or something else has its name: the next look tells.
            Err(error) if is_nothing(&error) || is_link(&error) => Err(Taken::Restless),
            Err(error) => Err(self.unreadable(path, &error.to_string())),
        }
    }

    /// Copies a new file into the spool, if there is room and nothing is to go before it.
    fn bring_in(
        &mut self,
        root: &Root,
        mut file: File,
        mut ready: Ready,
        round: &mut Round,
    ) -> Result<Taken> {
        let stamp = ready.stamp;
        let most = self.context.settings.spool_max_bytes;
        if stamp.size > most {
            let why = format!(
                "{} bytes are more than the spool may ever hold (spool_max is {most}); it is not dispatched",
                stamp.size
            );
            self.complain(&ready.path, &why);
            return Ok(Taken::Later(Duration::from_secs(self.terms.interval_s)));
        }
        let place = (stamp.modified_ns, ready.path.clone());
        let lanes: Vec<String> = ready.lanes().collect();
        if self.held.is_behind(&place, &lanes) {
            self.held.hold(place, lanes);
            return Ok(Taken::Later(self.room_pause()));
        }
        if stamp.size >= LARGE_BYTES {
            if self.copying.is_some() {
                self.held.hold(place, lanes);
                return Ok(Taken::Later(self.room_pause()));
            }
            self.begin_to_copy(file, ready)?;
            return Ok(Taken::Later(ROOM_PAUSE));
        }
        match self.copy(root, &mut file, &ready.path, stamp, round) {
            Ok(Some(artifact)) => {
                self.held.release(&place);
                ready.artifact = Some(artifact);
                Ok(Taken::Ready(Box::new(ready)))
            }
            Ok(None) => Ok(Taken::Restless),
            Err(error) => self
                .cannot_bring_in(&ready, error)
                .map(|pause| Taken::Later(pause.max(self.room_pause()))),
        }
    }

    /// Pause before files are tried again that found no room: the more there are, the longer. It ends for all of them
    /// at the same moment.
    fn room_pause(&self) -> Duration {
        let least =
            ROOM_PAUSE.max(ROOM_PAUSE_EACH * u32::try_from(self.held.len()).unwrap_or(u32::MAX));
        let end = (self.now() + least).as_millis() / ROOM_TICK.as_millis() + 1;
        let end = ROOM_TICK * u32::try_from(end).unwrap_or(u32::MAX);
        end.saturating_sub(self.now())
    }

    /// What waited for room may have gone.
    pub(super) fn see_whether_there_is_room(&mut self) {
        if self.troubles.contains_key("room") {
            let settling = &self.settling;
            self.held.retain(|path| settling.has(path));
            if self.held.is_empty() {
                self.trouble("room", None);
            }
        }
    }

    fn unreadable(&mut self, path: &str, why: &str) -> Taken {
        self.cannot_read(path, why);
        Taken::Later(Duration::from_secs(self.terms.interval_s))
    }
}

/// What comes of a file by these rules.
pub(super) fn planned(loaded: &Loaded, path: &str, stamp: FileStamp) -> Ready {
    let change = Change {
        path: path.to_owned(),
        action: Action::Added,
        skipped: None,
    };
    let dated = Local::now().format("%Y%m%d_%H%M%S").to_string();
    let changes = std::slice::from_ref(&change);
    let plan = plan_changes(loaded, changes, &dated, &Filter::default());
    Ready {
        path: path.to_owned(),
        stamp,
        change,
        plan,
        dated,
        artifact: None,
    }
}
