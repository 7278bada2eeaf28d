//! What is odd in a rules file though it is no mistake: keys that nobody knows, hosts named twice, and
//! sections that are not what they seem.

use crate::config::finding::Finding;
use crate::config::ini::{Document, Entry, Section, shown_key};
use crate::config::rules::KEYS;
use crate::config::value::{nearest, same_host, words};

/// The warnings about the keys of `document`, in file order.
pub(super) fn of_document(document: &Document) -> Vec<Finding> {
    let referenced = document.referenced_keys();
    let mut warnings: Vec<Finding> = std::iter::once(&document.defaults)
        .chain(&document.sections)
        .flat_map(|section| &section.entries)
        .filter(|entry| !KEYS.contains(&entry.key.as_str()) && !referenced.contains(&entry.key))
        .map(|entry| Finding::at(&document.file, entry.line, unknown(entry)))
        .collect();
    warnings.extend(
        std::iter::once(&document.defaults)
            .chain(&document.sections)
            .filter_map(|section| repeated_host(document, section)),
    );
    for section in &document.sections {
        if section.name.eq_ignore_ascii_case("default") {
            let text = format!(
                "[{}] is a rule like any other; what all rules inherit stands in [DEFAULT]",
                section.name
            );
            warnings.push(Finding::at(&document.file, section.line, text));
        }
    }
    if document.sections.is_empty() {
        warnings.push(Finding::about(
            &document.file,
            "holds no rule: no package will be dispatched",
        ));
    }
    warnings.sort_by_key(|finding| finding.line);
    warnings
}

/// A section whose own `host` names one host more than once.
fn repeated_host(document: &Document, section: &Section) -> Option<Finding> {
    let own = section.entries.iter().find(|entry| entry.key == "host")?;
    let value = document.get(section, "host").ok()??;
    let hosts: Vec<&str> = words(&value.text).collect();
    let repeats = |(at, host): (usize, &&str)| {
        hosts
            .iter()
            .take(at)
            .any(|earlier| same_host(earlier, host))
    };
    hosts.iter().enumerate().any(repeats).then(|| {
        let text = "`host` names a host more than once; each gets a package once";
        Finding::at(&document.file, own.line, text)
    })
}

fn unknown(entry: &Entry) -> String {
    match (shown_key(&entry.key), nearest(&entry.key, &KEYS)) {
        (Some(key), Some(known)) => format!("unknown key `{key}` is ignored; did you mean `{known}`?"),
        (Some(key), None) => format!("unknown key `{key}` is ignored"),
        (None, _) => "an unknown key is ignored; a line that continues a value is indented deeper than its key".to_owned(),
    }
}
