//! The marker of a file that leaves. It goes with its file, comes back with it where that stays as it was, and goes
//! where that has other content by now: it never said that this is whole. Does not know what a file is for.

use std::io;

use rustix::fs::FileType;

use super::is_nothing;
use super::spot::Spot;
use crate::domain::drop_directory::FileStamp;

/// A marker, as it was before its file was looked at: what it says is true of nothing that comes later.
pub(super) struct Marker<'a> {
    spot: Spot<'a>,
    seen: Option<FileStamp>,
}

impl<'a> Marker<'a> {
    pub(super) fn seen(spot: Spot<'a>) -> Self {
        // Aside: somebody was killed before its file stepped aside, too.
        let seen = named(&spot).or_else(|| spot.look_aside().map(|(stamp, _)| stamp));
        Self { spot, seen }
    }

    /// It steps aside, if it is there. Not if somebody wrote it since it was seen: then the file is not the one that
    /// is to leave, or soon will not be.
    pub(super) fn steps_aside(&self) -> io::Result<bool> {
        if named(&self.spot).is_none() {
            return Ok(true);
        }
        // What stands there was left by somebody who was killed; this one is newer.
        self.spot.remove()?;
        match self.spot.step_aside() {
            Err(error) if is_nothing(&error) => return Ok(true),
            other => other?,
        }
        if self.is_as_seen() {
            return Ok(true);
        }
        self.gets_name_back()?;
        Ok(false)
    }

    /// Its file stays. `same`: with the content that the marker spoke of.
    pub(super) fn comes_back(&self, same: bool) -> io::Result<()> {
        if self.spot.look_aside().is_none() {
            return Ok(());
        }
        // Its new name would make it look newer than what has been written since.
        if !same && self.is_as_seen() {
            return self.remove();
        }
        self.gets_name_back()
    }

    /// Its file has gone.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.spot.remove()
    }

    fn is_as_seen(&self) -> bool {
        let aside = self.spot.look_aside();
        aside.is_none_or(|(aside, _)| self.seen.is_some_and(|seen| aside.has_content_of(&seen)))
    }

    fn gets_name_back(&self) -> io::Result<()> {
        match self.spot.give_back() {
            // The next one is there already.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.remove(),
            other => other,
        }
    }
}

/// What has the marker's name; a directory is nobody's marker.
fn named(spot: &Spot<'_>) -> Option<FileStamp> {
    let (stamp, stat) = spot.look()?;
    (FileType::from_raw_mode(stat.st_mode) != FileType::Directory).then_some(stamp)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;

    use super::super::Root;
    use super::*;

    fn with_marker(test: impl Fn(&Root, &OwnedFd, &dyn Fn(&str))) {
        let dir = tempfile::tempdir().expect("a directory");
        let root = Root::open(dir.path(), false).expect("open");
        let parent = root.directory("").expect("open");
        let write = |text: &str| fs::write(dir.path().join("a.ok"), text).expect("write");
        test(&root, &parent, &write);
    }

    fn spot<'a>(root: &'a Root, parent: &'a OwnedFd) -> Spot<'a> {
        Spot::new(root, parent, "a.ok", ".ad-7.marker".to_owned())
    }

    /// A marker that has stepped aside.
    fn aside<'a>(root: &'a Root, parent: &'a OwnedFd, write: &dyn Fn(&str)) -> Marker<'a> {
        write("");
        let marker = Marker::seen(spot(root, parent));
        assert!(marker.steps_aside().expect("the one that was seen"));
        marker
    }

    #[test]
    fn a_marker_that_was_written_since_it_was_seen_keeps_its_name() {
        with_marker(|root, parent, write| {
            let place = spot(root, parent);
            let marker = Marker::seen(spot(root, parent));
            assert!(marker.steps_aside().expect("there is none"));
            write("");
            assert!(!marker.steps_aside().expect("one has come"));
            assert!(place.look().is_some() && place.look_aside().is_none());
            let marker = Marker::seen(spot(root, parent));
            write("anew");
            assert!(!marker.steps_aside().expect("another one"));
            assert!(place.look().is_some() && place.look_aside().is_none());
            let marker = Marker::seen(spot(root, parent));
            assert!(marker.steps_aside().expect("the one that was seen"));
            assert!(place.look().is_none() && place.look_aside().is_some());
        });
    }

    #[test]
    fn a_marker_that_is_written_to_aside_is_of_what_comes() {
        with_marker(|root, parent, write| {
            let marker = aside(root, parent, write);
            let place = root.absolute(marker.spot.aside());
            fs::write(place, "whoever had found it by its name").expect("write");
            marker.comes_back(false).expect("no error");
            assert!(marker.spot.look().is_some() && marker.spot.look_aside().is_none());
        });
    }

    #[test]
    fn a_marker_never_takes_the_place_of_the_next_one() {
        with_marker(|root, parent, write| {
            let marker = aside(root, parent, write);
            write("the next one's");
            marker.comes_back(true).expect("no error");
            let text = fs::read_to_string(root.absolute("a.ok")).expect("there");
            assert_eq!(text, "the next one's");
            assert!(marker.spot.look_aside().is_none());
        });
    }
}
