//! What failed or is unknown, for people: the same trouble of the same lane told once, with the command to type next.

use super::headline::counted;
use super::screenful::Page;
use super::standing::Standing;
use crate::cli::lines::{local, source_of};
use crate::cli::screen::Tone;
use crate::domain::delivery::State;
use crate::error::Result;
use crate::journal::DeliveryRow;

/// More deliveries than these are retried by their host.
const NAMED_MAX: usize = 8;

/// Deliveries of one lane that ended alike, newest first.
struct Group<'a>(Vec<&'a DeliveryRow>);

impl<'a> Group<'a> {
    fn holds(&self, row: &DeliveryRow) -> bool {
        let kind = |row: &'a DeliveryRow| (&row.lane, row.state, &row.fault, &row.error);
        let mine = self.0.first().copied().map(kind);
        mine == Some((&row.lane, row.state, &row.fault, &row.error))
    }

    fn ids(&self) -> Vec<String> {
        self.0.iter().rev().map(|row| row.id.to_string()).collect()
    }
}

fn groups(rows: &[DeliveryRow]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for row in rows {
        match groups.iter_mut().find(|group| group.holds(row)) {
            Some(group) => group.0.push(row),
            None => groups.push(Group(vec![row])),
        }
    }
    // One line for many tells most.
    groups.sort_by_key(|group| std::cmp::Reverse(group.0.len()));
    groups
}

pub(super) fn print(standing: &Standing, page: &mut Page<'_>) -> Result<()> {
    let groups = groups(&standing.troubled);
    if groups.is_empty() {
        return Ok(());
    }
    page.heading("FAILED OR UNKNOWN")?;
    let (shown, _) = page.some(&groups);
    let mut told = 0;
    for group in shown {
        print_group(group, page)?;
        told += group.0.len() as u64;
    }
    let all = standing.count(State::Failed) + standing.count(State::Unknown);
    if all > told {
        let more = all - told;
        let line = format!("... and {more} more; `status --all` lists them, and so does");
        page.text(2, Tone::Dim, &line)?;
        page.command(4, &["history", "--state failed,unknown"])?;
    }
    let line = "`show ID` tells all of one, `retry` queues again, `dismiss ID` puts away";
    page.text(2, Tone::Dim, line)
}

fn print_group(group: &Group<'_>, page: &mut Page<'_>) -> Result<()> {
    let Some(&newest) = group.0.first() else {
        return Ok(());
    };
    let when = |row: &DeliveryRow| local(row.settled_at.unwrap_or(row.queued_at));
    let (state, lane) = (newest.state, &newest.lane);
    let ids = group.ids();
    let what = if let [id] = ids.as_slice() {
        let (package, source) = (&newest.package, source_of(newest));
        format!(
            "{id}  {package} of {source} to {lane}, {state} at {}",
            when(newest)
        )
    } else {
        let count = counted(ids.len() as u64, "delivery", "deliveries");
        let first = group.0.last().map_or_else(String::new, |row| when(row));
        let range = format!("{} to {}", ids[0], ids[ids.len() - 1]);
        format!(
            "{count} to {lane}, {state} from {first} to {} ({range})",
            when(newest)
        )
    };
    page.text(2, Tone::Plain, &what)?;
    let why = match (&newest.fault, &newest.error) {
        (Some(fault), Some(error)) => format!("{fault}: {error}"),
        (_, error) => error.clone().unwrap_or_default(),
    };
    page.text(4, Tone::Bad, &why)?;
    if ids.len() > NAMED_MAX && state == State::Failed {
        return page.command(4, &["retry", &format!("--host {}", newest.host)]);
    }
    let mut words = vec!["retry"];
    words.extend(ids.iter().map(String::as_str));
    page.command(4, &words)
}
