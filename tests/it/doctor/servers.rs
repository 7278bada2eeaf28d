//! FTP and FTPS: certificate, login, data connection, features, and install commands that need SSH beside them.

use serde_json::json;

use super::{Clinic, found, picture, says};
use crate::pipeline::host::Host;
use crate::servers::certificates::Certificate;
use crate::servers::pyftpdlib::{LOGIN, PASSWORD, Pyftpdlib};
use crate::servers::running::free_port;
use crate::testenv::secret;

fn rule(port: u16, transports: &str, password: &str, more: &str) -> String {
    format!(
        "[app]\nhost = 127.0.0.1\nftp_port = {port}\nssh_port = {}\nlogin = {LOGIN}\npassword = {password}\n\
         transports = {transports}\ndest_dir = ~/in\n{more}\n",
        free_port()
    )
}

#[test]
fn ftp_is_tried_with_its_data_connection_and_leaves_nothing() {
    let clinic = Clinic::new(&[]);
    let server = Pyftpdlib::start(
        clinic.pipeline.env.root(),
        None,
        json!({"digest": "XSHA256"}),
    );
    clinic
        .pipeline
        .rules_text(&rule(server.port, "ftp", PASSWORD, ""));
    let before = picture(server.home());
    let ran = clinic.doctor(&[]).exits(0);
    says(&ran, "login", "ok", &[LOGIN, "password"]);
    says(&ran, "ftp", "warning", &["in clear"]);
    says(
        &ran,
        "directory",
        "ok",
        &["/in (to be made; tried in /)", "written"],
    );
    says(&ran, "features", "ok", &["SIZE"]);
    says(&ran, "digest", "ok", &["XSHA256"]);
    assert_eq!(picture(server.home()), before);
    let stored = server
        .commands()
        .iter()
        .filter(|line| line.starts_with("STOR"))
        .count();
    assert_eq!(stored, 1, "{:?}", server.commands());
}

#[test]
fn ftps_shows_its_certificate_and_a_server_without_tls_is_told() {
    let clinic = Clinic::new(&[]);
    let root = clinic.pipeline.env.root();
    let certificate = Certificate::self_signed(root);
    let server = Pyftpdlib::start(root, Some(&certificate), json!({}));
    let pinned = format!("ftps_fingerprint = {}", certificate.fingerprint());
    clinic
        .pipeline
        .rules_text(&rule(server.port, "ftps", PASSWORD, &pinned));
    let ran = clinic.doctor(&[]).exits(0);
    says(&ran, "certificate", "ok", &["accepted, SHA-256 ", "TLS"]);
    says(&ran, "directory", "ok", &["written"]);
    clinic
        .pipeline
        .rules_text(&rule(server.port, "ftps", PASSWORD, ""));
    let ran = clinic.doctor(&[]).exits(1);
    says(&ran, "certificate", "failure", &["untrusted"]);
    assert_eq!(found(&ran, "login"), Vec::<String>::new());
}

#[test]
fn a_refused_password_is_said_once_over_ftp_too() {
    let clinic = Clinic::new(&[]);
    let server = Pyftpdlib::start(clinic.pipeline.env.root(), None, json!({}));
    clinic.pipeline.rules_text(&rule(
        server.port,
        "ftp",
        secret!("wrong"),
        "install_command = true",
    ));
    let ran = clinic.doctor(&[]).exits(1);
    says(&ran, "login", "failure", &["denied"]);
    let said = server
        .commands()
        .iter()
        .filter(|line| line.starts_with("PASS"))
        .count();
    assert_eq!(said, 1, "{:?}", server.commands());
}

#[test]
fn an_install_command_behind_ftp_needs_an_ssh_way() {
    let clinic = Clinic::new(&[]);
    let server = Pyftpdlib::start(clinic.pipeline.env.root(), None, json!({}));
    clinic.pipeline.rules_text(&rule(
        server.port,
        "ssh, ftp",
        PASSWORD,
        "install_command = true",
    ));
    let ran = clinic.doctor(&[]).exits(1);
    says(
        &ran,
        "ssh",
        "warning",
        &["does not serve, ftp does", "refused"],
    );
    assert_eq!(found(&ran, "name").len(), 1, "{ran}");
    says(&ran, "install", "failure", &["needs SSH"]);
    // With a host of the same login that lets our key in, it is there.
    let host = Host::up();
    let text = rule(server.port, "ftp", PASSWORD, "install_command = true")
        .lines()
        .map(|line| {
            let key = host.home().with_file_name("client");
            match line.split(' ').next() {
                Some("ssh_port") => format!("ssh_port = {}", host.port),
                Some("install_command") => format!("{line}\nidentity_file = {}", key.display()),
                _ => line.to_owned(),
            }
        })
        .collect::<Vec<_>>()
        .join("\n");
    clinic.pipeline.rules_text(&text);
    let ran = clinic.doctor(&[]).exits(1);
    // That host knows no such login: the way is there, and it is refused.
    says(&ran, "install", "failure", &["needs SSH", "denied"]);
}
