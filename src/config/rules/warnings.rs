//! What is odd in a rules file though it is no mistake: keys that nobody knows.

use crate::config::finding::Finding;
use crate::config::ini::{Document, Entry, shown_key};
use crate::config::rules::KEYS;
use crate::config::value::nearest;

/// The warnings about the keys of `document`, in file order.
pub(super) fn of_document(document: &Document) -> Vec<Finding> {
    let referenced = document.referenced_keys();
    let mut warnings: Vec<Finding> = std::iter::once(&document.defaults)
        .chain(&document.sections)
        .flat_map(|section| &section.entries)
        .filter(|entry| !KEYS.contains(&entry.key.as_str()) && !referenced.contains(&entry.key))
        .map(|entry| Finding::at(&document.file, entry.line, unknown(entry)))
        .collect();
    warnings.sort_by_key(|finding| finding.line);
    warnings
}

fn unknown(entry: &Entry) -> String {
    match (shown_key(&entry.key), nearest(&entry.key, &KEYS)) {
        (Some(key), Some(known)) => format!("unknown key `{key}` is ignored; did you mean `{known}`?"),
        (Some(key), None) => format!("unknown key `{key}` is ignored"),
        (None, _) => "an unknown key is ignored; a line that continues a value is indented deeper than its key".to_owned(),
    }
}
