//! The integration tests: real Subversion, real SSH and FTP servers, the real binary.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod conformance;
mod servers;
mod ssh;
mod testenv;
mod transport_conformance;
