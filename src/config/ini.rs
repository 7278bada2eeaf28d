//! INI files in the dialect of Python 3.11's `ConfigParser`: [`layout`] lays the text out by Python's
//! rules, the configparser crate (named here only) parses what it is handed, [`interpolation`] fills
//! references when a key is used. Knows nothing of what the keys mean.

mod interpolation;
mod layout;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use configparser::ini::{Ini, IniDefault};
use zeroize::Zeroizing;

pub use interpolation::BadReference;
pub(crate) use layout::shown_key;

use crate::config::finding::{Finding, Mistakes};
use crate::config::private;

/// A key of a section.
pub struct Entry {
    /// In lower case, as Python's `str.lower` makes it.
    pub key: String,
    /// As written: references not filled.
    raw: Zeroizing<String>,
    /// Its line, from 1.
    pub line: usize,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (line {}): ***", self.key, self.line)
    }
}

/// A section: its header and its own keys.
#[derive(Debug, Default)]
pub struct Section {
    /// Between the brackets, blanks kept.
    pub name: String,
    /// Line of its header, from 1.
    pub line: usize,
    /// In file order.
    pub entries: Vec<Entry>,
}

impl Section {
    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// A key's value, references filled, and the line of the key.
pub struct Value {
    /// Wiped on drop.
    pub text: Zeroizing<String>,
    /// From 1; in `[DEFAULT]` where the section inherits the key.
    pub line: usize,
}

/// A parsed file.
#[derive(Debug)]
pub struct Document {
    /// Where it was read.
    pub file: PathBuf,
    /// `[DEFAULT]`.
    pub defaults: Section,
    /// All others, in file order.
    pub sections: Vec<Section>,
}

impl Document {
    /// Parses the bytes of `file`, or tells every mistake.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, Mistakes> {
        let text = private::decode(file, bytes)?;
        let mut layout = layout::scan(&text);
        if !layout.mistakes.is_empty() {
            let findings = layout
                .mistakes
                .into_iter()
                .map(|(line, text)| Finding::at(file, line, text));
            return Err(Mistakes(findings.collect()));
        }
        let mut document = Self {
            file: file.to_owned(),
            defaults: Section::default(),
            sections: Vec::with_capacity(layout.places.len()),
        };
        let disagrees = |why: &str| {
            Finding::about(
                file,
                format!("the INI parser disagrees with the layout: {why}"),
            )
        };
        let parsed = parser().read(std::mem::take(&mut layout.text));
        let parsed = parsed.map_err(|error| disagrees(&error))?;
        for ((name, keys), place) in parsed.into_iter().zip(&layout.places) {
            let name = unguard(&name);
            let name = name.strip_suffix(layout::GUARD).unwrap_or(name).to_owned();
            let mut entries = Vec::with_capacity(keys.len());
            for ((key, number), &line) in keys.into_iter().zip(&place.key_lines) {
                let raw = number.and_then(|number| layout.value(&number));
                entries.push(Entry {
                    key: unguard(&key).to_owned(),
                    raw: raw.ok_or_else(|| disagrees("a value is missing"))?,
                    line,
                });
            }
            let section = Section {
                name,
                line: place.line,
                entries,
            };
            if section.name == layout::DEFAULT {
                document.defaults = section;
            } else {
                document.sections.push(section);
            }
        }
        Ok(document)
    }

    /// The value of `key`, given in lower case: the section's own, else that of `[DEFAULT]`.
    pub fn get(&self, section: &Section, key: &str) -> Result<Option<Value>, BadReference> {
        let Some(entry) = self.entry(section, key) else {
            return Ok(None);
        };
        let lookup = |key: &str| self.entry(section, key).map(|entry| entry.raw.as_str());
        let text = interpolation::fill(&entry.raw, &lookup)?;
        Ok(Some(Value {
            text,
            line: entry.line,
        }))
    }

    /// The same with references left as they are.
    pub fn get_raw(&self, section: &Section, key: &str) -> Option<Value> {
        let entry = self.entry(section, key)?;
        Some(Value {
            text: entry.raw.clone(),
            line: entry.line,
        })
    }

    /// The line of `key`, given in lower case: the section's own, else that of `[DEFAULT]`.
    pub fn line_of(&self, section: &Section, key: &str) -> Option<usize> {
        self.entry(section, key).map(|entry| entry.line)
    }

    /// Every key that some value refers to: what looks like an unknown key may be a variable.
    pub fn referenced_keys(&self) -> BTreeSet<String> {
        std::iter::once(&self.defaults)
            .chain(&self.sections)
            .flat_map(|section| &section.entries)
            .flat_map(|entry| interpolation::references(&entry.raw))
            .collect()
    }

    /// The keys, in lower case, whose values go into the value of `key`; what they refer to in turn is
    /// followed through the keys for which `through` is true. Not `key` itself unless it is in a circle.
    pub fn sources(
        &self,
        section: &Section,
        key: &str,
        through: impl Fn(&str) -> bool,
    ) -> BTreeSet<String> {
        let of = |key: &str| {
            self.entry(section, key)
                .map_or_else(Vec::new, |entry| interpolation::references(&entry.raw))
        };
        let mut found = BTreeSet::new();
        let mut rest = of(key);
        while let Some(next) = rest.pop() {
            if through(&next) && !found.contains(&next) {
                rest.extend(of(&next));
            }
            found.insert(next);
        }
        found
    }

    fn entry<'a>(&'a self, section: &'a Section, key: &str) -> Option<&'a Entry> {
        section.entry(key).or_else(|| self.defaults.entry(key))
    }
}

/// The crate, told to leave alone what the layout has settled.
fn parser() -> Ini {
    let mut settings = IniDefault::default();
    "no section".clone_into(&mut settings.default_section);
    settings.comment_symbols = Vec::new();
    settings.delimiters = vec!['='];
    settings.case_sensitive = true;
    settings.enable_inline_comments = false;
    Ini::new_from_defaults(settings)
}

fn unguard(text: &str) -> &str {
    text.strip_prefix(layout::GUARD).unwrap_or(text)
}
