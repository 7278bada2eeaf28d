//! `report`: the page of this site, in one file.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use super::machine::machine;
use super::moment::{self, Moment};
use super::setup::Setup;
use super::{Globals, output_error};
use crate::error::{Error, ErrorKind, Result};
use crate::page::{Bounds, Facts, page};

/// How much of the past is shown unless something else is typed: two weeks.
const SINCE_S: u64 = 14 * 86_400;
/// More would make pictures of nothing.
const SINCE_MAX_S: u64 = 10 * 366 * 86_400;
const DELIVERIES: u64 = 100;
const BATCHES: u64 = 30;

/// Write the state of this site as one HTML page
///
/// The page needs nothing else: no network, no other file. It shows what is wrong and what to type, every target, what
/// went where, throughput and how long things take. `worker --listen` serves the same page live.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to write, mode 0600; `-` is the standard output
    #[arg(long, value_name = "FILE", required = true)]
    html: PathBuf,
    /// How much of the past, ten years at most: for example 36h, 14d or 2026-11-01
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = moment::parse)]
    since: Moment,
    /// How many of the last deliveries are listed
    #[arg(long, value_name = "N", default_value_t = DELIVERIES, value_parser = clap::value_parser!(u64).range(0..=1000))]
    limit: u64,
    /// How many of the last batches are columns of the time line
    #[arg(long, value_name = "N", default_value_t = BATCHES, value_parser = clap::value_parser!(u64).range(0..=100))]
    batches: u64,
    /// Permissions of the file, for example 0644 where a web server reads it
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = mode)]
    mode: u32,
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode & !0o666 == 0 && mode & 0o400 != 0 => Ok(mode),
        _ => Err("permissions in octal are meant, such as 0600 or 0644".to_owned()),
    }
}

/// Within the past that can be shown.
fn shown_since(since: Moment, now: DateTime<Utc>) -> DateTime<Utc> {
    since.first().clamp(now - seconds(SINCE_MAX_S), now)
}

fn seconds(count: u64) -> TimeDelta {
    TimeDelta::seconds(i64::try_from(count).unwrap_or(0))
}

/// How much of the past a page shows that is served.
pub(super) fn standard_bounds(now: DateTime<Utc>) -> Bounds {
    Bounds {
        since: now - seconds(SINCE_S),
        deliveries: DELIVERIES,
        batches: BATCHES,
    }
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let setup = Setup::new(globals, None, true)?;
    let (state, journal) = setup.look()?;
    let machine = machine(&setup, globals, (&state, &journal), None)?;
    let bounds = Bounds {
        since: shown_since(args.since, machine.now),
        deliveries: args.limit,
        batches: args.batches,
    };
    let html = page(&Facts::read(&journal, machine, bounds)?, false)?.html;
    if args.html == Path::new("-") {
        out.write_all(html.as_bytes())
            .map_err(|error| output_error(&error))?;
        return Ok(0);
    }
    write_whole(&args.html, html.as_bytes(), args.mode)?;
    Ok(0)
}

/// Writes the file under another name and then renames it, so that whoever reads it never sees half of one.
fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let failed = |error: &io::Error| {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoRoom,
            _ => ErrorKind::State,
        };
        Error::io(kind, "cannot write the page", path, error)
            .with_hint("name a file in a directory that is there and that this user may write to; `-` is the standard output")
    };
    if path.is_dir() {
        return Err(failed(&io::ErrorKind::IsADirectory.into()));
    }
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".ad-page-")
        .tempfile_in(directory)
        .map_err(|error| failed(&error))?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| file.as_file().sync_all())
        .map_err(|error| failed(&error))?;
    file.persist(path)
        .map(drop)
        .map_err(|error| failed(&error.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_that_is_shown_ends_now_and_begins_ten_years_ago() {
        let now = Utc::now();
        for (typed, shown) in [("9999-01-01", now), ("99999d", now - seconds(SINCE_MAX_S))] {
            let since = moment::parse(typed).expect("a time");
            assert_eq!(shown_since(since, now), shown, "{typed}");
        }
    }

    #[test]
    fn a_file_that_its_owner_cannot_read_is_not_meant() {
        assert_eq!(mode("0644"), Ok(0o644));
        for wrong in ["", "0755", "600x", "0044", "8", "4600"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }
}
