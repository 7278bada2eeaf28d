//! `worker --listen`: the page, the figures and the health are those of the journal, for those who may ask.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use auto_dispatcher::domain::delivery::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Site, port_of};
use crate::pipeline::host::Host;
use crate::pipeline::{LIMIT, Pipeline};
use crate::testenv::{fed, wait_until};

/// Reads figures with the reference parser and prints them as JSON: families with type, help and samples.
const PARSE: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families as parse
print(json.dumps([{'name': f.name, 'type': f.type, 'help': f.documentation,
    'samples': [[s.name, s.labels, s.value] for s in f.samples]} for f in parse(sys.stdin.read())]))";

/// Figures as a reference implementation understands them.
struct Figures(Value);

impl Figures {
    fn parse(text: &str) -> Self {
        let mut python = Command::new("/usr/bin/python3");
        let output = fed(python.args(["-I", "-c", PARSE]), text);
        assert!(
            output.status.success(),
            "no figures (apt-get install python3-prometheus-client?): {text}"
        );
        Self(serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    /// The one sample of that name with that label.
    #[track_caller]
    fn get(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        let families = self.0.as_array().expect("families");
        let samples = families
            .iter()
            .flat_map(|family| family["samples"].as_array().expect("samples"));
        let found: Vec<f64> = samples
            .filter(|sample| {
                sample[0] == name && label.is_none_or(|(key, value)| sample[1][key] == value)
            })
            .filter_map(|sample| sample[2].as_f64())
            .collect();
        assert_eq!(found.len(), 1, "{name} {label:?}: {}", self.0);
        found[0]
    }
}

#[test]
#[expect(
    clippy::float_cmp,
    clippy::cast_precision_loss,
    reason = "counts, and small ones"
)]
fn the_figures_are_those_of_history_in_the_words_of_prometheus() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[
        host.rule("good"),
        host.rule("bad")
            .with("install_command", "echo '\"<no>\\'; exit 2"),
    ]);
    let site = Site::start(&pipeline);
    pipeline.commit(&[("good-1", b"12345"), ("good-2", b"123"), ("bad-1", b"1")]);
    let rows = pipeline.settled(3);
    let count = |state: &str| rows.iter().filter(|row| row["state"] == state).count() as f64;
    let mut text = String::new();
    // Answers are given again for a moment, and the worker that the hook started finds that there is one, and ends.
    wait_until("the figures know of the failure", LIMIT, || {
        let answer = site.get("/metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        text = answer.body;
        text.contains("settled_total{outcome=\"failed\"} 1")
            && text.contains("\nauto_dispatcher_workers 1\n")
    });
    let figures = Figures::parse(&text);
    for outcome in ["done", "failed", "unknown", "cancelled"] {
        let name = "auto_dispatcher_deliveries_settled_total";
        assert_eq!(
            figures.get(name, Some(("outcome", outcome))),
            count(outcome)
        );
    }
    let standing = |state| figures.get("auto_dispatcher_deliveries", Some(("state", state)));
    assert_eq!((standing("failed"), standing("queued")), (1.0, 0.0));
    let done = rows.iter().filter(|row| row["state"] == "done");
    let sent: u64 = done.filter_map(|row| row["size"].as_u64()).sum();
    assert_eq!(
        figures.get("auto_dispatcher_sent_bytes_total", None),
        sent as f64
    );
    let attempts: u64 = rows.iter().filter_map(|row| row["attempts"].as_u64()).sum();
    let duration = "auto_dispatcher_attempt_duration_seconds";
    assert_eq!(
        figures.get(&format!("{duration}_count"), None),
        attempts as f64
    );
    let infinite = figures.get(&format!("{duration}_bucket"), Some(("le", "+Inf")));
    assert_eq!(infinite, attempts as f64);
    let lane = pipeline.sql("SELECT count(*) FROM settled_lanes");
    assert_eq!(lane, [Some(1)]);
    let repository = Some(("repository", pipeline.repository()));
    let last = figures.get("auto_dispatcher_repository_last_revision", repository);
    assert_eq!(last, 1.0);
    assert_eq!(figures.get("auto_dispatcher_workers", None), 1.0);
    assert!(figures.get("auto_dispatcher_disk_free_bytes", None) > 0.0);
    for family in figures.0.as_array().unwrap() {
        assert_ne!(family["help"], "", "{family}");
        assert_ne!(family["type"], "unknown", "{family}");
        let is_counter = family["type"] == "counter";
        let name = family["samples"][0][0].as_str().unwrap_or_default();
        assert_eq!(is_counter, name.ends_with("_total"), "{family}");
    }
    let page = site.get("/");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("good-1") && page.body.contains("data-live"));
    assert!(
        page.head.contains("frame-ancestors 'none'"),
        "{}",
        page.head
    );
    let status: Value = serde_json::from_str(&site.get("/status.json").body).unwrap();
    assert_eq!(
        (&status["deliveries"]["failed"], &status["well"]),
        (&1.into(), &false.into())
    );
}

#[test]
fn health_is_that_of_the_program_and_not_of_a_host() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app").with("install_command", "exit 1")]);
    let site = Site::start(&pipeline);
    pipeline.commit(&[("app", b"x")]);
    pipeline.awaits("app", State::Failed);
    let answer = site.get("/health");
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    let rules = std::fs::read_to_string(pipeline.rules_file()).unwrap();
    pipeline.rules_text("[app\nhost = h\n");
    pipeline.commit(&[("app-2", b"x")]);
    let is = |status: u16| {
        let answer = site.get("/health");
        answer.status == status && (status == 200 || answer.body.contains("r2 of "))
    };
    wait_until("it is ill", LIMIT, || is(503));
    pipeline.rules_text(&rules);
    wait_until("it is well again", LIMIT, || is(200));
}

#[test]
fn who_asks_by_another_name_or_wants_to_change_something_is_refused() {
    let pipeline = Pipeline::new(&[]);
    let site = Site::start(&pipeline);
    wait_until("there is a journal", LIMIT, || site.get("/").status == 200);
    let host = format!("127.0.0.1:{}", site.port);
    let rebound = site.ask("GET", "/", &format!("evil.example:{}", site.port), "");
    assert_eq!(rebound.status, 421);
    assert!(!rebound.body.contains("<html"), "{rebound:?}");
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/../etc/passwd", 404),
        ("POST", "/", 405),
        ("DELETE", "/", 405),
        ("GET", "/health?x=1", 200),
        ("GET", "/favicon.ico", 204),
    ] {
        let answer = site.ask(method, path, &host, "");
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        let head = answer.head.to_lowercase();
        assert!(!head.contains("access-control"), "{head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    }
    let head = site.ask("HEAD", "/", &host, "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(!head.head.contains("Content-Length: 0"), "{head:?}");
}

#[test]
fn beyond_this_machine_it_is_served_to_who_shows_the_token_alone() {
    let pipeline = Pipeline::new(&[]);
    let ran = pipeline.ad(&["worker", "--listen", "0.0.0.0:0"]).exits(3);
    assert!(ran.stderr.contains("listen_token_file"), "{ran}");
    pipeline.settings("listen = 0.0.0.0:0");
    let ran = pipeline.ad(&["worker"]).exits(3);
    assert!(ran.stderr.contains("listen_token_file"), "{ran}");
    let token = "0123456789abcdef0123";
    let file = pipeline.env.write("token", format!("{token}\n"));
    // On loopback a token that is named is asked for, too.
    pipeline.settings(&format!("listen_token_file = {}", file.display()));
    let site = Site::start(&pipeline);
    let answer = site.get("/health");
    assert_eq!(answer.status, 401);
    assert!(
        answer.head.contains("WWW-Authenticate: Basic"),
        "{answer:?}"
    );
    let shown = [
        format!("Authorization: Bearer {token}\r\n"),
        format!(
            "Authorization: Basic {}\r\n",
            STANDARD.encode(format!("me:{token}"))
        ),
    ];
    for header in shown {
        let answer = site.ask("GET", "/health", "monitor.example", &header);
        assert_ne!(answer.status, 401, "{header}: {answer:?}");
        assert_ne!(answer.status, 421, "{header}: {answer:?}");
    }
}

#[test]
fn a_port_that_is_taken_keeps_no_package_waiting_and_is_tried_again() {
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    pipeline.settings(&format!("listen = 127.0.0.1:{port}"));
    let worker = pipeline.spawn(&["worker"]);
    let log = || {
        std::fs::read_to_string(pipeline.state().join("auto-dispatcher.log")).unwrap_or_default()
    };
    wait_until("it is told", LIMIT, || {
        log().contains("cannot serve the page on")
    });
    pipeline.commit(&[("app", b"x")]);
    pipeline.awaits("app", State::Done);
    assert_eq!(port_of(&pipeline), None, "{}", log());
    drop(taken);
    wait_until("the page is served", LIMIT, || {
        port_of(&pipeline) == Some(port)
    });
    worker.terminate();
}
