//! What a power cut on the host would find: published files are written through to its disk.

use std::fs;

use crate::conformance::{Package, deliver};
use crate::servers::ssh::SshServer;
use crate::testenv::write_program;

#[test]
fn sftp_writes_a_package_through_to_the_disk_before_it_gets_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("log");
    // No shell: with one, files do not travel by SFTP.
    let server = SshServer::sshd(&format!(
        "Subsystem sftp x\nForceCommand cd $HOME && exec /usr/lib/openssh/sftp-server -e -l DEBUG3 2>>{}",
        log.display()
    ));
    let mut session = server.caller().connect();
    let dir = session.prepare_dir("~/disk").expect("prepare_dir");
    let package = Package::of_size(1_000);
    deliver(&mut *session, &package.upload(&dir, "name", ".tmp")).expect("delivered");
    let log = fs::read_to_string(log).expect("the log");
    let synced = log.find("fsync (handle").expect("an fsync");
    assert!(synced < log.find("rename").expect("a rename"), "{log}");
}

#[test]
fn a_shell_writes_a_package_through_to_the_disk_and_lives_without_dd() {
    let bin = tempfile::tempdir().expect("a directory");
    let (dd, log) = (bin.path().join("dd"), bin.path().join("log"));
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>{}\nexec /usr/bin/dd \"$@\"\n",
        log.display()
    );
    let broken = "#!/bin/sh\necho 'dd: bad conv fsync' >&2\nexit 1\n";
    for (works, script) in [(true, script.as_str()), (false, broken)] {
        write_program(&dd, script);
        let server = SshServer::sshd(&format!(
            "Subsystem sftp /bin/false\nSetEnv PATH={}:/usr/bin:/bin",
            bin.path().display()
        ));
        let mut session = server.caller().connect();
        let dir = session.prepare_dir("~/disk").expect("prepare_dir");
        let package = Package::of_size(1_000);
        deliver(&mut *session, &package.upload(&dir, "name", ".tmp")).expect("delivered");
        let arrived = fs::read(server.home_on_disk().join("disk/name"));
        assert!(arrived.expect("the package") == package.bytes());
        if works {
            let asked = fs::read_to_string(&log).expect("dd was asked");
            let synced =
                |line: &str| line.contains("/disk/.tmp ") && line.contains("notrunc,fsync");
            assert!(asked.lines().any(synced), "{asked}");
        }
    }
}
