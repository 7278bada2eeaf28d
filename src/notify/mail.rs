//! E-mail by SMTP (lettre is named here only): plain text in UTF-8. lettre writes headers, and none of ours can end
//! early; the subject holds no control character to begin with.

use std::error::Error as _;
use std::path::Path;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{SmtpTransport, Transport as _};

use super::{Sending, authorities, quoted};
use crate::domain::notice::notifier::{Mail, MailTls};
use crate::domain::notice::wording::{lines, plain, subject};

pub(super) fn send(mail: &Mail, sending: &Sending<'_>) -> Result<String, String> {
    let message = written(mail, sending)?;
    let transport = transport(mail, sending)?;
    let peer = format!("{}:{}", mail.host, mail.port);
    match transport.send(&message) {
        Ok(answer) => {
            let said: Vec<&str> = answer.message().collect();
            Ok(format!("{peer} took it: {}", quoted(&said.join(" "))))
        }
        Err(error) => Err(format!("{peer} has not taken it: {}", explain(&error))),
    }
}

fn written(mail: &Mail, sending: &Sending<'_>) -> Result<Message, String> {
    let notice = sending.message;
    let text = plain(&lines(notice), "\r\n");
    let from = mailbox(&mail.from)?;
    let domain = from.email.domain().to_owned();
    let mut builder = Message::builder()
        .from(from)
        .subject(subject(notice))
        // The same however often it is sent: mail programs drop doubles by it.
        .message_id(Some(format!("<{}@{domain}>", notice.id)))
        .header(ContentType::TEXT_PLAIN);
    for to in &mail.to {
        builder = builder.to(mailbox(to)?);
    }
    let mut message = builder
        .body(text)
        .map_err(|error| format!("the mail cannot be written: {error}"))?;
    // No absence is answered.
    for (name, value) in [
        (
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated",
        ),
        (
            HeaderName::new_from_ascii_str("X-Notice-Id"),
            notice.id.as_str(),
        ),
    ] {
        message
            .headers_mut()
            .insert_raw(HeaderValue::new(name, value.to_owned()));
    }
    Ok(message)
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse()
        .map_err(|error| format!("{text:?} is no mail address: {error}"))
}

fn transport(mail: &Mail, sending: &Sending<'_>) -> Result<SmtpTransport, String> {
    let tls = match mail.tls {
        MailTls::None => Tls::None,
        MailTls::StartTls => Tls::Required(tls(mail)?),
        MailTls::Wrapped => Tls::Wrapper(tls(mail)?),
    };
    let mut builder = SmtpTransport::builder_dangerous(&mail.host)
        .port(mail.port)
        .timeout(Some(sending.limit()))
        .tls(tls);
    if let Some(login) = &mail.login {
        // The settings refuse a login in clear, and this does once more.
        if mail.tls == MailTls::None {
            return Err("no password is sent in clear; set `smtp_tls`".to_owned());
        }
        let password = sending.secrets.password.as_ref();
        let password = password.ok_or("there is no password")?;
        builder = builder
            .credentials(Credentials::new(
                login.clone(),
                password.expose().to_owned(),
            ))
            .authentication(vec![Mechanism::Plain, Mechanism::Login]);
    }
    Ok(builder.build())
}

fn tls(mail: &Mail) -> Result<TlsParameters, String> {
    let failed = |error: lettre::transport::smtp::Error| format!("cannot set up TLS: {error}");
    let mut builder = TlsParameters::builder(mail.host.clone());
    for one in further(mail.ca_file.as_deref())? {
        builder = builder.add_root_certificate(one);
    }
    builder.build_rustls().map_err(failed)
}

fn further(ca_file: Option<&Path>) -> Result<Vec<Certificate>, String> {
    let Some(path) = ca_file else {
        return Ok(Vec::new());
    };
    let found = authorities::of_file(path)?;
    found
        .iter()
        .map(|one| {
            Certificate::from_der(one.to_vec())
                .map_err(|error| format!("cannot use the `ca_file` {}: {error}", path.display()))
        })
        .collect()
}

/// lettre's words with those of what lies below.
fn explain(error: &lettre::transport::smtp::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        below = cause.source();
    }
    quoted(&text)
}
