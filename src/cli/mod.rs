//! The commands.

pub mod changed;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs what the arguments ask for.
pub fn run(_args: impl Iterator<Item = OsString>) -> ExitCode {
    ExitCode::SUCCESS
}
