//! Whether a file is one that was seen before: only touched, back again, or moved within the directory.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use super::Scanner;
use super::record::Round;
use crate::domain::change::base_name;
use crate::domain::drop_directory::FileStamp;
use crate::domain::event::Event;
use crate::domain::rule::Choice;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::DroppedRow;
use crate::source::contents;
use crate::source::directory::Root;
use crate::worker::configurations::Loaded;

impl Scanner<'_> {
    /// Somebody may wait in vain for what we hold to be known.
    pub(super) fn tell_of_known(&self, round: &Round) {
        if round.told == 0 {
            return;
        }
        let first = self.terms.directory.join(&round.first_told);
        let others = match round.told - 1 {
            0 => String::new(),
            others => format!(" and {others} others"),
        };
        let message = format!(
            "{}{others}: the same content as before, not dispatched again (`auto-dispatcher send` would, or `retry` if it \
             has failed)",
            first.display()
        );
        self.context.emit(&Event::News { message });
    }

    /// The record of this very file with this very content, if there is one: it was only touched, came back, or was
    /// moved here from elsewhere in the directory, to where the same rule takes it.
    pub(super) fn known(
        &mut self,
        root: &Root,
        loaded: &Loaded,
        path: &str,
        stamp: FileStamp,
        file: &mut File,
        claimed: &HashSet<i64>,
    ) -> Result<Option<DroppedRow>> {
        let mut digest = None;
        if let Some(row) = self.journal.dropped_at(self.row.id, path)?
            && self.is_same(&row, path, stamp, file, &mut digest)?
        {
            return Ok(Some(row));
        }
        let rule_at = |path: &str| {
            let name = base_name(path);
            match loaded.rules().choose(name, path) {
                Choice::Rule(rule) => Some(rule.name.clone()),
                _ => None,
            }
        };
        for row in self
            .journal
            .dropped_elsewhere(self.row.id, path, stamp.size)?
        {
            if claimed.contains(&row.id) || !has_left(root, &row, stamp) {
                continue;
            }
            // Of one that another file has displaced nobody knows any more where it was.
            let is_by_same_rule = is_displaced(&row) || rule_at(&row.path) == rule_at(path);
            if is_by_same_rule && self.is_same(&row, path, stamp, file, &mut digest)? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// Whether a file holds what its record says.
    fn is_same(
        &mut self,
        row: &DroppedRow,
        path: &str,
        stamp: FileStamp,
        file: &mut File,
        digest: &mut Option<String>,
    ) -> Result<bool> {
        if row.stamp == stamp {
            return Ok(true);
        }
        if row.stamp.size != stamp.size {
            return Ok(false);
        }
        let Some(sha256) = &row.sha256 else {
            return Ok(self.passes_for(row, path, stamp));
        };
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

    /// Whether a file of the same size whose content was not read in time passes for the one that was there. A time
    /// that is the same, also on another disk, says so; what was there before the first start, and was touched before it
    /// was read, cannot be told from a new version: it is not sent to production by guess, and somebody hears of it.
    fn passes_for(&mut self, row: &DroppedRow, path: &str, stamp: FileStamp) -> bool {
        if row.stamp.modified_ns == stamp.modified_ns {
            return true;
        }
        if row.is_stock && row.path == path {
            self.complain(
                path,
                "was there before the first start and was touched before its content was read: it passes for the same; if \
                 it is a new version, `auto-dispatcher send` it",
            );
            return true;
        }
        false
    }
}

/// Whether a known file is no longer where it was: nothing is there, or another file while this one has come here. What
/// lies on a file system that is not mounted has not left.
fn has_left(root: &Root, row: &DroppedRow, stamp: FileStamp) -> bool {
    if is_displaced(row) {
        // Only the file itself, moved: what comes as an older version did goes back to it.
        return row.stamp.has_content_of(&stamp);
    }
    let is_itself = (row.stamp.device, row.stamp.inode) == (stamp.device, stamp.inode);
    match root.stamp(&row.path) {
        Ok(None) => row.stamp.device == stamp.device,
        Ok(Some(found)) => is_itself && found.inode != row.stamp.inode,
        Err(_) => false,
    }
}

/// Whether another file has taken the path of a known one, as the journal notes it: no name holds a NUL.
fn is_displaced(row: &DroppedRow) -> bool {
    row.path.starts_with('\0')
}
