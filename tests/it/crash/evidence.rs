//! Gathers what can be seen when all is over: the journal, the hosts, the spool, the processes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::{Connection, Row};

use super::check::{Batch, Complaint, Delivery, Found, Seen, complaints};
use super::world::World;
use crate::pipeline::{LIMIT, processes_of};
use crate::testenv::wait_until;

/// What a living site has in `workers`.
const MARKS: [&str; 3] = ["background.lock", "detached.lock", "turn.lock"];

impl World {
    /// What is wrong, now that all is over.
    pub fn complaints(&self) -> Vec<Complaint> {
        complaints(&self.found())
    }

    /// Asserts that every promise was kept; `story` is part of the message.
    #[track_caller]
    pub fn kept_every_promise(&self, story: &str) {
        let complaints = self.complaints();
        if complaints.is_empty() {
            return;
        }
        let lines: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        panic!(
            "--- log\n{}\n--- deliveries\n{}\n--- {story}:\n{}",
            self.log(),
            self.history_lines(),
            lines.join("\n")
        );
    }

    /// The rows of the journal, for messages.
    fn history_lines(&self) -> String {
        let rows = self.pipeline.history();
        let rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
        rows.join("\n")
    }

    /// Everything that can be seen.
    fn found(&self) -> Found {
        self.nothing_runs_on_the_hosts();
        let path = self.pipeline.state().join("journal.sqlite");
        let journal = Connection::open(path).expect("the journal");
        Found {
            commits: self.commits.clone(),
            sent: self.sent.clone(),
            asked: self.asked.clone(),
            prunes: self.twist.prunes,
            passed_stops: rows(&journal, PASSED_STOPS, |row| row.get(0)),
            batches: rows(&journal, BATCHES, |row| {
                Ok(Batch {
                    id: row.get(0)?,
                    source: row.get(1)?,
                    revision: row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs),
                    state: row.get(3)?,
                    is_pruned: row.get(4)?,
                })
            }),
            deliveries: rows(&journal, DELIVERIES, |row| {
                Ok(Delivery {
                    id: row.get(0)?,
                    batch: row.get(1)?,
                    package: row.get(2)?,
                    place: place_of(&row.get::<_, String>(3)?),
                    state: row.get(4)?,
                    exit_status: row.get(5)?,
                    error: row.get(6)?,
                    runs: row.get::<_, u32>(7)? as usize,
                    is_dismissed: row.get(8)?,
                })
            }),
            places: self
                .places
                .iter()
                .map(|place| Seen {
                    files: files_in(&place.packages()),
                    records: place.host.list(".auto-dispatcher"),
                    lines: place.host.lines("ran"),
                })
                .collect(),
            spool: {
                let mut names = names_in(&self.pipeline.state().join("spool"));
                names.retain(|name| name != ".lock");
                names
            },
            leftovers: self.leftovers(),
        }
    }

    /// Install commands that nobody follows any more come to their end.
    fn nothing_runs_on_the_hosts(&self) {
        for place in &self.places {
            let home = place.host.home().to_string_lossy().into_owned();
            wait_until("no install runs any more", LIMIT, || !something_runs(&home));
        }
    }

    fn leftovers(&self) -> Vec<String> {
        let state = self.pipeline.state();
        let mut left = names_in(&state.join("workers"));
        let stays = |name: &str| MARKS.contains(&name) || name.starts_with("plan-");
        left.retain(|name| !stays(name));
        let processes = processes_of(&self.mark());
        left.extend(processes.iter().map(|pid| format!("process {pid}")));
        left
    }
}

const BATCHES: &str =
    "SELECT id, source, revision, state, pruned_at IS NOT NULL FROM batches ORDER BY id";
const DELIVERIES: &str =
    "SELECT id, batch_id, package, host, state, exit_status, error, run, dismissed_at IS NOT NULL
     FROM deliveries ORDER BY id";
const PASSED_STOPS: &str =
    "SELECT 'delivery ' || y.id || ' passed ' || x.id || ', which stopped their lane'
     FROM deliveries x JOIN deliveries y ON y.lane = x.lane AND y.id > x.id
       JOIN attempts t ON t.delivery_id = y.id
     WHERE x.stops_lane = 1 AND x.state IN ('failed', 'unknown') AND t.started_at > x.settled_at
       AND (x.dismissed_at IS NULL OR t.started_at < x.dismissed_at)";

fn rows<T>(
    journal: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut statement = journal.prepare(sql).expect("SQL");
    let rows = statement.query_map([], read).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

/// The number of a place by its address: 127.0.0.11 is the first.
fn place_of(host: &str) -> usize {
    let last = host
        .rsplit('.')
        .next()
        .and_then(|last| last.parse::<usize>().ok());
    last.and_then(|last| last.checked_sub(11))
        .unwrap_or(usize::MAX)
}

/// The names in a directory, which may be missing.
pub fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn files_in(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = names_in(dir).into_iter();
    names
        .map(|name| {
            let bytes = fs::read(dir.join(&name)).expect("a file");
            (name, bytes)
        })
        .collect()
}

/// Whether a shell runs on the host with this home.
fn something_runs(home: &str) -> bool {
    fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .any(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(&format!("{home}/.auto-dispatcher"))
        })
}
