//! A real repository with a working copy, and dump streams for what no client would commit.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use auto_dispatcher::source::svnlook::{Repository, Svnlook};

use crate::testenv::{Ran, TestEnv, fed};

/// A repository and a working copy of its root.
pub struct Svn {
    pub repository: PathBuf,
    pub working_copy: PathBuf,
    home: PathBuf,
}

/// The formats of repositories that are in use, the oldest with all revisions in one directory.
pub const FORMATS: [&str; 5] = ["1.14", "1.8", "1.6", "1.4", "packed"];

/// A program of Subversion's; the test fails where it is missing.
pub fn program(name: &str) -> PathBuf {
    let places = ["/usr/bin", "/usr/local/bin", "/bin"];
    let found = places
        .iter()
        .map(|place| Path::new(place).join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is missing: install the Debian package `subversion`"))
}

/// Writes a program that stands in for svnlook; `$SVNLOOK` in `script` is the real one.
pub fn fake_svnlook(env: &TestEnv, name: &str, script: &str) -> PathBuf {
    fake(env, name, ("SVNLOOK", "svnlook"), script)
}

/// The same for svnadmin, `$SVNADMIN`.
pub fn fake_svnadmin(env: &TestEnv, name: &str, script: &str) -> PathBuf {
    fake(env, name, ("SVNADMIN", "svnadmin"), script)
}

fn fake(env: &TestEnv, name: &str, (variable, real): (&str, &str), script: &str) -> PathBuf {
    let real = program(real);
    env.program(
        name,
        format!("#!/bin/sh\n{variable}={}\n{script}\n", real.display()),
    )
}

impl Svn {
    pub fn create(env: &TestEnv) -> Self {
        Self::create_named(env, "repository")
    }

    /// `name` is that of the repository's directory.
    pub fn create_named(env: &TestEnv, name: &str) -> Self {
        let svn = Self {
            repository: env.path(name),
            working_copy: env.path(format!("{name}.wc")),
            home: env.home(),
        };
        svn.run(
            "svnadmin",
            env.root(),
            &["create".as_ref(), "--".as_ref(), svn.repository.as_ref()],
        );
        let url = svn.url();
        svn.run(
            "svn",
            env.root(),
            &[
                "checkout".as_ref(),
                "-q".as_ref(),
                url.as_ref(),
                svn.working_copy.as_ref(),
            ],
        );
        svn
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.repository.display())
    }

    /// The repository as the library sees it.
    pub fn open(&self) -> Repository {
        Svnlook::new(program("svnlook"))
            .repository(&self.repository)
            .expect("a repository")
    }

    /// A copy of the repository in one of [`FORMATS`]; a packed one has shards of so many revisions.
    #[track_caller]
    pub fn in_format(&self, env: &TestEnv, format: &str, shard: u32) -> PathBuf {
        let repository = env.path(format);
        let version = if format == "packed" { "1.14" } else { format };
        let script = format!(
            "set -e; svnadmin create --compatible-version {version} \"$2\"\n\
             [ {format} != packed ] || sed -i 's/sharded 1000/sharded {shard}/' \"$2/db/format\"\n\
             svnadmin dump -q \"$1\" | svnadmin load -q \"$2\"\n\
             [ {format} != packed ] || svnadmin pack -q \"$2\""
        );
        let made = Command::new("sh")
            .args(["-c", &script, "sh"])
            .args([&self.repository, &repository])
            .status();
        assert!(made.expect("sh").success(), "{format}");
        repository
    }

    /// Runs `svn` in the working copy.
    #[track_caller]
    pub fn svn<A: AsRef<OsStr>>(&self, args: &[A]) -> Ran {
        let args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
        self.run("svn", &self.working_copy, &args)
    }

    /// Writes a file into the working copy, making its directories.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let file = self.working_copy.join(path);
        fs::create_dir_all(file.parent().expect("a parent")).expect("mkdir");
        fs::write(file, content).expect("write");
    }

    /// Adds what is new, commits everything and returns the revision.
    #[track_caller]
    pub fn commit(&self) -> u64 {
        self.svn(&[
            "add",
            "-q",
            "--force",
            "--no-ignore",
            "--no-auto-props",
            ".",
        ]);
        self.svn(&["commit", "-q", "-m", "a change"]);
        self.svn(&["update", "-q"]);
        self.youngest()
    }

    pub fn youngest(&self) -> u64 {
        let ran = self.run(
            "svnlook",
            Path::new("/"),
            &["youngest".as_ref(), self.repository.as_ref()],
        );
        ran.stdout.trim().parse().expect("a revision")
    }

    /// Loads a dump stream and returns the youngest revision.
    #[track_caller]
    pub fn load(&self, dump: &Dump) -> u64 {
        let mut load = self.command("svnadmin");
        load.args(["load", "-q", "--bypass-prop-validation"])
            .arg(&self.repository)
            .stderr(Stdio::piped());
        let output = fed(&mut load, &dump.stream);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        self.youngest()
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", &self.home)
            .env("PATH", "/usr/bin:/bin");
        command
    }

    #[track_caller]
    fn run(&self, name: &str, directory: &Path, args: &[&OsStr]) -> Ran {
        let mut command = self.command(name);
        command
            .current_dir(directory)
            .args(args)
            .stdin(Stdio::null());
        Ran::of(&mut command).exits(0)
    }
}

/// A dump stream in the making; every revision holds the nodes that follow it.
pub struct Dump {
    stream: Vec<u8>,
    revision: u64,
}

impl Dump {
    /// For a repository whose youngest revision is `youngest`.
    pub fn after(youngest: u64) -> Self {
        Self {
            stream: b"SVN-fs-dump-format-version: 2\n\n".to_vec(),
            revision: youngest,
        }
    }

    /// Begins a revision, with these revision properties.
    pub fn revision(&mut self, properties: &[(&str, &str)]) -> &mut Self {
        self.revision += 1;
        let properties = block(properties);
        let length = properties.len();
        let head = format!(
            "Revision-number: {}\nProp-content-length: {length}\nContent-length: {length}\n\n{properties}\n",
            self.revision
        );
        self.stream.extend_from_slice(head.as_bytes());
        self
    }

    /// Adds a file to the revision.
    pub fn file(&mut self, path: &str, properties: &[(&str, &str)], content: &[u8]) -> &mut Self {
        let properties = block(properties);
        let (props, text) = (properties.len(), content.len());
        let head = format!(
            "Node-path: {path}\nNode-kind: file\nNode-action: add\nProp-content-length: {props}\n\
             Text-content-length: {text}\nContent-length: {}\n\n{properties}",
            props + text
        );
        self.stream.extend_from_slice(head.as_bytes());
        self.stream.extend_from_slice(content);
        self.stream.extend_from_slice(b"\n\n");
        self
    }

    /// Adds a directory to the revision.
    pub fn directory(&mut self, path: &str) -> &mut Self {
        let head = format!("Node-path: {path}\nNode-kind: dir\nNode-action: add\n\n");
        self.stream.extend_from_slice(head.as_bytes());
        self
    }
}

fn block(properties: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in properties {
        let _ = write!(
            text,
            "K {}\n{name}\nV {}\n{value}\n",
            name.len(),
            value.len()
        );
    }
    text + "PROPS-END\n"
}
