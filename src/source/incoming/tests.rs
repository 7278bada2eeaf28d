//! Notes that are left, and everything else that may lie there.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Looks once, with this fate for every note; gives the revisions.
fn look(own: &mut Incoming, fate: &Fate) -> (Vec<u64>, Look) {
    let mut revisions = Vec::new();
    let look = own.look(&|| false, &mut |left| {
        assert_eq!(left.uid, rustix::process::geteuid().as_raw());
        revisions.push(left.note.revision);
        Ok(fate.clone())
    });
    revisions.sort_unstable();
    (revisions, look.expect("listed"))
}

#[test]
fn a_note_that_is_left_lies_there_until_it_is_taken() {
    let (_root, path) = world();
    let mut own = Incoming::own(&path).expect("made");
    for revision in [3, 1, 2] {
        let incoming = Incoming::open(&path).expect("opened");
        incoming.leave(&note(revision)).expect("left");
    }
    for fate in [Fate::Stays, Fate::Stays, Fate::Taken] {
        assert_eq!(look(&mut own, &fate).0, [1, 2, 3]);
    }
    assert!(look(&mut own, &Fate::Taken).0.is_empty());
    own.leave(&note(4)).expect("left");
    let (_, refused) = look(&mut own, &Fate::Refused("no".to_owned()));
    assert_eq!(refused.refused.len(), 1);
    assert!(look(&mut own, &Fate::Taken).0.is_empty());
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
        (0o2770, 0o1730),
        (0o700, 0o1733),
        (0o755, 0o1733),
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
    let mut own = Incoming::own(&path).expect("made");
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
    let (revisions, look) = look(&mut own, &Fate::Stays);
    assert_eq!(revisions, [6]);
    assert_eq!((look.refused.len(), look.stuck), (6, 1), "{look:?}");
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
fn a_look_that_is_cut_short_is_gone_on_with() {
    let (_root, path) = world();
    let mut own = Incoming::own(&path).expect("made");
    for number in 0..300 {
        fs::create_dir_all(path.join(format!("full-{number}/of"))).expect("mkdir");
    }
    own.leave(&note(1)).expect("left");
    let (mut found, mut looks, mut stuck) = (0, 0, 0);
    loop {
        let left = Cell::new(50);
        let is_over = || left.replace(left.get() - 1) == 0;
        let look = own.look(&is_over, &mut |_| {
            found += 1;
            Ok(Fate::Stays)
        });
        let look = look.expect("listed");
        looks += 1;
        stuck += look.stuck;
        if look.is_whole {
            break;
        }
    }
    assert_eq!((found, looks, stuck), (1, 7, 300));
}

#[test]
fn whoever_watches_hears_of_a_note_and_no_more_once_it_is_dropped() {
    let (_root, path) = world();
    let own = Incoming::own(&path).expect("made");
    let (sender, receiver) = std::sync::mpsc::channel();
    let watch = own.watch(move || {
        let _ = sender.send(());
    });
    let watch = watch.expect("watched");
    own.leave(&note(1)).expect("left");
    receiver
        .recv_timeout(Duration::from_mins(1))
        .expect("a wake-up");
    drop(watch);
    // The thread ends, and with it the sender.
    while receiver.recv_timeout(Duration::from_mins(1)).is_ok() {}
    assert!(matches!(
        receiver.try_recv(),
        Err(std::sync::mpsc::TryRecvError::Disconnected)
    ));
}

#[test]
fn it_appears_once_everybody_may_leave_notes_there() {
    let (_root, path) = world();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut modes = std::collections::BTreeSet::new();
            while !is_over.load(Ordering::SeqCst) {
                let found = fs::metadata(&path);
                modes.extend(found.map(|found| found.permissions().mode() & 0o7777));
            }
            modes
        });
        for _ in 0..3_000 {
            Incoming::own(&path).expect("made");
            fs::remove_dir(&path).expect("removed");
        }
        is_over.store(true, Ordering::SeqCst);
        let modes = watching.join().expect("the modes");
        assert!(modes.iter().all(|&mode| mode == MODE), "{modes:?}");
        assert!(!modes.is_empty(), "it was never seen");
    });
}
