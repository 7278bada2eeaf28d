//! The figures of a site in the text format of Prometheus. Names and labels are a promise to dashboards; what others
//! have named is escaped. No label grows with deliveries: targets are the most, and they are bounded.

use std::fmt::{Display, Write as _};

use super::facts::Standing;
use crate::domain::delivery::State;
use crate::journal::LaneTally;

/// Targets that have figures of their own: the ones that want somebody, then those that were served last.
const TARGETS_MAX: usize = 500;

/// A text of families, each announced once.
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", escape_label(text));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }
}

fn escape_label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Milliseconds as seconds, exactly.
fn seconds(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1000, ms % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// All figures.
pub fn metrics(standing: &Standing) -> String {
    let mut out = Exposition(String::new());
    out.family(
        "auto_dispatcher_build_info",
        "gauge",
        "The program that serves this.",
    );
    out.sample(
        "auto_dispatcher_build_info",
        &[("version", env!("CARGO_PKG_VERSION"))],
        1,
    );
    deliveries(&mut out, standing);
    durations(&mut out, standing);
    lanes(&mut out, standing);
    targets(&mut out, &standing.lanes);
    sources(&mut out, standing);
    machine(&mut out, standing);
    out.0
}

fn deliveries(out: &mut Exposition, standing: &Standing) {
    let name = "auto_dispatcher_deliveries";
    out.family(
        name,
        "gauge",
        "Deliveries that are not done with, by state; failed and unknown until somebody decides.",
    );
    for state in [
        State::Queued,
        State::Running,
        State::Waiting,
        State::Failed,
        State::Unknown,
    ] {
        out.sample(name, &[("state", state.as_str())], standing.count(state));
    }
    let name = "auto_dispatcher_deliveries_settled_total";
    out.family(
        name,
        "counter",
        "Deliveries that ever settled, by outcome; one that is retried settles again.",
    );
    let mut sent = 0;
    for outcome in [State::Done, State::Failed, State::Unknown, State::Cancelled] {
        let rows = standing.settled.iter().filter(|row| row.outcome == outcome);
        let (mut count, mut arrived) = (0, 0);
        for row in rows {
            count += row.deliveries;
            arrived += row.bytes;
        }
        sent += arrived;
        out.sample(name, &[("outcome", outcome.as_str())], count);
    }
    let name = "auto_dispatcher_sent_bytes_total";
    out.family(name, "counter", "Bytes of packages that arrived.");
    out.sample(name, &[], sent);
}

fn durations(out: &mut Exposition, standing: &Standing) {
    let name = "auto_dispatcher_attempt_duration_seconds";
    out.family(
        name,
        "histogram",
        "How long attempts took, whatever their outcome.",
    );
    let (mut attempts, mut total_ms) = (0, 0);
    for row in &standing.durations {
        attempts += row.attempts;
        total_ms += row.total_ms;
        let limit = row.up_to_ms.map_or_else(|| "+Inf".to_owned(), seconds);
        out.sample(&format!("{name}_bucket"), &[("le", &limit)], attempts);
    }
    out.sample(&format!("{name}_sum"), &[], seconds(total_ms));
    out.sample(&format!("{name}_count"), &[], attempts);
}

fn lanes(out: &mut Exposition, standing: &Standing) {
    let since = standing
        .lanes
        .iter()
        .filter_map(|lane| lane.open_since)
        .min();
    let age = since.map_or(0, |since| {
        (standing.machine.now - since).num_seconds().max(0)
    });
    out.gauge(
        "auto_dispatcher_queue_oldest_age_seconds",
        "Age of the oldest delivery that is queued, running or waiting; 0: there is none.",
        age,
    );
    let count =
        |is: &dyn Fn(&LaneTally) -> bool| standing.lanes.iter().filter(|lane| is(lane)).count();
    let name = "auto_dispatcher_lanes";
    out.family(
        name,
        "gauge",
        "Lanes by what they do; one may be counted more than once.",
    );
    for (condition, lanes) in [
        ("running", count(&|lane| lane.running > 0)),
        ("queued", count(&|lane| lane.queued > 0)),
        ("waiting", count(&|lane| lane.waiting > 0)),
        ("stopped", standing.stopped.len()),
    ] {
        out.sample(name, &[("condition", condition)], lanes);
    }
}

fn targets(out: &mut Exposition, lanes: &[LaneTally]) {
    let mut lanes: Vec<&LaneTally> = lanes.iter().collect();
    lanes.sort_by_key(|lane| {
        let wants = lane.undecided + lane.queued + lane.running + lane.waiting > 0;
        std::cmp::Reverse((wants, lane.done_at))
    });
    lanes.truncate(TARGETS_MAX);
    let name = "auto_dispatcher_target_last_success_timestamp_seconds";
    out.family(name, "gauge", "When something was last done at a target.");
    for lane in &lanes {
        if let Some(done_at) = lane.done_at {
            out.sample(name, &[("target", &lane.lane)], done_at.timestamp());
        }
    }
    let name = "auto_dispatcher_target_open_deliveries";
    out.family(
        name,
        "gauge",
        "Deliveries of a target that are queued, running or waiting.",
    );
    for lane in &lanes {
        let open = lane.queued + lane.running + lane.waiting;
        out.sample(name, &[("target", &lane.lane)], open);
    }
    let name = "auto_dispatcher_target_undecided_deliveries";
    out.family(
        name,
        "gauge",
        "Failed and unknown deliveries of a target that nobody has decided about.",
    );
    for lane in &lanes {
        out.sample(name, &[("target", &lane.lane)], lane.undecided);
    }
}

fn sources(out: &mut Exposition, standing: &Standing) {
    let name = "auto_dispatcher_batches_unplanned";
    out.family(
        name,
        "gauge",
        "Batches that are recorded and not planned, by what is the matter.",
    );
    let failed = standing
        .unplanned
        .iter()
        .filter(|batch| batch.plan_error.is_some())
        .count();
    out.sample(
        name,
        &[("state", "recorded")],
        standing.unplanned.len() - failed,
    );
    out.sample(name, &[("state", "plan_failed")], failed);
    out.gauge(
        "auto_dispatcher_gaps",
        "Gaps in the ledger that wait for the operator.",
        standing.gaps.len(),
    );
    out.gauge(
        "auto_dispatcher_gap_revisions",
        "Revisions in these gaps.",
        standing
            .gaps
            .iter()
            .map(crate::journal::GapRow::revisions)
            .sum::<u64>(),
    );
    let name = "auto_dispatcher_repository_last_revision";
    out.family(
        name,
        "gauge",
        "The highest revision of a repository that was recorded.",
    );
    for repository in &standing.repositories {
        if let Some(revision) = repository.last_revision {
            let path = repository.path.to_string_lossy();
            let labels = [("repository", path.as_ref()), ("uuid", &repository.uuid)];
            out.sample(name, &labels, revision);
        }
    }
    let name = "auto_dispatcher_drop_directory_troubled";
    out.family(
        name,
        "gauge",
        "Whether something keeps a drop directory from being scanned or dispatched.",
    );
    for row in &standing.drop_directories {
        let path = row.path.to_string_lossy();
        out.sample(
            name,
            &[("directory", &path)],
            u8::from(row.trouble.is_some()),
        );
    }
}

fn machine(out: &mut Exposition, standing: &Standing) {
    let machine = &standing.machine;
    out.gauge(
        "auto_dispatcher_workers",
        "Workers that live.",
        machine.workers.len(),
    );
    if let Some(disk) = machine.disk {
        out.gauge(
            "auto_dispatcher_disk_free_bytes",
            "Bytes that are free on the disk of the state directory.",
            disk.free,
        );
        out.gauge(
            "auto_dispatcher_disk_size_bytes",
            "The size of that disk.",
            disk.size,
        );
    }
    if let Some(bytes) = machine.spool_bytes {
        out.gauge(
            "auto_dispatcher_spool_bytes",
            "Bytes of packages in the spool.",
            bytes,
        );
    }
    out.gauge(
        "auto_dispatcher_spool_max_bytes",
        "How many may be there (spool_max).",
        machine.spool_max_bytes,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_end_nowhere_but_at_their_end() {
        let mut out = Exposition(String::new());
        out.sample("a", &[("b", "x\"\\\n{}"), ("c", "中")], 1);
        assert_eq!(out.0, "a{b=\"x\\\"\\\\\\n{}\",c=\"中\"} 1\n");
    }

    #[test]
    fn seconds_are_exact() {
        for (ms, expected) in [
            (0, "0"),
            (100, "0.1"),
            (2500, "2.5"),
            (60_000, "60"),
            (1, "0.001"),
        ] {
            assert_eq!(seconds(ms), expected);
        }
    }
}
