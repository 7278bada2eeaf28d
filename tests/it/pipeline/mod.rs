//! The way of a package from commit to installed, through the real hook and the real binary, on real servers.

mod ahead;
mod bars;
mod clock;
mod commands;
mod crashes;
mod damage;
mod decisions;
mod disk;
pub mod dry_runs;
mod faults;
mod gate;
mod glance;
mod groups;
mod hook;
pub mod host;
mod journal;
mod kept_sessions;
mod ledger;
mod outputs;
mod prune;
mod resumes;
mod road;
pub mod rule;
mod secrets;
mod signals;
mod spool;
pub mod talkative;
mod transports;
mod unrecorded;
mod uuids;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use auto_dispatcher::domain::delivery::State;
use auto_dispatcher::journal::{HistoryFilter, Journal, PackageRow};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::servers::svn::{Svn, program};
use crate::testenv::{Ran, TestEnv, in_processes, run_under, wait_until, write_program};
use rule::Rule;

/// Longer than anything takes that works.
pub const LIMIT: Duration = Duration::from_mins(3);

/// A repository with our hook, its rules and settings, and a state directory of its own.
pub struct Pipeline {
    pub env: TestEnv,
    pub svn: Svn,
}

impl Pipeline {
    /// Without rules and hook.
    pub fn bare() -> Self {
        let env = TestEnv::new();
        let svn = Svn::create(&env);
        let pipeline = Self { env, svn };
        pipeline.settings("");
        pipeline
    }

    /// With the hook and these rules.
    pub fn new(rules: &[Rule]) -> Self {
        let pipeline = Self::bare();
        pipeline.rules(rules);
        pipeline.install_hook();
        pipeline
    }

    pub fn state(&self) -> PathBuf {
        self.env.path("state")
    }

    pub fn rules_file(&self) -> PathBuf {
        self.svn.repository.join("conf/general-dispatch-info.cfg")
    }

    pub fn rules(&self, rules: &[Rule]) {
        let text: String = rules.iter().map(ToString::to_string).collect();
        self.rules_text(&text);
    }

    pub fn rules_text(&self, text: &str) {
        self.env
            .replace("repository/conf/general-dispatch-info.cfg", text);
    }

    /// Settings with these lines more.
    pub fn settings(&self, more: &str) {
        let state = self.state();
        let retry = if more.contains("plan_retry") {
            ""
        } else {
            "plan_retry = 1\n"
        };
        let text = format!(
            "[auto-dispatcher]\nstate_dir = {}\nidle_exit = 1\n{retry}{more}\n",
            state.display()
        );
        self.env
            .replace("repository/conf/auto-dispatcher.cfg", text);
    }

    /// Puts the real hook in, which finds the binary under test first.
    pub fn install_hook(&self) {
        let bin = self.env.path("bin");
        fs::create_dir(&bin).expect("mkdir");
        let binary = env!("CARGO_BIN_EXE_auto-dispatcher");
        symlink(binary, bin.join("auto-dispatcher")).expect("symlink");
        let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/hooks/post-commit");
        let text = fs::read_to_string(hook).expect("the hook");
        let ours = text.replace("\nPATH=", &format!("\nPATH={}:", bin.display()));
        assert_ne!(text, ours, "the hook sets PATH");
        let path = self.svn.repository.join("hooks/post-commit");
        write_program(&path, ours);
    }

    /// Commits these files and returns what `svn commit` printed.
    pub fn commit(&self, files: &[(&str, &[u8])]) -> Ran {
        for (path, bytes) in files {
            self.svn.write(path, bytes);
        }
        self.svn.svn(&[
            "add",
            "-q",
            "--force",
            "--no-ignore",
            "--no-auto-props",
            ".",
        ]);
        self.commit_changes()
    }

    /// Commits what the working copy holds.
    pub fn commit_changes(&self) -> Ran {
        // Not -q: that leaves out what a hook said.
        let ran = self.svn.svn(&["commit", "-m", "a change"]);
        self.svn.svn(&["update", "-q"]);
        ran
    }

    /// The binary under test with our rules.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.env.command();
        command.arg("--config").arg(self.rules_file()).args(args);
        command
    }

    /// Runs the binary to its end, which is sure to come.
    pub fn ad(&self, args: &[&str]) -> Ran {
        self.ad_in(&self.env.home(), args)
    }

    /// The same in another working directory.
    pub fn ad_in(&self, directory: &Path, args: &[&str]) -> Ran {
        let ours = self.command(args);
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", &LIMIT.as_secs().to_string()]);
        run_under(&mut command, &ours);
        command.current_dir(directory).stdin(Stdio::null());
        Ran::of(&mut command)
    }

    /// Starts the binary and lets it run.
    pub fn spawn(&self, args: &[&str]) -> Process {
        Self::started(self.command(args))
    }

    /// Starts a command of the binary that was made ready.
    pub fn started(mut command: Command) -> Process {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary");
        Process(child)
    }

    /// The repository's path as an argument.
    pub fn repository(&self) -> &str {
        self.svn.repository.to_str().expect("UTF-8")
    }

    /// Every delivery, oldest first.
    pub fn history(&self) -> Vec<Value> {
        if self.journal().is_none() {
            return Vec::new();
        }
        let mut rows = self.ad(&["history", "--json"]).exits(0).json();
        rows.reverse();
        rows
    }

    pub fn status(&self) -> Vec<Value> {
        if self.journal().is_none() {
            return Vec::new();
        }
        self.ad(&["status", "--json"]).exits(0).json()
    }

    /// The delivery of a package; there has to be one alone.
    #[track_caller]
    pub fn delivery(&self, package: &str) -> Value {
        let mut rows = self.history();
        rows.retain(|row| row["package"] == package);
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }

    pub fn show(&self, row: &Value) -> Value {
        let id = row["id"].to_string();
        self.ad(&["show", &id, "--json"]).exits(0).json().remove(0)
    }

    /// The journal, once somebody has made it.
    fn journal(&self) -> Option<Journal> {
        let path = self.state().join("journal.sqlite");
        path.exists()
            .then(|| Journal::open(&path).expect("the journal"))
    }

    /// The numbers that a query gives.
    pub fn sql(&self, query: &str) -> Vec<Option<i64>> {
        let connection = Connection::open(self.state().join("journal.sqlite")).expect("SQLite");
        let mut statement = connection.prepare(query).expect("SQL");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("numbers")
    }

    /// State and package of every delivery; asks the journal itself, because waiting asks often.
    fn states(&self) -> Vec<(State, String)> {
        let filter = HistoryFilter::default();
        let rows = self.journal().map(|journal| journal.deliveries(&filter));
        let rows = rows.map_or_else(Vec::new, |rows| rows.expect("deliveries"));
        rows.into_iter()
            .map(|row| (row.state, row.package))
            .collect()
    }

    /// Waits until `count` deliveries are in the record and all are settled; returns them, oldest first.
    #[track_caller]
    pub fn settled(&self, count: usize) -> Vec<Value> {
        self.settled_within(count, LIMIT)
    }

    /// The same where it may take longer.
    #[track_caller]
    pub fn settled_within(&self, count: usize, limit: Duration) -> Vec<Value> {
        wait_until(&format!("{count} deliveries are settled"), limit, || {
            let states = self.states();
            states.len() >= count && states.iter().all(|(state, _)| !state.is_open())
        });
        let rows = self.history();
        assert_eq!(rows.len(), count, "{rows:?}");
        rows
    }

    /// Waits until the one delivery of a package is in `state`.
    #[track_caller]
    pub fn awaits(&self, package: &str, state: State) -> Value {
        wait_until(&format!("{package} is {state}"), LIMIT, || {
            self.states().contains(&(state, package.to_owned()))
        });
        self.delivery(package)
    }

    /// The paths of a batch, as the journal keeps them.
    pub fn packages(&self, batch: i64) -> Vec<PackageRow> {
        let journal = self.journal().expect("a journal");
        journal.packages(batch).expect("packages")
    }

    /// The process ids of the workers that live.
    pub fn workers(&self) -> Vec<i32> {
        let pid = |row: &Value| row["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        self.status().iter().filter_map(pid).collect()
    }

    /// Waits until no worker lives, and what it had open is closed.
    #[track_caller]
    pub fn no_worker_lives(&self) {
        let mark = self.env.root().to_string_lossy().into_owned();
        wait_until("no worker lives", LIMIT, || {
            self.workers().is_empty() && workers_of(&mark).is_empty()
        });
    }
}

impl Drop for Pipeline {
    /// Ends the workers that hooks of this repository started. None shows a secret.
    fn drop(&mut self) {
        let mark = self.env.root().to_string_lossy().into_owned();
        let processes = processes_of(&mark);
        let found = in_processes(&processes);
        for pid in processes {
            signal(pid, Signal::KILL);
        }
        let is_failing = std::thread::panicking();
        assert!(
            is_failing || found.is_empty(),
            "a secret stands in {found:?}"
        );
    }
}

/// The processes of the binary under test whose command line holds `mark`.
pub fn processes_of(mark: &str) -> Vec<i32> {
    processes_that(mark, |_| true)
}

/// Those of them that are workers.
fn workers_of(mark: &str) -> Vec<i32> {
    processes_that(mark, |line| {
        line.split(|&byte| byte == 0).any(|word| word == b"worker")
    })
}

fn processes_that(mark: &str, fits: impl Fn(&[u8]) -> bool) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        // Not by `exe`, which nobody but root may read of our processes.
        let program = line.split(|&byte| byte == 0).next().unwrap_or_default();
        let is_ours =
            program.ends_with(b"auto-dispatcher") && String::from_utf8_lossy(&line).contains(mark);
        if is_ours && fits(&line) {
            found.push(pid);
        }
    }
    found
}

/// Sends a signal to a process, which may have ended by itself.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// A process of the binary under test, killed when dropped.
pub struct Process(Child);

impl Process {
    pub fn kill(mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }

    pub fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    pub fn terminate(&self) {
        signal(self.pid(), Signal::TERM);
    }

    /// Waits for its end; the exit code.
    #[track_caller]
    pub fn ends(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the process ends", LIMIT, || {
            status = self.0.try_wait().expect("wait");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One field of each row, as text.
pub fn field(rows: &[Value], name: &str) -> Vec<String> {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    rows.iter().map(|row| text(&row[name])).collect()
}

/// The inode of a file: another one, when it was uploaded again.
#[track_caller]
pub fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").ino()
}

/// Asserts that a file holds these bytes.
#[track_caller]
pub fn holds(path: &Path, bytes: &[u8]) {
    let found = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(found == bytes, "{} holds other bytes", path.display());
}

/// svnlook, for settings that name it.
pub fn svnlook() -> PathBuf {
    program("svnlook")
}
