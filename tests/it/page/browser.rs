//! The page in Chromium: nothing is loaded, nothing complains, nothing sticks out, everything can be read, and what
//! others have named stays text. `AD_SHOTS=DIR` keeps pictures, to be looked at.

use std::process::Command;
use std::time::Duration;

use auto_dispatcher::domain::delivery::State;
use serde_json::{Value, json};

use super::Site;
use crate::pipeline::Pipeline;
use crate::pipeline::host::Host;
use crate::testenv::wait_until;

const LOOK: &str = include_str!("browser.py");
/// A name that takes over a page which takes names for markup, and turns the rest of its line around.
const HOSTILE: &str = "<img src=x onerror=\"document.title='pwned'\">\u{202e}'&amp;.tar";

/// Whether the script has put a younger page in the place of the one that was loaded, with what was delivered meanwhile.
const UNTIL: &str = "const made = document.querySelector('.made time').dateTime;
    window.first ??= made;
    return window.first !== made && document.getElementById('main').innerText.includes('good-2')";

/// Has the browser visit pages, and tells what it saw.
fn look(pipeline: &Pipeline, visits: &[Value]) -> Vec<Value> {
    let told = json!({
        "driver": "/usr/bin/chromedriver",
        "browser": "/usr/bin/chromium",
        "profile": pipeline.env.path("profile"),
        "shots": std::env::var("AD_SHOTS").ok(),
        "visits": visits,
    });
    let output = Command::new("/usr/bin/python3")
        .args(["-I", "-c", LOOK, &told.to_string()])
        .env("HOME", pipeline.env.home())
        .output()
        .expect("python3");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "no browser (apt-get install chromium chromium-driver?): {said}"
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[track_caller]
fn assert_none(saw: &Value, what: &str) {
    assert_eq!(saw[what], json!([]), "{what} of {}", saw["name"]);
}

/// A site where a package was delivered, one failed, and the names are bad.
fn troubled() -> (Host, Pipeline) {
    let host = Host::up();
    let pipeline = Pipeline::new(&[
        host.rule("good"),
        host.rule(".")
            .with("install_command", "echo no such group; exit 7"),
    ]);
    let long = format!("{}.tar", "很长的名字".repeat(16));
    pipeline.commit(&[("good-1", b"g"), (HOSTILE, b"h"), (&long, b"l")]);
    pipeline.settled(3);
    (host, pipeline)
}

#[test]
fn the_page_can_be_read_by_everybody_and_nothing_in_it_runs_but_ours() {
    let (_host, pipeline) = troubled();
    let path = pipeline.env.path("page.html");
    pipeline
        .ad(&["report", "--html", path.to_str().unwrap()])
        .exits(0);
    let url = format!("file://{}", path.display());
    let mut visits = Vec::new();
    for width in [360, 1280] {
        for dark in [false, true] {
            for script in [false, true] {
                let name = format!("{width}-{}-{script}", if dark { "dark" } else { "light" });
                visits.push(
                    json!({"name": name, "url": url, "width": width, "dark": dark, "script": script,
                    "probe": "return document.querySelectorAll('img').length"}),
                );
            }
        }
    }
    for saw in look(&pipeline, &visits) {
        for what in ["console", "wide", "faint", "nameless"] {
            assert_none(&saw, what);
        }
        assert_eq!(saw["asked"], json!([url]), "{}", saw["name"]);
        assert_eq!(
            (&saw["overflow"], &saw["probe"]),
            (&json!(0), &json!(0)),
            "{}",
            saw["name"]
        );
        let title = saw["title"].as_str().unwrap();
        assert!(title.contains("2 deliveries failed"), "{title}");
        let text = saw["text"].as_str().unwrap();
        for word in [
            "2 deliveries failed",
            "exit status 7",
            " retry ",
            "<img src=x onerror",
            "\\u{202e}",
            "good-1",
        ] {
            assert!(text.contains(word), "{word} is not in {text}");
        }
    }
}

#[test]
fn the_page_that_is_served_shows_what_happens_without_being_loaded_again() {
    let (host, pipeline) = troubled();
    let site = Site::start(&pipeline);
    wait_until("it is served", Duration::from_mins(1), || {
        site.get("/").status == 200
    });
    let url = format!("http://127.0.0.1:{}/", site.port);
    let looking =
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
            look(
                &pipeline,
                &[json!({"name": "live", "url": url, "width": 1280, "dark": false, "script": true,
                    "until": UNTIL})],
            )
        });
            pipeline.commit(&[("good-2", b"2")]);
            pipeline.awaits("good-2", State::Done);
            looking.join().expect("the browser")
        });
    let saw = &looking[0];
    for what in ["console", "wide", "faint", "nameless"] {
        assert_none(saw, what);
    }
    assert!(saw["text"].as_str().unwrap().contains("good-2"), "{saw}");
    let asked = saw["asked"].as_array().unwrap();
    assert!(
        asked
            .iter()
            .all(|one| one.as_str().unwrap().starts_with(&url)),
        "{asked:?}"
    );
    drop(host);
}
