//! Commands that are called often, or while somebody waits, parsed without building the parsers of all the others. What
//! is not understood at once is left to the whole parser: its messages and its help count.

use std::ffi::OsString;

use clap::{Args, FromArgMatches as _};

use super::{Cli, Command, Globals, first_word};

/// What was typed, if it is one of these commands and all is well with it; else the words again.
pub(super) fn parse(words: Vec<OsString>) -> Result<Cli, Vec<OsString>> {
    let command = first_word(&words).and_then(|at| words.get(at)?.to_str());
    let parsed = match command {
        Some("hook") => alone("hook", &words, Command::Hook),
        Some("worker") => alone("worker", &words, Command::Worker),
        Some("explain") => alone("explain", &words, Command::Explain),
        Some("history") => alone("history", &words, Command::History),
        Some("status") => alone("status", &words, Command::Status),
        _ => None,
    };
    parsed.ok_or(words)
}

fn alone<A: Args>(
    name: &'static str,
    words: &[OsString],
    command: impl Fn(A) -> Command,
) -> Option<Cli> {
    let own = A::augment_args(clap::Command::new(name));
    let whole = Globals::augment_args(clap::Command::new("auto-dispatcher")).subcommand(own);
    let mut matches = whole.try_get_matches_from(words).ok()?;
    let globals = Globals::from_arg_matches_mut(&mut matches).ok()?;
    let (_, mut own) = matches.remove_subcommand()?;
    let command = command(A::from_arg_matches_mut(&mut own).ok()?);
    Some(Cli { globals, command })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn what_is_parsed_alone_is_what_the_whole_parser_makes_of_it() {
        for line in [
            "ad hook /svn/r 7 7-a",
            "ad --config c.cfg hook --wait /svn/r 7",
            "ad worker --detached --config c.cfg --netrc n",
            "ad --netrc=n explain --json a.tar b.tar",
            "ad history --limit 20 --host h",
            "ad status",
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let quick = parse(words.clone()).map_err(|_| line).unwrap();
            let whole = Cli::try_parse_from(words).unwrap();
            assert_eq!(format!("{quick:?}"), format!("{whole:?}"));
        }
    }

    #[test]
    fn everything_else_is_left_to_the_whole_parser() {
        for line in [
            "ad",
            "ad --version",
            "ad status --help",
            "ad hook /svn/r x",
            "ad explain",
            "ad a.tar",
            "ad --version hook /svn/r 7",
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(parse(words.clone()).err(), Some(words), "{line}");
        }
    }
}
