//! What a source reports: the paths that changed, and why a path is skipped before any rule is asked.

use std::fmt;

/// What was done to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// New, or a copy.
    Added,
    /// New content.
    Modified,
    /// Deleted and added in one revision.
    Replaced,
    /// Gone.
    Deleted,
    /// Only properties changed.
    Properties,
}

impl Action {
    /// The word of `changed --json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Replaced => "replaced",
            Self::Deleted => "deleted",
            Self::Properties => "properties",
        }
    }
}

/// Why a path is not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkipReason {
    /// It was deleted.
    Deleted,
    /// It is a directory.
    Directory,
    /// It is a copied directory that holds this many files, and `copied_directories` is `no`.
    CopiedDirectory {
        /// Files inside, all levels.
        files: u64,
    },
    /// Only its properties changed.
    PropertiesOnly,
    /// It is a symbolic link (`svn:special`).
    SymbolicLink,
    /// No rule's name matches.
    NoRule,
    /// The rule that matches cannot serve, or matching itself failed.
    RuleUnusable {
        /// What is wrong with it, and where.
        message: String,
    },
    /// `replay --package` or `--host` left it out.
    Filtered,
}

impl SkipReason {
    /// Whether the operator has to do something about it.
    pub fn is_trouble(&self) -> bool {
        matches!(self, Self::NoRule | Self::RuleUnusable { .. })
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleted => f.write_str("deleted"),
            Self::Directory => f.write_str("directory"),
            Self::CopiedDirectory { files } => {
                write!(
                    f,
                    "directory (copied, {files} files inside; see copied_directories)"
                )
            }
            Self::PropertiesOnly => f.write_str("properties only"),
            Self::SymbolicLink => f.write_str("symbolic link"),
            Self::NoRule => f.write_str("no rule"),
            Self::RuleUnusable { message } => write!(f, "rule cannot serve: {message}"),
            Self::Filtered => f.write_str("left out by the operator's filter"),
        }
    }
}

/// One path of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path in its source, without a leading slash for a repository; directories without their
    /// trailing slash.
    pub path: String,
    /// What was done to it.
    pub action: Action,
    /// Why the source itself leaves it out; none: the rules are asked.
    pub skipped: Option<SkipReason>,
}

impl Change {
    /// The base name: what rules are matched against and what the file is called on the host.
    pub fn package(&self) -> &str {
        base_name(&self.path)
    }
}

/// What comes behind the last slash.
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
