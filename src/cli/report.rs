//! Events in words, and as log lines.

use log::{debug, error, info, warn};

use super::lines::bytes;
use crate::domain::delivery::Transition;
use crate::domain::event::{Event, Subject};

pub(super) fn name(subject: &Subject) -> String {
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
        Event::TakingStock { .. } => info!("{}", taking_stock(event).unwrap_or_default()),
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
        Event::Parted { subject } => debug!("{}: goes alone next", name(subject)),
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

pub(super) fn stock_taken(directory: &str, files: u64) -> String {
    let files = counted(files, "file");
    format!(
        "{directory}: {files} there before; not dispatched (--existing would), what comes from now on is"
    )
}

/// How far taking stock has come, in a line.
pub(super) fn taking_stock(event: &Event) -> Option<String> {
    let Event::TakingStock {
        directory,
        files,
        directories,
    } = event
    else {
        return None;
    };
    Some(format!(
        "{directory}: taking stock: {files} files in {directories} directories so far"
    ))
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
pub(super) fn dropped(event: &Event) -> Option<String> {
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

pub(super) fn checked(digest: bool) -> &'static str {
    if digest {
        "SHA-256 verified there"
    } else {
        "length verified"
    }
}

pub(super) fn settled(transition: &Transition, exit_status: Option<i32>) -> String {
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
