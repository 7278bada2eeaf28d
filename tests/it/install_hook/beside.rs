//! Beside a hook that is there: whatever it is written in, it finds and the committer sees what they did before.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use super::{KEPT, Site, likeness};
use crate::testenv::{Ran, write_program};

/// Writes down all that it is given, and fails.
fn talkative(site: &Site) -> String {
    let seen = site.pipeline.env.path("seen");
    fs::create_dir_all(&seen).expect("mkdir");
    format!(
        "#!/usr/bin/python3\nimport os, sys\n\
         with open('{}/' + sys.argv[2], 'w') as seen:\n\
         \x20   print(len(sys.argv), sys.argv[1], repr(dict(os.environ)), os.getcwd(), repr(sys.stdin.read()), file=seen)\n\
         print('to stdout')\nprint('the old hook says no', file=sys.stderr)\nsys.exit(3)\n",
        seen.display()
    )
}

#[test]
fn the_old_hook_finds_what_it_did_and_the_committer_sees_what_it_says() {
    let site = Site::new();
    site.with_hook(talkative(&site), 0o755);
    let old = likeness(&site.hook());
    let before = site.commit("app-1");
    assert!(
        before.contains("exit code 3") && before.contains("says no"),
        "{before}"
    );
    let ran = site.install(&[]).exits(0);
    assert!(ran.stdout.contains("called after it"), "{ran}");
    assert_eq!(site.names(), ["post-commit", KEPT]);
    let after = site.commit("app-2");
    assert_eq!(after, before);
    let seen = |revision: &str| {
        fs::read_to_string(site.pipeline.env.path("seen").join(revision)).expect("seen")
    };
    assert_eq!(seen("2"), seen("1"));
    // Python itself adds a locale.
    assert!(!seen("1").contains("PWD"), "{}", seen("1"));
    let rows = site.pipeline.settled(1);
    assert_eq!(
        (&rows[0]["package"], &rows[0]["state"]),
        (&"app-2".into(), &"done".into())
    );
    // Who lives still might see that the ledger misses what is not recorded.
    site.pipeline.no_worker_lives();
    site.install(&["--uninstall"]).exits(0);
    assert_eq!(likeness(&site.hook()), old);
    assert_eq!(site.names(), ["post-commit"]);
    assert_eq!(site.commit("app-3"), before);
    site.pipeline.settled(1);
}

#[test]
fn a_program_and_a_link_are_hooks_too_and_keep_their_modes() {
    let site = Site::new();
    let shared = site.pipeline.env.path("shared-hook");
    // By another process: a child that another test starts just then would hold the file open for writing.
    Ran::of(Command::new("cp").arg("/bin/false").arg(&shared)).exits(0);
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o751)).expect("chmod");
    symlink("../../shared-hook", site.hook()).expect("symlink");
    let old = likeness(&site.hook());
    let before = site.commit("app-1");
    assert!(before.contains("exit code 1"), "{before}");
    site.install(&[]).exits(0);
    assert!(!site.hook().is_symlink());
    assert_eq!(likeness(&site.hooks().join(KEPT)), old);
    assert_eq!(
        fs::read(&shared).expect("read"),
        fs::read("/bin/false").expect("read")
    );
    assert_eq!(
        fs::metadata(site.hook())
            .expect("stat")
            .permissions()
            .mode()
            & 0o7777,
        0o755
    );
    assert_eq!(site.commit("app-2"), before);
    assert_eq!(site.pipeline.settled(1)[0]["package"], "app-2");
    site.install(&["--uninstall"]).exits(0);
    assert_eq!(likeness(&site.hook()), old);
}

#[test]
fn whoever_could_run_the_old_hook_can_run_the_new_one_and_nobody_else_can_write_it() {
    let site = Site::new();
    site.with_hook("#!/bin/sh\nexit 0\n", 0o4772);
    site.install(&[]).exits(0);
    let mode = fs::metadata(site.hook())
        .expect("stat")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o750);
}

#[test]
fn ours_records_before_a_slow_hook_ends_and_the_old_one_runs_where_ours_cannot() {
    let site = Site::new();
    let log = site.pipeline.env.path("ran");
    // It waits until the package has arrived, which it would never do if it came first.
    let arrived = site.host.file("in/app-1");
    let script = format!(
        "#!/bin/sh\nn=0\nuntil [ -e '{}' ] || [ $n -eq 1800 ]; do sleep 0.1; n=$((n+1)); done\nls '{}' >'{}' 2>&1\n",
        arrived.display(),
        arrived.display(),
        log.display()
    );
    site.with_hook(script, 0o755);
    site.install(&[]).exits(0);
    let said = site.commit("app-1");
    assert!(!said.contains("arning"), "{said}");
    let ran = fs::read_to_string(&log).expect("the old hook ran");
    assert_eq!(ran.trim(), arrived.to_str().expect("UTF-8"));
    site.pipeline.settled(1);
    // Nobody may record, and the old hook runs all the same; its success does not hide that.
    fs::remove_file(&log).expect("remove");
    site.pipeline.no_worker_lives();
    fs::set_permissions(site.pipeline.state(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let said = site.commit("app-2");
    assert!(
        said.contains("exit code 5") && said.contains("auto-dispatcher: r2"),
        "{said}"
    );
    assert!(log.exists());
    // The program is gone, as in the midst of its replacement.
    fs::remove_file(&log).expect("remove");
    let text = fs::read_to_string(site.hook()).expect("read");
    let gone = text.replace("/auto-dispatcher'", "/gone'");
    assert_ne!(text, gone);
    write_program(&site.hook(), gone);
    let said = site.commit("app-3");
    assert!(said.contains("exit code 127"), "{said}");
    assert!(log.exists());
    fs::set_permissions(site.pipeline.state(), fs::Permissions::from_mode(0o700)).expect("chmod");
}

#[test]
fn a_run_that_was_cut_off_between_its_two_steps_is_ended_by_the_next() {
    let site = Site::new();
    site.with_hook("#!/bin/sh\nexit 7\n", 0o755);
    let old = likeness(&site.hook());
    fs::hard_link(site.hook(), site.hooks().join(KEPT)).expect("link");
    site.install(&[]).exits(0);
    assert!(site.commit("app-1").contains("exit code 7"));
    site.pipeline.settled(1);
    site.install(&["--uninstall"]).exits(0);
    assert_eq!(likeness(&site.hook()), old);
}

#[test]
fn directories_of_hooks_that_are_links_are_told_of() {
    let site = Site::new();
    let shared = site.pipeline.env.path("all hooks");
    fs::rename(site.hooks(), &shared).expect("rename");
    symlink(&shared, site.hooks()).expect("symlink");
    site.with_hook("#!/bin/sh\nexit 0\n", 0o755);
    let ran = site.install(&[]).exits(0);
    assert!(
        ran.stderr.contains("every repository that shares it"),
        "{ran}"
    );
    assert!(shared.join(KEPT).exists());
    site.commit("app-1");
    assert_eq!(site.pipeline.settled(1)[0]["state"], "done");
}
