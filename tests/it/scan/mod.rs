//! Drop directories, scanned by the real binary: what real writers put there arrives once, with its final bytes.

mod dry_runs;
mod kills;
mod leaving;
mod looks;
mod many;
mod mounts;
mod moves;
mod names;
mod once;
mod trouble;
mod view;
mod writers;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use auto_dispatcher::domain::artifact::Digester;
use rustix::process::Signal;

use crate::pipeline::host::Host;
use crate::pipeline::rule::Rule;
use crate::pipeline::{LIMIT, Pipeline, Process, holds, signal};
use crate::testenv::{Ran, wait_until};

/// A drop directory, and one host that its packages go to, where their names are written down.
pub struct Inbox {
    pub pipeline: Pipeline,
    pub host: Host,
    pub dir: PathBuf,
    names: AtomicUsize,
}

impl Inbox {
    /// `in` below the root; what begins with `app` goes to the host.
    pub fn new() -> Self {
        Self::at("in", "app")
    }

    /// The directory `name` below the root, whose files go to the host when `rule` matches.
    pub fn at(name: &str, rule: &str) -> Self {
        let pipeline = Pipeline::bare();
        let host = Host::up();
        let dir = pipeline.env.path(name);
        fs::create_dir(&dir).expect("mkdir");
        fs::create_dir(pipeline.env.path("elsewhere")).expect("mkdir");
        let inbox = Self {
            pipeline,
            host,
            dir,
            names: AtomicUsize::new(0),
        };
        inbox.pipeline.rules(&[inbox.rule(rule)]);
        inbox
    }

    /// A rule to the host, with a command that writes down what it installs.
    pub fn rule(&self, name: &str) -> Rule {
        let ran = self.host.file("ran");
        self.host.rule(name).with(
            "install_command",
            format!(
                "printf '%%s %%s\\n' \"$AD_PACKAGE\" \"$AD_SHA256\" >> {}",
                ran.display()
            ),
        )
    }

    /// The directory as an argument.
    pub fn arg(&self) -> &str {
        self.dir.to_str().expect("UTF-8")
    }

    /// `scan DIR --settle 1 ARGS`; a settle time among `args` goes before.
    pub fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["scan", self.arg()];
        if !args.contains(&"--settle") {
            all.extend(["--settle", "1"]);
        }
        all.extend(args);
        all
    }

    /// Scans until the process is dropped; it has taken stock when this returns.
    pub fn scan(&self, args: &[&str]) -> Process {
        let process = self.pipeline.spawn(&self.args(args));
        self.is_scanned(&self.dir);
        process
    }

    /// Waits until stock was taken of a directory and a worker lives.
    #[track_caller]
    pub fn is_scanned(&self, dir: &Path) {
        let dir = dir.to_str().expect("UTF-8");
        wait_until(&format!("{dir} is scanned"), LIMIT, || {
            let status = self.pipeline.status();
            status
                .iter()
                .any(|row| row["drop_directory"] == dir && row["stocked_at"].is_string())
                && status.iter().any(|row| row["pid"].is_i64())
        });
    }

    /// Scans once.
    pub fn once(&self, args: &[&str]) -> Ran {
        let mut all = self.args(args);
        all.push("--once");
        self.pipeline.ad(&all)
    }

    /// A file below the directory.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// A name outside the directory, on the same file system, that nothing has yet.
    pub fn elsewhere(&self) -> PathBuf {
        let number = self.names.fetch_add(1, Ordering::SeqCst);
        self.pipeline.env.path(format!("elsewhere/.file-{number}"))
    }

    /// Writes a file elsewhere and renames it into place.
    pub fn drop_file(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let hidden = self.elsewhere();
        fs::write(&hidden, bytes).expect("write");
        fs::rename(hidden, self.file(name)).expect("rename");
    }

    /// Writes a file in place, anew if it is there.
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, bytes).expect("write");
    }

    /// Name and digest of every package that was installed, in the order of the installations.
    pub fn ran(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.host.file("ran")).unwrap_or_default();
        let mut found = Vec::new();
        let mut begun = String::new();
        for line in text.split_inclusive('\n') {
            begun.push_str(line);
            // A name may hold lines itself; behind it stands the digest.
            let whole = line.strip_suffix('\n').is_some_and(|line| {
                line.len() > 64
                    && line.is_char_boundary(line.len() - 64)
                    && line[line.len() - 64..]
                        .chars()
                        .all(|c| c.is_ascii_hexdigit())
            });
            if whole {
                let (name, digest) = begun.trim_end_matches('\n').rsplit_once(' ').expect("both");
                found.push((name.to_owned(), digest.to_owned()));
                begun.clear();
            }
        }
        found
    }

    /// The packages that were installed, in the order of the installations.
    pub fn installed(&self) -> Vec<String> {
        self.ran().into_iter().map(|(name, _)| name).collect()
    }

    /// Waits until a package was installed so many times.
    #[track_caller]
    pub fn arrives(&self, name: &str, times: usize) {
        wait_until(&format!("{name} is installed"), LIMIT, || {
            self.installed()
                .iter()
                .filter(|installed| *installed == name)
                .count()
                >= times
        });
    }

    /// Waits until a package was installed, and asserts that it was once, with these bytes.
    #[track_caller]
    pub fn arrives_once(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.arrives(name, 1);
        self.arrived_once(name, bytes);
    }

    /// Asserts that a package was installed once, with these bytes.
    #[track_caller]
    pub fn arrived_once(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let mut ran = self.ran();
        ran.retain(|(installed, _)| installed == name);
        let digest = Digester::of(bytes.as_ref());
        assert_eq!(ran, [(name.to_owned(), digest)], "{:?}", self.ran());
        holds(&self.host.file("in").join(name), bytes.as_ref());
    }

    /// Asserts that the packages of these names, and no others, were or are installed: a file that is written now
    /// settles last.
    #[track_caller]
    pub fn installs_only(&self, expected: &[&str]) {
        let number = self.names.fetch_add(1, Ordering::SeqCst);
        let last = format!("app-last-{number}");
        self.write(&last, &last);
        self.arrives_once(&last, &last);
        let mut installed = self.installed();
        installed.retain(|name| !name.starts_with("app-last-"));
        installed.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(installed, expected);
    }

    /// Waits until the content of all files is known that were there before.
    #[track_caller]
    pub fn stock_is_read(&self) {
        wait_until("the stock is read", LIMIT, || {
            let left = "SELECT count(*) FROM dropped WHERE sha256 IS NULL";
            self.pipeline.sql(left) == [Some(0)]
        });
    }

    /// The log.
    pub fn log(&self) -> String {
        let log = self.pipeline.state().join("auto-dispatcher.log");
        fs::read_to_string(log).unwrap_or_default()
    }
}

/// Stops a process, all of its threads.
pub fn stop(pid: i32) {
    signal(pid, Signal::STOP);
    wait_until("it is stopped", LIMIT, || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
        threads.flatten().all(|thread| {
            fs::read_to_string(thread.path().join("status"))
                .is_ok_and(|status| status.contains("State:\tT"))
        })
    });
}

/// So many bytes, of which no part looks like another one.
pub fn bytes(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..size).map(next).collect()
}
