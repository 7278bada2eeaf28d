//! How files leave, and what comes back when somebody was killed.

use super::*;

struct Place {
    dir: tempfile::TempDir,
    root: Root,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let inbox = dir.path().join("in");
        fs::create_dir_all(inbox.join("sub")).expect("mkdir");
        let root = Root::open(&inbox, false).expect("open");
        Self { dir, root }
    }

    fn write(&self, path: &str, text: &str) -> FileStamp {
        fs::write(self.root.absolute(path), text).expect("write");
        self.root.stamp(path).expect("stat").expect("a file")
    }

    fn leaves(&self, path: &str, stamp: FileStamp, to: Option<&Path>) -> Left {
        finish_departure(&self.root, &departure(path, stamp), way(to)).expect("no error")
    }

    /// `sub/a`, which has the marker `sub/a.ok`.
    fn marked_leaves(&self, stamp: FileStamp, to: Option<&Path>) -> io::Result<Left> {
        let departure = Departure {
            marker: Some("sub/a.ok"),
            ..departure("sub/a", stamp)
        };
        finish_departure(&self.root, &departure, way(to))
    }

    /// The names in `sub`.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.root.absolute("sub")).expect("a directory");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> = names
            .map(name)
            .map(|n| n.into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }
}

fn departure(path: &str, stamp: FileStamp) -> Departure<'_> {
    Departure {
        path,
        marker: None,
        stamp,
        token: "7",
    }
}

fn way(destination: Option<&Path>) -> Way<'_> {
    Way {
        destination,
        go_on: &|| true,
    }
}

#[test]
fn the_file_that_was_dispatched_goes_and_another_one_stays() {
    let place = Place::new();
    let stamp = place.write("sub/a", "one");
    assert_eq!(place.leaves("sub/a", stamp, None), Left::Gone(None));
    assert_eq!(place.leaves("sub/a", stamp, None), Left::Missing);
    place.write("sub/a", "another");
    assert_eq!(place.leaves("sub/a", stamp, None), Left::Changed);
    let text = fs::read_to_string(place.root.absolute("sub/a")).expect("read");
    assert_eq!(text, "another");
}

#[test]
fn what_is_moved_takes_no_name_that_is_taken() {
    let place = Place::new();
    let done = place.dir.path().join("done");
    for name in ["sub/a", "sub/a.1", "sub/a.2"] {
        let stamp = place.write("sub/a", name);
        let left = place.leaves("sub/a", stamp, Some(&done));
        assert_eq!(left, Left::Gone(Some(done.join(name))));
        assert_eq!(fs::read_to_string(done.join(name)).expect("read"), name);
    }
}

#[test]
fn what_stepped_aside_when_somebody_was_killed_leaves_and_a_newer_one_stays() {
    let place = Place::new();
    let stamp = place.write("sub/a", "one");
    let aside = place.root.absolute("sub/.ad-7.leaving");
    fs::rename(place.root.absolute("sub/a"), &aside).expect("rename");
    place.write("sub/a", "two");
    assert_eq!(place.leaves("sub/a", stamp, None), Left::Gone(None));
    assert!(!aside.exists());
    let text = fs::read_to_string(place.root.absolute("sub/a")).expect("read");
    assert_eq!(text, "two");
}

#[test]
fn what_somebody_writes_to_stays() {
    let place = Place::new();
    let stamp = place.write("a", "one");
    let writing = fs::OpenOptions::new()
        .append(true)
        .open(place.root.absolute("a"))
        .expect("open");
    assert_eq!(place.leaves("a", stamp, None), Left::Written);
    drop(writing);
    assert_eq!(place.leaves("a", stamp, None), Left::Gone(None));
}

#[test]
fn a_marker_goes_with_its_file_and_the_next_ones_stays() {
    let place = Place::new();
    let stamp = place.write("sub/a", "one");
    place.write("sub/a.ok", "");
    let left = place.marked_leaves(stamp, None).expect("no error");
    assert_eq!(left, Left::Gone(None));
    assert!(place.names().is_empty(), "{:?}", place.names());
    // Killed when both had stepped aside, and when only the marker had.
    for is_only_the_marker in [false, true] {
        let stamp = place.write("sub/a", "one");
        place.write("sub/.ad-7.marker", "");
        if !is_only_the_marker {
            fs::rename(
                place.root.absolute("sub/a"),
                place.root.absolute("sub/.ad-7.leaving"),
            )
            .expect("rename");
            place.write("sub/a", "the next one");
            place.write("sub/a.ok", "the next one's");
        }
        let left = place.marked_leaves(stamp, None).expect("no error");
        assert_eq!(left, Left::Gone(None));
        let stays: &[&str] = if is_only_the_marker {
            &[]
        } else {
            &["a", "a.ok"]
        };
        assert_eq!(place.names(), stays);
        fs::remove_dir_all(place.root.absolute("sub")).expect("remove");
        fs::create_dir(place.root.absolute("sub")).expect("mkdir");
    }
    // Killed when the file had gone.
    place.write("sub/.ad-7.marker", "");
    let left = place.marked_leaves(stamp, None).expect("no error");
    assert_eq!(left, Left::Missing);
    assert!(place.names().is_empty(), "{:?}", place.names());
}

#[test]
fn a_marker_comes_back_only_to_what_it_was_written_for() {
    let place = Place::new();
    let stamp = place.write("sub/a", "one");
    place.write("sub/a.ok", "");
    // A destination that is none.
    let file = place.dir.path().join("a file");
    fs::write(&file, "").expect("write");
    place
        .marked_leaves(stamp, Some(&file))
        .expect_err("no directory");
    assert_eq!(place.names(), ["a", "a.ok"]);
    // It has another content when somebody was killed in the midst of it.
    for is_aside in [false, true] {
        let name = if is_aside {
            "sub/.ad-7.leaving"
        } else {
            "sub/a"
        };
        place.write("sub/.ad-7.marker", "");
        let _ = fs::remove_file(place.root.absolute("sub/a"));
        let _ = fs::remove_file(place.root.absolute("sub/a.ok"));
        place.write(name, "half of ano");
        let left = place.marked_leaves(stamp, None).expect("no error");
        assert_eq!(left, Left::Changed);
        assert_eq!(place.names(), ["a"]);
    }
}

#[test]
fn what_is_to_stay_after_all_gets_its_name_and_its_marker_back() {
    let place = Place::new();
    let stamp = place.write("sub/a", "one");
    let aside = place.root.absolute("sub/.ad-7.leaving");
    fs::rename(place.root.absolute("sub/a"), aside).expect("rename");
    place.write("sub/.ad-7.marker", "");
    let departure = Departure {
        marker: Some("sub/a.ok"),
        ..departure("sub/a", stamp)
    };
    assert!(cancel_departure(&place.root, &departure).expect("no error"));
    assert_eq!(place.names(), ["a", "a.ok"]);
    assert!(!cancel_departure(&place.root, &departure).expect("no error"));
}
