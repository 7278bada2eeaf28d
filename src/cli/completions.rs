//! `completions SHELL`: what a shell needs to complete our command lines. Reads no configuration.

use std::io::Write;

use clap_complete::Shell;

use super::output_error;
use crate::error::Result;

/// Print completions for a shell
///
/// For bash put them into /usr/share/bash-completion/completions/auto-dispatcher, for zsh as _auto-dispatcher into a
/// directory of $fpath, for fish into ~/.config/fish/completions/auto-dispatcher.fish. The Debian package brings them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = shell())]
    shell: Shell,
}

/// The shells that are tested.
fn shell() -> impl clap::builder::TypedValueParser<Value = Shell> {
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};
    PossibleValuesParser::new(["bash", "zsh", "fish"]).map(|name| match name.as_str() {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::Bash,
    })
}

/// `command` is our whole command line.
pub(super) fn run(args: &Args, mut command: clap::Command, out: &mut dyn Write) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "auto-dispatcher", &mut script);
    out.write_all(&script)
        .map_err(|error| output_error(&error))?;
    Ok(0)
}
