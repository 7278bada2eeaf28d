//! What `explain` shows to people: one row for each thing they may ask, wrapped to their screen.

use super::super::screen::{Screen, Tone};
use super::Taken;
use crate::config::credentials::{Described, PasswordSource};
use crate::domain::target::{
    ConnectionTerms, HostKeyPolicy, InstallMode, OnFailure, ServiceTerms, TransportKind,
};
use crate::domain::text::escape;

/// Columns of a label, and where values begin.
const LABEL: usize = 12;
const INDENT: usize = LABEL + 2;

/// Rows of labels and values.
struct Rows<'a> {
    screen: &'a Screen,
    lines: &'a mut Vec<String>,
}

impl Rows<'_> {
    fn row(&mut self, label: &str, text: &str) {
        self.toned(label, text, Tone::Plain);
    }

    fn toned(&mut self, label: &str, text: &str, tone: Tone) {
        let text = escape(text);
        for (index, part) in self.screen.wrap(&text, INDENT).into_iter().enumerate() {
            let label = format!("{:<LABEL$}", if index == 0 { label } else { "" });
            let label = self.screen.paint(Tone::Dim, &label);
            let line = format!("  {label}{}", self.screen.paint(tone, &part));
            self.lines.push(line.trim_end().to_owned());
        }
    }
}

/// A package that a rule takes.
pub(super) fn show(taken: &Taken<'_>, screen: &Screen, lines: &mut Vec<String>) {
    lines.push(
        screen
            .paint(Tone::Good, &escape(taken.package))
            .into_owned(),
    );
    let mut rows = Rows { screen, lines };
    let file = taken.store.rules().path.to_string_lossy();
    rows.row(
        "rule",
        &format!("[{}] at {file}:{}", taken.rule.name, taken.rule.line),
    );
    matching(taken, &mut rows);
    for (host, known) in taken.terms.hosts.iter().zip(&taken.known) {
        rows.row("host", host);
        credentials(taken, known, &mut rows);
    }
    connection(taken, &mut rows);
    delivery(taken, &mut rows);
    for later in taken.later() {
        rows.toned(
            "shadows",
            &format!(
                "[{}] at line {}, which matches, too",
                later.name, later.line
            ),
            Tone::Dim,
        );
    }
}

/// A package that no rule takes, or one that cannot serve.
pub(super) fn show_none(
    package: &str,
    error: Option<&str>,
    hints: &[String],
    screen: &Screen,
    lines: &mut Vec<String>,
) {
    let text = match error {
        Some(error) => format!("{}: {}", escape(package), escape(error)),
        None => format!("{}: no rule takes it", escape(package)),
    };
    for (index, part) in screen.wrap(&text, 2).into_iter().enumerate() {
        let indent = if index == 0 { "" } else { "  " };
        lines.push(format!("{indent}{}", screen.paint(Tone::Bad, &part)));
    }
    let mut rows = Rows { screen, lines };
    for hint in hints {
        rows.row("nearly", hint);
    }
}

fn matching(taken: &Taken<'_>, rows: &mut Rows<'_>) {
    if let Some(matched) = taken.matched() {
        let text = if matched == taken.package {
            "the whole name".to_owned()
        } else if matched.is_empty() {
            "nothing of the name: it takes every name".to_owned()
        } else {
            format!("`{matched}` at the start of the name")
        };
        rows.row("matches", &text);
    }
    if let Some(translated) = taken.translated() {
        let how = if taken.rule.pattern.is_regular() {
            "in linear time"
        } else {
            "by backtracking, at most 1,000,000 steps"
        };
        rows.toned("  run as", &format!("{translated} ({how})"), Tone::Dim);
    }
    if let (Some(pattern), Some(matched)) = (&taken.rule.path_pattern, taken.path_matched()) {
        let text = format!(
            "path_pattern {} matches `{matched}` of {}",
            pattern.source(),
            taken.path
        );
        rows.row("path", &text);
    }
}

fn credentials(taken: &Taken<'_>, known: &Described, rows: &mut Rows<'_>) {
    let place = |source: PasswordSource, line: usize| match (source, taken.netrc) {
        (PasswordSource::Netrc, Some(netrc)) => {
            format!("netrc, {}:{line}", netrc.to_string_lossy())
        }
        (PasswordSource::Netrc, None) => format!("netrc, line {line}"),
        (PasswordSource::Config, _) => format!("the rules file, line {line}"),
        (PasswordSource::Command, _) => format!("what password_command prints, line {line}"),
    };
    let login = match (&known.login, known.login_place) {
        (Some(login), Some((PasswordSource::Netrc, line))) => {
            format!("{login}, from {}", place(PasswordSource::Netrc, line))
        }
        (Some(login), _) => login.clone(),
        (None, _) => "none: neither the rule nor netrc names one".to_owned(),
    };
    let tone = |is_known: bool| if is_known { Tone::Plain } else { Tone::Warn };
    rows.toned("  login", &login, tone(known.login.is_some()));
    let password = match (known.source, known.password_line) {
        (Some(source), Some(line)) => format!("from {}", place(source, line)),
        (Some(_), None) => "set".to_owned(),
        (None, _) => "none: a key or an agent has to do".to_owned(),
    };
    rows.row("  password", &password);
    if known.account.is_some() {
        rows.row("  account", "set");
    }
}

fn connection(taken: &Taken<'_>, rows: &mut Rows<'_>) {
    let terms = &taken.terms.connection;
    let with_port = |kind: &TransportKind| {
        let (port, standard) = match kind {
            TransportKind::Ssh => (taken.terms.ssh_port, 22),
            TransportKind::Ftps | TransportKind::Ftp => (taken.terms.ftp_port, 21),
        };
        if port == standard {
            kind.as_str().to_owned()
        } else {
            format!("{} (port {port})", kind.as_str())
        }
    };
    let transports: Vec<String> = terms.transports.iter().map(with_port).collect();
    rows.row("transports", &transports.join(", "));
    if let Some(identity) = &terms.identity_file {
        rows.row("key", &identity.to_string_lossy());
    }
    let mut host_key = match terms.host_key {
        HostKeyPolicy::AcceptNew => "a new one is recorded, another one than recorded is refused",
        HostKeyPolicy::Strict => "strict: only one that is on record is accepted",
    }
    .to_owned();
    if let Some(known_hosts) = &terms.known_hosts {
        host_key = format!("{host_key}; {}", known_hosts.to_string_lossy());
    }
    rows.row("host key", &host_key);
    if let Some(fingerprint) = &terms.ftps_fingerprint {
        rows.row("certificate", &format!("SHA-256 {fingerprint} alone"));
    } else if let Some(ca_file) = &terms.ca_file {
        let text = format!("also by {}", ca_file.to_string_lossy());
        rows.row("certificate", &text);
    }
}

fn delivery(taken: &Taken<'_>, rows: &mut Rows<'_>) {
    let service = &taken.terms.service;
    rows.row("directory", &taken.dest_dir);
    if let Some(mode) = service.file_mode {
        rows.row("file mode", &format!("{mode:04o}"));
    }
    match (&service.install_command, &taken.command) {
        (Some(command), Some(filled)) if command != filled => {
            rows.row("install", command);
            rows.row("  runs", filled);
        }
        (Some(command), _) => rows.row("install", command),
        (None, _) => rows.row("install", "nothing to run"),
    }
    if service.install_command.is_some() {
        installing(service, rows);
    }
    let others = other_limits(&taken.terms.connection, service);
    if !others.is_empty() {
        rows.row("limits", &others.join(", "));
    }
    if service.on_failure == OnFailure::Stop {
        rows.row("on failure", "stop: later packages for the host wait");
    }
}

fn installing(service: &ServiceTerms, rows: &mut Rows<'_>) {
    if service.install_mode == InstallMode::Plain {
        rows.row("  mode", "plain: attached to the connection");
    }
    if service.install_idempotent {
        rows.row("  again", "yes, where its outcome cannot be had");
    }
}

/// The limits that are others than usual.
fn other_limits(connection: &ConnectionTerms, service: &ServiceTerms) -> Vec<String> {
    let (usual, usual_service) = (ConnectionTerms::default(), ServiceTerms::default());
    let all = [
        (
            "connect_timeout",
            connection.connect_timeout_s,
            usual.connect_timeout_s,
            " s",
        ),
        (
            "stall_timeout",
            connection.stall_timeout_s,
            usual.stall_timeout_s,
            " s",
        ),
        (
            "install_timeout",
            service.install_timeout_s,
            usual_service.install_timeout_s,
            " s",
        ),
        (
            "retries",
            service.retries.into(),
            usual_service.retries.into(),
            "",
        ),
        (
            "retry_delay",
            service.retry_delay_s,
            usual_service.retry_delay_s,
            " s",
        ),
    ];
    all.into_iter()
        .filter(|(_, value, usual, _)| value != usual)
        .map(|(name, value, _, unit)| format!("{name} {value}{unit}"))
        .collect()
}
