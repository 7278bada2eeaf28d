//! Notices: what people are told of while nobody looks. The kinds of occurrence there are, what is kept of each, and
//! who wants to hear of it. When messages are made of them says [`digest`], what they say [`message`], how each
//! medium writes that [`wording`].

use serde::{Deserialize, Serialize};

pub mod digest;
pub mod message;
pub mod notifier;
pub mod wording;

/// What kind of occurrence it is; the words of `on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something needs the operator: a delivery failed, a revision cannot be planned, a gap, a full disk.
    Failure,
    /// A delivery whose outcome cannot be had.
    Unknown,
    /// What was told as failed works again.
    Recovery,
    /// Every delivery of a batch is settled.
    Batch,
}

impl Kind {
    /// All of them, in the order in which a message tells them.
    pub const ALL: [Self; 4] = [Self::Failure, Self::Unknown, Self::Recovery, Self::Batch];

    /// The word of the settings, the journal and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Unknown => "unknown",
            Self::Recovery => "recovery",
            Self::Batch => "batch",
        }
    }

    /// The kind that [`Kind::as_str`] names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Who is told of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// NAME of `[notify:NAME]`.
    pub name: String,
    /// `on`.
    pub on: Vec<Kind>,
}

/// What is wrong, beside the classes of faults.
pub mod cause {
    /// A revision cannot be planned.
    pub const PLAN: &str = "plan";
    /// Revisions that no hook recorded, too many to dispatch unasked.
    pub const GAP: &str = "gap";
    /// Our own side: a full disk or spool, rules, netrc, svnlook.
    pub const OURS: &str = "ours";
    /// A batch is settled.
    pub const SETTLED: &str = "settled";
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Deliveries that are done.
    pub done: u64,
    /// That failed.
    pub failed: u64,
    /// That are unknown.
    pub unknown: u64,
    /// That the operator cancelled.
    pub cancelled: u64,
    /// Paths that were to be dispatched and have no delivery: no rule, a broken one.
    pub skipped: u64,
}

/// One occurrence, as it waits to be told. Times are milliseconds since 1970 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// What kind.
    pub kind: Kind,
    /// The class of the fault, or one of [`cause`].
    pub cause: String,
    /// Where: the lane, or the repository.
    pub place: String,
    /// When.
    pub at: i64,
    /// Since when this trouble lasts, for a recovery.
    pub since: Option<i64>,
    /// The host, as rules name it.
    pub host: Option<String>,
    /// The delivery.
    pub delivery: Option<i64>,
    /// The batch.
    pub batch: Option<i64>,
    /// Base name of the package.
    pub package: Option<String>,
    /// What the batch came from, in words.
    pub source: Option<String>,
    /// The repository.
    pub repository: Option<String>,
    /// The revision, or the first and the last one.
    pub revisions: Option<(u64, u64)>,
    /// Who committed it.
    pub author: Option<String>,
    /// The rule.
    pub rule: Option<String>,
    /// The step it ended at.
    pub step: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// What became of the batch.
    pub outcomes: Option<Outcomes>,
}

impl Occurrence {
    /// One of which nothing more is known yet.
    pub fn new(kind: Kind, cause: &str, place: &str, at: i64) -> Self {
        Self {
            kind,
            cause: cause.to_owned(),
            place: place.to_owned(),
            at,
            since: None,
            host: None,
            delivery: None,
            batch: None,
            package: None,
            source: None,
            repository: None,
            revisions: None,
            author: None,
            rule: None,
            step: None,
            why: None,
            outcomes: None,
        }
    }

    /// What it is told together with. Each settled batch stands alone.
    pub fn topic(&self) -> String {
        let batch = match (self.kind, self.batch) {
            (Kind::Batch, Some(batch)) => batch.to_string(),
            _ => String::new(),
        };
        format!(
            "{} {} {} {batch}",
            self.kind.as_str(),
            self.cause,
            self.place
        )
    }
}
