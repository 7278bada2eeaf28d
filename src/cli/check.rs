//! `check`: the whole configuration, every mistake and every oddity at once. Reaches no host.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::cli::explain::Output;
use crate::config::credentials::CredentialStore;
use crate::config::finding::{Finding, Mistakes};
use crate::config::locate::Places;
use crate::config::netrc::Netrc;
use crate::config::private::open_way;
use crate::config::review::review;
use crate::config::{logger, notifiers, rules, settings};
use crate::domain::text::escape_json;
use crate::error::{ErrorKind, Result};

/// Check the configuration: mistakes, rules that nothing reaches, secrets in the open.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// Looks at every file; exit code 3 where there is a mistake. Without a rules file there is an error.
pub(super) fn run(args: &CheckArgs, places: &Places, home: Option<PathBuf>) -> Result<Output> {
    let rules_file = places.rules()?;
    let (mistakes, warnings) = findings(places, rules_file, home);
    let mut output = Output::default();
    for (level, finding) in mistakes
        .iter()
        .map(|finding| ("error", finding))
        .chain(warnings.iter().map(|finding| ("warning", finding)))
    {
        output.lines.push(if args.json {
            json_line(level, finding)
        } else {
            format!("{level}: {finding}")
        });
    }
    if !args.json {
        let summary = format!(
            "{} mistake(s), {} warning(s)",
            mistakes.len(),
            warnings.len()
        );
        output.lines.push(summary);
    }
    if !mistakes.is_empty() {
        output.code = ErrorKind::Config.exit_code();
    }
    Ok(output)
}

fn findings(
    places: &Places,
    rules_file: &Path,
    home: Option<PathBuf>,
) -> (Vec<Finding>, Vec<Finding>) {
    let mut mistakes = Vec::new();
    let mut warnings = Vec::new();
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
        for scan in &settings.scans {
            let directory = &scan.terms.directory;
            if !directory.is_dir() {
                let text = format!(
                    "[scan:{}]: there is no directory {}; it is waited for",
                    scan.name,
                    directory.display()
                );
                warnings.push(Finding::at(&places.settings, scan.line, text));
            }
        }
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
    }
    (mistakes, warnings)
}

fn keep<T>(loaded: Result<T, Mistakes>, mistakes: &mut Vec<Finding>) -> Option<T> {
    loaded.map_err(|found| mistakes.extend(found.0)).ok()
}

fn json_line(level: &str, finding: &Finding) -> String {
    let line = json!({
        "level": level,
        "file": finding.file.to_string_lossy(),
        "line": finding.line,
        "message": finding.text,
    });
    escape_json(&line.to_string()).into_owned()
}
