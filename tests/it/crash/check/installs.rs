//! What the hosts counted: every install once, in order, one at a time.

use super::{Checker, Delivery, Seen, Wrong, installs, places_of};

impl Checker<'_> {
    /// Every install ran once; again as often as the operator said so, and at most as often where he cancelled.
    pub(super) fn installs(&mut self, place: usize, seen: &Seen) {
        if self.found.prunes {
            return self.installs_by_revision(place, seen);
        }
        for delivery in self.deliveries_to(place) {
            let asked = &self.found.asked;
            let retries = asked.retries.get(&delivery.id).copied().unwrap_or_default();
            if delivery.runs > 1 + retries {
                let text = format!("{delivery:?} was retried {retries} times at most");
                self.say(Wrong::Double, text);
            }
            let owed = if installs(&delivery.package) {
                delivery.runs
            } else {
                0
            };
            for word in ["begin", "end"] {
                let line = format!("{word} {} {} ", delivery.id, delivery.package);
                let count = seen
                    .lines
                    .iter()
                    .filter(|found| found.starts_with(&line))
                    .count();
                // What is unknown or cancelled may have run.
                let is_sure = !matches!(delivery.state.as_str(), "unknown" | "cancelled");
                if is_sure || count > owed {
                    self.count(&format!("{line}at place {place}"), count, owed);
                }
            }
        }
    }

    /// The same where the record does not say any more what was delivered.
    fn installs_by_revision(&mut self, place: usize, seen: &Seen) {
        for commit in &self.found.commits {
            for (package, _) in &commit.files {
                let is_owed = installs(package) && places_of(package).contains(&place);
                for word in ["begin ", "end "] {
                    let rest = format!(" {package} {}", commit.revision);
                    let is_it = |line: &&String| line.starts_with(word) && line.ends_with(&rest);
                    let count = seen.lines.iter().filter(is_it).count();
                    let what = format!("{word}{rest} at place {place}");
                    self.count(&what, count, usize::from(is_owed));
                }
            }
        }
    }

    /// Installs run one after the other, in the order of the deliveries, which is that of the revisions.
    pub(super) fn order(&mut self, place: usize, seen: &Seen) {
        let number = |line: &String| line.split(' ').nth(1).and_then(|id| id.parse::<i64>().ok());
        // What the operator retried comes late, and what he cancelled may run on beside what follows.
        let asked = &self.found.asked;
        let begun: Vec<i64> = (seen.lines.iter())
            .filter(|line| line.starts_with("begin "))
            .filter_map(number)
            .filter(|id| !asked.retries.contains_key(id))
            .collect();
        let lines: Vec<&String> = (seen.lines.iter())
            .filter(|line| number(line).is_none_or(|id| !self.is_cancelled(id)))
            .collect();
        for pair in begun.windows(2) {
            if pair[0] > pair[1] {
                self.say(
                    Wrong::Order,
                    format!("place {place} installs {} before {}", pair[0], pair[1]),
                );
            }
        }
        for (index, line) in lines.iter().enumerate() {
            let own_end = line.replacen("begin", "end", 1);
            let next = lines.get(index + 1);
            if line.starts_with("begin ") && next.is_some_and(|next| **next != own_end) {
                self.say(
                    Wrong::Order,
                    format!("place {place}: after {line} comes {next:?}"),
                );
            }
        }
        let mut here = self.deliveries_to(place);
        here.sort_by_key(|delivery| delivery.id);
        let revision_of = |delivery: &&Delivery| {
            let batch = self
                .found
                .batches
                .iter()
                .find(|batch| batch.id == delivery.batch)?;
            batch.revision.filter(|_| batch.source == "revision")
        };
        let revisions: Vec<u64> = here.iter().filter_map(revision_of).collect();
        for pair in revisions.windows(2) {
            if pair[0] > pair[1] {
                self.say(
                    Wrong::Order,
                    format!("place {place} gets r{} before r{}", pair[0], pair[1]),
                );
            }
        }
    }

    fn is_cancelled(&self, id: i64) -> bool {
        let is_it = |delivery: &Delivery| delivery.id == id && delivery.state == "cancelled";
        self.found.deliveries.iter().any(is_it)
    }
}
