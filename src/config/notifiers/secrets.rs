//! The secrets of a notifier, looked up when a message is sent and not before. Nothing is kept beyond the answer.

use std::path::{Path, PathBuf};

use crate::config::credentials::command;
use crate::config::netrc::Netrc;
use crate::config::private;
use crate::domain::notice::notifier::{Notifier, SecretFrom, Secrets, Way};
use crate::domain::secret::Secret;
use crate::domain::text::escape;

use super::is_url;

/// Where secrets are looked for.
#[derive(Debug, Clone, Default)]
pub struct SecretPlaces {
    /// HOME of the commands.
    pub home: Option<PathBuf>,
    /// netrc, and whether it was named on the command line.
    pub netrc: Option<(PathBuf, bool)>,
}

impl SecretPlaces {
    /// The secrets of a notifier; a command may take up to 30 s. Errors: in words, without the secret.
    pub fn secrets_of(
        &self,
        notifier: &Notifier,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Secrets, String> {
        let mut secrets = Secrets::default();
        match &notifier.way {
            Way::Command(_) => {}
            Way::Mail(mail) => {
                if let Some(login) = &mail.login {
                    let place = (mail.host.as_str(), login.as_str());
                    secrets.password =
                        self.had("the password", &mail.password, place, is_stopped)?;
                    if secrets.password.is_none() {
                        return Err(format!(
                            "there is no password for {login} at {}: name one by `smtp_password_file` or \
                             `smtp_password_command`, or write it into netrc",
                            mail.host
                        ));
                    }
                }
            }
            Way::Webhook(webhook) => {
                let nowhere = ("", "");
                let url = self.had("the URL", &webhook.url, nowhere, is_stopped)?;
                let url = url.ok_or("there is no URL")?;
                is_url(&url, webhook.allows_http).map_err(|why| format!("the URL {why}"))?;
                secrets.url = Some(url);
                secrets.sign = self.had("the secret", &webhook.sign, nowhere, is_stopped)?;
            }
        }
        Ok(secrets)
    }

    fn had(
        &self,
        what: &str,
        from: &SecretFrom,
        (host, login): (&str, &str),
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<Secret>, String> {
        match from {
            SecretFrom::Nowhere => Ok(None),
            SecretFrom::Here(secret) => Ok(Some(secret.clone())),
            SecretFrom::File(path) => first_line(path)
                .map(Some)
                .map_err(|why| format!("{what} cannot be had: {why}")),
            SecretFrom::Command(words) => command::run(&command::Call {
                words,
                home: self.home.as_deref(),
                host,
                login,
                is_stopped,
            })
            .map(Some)
            .map_err(|why| format!("{what} cannot be had: {}", escape(&why))),
            SecretFrom::Netrc => {
                let Some((path, is_named)) = &self.netrc else {
                    return Ok(None);
                };
                let netrc = Netrc::load(path, *is_named).map_err(|error| error.to_string())?;
                let entry = netrc.find(host, Some(login));
                let password = entry.map(|entry| entry.password.clone());
                Ok(password.filter(|password| !password.is_empty()))
            }
        }
    }
}

pub(super) fn first_line(path: &Path) -> Result<Secret, String> {
    let text = private::read(path).map_err(|error| error.to_string())?;
    let shown = path.to_string_lossy();
    let text = text.ok_or_else(|| {
        format!(
            "there is no file {}; it is to hold the secret in its first line",
            escape(&shown)
        )
    })?;
    if let Some(open) = text.in_the_open(path, true) {
        return Err(open.to_string());
    }
    let line = text.bytes.split(|&byte| byte == b'\n').next();
    let line = std::str::from_utf8(line.unwrap_or_default())
        .map(str::trim)
        .ok()
        .filter(|line| !line.is_empty());
    line.map(|line| Secret::new(line.to_owned()))
        .ok_or_else(|| format!("the first line of {} is empty or no UTF-8", escape(&shown)))
}
