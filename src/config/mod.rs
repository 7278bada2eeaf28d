//! Text to typed values: the rules file, logger.cfg, auto-dispatcher.cfg and netrc, in the dialect of
//! Python. Reports every mistake at once, each with file and line, and quotes nothing secret.
//! Reads files that it is told of; reads no environment.

pub mod credentials;
pub mod finding;
pub mod ini;
pub mod listening;
pub mod locate;
pub mod logger;
pub mod netrc;
pub mod notifiers;
pub mod private;
#[cfg(feature = "probes")]
#[doc(hidden)]
pub mod probes;
pub mod review;
pub mod rules;
pub mod scans;
pub mod settings;
mod value;
