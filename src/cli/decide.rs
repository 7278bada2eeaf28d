//! What `retry`, `cancel` and `dismiss` have in common: each delivery is decided by itself and reported on a
//! line of its own, then workers hear of it.

use std::io::Write;

use serde::Serialize;

use super::Globals;
use super::foreground::wake_or_start;
use super::lines::{json_line, line_of};
use super::setup::Setup;
use crate::domain::text::escape;
use crate::error::Result;
use crate::journal::{Decided, DeliveryRow, Journal};
use crate::state_dir::StateDir;
use crate::worker::presence;

#[derive(Serialize)]
struct DecisionJson<'a> {
    id: i64,
    decision: &'static str,
    decided: bool,
    state: Option<&'static str>,
    package: Option<&'a str>,
    host: Option<&'a str>,
    note: &'a str,
}

/// Prints what came of decisions, and keeps what was decided.
pub(super) struct Report<'a> {
    out: &'a mut dyn Write,
    is_json: bool,
    /// The command.
    decision: &'static str,
    /// What is done to a delivery by it.
    participle: &'static str,
    /// Deliveries that were decided, as they are now.
    pub(super) made: Vec<DeliveryRow>,
    /// 1 when something could not be decided.
    pub(super) code: u8,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        out: &'a mut dyn Write,
        is_json: bool,
        decision: &'static str,
        participle: &'static str,
    ) -> Self {
        Self {
            out,
            is_json,
            decision,
            participle,
            made: Vec::new(),
            code: 0,
        }
    }

    /// Prints what came of one decision; `note` says what it means where it was made.
    pub(super) fn add(&mut self, id: i64, decided: Decided, note: &str) -> Result<()> {
        match decided {
            Decided::Made { delivery, .. } => {
                self.print(id, true, Some(&delivery), note)?;
                self.made.push(*delivery);
            }
            Decided::Refused { delivery, reason } => {
                self.code = 1;
                let note = format!("not {}: {reason}", self.participle);
                self.print(id, false, Some(&delivery), &note)?;
            }
            Decided::Missing => {
                self.code = 1;
                let note = "there is no such delivery; `auto-dispatcher history` lists them";
                self.print(id, false, None, note)?;
            }
        }
        Ok(())
    }

    /// A line for people that is about no delivery.
    pub(super) fn say(&mut self, line: &str) -> Result<()> {
        if self.is_json {
            return Ok(());
        }
        line_of(self.out, &escape(line))
    }

    /// A line for programs that is about no delivery.
    pub(super) fn object(&mut self, line: &impl Serialize) -> Result<()> {
        if self.is_json {
            return json_line(self.out, line);
        }
        Ok(())
    }

    fn print(
        &mut self,
        id: i64,
        decided: bool,
        delivery: Option<&DeliveryRow>,
        note: &str,
    ) -> Result<()> {
        if self.is_json {
            let line = DecisionJson {
                id,
                decision: self.decision,
                decided,
                state: delivery.map(|row| row.state.as_str()),
                package: delivery.map(|row| row.package.as_str()),
                host: delivery.map(|row| row.host.as_str()),
                note,
            };
            return json_line(self.out, &line);
        }
        let line = match delivery {
            Some(row) => format!("#{id} {} -> {}: {note}", row.package, row.lane),
            None => format!("#{id}: {note}"),
        };
        line_of(self.out, &escape(&line))
    }
}

/// After something was given up or put away: its bytes go, and what stood behind it goes on.
pub(super) fn let_go(
    setup: &Setup,
    globals: &Globals,
    state: &StateDir,
    journal: &Journal,
    gone: &[DeliveryRow],
) -> Result<()> {
    if let Ok(spool) = setup.spool(state) {
        let artifacts: Vec<String> = gone.iter().filter_map(|row| row.sha256.clone()).collect();
        // What cannot be removed now, a worker sweeps.
        let _ = spool.purge(&artifacts, &|sha256| journal.artifact_is_needed(sha256));
    }
    if journal.has_work()? {
        return wake_or_start(setup, state, globals);
    }
    presence::wake_all(state);
    Ok(())
}
