//! Tests of the decisions about dropped files.

use std::time::Duration;

use super::*;

fn stamp(size: u64) -> FileStamp {
    FileStamp {
        device: 1,
        inode: 2,
        size,
        modified_ns: 3,
        changed_ns: 4,
    }
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_file_settles_when_it_did_not_change_for_long_enough_and_holds_up_no_other() {
    let mut settling = Settling::new(s(5));
    settling.saw("growing", stamp(1), s(0));
    settling.saw("still", stamp(1), s(1));
    assert_eq!(settling.next_due(), Some(s(5)));
    assert_eq!(settling.due(s(5), 9), ["growing"]);
    assert_eq!(settling.look("growing", stamp(2), s(5)), Look::Restless);
    assert_eq!(settling.due(s(6), 9), ["still"]);
    assert_eq!(settling.look("still", stamp(1), s(6)), Look::Settled);
    settling.forget("still");
    assert_eq!(settling.next_due(), Some(s(10)));
}

#[test]
fn an_event_begins_the_quiet_time_anew_and_seeing_the_same_again_does_not() {
    let mut settling = Settling::new(s(5));
    settling.saw("a", stamp(1), s(0));
    settling.saw("a", stamp(1), s(3));
    assert_eq!(settling.next_due(), Some(s(5)));
    settling.changes("a", s(4));
    assert_eq!(settling.next_due(), Some(s(9)));
    settling.saw("a", stamp(2), s(6));
    assert_eq!(settling.next_due(), Some(s(11)));
    // What an event told of is no change when it is looked at.
    settling.wrote("a", stamp(3), s(7));
    settling.closed("a", stamp(3), s(8));
    assert_eq!(settling.due(s(12), 9), ["a"]);
    assert_eq!(settling.look("a", stamp(3), s(12)), Look::Settled);
}

#[test]
fn what_is_whole_is_due_at_once() {
    let mut settling = Settling::new(s(5));
    settling.is_whole("a", stamp(1), s(7));
    assert_eq!(settling.due(s(7), 9), ["a"]);
    assert_eq!(settling.look("a", stamp(1), s(7)), Look::Settled);
}

#[test]
fn what_is_open_for_writing_waits_to_be_closed() {
    let mut settling = Settling::new(s(5));
    settling.saw("a", stamp(1), s(0));
    assert_eq!(settling.is_open("a", s(5)), s(0));
    assert_eq!(settling.next_due(), Some(s(6)));
    assert_eq!(settling.is_open("a", s(6)), s(1));
    assert_eq!(settling.next_due(), Some(s(8)));
    settling.closed("a", stamp(1), s(7));
    assert_eq!(settling.due(s(7), 9), ["a"]);
    // What was not waited for changes nothing.
    settling.saw("b", stamp(1), s(7));
    settling.closed("b", stamp(1), s(8));
    assert_eq!(settling.due(s(8), 9), ["a"]);
}

#[test]
fn by_default_unfinished_and_hidden_files_are_left_out() {
    let filter = DropFilter::default();
    for name in [
        ".hidden",
        "a.part",
        "a.tmp",
        "a.filepart",
        "a~",
        ".nfs0001",
        "sub/.x",
        ".ad-1.leaving",
    ] {
        assert!(!filter.takes(name), "{name}");
    }
    for name in ["a.tar", "sub/b", "-rf", "a.part.tar", " ", "a\nb"] {
        assert!(filter.takes(name), "{name}");
    }
    assert!(!filter.enters(".snapshot") && filter.enters("sub"));
}

#[test]
fn globs_say_what_is_taken_and_what_is_not() {
    let mut filter = DropFilter::default();
    filter.include(&words("*.tar .*.cfg in/**/*.zip")).unwrap();
    filter.exclude(&words("old-* attic/**")).unwrap();
    for name in [
        "a.tar",
        "deep/down/a.tar",
        ".x.cfg",
        "in/a.zip",
        "in/b/c/a.zip",
    ] {
        assert!(filter.takes(name), "{name}");
    }
    for name in [
        "a.zip",
        "old-a.tar",
        "deep/old-a.tar",
        "attic/a.tar",
        ".nfs1.cfg",
    ] {
        assert!(!filter.takes(name), "{name}");
    }
    assert!(!filter.enters("old-things"));
    let long = filter.include(&words(&"**/".repeat(2000))).unwrap_err();
    assert!(
        long.glob.len() < 50 && long.why.contains("longer"),
        "{long:?}"
    );
    let error = filter.include(&words("a[")).unwrap_err();
    assert_eq!(error.glob, "a[");
}

#[test]
fn a_marker_is_no_package_and_stands_for_one() {
    let mut filter = DropFilter::default();
    filter.marker = Some(".done".to_owned());
    assert!(!filter.takes("a.tar.done") && filter.takes("a.tar"));
    assert_eq!(filter.marked_by("in/a.tar.done"), Some("in/a.tar"));
    assert_eq!(filter.marked_by("in/.done"), None);
    assert_eq!(filter.marker_of("a"), Some("a.done".to_owned()));
}

#[test]
fn paths_lie_within_directories() {
    assert!(is_within("a/b", "a") && is_within("a", "a") && is_within("a", ""));
    assert!(!is_within("ab", "a"));
    assert_eq!((parent_of("a/b/c"), parent_of("a")), ("a/b", ""));
    assert_eq!((join("", "a"), join("a", "b")), ("a".into(), "a/b".into()));
}
