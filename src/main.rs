//! The binary: hands the arguments to the library and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    auto_dispatcher::cli::run(std::env::args_os())
}
