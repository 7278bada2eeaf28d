//! `notify`: who is told of what, and `notify --test`: tells them now that nothing has happened.

use std::io::Write;

use chrono::{Local, Offset as _, Utc};
use serde::Serialize;

use super::lines::{json_line, line_of};
use super::screen::Screen;
use super::setup::Setup;
use super::table::Table;
use super::{Globals, signals};
use crate::domain::notice::message::{Making, test};
use crate::domain::notice::notifier::{Notifier, Way};
use crate::domain::text::escape;
use crate::error::{Error, ErrorKind, Result};
use crate::worker::tellers::send_now;

/// Who is told of failures, and whether that works
///
/// Lists the notifiers of auto-dispatcher.cfg. With --test each of them is sent a message now, by the way and with the
/// secrets that notices go by; exit code 1: one was not sent.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// These alone, as [notify:NAME] names them [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Send each of them a test message
    #[arg(long)]
    test: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct NotifierJson<'a> {
    notifier: &'a str,
    way: &'static str,
    on: Vec<&'static str>,
    /// None: it was not tried.
    sent: Option<bool>,
    said: Option<&'a str>,
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let setup = Setup::new(globals, None, true)?;
    let chosen = chosen(args, &setup)?;
    if !args.test {
        list(&chosen, args.json, out)?;
        return Ok(0);
    }
    signals::watch_early()?;
    let telling = setup.telling();
    let mut failed = false;
    for notifier in chosen {
        let now = Utc::now();
        let message = test(&Making {
            id: format!("test-{:x}", now.timestamp_micros()),
            site: &telling.site,
            notifier: &notifier.name,
            program: &telling.program,
            zone: Local::now().offset().fix(),
            now: now.timestamp_millis(),
        });
        let sent = send_now(notifier, &message, &telling.secrets, &|| false);
        failed |= sent.is_err();
        let (Ok(said) | Err(said)) = &sent;
        if args.json {
            json_line(out, &json_of(notifier, Some((sent.is_ok(), said))))?;
        } else {
            let word = if sent.is_ok() { "ok" } else { "failed" };
            let line = format!("{word}: {} ({}): {said}", notifier.name, way(notifier));
            line_of(out, &escape(&line))?;
        }
    }
    Ok(if failed {
        ErrorKind::Delivery.exit_code()
    } else {
        0
    })
}

fn chosen<'a>(args: &Args, setup: &'a Setup) -> Result<Vec<&'a Notifier>> {
    let all = &setup.settings.notifiers;
    let file = setup.places.settings.to_string_lossy();
    if all.is_empty() {
        return Err(
            Error::config(format!("{} has no section [notify:NAME]", escape(&file)))
                .with_hint("README.md, \"Notices\", shows one of each kind"),
        );
    }
    for name in &args.names {
        if !all.iter().any(|known| known.name == *name) {
            let names: Vec<&str> = all.iter().map(|known| known.name.as_str()).collect();
            return Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "{} has no section [notify:{}]; it has {}",
                    escape(&file),
                    escape(name),
                    escape(&names.join(", "))
                ),
            ));
        }
    }
    let is_chosen = |one: &&Notifier| args.names.is_empty() || args.names.contains(&one.name);
    Ok(all.iter().filter(is_chosen).collect())
}

fn list(chosen: &[&Notifier], json: bool, out: &mut dyn Write) -> Result<()> {
    if json {
        return chosen
            .iter()
            .try_for_each(|notifier| json_line(out, &json_of(notifier, None)));
    }
    let mut table = Table::new(&["NAME", "BY", "ON", "DIGEST AFTER", "GIVEN UP AFTER"]);
    for notifier in chosen {
        table.row([
            notifier.name.clone(),
            way(notifier).to_owned(),
            on(notifier).join(", "),
            format!("{} s", notifier.digest_after_s),
            format!("{} s", notifier.give_up_after_s),
        ]);
    }
    table.print(&Screen::stdout(), out)
}

fn json_of<'a>(notifier: &'a Notifier, sent: Option<(bool, &'a str)>) -> NotifierJson<'a> {
    NotifierJson {
        notifier: &notifier.name,
        way: way(notifier),
        on: on(notifier),
        sent: sent.map(|(sent, _)| sent),
        said: sent.map(|(_, said)| said),
    }
}

fn on(notifier: &Notifier) -> Vec<&'static str> {
    notifier.on.iter().map(|kind| kind.as_str()).collect()
}

fn way(notifier: &Notifier) -> &'static str {
    match notifier.way {
        Way::Command(_) => "command",
        Way::Mail(_) => "mail",
        Way::Webhook(_) => "webhook",
    }
}
