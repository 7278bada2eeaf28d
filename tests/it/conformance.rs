//! The transport conformance suite: what the contract of `transport::Session` promises, asked of any real
//! server. A server is described by [`ServerUnderTest`]; results are checked on its disk, not through the
//! session that made them.

mod checks;
mod names;
mod resumes;

use std::fs;
use std::path::PathBuf;

use auto_dispatcher::domain::fault::Fault;
use auto_dispatcher::domain::install::{InstallFacts, InstallSpec};
use auto_dispatcher::domain::target::InstallMode;
use auto_dispatcher::transport::{Session, Upload, Verified};
use sha2::{Digest as _, Sha256};

/// What a server can do beyond the common ground.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a question of its own"
)]
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
            resume: false,
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
    let all: [(&str, Check); 22] = [
        (
            "a package arrives whole, verified, under its name alone",
            checks::a_package_arrives_whole,
        ),
        ("an empty package arrives", checks::an_empty_package_arrives),
        (
            "five megabytes arrive and progress is told",
            checks::five_megabytes_arrive,
        ),
        (
            "hostile names are taken literally",
            names::hostile_names_are_taken_literally,
        ),
        (
            "hostile directories are taken literally",
            names::hostile_directories_are_taken_literally,
        ),
        (
            "missing directories are made, twice is no error",
            checks::missing_directories_are_made,
        ),
        (
            "the tilde is the home, and only at the start",
            checks::the_tilde_is_the_home,
        ),
        (
            "a file in the way of a directory is permanent",
            checks::a_file_in_the_way_is_permanent,
        ),
        (
            "a published package replaces the old one",
            checks::a_published_package_replaces_the_old_one,
        ),
        (
            "a directory in the way of a package is permanent",
            checks::a_directory_in_the_way_is_permanent,
        ),
        (
            "an upload replaces what an earlier attempt left",
            checks::an_upload_replaces_leftovers,
        ),
        (
            "a shortened temporary file is found and removed",
            checks::a_shortened_file_is_found,
        ),
        (
            "a falsified temporary file is found and removed",
            checks::a_falsified_file_is_found,
        ),
        (
            "discard removes the temporary file, twice is no error",
            checks::discard_removes,
        ),
        (
            "many packages travel on one session",
            checks::many_packages_on_one_session,
        ),
        (
            "the mode is set, and a missing permission is permanent",
            checks::modes_and_permissions,
        ),
        (
            "an upload goes on behind what is there",
            resumes::an_upload_goes_on_behind_what_is_there,
        ),
        (
            "what is there whole is taken over",
            resumes::what_is_there_whole_is_taken_over,
        ),
        (
            "what is not the beginning is sent again",
            resumes::what_is_not_the_beginning_is_sent_again,
        ),
        (
            "a resumed file has the mode of the rule",
            resumes::a_resumed_file_has_the_mode_of_the_rule,
        ),
        (
            "a leftover is tidied away, twice is no error",
            resumes::a_leftover_is_tidied_away,
        ),
        (
            "what was put aside gets its name back or goes",
            resumes::what_was_put_aside_gets_its_name_back_or_goes,
        ),
    ];
    for (what, check) in all {
        eprintln!("{}: {what}", server.name());
        check(server);
    }
    if server.capabilities().install {
        eprintln!(
            "{}: an install command runs and is told the facts",
            server.name()
        );
        checks::an_install_command_runs(server);
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
        recorded: false,
        output_max_bytes: 65_536,
    }
}
