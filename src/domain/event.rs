//! What happens while the journal is worked: the worker emits these, reporters (log, progress, the
//! foreground commands) render them.

use crate::domain::delivery::{Step, Transition};
use crate::domain::target::TransportKind;

/// Which delivery an event is about; enough to write a line that stands alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The `id` of `history`.
    pub delivery: i64,
    /// The batch.
    pub batch: i64,
    /// Base name of the package.
    pub package: String,
    /// `login@host`, with the port where it is not the usual one.
    pub lane: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A worker began.
    WorkerStarted {
        /// Its number in the journal.
        worker: i64,
    },
    /// A worker ended.
    WorkerEnded {
        /// Its number in the journal.
        worker: i64,
        /// Why: idle, told to stop, ...
        why: String,
    },
    /// A batch was planned.
    Planned {
        /// The batch.
        batch: i64,
        /// What it came from, in words: `r12 of /svn/repo`.
        source: String,
        /// How many deliveries came of it.
        deliveries: usize,
        /// Path and reason of each skip; the flag tells trouble.
        skips: Vec<(String, String, bool)>,
    },
    /// A batch could not be planned; it is tried again.
    PlanFailed {
        /// The batch.
        batch: i64,
        /// What it came from, in words.
        source: String,
        /// Why.
        error: String,
        /// Pause before the next try, in seconds.
        again_in_s: u64,
    },
    /// A delivery of a dead worker was taken up again.
    Rescued {
        /// The delivery.
        delivery: i64,
        /// The worker that died.
        worker: i64,
    },
    /// An attempt began.
    AttemptStarted {
        /// The delivery.
        subject: Subject,
        /// From 1.
        attempt: u32,
    },
    /// A session was opened.
    Connected {
        /// The delivery that needed it.
        subject: Subject,
        /// By which transport.
        transport: TransportKind,
        /// Key or certificate, if any.
        fingerprint: Option<String>,
        /// What was negotiated, in words.
        detail: String,
    },
    /// A transport was given up for the next one of the rule.
    FellBack {
        /// The delivery.
        subject: Subject,
        /// The transport given up.
        from: TransportKind,
        /// Why, beginning with the class.
        fault: String,
    },
    /// A step began.
    StepStarted {
        /// The delivery.
        subject: Subject,
        /// Which.
        step: Step,
    },
    /// Bytes of the package were read out of the repository.
    Exporting {
        /// The delivery.
        subject: Subject,
        /// So far.
        bytes: u64,
        /// In all.
        total: u64,
    },
    /// Bytes were handed over.
    Progress {
        /// The delivery.
        subject: Subject,
        /// So far.
        bytes: u64,
        /// In all.
        total: u64,
    },
    /// An upload went on behind what an earlier attempt had brought.
    Resumed {
        /// The delivery.
        subject: Subject,
        /// How many bytes were there.
        bytes: u64,
        /// In all.
        total: u64,
    },
    /// The package lies verified under its real name.
    Uploaded {
        /// The delivery.
        subject: Subject,
        /// Absolute path on the host.
        remote_path: String,
        /// Whether the host computed the SHA-256 itself.
        digest_checked: bool,
    },
    /// An attempt that was made together with others came to nothing; the delivery goes alone next.
    Parted {
        /// The delivery.
        subject: Subject,
    },
    /// An attempt ended.
    Settled {
        /// The delivery.
        subject: Subject,
        /// From 1.
        attempt: u32,
        /// What became of it.
        transition: Transition,
        /// Exit status of the install command, if it ended by itself.
        exit_status: Option<i32>,
    },
    /// What was settled longer ago than `keep_history` is gone from the journal.
    Pruned {
        /// How many batches.
        batches: usize,
        /// How many deliveries.
        deliveries: usize,
    },
    /// It is looked through what lies in a drop directory before the first start.
    TakingStock {
        /// The drop directory.
        directory: String,
        /// How many files so far.
        files: u64,
        /// In how many directories.
        directories: u64,
    },
    /// A dropped file is copied into the spool.
    Copying {
        /// The file.
        path: String,
        /// Bytes so far.
        bytes: u64,
        /// In all.
        total: u64,
    },
    /// What lies in a drop directory is known: it was there before the first start, and is not dispatched.
    StockTaken {
        /// The drop directory.
        directory: String,
        /// How many files.
        files: u64,
    },
    /// A file of a drop directory is a batch now.
    Dropped {
        /// The batch.
        batch: i64,
        /// The drop directory.
        directory: String,
        /// The file, below it.
        path: String,
        /// Bytes.
        size: u64,
        /// How many deliveries came of it.
        deliveries: usize,
        /// Why it is not delivered, and whether that is trouble.
        skipped: Option<(String, bool)>,
    },
    /// Something worth a line that is no trouble.
    News {
        /// One line.
        message: String,
    },
    /// Something that is no delivery's own: a file that could not be removed, a configuration warning.
    Notice {
        /// One line.
        message: String,
    },
}
