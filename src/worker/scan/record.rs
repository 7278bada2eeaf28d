//! Files on their way into the journal: a copy in the spool that is sure to be of one unchanging file, and one record
//! of the file and of everything that comes of it.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use chrono::Utc;

use super::{AT_ONCE, Scanner};
use crate::domain::change::Change;
use crate::domain::drop_directory::{After, FileStamp};
use crate::domain::event::Event;
use crate::domain::plan::Plan;
use crate::error::Result;
use crate::fail_points;
use crate::journal::{Dropped, Journal, PlannedBatch, Source};
use crate::source::contents;
use crate::source::directory::Root;
use crate::spool::{Artifact, Keep, Outside};
use crate::worker::Context;
use crate::worker::counting::Counting;

/// Files, and bytes of them, that are recorded together, at most.
const RECORDED_AT_ONCE: usize = 50;
const BYTES_AT_ONCE: u64 = 64 << 20;

/// A file that is to be recorded.
pub(super) struct Ready {
    pub(super) path: String,
    pub(super) stamp: FileStamp,
    pub(super) change: Change,
    pub(super) plan: Plan,
    /// When it was planned, as `dest_dir` shows it.
    pub(super) dated: String,
    pub(super) artifact: Option<(String, u64)>,
}

/// A file that is known.
pub(super) struct Seen {
    pub(super) row: i64,
    pub(super) path: String,
    pub(super) stamp: FileStamp,
    /// Whether somebody may have meant it to be new.
    pub(super) is_told: bool,
}

/// One round of taking.
#[derive(Default)]
pub(super) struct Round {
    /// Held from the first copy until the journal knows of it.
    pub(super) keep: Option<Keep>,
    pub(super) ready: Vec<Ready>,
    pub(super) bytes: u64,
    pub(super) known: Vec<Seen>,
    /// Records that were found again: each is one file's.
    pub(super) claimed: HashSet<i64>,
    /// How many known files somebody may have meant to be new, and the first of them.
    pub(super) told: usize,
    pub(super) first_told: String,
}

impl Scanner<'_> {
    /// Copies a file into the spool; none where it changed meanwhile.
    pub(super) fn copy(
        &self,
        root: &Root,
        file: &mut File,
        path: &str,
        stamp: FileStamp,
        round: &mut Round,
    ) -> Result<Option<(String, u64)>> {
        let keep = match &mut round.keep {
            Some(keep) => keep,
            none => none.insert(self.context.spool.keep()?),
        };
        let shown = self.terms.directory.join(path);
        let artifact = store(self.context, &self.journal, keep, file, &shown, stamp.size)?;
        let is_whole = artifact.size == stamp.size && is_unchanged(root, path, stamp, file);
        Ok(is_whole.then_some((artifact.sha256, artifact.size)))
    }

    /// Notes how known files look now.
    fn see_again(&mut self, round: &mut Round) -> Result<()> {
        let known = std::mem::take(&mut round.known);
        if known.is_empty() {
            return Ok(());
        }
        let rows: Vec<(i64, String, FileStamp)> = known
            .iter()
            .map(|seen| (seen.row, seen.path.clone(), seen.stamp))
            .collect();
        self.journal.see_dropped_again(&rows, Utc::now())?;
        for seen in known {
            self.praise(&seen.path);
            self.settling.forget(&seen.path);
            self.tree.judge(&seen.path, seen.stamp);
        }
        self.leaving.wake();
        Ok(())
    }

    /// Records what is ready, all of it or nothing, and lets the lanes know.
    pub(super) fn record(&mut self, round: &mut Round) -> Result<()> {
        self.see_again(round)?;
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
        for (one, batch) in ready.iter().zip(batches) {
            self.praise(&one.path);
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
        // Only now, so that nobody hears of a delivery before he hears of its file.
        self.context.wake.now();
        Ok(())
    }
}

impl Round {
    pub(super) fn know(&mut self, seen: Seen) {
        self.claimed.insert(seen.row);
        if seen.is_told {
            if self.told == 0 {
                self.first_told.clone_from(&seen.path);
            }
            self.told += 1;
        }
        self.known.push(seen);
    }

    pub(super) fn is_full(&self) -> bool {
        self.ready.len() >= RECORDED_AT_ONCE
            || self.bytes >= BYTES_AT_ONCE
            || self.known.len() >= AT_ONCE
    }

    pub(super) fn add(&mut self, ready: Ready) {
        self.bytes += ready.stamp.size;
        self.ready.push(ready);
    }
}

impl Ready {
    pub(super) fn lanes(&self) -> impl Iterator<Item = String> {
        self.plan.deliveries.iter().map(|one| one.target.lane())
    }
}

/// Whether the file that was read is still the one at its path, and nobody has written to it.
pub(super) fn is_unchanged(root: &Root, path: &str, stamp: FileStamp, file: &File) -> bool {
    root.stamp_of_file(file).is_ok_and(|now| now == stamp)
        && root.stamp(path).is_ok_and(|now| now == Some(stamp))
}

/// Copies a file of that size into the spool. Somebody may write faster than we read: more than one byte more is not
/// wanted, and shows that it changed.
pub(super) fn store(
    context: &Context,
    journal: &Journal,
    keep: &Keep,
    file: &mut File,
    shown: &Path,
    size: u64,
) -> Result<Artifact> {
    let outside = Outside {
        want: &|sha256| journal.artifact_want(sha256),
        tell: &|message| context.emit(&Event::Notice { message }),
        is_its_turn: false,
    };
    let mut tell = |bytes| {
        context.emit(&Event::Copying {
            path: shown.to_string_lossy().into_owned(),
            bytes,
            total: size,
        });
    };
    let artifact = context.spool.store(keep, size, &outside, |out| {
        let mut most = (&mut *file).take(size + 1);
        let mut out = Counting::new(out, &mut tell);
        contents::copy(&mut most, shown, &|| !context.stop.is_raised(), &mut out)
    })?;
    fail_points::hit("scan.copied");
    Ok(artifact)
}
