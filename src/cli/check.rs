//! `check`: the whole configuration, every mistake and every oddity at once. Reaches no host.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::cli::explain::Output;
use crate::cli::screen::{Screen, Tone};
use crate::config::credentials::CredentialStore;
use crate::config::finding::{Finding, Mistakes};
use crate::config::locate::Places;
use crate::config::netrc::Netrc;
use crate::config::private::open_way;
use crate::config::review::{Review, review};
use crate::config::settings::Settings;
use crate::config::{logger, notifiers, rules, settings};
use crate::domain::text::{escape, escape_json};
use crate::error::{ErrorKind, Result};

/// Check the configuration: mistakes, rules that nothing reaches, secrets in the open
///
/// Tells every mistake at once, with file, line and what mends it. An error keeps packages from being delivered; a
/// warning is odd or dangerous; a note is worth knowing and possibly meant. Run it as the user of the worker, for it
/// looks at files that only that one may be able to read.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Warnings count as mistakes, too: exit code 3
    #[arg(long)]
    pub strict: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
    Note,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Error => Tone::Bad,
            Self::Warning => Tone::Warn,
            Self::Note => Tone::Busy,
        }
    }
}

/// Looks at every file; exit code 3 where there is a mistake. Without a rules file there is an error.
pub(super) fn run(
    args: &CheckArgs,
    places: &Places,
    home: Option<PathBuf>,
    screen: &Screen,
) -> Result<Output> {
    let rules_file = places.rules()?;
    let found = findings(places, rules_file, home);
    let mut output = Output::default();
    let all = [
        (Level::Error, &found.mistakes),
        (Level::Warning, &found.warnings),
        (Level::Note, &found.notes),
    ];
    for (level, findings) in all {
        for finding in findings {
            if args.json {
                output.lines.push(json_line(level, finding));
            } else {
                show(screen, level, finding, &mut output.lines);
            }
        }
    }
    let count = |level| {
        let (_, findings) = all[level as usize];
        findings.len()
    };
    if !args.json {
        let counted = [Level::Error, Level::Warning, Level::Note].map(|level| {
            let number = count(level);
            let text = format!(
                "{number} {}{}",
                level.word(),
                if number == 1 { "" } else { "s" }
            );
            let tone = if number == 0 {
                Tone::Plain
            } else {
                level.tone()
            };
            screen.paint(tone, &text).into_owned()
        });
        output.lines.push(counted.join(", "));
    }
    if count(Level::Error) > 0 || args.strict && count(Level::Warning) > 0 {
        output.code = ErrorKind::Config.exit_code();
    }
    Ok(output)
}

/// A finding for people: one line where there is room without end, else lines that fit.
fn show(screen: &Screen, level: Level, finding: &Finding, lines: &mut Vec<String>) {
    const INDENT: usize = 4;
    let word = screen.paint(level.tone(), level.word());
    if screen.width.is_none() {
        lines.push(format!("{word}: {finding}"));
        return;
    }
    let place = finding.place();
    let mut place = screen.wrap(&place, level.word().len() + 2).into_iter();
    lines.push(format!("{word}: {}", place.next().unwrap_or_default()));
    let text = escape(&finding.text);
    for part in place.chain(screen.wrap(&text, INDENT)) {
        lines.push(format!("{}{part}", " ".repeat(INDENT)));
    }
}

/// Every mistake, every oddity and every note of all files.
pub(super) fn findings(places: &Places, rules_file: &Path, home: Option<PathBuf>) -> Review {
    let mut mistakes = Vec::new();
    let mut warnings = Vec::new();
    let mut notes = Vec::new();
    let rules = keep(rules::load(rules_file, home.as_deref()), &mut mistakes);
    let netrc = match &places.netrc {
        Some(path) => keep(
            Netrc::load(path, places.netrc_is_named).map_err(Mistakes::from),
            &mut mistakes,
        ),
        None => None,
    };
    if let Some(settings) = keep(
        settings::load(&places.settings, home.as_deref()),
        &mut mistakes,
    ) {
        warnings.extend(missing(&places.settings, &settings));
        warnings.extend(notifiers::review(&settings.notifiers, &places.settings));
        warnings.extend(settings.warnings);
    }
    let logger = keep(
        logger::load(&places.logger, std::path::Path::new("")),
        &mut mistakes,
    );
    warnings.extend(logger.flatten().into_iter().flat_map(|(_, odd)| odd));
    let files = [rules_file, &places.settings, &places.logger];
    let files = files.into_iter().chain(places.netrc.as_deref());
    let present = files.filter(|file| file.exists());
    warnings.extend(present.filter_map(open_way));
    if let Some(rules) = rules {
        let reviewed = review(&CredentialStore::new(
            rules,
            netrc.unwrap_or_default(),
            home,
        ));
        mistakes.extend(reviewed.mistakes);
        warnings.splice(0..0, reviewed.warnings);
        notes = reviewed.notes;
    }
    Review {
        mistakes,
        warnings,
        notes,
    }
}

/// What the settings name and is not there.
fn missing(file: &Path, settings: &Settings) -> Vec<Finding> {
    let mut missing = Vec::new();
    if let Some(svnlook) = settings.svnlook.as_deref().filter(|path| !path.is_file()) {
        let text = format!(
            "there is no program {} (`svnlook`): no revision can be planned; install Subversion, or mend the path",
            svnlook.display()
        );
        missing.push(Finding::about(file, text));
    }
    if let Some(svnadmin) = settings.svnadmin.as_deref().filter(|path| !path.is_file()) {
        let text = format!(
            "there is no program {} (`svnadmin`): packages are exported one by one, which is slow; mend the path, or \
             leave the key out",
            svnadmin.display()
        );
        missing.push(Finding::about(file, text));
    }
    for repository in &settings.repositories {
        let all_below = repository.parent().filter(|_| repository.ends_with("*"));
        let directory = all_below.unwrap_or(repository);
        if !directory.is_dir() {
            let text = format!(
                "there is no {}, of `repositories`: notes that name one there are refused",
                directory.display()
            );
            missing.push(Finding::about(file, text));
        }
    }
    for scan in &settings.scans {
        let directory = &scan.terms.directory;
        if !directory.is_dir() {
            let text = format!(
                "[scan:{}]: there is no directory {}; it is waited for",
                scan.name,
                directory.display()
            );
            missing.push(Finding::at(file, scan.line, text));
        }
    }
    missing
}

fn keep<T>(loaded: Result<T, Mistakes>, mistakes: &mut Vec<Finding>) -> Option<T> {
    loaded.map_err(|found| mistakes.extend(found.0)).ok()
}

fn json_line(level: Level, finding: &Finding) -> String {
    let line = json!({
        "level": level.word(),
        "file": finding.file.to_string_lossy(),
        "line": finding.line,
        "message": finding.text,
    });
    escape_json(&line.to_string()).into_owned()
}
