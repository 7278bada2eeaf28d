//! Large files are copied beside everything else, one at a time: what goes to other targets is not held up meanwhile,
//! and what goes to the same ones waits behind.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::Scanner;
use super::held::Place;
use super::record::{Ready, Round, is_unchanged, store};
use super::take::ROOM_PAUSE;
use crate::error::{Error, ErrorKind, Result};
use crate::source::directory::Root;
use crate::spool::{Artifact, Keep};
use crate::worker::Context;

/// From this size on a file is large.
pub(super) const LARGE_BYTES: u64 = 64 << 20;
/// How soon it is noticed that a copy is made.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A file that is being copied.
pub(super) struct Copying {
    place: Place,
    ready: Ready,
    file: File,
    thread: JoinHandle<Result<(Artifact, Keep)>>,
}

impl Copying {
    /// Whether it is this file.
    pub(super) fn is_of(&self, place: &Place) -> bool {
        self.place == *place
    }
}

impl Scanner<'_> {
    /// Begins to copy a file, which holds its lanes.
    pub(super) fn begin_to_copy(&mut self, file: File, ready: Ready) -> Result<()> {
        let place = (ready.stamp.modified_ns, ready.path.clone());
        let shown = self.terms.directory.join(&ready.path);
        let failed = |error: &std::io::Error| {
            Error::io(ErrorKind::State, "cannot begin to copy", &shown, error)
        };
        let (mut from, path) = (
            file.try_clone().map_err(|error| failed(&error))?,
            shown.clone(),
        );
        let (context, size) = (Arc::clone(self.context), ready.stamp.size);
        let thread = std::thread::Builder::new()
            .name("copy".to_owned())
            .spawn(move || copy(&context, &mut from, &path, size))
            .map_err(|error| failed(&error))?;
        self.held.hold(place.clone(), ready.lanes().collect());
        self.copying = Some(Copying {
            place,
            ready,
            file,
            thread,
        });
        Ok(())
    }

    /// Records a file whose copy is made, and lets go on what waited behind it.
    pub(super) fn finish_copying(&mut self, root: &Root) -> Result<()> {
        let Some(copying) = self.copying.take_if(|copying| copying.thread.is_finished()) else {
            return Ok(());
        };
        let Copying {
            place,
            mut ready,
            file,
            thread,
        } = copying;
        let result = thread
            .join()
            .unwrap_or_else(|_| Err(Error::state("a bug in auto-dispatcher: a copy panicked")));
        match result {
            Ok((artifact, keep)) => {
                self.held.release(&place);
                let (stamp, path) = (ready.stamp, ready.path.clone());
                if artifact.size == stamp.size && is_unchanged(root, &path, stamp, &file) {
                    ready.artifact = Some((artifact.sha256, artifact.size));
                    let mut round = Round {
                        keep: Some(keep),
                        ..Round::default()
                    };
                    round.add(ready);
                    self.record(&mut round)?;
                } else {
                    self.is_restless(&path);
                }
            }
            Err(error) => {
                let pause = self.cannot_bring_in(&ready, error)?;
                self.settling.postpone(&ready.path, self.now(), pause);
            }
        }
        let now = self.now();
        for path in self.held.paths() {
            self.settling.postpone(path, now, Duration::ZERO);
        }
        Ok(())
    }

    /// What to do about a file that could not be copied: after which pause it is tried again.
    pub(super) fn cannot_bring_in(&mut self, ready: &Ready, error: Error) -> Result<Duration> {
        match error.kind {
            ErrorKind::NoRoom => {
                let place = (ready.stamp.modified_ns, ready.path.clone());
                self.held.hold(place, ready.lanes().collect());
                let shown = self.terms.directory.join(&ready.path);
                let text = format!("{}: {}", shown.display(), error.one_line());
                self.trouble("room", Some(text));
                Ok(ROOM_PAUSE)
            }
            ErrorKind::Source => {
                self.cannot_read(&ready.path, &error.one_line());
                Ok(Duration::from_secs(self.terms.interval_s))
            }
            _ => Err(error),
        }
    }
}

fn copy(context: &Context, from: &mut File, path: &Path, size: u64) -> Result<(Artifact, Keep)> {
    let journal = context.journal()?;
    let keep = context.spool.keep()?;
    let artifact = store(context, &journal, &keep, from, path, size)?;
    Ok((artifact, keep))
}
