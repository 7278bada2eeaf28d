//! The commands: one file each, with its arguments. The composition root, and the only place that prints
//! or reads the environment.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::domain::text::escape;
use crate::error::{Error, ErrorKind, Result};

mod cancel;
mod changed;
mod check;
mod completions;
mod csv;
mod decide;
mod dismiss;
mod doctor;
mod dry_run;
mod explain;
mod foreground;
mod hardening;
mod history;
mod hook;
mod hook_file;
mod install_hook;
mod lines;
mod listen;
mod machine;
mod man;
mod moment;
mod notify;
mod page;
mod power;
mod progress;
mod quick;
mod replay;
mod report;
mod retry;
mod scan;
mod screen;
mod send;
mod setup;
mod show;
mod signals;
mod status;
mod table;
mod trust;
mod typed;
mod unsent;
mod worker;

const EXIT_CODES: &str = "\
Exit codes:
  0    all well
  1    a delivery failed, is unknown, or had no rule
  2    the command line is wrong
  3    configuration, also its permissions
  4    source: repository, revision, svnlook, directory, a file to send
  5    journal, spool, state directory or disk
  130  interrupted

`auto-dispatcher FILE...` without a command is `send FILE...`.";

/// Brings packages that were committed to Subversion to the hosts that they belong on, and installs them.
#[derive(Debug, Parser)]
#[command(name = "auto-dispatcher", version = env!("AD_VERSION"), after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, clap::Args)]
struct Globals {
    /// The rules file; auto-dispatcher.cfg and logger.cfg are looked for beside it
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The netrc file [default: ~/.netrc]
    #[arg(long, global = true, value_name = "FILE")]
    netrc: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Hook(hook::Args),
    Replay(replay::Args),
    Scan(scan::Args),
    Send(send::Args),
    Worker(worker::Args),
    Changed(changed::Args),
    Explain(explain::ExplainArgs),
    Check(check::CheckArgs),
    History(history::Args),
    Status(status::Args),
    Show(show::Args),
    Report(page::Args),
    Retry(retry::Args),
    Cancel(cancel::Args),
    Dismiss(dismiss::Args),
    Trust(trust::Args),
    Completions(completions::Args),
    Man(man::Args),
    Doctor(doctor::Args),
    InstallHook(install_hook::Args),
    Notify(notify::Args),
}

/// Runs what the arguments ask for and returns the exit code of the process.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    hardening::close_up();
    let cli = match quick::parse(args.collect()).map_or_else(parse, Ok) {
        Ok(cli) => cli,
        Err(error) => {
            // clap knows whether this is help (stdout, 0) or a mistake (stderr, 2).
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // Not locked for the whole run: the log may go to stdout, too, from other threads.
    let mut out = io::stdout();
    let result = power::check().and_then(|()| dispatch(&cli, &mut out));
    progress::over();
    let result = result.and_then(|code| {
        out.flush().map_err(|error| output_error(&error))?;
        Ok(code)
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if error.kind != ErrorKind::ReaderGone {
                complain(&cli, &error);
            }
            ExitCode::from(error.kind.exit_code())
        }
    }
}

fn dispatch(cli: &Cli, out: &mut dyn Write) -> Result<u8> {
    let globals = &cli.globals;
    match &cli.command {
        Command::Hook(args) => hook::run(args, globals, out),
        Command::Replay(args) => replay::run(args, globals, out),
        Command::Scan(args) => scan::run(args, globals, out),
        Command::Send(args) => send::run(args, globals, out),
        Command::Worker(args) => worker::run(args, globals),
        Command::Changed(args) => {
            let setup = setup::Setup::new(globals, Some(&args.repository), true)?;
            let svnlook = setup.svnlook_program()?;
            let context = changed::Context {
                svnlook: &svnlook,
                copied_directories: setup.settings.copied_directories,
            };
            changed::run(args, &context, out).map(|()| 0)
        }
        Command::Explain(args) => {
            let (places, home) = setup::places(globals);
            let screen = screen::Screen::stdout();
            explain::run(args, &places, home, chrono::Local::now(), &screen)?.print(out)
        }
        Command::Check(args) => {
            let (places, home) = setup::places(globals);
            check::run(args, &places, home, &screen::Screen::stdout())?.print(out)
        }
        Command::History(args) => history::run(args, globals, out),
        Command::Status(args) => status::run(args, globals, out),
        Command::Show(args) => show::run(args, globals, out),
        Command::Report(args) => page::run(args, globals, out),
        Command::Retry(args) => retry::run(args, globals, out),
        Command::Cancel(args) => cancel::run(args, globals, out),
        Command::Dismiss(args) => dismiss::run(args, globals, out),
        Command::Trust(args) => trust::run(args, globals, out),
        Command::Completions(args) => completions::run(args, Cli::command(), out),
        Command::Man(args) => man::run(args, Cli::command(), out),
        Command::Doctor(args) => doctor::run(args, globals, out),
        Command::InstallHook(args) => install_hook::run(args, globals, out),
        Command::Notify(args) => notify::run(args, globals, out),
    }
}

/// Parses what was typed by the whole parser, with every message and help that it has.
fn parse(args: Vec<OsString>) -> std::result::Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let args = with_send(args, &command);
    let mut matches = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// `auto-dispatcher FILE...` is `send FILE...`, as the old script was called: where the first word that
/// is no option is no command either, `send` is put before it.
fn with_send(mut args: Vec<OsString>, command: &clap::Command) -> Vec<OsString> {
    let is_command = |word: &OsStr| {
        word == "help"
            || command
                .get_subcommands()
                .any(|known| OsStr::new(known.get_name()) == word)
    };
    if let Some(index) = first_word(&args)
        && !args.get(index).is_some_and(|word| is_command(word))
    {
        args.insert(index, OsString::from("send"));
    }
    args
}

/// Where the first word stands that is no option.
fn first_word(args: &[OsString]) -> Option<usize> {
    let mut index = 1;
    loop {
        let word = args.get(index)?;
        if word == "--config" || word == "--netrc" {
            index += 2;
        } else if word == "--" || !word.as_encoded_bytes().starts_with(b"-") {
            return Some(index);
        } else {
            index += 1;
        }
    }
}

/// Writes the error that ends the command. The hook's goes through Subversion to the committer: one
/// short ASCII line that names the revision and the command that repeats it.
fn complain(cli: &Cli, error: &Error) {
    let mut err = io::stderr().lock();
    let _ = if let Command::Hook(args) = &cli.command {
        writeln!(err, "{}", hook::complaint(args, &cli.globals, error))
    } else {
        let shown: Vec<String> = error
            .to_string()
            .lines()
            .map(|line| escape(line).into_owned())
            .collect();
        writeln!(err, "auto-dispatcher: {}", shown.join("\n"))
    };
}

/// What is wrong when our own output cannot be written; a closed pipe is nobody's fault.
fn output_error(error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::BrokenPipe => ErrorKind::ReaderGone,
        _ => ErrorKind::State,
    };
    Error::new(kind, format!("cannot write the output: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(args: &[&str]) -> Vec<String> {
        with_send(args.iter().map(OsString::from).collect(), &Cli::command())
            .into_iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn files_without_a_command_are_sent() {
        assert_eq!(
            words(&["ad", "a.tar", "b.tar"]),
            ["ad", "send", "a.tar", "b.tar"]
        );
        assert_eq!(
            words(&["ad", "--config", "x", "a.tar"]),
            ["ad", "--config", "x", "send", "a.tar"]
        );
        assert_eq!(
            words(&["ad", "--", "-x.tar"]),
            ["ad", "send", "--", "-x.tar"]
        );
    }

    #[test]
    fn commands_and_options_stay_as_they_are() {
        assert_eq!(
            words(&["ad", "--netrc", "x", "status"]),
            ["ad", "--netrc", "x", "status"]
        );
        assert_eq!(words(&["ad", "--version"]), ["ad", "--version"]);
        assert_eq!(words(&["ad"]), ["ad"]);
    }
}
