//! What dropbear does otherwise. Up to 2024.85 it closes a channel that it has just opened when the program of another
//! channel of the connection ends before one is asked for on the new channel.

use std::time::Duration;

use super::groups::{Files, bring, names};
use crate::servers::relay::Relay;
use crate::servers::ssh::SshServer;
use crate::testenv::{TestEnv, needs_root};

#[test]
fn a_channel_opens_while_the_program_of_the_one_before_ends() {
    needs_root!();
    // The program says no more, ends after the next channel is opened, and before a program is asked for there.
    let env = TestEnv::new();
    let shell = env.program(
        "slow",
        "#!/bin/sh\n/bin/sh \"$@\"\nexec >&- 2>&-\nsleep 0.3\n",
    );
    let server = SshServer::dropbear_with_user(shell.to_str().expect("UTF-8"));
    let line = Relay::far(server.running.port, Duration::from_millis(100), u64::MAX);
    let mut caller = server.caller();
    caller.target.ssh_port = line.port;
    let mut session = caller.connect();
    let dir = session.prepare_dir("~/in").expect("prepare_dir");
    let files = Files::new(5);
    for round in 1..=3 {
        let told = bring(&mut *session, &dir, &files.grouped(), None);
        assert_eq!(told.which(), [true; 5], "round {round}");
    }
    let local = server.home_on_disk().join("in");
    assert_eq!(files.arrived(&local), [true; 5]);
    assert_eq!(names(&local), 5);
}
