//! The commands.

pub mod check;
pub mod explain;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::locate::{Environment, Request, locate};
use crate::error::{Error, Result};
use explain::Output;

#[derive(Parser)]
#[command(name = "auto-dispatcher")]
struct Cli {
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(long, global = true, value_name = "FILE")]
    netrc: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Explain(explain::ExplainArgs),
    Check(check::CheckArgs),
}

/// Runs what the arguments ask for.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _closed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let ended = dispatch(cli).and_then(|output| {
        let mut out = io::stdout().lock();
        output
            .lines
            .iter()
            .try_for_each(|line| writeln!(out, "{line}"))
            .and_then(|()| out.flush())
            .map_err(|error| Error::state(format!("cannot write to stdout: {error}")))?;
        Ok(output.code)
    });
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _closed = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(error.kind.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<Output> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let environment = Environment {
        config: std::env::var_os("AUTO_DISPATCHER_CONFIG").map(PathBuf::from),
        home: home.clone(),
        cwd: std::env::current_dir().ok(),
    };
    let request = Request {
        config: cli.config,
        netrc: cli.netrc,
        repository: None,
        typed: true,
    };
    let places = locate(&request, &environment);
    match cli.command {
        Command::Explain(args) => explain::run(&args, &places, home, chrono::Local::now()),
        Command::Check(args) => check::run(&args, &places, home),
    }
}
