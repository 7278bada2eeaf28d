//! Events as lines for somebody who waits: all that happens where there are no bars, and beside bars what they do not show.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::lines::bytes;
use crate::cli::report::{checked, dropped, name, settled, stock_taken, taking_stock};
use crate::domain::delivery::{Step, Transition};
use crate::domain::event::{Event, Subject};
use crate::domain::text::escape;
use crate::journal::Awaited;

/// How far something has come is told at most this often.
const EVERY: Duration = Duration::from_secs(5);

/// Chooses what is told, and how often.
pub(super) struct Reporter {
    has_bars: bool,
    prints: AtomicBool,
    /// Whether a table tells in the end what is done.
    has_table: AtomicBool,
    /// When it was last told how far something has come.
    told: Mutex<HashMap<String, Instant>>,
}

impl Reporter {
    /// Tells nothing yet.
    pub(super) fn new(has_bars: bool) -> Self {
        Self {
            has_bars,
            prints: AtomicBool::new(false),
            has_table: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    pub(super) fn prints(&self, prints: bool) {
        self.prints.store(prints, Ordering::SeqCst);
    }

    pub(super) fn has_table(&self, has_table: bool) {
        self.has_table.store(has_table, Ordering::SeqCst);
    }

    /// An event as a line, if it is to be told: what concerns `awaited`, or everything.
    pub(super) fn line(&self, event: &Event, awaited: Option<&Awaited>) -> Option<String> {
        if !self.prints.load(Ordering::SeqCst) || (self.has_bars && self.is_seen(event)) {
            return None;
        }
        let line = match event {
            Event::StockTaken { directory, files } => stock_taken(directory, *files),
            Event::TakingStock { .. } => taking_stock(event)?,
            Event::Dropped { .. } => dropped(event)?,
            Event::Copying { path, bytes, total } => return self.advance(path, *bytes, *total),
            Event::News { message } if awaited.is_none() => message.clone(),
            Event::Notice { message } if awaited.is_none() || self.has_bars => message.clone(),
            Event::PlanFailed {
                batch,
                source,
                error,
                ..
            } if awaited.is_none_or(|awaited| awaited.has_batch(*batch)) => {
                format!("{source}: cannot be planned: {error}")
            }
            _ => {
                let subject = subject_of(event)?;
                if awaited.is_some_and(|awaited| !awaited.concerns(subject)) {
                    return None;
                }
                format!("{}: {}", name(subject), self.what_happened(event)?)
            }
        };
        Some(escape(&line).into_owned())
    }

    /// How far something has come, now and then.
    pub(super) fn advance(&self, what: &str, done: u64, total: u64) -> Option<String> {
        if !self.prints.load(Ordering::SeqCst) || done >= total || !self.is_due(what) {
            return None;
        }
        let line = format!("{what}: {} of {}", bytes(done), bytes(total));
        Some(escape(&line).into_owned())
    }

    fn what_happened(&self, event: &Event) -> Option<String> {
        let line = match event {
            Event::StepStarted {
                step: Step::Install,
                ..
            } => "installing".to_owned(),
            Event::Progress {
                subject,
                bytes: sent,
                total,
            } if sent < total && self.is_due(&subject.delivery.to_string()) => {
                format!("{} of {}", bytes(*sent), bytes(*total))
            }
            Event::Exporting {
                subject,
                bytes: read,
                total,
            } if read < total && self.is_due(&subject.delivery.to_string()) => {
                format!("exported {} of {}", bytes(*read), bytes(*total))
            }
            Event::Resumed {
                bytes: there,
                total,
                ..
            } => format!("resumed at {} of {}", bytes(*there), bytes(*total)),
            Event::FellBack { from, fault, .. } => format!("{from} does not serve: {fault}"),
            Event::Uploaded {
                remote_path,
                digest_checked,
                ..
            } => format!("uploaded to {remote_path}, {}", checked(*digest_checked)),
            Event::Settled {
                transition,
                exit_status,
                ..
            } => settled(transition, *exit_status),
            _ => return None,
        };
        Some(line)
    }

    /// Whether bars show it, or the table in the end does.
    fn is_seen(&self, event: &Event) -> bool {
        match event {
            Event::TakingStock { .. }
            | Event::Copying { .. }
            | Event::StepStarted { .. }
            | Event::Exporting { .. }
            | Event::Progress { .. }
            | Event::Resumed { .. }
            | Event::Uploaded { .. } => true,
            Event::Settled { transition, .. } => {
                *transition == Transition::Done && self.has_table.load(Ordering::SeqCst)
            }
            _ => false,
        }
    }

    /// What is over soon is never told of.
    fn is_due(&self, what: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let last = told.entry(what.to_owned()).or_insert_with(Instant::now);
        let is_due = last.elapsed() >= EVERY;
        if is_due {
            *last = Instant::now();
        }
        is_due
    }
}

fn subject_of(event: &Event) -> Option<&Subject> {
    match event {
        Event::StepStarted { subject, .. }
        | Event::Exporting { subject, .. }
        | Event::Progress { subject, .. }
        | Event::Resumed { subject, .. }
        | Event::FellBack { subject, .. }
        | Event::Uploaded { subject, .. }
        | Event::Settled { subject, .. } => Some(subject),
        _ => None,
    }
}
