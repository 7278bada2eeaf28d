//! A hermetic place for one test: its own root, home and state directory, an empty environment, and the
//! binary under test. What a failed run printed is shown whole. Every password of the tests has a mark in it, and
//! nothing that a run prints or leaves may show it.

mod leaks;
mod tree;

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A secret that is told from everything else.
macro_rules! secret {
    ($rest:literal) => {
        concat!("sEcReT-", $rest)
    };
}
pub(crate) use secret;

/// What every secret of the tests begins with.
pub const MARK: &str = secret!("");

/// One test's world.
pub struct TestEnv {
    root: TempDir,
}

/// What a run of the binary gave.
#[derive(Debug)]
pub struct Ran {
    /// The command line, for messages.
    pub what: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl TestEnv {
    pub fn new() -> Self {
        let root = tempfile::Builder::new()
            .prefix("adt")
            .tempdir()
            .expect("a temporary directory");
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        fs::create_dir(root.path().join("home")).expect("home");
        Self { root }
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Writes a file (mode 0600) below the root, making its directories.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(&path, content).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        path
    }

    /// The same at once: who reads the file meanwhile finds the old one or the new one.
    pub fn replace(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(&name);
        let written = self.write(path.with_added_extension("new"), content);
        fs::rename(written, &path).expect("rename");
        path
    }

    /// Writes a program (mode 0755) below the root, making its directories.
    pub fn program(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        write_program(&path, text);
        path
    }

    /// The binary under test, in an environment that holds nothing but HOME and PATH.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_auto-dispatcher"));
        command
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir(self.home())
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Ran {
        let mut command = self.command();
        command.args(args);
        Ran::of(&mut command)
    }
}

impl Drop for TestEnv {
    /// No secret lies where none belongs.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let found = leaks::in_files(self.root());
            assert!(found.is_empty(), "a secret lies in {found:?}");
        }
    }
}

impl Ran {
    /// Runs any command to its end.
    pub fn of(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("cannot run {what}: {error}"));
        let ran = Self {
            what,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        let shows = ran.stdout.contains(MARK) || ran.stderr.contains(MARK);
        assert!(!shows, "a secret was printed: {ran}");
        ran
    }

    /// Asserts the exit code; everything printed is part of the message.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == Some(code), "expected exit {code}: {self}");
        self
    }

    /// The lines of stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Vec<serde_json::Value> {
        self.stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("{error} in {line:?}: {self}"))
            })
            .collect()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\nexit {:?}\n--- stdout\n{}--- stderr\n{}",
            self.what, self.code, self.stdout, self.stderr
        )
    }
}

/// Writes a program (mode 0755). A process of its own does: what another test forks meanwhile would inherit the open
/// file, and as long as it has not become something else nobody could run the program ("Text file busy").
pub fn write_program(path: &Path, text: impl AsRef<[u8]>) {
    let mut writing = Command::new("sh");
    writing
        .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
        .arg(path);
    let output = fed(&mut writing, text);
    assert!(output.status.success(), "{}: {output:?}", path.display());
}

/// Runs a program to its end that reads this, all of it, before it prints much.
pub fn fed(command: &mut Command, input: impl AsRef<[u8]>) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = piped
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {piped:?}: {error}"));
    let mut stdin = running.stdin.take().expect("stdin");
    stdin.write_all(input.as_ref()).expect("write");
    drop(stdin);
    running.wait_with_output().expect("wait")
}

/// Has `wrapper` run what `ours` would, in the same environment.
pub fn run_under(wrapper: &mut Command, ours: &Command) {
    wrapper
        .arg(ours.get_program())
        .args(ours.get_args())
        .env_clear()
        .envs(
            ours.get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        );
}

/// Waits for a condition, up to `limit`; the message names what was awaited.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says that a test needs root and returns from it otherwise.
macro_rules! needs_root {
    () => {
        if !crate::testenv::is_root() {
            crate::testenv::say_skipped(module_path!(), "needs root");
            return;
        }
    };
}
pub(crate) use needs_root;

pub use leaks::in_processes;
pub use tree::listing;

pub fn say_skipped(place: &str, why: &str) {
    let mut err = std::io::stderr();
    writeln!(err, "SKIPPED in {place}: {why}").expect("stderr");
}

/// Whether a process runs whose words are exactly these.
pub fn runs(words: &[&str]) -> bool {
    let wanted = words.join("\0") + "\0";
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    all.map(|entry| fs::read(entry.path().join("cmdline")).unwrap_or_default())
        .any(|line| line == wanted.as_bytes())
}
