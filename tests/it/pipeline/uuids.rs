//! Another repository under the path of one that was recorded: nothing is lost, nothing is dispatched,
//! until the operator has decided.

use std::process::Command;

use serde_json::Value;

use super::host::Host;
use super::{LIMIT, Pipeline, field};
use crate::servers::svn::program;
use crate::testenv::{Ran, wait_until};

const STRANGER: &str = "12345678-0000-4000-8000-000000000002";

fn set_uuid(pipeline: &Pipeline, uuid: &str) {
    let mut svnadmin = Command::new(program("svnadmin"));
    Ran::of(svnadmin.args(["setuuid", pipeline.repository(), uuid])).exits(0);
}

/// Commits through the URL: a working copy belongs to the UUID that it was checked out from.
fn import(pipeline: &Pipeline, name: &str) -> Ran {
    let mut svn = Command::new(program("svn"));
    svn.env_clear()
        .env("HOME", pipeline.env.home())
        .args(["import", "-m", "x"])
        .arg(pipeline.env.write("one", "x"))
        .arg(format!("{}/{name}", pipeline.svn.url()));
    Ran::of(&mut svn).exits(0)
}

/// What the committer was told by a hook that ended with this code.
#[track_caller]
fn told(ran: &Ran, code: i32) -> String {
    let all = format!("{}{}", ran.stdout, ran.stderr);
    let mark = format!("post-commit hook failed (exit code {code}) with output:\n");
    let (_, said) = all
        .split_once(&mark)
        .unwrap_or_else(|| panic!("no warning: {ran}"));
    assert_eq!(said.trim_end().lines().count(), 1, "{ran}");
    assert!(
        said.trim_end()
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~')),
        "{ran}"
    );
    said.trim_end().to_owned()
}

fn held(pipeline: &Pipeline) -> Vec<Value> {
    let mut rows = pipeline.status();
    rows.retain(|row| row.get("batch").is_some() && row.get("id").is_none());
    rows
}

/// Lets the former repository go; what is said of it.
fn retire(pipeline: &Pipeline) -> Value {
    let ran = pipeline.ad(&["dismiss", pipeline.repository(), "--former", "--json"]);
    ran.exits(0).json().remove(0)
}

#[test]
fn a_changed_uuid_is_recorded_told_and_held_until_the_former_repository_is_let_go() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    import(&pipeline, "app-1");
    pipeline.settled(1);
    let former = pipeline.svn.open().uuid().to_owned();
    set_uuid(&pipeline, STRANGER);
    let repository = pipeline.repository();
    let expected = format!(
        "auto-dispatcher: r2: recorded, but not dispatched: the repository at {repository} has changed its UUID from \
         {former} to {STRANGER}; put the recorded repository back, or let it go: auto-dispatcher dismiss \
         '{repository}' --former"
    );
    assert_eq!(told(&import(&pipeline, "app-2"), 4), expected);
    told(&import(&pipeline, "app-3"), 4);
    let ran = pipeline.ad(&["hook", repository, "3", "--wait"]).exits(4);
    assert_eq!(ran.stdout, "");
    wait_until("it is held", LIMIT, || {
        held(&pipeline)[0]["state"] == "plan_failed"
    });
    let rows = held(&pipeline);
    assert_eq!(field(&rows, "revision"), ["2", "3"]);
    assert!(rows[0]["due_at"].is_null(), "{rows:?}");
    let shown = pipeline.ad(&["status"]).exits(0).stdout;
    assert!(
        shown.contains("r2 of") && shown.contains("is held") && shown.contains("--former"),
        "{shown}"
    );
    // It is no work: workers end, and try nothing meanwhile.
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    pipeline.no_worker_lives();
    let tries = pipeline.sql("SELECT sum(plan_attempts) FROM batches");
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    assert_eq!(
        pipeline.sql("SELECT sum(plan_attempts) FROM batches"),
        tries
    );
    assert_eq!(pipeline.history().len(), 1);
    // The operator's explicit word works on what is there now, and decides nothing else.
    pipeline.ad(&["replay", repository, "1"]).exits(0);
    assert_eq!(field(&held(&pipeline), "revision"), ["2", "3"]);

    let done = retire(&pipeline);
    assert_eq!(done["former"], serde_json::json!([former]));
    assert_eq!(done["unplanned"], 0);
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    assert_eq!(
        field(&pipeline.settled(4), "package"),
        ["app-1", "app-1", "app-2", "app-3"]
    );
    let ran = import(&pipeline, "app-4");
    assert!(!ran.stdout.contains("hook"), "{ran}");
    pipeline.settled(5);
}

#[test]
fn the_recorded_repository_put_back_goes_on_where_it_was() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.install_hook();
    pipeline.rules_text("[app\n");
    let former = pipeline.svn.open().uuid().to_owned();
    import(&pipeline, "app-1");
    wait_until("it cannot be planned", LIMIT, || {
        held(&pipeline)[0]["state"] == "plan_failed"
    });
    set_uuid(&pipeline, STRANGER);
    // What was recorded of the former one is not looked for in this one.
    wait_until("it is another repository", LIMIT, || {
        held(&pipeline)[0]["error"]
            .as_str()
            .unwrap()
            .contains("has changed its UUID")
    });
    pipeline.rules(&[host.rule("app")]);
    told(&import(&pipeline, "app-2"), 4);
    assert!(pipeline.history().is_empty());
    set_uuid(&pipeline, &former);
    let ran = import(&pipeline, "app-3");
    assert!(!ran.stdout.contains("hook"), "{ran}");
    let rows = pipeline.settled(3);
    assert_eq!(field(&rows, "package"), ["app-1", "app-2", "app-3"]);
    // What the stranger left is held until it is let go in turn.
    assert_eq!(field(&held(&pipeline), "revision"), ["2"]);
    assert_eq!(retire(&pipeline)["former"], serde_json::json!([STRANGER]));
    assert_eq!(retire(&pipeline)["former"], serde_json::json!([]));
    assert!(held(&pipeline).is_empty());
    pipeline.ad(&["worker", "--until-idle"]).exits(0);
    pipeline.settled(3);
}
