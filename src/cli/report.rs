//! Events rendered: as log lines, and as the lines of foreground commands.

use std::io::Write as _;

use log::{debug, error, info, warn};

use super::lines::bytes;
use crate::domain::delivery::{Step, Transition};
use crate::domain::event::{Event, Subject};
use crate::journal::Awaited;

fn name(subject: &Subject) -> String {
    format!(
        "#{} {} -> {}",
        subject.delivery, subject.package, subject.lane
    )
}

/// Writes an event to the log.
pub(super) fn log_event(event: &Event) {
    match event {
        Event::WorkerStarted { worker } => {
            info!("worker {worker} (pid {}) began", std::process::id());
        }
        Event::WorkerEnded { worker, why } => info!("worker {worker} ended: {why}"),
        Event::Planned {
            source,
            deliveries,
            skips,
            ..
        } => {
            info!("{source}: {deliveries} deliveries, {} skipped", skips.len());
            for (path, reason, trouble) in skips {
                if *trouble {
                    warn!("{source}: skipped {path}: {reason}");
                } else {
                    info!("{source}: skipped {path}: {reason}");
                }
            }
        }
        Event::PlanFailed {
            source,
            error,
            again_in_s,
            ..
        } => {
            error!("{source}: cannot be planned: {error}; tried again in {again_in_s} s");
        }
        Event::Rescued { delivery, worker } => {
            warn!("#{delivery} taken over from worker {worker}, which died");
        }
        Event::Pruned {
            batches,
            deliveries,
        } => {
            info!(
                "pruned {batches} batches with {deliveries} deliveries: settled longer ago than keep_history"
            );
        }
        Event::Notice { message } => warn!("{message}"),
        _ => log_delivery_event(event),
    }
}

fn log_delivery_event(event: &Event) {
    match event {
        Event::AttemptStarted { subject, attempt } => {
            debug!("{}: attempt {attempt}", name(subject));
        }
        Event::Connected {
            subject,
            transport,
            fingerprint,
            detail,
        } => {
            let key = fingerprint.as_deref().unwrap_or("no key");
            info!(
                "{}: connected by {transport} ({detail}), {key}",
                name(subject)
            );
            if *transport == crate::domain::target::TransportKind::Ftp {
                warn!(
                    "{}: password and package travel in clear (ftp)",
                    name(subject)
                );
            }
        }
        Event::FellBack {
            subject,
            from,
            fault,
        } => {
            warn!("{}: {from} does not serve: {fault}", name(subject));
        }
        Event::StepStarted { subject, step } => debug!("{}: {step}", name(subject)),
        Event::Resumed {
            subject,
            bytes,
            total,
        } => {
            info!("{}: resumed at {bytes} of {total} bytes", name(subject));
        }
        Event::Uploaded {
            subject,
            remote_path,
            digest_checked,
        } => {
            info!(
                "{}: uploaded to {remote_path}, {}",
                name(subject),
                checked(*digest_checked)
            );
        }
        Event::Settled {
            subject,
            transition,
            exit_status,
            ..
        } => {
            let line = format!("{}: {}", name(subject), settled(transition, *exit_status));
            match transition {
                Transition::Done | Transition::Release => info!("{line}"),
                Transition::Wait { .. } => warn!("{line}"),
                Transition::Fail { .. } | Transition::Lose { .. } => {
                    error!("{line}");
                }
            }
        }
        _ => {}
    }
}

/// Prints what concerns `awaited` for somebody who waits.
pub(super) fn print_event(event: &Event, awaited: &Awaited) {
    let line = match event {
        Event::StepStarted {
            subject,
            step: Step::Install,
        } if awaited.concerns(subject) => Some(format!("{}: installing", name(subject))),
        Event::Progress {
            subject,
            bytes: sent,
            total,
        } if awaited.concerns(subject) && sent < total => Some(format!(
            "{}: {} of {}",
            name(subject),
            bytes(*sent),
            bytes(*total)
        )),
        Event::Resumed {
            subject,
            bytes: there,
            total,
        } if awaited.concerns(subject) => Some(format!(
            "{}: resumed at {} of {}",
            name(subject),
            bytes(*there),
            bytes(*total)
        )),
        Event::FellBack {
            subject,
            from,
            fault,
        } if awaited.concerns(subject) => {
            Some(format!("{}: {from} does not serve: {fault}", name(subject)))
        }
        Event::Uploaded {
            subject,
            remote_path,
            digest_checked,
        } if awaited.concerns(subject) => Some(format!(
            "{}: uploaded to {remote_path}, {}",
            name(subject),
            checked(*digest_checked)
        )),
        Event::Settled {
            subject,
            transition,
            exit_status,
            ..
        } if awaited.concerns(subject) => Some(format!(
            "{}: {}",
            name(subject),
            settled(transition, *exit_status)
        )),
        Event::PlanFailed {
            batch,
            source,
            error,
            ..
        } if awaited.has_batch(*batch) => Some(format!("{source}: cannot be planned: {error}")),
        _ => None,
    };
    if let Some(line) = line {
        // Whoever waits may have gone; the work goes on.
        let _ = writeln!(std::io::stderr(), "{}", crate::domain::text::escape(&line));
    }
}

fn checked(digest: bool) -> &'static str {
    if digest {
        "SHA-256 verified there"
    } else {
        "length verified"
    }
}

fn settled(transition: &Transition, exit_status: Option<i32>) -> String {
    match transition {
        Transition::Done => match exit_status {
            Some(status) => format!("done (install exit status {status})"),
            None => "done".to_owned(),
        },
        Transition::Wait { delay, fault, .. } => {
            format!("{fault}; tried again in {} s", delay.as_secs())
        }
        Transition::Fail { fault } => format!("failed: {fault}"),
        Transition::Lose { fault } => format!("unknown: {fault}"),
        Transition::Release => "interrupted; it goes on where it stopped".to_owned(),
    }
}
