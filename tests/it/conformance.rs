//! The transport conformance suite: what the contract of `transport::Session` promises, asked of any real
//! server. A server is described by [`ServerUnderTest`]; results are checked on its disk, not through the
//! session that made them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use auto_dispatcher::domain::fault::{Fault, FaultClass};
use auto_dispatcher::domain::install::{InstallEnd, InstallFacts, InstallSpec};
use auto_dispatcher::domain::target::InstallMode;
use auto_dispatcher::transport::{Session, Upload, Verified};
use sha2::{Digest as _, Sha256};

/// What a server can do beyond the common ground.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Capabilities {
    /// The host computes SHA-256: `verify` says `Digest`, and sees a change that keeps the length.
    pub digest: bool,
    /// `file_mode` is carried out.
    pub modes: bool,
    /// File names may hold a newline.
    pub newline_in_names: bool,
    /// File names may begin or end with blanks.
    pub blanks_at_edges: bool,
    /// The login's shell runs install commands.
    pub install: bool,
    /// Permissions stop the login: it is not root.
    pub permissions: bool,
}

/// A running server and where its files lie on this machine's disk.
pub trait ServerUnderTest {
    /// For messages.
    fn name(&self) -> &str;
    /// A fresh session.
    fn connect(&self) -> Box<dyn Session>;
    /// Where a path on the server lies on this machine.
    fn local(&self, remote: &str) -> PathBuf;
    /// The login's home on the server: absolute, existing, writable.
    fn home(&self) -> String;
    /// What the server can do.
    fn capabilities(&self) -> Capabilities;
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::LowerHex for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One promise of the contract, asked of a server.
type Check = fn(&dyn ServerUnderTest);

/// A file that is about to be sent.
pub struct Package {
    file: tempfile::NamedTempFile,
    bytes: Vec<u8>,
    sha256: String,
}

impl Package {
    pub fn new(bytes: &[u8]) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), bytes).expect("write");
        let sha256 = format!("{:x}", Hex(Sha256::digest(bytes).as_slice()));
        Self {
            file,
            bytes: bytes.to_vec(),
            sha256,
        }
    }

    /// `size` bytes that do not repeat in any simple way.
    pub fn of_size(size: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(size as u64 + 1);
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
            .take(size)
            .collect();
        Self::new(&bytes)
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn upload<'a>(&'a self, dir: &'a str, name: &'a str, temporary: &'a str) -> Upload<'a> {
        Upload {
            local: self.file.path(),
            size: self.bytes.len() as u64,
            sha256: &self.sha256,
            dir,
            name,
            temporary,
            mode: None,
        }
    }
}

/// `name` in the remote directory `dir`.
pub fn join(dir: &str, name: &str) -> String {
    if dir.ends_with('/') {
        format!("{dir}{name}")
    } else {
        format!("{dir}/{name}")
    }
}

/// Uploads, verifies and publishes.
pub fn deliver(session: &mut dyn Session, upload: &Upload<'_>) -> Result<Verified, Fault> {
    session.upload(upload, &mut |_| {})?;
    let verified = session.verify(upload)?;
    session.publish(upload)?;
    Ok(verified)
}

/// The whole suite. Every check makes its own directory and opens its own session.
pub fn run_all(server: &dyn ServerUnderTest) {
    let checks: [(&str, Check); 16] = [
        (
            "a package arrives whole, verified, under its name alone",
            a_package_arrives_whole,
        ),
        ("an empty package arrives", an_empty_package_arrives),
        (
            "five megabytes arrive and progress is told",
            five_megabytes_arrive,
        ),
        (
            "hostile names are taken literally",
            hostile_names_are_taken_literally,
        ),
        (
            "hostile directories are taken literally",
            hostile_directories_are_taken_literally,
        ),
        (
            "missing directories are made, twice is no error",
            missing_directories_are_made,
        ),
        (
            "the tilde is the home, and only at the start",
            the_tilde_is_the_home,
        ),
        (
            "a file in the way of a directory is permanent",
            a_file_in_the_way_is_permanent,
        ),
        (
            "a published package replaces the old one",
            a_published_package_replaces_the_old_one,
        ),
        (
            "a directory in the way of a package is permanent",
            a_directory_in_the_way_is_permanent,
        ),
        (
            "an upload replaces what an earlier attempt left",
            an_upload_replaces_leftovers,
        ),
        (
            "a shortened temporary file is found and removed",
            a_shortened_file_is_found,
        ),
        (
            "a falsified temporary file is found and removed",
            a_falsified_file_is_found,
        ),
        (
            "discard removes the temporary file, twice is no error",
            discard_removes,
        ),
        (
            "many packages travel on one session",
            many_packages_on_one_session,
        ),
        (
            "the mode is set, and a missing permission is permanent",
            modes_and_permissions,
        ),
    ];
    for (what, check) in checks {
        eprintln!("{}: {what}", server.name());
        check(server);
    }
    if server.capabilities().install {
        eprintln!(
            "{}: an install command runs and is told the facts",
            server.name()
        );
        an_install_command_runs(server);
    }
}

/// A fresh directory of its own in the server's home, made through the session.
fn fresh_dir(server: &dyn ServerUnderTest, session: &mut dyn Session, name: &str) -> String {
    let wanted = join(&server.home(), &format!("conformance/{name}"));
    let dir = session
        .prepare_dir(&wanted)
        .unwrap_or_else(|fault| panic!("{}: {fault}", server.name()));
    assert_eq!(dir, wanted);
    dir
}

/// What lies in a remote directory, sorted.
fn names_in(server: &dyn ServerUnderTest, dir: &str) -> Vec<String> {
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
fn assert_delivered(
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

fn a_package_arrives_whole(server: &dyn ServerUnderTest) {
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

fn an_empty_package_arrives(server: &dyn ServerUnderTest) {
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

fn five_megabytes_arrive(server: &dyn ServerUnderTest) {
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

/// Names that shells, option parsers, globs and line readers stumble over.
fn hostile_names(server: &dyn ServerUnderTest) -> Vec<String> {
    let mut names: Vec<String> = [
        "it's",
        "say \"so\"",
        "two  blanks",
        "$(touch pwned)",
        "`touch pwned`",
        "-rf",
        "--help",
        "a;touch pwned",
        "a&b|c",
        "a>b<c",
        "*",
        "?[x]",
        "~",
        "~root",
        "#hash",
        "!bang!",
        "a\\b",
        "a\\",
        "%s%n",
        "{path}",
        "$HOME",
        "a:b",
        "a=b",
        "中文包-1.0.tar",
        "paquet-é-ü",
        "📦🚀",
        "..a",
        "...",
        "a\u{a0}b",
        "^x^y",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("n".repeat(200));
    if server.capabilities().blanks_at_edges {
        names.extend([
            " leading".to_owned(),
            "trailing ".to_owned(),
            "tab\tinside".to_owned(),
        ]);
    }
    if server.capabilities().newline_in_names {
        names.extend(["new\nline".to_owned(), "ends with one\n".to_owned()]);
    }
    names
}

fn hostile_names_are_taken_literally(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "names");
    let package = Package::of_size(100);
    let mut names = hostile_names(server);
    for name in &names {
        let temporary = if name.len() < 200 {
            format!("{name}.tmp-1")
        } else {
            ".long.tmp".to_owned()
        };
        assert_delivered(
            server,
            &mut *session,
            &package.upload(&dir, name, &temporary),
            package.bytes(),
        );
    }
    names.sort();
    assert_eq!(names_in(server, &dir), names, "{}", server.name());
}

fn hostile_directories_are_taken_literally(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let above = fresh_dir(server, &mut *session, "directories");
    let package = Package::of_size(100);
    let mut names = hostile_names(server);
    for name in &names {
        let wanted = join(&above, name);
        let dir = session
            .prepare_dir(&wanted)
            .unwrap_or_else(|fault| panic!("{}: {fault}", server.name()));
        assert_eq!(dir, wanted);
        assert_delivered(
            server,
            &mut *session,
            &package.upload(&dir, "package", ".tmp"),
            package.bytes(),
        );
    }
    names.sort();
    assert_eq!(names_in(server, &above), names, "{}", server.name());
}

fn missing_directories_are_made(server: &dyn ServerUnderTest) {
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

fn the_tilde_is_the_home(server: &dyn ServerUnderTest) {
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

fn a_file_in_the_way_is_permanent(server: &dyn ServerUnderTest) {
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

fn a_published_package_replaces_the_old_one(server: &dyn ServerUnderTest) {
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

fn a_directory_in_the_way_is_permanent(server: &dyn ServerUnderTest) {
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

fn an_upload_replaces_leftovers(server: &dyn ServerUnderTest) {
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

fn a_shortened_file_is_found(server: &dyn ServerUnderTest) {
    tamper(server, "shortened", |bytes| bytes.truncate(3_999));
}

fn a_falsified_file_is_found(server: &dyn ServerUnderTest) {
    if server.capabilities().digest {
        tamper(server, "falsified", |bytes| bytes[2_000] ^= 1);
    }
}

fn discard_removes(server: &dyn ServerUnderTest) {
    let mut session = server.connect();
    let dir = fresh_dir(server, &mut *session, "discarded");
    let package = Package::of_size(100);
    let upload = package.upload(&dir, "name", "-tmp;'1'");
    session.upload(&upload, &mut |_| {}).expect("upload");
    session.discard(&upload).expect("discard");
    session.discard(&upload).expect("discard again");
    assert!(names_in(server, &dir).is_empty(), "{}", server.name());
}

fn many_packages_on_one_session(server: &dyn ServerUnderTest) {
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

fn modes_and_permissions(server: &dyn ServerUnderTest) {
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

/// A tracked install of `command`, with facts that are hostile to shells.
pub fn install_spec(token: &str, command: &str) -> InstallSpec {
    InstallSpec {
        token: token.to_owned(),
        command: command.to_owned(),
        facts: InstallFacts {
            package: "it's a $(package)".to_owned(),
            path: "/srv/it's a $(package)".to_owned(),
            dest_dir: "/srv".to_owned(),
            repository: "/svn/中文".to_owned(),
            revision: "17".to_owned(),
            author: "o'neil".to_owned(),
            sha256: "00ff".to_owned(),
            delivery: "42".to_owned(),
        },
        timeout_s: 60,
        mode: InstallMode::Tracked,
        idempotent: false,
        output_max_bytes: 65_536,
    }
}

fn an_install_command_runs(server: &dyn ServerUnderTest) {
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
