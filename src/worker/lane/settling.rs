//! The end of an attempt, and of those that came with it: written, again and again while the journal refuses, then
//! told. Decides nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::Utc;

use crate::domain::delivery::{Step, Transition};
use crate::domain::event::{Event, Subject};
use crate::error::{Error, Result};
use crate::fail_points;
use crate::journal::{Claim, Journal, Settling};
use crate::worker::Context;
use crate::worker::attempt::{Companions, Left};

/// Pause between two tries to write the end of an attempt to a journal that refuses it.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);

/// An attempt that has ended.
pub(super) struct Ended {
    pub(super) claim: Claim,
    pub(super) subject: Subject,
    pub(super) package_id: i64,
    /// Where the package lies, if it came in a group.
    pub(super) arrived: Option<String>,
    pub(super) transition: Transition,
    pub(super) left: Left,
    /// Whether it was taken along by another one.
    pub(super) is_companion: bool,
}

/// The ends of those that were taken along: what has arrived is done, and the rest is as if it had not been tried.
pub(super) fn of(companions: &mut Companions) -> Vec<Ended> {
    let ended = companions.take().into_iter().map(|companion| {
        let (transition, step) = match companion.arrived {
            Some(_) => (Transition::Done, Step::Verify),
            None => (Transition::Release, Step::Export),
        };
        Ended {
            claim: companion.claim,
            subject: companion.subject,
            package_id: companion.package_id,
            arrived: companion.arrived,
            transition,
            left: Left {
                step,
                resume_at: step,
                record: companion.record,
                collected: None,
                install_began: false,
            },
            is_companion: true,
        }
    });
    ended.collect()
}

/// Writes the ends of attempts, again and again while the journal refuses: what was done on the host
/// must not be forgotten because our disk is full for a minute. Gives up when the worker has to stop;
/// the next worker then takes the deliveries up where the journal says they stand.
pub(super) fn settle_durably(
    context: &Context,
    journal: &mut Journal,
    ended: &[Ended],
    companions: &Companions,
) -> Result<()> {
    let Some(first) = ended.first() else {
        return Ok(());
    };
    fail_points::hit("lane.settling");
    let settlings: Vec<Settling<'_>> = ended.iter().map(Ended::settling).collect();
    let gone = companions.gone();
    let mut reported = false;
    loop {
        let error = match journal.settle_all(&settlings, gone.as_ref(), Utc::now()) {
            Ok(true) => break,
            Ok(false) => {
                return Err(Error::state(format!(
                    "delivery {} was taken over by another process; what this one did is not recorded",
                    first.claim.delivery
                )));
            }
            Err(error) => error,
        };
        if context.stop.is_raised() {
            return Err(error);
        }
        if !reported {
            context.emit(&Event::Notice {
                message: format!(
                    "delivery {}: {}; trying on",
                    first.claim.delivery,
                    error.one_line()
                ),
            });
            reported = true;
        }
        std::thread::sleep(SETTLE_PAUSE);
    }
    fail_points::hit("lane.settled");
    Ok(())
}

impl Ended {
    fn settling(&self) -> Settling<'_> {
        let is_open = self.transition.state().is_open();
        Settling {
            claim: &self.claim,
            transition: &self.transition,
            step: if is_open {
                self.left.resume_at
            } else {
                self.left.step
            },
            install_began: self.left.install_began,
            record: &self.left.record,
            arrived: self.arrived.as_deref(),
        }
    }
}

/// What the journal knows, everybody may.
pub(super) fn tell(context: &Context, journal: &Journal, ended: Vec<Ended>) {
    tidy_spool(context, journal, &ended);
    let is_stopping = context.stop.is_raised();
    let mut ended = ended.into_iter();
    (context.together)(&mut || {
        for one in ended.by_ref() {
            tell_one(context, one, is_stopping);
        }
    });
}

fn tell_one(context: &Context, one: Ended, is_stopping: bool) {
    if one.is_companion && one.transition == Transition::Release && !is_stopping {
        return context.emit(&Event::Parted {
            subject: one.subject,
        });
    }
    if matches!(
        one.transition,
        Transition::Fail { .. } | Transition::Lose { .. }
    ) {
        context.trouble.store(true, Ordering::SeqCst);
    }
    if let Some(remote_path) = one.arrived {
        context.emit(&Event::Uploaded {
            subject: one.subject.clone(),
            remote_path,
            digest_checked: true,
        });
    }
    context.emit(&Event::Settled {
        subject: one.subject,
        attempt: one.claim.attempt,
        transition: one.transition,
        exit_status: one.left.record.exit_status,
    });
}

/// Removes the artifacts of what is done.
fn tidy_spool(context: &Context, journal: &Journal, ended: &[Ended]) {
    let done = ended
        .iter()
        .filter(|one| one.transition == Transition::Done);
    let purge = || -> Result<bool> {
        let mut artifacts = Vec::new();
        for one in done {
            artifacts.extend(journal.artifact_of(one.package_id)?);
        }
        let artifacts: Vec<String> = artifacts.into_iter().map(|(sha256, _)| sha256).collect();
        context
            .spool
            .purge(&artifacts, &|sha256| journal.artifact_is_needed(sha256))?;
        Ok(!artifacts.is_empty())
    };
    match purge() {
        Ok(true) => fail_points::hit("lane.purged"),
        Ok(false) => {}
        Err(error) => context.emit(&Event::Notice {
            message: format!(
                "the spool keeps an artifact that nobody needs: {}",
                error.one_line()
            ),
        }),
    }
}
