//! Faults of SSH hosts, each real, and that every host is afterwards as it was.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::{Clinic, found, picture, says};
use crate::crash::disks::Disk;
use crate::pipeline::host::Host;
use crate::testenv::{needs_root, write_program};

#[test]
fn a_host_that_is_down_silent_or_nowhere_is_told_and_holds_up_nobody() {
    let (well, down) = (Host::up(), Host::down());
    // Accepts, by the kernel's backlog, and never says a word.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let port = silent.local_addr().expect("an address").port();
    let clinic = Clinic::new(&[
        well.rule("silent")
            .with("ssh_port", port)
            .with("connect_timeout", 1),
        down.rule("down"),
        well.rule("nowhere")
            .with("host", "no-such-host.invalid")
            .with("connect_timeout", 60),
        well.rule("well"),
    ]);
    let ran = clinic.doctor(&[]).exits(1);
    says(
        &ran,
        "ssh",
        "failure",
        &["no SSH banner", "within 1 s", "ssh -v -p"],
    );
    says(&ran, "ssh", "failure", &["cannot connect", "refused"]);
    says(&ran, "ssh", "failure", &["does not resolve"]);
    says(&ran, "directory", "ok", &["written"]);
    // Grouped by target, in the order of the rules.
    let mut order: Vec<String> = Vec::new();
    for line in ran.json() {
        let subject = line["subject"].as_str().expect("a subject").to_owned();
        if subject.contains('@') && order.last() != Some(&subject) {
            order.push(subject);
        }
    }
    assert_eq!(order.len(), 4, "{order:?}");
    assert!(
        order[0].ends_with(&port.to_string()) && order[3].ends_with(&well.port.to_string()),
        "{order:?}"
    );
}

#[test]
fn a_new_key_is_told_and_not_recorded_and_a_changed_one_is_a_failure() {
    let mut host = Host::up();
    let clinic = Clinic::new(&[host.rule("app")]);
    let ran = clinic.doctor(&[]).exits(0);
    says(
        &ran,
        "host key",
        "warning",
        &[
            "is new",
            "general-dispatch-info.cfg' trust '127.0.0.1' --port",
            "--fingerprint SHA256:",
        ],
    );
    assert!(!clinic.known_hosts().exists());
    let strict = Clinic::new(&[host.rule("app").with("host_key", "strict")]);
    let ran = strict.doctor(&[]).exits(1);
    says(
        &ran,
        "host key",
        "failure",
        &["host_key is strict", "auto-dispatcher trust"],
    );
    assert_eq!(found(&ran, "login"), Vec::<String>::new());
    clinic.trusts(&host);
    let known = fs::read(clinic.known_hosts()).expect("known_hosts");
    says(
        &clinic.doctor(&[]).exits(0),
        "host key",
        "ok",
        &["on record at", "known_hosts:1"],
    );
    host.stop();
    host.resume_with_another_key();
    let ran = clinic.doctor(&[]).exits(1);
    let file = clinic.known_hosts().display().to_string();
    says(&ran, "host key", "failure", &["HAS CHANGED", &file]);
    assert_eq!(found(&ran, "login"), Vec::<String>::new());
    assert_eq!(fs::read(clinic.known_hosts()).expect("known_hosts"), known);
    // Deliveries would not believe such a file.
    fs::set_permissions(clinic.known_hosts(), fs::Permissions::from_mode(0o666)).expect("chmod");
    says(
        &clinic.doctor(&[]).exits(1),
        "host key",
        "failure",
        &[&file, "chmod"],
    );
}

#[test]
fn a_directory_that_cannot_be_and_a_record_that_cannot_be_made_are_told() {
    let host = Host::up();
    fs::write(host.file("file"), "in the way").expect("write");
    let clinic = Clinic::new(&[
        host.rule("app").with("dest_dir", "~/file/below"),
        host.rule("web")
            .with("dest_dir", host.file("in").display())
            .with("install_command", "true"),
    ]);
    fs::write(host.file(".auto-dispatcher"), "in the way, too").expect("write");
    let before = picture(&host.home());
    let ran = clinic.doctor(&[]).exits(1);
    says(&ran, "directory", "failure", &["[app]", "in the way"]);
    says(&ran, "directory", "ok", &["in (to be made; tried in"]);
    says(&ran, "records", "failure", &["~/.auto-dispatcher"]);
    assert_eq!(picture(&host.home()), before);
}

#[test]
fn a_directory_that_the_login_may_not_write_to_is_told() {
    needs_root!();
    let server = crate::servers::ssh::SshServer::sshd_with_user("/bin/sh", "");
    let caller = server.caller();
    let clinic = Clinic::new(&[]);
    let closed = clinic.pipeline.env.path("closed");
    fs::create_dir(&closed).expect("mkdir");
    clinic.pipeline.rules_text(&format!(
        "[app]\nhost = 127.0.0.1\ntransports = ssh\nssh_port = {}\nlogin = {}\npassword = {}\ndest_dir = {}/new\n",
        caller.target.ssh_port,
        caller.target.login,
        caller.password.expect("a password"),
        closed.display()
    ));
    let ran = clinic.doctor(&[]).exits(1);
    says(&ran, "login", "ok", &["by password"]);
    says(
        &ran,
        "directory",
        "failure",
        &["ermission denied", "install -d -o"],
    );
    assert!(picture(&closed).is_empty());
}

#[test]
fn a_disk_that_is_nearly_full_is_a_warning_and_a_full_one_a_failure() {
    needs_root!();
    let host = Host::up();
    fs::create_dir(host.file("in")).expect("mkdir");
    let disk = Disk::mount(&host.file("in"), "4m", "0755");
    let clinic = Clinic::new(&[host.rule("app")]);
    says(
        &clinic.doctor(&[]).exits(0),
        "space",
        "ok",
        &["4.0 MiB free at"],
    );
    // A package of late is larger than what is left.
    clinic.pipeline.commit(&[("app-1", &vec![0; 3_000_000])]);
    clinic.pipeline.settled(1);
    says(
        &clinic.doctor(&[]).exits(0),
        "space",
        "warning",
        &["less than the largest package", "2.9 MiB", "df -h"],
    );
    disk.fill();
    let before = picture(&host.home());
    let ran = clinic.doctor(&[]).exits(1);
    says(&ran, "directory", "failure", &["No space left"]);
    assert_eq!(picture(&host.home()), before);
}

#[test]
fn a_host_without_a_shell_is_a_failure_where_something_is_installed_only() {
    let host = Host::with("ForceCommand internal-sftp");
    let clinic = Clinic::new(&[host.rule("app")]);
    let ran = clinic.doctor(&[]).exits(0);
    says(&ran, "sh", "warning", &["runs no commands", "length alone"]);
    says(&ran, "directory", "ok", &["length checked"]);
    clinic
        .pipeline
        .rules(&[host.rule("app").with("install_command", "true")]);
    says(
        &clinic.doctor(&[]).exits(1),
        "sh",
        "failure",
        &["install commands cannot run"],
    );
}

/// A host whose logins look for programs in one directory alone.
fn with_programs(host: &Host, directory: &Path) {
    let public = host.home().with_file_name("client.pub");
    let text = fs::read_to_string(&public).expect("the key");
    fs::write(
        &public,
        format!("environment=\"PATH={}\" {text}", directory.display()),
    )
    .expect("write");
}

#[test]
fn a_clock_that_is_off_and_a_host_without_digests_are_told() {
    let host = Host::with("PermitUserEnvironment yes");
    let programs = host.file("../programs");
    fs::create_dir(&programs).expect("mkdir");
    for name in [
        "mkdir", "rm", "rmdir", "mv", "cat", "wc", "df", "dd", "sleep",
    ] {
        symlink(Path::new("/bin").join(name), programs.join(name)).expect("symlink");
    }
    let date = "#!/bin/sh\nexec /bin/date -d '+5 minutes' \"$@\"\n";
    write_program(&programs.join("date"), date);
    with_programs(&host, &programs);
    let clinic = Clinic::new(&[host.rule("app")]);
    let ran = clinic.doctor(&[]).exits(0);
    says(
        &ran,
        "clock",
        "warning",
        &["ahead of this machine's", "set-ntp"],
    );
    says(
        &ran,
        "digest",
        "warning",
        &["no SHA-256", "install openssl"],
    );
    says(&ran, "directory", "ok", &["length checked"]);
    fs::remove_file(programs.join("date")).expect("remove");
    says(
        &clinic.doctor(&[]).exits(0),
        "clock",
        "warning",
        &["does not tell the time"],
    );
}
