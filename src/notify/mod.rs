//! Sends one message by one way, once, and says what came of it. Knows neither the journal nor when anything is sent;
//! secrets are handed to it, and nothing that it says holds them.

use std::path::Path;
use std::time::Duration;

use crate::domain::mask::Mask;
use crate::domain::notice::message::Message;
use crate::domain::notice::notifier::{Notifier, Secrets, Way};
use crate::domain::text::{escape, escape_json};

mod authorities;
mod command;
mod mail;
mod robots;
mod webhook;

/// No more of what a receiver says is quoted.
const QUOTED_MAX: usize = 400;

/// One message for one notifier.
pub struct Sending<'a> {
    /// To whom.
    pub notifier: &'a Notifier,
    /// Its secrets.
    pub secrets: &'a Secrets,
    /// What.
    pub message: &'a Message,
    /// HOME of a command.
    pub home: Option<&'a Path>,
    /// Seconds since 1970, for signatures.
    pub now_s: i64,
    /// Asked every now and then: whether to end before the receiver does.
    pub is_stopped: &'a dyn Fn() -> bool,
}

impl Sending<'_> {
    fn limit(&self) -> Duration {
        Duration::from_secs(self.notifier.timeout_s)
    }

    /// Our own JSON.
    fn json(&self) -> Result<String, String> {
        let json = serde_json::to_string(self.message)
            .map_err(|error| format!("the message cannot be written as JSON: {error}"))?;
        Ok(escape_json(&json).into_owned())
    }
}

/// Sends it. In words: what the receiver said, or why it has not got the message.
pub fn send(sending: &Sending<'_>) -> Result<String, String> {
    let result = match &sending.notifier.way {
        Way::Command(words) => command::send(words, sending),
        Way::Mail(mail) => mail::send(mail, sending),
        Way::Webhook(webhook) => webhook::send(webhook, sending),
    };
    let mut mask = Mask::default();
    for secret in sending.secrets.all() {
        mask.add(secret);
        for part in webhook::token_parts(secret) {
            mask.add(&part);
        }
    }
    let told = |text: String| escape(&mask.text(&text)).into_owned();
    result.map(told).map_err(told)
}

/// A quotation of bounded length.
fn quoted(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(QUOTED_MAX) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
