//! Where packages come from: what changed, and its bytes. Knows nothing of rules, journal or targets.

pub mod contents;
pub mod directory;
pub mod incoming;
pub mod repository_files;
pub mod svnlook;
