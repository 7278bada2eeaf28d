//! Install commands on many kinds of host: OpenSSH and dropbear, every login shell, and hosts that lack what Linux
//! has. Each runs, is collected after a cut, is ended by its time limit, and takes its placeholders literally.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use auto_dispatcher::domain::fault::FaultClass;
use auto_dispatcher::domain::install::{InstallEnd, InstallOutcome, InstallSpec};
use tempfile::TempDir;

use crate::conformance::install_spec;
use crate::servers::ssh::SshServer;
use crate::servers::users::PrivateUser;
use crate::testenv::{needs_root, wait_until};

const LONG: Duration = Duration::from_mins(1);

/// Counts its runs, says that it began, waits for `go`, and ends with its argument.
const WAITS: &str = "echo run >>runs\ntouch started\nuntil [ -f go ]; do sleep 0.05 || sleep 1; done\n\
                     echo out; echo err >&2\nexit $1\n";

/// Ignores the polite signal, and so do its children and theirs.
const STUBBORN: &str = "trap '' TERM\necho $$ >>family\n\
                        case $1 in 0) ;; *) sh stubborn $(($1-1)) & ;; esac\n\
                        while :; do sleep 1; done\n";

pub(super) fn script(server: &SshServer, name: &str, text: &str) {
    fs::write(server.home_on_disk().join(name), text).expect("write");
}

pub(super) fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// The ids of the processes that have `mark` on their command lines.
pub(super) fn processes(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(mark) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

fn collected(server: &SshServer, spec: &InstallSpec) -> InstallOutcome {
    let mut session = server.caller().connect();
    let outcome = session
        .install(spec, &mut |_| {})
        .unwrap_or_else(|fault| panic!("{fault}"));
    session.forget_install(&spec.token).expect("forget");
    outcome
}

fn is_collected_after_a_cut(server: &SshServer, status: i32) {
    let home = server.home_on_disk();
    script(server, "waits", WAITS);
    let mut spec = install_spec("cut", &format!("sh waits {status}"));
    let caller = server.caller();
    let stop = caller.stop.clone();
    std::thread::scope(|scope| {
        let spec = &spec;
        let first = scope.spawn(move || {
            let mut session = caller.connect();
            session.install(spec, &mut |_| {}).expect_err("a fault")
        });
        wait_until("the command runs", LONG, || home.join("started").exists());
        stop.raise();
        let fault = first.join().expect("the caller");
        assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    });
    fs::write(home.join("go"), "").expect("write");
    spec.recorded = true;
    let outcome = collected(server, &spec);
    assert_eq!(outcome.end, InstallEnd::Exited(status));
    assert_eq!(String::from_utf8_lossy(&outcome.output), "out\nerr\n");
    assert_eq!(
        fs::read_to_string(home.join("runs")).expect("runs"),
        "run\n"
    );
    for name in ["runs", "started", "go"] {
        fs::remove_file(home.join(name)).expect("rm");
    }
}

fn is_ended_with_its_family(server: &SshServer) {
    script(server, "stubborn", STUBBORN);
    let mut spec = install_spec("late", "sh stubborn 2");
    spec.timeout_s = 6;
    assert_eq!(collected(server, &spec).end, InstallEnd::TimedOut);
    let family = fs::read_to_string(server.home_on_disk().join("family")).expect("the family");
    assert_eq!(family.lines().count(), 3, "{family}");
    wait_until("the family is gone", LONG, || !family.lines().any(lives));
}

fn takes_placeholders_literally(server: &SshServer) {
    let mut spec = install_spec("quotes", "printf '%s|' {package} \"{path}\"");
    "a!b 'c' \"d\" $HOME `id` \\e 中".clone_into(&mut spec.facts.package);
    "/srv/a b".clone_into(&mut spec.facts.path);
    let outcome = collected(server, &spec);
    assert_eq!(
        String::from_utf8_lossy(&outcome.output),
        format!("{}|/srv/a b|", spec.facts.package)
    );
}

fn serves(server: &SshServer) {
    is_collected_after_a_cut(server, 0);
    is_collected_after_a_cut(server, 7);
    is_ended_with_its_family(server);
    takes_placeholders_literally(server);
    let record = server.home_on_disk().join(".auto-dispatcher");
    assert!(!record.exists(), "the record went with what it was for");
    let mark = record.to_str().expect("UTF-8");
    wait_until("nothing of ours runs there", LONG, || {
        processes(mark).is_empty()
    });
}

#[track_caller]
fn present(program: &str, package: &str) {
    assert!(
        Path::new(program).exists(),
        "{program} is missing: apt-get install {package}"
    );
}

#[test]
fn a_login_with_bash() {
    needs_root!();
    present("/bin/bash", "bash");
    serves(&SshServer::sshd_with_user("/bin/bash", ""));
}

#[test]
fn a_login_with_dash() {
    needs_root!();
    present("/bin/dash", "dash");
    serves(&SshServer::sshd_with_user("/bin/dash", ""));
}

#[test]
fn a_login_with_tcsh() {
    needs_root!();
    present("/bin/tcsh", "tcsh");
    serves(&SshServer::sshd_with_user("/bin/tcsh", ""));
}

#[test]
fn a_login_with_fish() {
    needs_root!();
    present("/usr/bin/fish", "fish");
    // In another locale fish takes the bytes of a variable for Latin-1.
    serves(&SshServer::sshd_with_user(
        "/usr/bin/fish",
        "SetEnv LC_ALL=C.UTF-8",
    ));
}

#[test]
fn dropbear_with_a_posix_shell() {
    needs_root!();
    serves(&SshServer::dropbear());
}

#[test]
fn dropbear_with_tcsh() {
    needs_root!();
    present("/bin/tcsh", "tcsh");
    serves(&SshServer::dropbear_with_user("/bin/tcsh"));
}

/// A directory of programs that everybody may enter.
fn bin(programs: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix("adbin")
        .tempdir()
        .expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    for (name, target) in programs {
        symlink(target, dir.path().join(name)).expect("symlink");
    }
    dir
}

/// What a host needs at least, by the names that our scripts use.
const LEAST: [&str; 19] = [
    "cat", "cut", "head", "ls", "mkdir", "mv", "printf", "ps", "rm", "rmdir", "sh", "sleep",
    "tail", "touch", "tr", "who", "id", "test", "kill",
];

/// Asserts that the host is as poor as the test says.
fn lacks(server: &SshServer, programs: &[&str]) {
    let words = programs.join(" ");
    let asks = format!("for x in {words}; do command -v $x && echo \"$x is there\"; done; true");
    let outcome = collected(server, &install_spec("lacks", &asks));
    assert_eq!(String::from_utf8_lossy(&outcome.output), "");
}

/// Has /bin/sh be `shell`.
fn with_sh(user: &mut PrivateUser, shell: &str) {
    let sh = fs::canonicalize("/bin/sh").expect("/bin/sh");
    user.binds.push((PathBuf::from(shell), sh));
}

/// A host where everything is busybox.
pub(super) struct BusyBox {
    pub(super) server: SshServer,
    _bin: TempDir,
}

pub(super) fn busybox() -> BusyBox {
    present("/usr/bin/busybox", "busybox");
    let mut programs: Vec<(&str, &str)> = LEAST.map(|name| (name, "/usr/bin/busybox")).to_vec();
    programs.extend([
        ("setsid", "/usr/bin/busybox"),
        ("ash", "/usr/bin/busybox"),
        ("yes", "/usr/bin/busybox"),
    ]);
    let bin = bin(&programs);
    let shell = bin.path().join("ash");
    let path = format!("SetEnv PATH={}", bin.path().display());
    let shell = shell.to_str().expect("UTF-8");
    let server = SshServer::sshd_where(shell, &path, |user| with_sh(user, "/usr/bin/busybox"));
    BusyBox { server, _bin: bin }
}

#[test]
fn a_host_where_everything_is_busybox() {
    needs_root!();
    serves(&busybox().server);
}

#[test]
fn a_host_of_busybox_that_makes_no_sessions_and_no_process_groups() {
    needs_root!();
    present("/usr/bin/busybox", "busybox");
    let programs = LEAST.map(|name| (name, "/usr/bin/busybox"));
    let bin = bin(&programs);
    let path = format!("SetEnv PATH={}", bin.path().display());
    serves(&SshServer::sshd_where("/bin/sh", &path, |user| {
        with_sh(user, "/usr/bin/busybox");
    }));
}

#[test]
fn a_host_with_perl_alone_to_make_sessions() {
    needs_root!();
    present("/usr/bin/perl", "perl-base");
    let paths = LEAST.map(|name| format!("/usr/bin/{name}"));
    let mut programs: Vec<(&str, &str)> = LEAST
        .into_iter()
        .zip(paths.iter().map(String::as_str))
        .collect();
    programs.push(("perl", "/usr/bin/perl"));
    let bin = bin(&programs);
    let path = format!("SetEnv PATH={}", bin.path().display());
    let server = SshServer::sshd_with_user("/bin/sh", &path);
    lacks(&server, &["setsid", "nohup", "busybox"]);
    serves(&server);
}

#[test]
fn a_host_without_proc_whose_bash_makes_process_groups() {
    needs_root!();
    present("/bin/bash", "bash");
    let paths = LEAST.map(|name| format!("/usr/bin/{name}"));
    let programs: Vec<(&str, &str)> = LEAST
        .into_iter()
        .zip(paths.iter().map(String::as_str))
        .collect();
    let bin = bin(&programs);
    let path = format!("SetEnv PATH={}", bin.path().display());
    let server = SshServer::sshd_where("/bin/bash", &path, |user| {
        with_sh(user, "/bin/bash");
        user.small_disks.push((PathBuf::from("/proc"), 64));
    });
    lacks(&server, &["setsid", "busybox", "perl", "/proc/self/stat"]);
    serves(&server);
}
