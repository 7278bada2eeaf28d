//! Off the straight road: what waits and goes on, what fails at once, and what the record says.

use auto_dispatcher::domain::delivery::State;

use super::host::Host;
use super::{Pipeline, field, holds};
use crate::servers::mounts::Mounted;
use crate::servers::pyftpdlib::Pyftpdlib;
use crate::servers::running::free_port;
use crate::testenv::needs_root;

#[test]
fn a_package_waits_for_a_host_that_is_down_and_goes_when_it_is_up_again() {
    let mut host = Host::down();
    let pipeline = Pipeline::new(&[host.rule("app").with("retries", 50)]);
    pipeline.commit(&[("app-1", b"1")]);
    let waiting = pipeline.awaits("app-1", State::Waiting);
    assert_eq!(waiting["fault"], "unreachable", "{waiting}");
    let error = waiting["error"].as_str().unwrap();
    assert!(
        error.contains("127.0.0.1") && error.contains(&host.port.to_string()),
        "{error}"
    );
    pipeline.commit(&[("app-2", b"2")]);
    host.resume();
    let rows = pipeline.settled(2);
    assert_eq!(field(&rows, "state"), ["done"; 2]);
    assert!(rows[0]["attempts"].as_u64().unwrap() > 1, "{rows:?}");
    assert!(
        rows[0]["settled_at"].as_str() <= rows[1]["settled_at"].as_str(),
        "in order"
    );
    assert_eq!(rows[0]["fault"], serde_json::Value::Null, "{rows:?}");
    holds(&host.file("in/app-1"), b"1");
}

#[test]
fn attempts_are_used_up_and_then_it_has_failed() {
    let host = Host::down();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app").with("retries", 1)]);
    let file = pipeline.env.write("app", "x");
    let ran = pipeline.ad(&["send", file.to_str().unwrap()]).exits(1);
    assert!(
        ran.stderr.contains("unreachable") && ran.stderr.contains("tried again in"),
        "{ran}"
    );
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["attempts"]),
        (&"failed".into(), &2.into()),
        "{row}"
    );
    assert_eq!(
        (&row["fault"], &row["step"]),
        (&"unreachable".into(), &"upload".into())
    );
}

#[test]
fn a_refused_login_fails_at_once_and_is_not_tried_by_ftp() {
    let host = Host::up();
    let env_host = Host::up();
    let pipeline = Pipeline::bare();
    let ftp = Pyftpdlib::start(pipeline.env.root(), None, serde_json::json!({}));
    // A key that the host does not know.
    let stranger = env_host.rule("x");
    let stranger = stranger.to_string();
    let key = stranger
        .lines()
        .find(|line| line.starts_with("identity_file"))
        .unwrap();
    let key = key.split(" = ").nth(1).unwrap();
    pipeline.rules(&[host
        .rule("app")
        .with("identity_file", key)
        .with("password", "sEcReT-wrong")
        .with("transports", "ssh, ftps, ftp")
        .with("ftp_port", ftp.port)]);
    let file = pipeline.env.write("app", "x");
    pipeline.ad(&["send", file.to_str().unwrap()]).exits(1);
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["attempts"]),
        (&"failed".into(), &1.into()),
        "{row}"
    );
    assert_eq!(row["fault"], "denied", "{row}");
    assert!(ftp.commands().is_empty(), "{:?}", ftp.commands());
    assert!(host.list("in").is_empty());
}

#[test]
fn a_changed_host_key_stops_everything_for_that_host() {
    let mut host = Host::up();
    let pipeline = Pipeline::bare();
    let ftp = Pyftpdlib::start(pipeline.env.root(), None, serde_json::json!({}));
    pipeline.rules(&[host
        .rule("app")
        .with("transports", "ssh, ftps, ftp")
        .with("password", "sEcReT-never sent")
        .with("ftp_port", ftp.port)]);
    let first = pipeline.env.write("app-1", "1");
    pipeline.ad(&["send", first.to_str().unwrap()]).exits(0);
    host.resume_with_another_key();
    let second = pipeline.env.write("app-2", "2");
    let ran = pipeline.ad(&["send", second.to_str().unwrap()]).exits(1);
    assert!(ran.stdout.contains("untrusted"), "{ran}");
    let row = pipeline.delivery("app-2");
    assert_eq!(
        (&row["state"], &row["attempts"]),
        (&"failed".into(), &1.into()),
        "{row}"
    );
    assert_eq!(row["fault"], "untrusted");
    let error = row["error"].as_str().unwrap();
    assert!(
        error.contains("SHA256:") && error.contains("127.0.0.1"),
        "{error}"
    );
    assert_eq!(host.list("in"), ["app-1"]);
    assert!(
        !host.log().contains("Accepted"),
        "no login was tried: {}",
        host.log()
    );
    assert!(ftp.commands().is_empty(), "{:?}", ftp.commands());
}

#[test]
fn an_unknown_key_is_refused_where_keys_are_strict() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app").with("host_key", "strict")]);
    let file = pipeline.env.write("app", "x");
    pipeline.ad(&["send", file.to_str().unwrap()]).exits(1);
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["fault"]),
        (&"failed".into(), &"untrusted".into()),
        "{row}"
    );
    assert!(host.list("in").is_empty());
}

#[test]
fn a_name_that_does_not_resolve_is_unreachable() {
    let host = Host::down();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host
        .rule("app")
        .with("host", "no-such-host.invalid")
        .with("retries", 0)]);
    let file = pipeline.env.write("app", "x");
    pipeline.ad(&["send", file.to_str().unwrap()]).exits(1);
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["fault"]),
        (&"failed".into(), &"unreachable".into()),
        "{row}"
    );
    assert!(
        row["error"]
            .as_str()
            .unwrap()
            .contains("no-such-host.invalid"),
        "{row}"
    );
}

#[test]
fn an_install_that_fails_is_recorded_with_its_output_and_not_repeated() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    let ran_at = host.file("ran");
    let command = format!(
        "echo once >> {}; echo out; echo err >&2; exit 7",
        ran_at.display()
    );
    pipeline.rules(&[
        host.rule("bad").with("install_command", command),
        host.rule("good"),
    ]);
    let (bad, good) = (
        pipeline.env.write("bad", "x"),
        pipeline.env.write("good", "y"),
    );
    let ran = pipeline
        .ad(&["send", bad.to_str().unwrap(), good.to_str().unwrap()])
        .exits(1);
    assert!(ran.stdout.contains("exit status 7"), "{ran}");
    let row = pipeline.delivery("bad");
    assert_eq!(
        (&row["state"], &row["step"]),
        (&"failed".into(), &"install".into()),
        "{row}"
    );
    assert_eq!(
        (&row["exit_status"], &row["attempts"]),
        (&7.into(), &1.into()),
        "{row}"
    );
    assert_eq!(
        pipeline.show(&row)["attempt_list"][0]["output"],
        "out\nerr\n"
    );
    let shown = pipeline.ad(&["show", &row["id"].to_string()]).exits(0);
    assert!(
        shown.stdout.contains("| out\n") && shown.stdout.contains("| err\n"),
        "{shown}"
    );
    assert_eq!(host.lines("ran"), ["once"]);
    assert_eq!(
        pipeline.delivery("good")["state"],
        "done",
        "the lane goes on past a failure"
    );
}

#[test]
fn a_lane_that_stops_at_a_failure_holds_what_comes_behind() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[
        host.rule("bad")
            .with("install_command", "exit 1")
            .with("on_failure", "stop"),
        host.rule("good"),
    ]);
    let (bad, good) = (
        pipeline.env.write("bad", "x"),
        pipeline.env.write("good", "y"),
    );
    pipeline
        .ad(&["send", bad.to_str().unwrap(), good.to_str().unwrap()])
        .exits(1);
    assert_eq!(pipeline.delivery("bad")["state"], "failed");
    assert_eq!(pipeline.delivery("good")["state"], "queued");
    assert_eq!(host.list("in"), ["bad"]);
}

#[test]
fn an_install_that_takes_too_long_is_ended_with_its_children() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    let pid = host.file("pid");
    let command = format!("echo begun; sleep 300 & echo $! > {}; wait", pid.display());
    pipeline.rules(&[host
        .rule("app")
        .with("install_command", command)
        .with("install_timeout", 5)]);
    let file = pipeline.env.write("app", "x");
    pipeline.ad(&["send", file.to_str().unwrap()]).exits(1);
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["step"]),
        (&"failed".into(), &"install".into()),
        "{row}"
    );
    assert!(
        row["error"].as_str().unwrap().contains("install_timeout"),
        "{row}"
    );
    assert_eq!(pipeline.show(&row)["attempt_list"][0]["output"], "begun\n");
    let child = &host.lines("pid")[0];
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
    assert!(
        !status.contains("sleep") || status.contains("Z (zombie)"),
        "{status}"
    );
}

#[test]
fn a_full_disk_at_the_far_end_waits_for_room_and_shows_no_half_file() {
    needs_root!();
    let host = Host::up();
    let _disk = Mounted::disk(&host.file("in"), "size=1m,mode=755");
    std::fs::write(host.file("in/ballast"), vec![b'b'; 700_000]).unwrap();
    let pipeline = Pipeline::new(&[host.rule("app").with("retries", 50)]);
    let bytes = vec![b'x'; 600_000];
    pipeline.commit(&[("app", &bytes)]);
    let waiting = pipeline.awaits("app", State::Waiting);
    assert_eq!(
        (&waiting["fault"], &waiting["step"]),
        (&"transient".into(), &"upload".into()),
        "{waiting}"
    );
    assert!(!host.file("in/app").exists());
    std::fs::remove_file(host.file("in/ballast")).unwrap();
    let rows = pipeline.settled(1);
    assert_eq!(rows[0]["state"], "done", "{rows:?}");
    holds(&host.file("in/app"), &bytes);
    assert_eq!(host.list("in"), ["app"]);
}

#[test]
fn a_directory_that_cannot_be_made_fails_for_good() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    std::fs::write(host.file("file"), "").unwrap();
    pipeline.rules(&[host
        .rule("app")
        .with("dest_dir", host.file("file/below").display())]);
    let file = pipeline.env.write("app", "x");
    pipeline.ad(&["send", file.to_str().unwrap()]).exits(1);
    let row = pipeline.delivery("app");
    assert_eq!(
        (&row["state"], &row["attempts"]),
        (&"failed".into(), &1.into()),
        "{row}"
    );
    assert_eq!(row["fault"], "permanent", "{row}");
}

#[test]
fn a_closed_port_of_ssh_falls_back_to_ftp_unless_the_host_has_proved_a_key() {
    let mut host = Host::up();
    let pipeline = Pipeline::bare();
    let peculiar = serde_json::json!({"login": super::host::me()});
    let ftp = Pyftpdlib::start(pipeline.env.root(), None, peculiar);
    let password = crate::servers::pyftpdlib::PASSWORD;
    let by_default = host
        .rule("app")
        .without("transports")
        .with("dest_dir", "~/in")
        .with("password", password)
        .with("ftp_port", ftp.port)
        .with("retries", 0);
    let elsewhere = by_default.clone().with("ssh_port", free_port());
    let send = |name: &str| {
        let file = pipeline.env.write(name, name);
        pipeline.ad(&["send", file.to_str().unwrap()]);
        pipeline.delivery(name)
    };
    // A host that never spoke SSH.
    pipeline.rules(&[elsewhere]);
    let row = send("app-1");
    assert_eq!(
        (&row["state"], &row["transport"]),
        (&"done".into(), &"ftp".into()),
        "{row}"
    );
    holds(&ftp.home().join("in/app-1"), b"app-1");
    // One that did.
    pipeline.rules(std::slice::from_ref(&by_default));
    assert_eq!(send("app-2")["transport"], "ssh");
    host.stop();
    let logins = || {
        ftp.commands()
            .iter()
            .filter(|line| line.starts_with("PASS"))
            .count()
    };
    let before = logins();
    let row = send("app-3");
    assert_eq!(
        (&row["state"], &row["fault"]),
        (&"failed".into(), &"unreachable".into()),
        "{row}"
    );
    assert!(
        row["error"].as_str().unwrap().contains("transports"),
        "{row}"
    );
    assert_eq!(logins(), before, "no password was sent");
    // The rule asks for it.
    pipeline.rules(&[by_default.with("transports", "ssh, ftp")]);
    let row = send("app-4");
    assert_eq!(
        (&row["state"], &row["transport"]),
        (&"done".into(), &"ftp".into()),
        "{row}"
    );
}
