//! Webhooks: one POST of JSON over HTTPS (ureq is named here only). Redirects are not followed: the URL holds a token,
//! which is for nobody else.

use std::sync::Arc;

use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Error};

use super::{Sending, authorities, quoted, robots};
use crate::domain::notice::notifier::Webhook;
use crate::domain::secret::Secret;

/// No answer is read further.
const ANSWER_MAX_BYTES: u64 = 16 << 10;
/// What is shorter is no token.
const TOKEN_MIN: usize = 8;

pub(super) fn send(webhook: &Webhook, sending: &Sending<'_>) -> Result<String, String> {
    let url = sending.secrets.url.as_ref().ok_or("there is no URL")?;
    let sign = sending.secrets.sign.as_ref();
    let body = match robots::body(webhook.form, sending.message, sign, sending.now_s)? {
        Some(body) => body,
        None => sending.json()?,
    };
    let url = robots::signed_url(webhook.form, url, sign, sending.now_s)?;
    let agent = agent(webhook, sending)?;
    let peer = peer(url.expose()).to_owned();
    let answered = agent
        .post(url.expose())
        .header("Content-Type", "application/json; charset=utf-8")
        .header("X-Notice-Id", &sending.message.id)
        .send(body.as_bytes());
    let mut answer = answered.map_err(|error| explain(&peer, &error))?;
    let status = answer.status();
    let text = answer
        .body_mut()
        .with_config()
        .limit(ANSWER_MAX_BYTES)
        .lossy_utf8(true)
        .read_to_string()
        .unwrap_or_default();
    let said = match quoted(&text) {
        said if said.is_empty() => said,
        said => format!(": {said}"),
    };
    if status.is_redirection() {
        return Err(format!(
            "{peer} answers {status}, and wants another URL, which is not asked: write that one into the settings"
        ));
    }
    if !status.is_success() {
        return Err(format!("{peer} answers {status}{said}"));
    }
    match robots::refusal(webhook.form, &text) {
        Some(why) => Err(format!(
            "{peer} answers {status}, but refuses the message: {}",
            quoted(&why)
        )),
        None => Ok(format!("{peer} answers {status}{said}")),
    }
}

fn agent(webhook: &Webhook, sending: &Sending<'_>) -> Result<Agent, String> {
    let authorities = authorities::all(webhook.ca_file.as_deref());
    let roots: Vec<Certificate<'static>> = match authorities {
        Ok(all) => all
            .iter()
            .map(|one| Certificate::from_der(one).to_owned())
            .collect(),
        Err(_) if webhook.allows_http => Vec::new(),
        Err(why) => return Err(why),
    };
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build();
    let config = Agent::config_builder()
        .https_only(!webhook.allows_http)
        .tls_config(tls)
        // No proxy of the environment.
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("auto-dispatcher/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(sending.limit()))
        .build();
    Ok(config.new_agent())
}

/// Host and port of a URL, which are no secret.
fn peer(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// What went wrong before there was an answer. ureq's own words may hold the URL, and those are masked.
fn explain(peer: &str, error: &Error) -> String {
    match error {
        Error::Timeout(_) => format!("{peer} does not answer within `timeout`"),
        Error::HostNotFound => format!("the name of {peer} does not resolve"),
        Error::Io(error) => format!("the connection to {peer} failed: {error}"),
        Error::Rustls(error) => format!("no TLS with {peer}: {error}"),
        Error::BadUri(_) => "the URL cannot be read".to_owned(),
        other => format!("{peer} cannot be reached: {other}"),
    }
}

/// The parts of a URL that tell as much as the whole: what stands in its path and its query.
pub(super) fn token_parts(url: &Secret) -> Vec<Secret> {
    let behind = url.expose().split_once("://").and_then(|(_, rest)| {
        let at = rest.find(['/', '?'])?;
        rest.get(at..)
    });
    behind
        .unwrap_or_default()
        .split(['/', '?', '&', '='])
        .filter(|part| part.len() >= TOKEN_MIN)
        .map(|part| Secret::new(part.to_owned()))
        .collect()
}
