//! Whether the directory is there, and is the one that it was: what is unmounted or removed is waited for.

use std::time::{Duration, Instant};

use super::Scanner;
use super::digests::Digests;
use super::leaving::Leaving;
use super::tree::Tree;
use crate::domain::drop_directory::Settling;
use crate::domain::event::Event;
use crate::error::Result;
use crate::source::directory::{Root, Watch, eventless_file_system, missing_mount, mount_point_of};

impl Scanner<'_> {
    /// Opens the directory, if it is there. It is not kept open, so that its file system can be unmounted. Where it
    /// is another one than before, everything that was known is read from the journal again.
    pub(super) fn look(&mut self) -> Result<Option<Root>> {
        let directory = &self.terms.directory;
        let root = match Root::open(directory, self.terms.follow_symlinks) {
            Ok(root) => root,
            Err(error) => {
                self.lose(&format!("{}: {error}", directory.display()));
                return Ok(None);
            }
        };
        if self.identity == Some(root.identity) {
            return Ok(Some(root));
        }
        let mounted = mount_point_of(directory);
        let missing = match (&self.row.mount_point, &mounted) {
            (Some(known), Some(now)) => {
                (known != now && known.starts_with(now)).then(|| known.clone())
            }
            (Some(_), None) => None,
            (None, _) => missing_mount(directory),
        };
        if let Some(missing) = missing {
            self.lose(&format!(
                "{}: the file system at {} is not mounted (if it is never to be again: `scan --forget {}`)",
                directory.display(),
                missing.display(),
                directory.display()
            ));
            return Ok(None);
        }
        let is_new = match (&self.row.mount_point, &mounted) {
            (Some(known), Some(now)) => now != known && now.starts_with(known),
            _ => false,
        };
        self.begin(&root)?;
        if is_new && self.is_stocked() {
            // What was there when stock was taken was not what is there now.
            self.new_mount = mounted;
        } else if self.row.mount_point != mounted {
            self.journal
                .note_mount_point(self.row.id, mounted.as_deref())?;
            self.row.mount_point = mounted;
        }
        Ok(Some(root))
    }

    /// The directory is not there: it is waited for, and nothing that was in it counts as deleted.
    fn lose(&mut self, why: &str) {
        if self.identity.take().is_some() || self.watch.is_some() {
            self.forget_all();
        }
        self.trouble("directory", Some(format!("{why}; waiting for it")));
    }

    fn forget_all(&mut self) {
        self.tree = Tree::default();
        self.settling = Settling::new(Duration::from_secs(self.terms.settle_s));
        self.watch = None;
        self.suspects.clear();
        self.stock.clear();
        self.gone.clear();
        self.held.clear();
        self.copying = None;
        self.found.clear();
        self.returned.clear();
        self.new_mount = None;
        self.digests = Digests::default();
    }

    /// Begins with the directory that is there now.
    fn begin(&mut self, root: &Root) -> Result<()> {
        self.forget_all();
        let tree = &mut self.tree;
        self.journal
            .each_known_file(self.row.id, &mut |path, stamp| tree.judge(path, stamp))?;
        self.leaving = Leaving::default();
        self.unread = self
            .journal
            .unread_directories(self.row.id)?
            .into_iter()
            .collect();
        let shown = self.terms.directory.display();
        let eventless = eventless_file_system(&self.terms.directory);
        self.blind = match Watch::new() {
            Ok(watch) => {
                self.watch = Some(watch);
                eventless.map(|kind| format!("{kind} does not tell what happens"))
            }
            Err(error) => Some(format!("the kernel tells nothing (inotify: {error})")),
        };
        let known = match self.row.stocked_at {
            Some(_) => format!("{} files known", self.tree.files()),
            None if self.terms.existing => {
                "for the first time, everything counts as new".to_owned()
            }
            None => "for the first time".to_owned(),
        };
        let how = match &self.blind {
            Some(why) => format!("walked every {} s: {why}", self.terms.interval_s),
            None => format!(
                "events come; walked every {} s besides",
                self.terms.interval_s
            ),
        };
        if self.greets {
            let message = format!("{shown}: scanning ({known}; {how})");
            self.context.emit(&Event::News { message });
        }
        self.identity = Some(root.identity);
        self.walks = 0;
        self.reads_all = true;
        self.next_walk = Instant::now();
        self.trouble("directory", None);
        Ok(())
    }
}
