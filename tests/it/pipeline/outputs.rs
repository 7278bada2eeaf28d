//! What other programs rely on: the names of `--json`.

use serde_json::Value;

use super::Pipeline;
use super::host::Host;

/// The names that the design promises, in its order.
const NAMES: [&str; 24] = [
    "id",
    "batch",
    "source",
    "repository",
    "revision",
    "package",
    "path",
    "rule",
    "host",
    "login",
    "state",
    "step",
    "attempts",
    "transport",
    "remote_path",
    "sha256",
    "size",
    "exit_status",
    "fault",
    "error",
    "queued_at",
    "settled_at",
    // Came later.
    "directory",
    "author",
];

fn names(row: &Value) -> Vec<&str> {
    row.as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn history_status_and_show_have_exactly_the_names_that_are_promised() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[
        host.rule("good"),
        host.rule("bad").with("install_command", "echo no; exit 2"),
    ]);
    pipeline.commit(&[("trunk/good", b"g"), ("trunk/bad", b"b")]);
    pipeline
        .ad(&["hook", pipeline.repository(), "1", "--wait"])
        .exits(1);
    let rows = pipeline.history();
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_eq!(names(row), NAMES);
        for time in ["queued_at", "settled_at"] {
            let time = row[time].as_str().expect("a time");
            chrono::DateTime::parse_from_rfc3339(time).expect("RFC 3339");
        }
    }
    let limited = pipeline
        .ad(&["history", "--json", "--limit", "1"])
        .exits(0)
        .json();
    assert_eq!(limited, rows[1..], "newest first");
    let status = pipeline.status();
    let deliveries: Vec<&Value> = status
        .iter()
        .filter(|row| row.get("id").is_some())
        .collect();
    assert_eq!(deliveries.len(), 1, "{status:?}");
    assert_eq!(names(deliveries[0]), NAMES);
    assert_eq!(deliveries[0]["package"], "bad");
    let others: Vec<Vec<&str>> = status
        .iter()
        .filter(|row| row.get("id").is_none())
        .map(names)
        .collect();
    assert_eq!(
        others,
        [
            &["repository", "uuid", "last_revision", "unplanned"][..],
            &["disk"]
        ]
    );
    let shown = pipeline.show(deliveries[0]);
    assert_eq!(names(&shown)[..NAMES.len()], NAMES);
    let attempt = &shown["attempt_list"][0];
    assert_eq!(
        (&attempt["exit_status"], &attempt["output"]),
        (&2.into(), &"no\n".into())
    );
    let path = host.file("in/bad");
    assert_eq!(shown["remote_path"].as_str(), path.to_str());
    assert_eq!(shown["repository"], pipeline.repository());
    assert_eq!(shown["path"], "trunk/bad");
    let ran = pipeline.ad(&["show", "99"]).exits(2);
    assert!(ran.stderr.contains("no delivery 99"), "{ran}");
}

#[test]
fn a_living_worker_and_what_waits_are_in_the_status() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host
        .rule("app")
        .with("install_command", host.long_command())]);
    pipeline.commit(&[("app", b"x")]);
    pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
    pipeline.awaits("app", auto_dispatcher::domain::delivery::State::Running);
    let status = pipeline.status();
    let worker = status
        .iter()
        .find(|row| row.get("worker").is_some())
        .expect("a worker");
    assert_eq!(
        names(worker),
        ["worker", "pid", "started_at", "role", "running"]
    );
    let progress = status.iter().find_map(|row| row.get("progress"));
    let promised = [
        "delivery",
        "worker",
        "step",
        "started_at",
        "bytes",
        "total",
        "bytes_per_second",
    ];
    assert_eq!(names(progress.expect("it runs")), promised);
    let lane = status.iter().find_map(|row| row.get("lane"));
    let promised = ["name", "open", "first", "stopped_by"];
    assert_eq!(names(lane.expect("a lane")), promised);
    let shown = pipeline.ad(&["status"]).exits(0);
    assert!(
        shown.stdout.contains("worker 1 (pid ") && shown.stdout.contains("running"),
        "{shown}"
    );
    host.go();
    pipeline.settled(1);
}
