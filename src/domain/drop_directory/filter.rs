//! Which files of a drop directory are packages, by their names alone.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::domain::change::base_name;

/// What uploading programs call a file that is not whole yet, or what is none of anybody's business.
const UNFINISHED: [&str; 4] = [".part", ".tmp", ".filepart", "~"];
/// What no setting makes a package: NFS's names for deleted files that are still open, and our own.
const NEVER: [&str; 2] = [".nfs", OURS];
/// How the names of files begin that are on their way out.
const OURS: &str = ".ad-";
/// No path is longer, and the time that a glob takes grows with the square of its length.
const GLOB_MAX_BYTES: usize = 4096;

/// A glob that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// The word.
    pub glob: String,
    /// What is wrong with it.
    pub why: String,
}

/// The filters of a drop directory. Globs without a slash are for base names, others for the whole path below the
/// drop directory; `*` stands for no slash, `**` does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DropFilter {
    include: Option<Globs>,
    exclude: Option<Globs>,
    /// Whether names that begin with a dot are taken.
    pub hidden: bool,
    /// What is behind the name of a file's marker, where only marked files are ready.
    pub marker: Option<String>,
}

#[derive(Debug, Clone)]
struct Globs {
    words: Vec<String>,
    names: GlobSet,
    paths: GlobSet,
}

impl PartialEq for Globs {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words
    }
}

impl Eq for Globs {}

impl Globs {
    fn new(words: &[String]) -> Result<Self, FilterError> {
        let mut names = GlobSetBuilder::new();
        let mut paths = GlobSetBuilder::new();
        let failed = |glob: &str, error: &globset::Error| FilterError {
            glob: glob.to_owned(),
            why: error.kind().to_string(),
        };
        for word in words {
            if word.len() > GLOB_MAX_BYTES {
                return Err(FilterError {
                    glob: word.chars().take(40).chain("...".chars()).collect(),
                    why: "it is longer than any path".to_owned(),
                });
            }
            let glob = GlobBuilder::new(word.trim_start_matches('/'))
                .literal_separator(true)
                .build()
                .map_err(|error| failed(word, &error))?;
            if word.contains('/') {
                paths.add(glob);
            } else {
                names.add(glob);
            }
        }
        let build = |builder: &GlobSetBuilder| builder.build().map_err(|error| failed("", &error));
        Ok(Self {
            words: words.to_vec(),
            names: build(&names)?,
            paths: build(&paths)?,
        })
    }

    fn matches(&self, path: &str) -> bool {
        self.names.is_match(base_name(path)) || self.paths.is_match(path)
    }
}

impl DropFilter {
    /// The globs of `include`, if there are any, and of `exclude`.
    pub fn words(&self) -> (Option<&[String]>, &[String]) {
        let exclude = self.exclude.as_ref().map(|globs| globs.words.as_slice());
        (
            self.include.as_ref().map(|globs| globs.words.as_slice()),
            exclude.unwrap_or_default(),
        )
    }

    /// Only what one of these globs names is taken, also where it would be left out by default.
    pub fn include(&mut self, globs: &[String]) -> Result<(), FilterError> {
        self.include = Some(Globs::new(globs)?);
        Ok(())
    }

    /// What one of these globs names is left out, whatever is included.
    pub fn exclude(&mut self, globs: &[String]) -> Result<(), FilterError> {
        self.exclude = Some(Globs::new(globs)?);
        Ok(())
    }

    /// Whether the file at `path` below the drop directory may be a package.
    pub fn takes(&self, path: &str) -> bool {
        let name = base_name(path);
        if NEVER.iter().any(|never| name.starts_with(never)) || self.marked_by(name).is_some() {
            return false;
        }
        if self.exclude.as_ref().is_some_and(|out| out.matches(path)) {
            return false;
        }
        match &self.include {
            Some(include) => include.matches(path),
            None => {
                (self.hidden || !name.starts_with('.'))
                    && !UNFINISHED.iter().any(|end| name.ends_with(end))
            }
        }
    }

    /// Whether the directory at `path` is looked into.
    pub fn enters(&self, path: &str) -> bool {
        let name = base_name(path);
        let is_out = NEVER.iter().any(|never| name.starts_with(never))
            || (!self.hidden && name.starts_with('.'))
            || self.exclude.as_ref().is_some_and(|out| out.matches(path));
        !is_out
    }

    /// The path or name of the file that the marker at `path` stands for, if it is a marker's.
    pub fn marked_by<'a>(&self, path: &'a str) -> Option<&'a str> {
        let file = path.strip_suffix(self.marker.as_deref()?)?;
        (!file.is_empty() && !file.ends_with('/')).then_some(file)
    }

    /// The path of a file's marker, where there are markers.
    pub fn marker_of(&self, path: &str) -> Option<String> {
        self.marker.as_ref().map(|marker| format!("{path}{marker}"))
    }
}
