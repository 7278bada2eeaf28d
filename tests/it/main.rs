//! The integration tests: real Subversion, real SSH and FTP servers, the real binary.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod config_cases;
mod config_commands;
mod conformance;
mod crash;
mod dependencies;
mod differential_ini;
mod differential_re;
mod doctor;
mod explain_check;
mod ftp;
mod fuzz;
mod hostile;
mod incoming;
mod install_hook;
mod logging;
mod notify;
mod packaging;
mod page;
mod pipeline;
mod re_generator;
mod readme;
mod rule_reach;
mod scan;
mod secrets;
mod servers;
mod ssh;
mod svn_begun;
mod svn_changed;
mod svn_copies;
mod svn_dump;
mod svn_faults;
mod svn_source;
mod testenv;
mod tidy;
mod transport_conformance;
mod trust;
