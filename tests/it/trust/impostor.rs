//! Another machine answers in the host's place: it hears no login and no password, neither by SSH nor by the FTP server
//! beside it, and the delivery fails at once with both fingerprints.

use auto_dispatcher::domain::delivery::State;
use serde_json::json;

use super::fingerprint;
use crate::pipeline::Pipeline;
use crate::pipeline::host::{Host, me};
use crate::servers::pyftpdlib::{PASSWORD, Pyftpdlib};

#[test]
fn an_impostor_hears_nothing_and_the_delivery_fails_with_both_fingerprints() {
    let mut host = Host::with("LogLevel DEBUG3");
    let pipeline = Pipeline::bare();
    let ftp = Pyftpdlib::start(pipeline.env.root(), None, json!({"login": me()}));
    let asked = host.file("asked");
    let rule = host
        .rule("app")
        // The rule lists ftp itself, so that nothing but the changed key keeps it from that.
        .with("transports", "ssh, ftps, ftp")
        .with("ftp_port", ftp.port)
        .with(
            "password_command",
            format!(
                "/bin/sh -c \"echo asked >> {}; echo {PASSWORD}\"",
                asked.display()
            ),
        );
    pipeline.rules(&[rule]);
    pipeline.install_hook();
    pipeline.commit(&[("app-1", b"x")]);
    assert_eq!(pipeline.settled(1)[0]["state"], "done");
    let known = fingerprint(&host.key());
    let log =
        || std::fs::read_to_string(pipeline.state().join("auto-dispatcher.log")).expect("a log");
    let recorded = format!(
        "new host key of [127.0.0.1]:{} recorded at first contact: ssh-ed25519 {known} in {}",
        host.port,
        pipeline.state().join("known_hosts").display()
    );
    assert!(log().contains(&recorded), "{}", log());
    assert!(
        host.log().contains("userauth-request for user"),
        "sshd tells of logins"
    );

    host.resume_with_another_key();
    let shown = fingerprint(&host.key());
    pipeline.commit(&[("app-2", b"y")]);
    let row = pipeline.awaits("app-2", State::Failed);
    assert_eq!(
        (&row["fault"], &row["attempts"]),
        (&"untrusted".into(), &1.into()),
        "{row}"
    );
    let id = row["id"].to_string();
    let told = pipeline.ad(&["show", &id]).exits(0).stdout;
    for text in [row["error"].as_str().expect("an error"), &told, &log()] {
        for part in [
            &known,
            &shown,
            "HAS CHANGED",
            "known_hosts:1",
            "auto-dispatcher trust 127.0.0.1 --port",
        ] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
    let heard = host.log();
    assert!(
        heard.contains("SSH2_MSG_KEXINIT"),
        "it was dialled: {heard}"
    );
    assert!(!heard.contains("userauth"), "a login was tried: {heard}");
    assert_eq!(ftp.commands(), [""; 0], "the FTP server heard something");
    assert!(!asked.exists(), "the password was looked up");
    assert_eq!(host.list("in"), ["app-1"]);
}
