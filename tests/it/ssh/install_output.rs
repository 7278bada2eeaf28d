//! The output of install commands: followed, bounded on the host too, and nobody's end waits for it.

use std::fs;
use std::time::Duration;

use auto_dispatcher::domain::install::{InstallEnd, OUTPUT_ON_HOST_MAX_BYTES};

use super::install_hosts::{busybox, lives};
use crate::conformance::install_spec;
use crate::servers::ssh::SshServer;
use crate::testenv::{needs_root, wait_until};

/// Prints more than a host keeps, waits until its output was cut (what is printed in that moment is in no count), and
/// prints a little more.
const RUNAWAY: &str = "yes 0123456789 | head -c 70000000\n\
     until [ -f .auto-dispatcher/runaway/base ]; do sleep 1; done\n\
     yes 0123456789 | head -c 30000000\necho the end\nexit 4\n";

fn is_bounded(server: &SshServer) {
    fs::write(server.home_on_disk().join("runaway"), RUNAWAY).expect("write");
    let mut spec = install_spec("runaway", "sh runaway");
    // More than can come after the cut.
    spec.output_max_bytes = 40 << 20;
    let mut session = server.caller().connect();
    let outcome = session
        .install(&spec, &mut |_| {})
        .unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(outcome.end, InstallEnd::Exited(4));
    let text = String::from_utf8_lossy(&outcome.output);
    let (before, after) = text
        .split_once("\n[auto-dispatcher: the output grew too long")
        .expect("a mark where it was cut");
    // What was followed in the moment of the cut, a piece of 1 MiB at most, comes as zeros.
    let end = &before[before.len() - (2 << 20)..];
    assert!(end.contains("0123456789\n"), "{}", before.len());
    assert!(
        after.ends_with("the end\n"),
        "{}",
        &after[after.len() - 50..]
    );
    assert_eq!(outcome.output.len(), spec.output_max_bytes);
    let all = outcome.output_cut_bytes + outcome.output.len() as u64;
    assert!(all > 96_000_000 && all < 100_001_000, "{all}");
    // A caller who comes later sees the same end.
    let again = server.caller().connect().install(&spec, &mut |_| {});
    let again = again.unwrap_or_else(|fault| panic!("{fault}"));
    let tail = |bytes: &[u8]| bytes[bytes.len() - 1_000..].to_vec();
    assert_eq!(tail(&again.output), tail(&outcome.output));
    let kept = server.home_on_disk().join(".auto-dispatcher/runaway/out");
    assert!(fs::metadata(kept).expect("the output").len() < OUTPUT_ON_HOST_MAX_BYTES);
}

#[test]
fn a_runaway_output_does_not_fill_the_hosts_disk() {
    is_bounded(&SshServer::sshd(""));
}

#[test]
fn a_runaway_output_does_not_fill_the_disk_of_a_busybox() {
    needs_root!();
    is_bounded(&busybox().server);
}

#[test]
fn fifty_megabytes_of_output_are_counted_to_the_byte() {
    let server = SshServer::sshd("");
    let spec = install_spec("fifty", "seq 1 6500000; exit 9");
    let mut session = server.caller().connect();
    let outcome = session.install(&spec, &mut |_| {}).expect("install");
    assert_eq!(outcome.end, InstallEnd::Exited(9));
    assert!(outcome.output.ends_with(b"6499999\n6500000\n"));
    assert_eq!(outcome.output.len(), spec.output_max_bytes);
    let all = outcome.output_cut_bytes + outcome.output.len() as u64;
    assert_eq!(all, 50_888_896, "seq 1 6500000 | wc -c");
}

#[test]
fn a_daemon_that_keeps_the_output_open_delays_nobody() {
    let server = SshServer::sshd("");
    let spec = install_spec(
        "daemon",
        "sleep 300 & echo $! >daemon; echo started; exit 5",
    );
    let mut session = server.caller().connect();
    let outcome = session.install(&spec, &mut |_| {}).expect("install");
    assert_eq!(outcome.end, InstallEnd::Exited(5));
    assert_eq!(outcome.output, b"started\n");
    let daemon = fs::read_to_string(server.home_on_disk().join("daemon")).expect("its id");
    let daemon = daemon.trim();
    assert!(lives(daemon), "the daemon is left alone");
    let pid = daemon.parse().ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::KILL)
        .expect("kill");
    wait_until("the daemon is gone", Duration::from_secs(30), || {
        !lives(daemon)
    });
}
