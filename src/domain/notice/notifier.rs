//! A notifier: who is told, by which way, and on what terms. Holds where secrets come from, and not the secrets,
//! but for those that the settings themselves hold.

use std::path::PathBuf;

use super::{Kind, Subscription};
use crate::domain::secret::Secret;

/// A section `[notify:NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notifier {
    /// NAME.
    pub name: String,
    /// Line of its header.
    pub line: usize,
    /// `on`.
    pub on: Vec<Kind>,
    /// `digest_after`, in seconds.
    pub digest_after_s: u64,
    /// `give_up_after`, in seconds.
    pub give_up_after_s: u64,
    /// `timeout`, in seconds.
    pub timeout_s: u64,
    /// By which way.
    pub way: Way,
}

impl Notifier {
    /// What of it the journal has to know.
    pub fn subscription(&self) -> Subscription {
        Subscription {
            name: self.name.clone(),
            on: self.on.clone(),
        }
    }
}

/// By which way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// `notify_command`: program and arguments.
    Command(Vec<String>),
    /// `mail_to`.
    Mail(Mail),
    /// `webhook`.
    Webhook(Webhook),
}

/// Where a secret is had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFrom {
    /// There is none.
    Nowhere,
    /// It stands in the settings.
    Here(Secret),
    /// The first line of a file.
    File(PathBuf),
    /// The first line that a command prints.
    Command(Vec<String>),
    /// netrc, by host and login.
    Netrc,
}

/// An e-mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Whose it is; an address, perhaps with a name.
    pub from: String,
    /// Whom it goes to.
    pub to: Vec<String>,
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken with.
    pub tls: MailTls,
    /// Who logs in.
    pub login: Option<String>,
    /// Where the password is had.
    pub password: SecretFrom,
    /// Further authorities, PEM.
    pub ca_file: Option<PathBuf>,
}

/// `smtp_tls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// By the command STARTTLS, or not at all.
    StartTls,
    /// From the first byte.
    Wrapped,
    /// In clear; without a login.
    None,
}

/// A POST of JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where the URL is had, which holds a token.
    pub url: SecretFrom,
    /// Where the secret is had that requests are signed with.
    pub sign: SecretFrom,
    /// What the receiver understands.
    pub form: Form,
    /// Whether `http://` will do.
    pub allows_http: bool,
    /// Further authorities, PEM.
    pub ca_file: Option<PathBuf>,
}

/// `webhook_form`: what a receiver understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Our own JSON.
    Generic,
    /// Slack.
    Slack,
    /// Microsoft Teams.
    Teams,
    /// Mattermost.
    Mattermost,
    /// Rocket.Chat.
    RocketChat,
    /// DingTalk (钉钉).
    DingTalk,
    /// WeCom (企业微信).
    WeCom,
    /// Feishu (飞书), Lark.
    Feishu,
}

impl Form {
    /// Every word with its form.
    pub const WORDS: [(&'static str, Self); 9] = [
        ("generic", Self::Generic),
        ("slack", Self::Slack),
        ("teams", Self::Teams),
        ("mattermost", Self::Mattermost),
        ("rocketchat", Self::RocketChat),
        ("dingtalk", Self::DingTalk),
        ("wecom", Self::WeCom),
        ("feishu", Self::Feishu),
        ("lark", Self::Feishu),
    ];

    /// Whether requests of this form can be signed.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::DingTalk | Self::Feishu)
    }
}

/// The secrets of one notifier, looked up for one message.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// Of the mail server's login.
    pub password: Option<Secret>,
    /// The URL.
    pub url: Option<Secret>,
    /// What requests are signed with.
    pub sign: Option<Secret>,
}

impl Secrets {
    /// All that there are, to be hidden.
    pub fn all(&self) -> impl Iterator<Item = &Secret> {
        [&self.password, &self.url, &self.sign]
            .into_iter()
            .flatten()
    }
}
