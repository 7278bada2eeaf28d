//! What `install-hook` does not do: put two dispatchers in, put anything over what somebody has edited, guess.

use std::fs;

use super::{KEPT, Site, likeness};

#[test]
fn a_hook_of_the_python_script_is_told_and_not_called_twice() {
    let site = Site::new();
    let script =
        "#!/bin/sh\n# what the script wanted\npython /opt/auto-dispatcher.py \"$1\" \"$2\"\n";
    site.with_hook(script, 0o755);
    let old = likeness(&site.hook());
    let ran = site.install(&[]).exits(4);
    let says = [
        "post-commit:3",
        "Python script",
        "twice",
        "--drop-old",
        "--keep-old",
    ];
    assert!(says.iter().all(|part| ran.stderr.contains(part)), "{ran}");
    assert_eq!(
        (likeness(&site.hook()), site.names()),
        (old, vec!["post-commit".to_owned()])
    );
    site.install(&["--drop-old"]).exits(0);
    let said = site.commit("app-1");
    assert!(!said.contains("arning"), "the script was called: {said}");
    assert_eq!(site.pipeline.settled(1)[0]["state"], "done");
    // Decided otherwise, and back.
    site.install(&["--keep-old"]).exits(0);
    let said = site.commit("app-2");
    assert!(said.contains("python"), "{said}");
    site.install(&["--uninstall"]).exits(0);
    assert_eq!(fs::read_to_string(site.hook()).expect("read"), script);
    site.pipeline.settled(2);
}

#[test]
fn a_hook_that_calls_us_already_is_left_to_its_owner_and_the_shipped_one_gives_way() {
    let site = Site::new();
    site.with_hook(
        "#!/bin/sh\nmailer\n/usr/bin/auto-dispatcher hook \"$@\"\n",
        0o755,
    );
    let ran = site.install(&[]).exits(4);
    assert!(
        ran.stderr
            .contains("post-commit:3 calls auto-dispatcher already"),
        "{ran}"
    );
    assert_eq!(site.names(), ["post-commit"]);
    let shipped = include_str!("../../../hooks/post-commit");
    site.with_hook(shipped.replace("\nPATH=", "\nPATH=/opt/x:"), 0o755);
    let ran = site.install(&[]).exits(0);
    assert!(ran.stderr.contains("ours takes its place"), "{ran}");
    let text = fs::read_to_string(site.hook()).expect("read");
    assert_eq!(text.matches(" hook \"$@\"").count(), 1, "{text}");
    site.commit("app-1");
    assert_eq!(site.pipeline.settled(1)[0]["state"], "done");
}

#[test]
fn what_somebody_has_edited_or_replaced_is_not_touched() {
    let site = Site::new();
    site.with_hook("#!/bin/sh\nexit 0\n", 0o755);
    site.install(&[]).exits(0);
    let text = fs::read_to_string(site.hook()).expect("read");
    fs::write(site.hook(), format!("{text}mail everybody\n")).expect("write");
    let edited = likeness(&site.hook());
    for args in [&["--uninstall"][..], &[]] {
        let ran = site.install(args).exits(4);
        assert!(ran.stderr.contains("somebody has edited it"), "{ran}");
    }
    assert_eq!(likeness(&site.hook()), edited);
    // Another hook lies there now, and what we kept beside it.
    site.with_hook("#!/bin/sh\nexit 1\n", 0o755);
    let another = likeness(&site.hook());
    for args in [&["--uninstall"][..], &[]] {
        let ran = site.install(args).exits(4);
        assert!(ran.stderr.contains(KEPT), "{ran}");
    }
    assert_eq!(likeness(&site.hook()), another);
    // What was kept is gone.
    fs::write(site.hook(), text).expect("write");
    fs::remove_file(site.hooks().join(KEPT)).expect("remove");
    for args in [&["--uninstall"][..], &[]] {
        let ran = site.install(args).exits(4);
        assert!(
            ran.stderr.contains("gone") && ran.stderr.contains("hint"),
            "{ran}"
        );
    }
}

#[test]
fn what_is_no_repository_and_what_is_no_hook_are_refused() {
    let site = Site::new();
    let env = &site.pipeline.env;
    let copy = site.pipeline.svn.working_copy.clone();
    for (path, why) in [
        (copy.as_path(), "working copy"),
        (env.root(), "not a Subversion repository"),
    ] {
        let ran = env
            .run(&["install-hook".as_ref(), path.as_os_str()])
            .exits(4);
        assert!(ran.stderr.contains(why), "{ran}");
    }
    fs::create_dir(site.hook()).expect("mkdir");
    let ran = site.install(&[]).exits(4);
    assert!(ran.stderr.contains("no regular file"), "{ran}");
    fs::remove_dir(site.hook()).expect("rmdir");
    std::os::unix::fs::symlink("/nowhere/hook", site.hook()).expect("symlink");
    let ran = site.install(&[]).exits(4);
    assert!(ran.stderr.contains("leads nowhere"), "{ran}");
    fs::remove_file(site.hook()).expect("remove");
    fs::remove_dir_all(site.hooks()).expect("remove");
    let ran = site.install(&[]).exits(4);
    assert!(
        ran.stderr.contains("cannot find the directory of hooks"),
        "{ran}"
    );
}

#[test]
fn a_hook_that_could_not_run_is_kept_and_not_called() {
    let site = Site::new();
    site.with_hook("#!/bin/sh\nexit 9\n", 0o640);
    let old = likeness(&site.hook());
    let ran = site.install(&[]).exits(0);
    assert!(ran.stderr.contains("not executable"), "{ran}");
    let said = site.commit("app-1");
    assert!(!said.contains("arning"), "{said}");
    site.pipeline.settled(1);
    site.install(&["--uninstall"]).exits(0);
    assert_eq!(likeness(&site.hook()), old);
}
