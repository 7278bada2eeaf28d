//! Faults of this machine, each real: what the check says, and what mends it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::PathBuf;

use super::{Clinic, found, says};
use crate::crash::disks::Disk;
use crate::pipeline::LIMIT;
use crate::pipeline::rule::Rule;
use crate::servers::svn::fake_svnlook;
use crate::testenv::{needs_root, wait_until, write_program};

fn rule() -> Rule {
    Rule::new("app").with("host", "h").with("login", "l")
}

fn clinic() -> Clinic {
    Clinic::new(&[rule()])
}

impl Clinic {
    fn hook(&self) -> PathBuf {
        self.pipeline.svn.repository.join("hooks/post-commit")
    }

    fn hook_says(&self, text: &str, mode: u32) {
        write_program(&self.hook(), text);
        fs::set_permissions(self.hook(), fs::Permissions::from_mode(mode)).expect("chmod");
    }

    /// This machine has this fault.
    #[track_caller]
    fn has(&self, check: &str, result: &str, parts: &[&str]) {
        let code = i32::from(result == "failure");
        let ran = self.doctor(&["--local"]).exits(code);
        says(&ran, check, result, parts);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of faults")]
fn each_fault_of_a_hook_is_told_with_what_mends_it() {
    let clinic = clinic();
    clinic.doctor(&["--local"]).exits(0);
    let bin = clinic.pipeline.env.path("bin/auto-dispatcher");
    let call = format!("{} hook \"$@\"\n", bin.display());
    let sound = format!("#!/bin/sh\n{call}");
    let faults: [(&str, u32, &str, &str, &[&str]); 11] = [
        (
            &sound,
            0o644,
            "hook",
            "failure",
            &["not executable", "chmod a+rx"],
        ),
        (
            &sound,
            0o757,
            "hook",
            "failure",
            &["everybody may write", "chmod o-w"],
        ),
        (
            &format!("#!/opt/none/sh\n{call}"),
            0o755,
            "interpreter",
            "failure",
            &["not there: /opt/none/sh"],
        ),
        (
            &format!("#!/usr/bin/env none-such\n{call}"),
            0o755,
            "interpreter",
            "failure",
            &["not there: none-such"],
        ),
        (
            &sound.replace('\n', "\r\n"),
            0o755,
            "interpreter",
            "failure",
            &["Windows", "sed -i"],
        ),
        (&call, 0o755, "interpreter", "failure", &["no #! line"]),
        (
            "#!/bin/sh\nmailer\n",
            0o755,
            "call",
            "failure",
            &["does not call", "install-hook"],
        ),
        (
            &format!("#!/bin/sh\nexit 0\n{call}"),
            0o755,
            "call",
            "failure",
            &[":2 ends the hook before line 3"],
        ),
        (
            "#!/bin/sh\n/opt/none/auto-dispatcher hook \"$@\"\n",
            0o755,
            "call",
            "failure",
            &["/opt/none/auto-dispatcher", "cannot run"],
        ),
        (
            &format!("#!/bin/sh\npython /x/auto-dispatcher.py $1\n{call}"),
            0o755,
            "call",
            "warning",
            &[":2 calls the Python script"],
        ),
        (
            "#!/bin/sh\n\"$X/auto-dispatcher\" hook \"$@\"\n",
            0o755,
            "call",
            "warning",
            &["not plain to see"],
        ),
    ];
    for (text, mode, check, result, parts) in faults {
        clinic.hook_says(text, mode);
        clinic.has(check, result, parts);
    }
    clinic.hook_says("#!/bin/sh\necho auto-dispatcher 9.9.9\n", 0o755);
    fs::rename(clinic.hook(), clinic.pipeline.env.path("auto-dispatcher")).expect("rename");
    let other = clinic.pipeline.env.path("auto-dispatcher");
    clinic.hook_says(
        &format!("#!/bin/sh\n{} hook \"$@\"\n", other.display()),
        0o755,
    );
    clinic.has(
        "call",
        "warning",
        &["another version: auto-dispatcher 9.9.9"],
    );
    fs::remove_file(clinic.hook()).expect("remove");
    clinic.has(
        "hook",
        "failure",
        &["no post-commit hook", "auto-dispatcher install-hook"],
    );
    symlink("/nowhere", clinic.hook()).expect("symlink");
    clinic.has("hook", "failure", &["leads nowhere"]);
}

#[test]
fn the_hooks_own_config_and_environment_are_those_of_the_checks() {
    let clinic = clinic();
    let bin = clinic.pipeline.env.path("bin/auto-dispatcher");
    let elsewhere = clinic
        .pipeline
        .env
        .write("conf/rules.cfg", rule().to_string());
    clinic.pipeline.env.write(
        "conf/auto-dispatcher.cfg",
        format!(
            "[auto-dispatcher]\nstate_dir = {}\n",
            clinic.pipeline.state().display()
        ),
    );
    let named = elsewhere.display();
    clinic.hook_says(
        &format!(
            "#!/bin/sh\n{} --config {named} hook \"$@\"\n",
            bin.display()
        ),
        0o755,
    );
    clinic.has(
        "configuration",
        "ok",
        &["conf/rules.cfg (named by --config)"],
    );
    let other = clinic.pipeline.rules_file();
    let ran = clinic
        .doctor(&["--local", "--config", other.to_str().expect("UTF-8")])
        .exits(0);
    says(
        &ran,
        "call",
        "warning",
        &["another --config", "install-hook"],
    );
    // What svnserve adds counts: here it takes the configuration away.
    let conf = clinic.pipeline.svn.repository.join("conf");
    fs::write(
        conf.join("svnserve.conf"),
        "[general]\n# hooks-env = x\nhooks-env = env.cfg\n",
    )
    .expect("write");
    fs::write(
        conf.join("env.cfg"),
        "[pre-commit]\nA = 1\n[default]\nAUTO_DISPATCHER_CONFIG = /nowhere/x.cfg\n",
    )
    .expect("write");
    clinic.hook_says(
        &format!("#!/bin/sh\n{} hook \"$@\"\n", bin.display()),
        0o755,
    );
    clinic.has("configuration", "failure", &["/nowhere/x.cfg"]);
    let ran = clinic.doctor(&["--local"]);
    says(&ran, "hooks-env", "ok", &["AUTO_DISPATCHER_CONFIG"]);
    assert!(!found(&ran, "hooks-env")[0].contains("nowhere"), "{ran}");
}

#[test]
fn other_hooks_that_are_in_the_way_are_told() {
    let clinic = clinic();
    let other = clinic.pipeline.svn.repository.join("hooks/pre-commit");
    fs::write(&other, "#!/bin/sh\nauto-dispatcher hook \"$@\"\n").expect("write");
    clinic.has("other hooks", "failure", &["belongs into post-commit"]);
    fs::write(&other, "#!/bin/sh\n").expect("write");
    clinic.has(
        "other hooks",
        "failure",
        &["refuses every commit", "chmod a+rx"],
    );
}

#[test]
fn each_fault_of_svnlook_is_told() {
    let clinic = clinic();
    let settings = |program: &str| clinic.pipeline.settings(&format!("svnlook = {program}"));
    settings("/nowhere/svnlook");
    clinic.has(
        "svnlook",
        "failure",
        &["/nowhere/svnlook cannot be run", "install Subversion"],
    );
    let env = &clinic.pipeline.env;
    fs::create_dir(env.path("svn")).expect("mkdir");
    symlink("/usr/bin/svnadmin", env.path("svn/svnadmin")).expect("symlink");
    let fake = fake_svnlook(env, "svn/svnlook", "LC_ALL=C exec $SVNLOOK \"$@\"");
    settings(fake.to_str().expect("UTF-8"));
    clinic.has("locale", "failure", &["中文包", "{U+4E2D}"]);
    let fake = fake_svnlook(env, "svn/svnlook", "echo 'no library' >&2; exit 127");
    settings(fake.to_str().expect("UTF-8"));
    clinic.has("svnlook", "failure", &["no library"]);
    clinic.pipeline.settings("");
    let current = clinic.pipeline.svn.repository.join("db/current");
    fs::write(&current, "damaged\n").expect("write");
    clinic.has("svnlook reads", "failure", &["svnlook"]);
}

#[test]
fn each_fault_of_the_configuration_is_told() {
    let clinic = clinic();
    let file = clinic.pipeline.rules_file();
    clinic
        .pipeline
        .rules_text("[app]\nhost = h\nlogin = l\nssh_port = many\n");
    clinic.has("configuration", "failure", &["cfg:4"]);
    clinic
        .pipeline
        .rules_text("[app]\nhost = h\nlogin = l\ncolour = red\npassword = sEcReT-1\n");
    clinic.has("configuration", "warning", &["colour"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("chmod");
    clinic.has(
        "configuration",
        "failure",
        &["everybody can read it", "| chmod o-rwx"],
    );
    fs::remove_file(&file).expect("remove");
    clinic.has("configuration", "failure", &["no rules file"]);
    clinic.pipeline.settings("colour = red\nworkers = many");
    clinic.has("settings", "failure", &["workers"]);
}

#[test]
fn each_fault_of_state_and_journal_is_told() {
    let clinic = clinic();
    let state = clinic.pipeline.state();
    clinic.has("state", "ok", &["is not there yet"]);
    fs::create_dir(&state).expect("mkdir");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).expect("chmod");
    clinic.has("state", "failure", &["open to others", "chmod 700"]);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("chmod");
    clinic.has("journal", "ok", &["none yet"]);
    let repository = clinic.pipeline.repository().to_owned();
    clinic.pipeline.commit(&[("zzz", b"1")]);
    let planned = "SELECT count(*) FROM batches WHERE state = 'planned'";
    wait_until("the worker has planned it", LIMIT, || {
        clinic.pipeline.sql(planned) == [Some(1)]
    });
    clinic.pipeline.no_worker_lives();
    clinic.has("ledger", "ok", &["recorded up to r1"]);
    let hook = fs::read_to_string(clinic.hook()).expect("read");
    clinic.hook_says("#!/bin/sh\n", 0o755);
    clinic.pipeline.commit(&[("zzz2", b"2")]);
    clinic.hook_says(&hook, 0o755);
    clinic.has(
        "ledger",
        "warning",
        &[
            "r1 is the last",
            "r2 the youngest",
            &format!("hook '{repository}' 2"),
        ],
    );
    fs::write(state.join("workers/last-failure"), "no such luck").expect("write");
    clinic.has("worker", "failure", &["no such luck"]);
    fs::write(
        state.join("journal.sqlite"),
        "no journal at all, and long enough to be looked at",
    )
    .expect("write");
    clinic.has("journal", "failure", &["journal.sqlite"]);
}

#[test]
fn logs_and_notes_that_cannot_be_written_are_told() {
    let clinic = clinic();
    clinic.pipeline.settings(&format!(
        "incoming = {}",
        clinic.pipeline.env.path("notes").display()
    ));
    clinic.has(
        "incoming",
        "failure",
        &["cannot enter", "start the service"],
    );
    clinic.pipeline.settings("");
    if crate::testenv::is_root() {
        return;
    }
    fs::create_dir(clinic.pipeline.state()).expect("mkdir");
    fs::set_permissions(clinic.pipeline.state(), fs::Permissions::from_mode(0o700)).expect("chmod");
    let log = clinic.pipeline.state().join("auto-dispatcher.log");
    fs::write(&log, "").expect("write");
    fs::set_permissions(&log, fs::Permissions::from_mode(0o400)).expect("chmod");
    clinic.has("log", "failure", &["cannot write"]);
}

#[test]
fn a_full_disk_and_a_state_directory_of_another_user_are_told() {
    needs_root!();
    let clinic = clinic();
    let state = clinic.pipeline.state();
    fs::create_dir(&state).expect("mkdir");
    let disk = Disk::mount(&state, "8m", "0700");
    clinic.has("disk", "failure", &["free for", "df -h"]);
    drop(disk);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("chmod");
    chown(&state, Some(64_040), None).expect("chown");
    clinic.has("state", "failure", &["belongs to uid 64040"]);
}

#[test]
fn the_checks_run_as_the_servers_user_and_see_what_that_one_may_not() {
    needs_root!();
    let clinic = clinic();
    let repository = &clinic.pipeline.svn.repository;
    chown(repository.join("db"), Some(64_041), Some(64_041)).expect("chown");
    let ran = clinic.doctor(&["--local"]).exits(1);
    says(&ran, "user", "ok", &["uid 64041, who owns"]);
    // Settings that root alone can read. Where even the binary is out of its reach, that is told.
    let told = [found(&ran, "settings"), found(&ran, "program")].concat();
    assert_eq!(told.len(), 1, "{ran}");
    assert!(
        told[0].starts_with("failure: ") && told[0].contains("ermission denied"),
        "{ran}"
    );
    let ran = clinic.doctor(&["--local", "--user", "root"]).exits(0);
    says(&ran, "user", "warning", &["root (uid 0), as --user says"]);
}
