//! What is owed when all is over, and what is wrong where it is not so. Looks at no file and no process: it is
//! told what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use auto_dispatcher::domain::artifact::Digester;

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
    /// Its packages and deliveries are gone from the record.
    pub is_pruned: bool,
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
    /// Starts of the install command that were decided on.
    pub runs: usize,
    pub is_dismissed: bool,
}

/// What the operator asked for, whether or not he was heard: his command may have been killed.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// How often, for each delivery.
    pub retries: BTreeMap<i64, usize>,
    pub cancels: BTreeSet<i64>,
    pub dismissals: BTreeSet<i64>,
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
    pub asked: Asked,
    /// Whether the record is pruned: then nothing was replayed, sent or decided, and what was committed says
    /// what is owed.
    pub prunes: bool,
    pub batches: Vec<Batch>,
    pub deliveries: Vec<Delivery>,
    pub places: Vec<Seen>,
    /// What lies in the spool.
    pub spool: Vec<String>,
    /// What else stayed on our side: marks, processes.
    pub leftovers: Vec<String>,
    /// Attempts that began behind a failure that stopped their lane.
    pub passed_stops: Vec<String>,
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

/// `file`, `ok`, `slow`, `bad`, `shot` (it kills itself), `loud` (it prints much) or `fork` (it leaves a process).
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
    for passed in &found.passed_stops {
        checker.say(Wrong::Order, passed.clone());
    }
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
            if batch.is_pruned {
                if !found.prunes || !theirs.is_empty() {
                    self.say(Wrong::Loss, format!("pruned: {batch:?}: {theirs:?}"));
                }
                continue;
            }
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
                "shot" => ("failed", Some(137)),
                _ => ("done", Some(0)),
            };
            let asked = &self.found.asked;
            if delivery.state == "cancelled" && asked.cancels.contains(&delivery.id) {
                continue;
            }
            if delivery.is_dismissed && !asked.dismissals.contains(&delivery.id) {
                let text = format!("nobody dismissed {delivery:?}");
                self.say(Wrong::Loss, text);
            }
            if (delivery.state.as_str(), delivery.exit_status) != owed {
                let why = delivery.error.as_deref().unwrap_or("no error");
                let text = format!("{delivery:?} ({why}) ought to be {owed:?}");
                self.say(Wrong::Unsettled, text);
            }
        }
    }

    /// What may lie at a place under each name, the last of it for sure; nothing has to where it is `None`.
    fn owed_files(&mut self, place: usize) -> BTreeMap<&str, Vec<Option<&[u8]>>> {
        let found = self.found;
        let mut owed: BTreeMap<&str, Vec<Option<&[u8]>>> = BTreeMap::new();
        if found.prunes {
            for (name, bytes) in found.commits.iter().flat_map(|commit| &commit.files) {
                if places_of(name).contains(&place) {
                    owed.insert(name, vec![Some(bytes)]);
                }
            }
            return owed;
        }
        let mut here: Vec<&Delivery> = self.deliveries_to(place);
        here.sort_by_key(|delivery| delivery.id);
        for delivery in here {
            let Some(bytes) = self.bytes_of(delivery) else {
                self.say(Wrong::Double, format!("of no source: {delivery:?}"));
                continue;
            };
            let may_lie = owed.entry(&delivery.package).or_insert_with(|| vec![None]);
            // A cancelled one may have come so far; one that was retried may have come once more, later.
            let is_sure = delivery.state != "cancelled";
            if is_sure {
                let retried = here_again(found, place, &delivery.package);
                *may_lie = retried
                    .into_iter()
                    .filter_map(|other| self.bytes_of(other))
                    .map(Some)
                    .collect();
            }
            may_lie.push(Some(bytes));
        }
        owed
    }

    /// Every package is whole, as the last delivery brought it, and nothing else is there.
    fn files(&mut self, place: usize, seen: &Seen) {
        let owed = self.owed_files(place);
        let mut wrong = Vec::new();
        for (name, may_lie) in &owed {
            let there = seen.files.get(*name).map(Vec::as_slice);
            if may_lie.contains(&there) {
                continue;
            }
            wrong.push(match there {
                None => (Wrong::Loss, format!("{name} is not at place {place}")),
                Some(there) => (
                    Wrong::Half,
                    format!(
                        "{name} at place {place} holds {} bytes that are not its {:?}",
                        there.len(),
                        may_lie
                            .iter()
                            .map(|bytes| bytes.map(<[u8]>::len))
                            .collect::<Vec<_>>()
                    ),
                ),
            });
        }
        let strange = seen
            .files
            .keys()
            .filter(|name| !owed.contains_key(name.as_str()));
        wrong.extend(strange.map(|name| (Wrong::Leftover, format!("{name} at place {place}"))));
        for (wrong, text) in wrong {
            self.say(wrong, text);
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
            .filter(|delivery| delivery.state == "failed" && !delivery.is_dismissed);
        let kept: Vec<String> = failed
            .filter_map(|delivery| self.bytes_of(delivery))
            .map(Digester::of)
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
}

/// The deliveries of a package to a place that the operator asked to be retried.
fn here_again<'a>(found: &'a Found, place: usize, package: &str) -> Vec<&'a Delivery> {
    let theirs = |delivery: &&Delivery| {
        delivery.place == place
            && delivery.package == package
            && found.asked.retries.contains_key(&delivery.id)
    };
    found.deliveries.iter().filter(theirs).collect()
}

mod installs;
#[cfg(test)]
mod tests;
