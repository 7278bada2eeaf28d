//! The straight road: what is committed is delivered, verified, installed, in order, and only once.

use std::fs;

use super::host::Host;
use super::{Pipeline, field, holds};

#[test]
fn a_commit_is_delivered_verified_and_installed_with_the_committed_bytes() {
    let host = Host::up();
    let installed = host.file("installed");
    let pipeline = Pipeline::new(&[host.rule("app-").with(
        "install_command",
        format!(
            "cp {{path}} {}; echo \"$AD_PACKAGE r$AD_REVISION $AD_SHA256\"",
            installed.display()
        ),
    )]);
    let bytes = vec![b'\n'; 3_000_000];
    pipeline.commit(&[("trunk/app-1.0.tar", &bytes)]);
    let rows = pipeline.settled(1);
    let row = &rows[0];
    assert_eq!(row["state"], "done", "{row}");
    assert_eq!(row["exit_status"], 0);
    assert_eq!(row["transport"], "ssh");
    assert_eq!(row["size"], 3_000_000);
    assert_eq!(
        row["remote_path"],
        host.file("in/app-1.0.tar").to_str().unwrap()
    );
    holds(&host.file("in/app-1.0.tar"), &bytes);
    holds(&installed, &bytes);
    let shown = pipeline.show(row);
    let attempt = &shown["attempt_list"][0];
    assert_eq!(attempt["verified"], "digest");
    let said = format!("app-1.0.tar r1 {}\n", row["sha256"].as_str().unwrap());
    assert_eq!(attempt["output"], said.as_str());
    assert!(
        attempt["fingerprint"]
            .as_str()
            .unwrap()
            .starts_with("SHA256:")
    );
    assert_eq!(host.list("in"), ["app-1.0.tar"]);
    // What is settled is tidied up after that.
    pipeline.no_worker_lives();
    assert!(
        !host.file(".auto-dispatcher").exists(),
        "the host keeps no record of a settled install"
    );
    let spool = fs::read_dir(pipeline.state().join("spool")).unwrap();
    let left: Vec<_> = spool.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".lock"], "the spool keeps nothing that is done");
}

#[test]
fn packages_of_one_commit_lie_together_in_a_directory_of_the_standard_name() {
    let host = Host::up();
    let rule = host.rule(r".*\.tar$").without("dest_dir");
    let pipeline = Pipeline::new(&[rule]);
    pipeline.commit(&[("a.tar", b"a"), ("dir/b.tar", b"b"), ("c.tar", b"c")]);
    let rows = pipeline.settled(3);
    assert_eq!(field(&rows, "state"), ["done"; 3]);
    let stamps = host.list("newcx");
    assert_eq!(stamps.len(), 1, "{stamps:?}");
    let stamp = &stamps[0];
    let shape: String = stamp
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    assert_eq!(shape, "99999999_999999");
    let dir = format!("newcx/{stamp}");
    assert_eq!(host.list(&dir), ["a.tar", "b.tar", "c.tar"]);
    let expected = host.file(&dir).join("b.tar");
    assert!(field(&rows, "remote_path").contains(&expected.to_str().unwrap().to_owned()));
}

#[test]
fn commits_arrive_and_install_in_their_order_on_one_target() {
    let host = Host::up();
    let log = host.file("log");
    let rule = host.rule("p-").with(
        "install_command",
        format!(
            "ls {} >> {1}; echo $AD_PACKAGE >> {1}",
            host.file("in").display(),
            log.display()
        ),
    );
    let pipeline = Pipeline::new(&[rule]);
    let mut expected = Vec::new();
    for number in 1..=4 {
        let name = format!("p-{number}");
        pipeline.commit(&[(&name, name.as_bytes())]);
        // What had arrived when this one was installed, and itself.
        expected.extend((1..=number).map(|arrived| format!("p-{arrived}")));
        expected.push(name);
    }
    let rows = pipeline.settled(4);
    assert_eq!(field(&rows, "state"), ["done"; 4]);
    assert_eq!(host.lines("log"), expected);
}

#[test]
fn the_lanes_of_several_hosts_run_side_by_side() {
    let host = Host::up();
    let home = host.home();
    // Each command ends when the others have begun: one after the other they would end never.
    let command = format!(
        "cd {}; touch began-$AD_DELIVERY; while [ $(ls | grep -c began) -lt 3 ]; do sleep 0.02; done",
        home.display()
    );
    let rule = host
        .rule("app")
        .with("host", "127.0.0.1, 127.0.0.2 127.0.0.3")
        .with("install_command", command)
        .with("install_timeout", 30);
    let pipeline = Pipeline::new(&[rule]);
    pipeline.commit(&[("app", b"x")]);
    let rows = pipeline.settled(3);
    assert_eq!(field(&rows, "state"), ["done"; 3], "{rows:?}");
    assert_eq!(
        field(&rows, "host"),
        ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    );
}

#[test]
fn what_is_not_delivered_is_in_the_record_with_its_reason() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule(r".*\.tar$")]);
    let names = [
        "gone.tar",
        "replaced.tar",
        "props.tar",
        "copied/inside.tar",
        "twin.tar",
    ];
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .map(|name| (*name, b"one".as_slice()))
        .collect();
    pipeline.commit(&files);
    pipeline.settled(5);
    let svn = &pipeline.svn;
    svn.svn(&["delete", "-q", "gone.tar", "replaced.tar"]);
    svn.svn(&["mkdir", "-q", "directory.tar"]);
    svn.svn(&["propset", "-q", "color", "red", "props.tar"]);
    svn.svn(&["copy", "-q", "copied", "copy.tar"]);
    svn.svn(&["copy", "-q", "twin.tar", "twin2.tar"]);
    svn.write("README", "nobody wants me");
    std::os::unix::fs::symlink("twin.tar", svn.working_copy.join("link.tar")).unwrap();
    svn.svn(&["add", "-q", "README", "link.tar"]);
    svn.write("replaced.tar", "two");
    svn.svn(&["add", "-q", "replaced.tar"]);
    pipeline.commit_changes();
    let rows = pipeline.settled(7);
    let mut delivered = field(&rows[5..], "package");
    delivered.sort();
    assert_eq!(delivered, ["replaced.tar", "twin2.tar"]);
    holds(&host.file("in/replaced.tar"), b"two");
    let batch = rows[5]["batch"].as_i64().unwrap();
    let mut skips: Vec<(String, String, bool)> = pipeline
        .packages(batch)
        .into_iter()
        .filter_map(|package| Some((package.path, package.skipped?, package.trouble)))
        .collect();
    skips.sort();
    let expected = [
        ("README", "no rule", true),
        (
            "copy.tar",
            "directory (copied, 1 files inside; see copied_directories)",
            false,
        ),
        ("directory.tar", "directory", false),
        ("gone.tar", "deleted", false),
        ("link.tar", "symbolic link", false),
        ("props.tar", "properties only", false),
    ];
    let expected = expected.map(|(path, why, trouble)| (path.to_owned(), why.to_owned(), trouble));
    assert_eq!(skips, expected);
    let log = fs::read_to_string(pipeline.state().join("auto-dispatcher.log")).unwrap();
    assert!(log.contains("skipped README: no rule"), "{log}");
}

#[test]
fn hostile_names_arrive_as_they_are_and_run_nothing() {
    let host = Host::up();
    let seen = host.file("seen");
    let rule = host.rule(".").with(
        "install_command",
        format!("echo {{path}} >> {}", seen.display()),
    );
    let pipeline = Pipeline::new(&[rule]);
    let names = [
        "$(touch pwned); 中文 'x' \"y\".tar",
        "-rf",
        " blank edges ",
        "a\\b`id`",
        "~",
        "%s%n",
    ];
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, name.as_bytes())).collect();
    pipeline.commit(&files);
    let rows = pipeline.settled(names.len());
    assert_eq!(field(&rows, "state"), vec!["done"; names.len()], "{rows:?}");
    let mut expected = Vec::new();
    for (name, bytes) in &files {
        holds(&host.file("in").join(name), bytes);
        expected.push(host.file("in").join(name).to_str().unwrap().to_owned());
    }
    let mut lines = host.lines("seen");
    lines.sort();
    expected.sort();
    assert_eq!(lines, expected);
    assert!(!host.file("pwned").exists() && !host.file("in/pwned").exists());
}
