//! A host that knows the password of a delivery, and says it.

use std::fs;

use serde_json::json;

use crate::pipeline::Pipeline;
use crate::pipeline::host::{Host, me};
use crate::pipeline::rule::Rule;
use crate::servers::pyftpdlib::{LOGIN, PASSWORD, Pyftpdlib};
use crate::testenv::{Ran, secret};

/// Sends a file called `app` and gives what was printed.
fn send(pipeline: &Pipeline, code: i32) -> Ran {
    let file = pipeline.env.write("files/app", "x");
    pipeline
        .ad(&["send", file.to_str().expect("UTF-8")])
        .exits(code)
}

/// What the install command of the one delivery printed, and how much of it is not kept.
fn output(pipeline: &Pipeline) -> (String, u64) {
    let shown = pipeline.show(&pipeline.delivery("app"));
    let attempt = &shown["attempt_list"][0];
    let output = attempt["output"].as_str().expect("an output").to_owned();
    (output, attempt["output_cut"].as_u64().expect("a number"))
}

#[test]
fn an_install_command_that_prints_a_password_in_every_form_shows_none() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    fs::write(host.file("password"), PASSWORD).expect("write");
    let script = "cat password; echo; cat password password; echo; printf 'tom:%%s' \"$(cat password)\" | base64; \
                  python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(open(\"password\").read()))'; \
                  cat account >&2; head -c 7 password; sleep 0.3; tail -c +8 password; echo; echo over";
    fs::write(host.file("account"), secret!("account\n")).expect("write");
    pipeline.rules(&[host
        .rule("app")
        .with("password", PASSWORD)
        .with("account", secret!("account"))
        .with("install_command", script)]);
    send(&pipeline, 0);
    let (output, cut) = output(&pipeline);
    let lines: Vec<&str> = output.lines().collect();
    let [one, two, encoded, quoted, account, torn, over] = lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!((one, two, torn, over), ("***", "******", "***", "over"));
    assert!(encoded.contains("***") && encoded.len() < 16, "{encoded}");
    assert_eq!((quoted, account, cut), ("***", "***", 0));
    pipeline.ad(&["show", "1"]).exits(0);
    // That no file shows one is looked for when the test ends.
}

#[test]
fn the_tail_of_a_long_output_shows_no_part_of_a_password() {
    for extra in 0..PASSWORD.len() {
        let host = Host::up();
        let pipeline = Pipeline::bare();
        fs::write(host.file("password"), PASSWORD).expect("write");
        let script = format!(
            "yes \"$(cat password)\" | head -n 8000; head -c {extra} /dev/zero | tr '\\0' x"
        );
        pipeline.rules(&[host
            .rule("app")
            .with("password", PASSWORD)
            .with("install_command", script)]);
        send(&pipeline, 0);
        let (output, cut) = output(&pipeline);
        let total = 8_000 * (PASSWORD.len() + 1) + extra;
        assert_eq!(cut, total as u64 - 65_536);
        let rest = output.replace("***\n", "");
        let start = rest.len() - extra;
        assert!(start <= "*** 1\n".len(), "{extra}: {:?}", &rest[..start]);
        if extra >= 3 {
            break;
        }
    }
}

#[test]
fn a_password_that_a_command_gave_is_hidden_as_one_of_the_rules() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    // One login for both, for the install goes over SSH.
    let ftp = Pyftpdlib::start(pipeline.env.root(), None, json!({"login": me()}));
    let vault = pipeline
        .env
        .program("vault", format!("#!/bin/sh\necho '{PASSWORD}'\n"));
    let vault = vault.display();
    pipeline.rules(&[host
        .rule("app")
        .with("transports", "ftp")
        .with("ftp_port", ftp.port)
        .with("dest_dir", "~/in")
        .with("password_command", &vault)
        .with("install_command", format!("{vault}; {vault} >&2"))]);
    send(&pipeline, 0);
    assert_eq!(output(&pipeline), ("***\n***\n".to_owned(), 0));
}

#[test]
fn replies_of_an_ftp_server_that_repeat_the_password_show_none() {
    let pipeline = Pipeline::bare();
    let reply = format!(
        "550 {LOGIN} with {PASSWORD} may not, {}{PASSWORD}",
        "x".repeat(150)
    );
    let ftp = Pyftpdlib::start(
        pipeline.env.root(),
        None,
        json!({"refuse": {"STOR": reply}}),
    );
    pipeline.rules(&[Rule::new("app")
        .with("host", "127.0.0.1")
        .with("login", LOGIN)
        .with("password", PASSWORD)
        .with("transports", "ftp")
        .with("ftp_port", ftp.port)
        .with("dest_dir", "~/in")
        .with("retries", 0)]);
    send(&pipeline, 1);
    let error = pipeline.delivery("app")["error"]
        .as_str()
        .expect("an error")
        .to_owned();
    assert!(
        error.contains(&format!("{LOGIN} with *** may not")),
        "{error}"
    );
}

#[test]
fn what_an_ssh_host_says_instead_of_a_shell_shows_no_password() {
    let pipeline = Pipeline::bare();
    let said = pipeline
        .env
        .write("vault", format!("go away with {PASSWORD}\n"));
    let config = format!(
        "ForceCommand cat {}\nSubsystem sftp /bin/false",
        said.display()
    );
    let host = Host::with(&config);
    pipeline.rules(&[host
        .rule("app")
        .with("password", PASSWORD)
        .with("retries", 0)]);
    send(&pipeline, 1);
    let error = pipeline.delivery("app")["error"]
        .as_str()
        .expect("an error")
        .to_owned();
    assert!(error.contains("go away with ***"), "{error}");
}
