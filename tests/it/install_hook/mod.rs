//! `install-hook`: ours beside any hook that is there, through real commits, and out again without a trace.

mod beside;
mod refusals;
mod users;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::pipeline::Pipeline;
use crate::pipeline::host::Host;
use crate::testenv::{Ran, write_program};

const KEPT: &str = "post-commit.before-auto-dispatcher";

/// A repository whose rules deliver what begins with `app` to a host.
struct Site {
    pipeline: Pipeline,
    host: Host,
}

/// All that tells one hook file from another.
#[derive(Debug, PartialEq, Eq)]
struct Likeness {
    bytes: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    link: Option<PathBuf>,
}

fn likeness(path: &Path) -> Option<Likeness> {
    let found = fs::symlink_metadata(path).ok()?;
    Some(Likeness {
        bytes: fs::read(path).expect("read"),
        mode: found.mode(),
        owner: (found.uid(), found.gid()),
        modified: (found.mtime(), found.mtime_nsec()),
        link: fs::read_link(path).ok(),
    })
}

impl Site {
    fn new() -> Self {
        let pipeline = Pipeline::bare();
        let host = Host::up();
        pipeline.rules(&[host.rule("app")]);
        Self { pipeline, host }
    }

    fn hooks(&self) -> PathBuf {
        self.pipeline.svn.repository.join("hooks")
    }

    fn hook(&self) -> PathBuf {
        self.hooks().join("post-commit")
    }

    /// Puts somebody's hook in.
    fn with_hook(&self, bytes: impl AsRef<[u8]>, mode: u32) {
        write_program(&self.hook(), bytes);
        fs::set_permissions(self.hook(), fs::Permissions::from_mode(mode)).expect("chmod");
    }

    /// Runs `install-hook` without any other option than these.
    fn install(&self, args: &[&str]) -> Ran {
        let mut words = vec!["install-hook", self.pipeline.repository()];
        words.extend(args);
        self.pipeline.env.run(&words)
    }

    /// Names in the directory of hooks, templates left out.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.hooks()).expect("a directory").flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.contains(".tmpl"))
            .collect();
        names.sort();
        names
    }

    /// Commits a package and returns what the committer saw.
    #[track_caller]
    fn commit(&self, name: &str) -> String {
        let ran = self.pipeline.commit(&[(name, name.as_bytes())]);
        // The revision differs from one commit to the next.
        let lines = ran.stdout.lines().chain(ran.stderr.lines());
        let lines =
            lines.filter(|line| !line.contains("Committed revision") && !line.contains(name));
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn a_hook_is_put_in_proves_itself_fires_and_goes() {
    let site = Site::new();
    let templates = fs::read_dir(site.hooks()).expect("hooks").count();
    let ran = site.install(&[]).exits(0);
    assert!(ran.stdout.contains("post-commit is put in\n"), "{ran}");
    assert!(
        ran.stdout.contains(" checks: ") && ran.stdout.contains("0 failures"),
        "{ran}"
    );
    assert!(ran.stderr.contains("is a build"), "{ran}");
    assert_eq!(
        fs::metadata(site.hook()).expect("stat").mode() & 0o7777,
        0o755
    );
    let said = site.commit("app-1");
    assert!(!said.contains("arning"), "{said}");
    let rows = site.pipeline.settled(1);
    assert_eq!(rows[0]["state"], "done", "{rows:?}");
    assert_eq!(
        fs::read(site.host.file("in/app-1")).expect("read"),
        b"app-1"
    );
    site.install(&["--uninstall"]).exits(0);
    assert_eq!(site.names(), Vec::<String>::new());
    assert_eq!(
        fs::read_dir(site.hooks()).expect("hooks").count(),
        templates
    );
    let ran = site.install(&["--uninstall"]).exits(0);
    assert!(ran.stdout.contains("nothing to take out"), "{ran}");
}

#[test]
fn twice_is_once_and_another_config_is_taken_over() {
    let site = Site::new();
    site.install(&[]).exits(0);
    let once = likeness(&site.hook());
    let ran = site.install(&[]).exits(0);
    assert!(ran.stdout.contains("is in already"), "{ran}");
    assert_eq!(likeness(&site.hook()), once);
    let config = site.pipeline.rules_file();
    let named = config.to_str().expect("UTF-8");
    let ran = site.install(&["--config", named]).exits(0);
    assert!(ran.stdout.contains("is replaced"), "{ran}");
    let text = fs::read_to_string(site.hook()).expect("read");
    assert!(
        text.contains(&format!(" --config '{named}' hook ")),
        "{text}"
    );
    assert_eq!(site.names(), ["post-commit"]);
    site.commit("app-1");
    assert_eq!(site.pipeline.settled(1)[0]["state"], "done");
    let ran = site.install(&["--config", "/nowhere/rules.cfg"]).exits(3);
    assert!(ran.stderr.contains("/nowhere/rules.cfg"), "{ran}");
    assert_eq!(fs::read_to_string(site.hook()).expect("read"), text);
}

#[test]
fn a_dry_run_shows_the_hook_and_changes_nothing() {
    let site = Site::new();
    site.with_hook("#!/bin/sh\nexit 0\n", 0o750);
    let before = likeness(&site.hook());
    for option in ["--dry-run", "--print"] {
        let ran = site.install(&[option]).exits(0);
        assert!(ran.stdout.starts_with("#!/bin/sh\n"), "{ran}");
        assert!(ran.stdout.contains(" hook \"$@\" </dev/null"), "{ran}");
        assert!(ran.stderr.contains("nothing is changed"), "{ran}");
    }
    assert_eq!(likeness(&site.hook()), before);
    assert_eq!(site.names(), ["post-commit"]);
    site.install(&[]).exits(0);
    let installed = likeness(&site.hook());
    site.install(&["--uninstall", "--dry-run"]).exits(0);
    assert_eq!(likeness(&site.hook()), installed);
}
