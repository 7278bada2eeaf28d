//! Logins that are refused: told once, tried once, and no password is shown.

use std::fs;

use super::{Clinic, found, says};
use crate::pipeline::LIMIT;
use crate::pipeline::host::Host;
use crate::servers::ssh::{SshServer, new_key};
use crate::testenv::{needs_root, secret, wait_until};

#[test]
fn a_refused_login_is_tried_once_whatever_other_rules_say() {
    let host = Host::up();
    let clinic = Clinic::new(&[]);
    let other = clinic.pipeline.env.path("other-key");
    new_key(&other, "ed25519", "");
    let denied = host.rule("app").with("identity_file", other.display());
    let again = denied.clone().with("stall_timeout", 33);
    clinic.pipeline.rules_text(&format!(
        "{denied}{}",
        again.to_string().replace("[app]", "[web]")
    ));
    let ran = clinic.doctor(&[]).exits(1);
    says(&ran, "login", "failure", &["refused", "accounts"]);
    says(&ran, "login", "warning", &["not tried"]);
    let attempts = host
        .log()
        .matches("Connection closed by authenticating user")
        .count()
        + host
            .log()
            .matches("Disconnected from authenticating user")
            .count();
    assert!(attempts <= 1, "{}", host.log());
}

#[test]
fn a_wrong_password_is_said_once_and_shown_nowhere() {
    needs_root!();
    let server = SshServer::sshd_with_user("/bin/sh", "");
    let caller = server.caller();
    let clinic = Clinic::new(&[]);
    let rule = |name: &str, dest_dir: &str| {
        format!(
            "[{name}]\nhost = 127.0.0.1\ntransports = ssh\nssh_port = {}\nlogin = {}\npassword = {}\ndest_dir = {dest_dir}\n",
            caller.target.ssh_port,
            caller.target.login,
            secret!("wrong")
        )
    };
    clinic
        .pipeline
        .rules_text(&format!("{}{}", rule("app", "~/a"), rule("web", "~/b")));
    let ran = clinic.doctor(&[]).exits(1);
    says(&ran, "login", "failure", &["denied", "password: refused"]);
    says(&ran, "credentials", "ok", &["in the rules file"]);
    // sshd answers before it notes why, and notes the end of the connection after that.
    wait_until("sshd has noted the end", LIMIT, || {
        server.running.log().contains("[preauth]")
    });
    assert_eq!(
        server.running.log().matches("Failed password").count(),
        1,
        "{}",
        server.running.log()
    );
}

#[test]
fn a_password_command_that_fails_and_a_rule_without_login_are_told() {
    let host = Host::with("PasswordAuthentication yes\nKbdInteractiveAuthentication yes");
    let clinic = Clinic::new(&[]);
    let denied = clinic.pipeline.env.path("no-key");
    let command = host
        .rule("app")
        .with("identity_file", denied.display())
        .with("password_command", "/bin/sh -c 'echo no vault >&2; exit 1'");
    let nobody = host
        .rule("web")
        .without("login")
        .with("host", "nobody.invalid");
    fs::write(&denied, "").expect("write");
    clinic.pipeline.rules(&[command, nobody]);
    let ran = clinic.doctor(&[]).exits(1);
    says(&ran, "credentials", "ok", &["password_command"]);
    says(&ran, "credentials", "failure", &["gave no password"]);
    says(
        &ran,
        "login",
        "failure",
        &["neither rule [web] nor netrc names a login"],
    );
    assert_eq!(found(&ran, "directory"), Vec::<String>::new());
}
