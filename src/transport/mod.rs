//! The contract of transports: a session is one open connection to a target, and every kind of
//! session behaves alike. Adapters (`ssh/`, `ftp/`) classify what goes wrong by the table of
//! [`crate::domain::fault`]; they decide nothing else. Knows nothing of journal, rules or sources.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::domain::fault::Fault;
use crate::domain::install::{InstallOutcome, InstallSpec};
use crate::domain::secret::Secret;
use crate::domain::target::{ConnectionTerms, Target, TransportKind};

pub mod fallback;
pub mod ftp;
pub mod probe;
mod replace;
mod resume;
pub mod ssh;
mod stop;
mod traffic;

pub use stop::StopFlag;
pub use traffic::Traffic;

/// The secrets of a login, looked up late and only when they are asked for. Implemented by the worker.
pub trait Credentials {
    /// The password; `Ok(None)` when none is configured anywhere. A look-up that fails
    /// (`password_command`, unreadable netrc) is a fault that says so.
    fn password(&self) -> Result<Option<Secret>, Fault>;
    /// What FTP's `ACCT` is to be told, if anything.
    fn account(&self) -> Result<Option<Secret>, Fault>;
}

/// What a person-independent place of this machine contributes to logins. Filled by `cli/`: the
/// library itself reads no environment.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The home directory whose `.ssh/` holds the usual key files and a known_hosts file.
    pub home: Option<std::path::PathBuf>,
    /// Socket of the SSH agent.
    pub agent_socket: Option<std::path::PathBuf>,
    /// The known_hosts file that accepted keys are added to when the rule names none.
    pub own_known_hosts: std::path::PathBuf,
    /// Further known_hosts files, read only.
    pub other_known_hosts: Vec<std::path::PathBuf>,
    /// Who is at work in this process.
    pub traffic: Traffic,
}

/// Everything that opening a session needs.
pub struct Dial<'a> {
    /// Where to.
    pub target: &'a Target,
    /// On what terms.
    pub terms: &'a ConnectionTerms,
    /// With which secrets.
    pub credentials: &'a dyn Credentials,
    /// From where.
    pub surroundings: &'a Surroundings,
    /// Hears what has to be logged though nothing failed: a host key that was recorded, an old algorithm.
    pub tell: Box<dyn Fn(String) + 'a>,
    /// Hears how far it has come.
    pub reached: Box<dyn Fn(Stage) + 'a>,
    /// Set when the worker has to end: long operations return a transient fault soon after.
    pub stop: &'a StopFlag,
}

/// How far opening a session has come. What a peer says of itself is as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The name has these addresses.
    Resolved(Vec<SocketAddr>),
    /// One of them has taken the connection.
    Connected(SocketAddr),
    /// The server has said what it is.
    Greeted(String),
    /// Keys were exchanged over SSH, and the host's was accepted.
    Keyed {
        /// `ssh-ed25519 SHA256:...`.
        key: String,
        /// Where it is on record: `FILE:LINE`; none: it was not, until now.
        place: Option<String>,
        /// What was agreed upon, in words.
        algorithms: String,
    },
    /// TLS is on, and the certificate was accepted.
    Secured {
        /// Its SHA-256 in hex.
        fingerprint: String,
        /// Version and cipher suite.
        tls: String,
    },
    /// The login was let in, by this.
    LoggedIn(String),
}

/// One file to bring to a host. Names are single path components and taken literally.
#[derive(Debug, Clone)]
pub struct Upload<'a> {
    /// The artifact in the spool.
    pub local: &'a Path,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, lower-case hex.
    pub sha256: &'a str,
    /// Absolute directory on the host, as [`Session::prepare_dir`] returned it.
    pub dir: &'a str,
    /// The name that the file gets there.
    pub name: &'a str,
    /// The unique temporary name, in the same directory, that it has until it is verified.
    pub temporary: &'a str,
    /// Permission bits, if the rule names some.
    pub mode: Option<u32>,
    /// Whether an earlier attempt may have left a beginning of it under the temporary name. Without this
    /// nobody asks, which saves a question for each file, and whatever lies there is replaced.
    pub resume: bool,
}

/// Many small files for one directory of a host, brought in one go. Their names are plain (see
/// [`crate::domain::group`]), and each is there once.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// Absolute directory on the host, as [`Session::prepare_dir`] returned it.
    pub dir: &'a str,
    /// The unique name, in there, of the directory that they lie in until all are verified.
    pub temporary: &'a str,
    /// Permission bits, if the rule names some.
    pub mode: Option<u32>,
    /// The files.
    pub files: &'a [Grouped<'a>],
}

/// One file of a group.
#[derive(Debug, Clone, Copy)]
pub struct Grouped<'a> {
    /// The artifact in the spool.
    pub local: &'a Path,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, lower-case hex.
    pub sha256: &'a str,
    /// The name that the file gets.
    pub name: &'a str,
}

/// What the caller is asked and told on the way of a group. A fault that it answers with ends the way.
#[derive(Debug)]
pub enum Milestone<'a> {
    /// The host is being asked whether it can take a group; nothing is made there before it is. Those that are to go
    /// on are left true.
    Asked(&'a mut [bool]),
    /// This file is being handed over.
    Begun(usize),
    /// All have been handed over, and the host verifies them.
    Sent,
    /// Length and SHA-256 of all that went were computed by the host and agree. Those that are still true are about
    /// to get their names; of the others a directory has the name.
    Verified(&'a [bool]),
}

/// What became of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Brought {
    /// Each file has its name where there is a true; the others lie nowhere.
    Published {
        /// In the order of the files.
        which: Vec<bool>,
        /// Whether the temporary directory is gone.
        is_tidy: bool,
    },
    /// The host takes no groups, for this reason; nothing was made there.
    Unable(String),
    /// None has its name, for this reason, which concerns the group and not the connection: each may be tried alone.
    Refused(String),
}

/// Refuses names that are no single component, and those that uploads under way and install records go by on hosts.
fn check_name(name: &str) -> Result<(), Fault> {
    let of_upload = name
        .strip_prefix(".ad-")
        .and_then(|rest| rest.rsplit_once(".part"));
    let is_ours = name == ".auto-dispatcher"
        || of_upload.is_some_and(|(_, end)| end.is_empty() || end == ".old");
    if is_ours {
        return Err(Fault::permanent(format!(
            "{name:?} is a name that auto-dispatcher itself uses on hosts: rename the package"
        )));
    }
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(Fault::permanent(format!(
            "{name:?} cannot be a file's name on the host: rename the package"
        )));
    }
    Ok(())
}

/// What an attempt may have left on a host under names that are its delivery's alone.
#[derive(Debug, Clone, Copy)]
pub struct Leftover<'a> {
    /// Absolute directory on the host.
    pub dir: &'a str,
    /// The name that the package was to get there.
    pub name: &'a str,
    /// The temporary name.
    pub temporary: &'a str,
}

/// What a session knows of its peer, for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFacts {
    /// The transport.
    pub kind: TransportKind,
    /// `SHA256:...` of the host key, or the SHA-256 of the certificate in hex; none for plain FTP.
    pub fingerprint: Option<String>,
    /// How files travel and what was negotiated, in words: `SFTP, chacha20-poly1305@openssh.com`.
    pub detail: String,
}

/// Where files of a directory would lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The directory, absolute.
    pub path: String,
    /// The same if it is there, else the nearest one above it that is.
    pub existing: String,
}

/// The room of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that the login may still write.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// What a host can do beside taking files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Its shell; none: it runs no commands for us, and what it said.
    pub shell: Option<Result<Shell, String>>,
    /// What computes a SHA-256 there.
    pub digests: Vec<String>,
    /// What a server of files says that it can do.
    pub features: Vec<String>,
}

/// What a host's `sh` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shell {
    /// Seconds since 1970 by the host's clock.
    pub time_s: Option<i64>,
    /// Why no directory can be made for the records of installs; none: one can.
    pub no_records: Option<String>,
}

/// How long the peer of a session that lay idle gets to answer.
const PEER_ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// How far a file has come that is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placing {
    /// Its bytes are there, and so many were before; it is verified now. Not told where the host does all in one go.
    Uploaded(u64),
    /// It may get its name from now on.
    Publishing,
}

/// How an upload was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// Length and SHA-256 were computed by the host and agree.
    Digest,
    /// The host cannot compute a digest; the length agrees.
    Length,
}

/// One open connection. All methods block; all are bounded by `connect_timeout` or `stall_timeout`.
///
/// After [`FaultClass::Unreachable`](crate::domain::fault::FaultClass) or a transient fault the session is
/// not used again. After a permanent one it may be.
pub trait Session: Send {
    /// What is known of the peer.
    fn facts(&self) -> &SessionFacts;

    /// Resolves `dest_dir` (a leading `~` or `~/` is the login's home, a relative path starts there
    /// too; everything else is literal), makes what is missing of it and returns it absolute, without
    /// a trailing slash (except `/`). Idempotent.
    fn prepare_dir(&mut self, dest_dir: &str) -> Result<String, Fault>;

    /// Brings the bytes to the temporary name and returns how many of them were there already.
    ///
    /// Where `resume` allows it, it goes on behind what an earlier attempt left there and what is verified to
    /// be the artifact's beginning: by its SHA-256, computed on the host; where the host computes none, by
    /// reading the last MiB back (over SFTP also samples of what is before). What is short, too long,
    /// different, or cannot be known, is replaced.
    ///
    /// The file has the final mode or a narrower one while it grows. `progress` is told how many bytes are
    /// there so far. After a stop or a cut connection the file stays, to be gone on from; after any other
    /// fault it is removed, for the space it takes may be what is missing. Never touches the final name.
    fn upload(&mut self, upload: &Upload<'_>, progress: &mut dyn FnMut(u64)) -> Result<u64, Fault>;

    /// Checks the temporary file: its length on every transport, its SHA-256 where the host can compute
    /// one. A difference is a transient fault and the file is removed.
    fn verify(&mut self, upload: &Upload<'_>) -> Result<Verified, Fault>;

    /// Renames the temporary name to the final one, replacing a file of that name; atomically where
    /// the host allows. A directory of that name is a permanent fault. What an earlier attempt (`resume`) put
    /// aside is removed afterwards: it is older than what has the name.
    fn publish(&mut self, upload: &Upload<'_>) -> Result<(), Fault>;

    /// Whether [`Session::bring_group`] may work. It was not tried, or has never refused.
    fn takes_groups(&self) -> bool {
        false
    }

    /// Brings small files together: all go into a temporary directory, are verified and on the disk, and only then
    /// get their names, each in one step, replacing files of these names. The mode of each is the final one or a
    /// narrower one while it grows, and nobody else may enter the directory. What an earlier attempt left under that
    /// name is removed first. `passes` is told how far it is. After a fault the directory may still be there.
    fn bring_group(
        &mut self,
        group: &Group<'_>,
        passes: &mut dyn FnMut(Milestone<'_>) -> Result<(), Fault>,
    ) -> Result<Brought, Fault> {
        let (_, _) = (group, passes);
        let why = "this transport brings files one by one";
        Ok(Brought::Unable(why.to_owned()))
    }

    /// Removes the temporary directory of a group that is not under way any more. Idempotent.
    fn tidy_group(&mut self, dir: &str, temporary: &str) -> Result<(), Fault> {
        Err(Fault::unsupported(format!(
            "{dir}/{temporary} can only be removed over SSH"
        )))
    }

    /// What [`Session::prepare_dir`] does for what is placed there next: what is missing may be made by
    /// [`Session::place`] only.
    fn aim(&mut self, dest_dir: &str) -> Result<String, Fault> {
        self.prepare_dir(dest_dir)
    }

    /// Does what [`Session::upload`], [`Session::verify`] and [`Session::publish`] do, in one go where the host can.
    /// `told` is told what is about to happen, once at least before the file gets its name; its fault ends it.
    fn place(
        &mut self,
        upload: &Upload<'_>,
        progress: &mut dyn FnMut(u64),
        told: &mut dyn FnMut(Placing) -> Result<(), Fault>,
    ) -> Result<Verified, Fault> {
        let resumed_at = self.upload(upload, progress)?;
        told(Placing::Uploaded(resumed_at))?;
        let verified = self.verify(upload)?;
        told(Placing::Publishing)?;
        self.publish(upload)?;
        Ok(verified)
    }

    /// Removes the temporary file if it is there. Idempotent. Refuses to after a `publish` that moved the old
    /// file and could neither finish nor put it back.
    fn discard(&mut self, upload: &Upload<'_>) -> Result<(), Fault>;

    /// Removes the temporary file of a delivery that nobody works any more. An old file that it put aside gets
    /// its name back where nothing has that name, and is removed otherwise. Idempotent.
    fn tidy(&mut self, leftover: &Leftover<'_>) -> Result<(), Fault>;

    /// Runs an install command to its end, or collects the outcome of an earlier run of the same token.
    /// `may_begin` is called once before a tracked command can begin, when the host has made its record, unless
    /// the run is `recorded`: where it fails, nothing runs, and its fault is returned. `output` is shown new
    /// output as it comes. [`FaultClass::Unsupported`](crate::domain::fault::FaultClass) where the transport or
    /// the host cannot run commands; `Unknown` where the command began and its outcome cannot be had; a
    /// transient fault means that the next attempt will collect.
    fn install_when(
        &mut self,
        spec: &InstallSpec,
        may_begin: &mut dyn FnMut() -> Result<(), Fault>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<InstallOutcome, Fault>;

    /// The same for a caller who keeps no record.
    fn install(
        &mut self,
        spec: &InstallSpec,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<InstallOutcome, Fault> {
        self.install_when(spec, &mut || Ok(()), output)
    }

    /// Removes what `install` keeps on the host for `token`, once the journal has the outcome. Idempotent.
    /// False, and nothing is removed, while the command runs.
    fn forget_install(&mut self, token: &str) -> Result<bool, Fault>;

    /// Where files of `dest_dir` would lie: resolves it as [`Session::prepare_dir`] does, and makes nothing.
    fn locate_dir(&mut self, dest_dir: &str) -> Result<Located, Fault>;

    /// How much room the file system of `file` has, which lies on the host; none where the host does not tell.
    fn space(&mut self, file: &str) -> Result<Option<Space>, Fault>;

    /// What the host can do beside taking files. Leaves nothing there.
    fn abilities(&mut self) -> Result<Abilities, Fault>;

    /// Whether a session that lay idle still serves: asks the peer, which gets a few seconds.
    fn is_alive(&mut self) -> bool;

    /// Ends the connection politely, within a second or so.
    fn close(self: Box<Self>);
}
