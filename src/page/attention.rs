//! What wants somebody, and how badly: of the program itself (ill: it cannot do its work), of deliveries, or of what
//! only the operator can decide. Pure; each with the command that ends it.

use super::facts::Standing;
use super::text::{REASON_MAX, counted, name, shown, span, when};
use crate::domain::delivery::State;
use crate::domain::text::{bytes, shell_quote};
use crate::journal::BatchRow;

/// Less than this is short: packages come in, and journal and log have to be written.
const DISK_SHORT_BYTES: u64 = 256 << 20;
/// A small disk is short below this part of it.
const DISK_SHORT_PART: u64 = 20;
/// A worker looks at its work every second; one that has not for so long hangs.
const STALLED_S: u64 = 30;

/// How badly something wants somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It can wait until the morning.
    Decision,
    /// Deliveries do not arrive.
    Trouble,
    /// The program cannot do its work, or part of it: `/health` says so.
    Ill,
}

/// Something that wants somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// How badly.
    pub weight: Weight,
    /// What, in a few words.
    pub title: String,
    /// What exactly, and why.
    pub reason: String,
    /// What to type, each with what it does.
    pub commands: Vec<(String, &'static str)>,
}

impl Concern {
    fn new(weight: Weight, title: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            weight,
            title: title.into(),
            reason: reason.into(),
            commands: Vec::new(),
        }
    }

    fn with(mut self, command: String, does: &'static str) -> Self {
        self.commands.push((command, does));
        self
    }
}

/// Everything that wants somebody but failed deliveries, the worst first.
pub fn concerns(standing: &Standing) -> Vec<Concern> {
    let mut concerns = of_the_machine(standing);
    concerns.extend(standing.unplanned.iter().filter_map(|b| plan(b, standing)));
    concerns.extend(of_drop_directories(standing));
    concerns.extend(of_stopped_lanes(standing));
    concerns.extend(of_gaps(standing));
    concerns.sort_by_key(|concern| std::cmp::Reverse(concern.weight));
    concerns
}

fn of_the_machine(standing: &Standing) -> Vec<Concern> {
    let machine = &standing.machine;
    let mut concerns = Vec::new();
    let mut ill = |title: &str, reason: String| {
        concerns.push(Concern::new(Weight::Ill, title, reason));
    };
    if let Some(stalled) = machine.stalled_s.filter(|s| *s >= STALLED_S) {
        ill(
            "the worker hangs",
            format!(
                "it has not looked at its work for {}; the log in {} says what it did last",
                span(stalled),
                name(&machine.state_dir)
            ),
        );
    }
    if let Some(disk) = machine.disk
        && disk.free < DISK_SHORT_BYTES.min(disk.size / DISK_SHORT_PART)
    {
        ill(
            "the disk is nearly full",
            format!(
                "{} of {} are free where {} lies; what finds no room waits",
                bytes(disk.free),
                bytes(disk.size),
                name(&machine.state_dir)
            ),
        );
    }
    if let Some(failure) = &machine.worker_failure {
        ill(
            "the last worker that a hook started could not work",
            shown(failure, REASON_MAX),
        );
    }
    let open = [State::Queued, State::Running, State::Waiting];
    let open: u64 = open.iter().map(|state| standing.count(*state)).sum();
    if machine.workers.is_empty() && (open > 0 || !standing.unplanned.is_empty()) {
        concerns.push(
            Concern::new(
                Weight::Trouble,
                "no worker lives, and there is work",
                "the next hook starts one",
            )
            .with(
                format!("{} worker --until-idle", machine.program),
                "does it now",
            ),
        );
    }
    concerns
}

fn plan(batch: &BatchRow, standing: &Standing) -> Option<Concern> {
    let error = batch.plan_error.as_deref()?;
    let program = &standing.machine.program;
    let path = batch.repository.as_deref().unwrap_or("".as_ref());
    let path = shell_quote(&path.to_string_lossy());
    let what = name(&batch.describe());
    let reason = shown(error, REASON_MAX);
    if batch.is_held() {
        let reason = format!("later revisions of its repository wait behind it: {reason}");
        let held = Concern::new(Weight::Ill, format!("{what} is held"), reason);
        return Some(held.with(
            shown(&format!("{program} dismiss {path} --former"), REASON_MAX),
            "lets the former repository go",
        ));
    }
    let now = standing.machine.now;
    let again = if batch.due_at > now {
        when(batch.due_at, now).ago
    } else {
        "as soon as a worker looks".to_owned()
    };
    let reason = format!(
        "{reason} — tried {}, again {again}; later revisions of its repository wait behind it",
        counted(u64::from(batch.plan_attempts), "time", "times"),
    );
    let concern = Concern::new(Weight::Ill, format!("{what} cannot be planned"), reason);
    let Some(revision) = batch.revision else {
        return Some(concern);
    };
    Some(
        concern
            .with(
                format!("{program} check"),
                "shows what is wrong with the rules",
            )
            .with(
                shown(&format!("{program} dismiss {path} {revision}"), REASON_MAX),
                "lets the revision go",
            ),
    )
}

fn of_drop_directories(standing: &Standing) -> Vec<Concern> {
    let rows = standing.drop_directories.iter();
    rows.filter_map(|row| {
        let trouble = row.trouble.as_deref()?;
        let title = format!("drop directory {}", name(&row.path.to_string_lossy()));
        Some(Concern::new(Weight::Ill, title, shown(trouble, REASON_MAX)))
    })
    .collect()
}

fn of_stopped_lanes(standing: &Standing) -> Vec<Concern> {
    let program = &standing.machine.program;
    let lanes = standing.stopped.iter();
    lanes
        .map(|(lane, delivery)| {
            Concern::new(
                Weight::Trouble,
                format!("{} is stopped", name(lane)),
                format!("behind the failure of delivery {delivery} (on_failure = stop)"),
            )
            .with(format!("{program} retry {delivery}"), "tries it again")
            .with(
                format!("{program} dismiss {delivery}"),
                "lets the lane go on",
            )
        })
        .collect()
}

fn of_gaps(standing: &Standing) -> Vec<Concern> {
    let program = &standing.machine.program;
    let gaps = standing.gaps.iter();
    gaps.map(|gap| {
        let path = gap.repository.to_string_lossy();
        let (low, high) = (gap.low, gap.high);
        let command = |word: &str| {
            let command = format!("{program} {word} {} {low}:{high}", shell_quote(&path));
            shown(&command, REASON_MAX)
        };
        Concern::new(
            Weight::Decision,
            format!(
                "{} of {} were never recorded",
                counted(gap.revisions(), "revision", "revisions"),
                name(&path)
            ),
            format!("r{low} to r{high}: too many to be dispatched unasked (catch_up_max)"),
        )
        .with(command("replay"), "dispatches them")
        .with(command("dismiss"), "lets them go")
    })
    .collect()
}
