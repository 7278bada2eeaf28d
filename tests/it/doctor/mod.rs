//! `doctor`: all well is shown as such, each check is shown failing on a real fault, and nothing is changed by it, here or
//! on any host.

mod cuts;
mod hosts;
mod local;
mod logins;
mod servers;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::pipeline::Pipeline;
use crate::pipeline::host::Host;
use crate::pipeline::rule::Rule;
use crate::testenv::Ran;

/// A repository with our hook, and rules for hosts.
struct Clinic {
    pipeline: Pipeline,
}

impl Clinic {
    fn new(rules: &[Rule]) -> Self {
        Self {
            pipeline: Pipeline::new(rules),
        }
    }

    /// Runs `doctor` for the repository, as JSON.
    fn doctor(&self, args: &[&str]) -> Ran {
        let mut words = vec!["doctor", self.pipeline.repository(), "--json"];
        words.extend(args);
        self.pipeline.env.run(&words)
    }

    /// The same for people.
    fn shown(&self, args: &[&str], columns: &str) -> Ran {
        let mut command = self.pipeline.env.command();
        command
            .args(["doctor", self.pipeline.repository()])
            .args(args)
            .env("COLUMNS", columns);
        Ran::of(&mut command)
    }

    fn known_hosts(&self) -> PathBuf {
        self.pipeline.state().join("known_hosts")
    }

    /// Records the keys that a host shows now.
    fn trusts(&self, host: &Host) {
        let port = host.port.to_string();
        let trust = ["trust", "127.0.0.1", "--port", &port, "--yes"];
        self.pipeline.ad(&trust).exits(0);
    }
}

/// What a check came to: result, detail and mend, a line each.
#[track_caller]
fn found(ran: &Ran, check: &str) -> Vec<String> {
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    ran.json()
        .iter()
        .filter(|line| line["check"] == check)
        .map(|line| {
            format!(
                "{}: {} | {}",
                text(line, "result"),
                text(line, "detail"),
                text(line, "mend")
            )
        })
        .collect()
}

/// One line of a check has this result and says all this.
#[track_caller]
fn says(ran: &Ran, check: &str, result: &str, parts: &[&str]) {
    let lines = found(ran, check);
    let fits = |line: &String| {
        line.starts_with(&format!("{result}: ")) && parts.iter().all(|part| line.contains(part))
    };
    assert!(
        lines.iter().any(fits),
        "no {result} of {check} with {parts:?} in {lines:#?}\n{ran}"
    );
}

/// Everything below a directory: names, sizes, owners, times of change.
fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory").flatten() {
            let path = entry.path();
            let stat = fs::symlink_metadata(&path).expect("stat");
            if stat.is_dir() {
                open.push(path.clone());
            }
            let size = if stat.is_dir() { 0 } else { stat.size() };
            found.insert(path, format!("{} {:o} {size}", stat.uid(), stat.mode()));
        }
    }
    found
}

#[test]
fn all_well_is_shown_and_nothing_is_changed_anywhere() {
    let host = Host::up();
    let other = host.rule("web").with("dest_dir", "~/deep/er");
    let install = host.rule("app").with(
        "install_command",
        format!("touch {}/installed", host.home().display()),
    );
    let clinic = Clinic::new(&[install, other]);
    fs::create_dir(host.file("in")).expect("mkdir");
    // The state directory is there once something was recorded.
    clinic.pipeline.commit(&[("app-1", b"1")]);
    clinic.pipeline.settled(1);
    clinic.pipeline.no_worker_lives();
    fs::remove_file(host.file("installed")).expect("the command ran before");
    let (there, here) = (
        picture(&host.home()),
        picture(clinic.pipeline.svn.repository.as_path()),
    );
    let known = fs::read(clinic.known_hosts()).expect("known_hosts");
    let ran = clinic.doctor(&[]).exits(0);
    for check in [
        "repository",
        "hook",
        "interpreter",
        "call",
        "configuration",
        "svnlook",
        "locale",
        "svnlook reads",
        "state",
        "journal",
        "ledger",
        "clock",
        "log",
        "worker",
        "name",
        "port",
        "banner",
        "host key",
        "algorithms",
        "login",
        "ssh",
        "directory",
        "digest",
        "sh",
        "records",
    ] {
        says(&ran, check, "ok", &[]);
    }
    assert!(
        ran.json().iter().all(|line| line["result"] != "failure"),
        "{ran}"
    );
    says(&ran, "host key", "ok", &["on record at", "SHA256:"]);
    says(&ran, "login", "ok", &["let in by key"]);
    says(&ran, "directory", "ok", &["/in: written", "SHA-256"]);
    says(&ran, "directory", "ok", &["deep/er (to be made; tried in"]);
    says(&ran, "locale", "ok", &["中文包"]);
    // One login for both rules.
    assert_eq!(found(&ran, "login").len(), 1, "{ran}");
    assert_eq!(picture(&host.home()), there);
    assert_eq!(picture(clinic.pipeline.svn.repository.as_path()), here);
    assert_eq!(fs::read(clinic.known_hosts()).expect("known_hosts"), known);
    assert_eq!(clinic.pipeline.history().len(), 1);

    let first = ran.json().remove(0);
    let names: Vec<&String> = first.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["check", "subject", "result", "detail", "mend"]);
    for columns in ["40", "80", "120"] {
        let ran = clinic.shown(&[], columns).exits(0);
        let columns: usize = columns.parse().expect("a number");
        // What mends something is one line, to be copied.
        let mut lines = ran
            .stdout
            .lines()
            .filter(|line| !line.starts_with("    mend: "));
        let long = lines.find(|line| UnicodeWidthStr::width(*line) > columns);
        assert_eq!(long, None, "{ran}");
        let last = ran.stdout.lines().last().expect("a summary");
        assert!(
            last.contains(" checks: ") && last.ends_with("0 failures"),
            "{ran}"
        );
        assert!(!ran.stdout.contains('\u{1b}'), "{ran}");
    }
}

#[test]
fn local_reaches_no_host_and_host_and_rule_choose_some() {
    let (one, two) = (Host::up(), Host::up());
    let clinic = Clinic::new(&[
        one.rule("app"),
        two.rule("web").with("host", "127.0.0.2, 127.0.0.3"),
    ]);
    let lanes = |ran: &Ran| {
        let mut lanes: Vec<String> = ran
            .json()
            .iter()
            .filter(|line| line["check"] == "login")
            .map(|line| line["subject"].as_str().expect("a lane").to_owned())
            .collect();
        lanes.sort();
        lanes.dedup();
        lanes.len()
    };
    assert_eq!(lanes(&clinic.doctor(&["--local"])), 0);
    assert!(
        !one.log().contains("Connection from") && !one.log().contains("Accepted"),
        "{}",
        one.log()
    );
    assert_eq!(lanes(&clinic.doctor(&[]).exits(0)), 3);
    assert_eq!(lanes(&clinic.doctor(&["--host", "127.0.0.2"])), 1);
    assert_eq!(lanes(&clinic.doctor(&["--rule", "web"])), 2);
    let ran = clinic.doctor(&["--rule", "nobody"]).exits(0);
    says(&ran, "target", "warning", &["no rule"]);
    // Without a repository: the configuration that is named, and its hosts.
    let ran = clinic.pipeline.ad(&["doctor", "--json"]).exits(0);
    assert_eq!(lanes(&ran), 3);
    assert_eq!(found(&ran, "hook"), Vec::<String>::new());
}

#[test]
fn what_is_no_repository_and_who_is_no_user_ends_it_at_once() {
    let clinic = Clinic::new(&[Rule::new("app").with("host", "h").with("login", "l")]);
    let env = &clinic.pipeline.env;
    let ran = env.run(&["doctor", "/nowhere"]).exits(4);
    assert!(ran.stderr.contains("cannot find the repository"), "{ran}");
    for name in ["no-such-user-here", "-x", ""] {
        let user = format!("--user={name}");
        let ran = clinic.doctor(&[user.as_str(), "--local"]).exits(2);
        assert!(ran.stderr.contains("--user"), "{ran}");
    }
}
