//! Large files over long lines, which go by several channels of one connection, each to its place in the file.

use std::fs;
use std::time::Duration;

use auto_dispatcher::domain::fault::FaultClass;
use auto_dispatcher::transport::{Session, Verified};

use crate::conformance::{Package, deliver};
use crate::servers::relay::Relay;
use crate::servers::ssh::SshServer;

/// Long enough for one channel to be too narrow.
const DELAY: Duration = Duration::from_millis(40);
/// Several times what one channel takes at once, and no multiple of anything.
const SIZE: usize = (24 << 20) + 4711;
/// Passes in any case.
const ENDLESS: u64 = 1 << 40;

fn over(server: &SshServer, line: &Relay) -> Box<dyn Session> {
    let mut caller = server.caller();
    caller.target.ssh_port = line.port;
    caller.connect()
}

/// The most channels for commands that were open at a time: sshd numbers them from 0.
fn most_channels(server: &SshServer) -> usize {
    let log = server.running.log();
    let numbers = log.lines().filter_map(|line| {
        let (_, number) = line
            .split_once("Starting session: command")?
            .1
            .rsplit_once(" id ")?;
        number.trim().parse::<usize>().ok()
    });
    numbers.max().map_or(0, |number| number + 1)
}

#[test]
fn a_large_file_goes_by_as_many_channels_as_the_host_opens() {
    let package = Package::of_size(SIZE);
    for (sessions, expected) in [
        ("", 3..=10),
        ("MaxSessions 2", 2..=2),
        ("MaxSessions 1", 1..=1),
    ] {
        let server = SshServer::sshd(&format!("LogLevel VERBOSE\n{sessions}"));
        let line = Relay::far(server.running.port, DELAY, ENDLESS);
        let mut session = over(&server, &line);
        let dir = session.prepare_dir("~/in").expect("a directory");
        let verified = deliver(&mut *session, &package.upload(&dir, "name", ".tmp"));
        assert_eq!(verified.expect("delivered"), Verified::Digest);
        let arrived = fs::read(server.home_on_disk().join("in/name")).expect("the package");
        assert!(arrived == package.bytes(), "{sessions}: other bytes");
        let most = most_channels(&server);
        assert!(expected.contains(&most), "{sessions}: {most} channels");
    }
}

#[test]
fn a_packet_that_is_partly_sent_is_ended_by_the_channel_that_began_it() {
    let package = Package::of_size((64 << 20) + 4711);
    let server = SshServer::sshd("");
    // Whichever channel is at it when nothing more goes, and however much of its turn is over.
    let line = Relay::gusty(server.running.port, 2 * DELAY, 3 << 20);
    let mut session = over(&server, &line);
    let dir = session.prepare_dir("~/in").expect("a directory");
    let verified = deliver(&mut *session, &package.upload(&dir, "name", ".tmp"));
    assert_eq!(verified.expect("delivered"), Verified::Digest);
    let arrived = fs::read(server.home_on_disk().join("in/name")).expect("the package");
    assert!(arrived == package.bytes(), "other bytes");
}

#[test]
fn a_large_file_whose_line_was_cut_is_gone_on_with_and_is_whole() {
    let package = Package::of_size(SIZE);
    for bytes in [9 << 20, 16 << 20, 23 << 20] {
        let server = SshServer::sshd("");
        let line = Relay::far(server.running.port, DELAY, bytes);
        let mut session = over(&server, &line);
        let dir = session.prepare_dir("~/in").expect("a directory");
        let mut upload = package.upload(&dir, "name", ".tmp");
        let fault = std::thread::scope(|scope| {
            scope.spawn(|| {
                line.is_spent();
                line.cut();
            });
            session.upload(&upload, &mut |_| {}).expect_err("a fault")
        });
        assert_eq!(fault.class, FaultClass::Transient, "{fault}");
        assert!(!server.home_on_disk().join("in/name").exists());
        let mut session = over(&server, &line);
        upload.resume = true;
        let verified = deliver(&mut *session, &upload).expect("delivered");
        assert_eq!(verified, Verified::Digest);
        let arrived = fs::read(server.home_on_disk().join("in/name")).expect("the package");
        assert!(arrived == package.bytes(), "cut after {bytes}: other bytes");
    }
}
