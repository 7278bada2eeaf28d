//! Many small files at once: on every kind of host that can take them, and on those that cannot.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use auto_dispatcher::domain::artifact::Digester;
use auto_dispatcher::domain::fault::Fault;
use auto_dispatcher::transport::{Brought, Group, Grouped, Milestone, Session};
use tempfile::TempDir;

use crate::servers::ssh::SshServer;
use crate::servers::users::PrivateUser;
use crate::testenv::{needs_root, wait_until, write_program};

pub(super) const TEMPORARY: &str = ".ad-0123456789abcdef-7-group.part";

/// Some files that are to be sent, `f-0` and so on.
pub(super) struct Files {
    dir: TempDir,
    all: Vec<(String, PathBuf, Vec<u8>, String)>,
}

impl Files {
    pub(super) fn new(count: usize) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut random = fastrand::Rng::with_seed(5);
        let all = (0..count)
            .map(|number| {
                // All sizes around the block of an archive, and some that fill several pieces.
                let size = [0, 1, 511, 512, 513, 10_240, 300_001][number % 7];
                let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
                    .take(size)
                    .collect();
                let name = format!("f-{number}");
                let path = dir.path().join(&name);
                fs::write(&path, &bytes).expect("write");
                let mut digester = Digester::default();
                digester.update(&bytes);
                (name, path, bytes, digester.finish())
            })
            .collect();
        Self { dir, all }
    }

    pub(super) fn grouped(&self) -> Vec<Grouped<'_>> {
        self.all
            .iter()
            .map(|(name, path, bytes, sha256)| Grouped {
                local: path,
                size: bytes.len() as u64,
                sha256,
                name,
            })
            .collect()
    }

    /// Those that lie in `dir` as they were sent.
    pub(super) fn arrived(&self, dir: &Path) -> Vec<bool> {
        let is_there =
            |(name, _, bytes, _): &(String, _, Vec<u8>, _)| match fs::read(dir.join(name)) {
                Ok(found) => found == *bytes,
                Err(_) => false,
            };
        self.all.iter().map(is_there).collect()
    }
}

/// What became of a group, and how far it was.
#[derive(Debug)]
pub(super) struct Told {
    brought: Result<Brought, Fault>,
    is_ready: bool,
    verified: Option<Vec<bool>>,
}

impl Told {
    pub(super) fn which(&self) -> &[bool] {
        match &self.brought {
            Ok(Brought::Published { which, is_tidy }) => {
                assert!(is_tidy, "{self:?}");
                which
            }
            _ => panic!("{self:?}"),
        }
    }

    fn refused(&self) -> &str {
        match &self.brought {
            Ok(Brought::Refused(why)) => why,
            _ => panic!("{self:?}"),
        }
    }

    fn unable(&self) -> &str {
        match &self.brought {
            Ok(Brought::Unable(why)) if !self.is_ready => why,
            _ => panic!("{self:?}"),
        }
    }
}

pub(super) fn bring(
    session: &mut dyn Session,
    dir: &str,
    files: &[Grouped<'_>],
    mode: Option<u32>,
) -> Told {
    let (mut is_ready, mut verified) = (false, None);
    let group = Group {
        dir,
        temporary: TEMPORARY,
        mode,
        files,
    };
    let brought = session.bring_group(&group, &mut |milestone| {
        match milestone {
            Milestone::Asked(_) | Milestone::Sent => {}
            Milestone::Begun(_) => is_ready = true,
            Milestone::Verified(goes) => verified = Some(goes.to_vec()),
        }
        Ok(())
    });
    Told {
        brought,
        is_ready,
        verified,
    }
}

/// A host, and the directory there that files are to go to, here and there.
pub(super) fn connected(server: &SshServer) -> (Box<dyn Session>, String, PathBuf) {
    let mut session = server.caller().connect();
    let dir = session.prepare_dir("~/in").expect("prepare_dir");
    (session, dir, server.home_on_disk().join("in"))
}

pub(super) fn names(dir: &Path) -> usize {
    fs::read_dir(dir).expect("a directory").count()
}

/// Everything comes as it was sent, takes the places of files that are there, and nothing else stays.
fn takes_groups(server: &SshServer) {
    let files = Files::new(40);
    let (mut session, dir, local) = connected(server);
    assert!(session.takes_groups());
    fs::write(local.join("f-3"), "old").expect("write");
    fs::hard_link(local.join("f-3"), local.join("another name")).expect("link");
    let told = bring(&mut *session, &dir, &files.grouped(), None);
    assert_eq!(told.which(), [true; 40]);
    assert_eq!(told.verified.as_deref(), Some(&[true; 40][..]));
    assert_eq!(files.arrived(&local), [true; 40]);
    let old = fs::read(local.join("another name")).expect("the old file");
    assert_eq!(old, b"old", "it was not written over, but replaced");
    assert_eq!(names(&local), 41);
    // A second one goes by the same session.
    let told = bring(&mut *session, &dir, &files.grouped()[..3], None);
    assert_eq!(told.which(), [true; 3]);
    assert!(session.takes_groups());
    assert_eq!(names(&local), 41);
}

#[test]
fn sshd_takes_groups() {
    takes_groups(&SshServer::sshd(""));
}

#[test]
fn a_host_without_sftp_takes_groups() {
    takes_groups(&SshServer::sshd("Subsystem sftp /bin/false"));
}

#[test]
fn dropbear_takes_groups() {
    needs_root!();
    takes_groups(&SshServer::dropbear());
}

#[test]
fn a_login_with_another_shell_takes_groups() {
    needs_root!();
    for shell in ["/bin/bash", "/bin/csh", "/usr/bin/fish"] {
        if Path::new(shell).exists() {
            takes_groups(&SshServer::sshd_with_user(shell, ""));
        }
    }
}

/// A directory with these programs of the machine.
fn bin(names: &[&str]) -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix("adbin")
        .tempdir()
        .expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    for name in names {
        symlink(Path::new("/usr/bin").join(name), dir.path().join(name)).expect("symlink");
    }
    dir
}

const NEEDED: [&str; 11] = [
    "tar",
    "head",
    "sync",
    "sha256sum",
    "mv",
    "rm",
    "mkdir",
    "rmdir",
    "dd",
    "sleep",
    "cat",
];

fn with_path(bin: &TempDir, change: impl FnOnce(&mut PrivateUser)) -> SshServer {
    let path = format!("SetEnv PATH={}", bin.path().display());
    SshServer::sshd_where("/bin/sh", &path, change)
}

#[test]
fn a_host_where_everything_is_busybox_takes_groups() {
    needs_root!();
    let bin = bin(&[]);
    for name in NEEDED {
        symlink("/usr/bin/busybox", bin.path().join(name)).expect("symlink");
    }
    let server = with_path(&bin, |user| {
        let sh = fs::canonicalize("/bin/sh").expect("/bin/sh");
        user.binds.push((PathBuf::from("/usr/bin/busybox"), sh));
    });
    takes_groups(&server);
}

#[test]
fn a_host_with_the_oldest_tools_takes_groups() {
    needs_root!();
    // A `sync` that knows no files, and a digest that tells no names.
    let bin = bin(&["tar", "head", "mv", "rm", "mkdir", "rmdir", "sleep", "cat"]);
    let log = bin.path().join("synced");
    fs::write(&log, "").expect("write");
    fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).expect("chmod");
    let digest =
        "shift; for f in \"$@\"; do s=$(/usr/bin/sha256sum <\"$f\"); echo \"${s%% *}\"; done";
    let dd = format!("echo \"$*\" >>{}; exec /usr/bin/dd \"$@\"", log.display());
    for (name, text) in [("sync", "exit 0"), ("sha256", digest), ("dd", &dd)] {
        write_program(&bin.path().join(name), format!("#!/bin/sh\n{text}\n"));
    }
    takes_groups(&with_path(&bin, |_| {}));
    let synced = fs::read_to_string(&log).expect("the log");
    assert_eq!(synced.lines().count(), 43, "{synced}");
}

#[test]
fn a_host_that_lacks_something_takes_no_groups_and_is_not_touched() {
    needs_root!();
    let files = Files::new(3);
    for missing in ["tar", "sha256sum"] {
        let bin = bin(&NEEDED);
        fs::remove_file(bin.path().join(missing)).expect("rm");
        let server = with_path(&bin, |_| {});
        let (mut session, dir, local) = connected(&server);
        let told = bring(&mut *session, &dir, &files.grouped(), None);
        told.unable();
        assert!(!session.takes_groups(), "it is not asked again");
        assert_eq!(names(&local), 0);
        session.prepare_dir("~/in").expect("the session is of use");
    }
}

#[test]
fn a_directory_that_cannot_be_written_to_takes_no_group() {
    needs_root!();
    let server = SshServer::sshd_with_user("/bin/sh", "");
    let (mut session, dir, local) = connected(&server);
    fs::set_permissions(&local, fs::Permissions::from_mode(0o555)).expect("chmod");
    let told = bring(&mut *session, &dir, &Files::new(3).grouped(), None);
    assert!(told.unable().contains("cannot be written to"), "{told:?}");
}

#[test]
fn the_modes_of_a_group_are_those_of_the_rule_or_of_the_umask() {
    needs_root!();
    let shell = tempfile::Builder::new()
        .prefix("adsh")
        .tempdir()
        .expect("a directory");
    fs::set_permissions(shell.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let shell = shell.path().join("sh");
    write_program(&shell, "#!/bin/sh\numask 027\nexec /bin/sh \"$@\"\n");
    let server = SshServer::sshd_with_user(shell.to_str().expect("UTF-8"), "");
    let files = Files::new(3);
    let (mut session, dir, local) = connected(&server);
    for (mode, expected) in [
        (None, 0o640),
        (Some(0o666), 0o666),
        (Some(0o751), 0o751),
        (Some(0o400), 0o400),
    ] {
        let told = bring(&mut *session, &dir, &files.grouped(), mode);
        assert_eq!(told.which(), [true; 3]);
        for (name, ..) in &files.all {
            let found = fs::metadata(local.join(name)).expect("a file").mode() & 0o7777;
            assert_eq!(found, expected, "{mode:?}");
        }
    }
}

#[test]
fn a_name_that_a_directory_has_is_left_out() {
    let server = SshServer::sshd("");
    let files = Files::new(5);
    let (mut session, dir, local) = connected(&server);
    fs::create_dir(local.join("f-1")).expect("mkdir");
    symlink(server.home_on_disk(), local.join("f-3")).expect("symlink");
    fs::write(local.join("target"), "kept").expect("write");
    symlink("target", local.join("f-4")).expect("symlink");
    let told = bring(&mut *session, &dir, &files.grouped(), None);
    assert_eq!(told.which(), [true, false, true, false, true]);
    assert_eq!(told.verified.as_deref(), Some(told.which()));
    assert!(local.join("f-1").is_dir() && local.join("f-3").is_symlink());
    assert!(
        !local.join("f-4").is_symlink(),
        "a link to a file is replaced"
    );
    assert_eq!(fs::read(local.join("target")).expect("a file"), b"kept");
    assert_eq!(names(&local), 6);
    // Where there is nothing left to bring, nothing is brought.
    let told = bring(&mut *session, &dir, &files.grouped()[1..2], None);
    told.refused();
    wait_until("its directory is gone", Duration::from_mins(1), || {
        names(&local) == 6
    });
}

#[test]
fn what_cannot_be_renamed_lies_nowhere() {
    needs_root!();
    let server = SshServer::sshd_with_user("/bin/sh", "");
    let files = Files::new(4);
    let (mut session, dir, local) = connected(&server);
    // In a directory with the sticky bit nobody replaces what is another's.
    fs::write(local.join("f-2"), "root's").expect("write");
    std::os::unix::fs::chown(&local, Some(0), Some(0)).expect("chown");
    fs::set_permissions(&local, fs::Permissions::from_mode(0o1777)).expect("chmod");
    let told = bring(&mut *session, &dir, &files.grouped(), None);
    assert_eq!(told.which(), [true, true, false, true]);
    assert_eq!(fs::read(local.join("f-2")).expect("a file"), b"root's");
    assert_eq!(names(&local), 4);
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    needs_root!();
    let server = SshServer::with_small_disk("");
    let files = Files::new(70);
    let mut session = server.caller().connect();
    let dir = session.prepare_dir("~/in").expect("prepare_dir");
    let told = bring(&mut *session, &dir, &files.grouped(), None);
    assert!(told.is_ready && told.verified.is_none(), "{told:?}");
    assert!(told.refused().to_lowercase().contains("space"), "{told:?}");
    // Nothing of it is there, or there would be no room for this.
    let few = &files.grouped()[..6];
    let mut session = server.caller().connect();
    assert_eq!(bring(&mut *session, &dir, few, None).which(), [true; 6]);
}

#[test]
fn wrong_bytes_are_not_published() {
    let server = SshServer::sshd("");
    let files = Files::new(4);
    let (mut session, dir, local) = connected(&server);
    fs::write(files.dir.path().join("f-2"), vec![b'x'; 511]).expect("write");
    let told = bring(&mut *session, &dir, &files.grouped(), None);
    assert!(told.refused().contains("f-2 arrived wrong"), "{told:?}");
    assert!(told.verified.is_none());
    wait_until("nothing is there", Duration::from_mins(1), || {
        names(&local) == 0
    });
    // The same for one that is shorter than it was.
    fs::write(files.dir.path().join("f-2"), "").expect("write");
    let told = bring(&mut *session, &dir, &files.grouped(), None);
    assert!(told.refused().contains("artifact"), "{told:?}");
    wait_until("nothing is there", Duration::from_mins(1), || {
        names(&local) == 0
    });
    session.prepare_dir("~/in").expect("the session is of use");
}
