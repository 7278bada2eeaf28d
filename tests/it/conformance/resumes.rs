//! The checks that a broken upload goes on behind what is verified to be there, starts again otherwise, and
//! leaves nothing behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use auto_dispatcher::transport::{Leftover, Upload};

use super::checks::{assert_delivered, fresh_dir, names_in};
use super::{Package, ServerUnderTest, join};

const SIZE: usize = 3_000_000;
const THERE: usize = 2_000_000;
/// What a script counts in.
const BLOCK: u64 = 64 * 1024;

/// Leaves the first `length` bytes of the package under the temporary name, as an attempt that was cut off does.
fn leave(server: &dyn ServerUnderTest, upload: &Upload<'_>, package: &Package, length: usize) {
    let beginning = Package::new(&package.bytes()[..length]);
    let mut part = beginning.upload(upload.dir, upload.name, upload.temporary);
    part.mode = upload.mode;
    server
        .connect()
        .upload(&part, &mut |_| {})
        .unwrap_or_else(|fault| panic!("{}: {fault}", server.name()));
}

/// Changes what lies under the temporary name, on the server's disk.
fn change(server: &dyn ServerUnderTest, upload: &Upload<'_>, change: impl Fn(&mut Vec<u8>)) {
    let path = server.local(&join(upload.dir, upload.temporary));
    let mut bytes = fs::read(&path).expect("read");
    change(&mut bytes);
    fs::write(&path, bytes).expect("write");
}

/// Uploads once more and asserts that the right bytes get the name; returns how many were taken over.
#[track_caller]
fn resume(server: &dyn ServerUnderTest, upload: &Upload<'_>, package: &Package) -> u64 {
    let mut session = server.connect();
    let mut told = Vec::new();
    let taken_over = session
        .upload(upload, &mut |bytes| told.push(bytes))
        .unwrap_or_else(|fault| panic!("{}: {fault}", server.name()));
    assert!(told.is_sorted(), "{}: {told:?}", server.name());
    assert!(
        told.iter().all(|&bytes| bytes >= taken_over),
        "{}: {taken_over}, {told:?}",
        server.name()
    );
    session.verify(upload).expect("verify");
    session.publish(upload).expect("publish");
    let arrived = fs::read(server.local(&join(upload.dir, upload.name))).expect("read");
    assert!(
        arrived == package.bytes(),
        "{}: other bytes arrived",
        server.name()
    );
    assert_eq!(names_in(server, upload.dir), [upload.name]);
    taken_over
}

pub fn an_upload_goes_on_behind_what_is_there(server: &dyn ServerUnderTest) {
    let dir = fresh_dir(server, &mut *server.connect(), "resumed");
    let package = Package::of_size(SIZE);
    let mut upload = package.upload(&dir, "name", ".resumed.tmp");
    upload.resume = true;
    for length in [THERE, 300_000] {
        leave(server, &upload, &package, length);
        let taken_over = resume(server, &upload, &package);
        let length = length as u64;
        assert!(
            (length - BLOCK..=length).contains(&taken_over),
            "{}: {taken_over} of {length}",
            server.name()
        );
    }
    upload.resume = false;
    leave(server, &upload, &package, THERE);
    assert_eq!(resume(server, &upload, &package), 0, "{}", server.name());
}

pub fn what_is_there_whole_is_taken_over(server: &dyn ServerUnderTest) {
    let dir = fresh_dir(server, &mut *server.connect(), "resumed-whole");
    let package = Package::of_size(SIZE);
    let mut upload = package.upload(&dir, "name", ".whole.tmp");
    upload.resume = true;
    leave(server, &upload, &package, SIZE);
    let taken_over = resume(server, &upload, &package);
    assert!(
        taken_over > SIZE as u64 - BLOCK,
        "{}: {taken_over}",
        server.name()
    );
}

pub fn what_is_not_the_beginning_is_sent_again(server: &dyn ServerUnderTest) {
    let dir = fresh_dir(server, &mut *server.connect(), "resumed-other");
    let package = Package::of_size(SIZE);
    let mut upload = package.upload(&dir, "name", ".other.tmp");
    upload.resume = true;
    let again = |what: &str| {
        assert_eq!(
            resume(server, &upload, &package),
            0,
            "{}: {what}",
            server.name()
        );
    };
    leave(server, &upload, &package, THERE);
    change(server, &upload, |bytes| bytes[THERE - 100_000] ^= 1);
    again("another byte in the tail");
    leave(server, &upload, &package, THERE);
    change(server, &upload, |bytes| bytes[THERE - 500_000..].fill(0));
    again("zeros, as after a power cut");
    leave(server, &upload, &package, SIZE);
    change(server, &upload, |bytes| bytes.push(0));
    again("longer than the package");
    leave(server, &upload, &package, 200_000);
    again("not worth it");
    let other = Package::of_size(SIZE + 1);
    leave(server, &upload, &other, THERE);
    again("another package");
    if server.capabilities().digest {
        leave(server, &upload, &package, THERE);
        change(server, &upload, |bytes| bytes[123_456] ^= 1);
        again("another byte long before the tail");
    }
}

pub fn a_resumed_file_has_the_mode_of_the_rule(server: &dyn ServerUnderTest) {
    if !server.capabilities().modes {
        return;
    }
    let dir = fresh_dir(server, &mut *server.connect(), "resumed-mode");
    let package = Package::of_size(SIZE);
    for mode in [0o644, 0o400] {
        let mut upload = package.upload(&dir, "name", ".mode.tmp");
        upload.resume = true;
        upload.mode = Some(mode);
        leave(server, &upload, &package, THERE);
        let mode_of = |name: &str| {
            let metadata = fs::metadata(server.local(&join(&dir, name))).expect("stat");
            metadata.permissions().mode() & 0o7777
        };
        assert_eq!(
            mode_of(".mode.tmp"),
            mode,
            "{}: as the first attempt left it",
            server.name()
        );
        let mut session = server.connect();
        let mut seen = Vec::new();
        let taken_over = session
            .upload(&upload, &mut |bytes| {
                if bytes < SIZE as u64 {
                    seen.push(mode_of(".mode.tmp"));
                }
            })
            .unwrap_or_else(|fault| panic!("{}: {fault}", server.name()));
        assert!(taken_over > 0, "{}", server.name());
        assert!(
            !seen.is_empty() && seen.iter().all(|&seen| seen == 0o600),
            "{}: {seen:?}",
            server.name()
        );
        session.verify(&upload).expect("verify");
        session.publish(&upload).expect("publish");
        assert_eq!(mode_of("name"), mode, "{}", server.name());
    }
}

pub fn a_leftover_is_tidied_away(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "tidied");
    let package = Package::of_size(1_000);
    let upload = package.upload(&dir, "name", ".left'over.tmp");
    session.upload(&upload, &mut |_| {}).expect("upload");
    let leftover = Leftover {
        dir: &dir,
        name: "name",
        temporary: ".left'over.tmp",
    };
    for _ in 0..2 {
        session.tidy(&leftover).expect("tidy");
        assert!(names_in(server, &dir).is_empty(), "{}", server.name());
    }
    fs::remove_dir(server.local(&dir)).expect("rmdir");
    session.tidy(&leftover).expect("the directory is gone");
    fresh_dir(server, &mut *session, "tidied");
    assert_delivered(server, &mut *session, &upload, package.bytes());
}

pub fn what_was_put_aside_gets_its_name_back_or_goes(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "aside");
    let put = |name: &str, text: &str| fs::write(server.local(&join(&dir, name)), text);
    let text = || fs::read_to_string(server.local(&join(&dir, "name"))).expect("read");
    let leftover = Leftover {
        dir: &dir,
        name: "name",
        temporary: ".aside.tmp",
    };
    put(".aside.tmp.old", "old").expect("write");
    put(".aside.tmp", "new").expect("write");
    session.tidy(&leftover).expect("tidy");
    assert_eq!(names_in(server, &dir), ["name"], "{}", server.name());
    assert_eq!(text(), "old", "{}", server.name());
    put(".aside.tmp.old", "older").expect("write");
    session.tidy(&leftover).expect("tidy");
    assert_eq!(names_in(server, &dir), ["name"], "{}", server.name());
    assert_eq!(text(), "old", "{}", server.name());
    // Cut off between the two renames: the next attempt publishes, and what it put aside goes.
    put(".aside.tmp.old", "old").expect("write");
    fs::remove_file(server.local(&join(&dir, "name"))).expect("remove");
    let package = Package::new(b"new");
    let mut upload = package.upload(&dir, "name", ".aside.tmp");
    upload.resume = true;
    assert_delivered(server, &mut *session, &upload, package.bytes());
    if !server.capabilities().install {
        assert_eq!(names_in(server, &dir), ["name"], "{}", server.name());
    }
}
