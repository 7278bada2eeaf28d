//! The sections `[scan:NAME]` of auto-dispatcher.cfg: drop directories and the terms on which they are scanned.
//! Looks at no directory.

use std::path::Path;

use crate::config::finding::Finding;
use crate::config::ini::{Document, Section};
use crate::config::settings::Reader;
use crate::config::value;
use crate::domain::drop_directory::{After, DropFilter, DropTerms};

/// Every key of `[scan:NAME]`.
pub const KEYS: [&str; 12] = [
    "directory",
    "interval",
    "settle",
    "existing",
    "marker",
    "include",
    "exclude",
    "hidden",
    "sub_directories",
    "follow_symlinks",
    "cross_file_systems",
    "after",
];

/// A drop directory of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// NAME of `[scan:NAME]`.
    pub name: String,
    /// Line of its header.
    pub line: usize,
    /// Its terms; the directory is not resolved yet.
    pub terms: DropTerms,
}

/// NAME of `[scan:NAME]`; none for other sections.
pub(super) fn name_of(section: &Section) -> Option<&str> {
    section.name.strip_prefix("scan:").map(str::trim)
}

/// Reads the sections; what is wrong with them goes to `mistakes`.
pub(super) fn read(
    document: &Document,
    home: Option<&Path>,
    mistakes: &mut Vec<Finding>,
) -> Vec<Scan> {
    let mut scans: Vec<Scan> = Vec::new();
    for section in &document.sections {
        let Some(name) = name_of(section) else {
            continue;
        };
        let mut reader = Reader::of(document, section);
        let terms = terms(&mut reader, &document.file, home);
        let is_whole = reader.mistakes.is_empty();
        mistakes.append(&mut reader.mistakes);
        let Some(terms) = terms else {
            if is_whole {
                let text = format!("[scan:{name}] names no `directory`");
                mistakes.push(Finding::at(&document.file, section.line, text));
            }
            continue;
        };
        if let Some(other) = scans.iter().find(|other| overlap(&other.terms, &terms)) {
            let text = format!(
                "[scan:{name}] and [scan:{}] (line {}) would both take what is dropped in {}",
                other.name,
                other.line,
                terms.directory.display()
            );
            mistakes.push(Finding::at(&document.file, section.line, text));
            continue;
        }
        scans.push(Scan {
            name: name.to_owned(),
            line: section.line,
            terms,
        });
    }
    let all: Vec<DropTerms> = scans.iter().map(|scan| scan.terms.clone()).collect();
    for scan in &scans {
        if let Err(why) = destination_is_outside(&scan.terms, &all) {
            let text = format!("`after` of [scan:{}] {why}", scan.name);
            mistakes.push(Finding::at(&document.file, scan.line, text));
        }
    }
    scans
}

/// What is delivered must not come into a drop directory again; and who may write there must not choose by a symbolic
/// link where it goes.
pub fn destination_is_outside(terms: &DropTerms, all: &[DropTerms]) -> Result<(), String> {
    let After::Move(destination) = &terms.after else {
        return Ok(());
    };
    let is_in_the_way = |other: &&DropTerms| {
        destination.starts_with(&other.directory) || other.directory.starts_with(destination)
    };
    match all.iter().find(is_in_the_way) {
        Some(other) => Err(format!(
            "moves files to {}, which lies in the way of the drop directory {}; name a place beside it",
            destination.display(),
            other.directory.display()
        )),
        None => Ok(()),
    }
}

/// Whether files of one directory lie in the other one, too.
pub fn overlap(one: &DropTerms, other: &DropTerms) -> bool {
    let is_in = |inner: &DropTerms, outer: &DropTerms| {
        inner.directory == outer.directory
            || (outer.sub_directories && inner.directory.starts_with(&outer.directory))
    };
    is_in(one, other) || is_in(other, one)
}

fn terms(reader: &mut Reader<'_>, file: &Path, home: Option<&Path>) -> Option<DropTerms> {
    let directory = reader.get("directory", |text| value::path(text, file, home));
    // Without it the other keys are read all the same: every mistake is told at once.
    let mut terms = DropTerms::new(directory.clone().unwrap_or_default());
    reader.set(&mut terms.interval_s, "interval", interval_s);
    reader.set(&mut terms.settle_s, "settle", settle_s);
    reader.set(&mut terms.existing, "existing", value::yes_no);
    reader.set(&mut terms.sub_directories, "sub_directories", value::yes_no);
    reader.set(&mut terms.follow_symlinks, "follow_symlinks", value::yes_no);
    reader.set(
        &mut terms.cross_file_systems,
        "cross_file_systems",
        value::yes_no,
    );
    reader.set(&mut terms.filter.hidden, "hidden", value::yes_no);
    terms.filter.marker = reader.get("marker", marker);
    reader.get("include", |text| include(&mut terms.filter, &globs(text)));
    reader.get("exclude", |text| exclude(&mut terms.filter, &globs(text)));
    reader.set(&mut terms.after, "after", |text| after(text, file, home));
    directory.map(|_| terms)
}

/// The pause between two walks, in seconds.
pub fn interval_s(text: &str) -> Result<u64, String> {
    match value::duration_s(text)? {
        0 => Err("may not be 0".to_owned()),
        seconds if seconds > 86_400 => Err("may not be more than a day".to_owned()),
        seconds => Ok(seconds),
    }
}

/// How long a file has to be unchanged, in seconds.
pub fn settle_s(text: &str) -> Result<u64, String> {
    match value::duration_s(text)? {
        seconds if seconds > 86_400 => Err("may not be more than a day".to_owned()),
        seconds => Ok(seconds),
    }
}

/// What is behind the name of a file's marker.
pub fn marker(text: &str) -> Result<String, String> {
    if text.contains('/') || text.chars().any(char::is_control) {
        return Err("is no end of a name; .done is meant, for the marker app.tar.done".to_owned());
    }
    Ok(text.to_owned())
}

/// Globs stand apart by blanks; a comma behind one is none of it.
fn globs(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|word| word.trim_end_matches(',').to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Sets what is taken.
pub fn include(filter: &mut DropFilter, globs: &[String]) -> Result<(), String> {
    filter
        .include(globs)
        .map_err(|error| format!("holds no glob: {}: {}", error.glob, error.why))
}

/// Sets what is left out.
pub fn exclude(filter: &mut DropFilter, globs: &[String]) -> Result<(), String> {
    filter
        .exclude(globs)
        .map_err(|error| format!("holds no glob: {}: {}", error.glob, error.why))
}

/// `keep`, `delete` or `move DIR`. A relative DIR lies beside `file`.
pub fn after(text: &str, file: &Path, home: Option<&Path>) -> Result<After, String> {
    let (word, rest) = text
        .split_once(char::is_whitespace)
        .map_or((text, ""), |(word, rest)| (word, rest.trim()));
    match (word, rest) {
        ("keep", "") => Ok(After::Keep),
        ("delete", "") => Ok(After::Delete),
        ("move", place) if !place.is_empty() => value::path(place, file, home).map(After::Move),
        _ => Err("is none of `keep`, `delete` and `move DIRECTORY`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn read_text(text: &str) -> Result<Vec<Scan>, Vec<Finding>> {
        let file = Path::new("/etc/ad/auto-dispatcher.cfg");
        let document = Document::parse(file, text.as_bytes()).map_err(|mistakes| mistakes.0)?;
        let mut mistakes = Vec::new();
        let scans = read(&document, Some(Path::new("/home/ad")), &mut mistakes);
        if mistakes.is_empty() {
            Ok(scans)
        } else {
            Err(mistakes)
        }
    }

    #[test]
    fn every_key_is_read() {
        let scans = read_text(
            "[scan:ftp]\ndirectory = /srv/in\ninterval = 2m\nsettle = 1\nexisting = yes\nmarker = .done\n\
             include = *.tar, *.zip\n  app-*\nexclude = old-*\nhidden = yes\nsub_directories = no\n\
             follow_symlinks = yes\ncross_file_systems = yes\nafter = move ../done\n[scan: two]\ndirectory = ~/in\n",
        )
        .unwrap();
        let terms = &scans[0].terms;
        assert_eq!(scans[0].name, "ftp");
        assert_eq!((terms.interval_s, terms.settle_s), (120, 1));
        assert!(terms.existing && terms.follow_symlinks && terms.cross_file_systems);
        assert!(terms.filter.hidden && !terms.sub_directories);
        for name in ["a.tar", "b.zip", "app-1"] {
            assert!(terms.filter.takes(name), "{name}");
        }
        assert!(!terms.filter.takes("old-a.tar") && !terms.filter.takes("a.tar.done"));
        assert_eq!(terms.after, After::Move("/etc/ad/../done".into()));
        assert_eq!(scans[1].name, "two");
        assert_eq!(scans[1].terms, DropTerms::new(PathBuf::from("/home/ad/in")));
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_their_lines() {
        let mistakes = read_text(
            "[scan:a]\ninterval = 0\nsettle = soon\ninclude = a[\nafter = burn\nmarker = /x\n[scan:b]\nsettle = 1\n\
             [scan:c]\ndirectory = /in\n[scan:d]\ndirectory = /in/deep\n",
        )
        .unwrap_err();
        let lines: Vec<_> = mistakes.iter().filter_map(|found| found.line).collect();
        assert_eq!(lines, [2, 3, 6, 4, 5, 7, 11]);
    }

    #[test]
    fn directories_beside_each_other_do_not_overlap() {
        assert!(read_text("[scan:a]\ndirectory = /in\n[scan:b]\ndirectory = /inn\n").is_ok());
        for after in ["/in", "/in/done", "/"] {
            let text = format!("[scan:a]\ndirectory = /in\nafter = move {after}\n");
            assert_eq!(read_text(&text).unwrap_err()[0].line, Some(1), "{after}");
        }
        let flat = "[scan:a]\ndirectory = /in\nsub_directories = no\n[scan:b]\ndirectory = /in/b\n";
        assert!(read_text(flat).is_ok());
    }
}
