//! The integration tests: real Subversion, real SSH and FTP servers, the real binary.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod logging;
mod servers;
mod svn_changed;
mod svn_copies;
mod svn_faults;
mod svn_source;
mod testenv;
