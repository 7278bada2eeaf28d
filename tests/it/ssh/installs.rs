//! Install commands: their ends, their output, and that they run at most once whatever happens.

use std::fs;
use std::path::Path;
use std::time::Duration;

use auto_dispatcher::domain::fault::FaultClass;
use auto_dispatcher::domain::install::{InstallEnd, InstallSpec};
use auto_dispatcher::domain::target::InstallMode;
use auto_dispatcher::transport::Session;

use crate::conformance::{Package, install_spec};
use crate::servers::ssh::SshServer;
use crate::testenv::{needs_root, wait_until, write_program};

const LONG: Duration = Duration::from_secs(30);

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

fn install(session: &mut dyn Session, spec: &InstallSpec) -> (InstallEnd, String) {
    let outcome = session
        .install(spec, &mut |_| {})
        .unwrap_or_else(|fault| panic!("{fault}"));
    (
        outcome.end,
        String::from_utf8_lossy(&outcome.output).into_owned(),
    )
}

#[test]
fn a_command_runs_in_the_home_and_both_outputs_are_kept() {
    let server = SshServer::sshd("");
    let mut session = server.caller().connect();
    let spec = install_spec("success", "pwd; echo out; echo err >&2");
    let wanted = format!("{}\nout\nerr\n", server.home_on_disk().display());
    assert_eq!(
        install(&mut *session, &spec),
        (InstallEnd::Exited(0), wanted)
    );
}

#[test]
fn a_second_call_collects_and_does_not_run_again() {
    let server = SshServer::sshd("");
    let spec = install_spec("once", "echo run >>runs; echo out; exit 3");
    for _ in 0..3 {
        let mut session = server.caller().connect();
        assert_eq!(
            install(&mut *session, &spec),
            (InstallEnd::Exited(3), "out\n".to_owned())
        );
    }
    assert_eq!(lines(&server.home_on_disk().join("runs")), 1);
    let mut session = server.caller().connect();
    session.forget_install("once").expect("forget");
    assert!(!server.home_on_disk().join(".auto-dispatcher").exists());
    install(&mut *session, &spec);
    assert_eq!(
        lines(&server.home_on_disk().join("runs")),
        2,
        "a new run after the record is gone"
    );
}

#[test]
fn callers_at_the_same_moment_run_a_command_once() {
    let server = SshServer::sshd("MaxStartups 100");
    let spec = install_spec("together", "echo run >>runs; sleep 1; exit 4");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut session = server.caller().connect();
                assert_eq!(install(&mut *session, &spec).0, InstallEnd::Exited(4));
            });
        }
    });
    assert_eq!(lines(&server.home_on_disk().join("runs")), 1);
}

#[test]
fn a_command_outlives_its_caller_and_its_outcome_is_collected() {
    let server = SshServer::sshd("");
    let go = server.home_on_disk().join("go");
    let started = server.home_on_disk().join("started");
    let spec = install_spec(
        "outlive",
        "touch started; until [ -f go ]; do sleep 0.05; done; echo end; exit 5",
    );
    let caller = server.caller();
    let stop = caller.stop.clone();
    std::thread::scope(|scope| {
        let spec = &spec;
        let first = scope.spawn(move || {
            caller
                .connect()
                .install(spec, &mut |_| {})
                .expect_err("a fault")
        });
        wait_until("the command runs", LONG, || started.exists());
        stop.raise();
        assert_eq!(
            first.join().expect("the caller").class,
            FaultClass::Transient
        );
    });
    fs::write(go, "").expect("write");
    let mut session = server.caller().connect();
    assert_eq!(
        install(&mut *session, &spec),
        (InstallEnd::Exited(5), "end\n".to_owned())
    );
}

/// Whether a process runs that has `mark` on its command line.
fn runs(mark: &str) -> bool {
    fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .any(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(mark)
        })
}

#[test]
fn a_wrapper_whose_record_was_removed_ends_with_its_command() {
    let server = SshServer::sshd("");
    let home = server.home_on_disk();
    let spec = install_spec(
        "removed",
        "touch started; until [ -f go ]; do sleep 0.05; done",
    );
    let caller = server.caller();
    let stop = caller.stop.clone();
    std::thread::scope(|scope| {
        let spec = &spec;
        scope.spawn(move || caller.connect().install(spec, &mut |_| {}).is_err());
        wait_until("the command runs", LONG, || home.join("started").exists());
        stop.raise();
    });
    let record = home.join(".auto-dispatcher");
    let mark = record.to_str().expect("UTF-8").to_owned();
    assert!(runs(&mark), "no wrapper");
    fs::remove_dir_all(&record).expect("removed");
    fs::write(home.join("go"), "").expect("write");
    wait_until("the wrapper ends", LONG, || !runs(&mark));
}

#[test]
fn the_time_limit_ends_the_command_and_its_children() {
    let server = SshServer::sshd("");
    for mode in [InstallMode::Tracked, InstallMode::Plain] {
        let pid = server.home_on_disk().join("child");
        let mut spec = install_spec(
            "late",
            "sh -c 'trap \"\" TERM; echo $$ >child; while :; do sleep 0.1; done'",
        );
        spec.timeout_s = 3;
        spec.mode = mode;
        let mut session = server.caller().connect();
        assert_eq!(
            install(&mut *session, &spec).0,
            InstallEnd::TimedOut,
            "{mode:?}"
        );
        let child = fs::read_to_string(&pid).expect("the child's id");
        let process = Path::new("/proc").join(child.trim());
        wait_until("the child is gone", LONG, || {
            !process.exists()
                || fs::read_to_string(process.join("stat")).is_ok_and(|stat| stat.contains(") Z "))
        });
        fs::remove_file(&pid).expect("rm");
    }
}

#[test]
fn five_megabytes_of_output_pass_and_the_tail_is_kept() {
    let server = SshServer::sshd("");
    for mode in [InstallMode::Tracked, InstallMode::Plain] {
        let mut spec = install_spec("talk", "seq 1 700000; echo err >&2; exit 9");
        spec.mode = mode;
        let mut shown = 0;
        let mut session = server.caller().connect();
        let outcome = session
            .install(&spec, &mut |bytes| shown += bytes.len())
            .expect("install");
        assert_eq!(outcome.end, InstallEnd::Exited(9), "{mode:?}");
        assert_eq!(shown, 4_788_895 + 4, "{mode:?}");
        assert_eq!(outcome.output.len(), spec.output_max_bytes);
        assert!(outcome.output.ends_with(b"699999\n700000\nerr\n"));
        assert_eq!(
            outcome.output_cut_bytes,
            (shown - spec.output_max_bytes) as u64
        );
    }
}

/// Makes the record on the host look as after a power cut: begun, no process, no status.
fn lose(server: &SshServer, token: &str) {
    let record = server.home_on_disk().join(".auto-dispatcher").join(token);
    // The wrapper's last word comes after the command's own, and would stand in for it.
    let mark = record.to_str().expect("UTF-8").to_owned();
    wait_until("nobody of the install lives", LONG, || !runs(&mark));
    fs::remove_file(record.join("status")).expect("rm");
    fs::write(record.join("boot"), "another-boot\n").expect("write");
}

#[test]
fn a_host_that_lost_the_record_makes_the_outcome_unknown() {
    let server = SshServer::sshd("");
    let spec = install_spec("lost", "echo run >>runs");
    let mut session = server.caller().connect();
    install(&mut *session, &spec);
    lose(&server, "lost");
    let fault = session.install(&spec, &mut |_| {}).expect_err("a fault");
    assert_eq!(fault.class, FaultClass::Unknown, "{fault}");
    assert_eq!(lines(&server.home_on_disk().join("runs")), 1);
}

#[test]
fn an_idempotent_command_runs_again_when_its_outcome_is_lost() {
    let server = SshServer::sshd("");
    let mut spec = install_spec("idempotent", "echo run >>runs; exit 6");
    spec.idempotent = true;
    let mut session = server.caller().connect();
    install(&mut *session, &spec);
    lose(&server, "idempotent");
    assert_eq!(install(&mut *session, &spec).0, InstallEnd::Exited(6));
    assert_eq!(lines(&server.home_on_disk().join("runs")), 2);
}

#[test]
fn a_killed_command_and_a_killed_wrapper_are_told_apart() {
    let server = SshServer::sshd("");
    let mut session = server.caller().connect();
    let killed = install_spec("killed", "kill -KILL $$");
    assert_eq!(install(&mut *session, &killed).0, InstallEnd::Exited(137));
    let record = ".auto-dispatcher/wrapper/ran/pid";
    let wrapper = format!("kill -KILL $(cut -d ' ' -f 2 {record}); echo on; exit 6");
    let spec = install_spec("wrapper", &wrapper);
    let went_on = (InstallEnd::Exited(6), "on\n".to_owned());
    assert_eq!(install(&mut *session, &spec), went_on);
    let all = "read x y <.auto-dispatcher/all/ran/pid; kill -KILL $y $x";
    let fault = session
        .install(&install_spec("all", all), &mut |_| {})
        .expect_err("a fault");
    assert_eq!(fault.class, FaultClass::Unknown, "{fault}");
    assert!(server.home_on_disk().join(".auto-dispatcher/all").is_dir());
}

#[test]
fn a_plain_command_sees_the_facts_too() {
    let server = SshServer::sshd("");
    let mut spec = install_spec("plain", "echo \"$AD_AUTHOR\" {package}; exit 8");
    spec.mode = InstallMode::Plain;
    let mut session = server.caller().connect();
    assert_eq!(
        install(&mut *session, &spec),
        (
            InstallEnd::Exited(8),
            "o'neil it's a $(package)\n".to_owned()
        )
    );
    assert!(!server.home_on_disk().join(".auto-dispatcher").exists());
}

#[test]
fn a_host_without_a_shell_runs_a_plain_command_as_it_is() {
    let server = SshServer::sshd(
        "Subsystem sftp /usr/lib/openssh/sftp-server\nForceCommand case \"$SSH_ORIGINAL_COMMAND\" in *sftp-server) \
         exec $SSH_ORIGINAL_COMMAND;; install-me) echo installed; exit 9;; *) echo no; exit 2;; esac",
    );
    let mut spec = install_spec("bare", "install-me");
    let mut session = server.caller().connect();
    let fault = session.install(&spec, &mut |_| {}).expect_err("a fault");
    assert_eq!(fault.class, FaultClass::Unsupported, "{fault}");
    spec.mode = InstallMode::Plain;
    assert_eq!(
        install(&mut *session, &spec),
        (InstallEnd::Exited(9), "installed\n".to_owned())
    );
}

#[test]
fn the_logins_own_shell_runs_the_command() {
    needs_root!();
    for (shell, command, wanted) in [
        (
            "/usr/bin/tcsh",
            "set x = tcsh; echo $x:u {package}",
            "Tcsh it's a $(package)\n",
        ),
        (
            "/bin/dash",
            "echo ${x-dash} {package}",
            "dash it's a $(package)\n",
        ),
        (
            "/bin/bash",
            "x=(ba sh); echo ${x[1]} {package}",
            "sh it's a $(package)\n",
        ),
    ] {
        let server = SshServer::sshd_with_user(shell, "");
        let mut session = server.caller().connect();
        let spec = install_spec("shell", command);
        assert_eq!(
            install(&mut *session, &spec),
            (InstallEnd::Exited(0), wanted.to_owned()),
            "{shell}"
        );
    }
}

/// Values that each shell reads in a way of its own, were they part of its text.
const HOSTILE: &str = "a!b !! 'c' \"d\" $HOME `id` \\e\\\\ {path} 中文 $(id)";

/// What a command prints, in both modes.
fn printed(server: &SshServer, command: &str) -> String {
    let mut printed = Vec::new();
    for mode in [InstallMode::Tracked, InstallMode::Plain] {
        let mut session = server.caller().connect();
        let mut spec = install_spec("quotes", command);
        HOSTILE.clone_into(&mut spec.facts.package);
        spec.facts.path = format!("/srv/{HOSTILE}");
        spec.mode = mode;
        let (end, output) = install(&mut *session, &spec);
        assert_eq!(end, InstallEnd::Exited(0), "{command}: {output}");
        session.forget_install("quotes").expect("forget");
        printed.push(output);
    }
    assert_eq!(printed[0], printed[1], "{command}");
    printed.remove(0)
}

#[test]
fn placeholders_stand_for_their_values_in_every_shell() {
    needs_root!();
    for shell in ["/bin/dash", "/bin/bash", "/usr/bin/tcsh"] {
        assert!(
            Path::new(shell).exists(),
            "{shell} is missing: apt-get install its package"
        );
        let server = SshServer::sshd_with_user(shell, "");
        for (command, wanted) in [
            ("printf '%s|' {package}", format!("{HOSTILE}|")),
            ("printf '%s|' \"{package}\"", format!("{HOSTILE}|")),
            ("printf '%s|' '{package}'", format!("{HOSTILE}|")),
            (
                "printf '%s|' --file={path}",
                format!("--file=/srv/{HOSTILE}|"),
            ),
            (
                "printf '%s|' \"--a={package}; {revision}\"",
                format!("--a={HOSTILE}; 17|"),
            ),
        ] {
            assert_eq!(printed(&server, command), wanted, "{shell}: {command}");
        }
    }
}

#[test]
fn placeholders_are_quoted_for_a_shell_within_the_shell() {
    let server = SshServer::sshd("");
    for command in [
        "sh -c 'printf \"%s|\" {package}'",
        "env -i sh -c 'printf \"%s|\" {package}'",
        "sh -ec 'printf \"%s|\" \"{package}\"'",
        "sh -c \"printf '%s|' {package}\"",
        "sh -c \"printf '%s|' '{package}'\"",
        "sh -c \"printf '%s|' \\\"{package}\\\"\"",
        "printf '%s|' \"$(printf '%s' {package})\"",
        "printf '%s|' \"`printf '%s' {package}`\"",
    ] {
        assert_eq!(
            printed(&server, command),
            format!("{HOSTILE}|"),
            "{command}"
        );
    }
}

#[test]
fn dropbear_runs_install_commands_too() {
    needs_root!();
    let server = SshServer::dropbear();
    let mut session = server.caller().connect();
    let spec = install_spec("dropbear", "echo run >>runs; seq 1 100000; exit 7");
    for _ in 0..2 {
        assert_eq!(install(&mut *session, &spec).0, InstallEnd::Exited(7));
    }
    assert_eq!(lines(&server.home_on_disk().join("runs")), 1);
}

#[test]
fn a_chroot_without_commands_says_that_it_cannot_install() {
    needs_root!();
    let server = SshServer::chrooted();
    let fault = server
        .caller()
        .connect()
        .install(&install_spec("no", "true"), &mut |_| {})
        .expect_err("a fault");
    assert_eq!(fault.class, FaultClass::Unsupported, "{fault}");
}

#[test]
fn a_full_disk_is_transient_whatever_language_the_host_speaks() {
    let bin = tempfile::tempdir().expect("a directory");
    let mkdir = bin.path().join("mkdir");
    write_program(
        &mkdir,
        "#!/bin/sh\ncase $LC_ALL in C) echo 'No space left on device';; \
         *) echo 'Auf dem Ger\u{e4}t ist kein Speicherplatz mehr';; esac\nexit 1\n",
    );
    let server = SshServer::sshd(&format!(
        "Subsystem sftp /usr/lib/openssh/sftp-server\nSetEnv LC_ALL=de_DE.UTF-8 PATH={}:/usr/bin:/bin",
        bin.path().display()
    ));
    let mut session = server.caller().connect();
    let fault = session
        .install(&install_spec("full", "true"), &mut |_| {})
        .expect_err("a fault");
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
}

#[test]
fn an_artifact_that_cannot_be_read_is_told_as_such_and_leaves_nothing() {
    let server = SshServer::sshd("Subsystem sftp /bin/false");
    let mut caller = server.caller();
    caller.terms.stall_timeout_s = 600;
    let mut session = caller.connect();
    // A newline in the path keeps SCP out: the bytes travel by cat.
    let dir = session.prepare_dir("~/two\nlines").expect("prepare_dir");
    let package = Package::of_size(10);
    let mut upload = package.upload(&dir, "name", ".tmp");
    upload.local = server.home_on_disk();
    let fault = session.upload(&upload, &mut |_| {}).expect_err("a fault");
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert!(
        fault.message.contains("cannot read the artifact"),
        "{fault}"
    );
    assert_eq!(fs::read_dir(&dir).expect("read").count(), 0);
}
