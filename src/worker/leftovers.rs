//! Removes from hosts what attempts left there whose deliveries nobody works any more, while a session is open
//! anyway. Nothing that fails here is a fault of the delivery that opened the session.

use super::Context;
use super::sessions::{Sessions, is_final};
use crate::domain::event::Event;
use crate::error::Error;
use crate::journal::{Journal, Leftover, Remains};

/// Removes what the open sessions of `lane` can remove. Costs a look into the journal where there is nothing.
pub(super) fn tidy(context: &Context, journal: &mut Journal, sessions: &mut Sessions, lane: &str) {
    let leftovers = match journal.leftovers(lane) {
        Ok(leftovers) => leftovers,
        Err(error) => return notice(context, lane, &error),
    };
    let mut gone = Vec::new();
    for leftover in leftovers {
        if context.stop.is_raised() {
            break;
        }
        if !sessions.can_tidy(&leftover) {
            continue;
        }
        match sessions.tidy(&leftover) {
            Ok(true) => gone.push(leftover.id),
            // Its command runs: another time.
            Ok(false) => {}
            Err(fault) => {
                let then = if is_final(&fault) {
                    gone.push(leftover.id);
                    "it stays there"
                } else {
                    "tried again later"
                };
                let said = sessions.hide(&fault.to_string());
                context.emit(&Event::Notice {
                    message: format!("{lane}: {}: {said}; {then}", what(&leftover)),
                });
            }
        }
    }
    if !gone.is_empty()
        && let Err(error) = journal.forget_leftovers(&gone, &sessions.take_forgotten())
    {
        notice(context, lane, &error);
    }
}

/// Tells the journal which installs the hosts have forgotten: once for many, since every write waits for the disk.
pub(super) fn forget(context: &Context, journal: &mut Journal, sessions: &mut Sessions) {
    if let Err(error) = journal.forget_leftovers(&[], &sessions.take_forgotten()) {
        // Whoever works the lane next asks the host to forget them again, which does no harm.
        notice(context, "leftovers", &error);
    }
}

fn what(leftover: &Leftover) -> String {
    match &leftover.remains {
        Remains::Upload { dir, temporary, .. } => {
            format!("the temporary file {temporary} in {dir}")
        }
        Remains::Group { dir, temporary } => {
            format!("the temporary directory {temporary} in {dir}")
        }
        Remains::Install { token } => format!("the record of the install {token}"),
    }
}

fn notice(context: &Context, lane: &str, error: &Error) {
    context.emit(&Event::Notice {
        message: format!("{lane}: {}", error.one_line()),
    });
}
