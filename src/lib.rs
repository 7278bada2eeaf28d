//! auto-dispatcher: a package committed to Subversion lies, verified, on the right production hosts
//! moments later, and its install command has run there.
//!
//! The layers, imports running downwards only:
//!
//! ```text
//! cli                                   one file a command; the only place that prints
//! worker                                claim a lane, run an attempt, settle
//! page                                  what the journal knows, as HTML and as figures
//! config  source  spool  journal  transport  notify  logging  http      know nothing of each other
//! program                               runs programs of the operator's
//! children                              the programs that we started, ended with us
//! domain  error                         pure decisions; the words they are made in
//! ```

pub mod children;
pub mod cli;
pub mod config;
pub mod domain;
pub mod error;
pub mod fail_points;
pub mod http;
pub mod journal;
pub mod logging;
pub mod notify;
pub mod page;
pub mod program;
pub mod source;
pub mod spool;
pub mod state_dir;
pub mod transport;
pub mod worker;
