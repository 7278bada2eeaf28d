//! The decisions, and the words they are made in. PURE: no files, sockets, processes, threads,
//! environment or clock; whatever a decision needs is handed to it.

pub mod ahead;
pub mod artifact;
pub mod change;
pub mod delivery;
pub mod drop_directory;
pub mod event;
pub mod fault;
pub mod group;
pub mod incoming;
pub mod install;
pub mod log_format;
pub mod log_settings;
pub mod mask;
pub mod notice;
pub mod pattern;
mod percent;
pub mod plan;
pub mod retry;
pub mod revision;
pub mod rule;
pub mod rule_index;
pub mod secret;
pub mod target;
pub mod text;
