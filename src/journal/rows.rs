//! What the journal's rows look like to the rest of the program.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::domain::delivery::{State, Step};
use crate::domain::event::Subject;
use crate::domain::target::{ConnectionTerms, ServiceTerms, Target};

/// What kind of event a batch came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A revision that a hook named, or that filled a gap.
    Revision,
    /// A revision that the operator dispatched again.
    Replay,
    /// Files named on a command line.
    Send,
    /// A drop directory.
    Directory,
}

impl Source {
    /// The word of the journal and of `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revision => "revision",
            Self::Replay => "replay",
            Self::Send => "send",
            Self::Directory => "directory",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Revision, Self::Replay, Self::Send, Self::Directory]
            .into_iter()
            .find(|source| source.as_str() == word)
    }
}

impl FromSql for Source {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

impl ToSql for Source {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

pub(super) struct Word<T>(pub T);

impl FromSql for Word<State> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        State::parse(value.as_str()?)
            .map(Self)
            .ok_or(FromSqlError::InvalidType)
    }
}

impl FromSql for Word<Step> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Step::parse(value.as_str()?)
            .map(Self)
            .ok_or(FromSqlError::InvalidType)
    }
}

/// When what is held is due: the operator decides. 9999-12-31.
pub(super) const NEVER_MS: i64 = 253_402_214_400_000;

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    /// Its number.
    pub id: i64,
    /// What it came from.
    pub source: Source,
    /// Path of the repository, if it came from one.
    pub repository: Option<PathBuf>,
    /// UUID of the repository.
    pub uuid: Option<String>,
    /// The revision.
    pub revision: Option<u64>,
    /// Who committed it; read when it was planned.
    pub author: Option<String>,
    /// The rules file that plans it and whose secrets serve it.
    pub rules_file: Option<PathBuf>,
    /// The netrc that was named on the command line.
    pub netrc_file: Option<PathBuf>,
    /// `YYYYmmdd_HHMMSS`, local time of the recording.
    pub stamp: String,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// `recorded`, `plan_failed` or `planned`.
    pub state: String,
    /// Why it could not be planned.
    pub plan_error: Option<String>,
    /// The exit code that belongs to that error.
    pub plan_exit: Option<u8>,
    /// How often planning was tried in vain.
    pub plan_attempts: u32,
    /// When planning is tried again.
    pub due_at: DateTime<Utc>,
}

impl BatchRow {
    /// `r12 of /svn/repo`, `send`, ...: for messages.
    pub fn describe(&self) -> String {
        let again = if self.source == Source::Replay {
            "replay of "
        } else {
            ""
        };
        match (&self.repository, self.revision) {
            (Some(path), Some(revision)) => format!("{again}r{revision} of {}", path.display()),
            _ => self.source.as_str().to_owned(),
        }
    }

    /// Whether no time mends what keeps it from being planned: the operator has to decide.
    pub fn is_held(&self) -> bool {
        self.state == "plan_failed" && self.due_at >= super::time(NEVER_MS)
    }

    pub(super) const COLUMNS: &'static str =
        "b.id, b.source, r.path, r.uuid, b.revision, b.author, b.rules_file,
        b.netrc_file, b.stamp, b.recorded_at, b.state, b.plan_error, b.plan_attempts, b.due_at, b.plan_exit";

    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let path = |text: Option<String>| text.map(PathBuf::from);
        Ok(Self {
            id: row.get(0)?,
            source: row.get(1)?,
            repository: path(row.get(2)?),
            uuid: row.get(3)?,
            revision: row.get(4)?,
            author: row.get(5)?,
            rules_file: path(row.get(6)?),
            netrc_file: path(row.get(7)?),
            stamp: row.get(8)?,
            recorded_at: super::time(row.get(9)?),
            state: row.get(10)?,
            plan_error: row.get(11)?,
            plan_attempts: row.get(12)?,
            due_at: super::time(row.get(13)?),
            plan_exit: row.get(14)?,
        })
    }
}

/// A path of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageRow {
    /// Path in its source.
    pub path: String,
    /// `added`, `modified`, ...
    pub action: String,
    /// Why it is not delivered.
    pub skipped: Option<String>,
    /// Whether the skip wants the operator's attention.
    pub trouble: bool,
}

/// A repository of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryRow {
    /// Its path.
    pub path: PathBuf,
    /// Its UUID.
    pub uuid: String,
    /// The highest revision recorded.
    pub last_revision: Option<u64>,
    /// Batches of it that are not planned yet.
    pub unplanned: u64,
}

/// A delivery, for `history`, `status` and `show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its number.
    pub id: i64,
    /// The batch.
    pub batch: i64,
    /// What the batch came from.
    pub source: Source,
    /// Path of the repository.
    pub repository: Option<String>,
    /// The revision.
    pub revision: Option<u64>,
    /// Who committed it.
    pub author: Option<String>,
    /// Base name.
    pub package: String,
    /// Path in the source.
    pub path: String,
    /// Name of the rule.
    pub rule: String,
    /// Line of the rule when it was planned.
    pub rule_line: u64,
    /// Host.
    pub host: String,
    /// Login.
    pub login: String,
    /// Name of the lane.
    pub lane: String,
    /// Where it stands.
    pub state: State,
    /// The step that it is at, or that it ended at.
    pub step: Step,
    /// Attempts begun.
    pub attempts: u32,
    /// Transport of the last attempt.
    pub transport: Option<String>,
    /// Absolute path on the host, once it is known.
    pub remote_path: Option<String>,
    /// SHA-256, once exported.
    pub sha256: Option<String>,
    /// Size in bytes, once exported.
    pub size: Option<u64>,
    /// Exit status of the install command.
    pub exit_status: Option<i32>,
    /// Class of the last fault.
    pub fault: Option<String>,
    /// Message of the last fault.
    pub error: Option<String>,
    /// When it was planned.
    pub queued_at: DateTime<Utc>,
    /// When a waiting one is due.
    pub due_at: DateTime<Utc>,
    /// When it was settled for good.
    pub settled_at: Option<DateTime<Utc>>,
    /// When the operator had done with it, though it is failed or unknown.
    pub dismissed_at: Option<DateTime<Utc>>,
    /// The drop directory that its file lay in.
    pub directory: Option<String>,
    /// The directory as planned.
    pub dest_dir: String,
    /// The install command as planned, if any.
    pub install_command: Option<String>,
}

/// An attempt, for `show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// From 1.
    pub number: u32,
    /// Which worker.
    pub worker: i64,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// The step that it ended at.
    pub step: Option<String>,
    /// State of the delivery afterwards.
    pub outcome: Option<String>,
    /// By which transport.
    pub transport: Option<String>,
    /// Host key or certificate.
    pub fingerprint: Option<String>,
    /// What was negotiated.
    pub detail: Option<String>,
    /// `digest` or `length`.
    pub verified: Option<String>,
    /// Class of the fault.
    pub fault: Option<String>,
    /// Message of the fault.
    pub error: Option<String>,
    /// Exit status of the install command.
    pub exit_status: Option<i32>,
    /// Output of the install command: its tail.
    pub output: Option<Vec<u8>>,
    /// Bytes of output that came before the tail.
    pub output_cut: u64,
}

/// Everything that an attempt at a delivery needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The delivery.
    pub delivery: i64,
    /// Its package's row.
    pub package_id: i64,
    /// Base name.
    pub package: String,
    /// Path in the source.
    pub path: String,
    /// The batch.
    pub batch: BatchRow,
    /// Name of the rule.
    pub rule: String,
    /// Where to.
    pub target: Target,
    /// Directory on the host, `~` not resolved.
    pub dest_dir: String,
    /// How to reach the target.
    pub connection: ConnectionTerms,
    /// How to deliver and install.
    pub service: ServiceTerms,
    /// Counts the operator's decisions to run the install command again.
    pub run: u32,
    /// Whether an install command may have begun whose outcome is still on the host.
    pub install_began: bool,
    /// Whether the operator has said that it is run again, once, if its outcome is lost.
    pub rerun: bool,
    /// The step to go on at: `install` when the upload is done, else `export`.
    pub step: Step,
    /// Where it was uploaded.
    pub remote_path: Option<String>,
    /// SHA-256, if it was exported.
    pub sha256: Option<String>,
    /// Size, if it was exported.
    pub size: Option<u64>,
}

impl Work {
    /// For what is told of it.
    pub fn subject(&self) -> Subject {
        Subject {
            delivery: self.delivery,
            batch: self.batch.id,
            package: self.package.clone(),
            lane: self.target.lane(),
        }
    }
}
