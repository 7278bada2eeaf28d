//! Mail: TLS, logins, refusals, hostile names.

use serde_json::{Value, json};

use super::Site;
use crate::servers::certificates::Certificate;
use crate::servers::receivers::Receiver;
use crate::testenv::secret;

const PASSWORD: &str = secret!("of the mail server");

/// A mail server over TLS that demands a login, and the lines that make it known.
fn secured(site: &Site, mut settings: Value) -> (Receiver, String) {
    let dir = site.pipeline.env.path("tls");
    std::fs::create_dir_all(&dir).unwrap();
    let authority = Certificate::authority(&dir);
    let certificate = authority.sign(&dir, "mail", "DNS:localhost,IP:127.0.0.1");
    settings["login"] = json!("dispatcher");
    settings["password"] = json!(PASSWORD);
    let server = Receiver::mail(site.pipeline.env.root(), Some(&certificate), settings);
    let lines = format!(
        "mail_to = 运维 <ops@example.com>, night@example.com\nmail_from = ad@example.com\nsmtp_host = localhost\n\
         smtp_port = {}\nsmtp_login = dispatcher\nca_file = {}\n",
        server.port,
        authority.cert.display()
    );
    (server, lines)
}

fn header<'a>(mail: &'a Value, name: &str) -> Option<&'a str> {
    let headers = mail["headers"].as_array()?;
    let found = headers.iter().find(|header| header[0] == name)?;
    found[1].as_str()
}

#[test]
fn a_mail_goes_by_starttls_with_the_password_of_netrc() {
    let site = Site::new();
    let (server, lines) = secured(&site, json!({}));
    site.pipeline.env.write(
        "home/.netrc",
        format!("machine localhost login dispatcher password \"{PASSWORD}\"\n"),
    );
    site.notifier(&lines);
    site.send("app-软件包.tar").exits(1);
    let got = server.got();
    assert_eq!(got.len(), 1, "{got:?} {}", site.log());
    let mail = &got[0];
    assert_eq!(
        (&mail["secure"], &mail["login"]),
        (&true.into(), &"dispatcher".into())
    );
    assert_eq!(
        mail["to"],
        json!(["<ops@example.com>", "<night@example.com>"])
    );
    let subject = header(mail, "Subject").unwrap();
    assert!(subject.starts_with("[银行 A] FAILED "), "{subject}");
    assert_eq!(
        header(mail, "To"),
        Some("运维 <ops@example.com>, night@example.com")
    );
    assert_eq!(header(mail, "Auto-Submitted"), Some("auto-generated"));
    let id = header(mail, "X-Notice-Id").unwrap();
    assert_eq!(
        header(mail, "Message-ID").unwrap(),
        format!("<{id}@example.com>")
    );
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains("package app-软件包.tar of send"), "{text}");
    let command = format!("  $ {}\n", site.typed("retry 1"));
    assert!(text.replace('\r', "").contains(&command), "{text}");
}

#[test]
fn tls_may_come_first_and_the_password_from_a_command() {
    let site = Site::new();
    let (server, lines) = secured(&site, json!({"wrapped": true}));
    let vault = site.vault("mail", PASSWORD);
    site.notifier(&format!(
        "{lines}smtp_tls = wrapped\nsmtp_password_command = head -n1 {}\n",
        vault.display()
    ));
    site.pipeline.ad(&["notify", "--test", "ops"]).exits(0);
    assert_eq!(server.got()[0]["secure"], true);
}

#[test]
fn nothing_goes_in_clear_where_starttls_is_not_offered() {
    let site = Site::new();
    let server = Receiver::mail(site.pipeline.env.root(), None, json!({}));
    let lines = format!(
        "mail_to = ops@example.com\nmail_from = ad@example.com\nsmtp_host = localhost\nsmtp_port = {}\n",
        server.port
    );
    site.notifier(&lines);
    let ran = site.pipeline.ad(&["notify", "--test"]).exits(1);
    assert!(ran.stdout.contains("has not taken it"), "{ran}");
    assert!(server.got().is_empty());
    site.notifier(&format!("{lines}smtp_tls = none\n"));
    site.pipeline.ad(&["notify", "--test"]).exits(0);
    assert_eq!(server.got().len(), 1);
    site.notifier(&format!("{lines}smtp_tls = none\nsmtp_login = x\n"));
    let ran = site.pipeline.ad(&["notify", "--test"]).exits(3);
    assert!(ran.stderr.contains("in clear"), "{ran}");
}

#[test]
fn refusals_are_told_without_the_password() {
    let site = Site::new();
    let vault = site.vault("mail", secret!("a wrong one"));
    let password = format!("smtp_password_file = {}\n", vault.display());
    let (server, lines) = secured(&site, json!({}));
    site.notifier(&format!("{lines}{password}"));
    let ran = site.pipeline.ad(&["notify", "--test"]).exits(1);
    assert!(ran.stdout.contains("authentication failed for"), "{ran}");
    assert!(ran.stdout.contains("***"), "{ran}");
    drop(server);
    let vault = site.vault("mail", PASSWORD);
    let password = format!("smtp_password_file = {}\n", vault.display());
    let (server, lines) = secured(&site, json!({"refuses": {"RCPT": "550 no such user"}}));
    site.notifier(&format!("{lines}{password}"));
    site.send("app").exits(1);
    let status = site.pipeline.ad(&["status"]).exits(0).stdout;
    assert!(status.contains("no such user"), "{status}");
    assert!(server.got().is_empty());
}

#[test]
fn a_server_that_hangs_is_left_after_the_timeout() {
    let site = Site::new();
    let vault = site.vault("mail", PASSWORD);
    let (_server, lines) = secured(&site, json!({"hangs": true}));
    site.notifier(&format!(
        "{lines}smtp_password_file = {}\ntimeout = 1\n",
        vault.display()
    ));
    let ran = site.pipeline.ad(&["notify", "--test"]).exits(1);
    assert!(ran.stdout.contains("has not taken it"), "{ran}");
}

#[test]
fn no_name_makes_a_header() {
    let site = Site::new();
    let server = Receiver::mail(site.pipeline.env.root(), None, json!({}));
    site.notifier(&format!(
        "mail_to = ops@example.com\nmail_from = ad@example.com\nsmtp_host = localhost\nsmtp_port = {}\nsmtp_tls = none\n\
         on = failure, batch\n",
        server.port
    ));
    site.send("app\r\nBcc: thief@example.com\r\n\r\nbody")
        .exits(1);
    let got = server.got();
    assert_eq!(got.len(), 1, "{got:?} {}", site.log());
    assert_eq!(got[0]["to"], json!(["<ops@example.com>"]));
    assert_eq!(header(&got[0], "Bcc"), None);
    let text = got[0]["text"].as_str().unwrap();
    assert!(text.contains("app\\r\\nBcc: thief@example.com"), "{text}");
}
