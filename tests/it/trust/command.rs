//! The command `trust`: it shows, and it records nothing but on somebody's word.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use auto_dispatcher::domain::target::HostKeyPolicy;

use super::{fingerprint, public};
use crate::servers::running::free_port;
use crate::servers::ssh::{SshServer, new_key};
use crate::testenv::{Ran, TestEnv, run_under};

/// Rules, a state directory, and an SSH server with two keys.
struct Scene {
    env: TestEnv,
    server: SshServer,
}

impl Scene {
    /// With these lines in the server's rule.
    fn with(more: &str) -> Self {
        let server = SshServer::sshd("");
        let env = TestEnv::new();
        let port = server.running.port;
        env.write(
            "general-dispatch-info.cfg",
            format!("[app]\nhost = 127.0.0.1\nlogin = nobody\nssh_port = {port}\n{more}\n"),
        );
        let state = env.path("state");
        env.write(
            "auto-dispatcher.cfg",
            format!("[auto-dispatcher]\nstate_dir = {}\n", state.display()),
        );
        Self { env, server }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.env.command();
        command
            .arg("--config")
            .arg(self.env.path("general-dispatch-info.cfg"))
            .args(["trust", "127.0.0.1"])
            .args(args);
        command
    }

    fn trust(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command(args))
    }

    /// The same at a terminal, where a person answers.
    fn at_a_terminal(&self, answer: &str) -> Ran {
        let ours = self.command(&[]);
        let words: Vec<String> = std::iter::once(ours.get_program())
            .chain(ours.get_args())
            .map(|word| format!("'{}'", word.to_str().expect("UTF-8")))
            .collect();
        // The terminal is script's; what it is told, the person types.
        let line = format!(
            "printf '{answer}\\n' | script -qec \"{}\" /dev/null",
            words.join(" ")
        );
        let mut command = Command::new("sh");
        let mut plain = Command::new("sh");
        plain.arg("-c").arg(line);
        plain
            .env("HOME", self.env.home())
            .env("PATH", "/usr/bin:/bin");
        run_under(command.arg("-c").arg("exec \"$@\"").arg("sh"), &plain);
        Ran::of(command.stdin(Stdio::null()))
    }

    fn name(&self) -> String {
        format!("[127.0.0.1]:{}", self.server.running.port)
    }

    fn ed25519(&self) -> String {
        fingerprint(&self.server.path("host"))
    }

    fn rsa(&self) -> String {
        fingerprint(&self.server.path("host_rsa"))
    }

    /// Our own file.
    fn file(&self) -> PathBuf {
        self.env.path("state/known_hosts")
    }

    fn recorded(&self) -> String {
        fs::read_to_string(self.file()).unwrap_or_default()
    }

    fn line(&self, key: &Path) -> String {
        format!("{} {}\n", self.name(), public(key))
    }

    /// Puts a key on record that the server does not show.
    fn with_another_on_record(&self) -> String {
        let other = self.env.path("other");
        new_key(&other, "ed25519", "");
        // The first run makes the state directory.
        self.trust(&[]);
        let known = format!(
            "# ours\nbeta {0}\n{1}gamma,{2} {0}\n",
            public(&self.server.path("client")),
            self.line(&other),
            self.name(),
        );
        fs::write(self.file(), known).expect("write");
        fs::set_permissions(self.file(), fs::Permissions::from_mode(0o640)).expect("chmod");
        fingerprint(&other)
    }
}

#[track_caller]
fn says(ran: &Ran, parts: &[&str]) {
    for part in parts {
        assert!(ran.stdout.contains(part), "no {part:?} in {ran}");
    }
}

#[test]
fn without_a_word_it_shows_every_key_and_records_nothing() {
    let scene = Scene::with("");
    let ran = scene.trust(&[]).exits(1);
    says(
        &ran,
        &[
            &scene.name(),
            &format!("ssh-ed25519         {}  new", scene.ed25519()),
            &format!("ssh-rsa             {}  new", scene.rsa()),
            "nothing was recorded",
            &format!(
                "trust 127.0.0.1 --port {} --fingerprint SHA256:",
                scene.server.running.port
            ),
            "--yes",
        ],
    );
    assert_eq!(scene.recorded(), "");
    let log = scene.server.running.log();
    assert!(
        !log.contains("Invalid user") && !log.contains("Failed"),
        "{log}"
    );
}

#[test]
fn yes_records_what_is_new_and_a_strict_rule_is_served_then() {
    let scene = Scene::with("");
    says(&scene.trust(&["--yes"]).exits(0), &["recorded in"]);
    let both = scene.line(&scene.server.path("host")) + &scene.line(&scene.server.path("host_rsa"));
    assert_eq!(scene.recorded(), both);
    assert_eq!(
        fs::metadata(scene.file()).expect("stat").mode() & 0o777,
        0o600
    );
    let ran = scene.trust(&[]).exits(0);
    says(&ran, &[&format!("same as at {}:1", scene.file().display())]);
    scene.trust(&["--yes"]).exits(0);
    assert_eq!(scene.recorded(), both, "nothing twice");
    let mut caller = scene.server.caller();
    caller.surroundings.own_known_hosts = scene.file();
    caller.terms.host_key = HostKeyPolicy::Strict;
    caller.connect().close();
    let log = fs::read_to_string(scene.env.path("state/auto-dispatcher.log")).expect("a log");
    assert!(
        log.contains("trust: host keys of") && log.contains(&scene.rsa()),
        "{log}"
    );
}

#[test]
fn a_fingerprint_records_that_key_alone_and_a_wrong_one_nothing() {
    let scene = Scene::with("");
    let wrong = format!("SHA256:{}", "A".repeat(43));
    let ran = scene.trust(&["--fingerprint", &wrong]).exits(1);
    says(&ran, &[&wrong, &scene.ed25519(), "nothing was recorded"]);
    assert_eq!(scene.recorded(), "");
    scene.trust(&["--fingerprint", &scene.rsa()]).exits(0);
    assert_eq!(scene.recorded(), scene.line(&scene.server.path("host_rsa")));
    // The other one is no change: the host has shown the one on record.
    says(&scene.trust(&[]).exits(0), &["new", "same as at"]);
    let usage = scene.trust(&["--fingerprint", &wrong, "--yes"]);
    usage.exits(2);
}

#[test]
fn a_changed_key_is_replaced_by_its_fingerprint_alone_and_other_lines_stay() {
    let scene = Scene::with("");
    let other = scene.with_another_on_record();
    let known = scene.recorded();
    for args in [&[][..], &["--yes"]] {
        let ran = scene.trust(args).exits(1);
        says(
            &ran,
            &[
                "CHANGED",
                &other,
                &format!("{}:3", scene.file().display()),
                "nothing was recorded",
            ],
        );
        assert_eq!(scene.recorded(), known);
    }
    let before = fs::metadata(scene.file()).expect("stat");
    scene.trust(&["--fingerprint", &scene.ed25519()]).exits(0);
    let expected = format!(
        "# ours\nbeta {0}\ngamma {0}\n{1}",
        public(&scene.server.path("client")),
        scene.line(&scene.server.path("host"))
    );
    assert_eq!(scene.recorded(), expected);
    let after = fs::metadata(scene.file()).expect("stat");
    assert_eq!((before.mode(), before.uid()), (after.mode(), after.uid()));
    assert_ne!(
        before.ino(),
        after.ino(),
        "a file of its own took its place"
    );
    let left = fs::read_dir(scene.env.path("state")).expect("list");
    let left: Vec<_> = left
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().starts_with(".ad-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_person_at_a_terminal_types_the_word() {
    let scene = Scene::with("");
    let ran = scene.at_a_terminal("y").exits(1);
    says(&ran, &["type yes", "nothing was recorded"]);
    assert_eq!(scene.recorded(), "");
    scene.at_a_terminal("yes").exits(0);
    assert_eq!(scene.recorded().lines().count(), 2);
    let other = scene.with_another_on_record();
    says(
        &scene.at_a_terminal("no").exits(1),
        &["THE KEY HAS CHANGED", &other],
    );
    scene.at_a_terminal("yes").exits(0);
    let recorded = scene.recorded();
    assert!(
        recorded.contains(&scene.line(&scene.server.path("host"))),
        "{recorded}"
    );
    says(&scene.trust(&[]).exits(0), &["same as at"]);
}

#[test]
fn files_of_others_are_named_and_left() {
    let scene = Scene::with("");
    let other = scene.env.path("other");
    new_key(&other, "ed25519", "");
    let theirs = scene.env.write("home/.ssh/known_hosts", scene.line(&other));
    let ran = scene.trust(&["--fingerprint", &scene.ed25519()]).exits(1);
    says(
        &ran,
        &[
            &format!("{}:1", theirs.display()),
            "ssh-keygen -R",
            "nothing was recorded",
        ],
    );
    assert_eq!(
        fs::read_to_string(&theirs).expect("read"),
        scene.line(&other)
    );
    assert_eq!(scene.recorded(), "");
}

#[test]
fn a_line_that_speaks_of_other_hosts_too_is_left_to_a_person() {
    let scene = Scene::with("");
    scene.with_another_on_record();
    let known = format!("[127.0.0.*]:* {}\n", public(&scene.env.path("other")));
    fs::write(scene.file(), &known).expect("write");
    let ran = scene.trust(&["--fingerprint", &scene.ed25519()]).exits(1);
    says(&ran, &["known_hosts:1 speaks of other hosts", "by hand"]);
    assert_eq!(scene.recorded(), known);
}

#[test]
fn a_revoked_key_is_recorded_by_nobody() {
    let scene = Scene::with("");
    scene.trust(&[]).exits(1);
    let known = format!("@revoked * {}\n", public(&scene.server.path("host")));
    fs::write(scene.file(), &known).expect("write");
    for args in [&["--yes"][..], &["--fingerprint", &scene.ed25519()]] {
        let ran = scene.trust(args).exits(1);
        says(&ran, &["REVOKED", "known_hosts:1", "nothing was recorded"]);
        assert_eq!(scene.recorded(), known);
    }
    scene.trust(&["--fingerprint", &scene.rsa()]).exits(0);
    assert_eq!(
        scene.recorded(),
        known + &scene.line(&scene.server.path("host_rsa"))
    );
}

#[test]
fn each_server_that_rules_name_is_asked_and_its_rules_file_takes_the_keys() {
    let scene = Scene::with(
        "known_hosts = mine\n[b]\nhost = 127.0.0.1\nlogin = x\nssh_port = 1\ntransports = ftp",
    );
    let second = SshServer::sshd("");
    let rules = scene.env.path("general-dispatch-info.cfg");
    let text = fs::read_to_string(&rules).expect("read");
    let port = second.running.port;
    let more = format!("[c]\nhost = beta, 127.0.0.1\nlogin = x\nssh_port = {port}\n");
    fs::write(&rules, text + &more).expect("write");
    scene.trust(&["--yes"]).exits(0);
    let mine = fs::read_to_string(scene.env.path("mine")).expect("read");
    assert!(
        mine.starts_with(&scene.line(&scene.server.path("host"))),
        "{mine}"
    );
    let own = scene.recorded();
    assert!(own.starts_with(&format!("[127.0.0.1]:{port} ")), "{own}");
    assert_eq!((mine.lines().count(), own.lines().count()), (2, 2));
}

#[test]
fn what_no_rule_names_is_asked_at_the_port_that_is_typed_and_silence_is_told() {
    let scene = Scene::with("");
    let port = free_port().to_string();
    let ran = scene.trust(&["--port", &port, "--yes"]).exits(1);
    says(
        &ran,
        &[&format!("127.0.0.1:{port}: unreachable: cannot connect")],
    );
    assert_eq!(scene.recorded(), "");
    let mut command = scene.env.command();
    command.args(["trust", "host,*"]);
    Ran::of(&mut command).exits(2);
}

#[test]
fn programs_read_one_object_a_line() {
    let scene = Scene::with("");
    let rows = scene.trust(&["--json"]).exits(1).json();
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_eq!(
        (&rows[0]["host"], &rows[0]["port"], &rows[0]["key_type"]),
        (
            &"127.0.0.1".into(),
            &scene.server.running.port.into(),
            &"ssh-ed25519".into()
        )
    );
    assert_eq!(
        (&rows[0]["fingerprint"], &rows[0]["standing"]),
        (&scene.ed25519().into(), &"new".into())
    );
    assert_eq!(rows[2]["trusted"], false);
    let rows = scene.trust(&["--json", "--yes"]).exits(0).json();
    assert_eq!(rows[2]["trusted"], true);
    assert_eq!(rows[2]["recorded"].as_array().map(Vec::len), Some(2));
}
