//! The spool on a real file system.

use std::cell::{Cell, RefCell};
use std::os::unix::fs::symlink;

use super::*;

/// What spoils the file at a path.
type Damage = fn(&Path);

const MAX: u64 = 1 << 20;

fn spool() -> (tempfile::TempDir, Spool) {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = Spool::open(&dir.path().join("spool"), MAX).expect("a spool");
    (dir, spool)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the shape of what the journal says"
)]
fn wanted(_: &str) -> Result<Want> {
    Ok(Want::Now)
}

fn try_store(
    spool: &Spool,
    keep: &Keep,
    bytes: &[u8],
    want: &dyn Fn(&str) -> Result<Want>,
) -> Result<Artifact> {
    let outside = Outside {
        want,
        tell: &drop,
        is_its_turn: false,
    };
    spool.store(keep, bytes.len() as u64, &outside, |out| {
        out.write_all(bytes)
            .map_err(|error| Error::io(ErrorKind::Source, "write", Path::new("x"), &error))
    })
}

fn store(spool: &Spool, bytes: &[u8]) -> Artifact {
    let keep = spool.keep().expect("a lock");
    try_store(spool, &keep, bytes, &wanted).expect("stored")
}

fn find(spool: &Spool, artifact: &Artifact) -> Found {
    let found = spool.find(&artifact.sha256, artifact.size, &|| true);
    found.expect("an answer")
}

/// Everything in the spool but its lock.
fn names(spool: &Spool) -> Vec<String> {
    let entries = fs::read_dir(&spool.dir).expect("readable");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name != ".lock")
        .collect();
    names.sort();
    names
}

/// Has it tried until it is so: a lock that was let go is held for a moment longer by a process that another test
/// begins just then, until it runs its program.
#[track_caller]
fn comes_to_be(mut tried: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !tried() {
        assert!(std::time::Instant::now() < end, "it does not come to be");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn an_artifact_lies_under_its_digest() {
    let (_dir, spool) = spool();
    let artifact = store(&spool, b"abc");
    assert_eq!(
        artifact.sha256,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(find(&spool, &artifact), Found::Whole(artifact.clone()));
    assert_eq!(names(&spool), [artifact.sha256.as_str()]);
}

#[test]
fn a_failed_export_leaves_nothing() {
    let (_dir, spool) = spool();
    let keep = spool.keep().expect("a lock");
    let outside = Outside {
        want: &wanted,
        tell: &drop,
        is_its_turn: false,
    };
    let failed = spool.store(&keep, 4, &outside, |out| {
        out.write_all(b"half").expect("write");
        Err(Error::source("cut"))
    });
    assert_eq!(failed, Err(Error::source("cut")));
    drop(keep);
    assert_eq!(names(&spool), [""; 0]);
}

#[test]
fn a_purge_spares_what_is_needed_or_being_registered() {
    let (_dir, spool) = spool();
    let keep = spool.keep().expect("a lock");
    let artifact = try_store(&spool, &keep, b"abc", &wanted).expect("stored");
    spool
        .purge(std::slice::from_ref(&artifact.sha256), &|_| Ok(false))
        .expect("purge");
    assert!(artifact.path.exists(), "purged before it was registered");
    drop(keep);
    spool
        .purge(std::slice::from_ref(&artifact.sha256), &|_| Ok(true))
        .expect("purge");
    assert!(artifact.path.exists());
    comes_to_be(|| {
        spool
            .purge(std::slice::from_ref(&artifact.sha256), &|_| Ok(false))
            .expect("purge");
        !artifact.path.exists()
    });
}

#[test]
fn a_purge_does_not_wait_for_the_export_of_something_else() {
    let (_dir, spool) = spool();
    let artifact = store(&spool, b"abc");
    let keep = spool.keep().expect("a lock");
    let outside = Outside {
        want: &wanted,
        tell: &drop,
        is_its_turn: false,
    };
    let stored = spool.store(&keep, 1, &outside, |out| {
        comes_to_be(|| {
            spool
                .purge(std::slice::from_ref(&artifact.sha256), &|_| Ok(false))
                .expect("purge");
            !artifact.path.exists()
        });
        out.write_all(b"x")
            .map_err(|error| Error::io(ErrorKind::Source, "write", Path::new("x"), &error))
    });
    stored.expect("stored");
}

#[test]
fn a_sweep_removes_what_nothing_wants_and_what_the_dead_left() {
    let (_dir, spool) = spool();
    let needed = store(&spool, b"wanted");
    store(&spool, b"unwanted");
    fs::write(spool.dir.join("incoming-xyz"), "half").expect("write");
    fs::write(spool.dir.join(".keep-xyz"), "").expect("write");
    let keep = spool.keep().expect("a lock");
    let registered = try_store(&spool, &keep, b"registered", &wanted).expect("stored");
    let outside = Outside {
        want: &wanted,
        tell: &drop,
        is_its_turn: false,
    };
    let written = spool.store(&keep, 3, &outside, |out| {
        spool.sweep(&|sha256| Ok(sha256 == needed.sha256))?;
        out.write_all(b"new")
            .map_err(|error| Error::io(ErrorKind::Source, "write", Path::new("x"), &error))
    });
    let written = written.expect("swept under somebody's hands");
    drop(keep);
    let mut left = [needed.sha256, registered.sha256, written.sha256];
    left.sort();
    comes_to_be(|| {
        spool
            .sweep(&|sha256| Ok(left.iter().any(|kept| kept == sha256)))
            .expect("sweep");
        names(&spool) == left
    });
}

#[test]
fn changed_bytes_are_found_out_and_removed() {
    let (_dir, spool) = spool();
    let damages: [(&str, Damage); 4] = [
        ("SHA-256", |path| fs::write(path, b"abX").expect("write")),
        ("2 bytes", |path| fs::write(path, b"ab").expect("write")),
        ("4 bytes", |path| fs::write(path, b"abcd").expect("write")),
        ("symbolic link", |path| {
            fs::remove_file(path).expect("remove");
            symlink("/etc/passwd", path).expect("symlink");
        }),
    ];
    for (why, damage) in damages {
        let artifact = store(&spool, b"abc");
        damage(&artifact.path);
        match find(&spool, &artifact) {
            Found::Damaged(told) => assert!(told.contains(why), "{told}"),
            other => panic!("{why}: {other:?}"),
        }
        assert_eq!(find(&spool, &artifact), Found::Missing, "{why}");
    }
}

#[test]
fn what_this_process_wrote_is_not_read_again_until_somebody_touches_it() {
    let (dir, spool) = spool();
    let artifact = store(&spool, b"abc");
    let no = || false;
    let found = spool.find(&artifact.sha256, 3, &no);
    assert_eq!(found, Ok(Found::Whole(artifact.clone())));
    let another = Spool::open(&dir.path().join("spool"), MAX).expect("a spool");
    another
        .find(&artifact.sha256, 3, &no)
        .expect_err("another process has to read it");
    assert_eq!(find(&another, &artifact), Found::Whole(artifact.clone()));
    let found = another.find(&artifact.sha256, 3, &no);
    assert_eq!(found, Ok(Found::Whole(artifact.clone())));
    let file = File::options().write(true).open(&artifact.path);
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    file.expect("open").set_modified(long_ago).expect("touch");
    another
        .find(&artifact.sha256, 3, &no)
        .expect_err("touched, so it has to be read");
}

#[test]
fn the_spool_never_holds_more_than_it_may() {
    let (dir, spool) = spool();
    let most = usize::try_from(MAX).expect("small");
    let first = store(&spool, &vec![1; most / 2]);
    let keep = spool.keep().expect("a lock");
    let error = try_store(&spool, &keep, &vec![2; most / 2 + 1], &wanted).expect_err("full");
    assert_eq!(error.kind, ErrorKind::NoRoom);
    assert!(error.message.contains("of spool_max 1048576"), "{error}");
    assert!(error.message.contains("524289 bytes"), "{error}");
    let error = try_store(&spool, &keep, &vec![2; most + 1], &wanted).expect_err("too large");
    assert!(error.message.contains("may ever hold"), "{error}");
    // What is being written counts in full from its beginning, also for another process.
    let another = Spool::open(&dir.path().join("spool"), MAX).expect("a spool");
    let outside = Outside {
        want: &wanted,
        tell: &drop,
        is_its_turn: false,
    };
    let stored = spool.store(&keep, MAX / 2, &outside, |out| {
        let keep = another.keep()?;
        let error = try_store(&another, &keep, b"x", &wanted).expect_err("reserved");
        assert_eq!(error.kind, ErrorKind::NoRoom);
        out.write_all(&vec![3; most / 2])
            .map_err(|error| Error::io(ErrorKind::Source, "write", Path::new("x"), &error))
    });
    stored.expect("just enough");
    assert_eq!(spool.room(&wanted).expect("room"), 0);
    assert_eq!(find(&spool, &first), Found::Whole(first.clone()));
}

#[test]
fn a_source_that_grows_meanwhile_finds_its_limit() {
    let (_dir, spool) = spool();
    let keep = spool.keep().expect("a lock");
    let outside = Outside {
        want: &wanted,
        tell: &drop,
        is_its_turn: false,
    };
    let mut written = 0;
    let grown = spool.store(&keep, 10, &outside, |out| {
        loop {
            out.write_all(&[0; 4096])
                .map_err(|error| Error::io(ErrorKind::Source, "write", Path::new("x"), &error))?;
            written += 4096;
            assert!(written <= MAX, "more than it may hold");
        }
    });
    assert_eq!(grown.expect_err("full").kind, ErrorKind::NoRoom);
    drop(keep);
    assert_eq!(names(&spool), [""; 0]);
}

#[test]
fn what_can_be_had_again_goes_first_and_the_least_wanted_before_the_rest() {
    let (_dir, spool) = spool();
    let part = usize::try_from(MAX / 4).expect("small");
    let artifacts: Vec<Artifact> = (0..4).map(|n| store(&spool, &vec![n; part])).collect();
    let wants = [Want::Now, Want::Later, Want::Maybe, Want::Nobody];
    let want = |sha256: &str| {
        let at = artifacts.iter().position(|one| one.sha256 == sha256);
        Ok(at.map_or(Want::Now, |at| wants[at]))
    };
    let there = || -> Vec<bool> { artifacts.iter().map(|one| one.path.exists()).collect() };
    let keep = spool.keep().expect("a lock");
    let told = RefCell::new(Vec::new());
    let outside = Outside {
        want: &want,
        tell: &|message| told.borrow_mut().push(message),
        is_its_turn: false,
    };
    let grab = |bytes: usize| {
        spool.store(&keep, bytes as u64, &outside, |out| {
            out.write_all(&vec![9; bytes])
                .map_err(|error| Error::io(ErrorKind::Source, "write", Path::new("x"), &error))
        })
    };
    assert_eq!(spool.room(&want).expect("room"), MAX / 4 * 3);
    grab(part * 3 + 1).expect_err("more than can be had");
    assert_eq!(there(), [true; 4], "given up in vain");
    remove(&grab(part).expect("room").path).expect("remove");
    assert_eq!(there(), [true, true, true, false]);
    assert!(told.borrow().is_empty(), "nobody wanted it");
    remove(&grab(part + 1).expect("room").path).expect("remove");
    assert_eq!(there(), [true, true, false, false]);
    grab(part * 3).expect("room");
    assert_eq!(there(), [true, false, false, false]);
    assert_eq!(told.borrow().len(), 2, "{told:?}");
}

#[test]
fn whose_turn_it_is_goes_beyond_the_limit_where_all_that_lies_there_waits() {
    let (_dir, spool) = spool();
    let most = usize::try_from(MAX).expect("small");
    let sent = store(&spool, &vec![1; most / 4 * 3]);
    let moves = Cell::new(true);
    let want = |sha256: &str| {
        Ok(match (sha256 == sent.sha256, moves.get()) {
            (true, false) => Want::Kept,
            _ => Want::Now,
        })
    };
    let keep = spool.keep().expect("a lock");
    let grab = |bytes: usize, is_its_turn: bool| {
        let outside = Outside {
            want: &want,
            tell: &drop,
            is_its_turn,
        };
        spool.store(&keep, bytes as u64, &outside, |out| {
            out.write_all(&vec![9; bytes])
                .map_err(|error| Error::io(ErrorKind::Source, "write", Path::new("x"), &error))
        })
    };
    assert_eq!(spool.room(&want).expect("room"), MAX / 4);
    grab(most / 2, true).expect_err("what runs makes room when it ends");
    moves.set(false);
    assert_eq!(spool.room(&want).expect("room"), MAX);
    grab(most / 2, false).expect_err("it is not its turn");
    grab(most + 1, true).expect_err("more than the spool may ever hold");
    grab(most / 2, true).expect("room for one");
    assert_eq!(spool.room(&want).expect("room"), 0);
    grab(1, true).expect_err("one is beyond the limit already");
    assert!(sent.path.exists());
}
