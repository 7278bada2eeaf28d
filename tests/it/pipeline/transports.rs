//! Packages that travel by FTP or FTPS, and their installs, which need SSH.

use auto_dispatcher::domain::delivery::State;
use serde_json::json;

use super::host::{Host, me};
use super::rule::Rule;
use super::{Pipeline, holds};
use crate::servers::certificates::Certificate;
use crate::servers::pyftpdlib::{LOGIN, PASSWORD, Pyftpdlib};

#[test]
fn a_pinned_certificate_is_taken_and_another_one_refused() {
    let pipeline = Pipeline::bare();
    let certificate = Certificate::self_signed(pipeline.env.root());
    let ftp = Pyftpdlib::start(pipeline.env.root(), Some(&certificate), json!({}));
    let rule = Rule::new("app")
        .with("host", "127.0.0.1")
        .with("login", LOGIN)
        .with("password", PASSWORD)
        .with("transports", "ftps")
        .with("ftp_port", ftp.port)
        .with("dest_dir", "~/in");
    let send = |name: &str, code| {
        let file = pipeline.env.write(name, name);
        pipeline.ad(&["send", file.to_str().unwrap()]).exits(code);
        pipeline.delivery(name)
    };
    let fingerprint = certificate.fingerprint();
    pipeline.rules(&[rule.clone().with("ftps_fingerprint", &fingerprint)]);
    let row = send("app-1", 0);
    assert_eq!(
        (&row["state"], &row["transport"]),
        (&"done".into(), &"ftps".into()),
        "{row}"
    );
    holds(&ftp.home().join("in/app-1"), b"app-1");
    let attempt = &pipeline.show(&row)["attempt_list"][0];
    assert_eq!(attempt["fingerprint"].as_str(), Some(fingerprint.as_str()));
    let logins = || {
        ftp.commands()
            .iter()
            .filter(|line| line.starts_with("PASS"))
            .count()
    };
    assert_eq!(logins(), 1);
    pipeline.rules(&[rule.with("ftps_fingerprint", "0".repeat(64))]);
    let row = send("app-2", 1);
    assert_eq!(
        (&row["state"], &row["fault"]),
        (&"failed".into(), &"untrusted".into()),
        "{row}"
    );
    assert_eq!(logins(), 1, "no password was sent");
}

#[test]
fn an_install_behind_an_upload_by_ftp_waits_for_ssh_and_uploads_nothing_again() {
    let mut host = Host::down();
    let pipeline = Pipeline::bare();
    let ftp = Pyftpdlib::start(pipeline.env.root(), None, json!({"login": me()}));
    let log = host.file("log");
    pipeline.rules(&[host
        .rule("app")
        .with("transports", "ssh, ftp")
        .with("password", PASSWORD)
        .with("ftp_port", ftp.port)
        .with("dest_dir", "~/in")
        .with("retries", 50)
        .with(
            "install_command",
            format!("echo {{path}} >> {}", log.display()),
        )]);
    pipeline.install_hook();
    pipeline.commit(&[("app", b"x")]);
    let waiting = pipeline.awaits("app", State::Waiting);
    assert_eq!(
        (&waiting["step"], &waiting["fault"]),
        (&"install".into(), &"unreachable".into()),
        "{waiting}"
    );
    assert!(
        waiting["error"].as_str().unwrap().contains("needs SSH"),
        "{waiting}"
    );
    assert_eq!(waiting["transport"], "ftp");
    assert_eq!(waiting["remote_path"], "/in/app");
    host.resume();
    let rows = pipeline.settled(1);
    assert_eq!(
        (&rows[0]["state"], &rows[0]["exit_status"]),
        (&"done".into(), &0.into()),
        "{rows:?}"
    );
    assert_eq!(rows[0]["transport"], "ftp", "{rows:?}");
    assert_eq!(host.lines("log"), ["/in/app"]);
    let uploads = ftp
        .commands()
        .iter()
        .filter(|line| line.starts_with("STOR"))
        .count();
    assert_eq!(uploads, 1);
}
