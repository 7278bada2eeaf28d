//! Notes that are left, and everything else that may lie there.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn note(revision: u64) -> Note {
    Note {
        repository: "/srv/svn/a".to_owned(),
        uuid: "uuid".to_owned(),
        revision,
    }
}

fn world() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("incoming");
    (root, path)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("stat").permissions().mode() & 0o7777
}

#[test]
fn a_note_that_is_left_is_found_once_and_removed() {
    let (_root, path) = world();
    let own = Incoming::own(&path).expect("made");
    for revision in [3, 1, 2] {
        let incoming = Incoming::open(&path).expect("opened");
        incoming.leave(&note(revision)).expect("left");
    }
    let look = own.look().expect("listed");
    let mut revisions: Vec<u64> = look.left.iter().map(|left| left.note.revision).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [1, 2, 3]);
    for left in &look.left {
        assert_eq!(left.uid, rustix::process::geteuid().as_raw());
        own.remove(&left.name).expect("removed");
        own.remove(&left.name).expect("gone already");
    }
    assert!(own.look().expect("listed").left.is_empty());
}

#[test]
fn the_directory_is_made_such_as_it_must_be_and_mended() {
    let (_root, path) = world();
    Incoming::own(&path).expect("made");
    assert_eq!(mode(&path), 0o1733);
    for (found, mended) in [
        (0o777, 0o1733),
        (0o770, 0o1730),
        (0o1730, 0o1730),
        (0o755, 0o1711),
        (0o500, 0o1700),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(found)).expect("chmod");
        Incoming::own(&path).expect("mended");
        assert_eq!(mode(&path), mended, "{found:o}");
    }
    let elsewhere = path.with_file_name("elsewhere");
    symlink(&path, &elsewhere).expect("symlink");
    Incoming::own(&elsewhere).expect_err("a symbolic link");
    Incoming::open(&elsewhere).expect_err("a symbolic link");
}

#[test]
fn what_is_no_note_goes_and_what_cannot_go_hinders_nothing() {
    let (root, path) = world();
    let own = Incoming::own(&path).expect("made");
    let at = |name: &str| path.join(name);
    fs::write(at("long"), vec![b' '; LENGTH_MAX + 1]).expect("write");
    fs::write(at("wrong"), "{}\n").expect("write");
    fs::write(at("beginning"), "{").expect("write");
    fs::create_dir(at("empty")).expect("mkdir");
    fs::create_dir_all(at("full/of/it")).expect("mkdir");
    symlink("/etc/passwd", at("link")).expect("symlink");
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).expect("mkfifo");
    std::os::unix::net::UnixListener::bind(at("socket")).expect("bind");
    let whole = root.path().join("whole");
    fs::write(&whole, note(5).text()).expect("write");
    fs::hard_link(&whole, at("hard")).expect("link");
    own.leave(&note(6)).expect("left");
    let look = own.look().expect("listed");
    let revisions: Vec<u64> = look.left.iter().map(|left| left.note.revision).collect();
    assert_eq!(revisions, [6]);
    assert_eq!((look.refused.len(), look.stuck), (7, 1), "{look:?}");
    let mut names: Vec<String> = fs::read_dir(&path)
        .expect("ours")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.len() < 32)
        .collect();
    names.sort();
    assert_eq!(names, ["beginning", "full"], "somebody may be writing it");
    assert_eq!(fs::read_to_string(&whole).expect("read"), note(5).text());
}

#[test]
fn a_look_is_bounded_and_says_that_there_is_more() {
    let (_root, path) = world();
    let own = Incoming::own(&path).expect("made");
    for number in 0..=LOOK_MAX {
        fs::write(path.join(number.to_string()), "junk\n").expect("write");
        // These stay, and do not count.
        fs::create_dir_all(path.join(format!("full-{number}/of"))).expect("mkdir");
    }
    own.leave(&note(1)).expect("left");
    let look = own.look().expect("listed");
    assert!(look.more && look.refused.len() + look.left.len() == LOOK_MAX);
    let rest = own.look().expect("listed");
    assert!(!rest.more);
    assert_eq!(rest.stuck, LOOK_MAX + 1);
    assert_eq!(look.refused.len() + rest.refused.len(), LOOK_MAX + 1);
    assert!(look.left.len() + rest.left.len() >= 1);
}

#[test]
fn whoever_watches_hears_of_a_note() {
    let (_root, path) = world();
    let own = Incoming::own(&path).expect("made");
    let (sender, receiver) = std::sync::mpsc::channel();
    own.watch(move || {
        let _ = sender.send(());
    })
    .expect("watched");
    own.leave(&note(1)).expect("left");
    receiver
        .recv_timeout(Duration::from_mins(1))
        .expect("a wake-up");
}
