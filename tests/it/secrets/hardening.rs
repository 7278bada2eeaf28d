//! A worker is closed to others of the same user, and leaves no core.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::pipeline::signal;
use crate::testenv::{Ran, TestEnv, is_root, run_under, wait_until};

const LIMIT: std::time::Duration = std::time::Duration::from_mins(1);

/// `nobody`'s number, whom root becomes; everybody else stays who he is.
const NOBODY: &str = "65534";

/// A process of an ordinary user, ended when dropped.
struct Process(Child);

impl Process {
    fn start(command: &mut Command, stderr: Stdio) -> Self {
        let silent = command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(
            silent
                .stderr(stderr)
                .spawn()
                .expect("setpriv (Debian package util-linux)"),
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What runs a program as an ordinary user.
fn ordinary() -> Command {
    if !is_root() {
        return Command::new("env");
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"]);
    command
}

fn worker(env: &TestEnv, cores: bool) -> Process {
    // Where the tests are built, he may not go.
    let program = env.path("auto-dispatcher");
    if !program.exists() {
        // By another process, as with `write_program`.
        let ours = env!("CARGO_BIN_EXE_auto-dispatcher");
        Ran::of(Command::new("cp").arg(ours).arg(&program)).exits(0);
    }
    let home = env.home();
    let state = env.path("home/state");
    env.write(
        "home/general-dispatch-info.cfg",
        "[app]\nhost = h\nlogin = l\n",
    );
    let settings = format!("[auto-dispatcher]\nstate_dir = {}\n", state.display());
    env.write("home/auto-dispatcher.cfg", settings);
    if is_root() {
        let owner = format!("{NOBODY}:{NOBODY}");
        Ran::of(Command::new("chown").args(["-R", &owner]).arg(&home)).exits(0);
    }
    let mut command = ordinary();
    let script = if cores {
        "ulimit -c unlimited; exec \"$0\" \"$@\""
    } else {
        "exec \"$0\" \"$@\""
    };
    command.args(["sh", "-c", script]);
    let mut ours = Command::new(&program);
    ours.args(["--config", "general-dispatch-info.cfg", "worker"])
        .env("HOME", &home)
        .env("PATH", "/usr/bin:/bin");
    run_under(&mut command, &ours);
    let told = env.path("told");
    let stderr = fs::File::create(&told).expect("create");
    let mut worker = Process::start(command.current_dir(&home), stderr.into());
    wait_until("the worker lives", LIMIT, || {
        let ended = worker.0.try_wait().expect("wait");
        assert_eq!(ended, None, "{:?}", fs::read_to_string(&told));
        let locks = fs::read_dir(state.join("workers"));
        locks.is_ok_and(|locks| locks.flatten().any(|lock| is_numbered(&lock.path())))
    });
    worker
}

fn is_numbered(lock: &Path) -> bool {
    let name = lock.file_name().expect("a name").to_string_lossy();
    name.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether another process of the same user reads this of a process.
fn reads(pid: u32, what: &str) -> bool {
    let script = "case $1 in fd) ls -l \"/proc/$0/fd\" | grep -q -- '->' ;; mem) exec 3<>\"/proc/$0/mem\" ;; \
                  exe) readlink \"/proc/$0/exe\" ;; *) test -n \"$(head -c 1 \"/proc/$0/$1\" | tr '\\0' x)\" ;; esac";
    let mut command = ordinary();
    command.args(["sh", "-c", script, &pid.to_string(), what]);
    Ran::of(&mut command).code == Some(0)
}

#[test]
fn nobody_but_root_reads_memory_environment_and_descriptors_of_a_worker() {
    let env = TestEnv::new();
    let other = Process::start(ordinary().args(["sleep", "600"]), Stdio::null());
    let worker = worker(&env, false);
    let seen = |pid| ["environ", "maps", "fd", "exe", "mem"].map(|what| reads(pid, what));
    wait_until("it is the sleep", LIMIT, || {
        fs::read(format!("/proc/{}/cmdline", other.0.id()))
            .is_ok_and(|line| line.starts_with(b"sleep"))
    });
    let [environ, maps, fd, exe, _] = seen(other.0.id());
    assert!(
        environ && maps && fd && exe,
        "what is not closed can be read"
    );
    assert_eq!(seen(worker.0.id()), [false; 5]);
    // What is no secret can be seen: whether it lives, and as what.
    assert!(reads(worker.0.id(), "cmdline"));
}

#[test]
fn a_worker_that_crashes_leaves_no_core() {
    for crash in [Signal::SEGV, Signal::ABORT] {
        let env = TestEnv::new();
        let mut worker = worker(&env, true);
        let pid = worker.0.id();
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        let words: Vec<&str> = core.expect("a line").split_whitespace().collect();
        assert_eq!(words[4..6], ["0", "0"], "{limits}");
        let mut status = None;
        wait_until("it ends", LIMIT, || {
            // Rust takes a first SIGSEGV for a stack that may have overflown.
            signal(pid.cast_signed(), crash);
            status = worker.0.try_wait().expect("wait");
            status.is_some()
        });
        let status = status.expect("a status");
        assert!(
            status.signal().is_some() && !status.core_dumped(),
            "{status:?}"
        );
        let cores = fs::read_dir(env.home()).expect("readable").flatten();
        let cores: Vec<_> = cores
            .map(|entry| entry.file_name())
            .filter(|name| name.to_string_lossy().starts_with("core"))
            .collect();
        assert!(cores.is_empty(), "{cores:?}");
    }
}
