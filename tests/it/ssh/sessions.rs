//! What a session has learned of a host, it does not ask again.

use std::fs;

use auto_dispatcher::domain::install::InstallEnd;

use crate::conformance::{Package, deliver, install_spec};
use crate::servers::ssh::SshServer;
use crate::testenv::TestEnv;

#[test]
fn one_shell_brings_and_installs_one_package_after_the_other_and_tries_no_tool_twice() {
    let env = TestEnv::new();
    let ran = env.path("ran");
    let dd = format!(
        "#!/bin/sh\necho x >>{}\nexec /bin/dd \"$@\"\n",
        ran.display()
    );
    env.program("bin/dd", dd);
    let server = SshServer::sshd(&format!(
        "LogLevel VERBOSE\nForceCommand PATH={}:$PATH; export PATH; eval \"$SSH_ORIGINAL_COMMAND\"",
        env.path("bin").display()
    ));
    let mut session = server.caller().connect();
    let dir = session.prepare_dir("~/in").expect("a directory");
    let package = Package::of_size(5000);
    for number in 1..=3 {
        let name = format!("p-{number}");
        deliver(&mut *session, &package.upload(&dir, &name, ".tmp")).expect("delivered");
        let spec = install_spec(&format!("session-{number}"), "echo installed");
        let outcome = session
            .install_when(&spec, &mut || Ok(()), &mut |_| {})
            .expect("an outcome");
        assert_eq!(outcome.end, InstallEnd::Exited(0));
        assert_eq!(outcome.output, b"installed\n");
        // One to see what this `dd` can, once; and one for each package, which has the disk take it.
        let runs = fs::read_to_string(&ran).expect("runs").lines().count();
        assert_eq!(runs, number + 1);
    }
    let log = server.running.log();
    assert_eq!(log.matches("Starting session: ").count(), 1, "{log}");
}
