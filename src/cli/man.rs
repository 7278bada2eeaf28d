//! `man [DIR]`: manual pages, made from the command line and the examples in `conf/`. Reads no configuration.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::{EXIT_CODES, output_error};
use crate::error::{Error, Result};

/// The date and the program of a page stand in the version: `0.1.0 (abc1234 2026-11-24)`.
const VERSION: &str = env!("AD_VERSION");

/// Print the manual page, or write all manual pages
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write auto-dispatcher.1, a page for each command, and those of the configuration files into this directory
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// A configuration file with a page of its own.
struct FilePage {
    name: &'static str,
    about: &'static str,
    example: &'static str,
}

const FILE_PAGES: [FilePage; 2] = [
    FilePage {
        name: "auto-dispatcher.cfg",
        about: "settings of auto-dispatcher",
        example: include_str!("../../conf/auto-dispatcher.cfg"),
    },
    FilePage {
        name: "general-dispatch-info.cfg",
        about: "rules of auto-dispatcher: which package goes to which host",
        example: include_str!("../../conf/general-dispatch-info.cfg"),
    },
];

const FILES: [(&str, &str); 5] = [
    (
        "general-dispatch-info.cfg",
        "The rules. Looked for as --config and AUTO_DISPATCHER_CONFIG say, else in conf/ of the repository, in the working \
         directory (for commands that a person types), and in /etc/auto-dispatcher.",
    ),
    ("auto-dispatcher.cfg", "The settings, beside the rules."),
    ("logger.cfg", "What is logged and where, beside the rules."),
    ("~/.netrc", "Logins and passwords that the rules leave out."),
    (
        "/var/lib/auto-dispatcher",
        "The state directory: journal, spool, log, accepted host keys.",
    ),
];

/// `command` is our whole command line.
pub(super) fn run(args: &Args, command: clap::Command, out: &mut dyn Write) -> Result<u8> {
    // Pages belong to words of ours, not to clap's `help`.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let Some(directory) = &args.directory else {
        let page = main_page(&command).map_err(|error| output_error(&error))?;
        out.write_all(&page).map_err(|error| output_error(&error))?;
        return Ok(0);
    };
    write_all(directory, &command).map_err(|(path, error)| {
        Error::state(format!(
            "cannot write the manual page {}: {error}",
            path.display()
        ))
        .with_hint("name a directory that you may write to")
    })?;
    Ok(0)
}

fn write_all(directory: &Path, command: &clap::Command) -> Result<(), (PathBuf, io::Error)> {
    let write = |name: &str, page: io::Result<Vec<u8>>| {
        let path = directory.join(name);
        page.and_then(|page| fs::write(&path, page))
            // Everything else that we make is ours alone; a page is for everybody.
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)))
            .map_err(|error| (path, error))
    };
    fs::create_dir_all(directory).map_err(|error| (directory.to_owned(), error))?;
    write("auto-dispatcher.1", main_page(command))?;
    for subcommand in command.get_subcommands() {
        let name = format!("auto-dispatcher-{}.1", subcommand.get_name());
        write(&name, command_page(subcommand))?;
    }
    for page in &FILE_PAGES {
        write(&format!("{}.5", page.name), file_page(page))?;
    }
    Ok(())
}

/// Version, and the date of the commit where it is known.
fn version_and_date() -> (&'static str, &'static str) {
    let (version, built_from) = VERSION.split_once(' ').unwrap_or((VERSION, ""));
    let word = built_from.trim_end_matches(')').rsplit(' ').next();
    let is_date = |word: &&str| chrono::NaiveDate::parse_from_str(word, "%Y-%m-%d").is_ok();
    (version, word.filter(is_date).unwrap_or_default())
}

/// The head of a page. The crate drops a date that is empty, and what follows would take its place.
fn title(name: &str, section: u8, page: &mut Vec<u8>) -> io::Result<()> {
    let (version, date) = version_and_date();
    writeln!(
        page,
        ".TH {name} {section} \"{date}\" \"auto-dispatcher {version}\" auto-dispatcher"
    )
}

/// What all pages of commands have, up to their options.
fn beginning(command: &clap::Command, page: &mut Vec<u8>) -> io::Result<Man> {
    let man = Man::new(command.clone());
    let name = command.get_display_name().unwrap_or(command.get_name());
    title(name, 1, page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    Ok(man)
}

fn main_page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = beginning(command, &mut page)?;
    man.render_subcommands_section(&mut page)?;
    let mut roff = Roff::new();
    exit_status(&mut roff);
    roff.control("SH", ["FILES"]);
    for (name, meaning) in FILES {
        entry(&mut roff, italic(name), meaning);
    }
    let names = command
        .get_subcommands()
        .map(|known| (format!("auto-dispatcher-{}", known.get_name()), 1));
    let files = FILE_PAGES.iter().map(|page| (page.name.to_owned(), 5));
    see_also(&mut roff, names.chain(files));
    roff.to_writer(&mut page)?;
    Ok(page)
}

fn command_page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    beginning(command, &mut page)?;
    let mut roff = Roff::new();
    for text in [command.get_after_long_help().or(command.get_after_help())]
        .into_iter()
        .flatten()
    {
        roff.control("SH", ["NOTES"]);
        for line in text.to_string().lines() {
            roff.text([roman(line)]);
        }
    }
    exit_status(&mut roff);
    see_also(&mut roff, [("auto-dispatcher".to_owned(), 1)].into_iter());
    roff.to_writer(&mut page)?;
    Ok(page)
}

fn file_page(page: &FilePage) -> io::Result<Vec<u8>> {
    let mut written = Vec::new();
    title(page.name, 5, &mut written)?;
    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{} - {}", page.name, page.about))]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([
        roman("The file is of the INI dialect of Python's ConfigParser. This example has every key, with its meaning; "),
        bold("auto-dispatcher check"),
        roman(" tells every mistake in yours."),
    ]);
    roff.control("SH", ["EXAMPLE"]);
    roff.control("nf", []);
    for line in page.example.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    see_also(&mut roff, [("auto-dispatcher".to_owned(), 1)].into_iter());
    roff.to_writer(&mut written)?;
    Ok(written)
}

/// A term and its meaning.
fn entry(roff: &mut Roff, term: Inline, meaning: &str) {
    roff.control("TP", []);
    roff.text([term]);
    roff.text([roman(meaning)]);
}

/// The lines of `--help`: `  3    configuration`.
fn exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for line in EXIT_CODES.lines() {
        if let Some((code, meaning)) = line.trim().split_once("  ")
            && line.starts_with(' ')
        {
            entry(roff, bold(code), meaning.trim());
        }
    }
}

fn see_also(roff: &mut Roff, pages: impl Iterator<Item = (String, u8)>) {
    roff.control("SH", ["SEE ALSO"]);
    let mut words: Vec<Inline> = Vec::new();
    for (name, section) in pages {
        if !words.is_empty() {
            words.push(roman(", "));
        }
        words.push(bold(name));
        words.push(roman(format!("({section})")));
    }
    roff.text(words);
}
