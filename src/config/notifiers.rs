//! The sections `[notify:NAME]` of auto-dispatcher.cfg: who is told of what, and by which way. Where their secrets are
//! had says [`secrets`]. Reaches nobody.

use std::path::Path;

use crate::config::finding::Finding;
use crate::config::ini::{Document, Section};
use crate::config::private;
use crate::config::settings::Reader;
use crate::config::value;
use crate::domain::notice::Kind;
use crate::domain::notice::notifier::{Form, Mail, MailTls, Notifier, SecretFrom, Way, Webhook};
use crate::domain::secret::Secret;

pub mod secrets;

/// Every key of `[notify:NAME]`.
pub const KEYS: [&str; 21] = [
    "on",
    "digest_after",
    "give_up_after",
    "timeout",
    "notify_command",
    "mail_to",
    "mail_from",
    "smtp_host",
    "smtp_port",
    "smtp_tls",
    "smtp_login",
    "smtp_password_file",
    "smtp_password_command",
    "webhook",
    "webhook_file",
    "webhook_command",
    "webhook_form",
    "webhook_http",
    "webhook_secret_file",
    "webhook_secret_command",
    "ca_file",
];

/// The keys that choose a way, each with those that mean something beside it.
const WAYS: [(&str, &[&str]); 5] = [
    ("notify_command", &[]),
    (
        "mail_to",
        &[
            "mail_from",
            "smtp_host",
            "smtp_port",
            "smtp_tls",
            "smtp_login",
            "smtp_password_file",
            "smtp_password_command",
            "ca_file",
        ],
    ),
    ("webhook", OF_WEBHOOKS),
    ("webhook_file", OF_WEBHOOKS),
    ("webhook_command", OF_WEBHOOKS),
];
const OF_WEBHOOKS: &[&str] = &[
    "webhook_form",
    "webhook_http",
    "webhook_secret_file",
    "webhook_secret_command",
    "ca_file",
];

const DAY_S: u64 = 86_400;

/// NAME of `[notify:NAME]`; none for other sections.
pub(super) fn name_of(section: &Section) -> Option<&str> {
    section.name.strip_prefix("notify:").map(str::trim)
}

/// Reads the sections; what is wrong with them goes to `mistakes`.
pub(super) fn read(
    document: &Document,
    home: Option<&Path>,
    mistakes: &mut Vec<Finding>,
) -> Vec<Notifier> {
    let mut notifiers: Vec<Notifier> = Vec::new();
    for section in &document.sections {
        let Some(name) = name_of(section) else {
            continue;
        };
        let mut reader = Of {
            reader: Reader::of(document, section),
            document,
            section,
            home,
        };
        if !is_name(name) {
            reader.mistake(format!(
                "[{}] names no notifier; up to 40 letters, digits, `-` and `_` are meant, as in [notify:ops]",
                section.name
            ));
        }
        if let Some(other) = notifiers.iter().find(|other| other.name == name) {
            let line = other.line;
            reader.mistake(format!("[notify:{name}] stands at line {line} already"));
        }
        let notifier = reader.notifier(name);
        let is_whole = reader.reader.mistakes.is_empty();
        mistakes.append(&mut reader.reader.mistakes);
        notifiers.extend(notifier.filter(|_| is_whole));
    }
    notifiers
}

/// What is odd about them, as far as their files tell; runs nothing.
pub fn review(notifiers: &[Notifier], file: &Path) -> Vec<Finding> {
    let mut odd = Vec::new();
    for notifier in notifiers {
        let places = match &notifier.way {
            Way::Command(_) => Vec::new(),
            Way::Mail(mail) => vec![&mail.password],
            Way::Webhook(webhook) => vec![&webhook.url, &webhook.sign],
        };
        for place in places {
            if let SecretFrom::File(path) = place
                && let Err(why) = secrets::first_line(path)
            {
                let text = format!("[notify:{}]: {why}", notifier.name);
                odd.push(Finding::at(file, notifier.line, text));
            }
        }
        let program = match &notifier.way {
            Way::Command(words) => words.first().filter(|word| word.starts_with('/')),
            _ => None,
        };
        if let Some(program) = program.filter(|program| !Path::new(program).is_file()) {
            let text = format!("[notify:{}]: there is no program {program}", notifier.name);
            odd.push(Finding::at(file, notifier.line, text));
        }
    }
    odd
}

/// The mistake of a token in a file that everybody can read.
pub(super) fn in_the_open(
    notifiers: &[Notifier],
    file: &Path,
    text: &private::FileText,
) -> Option<Finding> {
    let holder = notifiers.iter().find(|notifier| {
        matches!(&notifier.way, Way::Webhook(webhook) if matches!(webhook.url, SecretFrom::Here(_)))
    })?;
    text.in_the_open(file, true)?;
    let text = format!(
        "`webhook` of [notify:{}] holds a token, and everybody can read this file, as committers have to: put the URL \
         into a file of the worker's own (chmod 600), and name that by `webhook_file`",
        holder.name
    );
    Some(Finding::at(file, holder.line, text))
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "-_".contains(c);
    !name.is_empty() && name.chars().count() <= 40 && name.chars().all(plain)
}

/// One section, being read.
struct Of<'a> {
    reader: Reader<'a>,
    document: &'a Document,
    section: &'a Section,
    home: Option<&'a Path>,
}

impl Of<'_> {
    fn mistake(&mut self, text: String) {
        let finding = Finding::at(&self.document.file, self.section.line, text);
        self.reader.mistakes.push(finding);
    }

    fn has(&self, key: &str) -> bool {
        self.document.line_of(self.section, key).is_some()
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.reader.get(key, one_line)
    }

    fn path(&mut self, key: &str) -> Option<std::path::PathBuf> {
        let (file, home) = (&self.document.file, self.home);
        self.reader.get(key, |text| value::path(text, file, home))
    }

    fn notifier(&mut self, name: &str) -> Option<Notifier> {
        let mut notifier = Notifier {
            name: name.to_owned(),
            line: self.section.line,
            on: vec![Kind::Failure, Kind::Unknown, Kind::Recovery],
            digest_after_s: 600,
            give_up_after_s: DAY_S,
            timeout_s: 30,
            way: Way::Command(Vec::new()),
        };
        let within = |most: u64| {
            move |text: &str| match value::duration_s(text)? {
                0 => Err("may not be 0".to_owned()),
                seconds if seconds > most => Err(format!("may not be more than {most} s")),
                seconds => Ok(seconds),
            }
        };
        self.reader.set(&mut notifier.on, "on", kinds);
        let reader = &mut self.reader;
        reader.set(&mut notifier.digest_after_s, "digest_after", within(DAY_S));
        reader.set(
            &mut notifier.give_up_after_s,
            "give_up_after",
            within(30 * DAY_S),
        );
        reader.set(&mut notifier.timeout_s, "timeout", within(600));
        let ways: Vec<_> = WAYS.iter().filter(|(key, _)| self.has(key)).collect();
        let &[(way, beside)] = ways.as_slice() else {
            let ways = WAYS.map(|(key, _)| format!("`{key}`")).join(", ");
            self.mistake(format!(
                "[notify:{name}] needs one of {ways}, and one alone"
            ));
            return None;
        };
        for stray in KEYS.iter().skip(5) {
            let own = self
                .section
                .entries
                .iter()
                .find(|entry| entry.key == *stray);
            if let Some(entry) = own.filter(|_| stray != way && !beside.contains(stray)) {
                let text = format!("`{stray}` means nothing beside `{way}`");
                self.reader
                    .mistakes
                    .push(Finding::at(&self.document.file, entry.line, text));
            }
        }
        notifier.way = match *way {
            "notify_command" => Way::Command(self.reader.get(way, words)?),
            "mail_to" => Way::Mail(self.mail(name)?),
            _ => Way::Webhook(self.webhook(name)),
        };
        Some(notifier)
    }

    /// The secret that `file` or `command` gives.
    fn secret(&mut self, file: &str, command: &str, otherwise: SecretFrom) -> SecretFrom {
        let from_file = self.path(file).map(SecretFrom::File);
        let from_command = self.reader.get(command, words).map(SecretFrom::Command);
        if from_file.is_some() && from_command.is_some() {
            self.mistake(format!(
                "`{file}` and `{command}` are two places for one secret"
            ));
        }
        from_file.or(from_command).unwrap_or(otherwise)
    }

    fn mail(&mut self, name: &str) -> Option<Mail> {
        let to = self.reader.get("mail_to", addresses);
        let from = self.reader.get("mail_from", |text| {
            addresses(text).and_then(|all| match all.as_slice() {
                [one] => Ok(one.clone()),
                _ => Err("is more than one address".to_owned()),
            })
        });
        let host = self.reader.get("smtp_host", |text| {
            value::host(text).map_err(str::to_owned)?;
            Ok(text.to_owned())
        });
        let mut tls = MailTls::StartTls;
        self.reader.set(&mut tls, "smtp_tls", mail_tls);
        let port = self.reader.get("smtp_port", |text| {
            let port = value::number_within(text, 1, u64::from(u16::MAX))?;
            u16::try_from(port).map_err(|_| "is no port".to_owned())
        });
        let login = self.text("smtp_login");
        let otherwise = match login {
            Some(_) => SecretFrom::Netrc,
            None => SecretFrom::Nowhere,
        };
        let password = self.secret("smtp_password_file", "smtp_password_command", otherwise);
        if login.is_none() && password != SecretFrom::Nowhere {
            self.mistake(format!(
                "[notify:{name}] has a password and no `smtp_login`"
            ));
        }
        if login.is_some() && tls == MailTls::None {
            self.mistake(format!(
                "[notify:{name}] would send its password in clear: `smtp_tls` has to be starttls or wrapped where \
                 there is an `smtp_login`"
            ));
        }
        for (key, is_missing) in [("mail_from", from.is_none()), ("smtp_host", host.is_none())] {
            if is_missing && !self.has(key) {
                self.mistake(format!("[notify:{name}] has no `{key}`"));
            }
        }
        let standard = match tls {
            MailTls::StartTls => 587,
            MailTls::Wrapped => 465,
            MailTls::None => 25,
        };
        Some(Mail {
            from: from?,
            to: to?,
            host: host?,
            port: port.unwrap_or(standard),
            tls,
            login,
            password,
            ca_file: self.path("ca_file"),
        })
    }

    fn webhook(&mut self, name: &str) -> Webhook {
        let here = self
            .text("webhook")
            .map(|text| SecretFrom::Here(Secret::new(text)));
        let url = self.secret("webhook_file", "webhook_command", SecretFrom::Nowhere);
        let mut form = Form::Generic;
        self.reader.set(&mut form, "webhook_form", webhook_form);
        let sign = self.secret(
            "webhook_secret_file",
            "webhook_secret_command",
            SecretFrom::Nowhere,
        );
        if sign != SecretFrom::Nowhere && !form.is_signed() {
            self.mistake(format!(
                "[notify:{name}] has a secret to sign with, which is for `webhook_form` dingtalk and feishu"
            ));
        }
        let url = here.unwrap_or(url);
        let mut allows_http = false;
        self.reader
            .set(&mut allows_http, "webhook_http", value::yes_no);
        if let SecretFrom::Here(text) = &url
            && let Err(why) = is_url(text, allows_http)
        {
            self.mistake(format!("`webhook` of [notify:{name}] {why}"));
        }
        Webhook {
            url,
            sign,
            form,
            allows_http,
            ca_file: self.path("ca_file"),
        }
    }
}

/// Whether a URL will do; what is wrong with it is told without it.
pub(super) fn is_url(url: &Secret, allows_http: bool) -> Result<(), &'static str> {
    let url = url.expose();
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("holds blanks or control characters");
    }
    if url.starts_with("https://") || (allows_http && url.starts_with("http://")) {
        return Ok(());
    }
    Err(if url.starts_with("http://") {
        "goes in clear, its token and all; `webhook_http = yes` allows that"
    } else {
        "is no URL that begins with https://"
    })
}

pub(super) fn one_line(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err("holds a line break or another control character".to_owned());
    }
    Ok(text.to_owned())
}

fn words(text: &str) -> Result<Vec<String>, String> {
    match shell_words::split(text) {
        Ok(words) if !words.is_empty() => Ok(words),
        _ => Err("cannot be split into words: a quote is open".to_owned()),
    }
}

fn kinds(text: &str) -> Result<Vec<Kind>, String> {
    let kinds: Option<Vec<Kind>> = value::words(text).map(Kind::parse).collect();
    kinds
        .filter(|kinds| !kinds.is_empty())
        .ok_or_else(|| "is no list of `failure`, `unknown`, `recovery` and `batch`".to_owned())
}

/// Addresses stand apart by commas, for names hold blanks; or on lines of their own.
fn addresses(text: &str) -> Result<Vec<String>, String> {
    let all: Vec<String> = text
        .split([',', '\n'])
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .map(str::to_owned)
        .collect();
    for address in &all {
        one_line(address)?;
        let bare = match address.split_once('<') {
            Some((_, rest)) => rest.strip_suffix('>').unwrap_or_default(),
            None => address,
        };
        let halves = bare.split_once('@');
        let is_one = halves.is_some_and(|(user, domain)| !user.is_empty() && !domain.is_empty());
        if !is_one || bare.contains(|c: char| c.is_whitespace() || "<>,;\"".contains(c)) {
            return Err(
                "holds something that is no address; ops@example.com is meant, or Night Shift <ops@example.com>, \
                 several separated by commas"
                    .to_owned(),
            );
        }
    }
    if all.is_empty() {
        return Err("names nobody".to_owned());
    }
    Ok(all)
}

fn mail_tls(text: &str) -> Result<MailTls, String> {
    match text {
        "starttls" => Ok(MailTls::StartTls),
        "wrapped" => Ok(MailTls::Wrapped),
        "none" => Ok(MailTls::None),
        _ => Err("is none of `starttls`, `wrapped` and `none`".to_owned()),
    }
}

fn webhook_form(text: &str) -> Result<Form, String> {
    let known = Form::WORDS.iter().find(|(word, _)| *word == text);
    known.map(|(_, form)| *form).ok_or_else(|| {
        let words = Form::WORDS.map(|(word, _)| word);
        format!("is none of {}", words.join(", "))
    })
}

#[cfg(test)]
mod tests;
