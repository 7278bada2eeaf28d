//! What is owed when all is over, and what is wrong where it is not so. Looks at no file and no process: it is
//! told what was found.

use std::collections::BTreeMap;
use std::fmt;

use auto_dispatcher::spool::hex;
use sha2::{Digest as _, Sha256};

/// One revision.
#[derive(Debug, Clone)]
pub struct Commit {
    pub revision: u64,
    /// Names and bytes.
    pub files: Vec<(String, Vec<u8>)>,
}

/// A row of the journal.
#[derive(Debug, Clone)]
pub struct Batch {
    pub id: i64,
    pub source: String,
    pub revision: Option<u64>,
    pub state: String,
}

/// A row of the journal.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub id: i64,
    pub batch: i64,
    pub package: String,
    /// The place, by number.
    pub place: usize,
    pub state: String,
    pub exit_status: Option<i64>,
    pub error: Option<String>,
}

/// What lies on a host.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// In the directory of the packages.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Records of installs.
    pub records: Vec<String>,
    /// What the install commands counted.
    pub lines: Vec<String>,
}

/// Everything that can be seen when all is over.
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub commits: Vec<Commit>,
    pub sent: Vec<(String, Vec<u8>)>,
    pub batches: Vec<Batch>,
    pub deliveries: Vec<Delivery>,
    pub places: Vec<Seen>,
    /// What lies in the spool.
    pub spool: Vec<String>,
    /// What else stayed on our side: marks, processes.
    pub leftovers: Vec<String>,
}

/// How a promise can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    Loss,
    Double,
    Half,
    Order,
    Unsettled,
    Leftover,
}

/// A promise that was broken.
#[derive(Debug)]
pub struct Complaint {
    pub wrong: Wrong,
    text: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.wrong, self.text)
    }
}

/// The places that the rules name for a package.
pub fn places_of(package: &str) -> Vec<usize> {
    let letters = package.split('-').next().unwrap_or_default().bytes();
    letters
        .filter(|letter| *letter != b'z')
        .map(|letter| usize::from(letter - b'a'))
        .collect()
}

/// `file`, `ok`, `slow` or `bad`.
pub fn kind_of(package: &str) -> &str {
    package.split('-').nth(1).unwrap_or_default()
}

fn installs(package: &str) -> bool {
    kind_of(package) != "file"
}

/// What is wrong with what was found.
pub fn complaints(found: &Found) -> Vec<Complaint> {
    let mut checker = Checker {
        found,
        complaints: Vec::new(),
    };
    checker.batches();
    checker.states();
    for (place, seen) in found.places.iter().enumerate() {
        checker.files(place, seen);
        checker.installs(place, seen);
        checker.order(place, seen);
    }
    checker.spool();
    for left in &found.leftovers {
        checker.say(Wrong::Leftover, left.clone());
    }
    checker.complaints
}

struct Checker<'a> {
    found: &'a Found,
    complaints: Vec<Complaint>,
}

impl Checker<'_> {
    fn say(&mut self, wrong: Wrong, text: String) {
        self.complaints.push(Complaint { wrong, text });
    }

    /// Too few is a loss, too many a double.
    fn count(&mut self, what: &str, counted: usize, owed: usize) {
        let wrong = match counted.cmp(&owed) {
            std::cmp::Ordering::Less => Wrong::Loss,
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Greater => Wrong::Double,
        };
        self.say(wrong, format!("{what}: {counted}, not {owed}"));
    }

    /// Every commit has its batch, and every batch the deliveries that the rules say.
    fn batches(&mut self) {
        let found = self.found;
        for commit in &found.commits {
            let of_it = |batch: &&Batch| {
                batch.source == "revision" && batch.revision == Some(commit.revision)
            };
            let count = found.batches.iter().filter(of_it).count();
            self.count(&format!("batches of r{}", commit.revision), count, 1);
        }
        for batch in &found.batches {
            if batch.state != "planned" {
                self.say(Wrong::Unsettled, format!("{batch:?}"));
            }
            let theirs: Vec<&Delivery> = found
                .deliveries
                .iter()
                .filter(|delivery| delivery.batch == batch.id)
                .collect();
            let mut owed: Vec<(&str, usize)> = Vec::new();
            for package in self.packages_of(batch, &theirs) {
                owed.extend(places_of(package).into_iter().map(|place| (package, place)));
            }
            for &(package, place) in &owed {
                let is_it =
                    |delivery: &&&Delivery| delivery.package == package && delivery.place == place;
                let count = theirs.iter().filter(is_it).count();
                let what = format!("deliveries of {package} to place {place} in {batch:?}");
                self.count(&what, count, 1);
            }
            for delivery in theirs {
                if !owed.contains(&(delivery.package.as_str(), delivery.place)) {
                    self.say(Wrong::Double, format!("nobody asked for {delivery:?}"));
                }
            }
        }
    }

    /// The packages of a batch; a file that was sent is the one of its batch.
    fn packages_of<'b>(&self, batch: &Batch, theirs: &[&'b Delivery]) -> Vec<&'b str>
    where
        Self: 'b,
    {
        let found: &'b Found = self.found;
        match batch.revision {
            Some(revision) => {
                let commit = found
                    .commits
                    .iter()
                    .find(|commit| commit.revision == revision);
                commit.map_or_else(Vec::new, |commit| {
                    commit.files.iter().map(|(name, _)| name.as_str()).collect()
                })
            }
            None => theirs
                .first()
                .map(|first| first.package.as_str())
                .into_iter()
                .collect(),
        }
    }

    /// Everything is settled as its command ends.
    fn states(&mut self) {
        for delivery in &self.found.deliveries {
            let owed = match kind_of(&delivery.package) {
                "file" => ("done", None),
                "bad" => ("failed", Some(7)),
                _ => ("done", Some(0)),
            };
            if (delivery.state.as_str(), delivery.exit_status) != owed {
                let why = delivery.error.as_deref().unwrap_or("no error");
                let text = format!("{delivery:?} ({why}) ought to be {owed:?}");
                self.say(Wrong::Unsettled, text);
            }
        }
    }

    /// Every package is whole, as the last delivery brought it, and nothing else is there.
    fn files(&mut self, place: usize, seen: &Seen) {
        let mut owed: BTreeMap<&str, &[u8]> = BTreeMap::new();
        let mut here: Vec<&Delivery> = self.deliveries_to(place);
        here.sort_by_key(|delivery| delivery.id);
        for delivery in here {
            match self.bytes_of(delivery) {
                Some(bytes) => drop(owed.insert(&delivery.package, bytes)),
                None => self.say(Wrong::Double, format!("of no source: {delivery:?}")),
            }
        }
        for (name, bytes) in &owed {
            match seen.files.get(*name) {
                None => self.say(Wrong::Loss, format!("{name} is not at place {place}")),
                Some(there) if there != bytes => self.say(
                    Wrong::Half,
                    format!(
                        "{name} at place {place} holds {} bytes that are not its {}",
                        there.len(),
                        bytes.len()
                    ),
                ),
                Some(_) => {}
            }
        }
        for name in seen
            .files
            .keys()
            .filter(|name| !owed.contains_key(name.as_str()))
        {
            self.say(Wrong::Leftover, format!("{name} at place {place}"));
        }
        for record in &seen.records {
            self.say(
                Wrong::Leftover,
                format!("the record {record} at place {place}"),
            );
        }
    }

    /// The spool keeps what failed, for a retry, and nothing else.
    fn spool(&mut self) {
        let found = self.found;
        let failed = found
            .deliveries
            .iter()
            .filter(|delivery| delivery.state == "failed");
        let kept: Vec<String> = failed
            .filter_map(|delivery| self.bytes_of(delivery))
            .map(|bytes| hex(&Sha256::digest(bytes)))
            .collect();
        for name in found.spool.iter().filter(|name| !kept.contains(name)) {
            self.say(Wrong::Leftover, format!("{name} in the spool"));
        }
    }

    fn deliveries_to<'b>(&self, place: usize) -> Vec<&'b Delivery>
    where
        Self: 'b,
    {
        let found: &'b Found = self.found;
        let deliveries = found.deliveries.iter();
        deliveries
            .filter(|delivery| delivery.place == place)
            .collect()
    }

    fn bytes_of<'b>(&self, delivery: &Delivery) -> Option<&'b [u8]>
    where
        Self: 'b,
    {
        let found: &'b Found = self.found;
        let batch = found
            .batches
            .iter()
            .find(|batch| batch.id == delivery.batch)?;
        let files = match batch.revision {
            Some(revision) => {
                let commit = found
                    .commits
                    .iter()
                    .find(|commit| commit.revision == revision);
                &commit?.files
            }
            None => &found.sent,
        };
        let file = files.iter().find(|(name, _)| *name == delivery.package);
        file.map(|(_, bytes)| bytes.as_slice())
    }

    /// Every install ran once.
    fn installs(&mut self, place: usize, seen: &Seen) {
        for delivery in self.deliveries_to(place) {
            let owed = usize::from(installs(&delivery.package));
            for word in ["begin", "end"] {
                let line = format!("{word} {} {} ", delivery.id, delivery.package);
                let count = seen
                    .lines
                    .iter()
                    .filter(|found| found.starts_with(&line))
                    .count();
                // What is unknown may have run.
                if delivery.state != "unknown" || count > 1 {
                    self.count(&format!("{line}at place {place}"), count, owed);
                }
            }
        }
    }

    /// Installs run one after the other, in the order of the deliveries, which is that of the revisions.
    fn order(&mut self, place: usize, seen: &Seen) {
        let number = |line: &String| line.split(' ').nth(1).and_then(|id| id.parse::<i64>().ok());
        let begun: Vec<i64> = (seen.lines.iter())
            .filter(|line| line.starts_with("begin "))
            .filter_map(number)
            .collect();
        for pair in begun.windows(2) {
            if pair[0] > pair[1] {
                self.say(
                    Wrong::Order,
                    format!("place {place} installs {} before {}", pair[0], pair[1]),
                );
            }
        }
        for (index, line) in seen.lines.iter().enumerate() {
            let own_end = line.replacen("begin", "end", 1);
            let next = seen.lines.get(index + 1);
            if line.starts_with("begin ") && next.is_some_and(|next| *next != own_end) {
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
}

#[cfg(test)]
mod tests;
