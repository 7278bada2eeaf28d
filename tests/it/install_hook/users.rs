//! A server with a user of its own: the hook that root puts in fires from svnserve, and its proof is run as that user.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{KEPT, Site};
use crate::servers::running::Running;
use crate::servers::svn::program;
use crate::testenv::{Ran, needs_root};

/// Whom no machine knows.
const SVN: u32 = 64_031;

fn give(path: &Path, uid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid)).expect("chown");
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("a directory").flatten() {
            give(&entry.path(), uid);
        }
    }
}

/// Gives repository and state to the server's user, whose old hook says who it is and fails; returns the binary, where
/// everybody may run it.
fn hand_over(site: &Site) -> PathBuf {
    let env = &site.pipeline.env;
    let repository = &site.pipeline.svn.repository;
    let binary = env.path("bin/auto-dispatcher");
    fs::create_dir(env.path("bin")).expect("mkdir");
    Ran::of(
        Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_auto-dispatcher"))
            .arg(&binary),
    )
    .exits(0);
    let state = env.path("state");
    fs::create_dir(&state).expect("mkdir");
    let key = env.path("key");
    fs::copy(site.host.home().with_file_name("client"), &key).expect("copy");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("chmod");
    site.pipeline
        .rules(&[site.host.rule("app").with("identity_file", key.display())]);
    let svnserve = repository.join("conf/svnserve.conf");
    fs::write(svnserve, "[general]\nanon-access = write\n").expect("write");
    let ran = env.path("ran");
    fs::create_dir(&ran).expect("mkdir");
    site.with_hook(
        format!(
            "#!/bin/sh\nid -u >'{}/'$2\necho old >&2\nexit 4\n",
            ran.display()
        ),
        0o755,
    );
    for path in [repository.as_path(), &state, &key, &ran] {
        give(path, SVN);
    }
    binary
}

#[test]
fn a_hook_put_in_by_root_fires_from_svnserve_under_its_own_user_beside_the_old_one() {
    needs_root!();
    let site = Site::new();
    let env = &site.pipeline.env;
    let repository = &site.pipeline.svn.repository;
    let binary = hand_over(&site);
    let old = super::likeness(&site.hook());
    let ran = env.path("ran");
    let mut install = Command::new(&binary);
    install
        .arg("install-hook")
        .arg(repository)
        .env_clear()
        .env("HOME", env.home());
    let said = Ran::of(&mut install).exits(0);
    assert!(
        said.stdout.contains(&format!("this machine, as uid {SVN}")),
        "{said}"
    );
    assert!(
        said.stdout.contains(&format!(
            "uid {SVN}, who owns {}",
            repository.join("db").display()
        )),
        "{said}"
    );
    assert!(said.stdout.contains(" 0 failures"), "{said}");
    let hook = fs::metadata(site.hook()).expect("stat");
    assert_eq!(
        (hook.uid(), hook.gid(), hook.mode() & 0o7777),
        (SVN, SVN, 0o755)
    );

    let server = Running::start(&env.path("svnserve.log"), "subversion", |port| {
        let mut command = Command::new(program("svnserve"));
        command
            .args([
                "-d",
                "--foreground",
                "--listen-host",
                "127.0.0.1",
                "--listen-port",
                &port.to_string(),
                "-r",
            ])
            .arg(env.root())
            .env_clear()
            .uid(SVN)
            .gid(SVN)
            .current_dir("/");
        command
    });
    drop(TcpStream::connect(("127.0.0.1", server.port)).expect("svnserve"));
    let file = env.write("app-1", "a package");
    let url = format!("svn://127.0.0.1:{}/repository", server.port);
    let mut put = Command::new(program("svnmucc"));
    put.env_clear()
        .env("HOME", env.home())
        .args(["--non-interactive", "-m", "a package", "-U", &url, "put"])
        .arg(file)
        .arg("app-1");
    let said = Ran::of(&mut put);
    assert!(
        said.stdout.contains("exit code 4") || said.stderr.contains("exit code 4"),
        "{said}"
    );
    assert_eq!(
        fs::read_to_string(ran.join("1")).expect("ran").trim(),
        SVN.to_string()
    );
    let arrived = site.host.file("in/app-1");
    crate::testenv::wait_until("the package has arrived", crate::pipeline::LIMIT, || {
        arrived.exists()
    });
    assert_eq!(fs::read(arrived).expect("read"), b"a package");

    let mut out = Command::new(&binary);
    out.args(["install-hook", "--uninstall"])
        .arg(repository)
        .env_clear();
    Ran::of(&mut out).exits(0);
    assert_eq!(super::likeness(&site.hook()), old);
    assert!(!site.hooks().join(KEPT).exists());
    // So that the test's own user takes everything away.
    chown(repository, Some(0), Some(0)).expect("chown");
}

#[test]
fn a_binary_that_the_servers_user_cannot_run_is_a_failure_of_the_proof() {
    needs_root!();
    let site = Site::new();
    let env = &site.pipeline.env;
    let closed = env.path("closed");
    fs::create_dir(&closed).expect("mkdir");
    let binary = closed.join("auto-dispatcher");
    Ran::of(
        Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_auto-dispatcher"))
            .arg(&binary),
    )
    .exits(0);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("chmod");
    give(&site.pipeline.svn.repository, SVN);
    let mut install = Command::new(&binary);
    install
        .arg("install-hook")
        .arg(&site.pipeline.svn.repository)
        .env_clear();
    let said = Ran::of(&mut install).exits(1);
    assert!(said.stdout.contains("failure  call"), "{said}");
    assert!(said.stdout.contains("which this user cannot run"), "{said}");
    assert!(said.stdout.contains("mend: install -m 755"), "{said}");
}
