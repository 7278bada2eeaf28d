//! The checks of the conformance suite, each in a directory of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use auto_dispatcher::domain::fault::{Fault, FaultClass};
use auto_dispatcher::domain::install::InstallEnd;
use auto_dispatcher::transport::{Session, Upload, Verified};

use super::{Package, ServerUnderTest, deliver, install_spec, join};

/// A fresh directory of its own in the server's home, made through the session.
pub fn fresh_dir(server: &dyn ServerUnderTest, session: &mut dyn Session, name: &str) -> String {
    let wanted = join(&server.home(), &format!("conformance/{name}"));
    let dir = session
        .prepare_dir(&wanted)
        .unwrap_or_else(|fault| panic!("{}: {fault}", server.name()));
    assert_eq!(dir, wanted);
    dir
}

/// What lies in a remote directory, sorted.
pub fn names_in(server: &dyn ServerUnderTest, dir: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(server.local(dir))
        .unwrap_or_else(|error| panic!("{}: {dir}: {error}", server.name()))
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    names
}

#[track_caller]
pub fn assert_delivered(
    server: &dyn ServerUnderTest,
    session: &mut dyn Session,
    upload: &Upload<'_>,
    bytes: &[u8],
) {
    let verified = deliver(session, upload).unwrap_or_else(|fault| {
        panic!(
            "{}: {:?} in {:?}: {fault}",
            server.name(),
            upload.name,
            upload.dir
        )
    });
    let wanted = if server.capabilities().digest {
        Verified::Digest
    } else {
        Verified::Length
    };
    assert_eq!(verified, wanted, "{}: {:?}", server.name(), upload.name);
    let path = server.local(&join(upload.dir, upload.name));
    let shown = path.display();
    let found =
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {shown}: {error}", server.name()));
    assert!(
        found == bytes,
        "{}: {shown} holds other bytes",
        server.name()
    );
    assert!(
        !server.local(&join(upload.dir, upload.temporary)).exists(),
        "{}: the temporary stays",
        server.name()
    );
}

pub fn a_package_arrives_whole(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "whole");
    let package = Package::of_size(10_000);
    let upload = package.upload(&dir, "package-1.0.tar.gz", ".package.tmp");
    session.upload(&upload, &mut |_| {}).expect("upload");
    assert_eq!(
        names_in(server, &dir),
        [".package.tmp"],
        "{}: only the temporary name is there",
        server.name()
    );
    assert_delivered(server, &mut *session, &upload, package.bytes());
    assert_eq!(names_in(server, &dir), ["package-1.0.tar.gz"]);
    session.close();
}

pub fn an_empty_package_arrives(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "empty");
    let package = Package::new(b"");
    assert_delivered(
        server,
        &mut *session,
        &package.upload(&dir, "empty", ".empty.tmp"),
        b"",
    );
}

pub fn five_megabytes_arrive(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "large");
    let package = Package::of_size(5_000_001);
    let upload = package.upload(&dir, "large.bin", ".large.tmp");
    let mut told = Vec::new();
    session
        .upload(&upload, &mut |sent| told.push(sent))
        .expect("upload");
    assert_eq!(
        told.last(),
        Some(&upload.size),
        "{}: the last progress is the whole",
        server.name()
    );
    assert!(
        told.is_sorted(),
        "{}: progress never goes back: {told:?}",
        server.name()
    );
    session.verify(&upload).expect("verify");
    session.publish(&upload).expect("publish");
    assert!(fs::read(server.local(&join(&dir, "large.bin"))).expect("read") == package.bytes());
}

pub fn missing_directories_are_made(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let above = fresh_dir(server, &mut *session, "deep");
    let wanted = join(&above, "one/two/three");
    for given in [wanted.clone(), wanted.clone(), format!("{wanted}/")] {
        assert_eq!(
            session.prepare_dir(&given).expect("prepare_dir"),
            wanted,
            "{}",
            server.name()
        );
    }
    assert!(server.local(&wanted).is_dir());
}

pub fn the_tilde_is_the_home(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let home = server.home();
    assert_eq!(
        session.prepare_dir("~").expect("~"),
        home,
        "{}",
        server.name()
    );
    assert_eq!(session.prepare_dir("~/").expect("~/"), home);
    assert_eq!(
        session.prepare_dir("~/tilde/a~/~").expect("~/..."),
        join(&home, "tilde/a~/~")
    );
    assert_eq!(
        session.prepare_dir("relative/dir").expect("relative"),
        join(&home, "relative/dir")
    );
    assert!(server.local(&join(&home, "tilde/a~/~")).is_dir());
    assert!(server.local(&join(&home, "relative/dir")).is_dir());
}

#[track_caller]
fn assert_permanent<T: std::fmt::Debug>(
    server: &dyn ServerUnderTest,
    result: Result<T, Fault>,
    names: &str,
) {
    let fault = result.expect_err("a fault");
    assert_eq!(
        fault.class,
        FaultClass::Permanent,
        "{}: {fault}",
        server.name()
    );
    assert!(
        fault.message.contains(names),
        "{}: {fault} does not name {names}",
        server.name()
    );
}

pub fn a_file_in_the_way_is_permanent(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "blocked");
    fs::write(server.local(&join(&dir, "file")), b"x").expect("write");
    assert_permanent(
        server,
        session.prepare_dir(&join(&dir, "file")),
        "blocked/file",
    );
    assert_permanent(
        server,
        session.prepare_dir(&join(&dir, "file/below")),
        "blocked/file",
    );
    assert_eq!(
        fs::read(server.local(&join(&dir, "file"))).expect("read"),
        b"x"
    );
    assert_eq!(
        session
            .prepare_dir(&dir)
            .expect("the session may be used again"),
        dir
    );
}

pub fn a_published_package_replaces_the_old_one(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "replaced");
    for size in [5_000, 3_000] {
        let package = Package::of_size(size);
        assert_delivered(
            server,
            &mut *session,
            &package.upload(&dir, "same", ".same.tmp"),
            package.bytes(),
        );
    }
    assert_eq!(names_in(server, &dir), ["same"]);
}

pub fn a_directory_in_the_way_is_permanent(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "occupied");
    fs::create_dir(server.local(&join(&dir, "name"))).expect("mkdir");
    let package = Package::of_size(100);
    let upload = package.upload(&dir, "name", ".name.tmp");
    session.upload(&upload, &mut |_| {}).expect("upload");
    session.verify(&upload).expect("verify");
    assert_permanent(server, session.publish(&upload), "occupied/name");
    assert!(
        names_in(server, &join(&dir, "name")).is_empty(),
        "{}: nothing goes into it",
        server.name()
    );
    session.discard(&upload).expect("discard");
    assert_eq!(names_in(server, &dir), ["name"]);
}

pub fn an_upload_replaces_leftovers(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "leftovers");
    let package = Package::of_size(1_000);
    let long = Package::of_size(9_000);
    let upload = package.upload(&dir, "name", ".left.tmp");
    session
        .upload(&long.upload(&dir, "name", ".left.tmp"), &mut |_| {})
        .expect("upload");
    assert_delivered(server, &mut *session, &upload, package.bytes());
}

/// Changes the temporary file on the server's disk, then asks `verify`.
fn tamper(server: &dyn ServerUnderTest, name: &str, change: fn(&mut Vec<u8>)) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, name);
    let package = Package::of_size(4_000);
    let upload = package.upload(&dir, "name", ".tampered.tmp");
    session.upload(&upload, &mut |_| {}).expect("upload");
    let path = server.local(&join(&dir, ".tampered.tmp"));
    let mut bytes = fs::read(&path).expect("read");
    change(&mut bytes);
    fs::write(&path, bytes).expect("write");
    let fault = session.verify(&upload).expect_err("a fault");
    assert_eq!(
        fault.class,
        FaultClass::Transient,
        "{}: {fault}",
        server.name()
    );
    assert!(
        names_in(server, &dir).is_empty(),
        "{}: the falsified file is removed",
        server.name()
    );
}

pub fn a_shortened_file_is_found(server: &dyn ServerUnderTest) {
    tamper(server, "shortened", |bytes| bytes.truncate(3_999));
}

pub fn a_falsified_file_is_found(server: &dyn ServerUnderTest) {
    if server.capabilities().digest {
        tamper(server, "falsified", |bytes| bytes[2_000] ^= 1);
    }
}

pub fn discard_removes(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "discarded");
    let package = Package::of_size(100);
    let upload = package.upload(&dir, "name", "-tmp;'1'");
    session.upload(&upload, &mut |_| {}).expect("upload");
    session.discard(&upload).expect("discard");
    session.discard(&upload).expect("discard again");
    assert!(names_in(server, &dir).is_empty(), "{}", server.name());
}

pub fn many_packages_on_one_session(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "many");
    for number in 0..30 {
        let package = Package::of_size(number * 37);
        let name = format!("package-{number:02}");
        assert_delivered(
            server,
            &mut *session,
            &package.upload(&dir, &name, ".many.tmp"),
            package.bytes(),
        );
    }
    assert_eq!(names_in(server, &dir).len(), 30);
}

pub fn modes_and_permissions(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "modes");
    let package = Package::of_size(100);
    if server.capabilities().modes {
        for mode in [0o640, 0o755, 0o400] {
            let name = format!("mode-{mode:o}");
            let mut upload = package.upload(&dir, &name, ".mode.tmp");
            upload.mode = Some(mode);
            assert_delivered(server, &mut *session, &upload, package.bytes());
            let found = fs::metadata(server.local(&join(&dir, &name)))
                .expect("stat")
                .permissions()
                .mode()
                & 0o7777;
            assert_eq!(
                format!("{found:o}"),
                format!("{mode:o}"),
                "{}",
                server.name()
            );
        }
    }
    if server.capabilities().permissions {
        let closed = fresh_dir(server, &mut *session, "closed");
        fs::set_permissions(server.local(&closed), fs::Permissions::from_mode(0o555))
            .expect("chmod");
        let upload = package.upload(&closed, "name", ".tmp");
        assert_permanent(server, session.upload(&upload, &mut |_| {}), "closed/.tmp");
        assert_permanent(
            server,
            session.prepare_dir(&join(&closed, "below")),
            "closed/below",
        );
        fs::set_permissions(server.local(&closed), fs::Permissions::from_mode(0o755))
            .expect("chmod");
    }
}

pub fn an_install_command_runs(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let command = "echo \"$AD_PACKAGE/$AD_REVISION/$AD_DELIVERY\" {path} {revision}; exit 7";
    let spec = install_spec("conformance-1", command);
    let mut shown = Vec::new();
    let outcome = session
        .install(&spec, &mut |bytes| shown.extend_from_slice(bytes))
        .expect("install");
    assert_eq!(
        outcome.end,
        InstallEnd::Exited(7),
        "{}: {outcome:?}",
        server.name()
    );
    let wanted = "it's a $(package)/17/42 /srv/it's a $(package) 17\n";
    assert_eq!(
        String::from_utf8_lossy(&outcome.output),
        wanted,
        "{}",
        server.name()
    );
    assert_eq!(String::from_utf8_lossy(&shown), wanted);
    session.forget_install(&spec.token).expect("forget");
    session.forget_install(&spec.token).expect("forget again");
}
