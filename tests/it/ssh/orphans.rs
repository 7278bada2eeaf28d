//! Scripts that go on at a host when nobody hears of them any more, and files that change under the hands of one: nothing
//! but the bytes that were verified ever gets the name.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use auto_dispatcher::domain::fault::{Fault, FaultClass};
use auto_dispatcher::transport::{Upload, Verified};

use crate::conformance::Package;
use crate::servers::relay::Relay;
use crate::servers::ssh::SshServer;
use crate::testenv::{TestEnv, wait_until};

const LIMIT: Duration = Duration::from_mins(1);
const TEMPORARY: &str = ".ad-0123456789abcdef-7.part";
const SIZE: usize = 5 << 20;

/// A host whose tools have a digest, and tell it only when they may, once.
struct Slow {
    env: TestEnv,
    server: SshServer,
    package: Package,
}

impl Slow {
    fn new() -> Self {
        Self::for_size(SIZE)
    }

    fn for_size(size: usize) -> Self {
        let env = TestEnv::new();
        let tool = format!(
            "#!/bin/sh\nh=$(\"/usr/bin/${{0##*/}}\" \"$@\") || exit 1\n\
             if mkdir {0} 2>/dev/null; then\necho $$ >{0}/pid\n\
             while [ ! -e {1} ]; do sleep 0.05; done\nfi\necho \"$h\"\n",
            env.path("hashed").display(),
            env.path("go").display()
        );
        for name in ["openssl", "sha256sum"] {
            env.program(format!("bin/{name}"), &tool);
        }
        let server = SshServer::sshd(&format!(
            "Subsystem sftp /bin/false\n\
             ForceCommand PATH={}:$PATH; export PATH; eval \"$SSH_ORIGINAL_COMMAND\"",
            env.path("bin").display()
        ));
        Self {
            env,
            server,
            package: Package::of_size(size),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.server.home_on_disk().join("in").join(name)
    }

    /// The session, of processes, of the script that waits for its digest.
    fn session_at_work(&self) -> Option<String> {
        let mut session = None;
        wait_until("it has said which it is", LIMIT, || {
            let said = fs::read_to_string(self.env.path("hashed/pid")).unwrap_or_default();
            session = session_of(said.trim());
            session.is_some()
        });
        session
    }

    /// Has the package placed while `meanwhile` happens, between its digest and whatever comes of it.
    fn place(&self, resume: bool, meanwhile: impl FnOnce()) -> Result<Verified, Fault> {
        self.place_over(self.server.running.port, resume, meanwhile)
    }

    /// The same over a line to the host.
    fn place_over(
        &self,
        port: u16,
        resume: bool,
        meanwhile: impl FnOnce(),
    ) -> Result<Verified, Fault> {
        let mut caller = self.server.caller();
        caller.target.ssh_port = port;
        let mut session = caller.connect();
        let dir = session.prepare_dir("~/in").expect("a directory");
        let upload = Upload {
            resume,
            ..self.package.upload(&dir, "app", TEMPORARY)
        };
        thread::scope(|scope| {
            let placing = scope.spawn(|| session.place(&upload, &mut |_| {}, &mut |_| Ok(())));
            wait_until("there is a digest", LIMIT, || {
                self.env.path("hashed/pid").exists() || placing.is_finished()
            });
            meanwhile();
            self.env.write("go", "");
            placing.join().expect("no panic")
        })
    }
}

/// The numbers of all processes.
fn processes() -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The session that a process belongs to; none where there is no such process.
fn session_of(process: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(3).map(str::to_owned)
}

fn is_transient(placed: Result<Verified, Fault>, why: &str) {
    let fault = placed.expect_err("a fault");
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert!(fault.message.contains(why), "{fault}");
}

/// Cuts the line while the host has the digest of a package of this size.
fn cut_off(size: usize) {
    let host = Slow::for_size(size);
    let relay = Relay::to(host.server.running.port, u64::MAX);
    let pid = host.server.running.pid();
    let mut script = None;
    let placed = host.place_over(relay.port, false, || {
        relay.cut();
        wait_until("sshd has noticed", LIMIT, || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            children.expect("sshd lives").is_empty()
        });
        script = host.session_at_work();
    });
    is_transient(placed, "lost");
    wait_until("the script is over", LIMIT, || {
        processes().all(|process| session_of(&process) != script)
    });
    assert!(!host.file("app").exists());
    let bytes = host.package.bytes();
    assert_eq!(fs::read(host.file(TEMPORARY)).expect("read"), bytes);
    // The next attempt goes on from there.
    assert_eq!(host.place(true, || {}), Ok(Verified::Digest));
    assert_eq!(fs::read(host.file("app")).expect("read"), bytes);
    assert!(!host.file(TEMPORARY).exists());
}

#[test]
fn who_is_not_heard_any_more_gives_nothing_its_name() {
    cut_off(SIZE);
}

#[test]
fn nor_does_the_script_that_has_brought_a_small_file() {
    cut_off(5000);
}

#[test]
fn what_is_made_anew_after_the_digest_does_not_get_the_name() {
    let host = Slow::new();
    let placed = host.place(false, || {
        // As the next attempt does.
        fs::remove_file(host.file(TEMPORARY)).expect("rm");
        fs::write(host.file(TEMPORARY), &host.package.bytes()[..100]).expect("write");
    });
    is_transient(placed, "arrived wrong: 100 bytes");
    assert!(!host.file("app").exists());
}

#[test]
fn what_grows_after_the_digest_does_not_get_the_name() {
    let host = Slow::new();
    let placed = host.place(false, || {
        fs::write(host.file(TEMPORARY), vec![0; SIZE + 1]).expect("write");
    });
    is_transient(placed, "arrived wrong");
    assert!(!host.file("app").exists());
}

#[test]
fn of_what_has_gone_after_the_digest_no_empty_file_gets_the_name() {
    let host = Slow::new();
    let placed = host.place(false, || {
        // As remains of an earlier attempt may do.
        fs::rename(host.file(TEMPORARY), host.file("app")).expect("mv");
    });
    is_transient(placed, "has vanished");
    let there = fs::read(host.file("app")).expect("read");
    assert_eq!(there, host.package.bytes());
}

#[test]
fn what_has_gone_is_not_gone_on_with() {
    let host = Slow::new();
    fs::create_dir(host.server.home_on_disk().join("in")).expect("mkdir");
    let begun = &host.package.bytes()[..SIZE - 100_000];
    fs::write(host.file(TEMPORARY), begun).expect("write");
    let placed = host.place(true, || {
        fs::remove_file(host.file(TEMPORARY)).expect("rm");
    });
    is_transient(placed, "has gone meanwhile");
    assert!(!host.file(TEMPORARY).exists() && !host.file("app").exists());
}
