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
        Event::StockTaken { directory, files } => info!("{}", stock_taken(directory, *files)),
        Event::Dropped { skipped, .. } => {
            let line = dropped(event).unwrap_or_default();
            match skipped {
                Some((_, true)) => warn!("{line}"),
                _ => info!("{line}"),
            }
        }
        Event::News { message } => info!("{message}"),
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

fn stock_taken(directory: &str, files: u64) -> String {
    let files = counted(files, "file");
    format!(
        "{directory}: {files} there before; not dispatched (--existing would), what comes from now on is"
    )
}

/// `1 file`, `2 files`; a word that ends in `y` makes `ies` of it.
pub(super) fn counted(count: u64, what: &str) -> String {
    match what.strip_suffix('y') {
        _ if count == 1 => format!("1 {what}"),
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {what}s"),
    }
}

/// What came of a dropped file, in a line.
fn dropped(event: &Event) -> Option<String> {
    let Event::Dropped {
        directory,
        path,
        size,
        deliveries,
        skipped,
        ..
    } = event
    else {
        return None;
    };
    let what = match skipped {
        Some((reason, _)) => format!("skipped: {reason}"),
        None => format!(
            "{}, {}",
            bytes(*size),
            counted(*deliveries as u64, "delivery")
        ),
    };
    Some(format!("{directory}/{path}: {what}"))
}

/// Prints what happens for somebody who waits: what concerns `awaited`, or everything.
pub(super) fn print_event(event: &Event, awaited: Option<&Awaited>) {
    let line = match event {
        Event::StockTaken { directory, files } => Some(stock_taken(directory, *files)),
        Event::Dropped { .. } => dropped(event),
        Event::News { message } | Event::Notice { message } if awaited.is_none() => {
            Some(message.clone())
        }
        _ => line_of_delivery(event, awaited),
    };
    if let Some(line) = line {
        // Whoever waits may have gone; the work goes on.
        let _ = writeln!(std::io::stderr(), "{}", crate::domain::text::escape(&line));
    }
}

fn line_of_delivery(event: &Event, awaited: Option<&Awaited>) -> Option<String> {
    let concerns = |subject: &Subject| awaited.is_none_or(|awaited| awaited.concerns(subject));
    match event {
        Event::StepStarted {
            subject,
            step: Step::Install,
        } if concerns(subject) => Some(format!("{}: installing", name(subject))),
        Event::Progress {
            subject,
            bytes: sent,
            total,
        } if concerns(subject) && sent < total => Some(format!(
            "{}: {} of {}",
            name(subject),
            bytes(*sent),
            bytes(*total)
        )),
        Event::Resumed {
            subject,
            bytes: there,
            total,
        } if concerns(subject) => Some(format!(
            "{}: resumed at {} of {}",
            name(subject),
            bytes(*there),
            bytes(*total)
        )),
        Event::FellBack {
            subject,
            from,
            fault,
        } if concerns(subject) => {
            Some(format!("{}: {from} does not serve: {fault}", name(subject)))
        }
        Event::Uploaded {
            subject,
            remote_path,
            digest_checked,
        } if concerns(subject) => Some(format!(
            "{}: uploaded to {remote_path}, {}",
            name(subject),
            checked(*digest_checked)
        )),
        Event::Settled {
            subject,
            transition,
            exit_status,
            ..
        } if concerns(subject) => Some(format!(
            "{}: {}",
            name(subject),
            settled(transition, *exit_status)
        )),
        Event::PlanFailed {
            batch,
            source,
            error,
            ..
        } if awaited.is_none_or(|awaited| awaited.has_batch(*batch)) => {
            Some(format!("{source}: cannot be planned: {error}"))
        }
        _ => None,
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
