//! The page: facts in, HTML out. The template is compiled in and escapes all that it is given; the policy that goes
//! with the page lets a browser run our own script and style and load nothing.

use std::collections::HashSet;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::attention::{Concern, Weight, concerns};
use super::chart::{Chart, chart};
use super::facts::{Facts, Standing};
use super::matrix::{Matrix, matrix};
use super::rows::{Card, RecentRow, cards, recent};
use super::targets::{Targets, targets};
use super::text::{When, counted, name, number, percent, span, when};
use crate::domain::delivery::State;
use crate::domain::text::bytes;
use crate::error::{Error, Result};

const STYLE: &str = include_str!("templates/page.css");
const SCRIPT: &str = include_str!("templates/page.js");

/// A page and what has to go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The document.
    pub html: String,
    /// What it may do, for the header of an answer; it also says so itself.
    pub policy: String,
}

/// A number that is looked at first.
struct Tile {
    label: &'static str,
    value: String,
    class: &'static str,
}

struct RepositoryLine {
    path: String,
    uuid: String,
    last: String,
    unplanned: u64,
    gaps: Vec<String>,
}

struct DirectoryLine {
    path: String,
    files: String,
    stock: Option<When>,
    trouble: String,
}

struct WorkerLine {
    id: i64,
    pid: u32,
    since: When,
}

struct DiskLine {
    words: String,
    used: String,
}

#[derive(Template)]
#[template(path = "page.html", config = "src/page/askama.toml")]
struct View<'a> {
    policy: &'a str,
    style: &'a str,
    script: &'a str,
    is_live: bool,
    host: String,
    version: &'a str,
    made: When,
    since: When,
    window: String,
    weight: &'a str,
    headline: String,
    subline: String,
    tiles: Vec<Tile>,
    cards: Vec<Card>,
    cards_more: u64,
    concerns: Vec<Concern>,
    targets: Targets,
    matrix: Matrix,
    chart: Chart,
    recent: Vec<RecentRow>,
    repositories: Vec<RepositoryLine>,
    directories: Vec<DirectoryLine>,
    workers: Vec<WorkerLine>,
    state_dir: String,
    disk: Option<DiskLine>,
    spool: Option<DiskLine>,
}

/// What a browser may do with the page: nothing but our own style and script, and, where it is live, ask for it again.
fn policy(is_live: bool) -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let connect = if is_live { "; connect-src 'self'" } else { "" };
    format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'{connect}",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// Lays the page out. `is_live`: it is served, and may be asked for again.
pub fn page(facts: &Facts, is_live: bool) -> Result<Page> {
    let policy = policy(is_live);
    let standing = &facts.standing;
    let machine = &standing.machine;
    let now = machine.now;
    let concerns = concerns(standing);
    let undecided = standing.count(State::Failed) + standing.count(State::Unknown);
    let (cards, cards_more) = cards(&facts.undecided, undecided, &machine.program, now);
    let on_cards: HashSet<i64> = cards
        .iter()
        .flat_map(|card| card.named.iter().map(|named| named.id))
        .collect();
    let mut anchors = on_cards.clone();
    anchors.extend(facts.recent.iter().map(|row| row.id));
    let (weight, headline, subline) = headline(standing, &concerns);
    let view = View {
        policy: &policy,
        style: STYLE,
        script: SCRIPT,
        is_live,
        host: name(&machine.host),
        version: env!("CARGO_PKG_VERSION"),
        made: when(now, now),
        since: when(facts.bounds.since, now),
        window: span((now - facts.bounds.since).num_seconds().unsigned_abs()),
        weight,
        headline,
        subline,
        tiles: tiles(facts),
        cards,
        cards_more,
        concerns,
        targets: targets(facts),
        matrix: matrix(facts, &anchors),
        chart: chart(&facts.hours, facts.bounds.since, now),
        recent: recent(&facts.recent, &|id| on_cards.contains(&id), now),
        repositories: repositories(standing),
        directories: directories(standing),
        workers: workers(standing),
        state_dir: name(&machine.state_dir),
        disk: machine.disk.map(|disk| DiskLine {
            words: format!("{} of {} free", bytes(disk.free), bytes(disk.size)),
            used: percent(disk.size.saturating_sub(disk.free), disk.size).to_string(),
        }),
        spool: machine.spool_bytes.map(|used| DiskLine {
            words: format!("{} of {} used", bytes(used), bytes(machine.spool_max_bytes)),
            used: percent(used.min(machine.spool_max_bytes), machine.spool_max_bytes).to_string(),
        }),
    };
    let html = view
        .render()
        .map_err(|error| Error::state(format!("cannot lay out the page: {error}")))?;
    Ok(Page { html, policy })
}

/// The first thing to read: how bad it is, in a word and in words.
fn headline(standing: &Standing, concerns: &[Concern]) -> (&'static str, String, String) {
    let (failed, unknown) = (
        standing.count(State::Failed),
        standing.count(State::Unknown),
    );
    let mut parts = Vec::new();
    if failed > 0 {
        parts.push(format!(
            "{} failed",
            counted(failed, "delivery", "deliveries")
        ));
    }
    if unknown > 0 {
        let what = if failed > 0 {
            format!("{} unknown", number(unknown))
        } else {
            format!(
                "{} unknown",
                counted(unknown, "delivery is", "deliveries are")
            )
        };
        parts.push(what);
    }
    let worst = concerns.first().map(|concern| concern.weight);
    let weight = match worst {
        _ if failed + unknown > 0 => "bad",
        Some(Weight::Ill | Weight::Trouble) => "bad",
        Some(Weight::Decision) => "warn",
        None if standing.count(State::Waiting) > 0 => "warn",
        None => "good",
    };
    let mut others = concerns.iter();
    if parts.is_empty()
        && let Some(first) = others.next()
    {
        let mut title = first.title.chars();
        let capital = title.next().map(|c| c.to_uppercase().to_string());
        parts.push(format!("{}{}", capital.unwrap_or_default(), title.as_str()));
    }
    let rest = others.count() as u64;
    let under_way = under_way(standing);
    if parts.is_empty() && weight == "good" {
        return (weight, "All is well".to_owned(), under_way);
    }
    if parts.is_empty() {
        let waiting = counted(
            standing.count(State::Waiting),
            "delivery waits for its next attempt",
            "deliveries wait for their next attempts",
        );
        return (weight, waiting, under_way);
    }
    let more = if rest > 0 {
        format!("{} below. ", counted(rest, "more concern", "more concerns"))
    } else {
        String::new()
    };
    (weight, parts.join(", "), format!("{more}{under_way}"))
}

fn under_way(standing: &Standing) -> String {
    let words: Vec<String> = [
        (State::Running, "running"),
        (State::Waiting, "waiting for a retry"),
        (State::Queued, "queued"),
    ]
    .iter()
    .map(|(state, word)| (standing.count(*state), word))
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{} {word}", number(count)))
    .collect();
    if words.is_empty() {
        "Nothing is under way.".to_owned()
    } else {
        format!("Under way: {}.", words.join(", "))
    }
}

fn tiles(facts: &Facts) -> Vec<Tile> {
    let standing = &facts.standing;
    let day = standing.machine.now - chrono::TimeDelta::hours(24);
    let today = facts.hours.iter().filter(|hour| hour.from >= day);
    let today = today.filter(|hour| hour.outcome == State::Done);
    let (done, arrived) = today.fold((0, 0), |(done, arrived), hour| {
        (done + hour.deliveries, arrived + hour.bytes)
    });
    let state = |state: State, label| {
        let count = standing.count(state);
        Tile {
            label,
            value: number(count),
            class: if count > 0 { state.as_str() } else { "" },
        }
    };
    let plain = |label, value| Tile {
        label,
        value,
        class: "",
    };
    vec![
        state(State::Failed, "failed"),
        state(State::Unknown, "unknown"),
        state(State::Waiting, "waiting"),
        state(State::Running, "running"),
        state(State::Queued, "queued"),
        plain("done in 24 h", number(done)),
        plain("arrived in 24 h", bytes(arrived)),
    ]
}

fn repositories(standing: &Standing) -> Vec<RepositoryLine> {
    let rows = standing.repositories.iter();
    rows.map(|row| RepositoryLine {
        path: name(&row.path.to_string_lossy()),
        uuid: name(&row.uuid),
        last: row
            .last_revision
            .map_or_else(|| "only replayed".to_owned(), |last| format!("r{last}")),
        unplanned: row.unplanned,
        gaps: standing
            .gaps
            .iter()
            .filter(|gap| gap.repository == row.path)
            .take(5)
            .map(|gap| format!("r{}–r{}", gap.low, gap.high))
            .collect(),
    })
    .collect()
}

fn directories(standing: &Standing) -> Vec<DirectoryLine> {
    let rows = standing.drop_directories.iter();
    rows.map(|row| DirectoryLine {
        path: name(&row.path.to_string_lossy()),
        files: number(row.files),
        stock: row.stocked_at.map(|at| when(at, standing.machine.now)),
        trouble: row.trouble.as_deref().map(name).unwrap_or_default(),
    })
    .collect()
}

fn workers(standing: &Standing) -> Vec<WorkerLine> {
    let workers = standing.machine.workers.iter();
    workers
        .map(|worker| WorkerLine {
            id: worker.id,
            pid: worker.pid,
            since: when(worker.started_at, standing.machine.now),
        })
        .collect()
}
