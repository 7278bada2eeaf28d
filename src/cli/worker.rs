//! `worker`: works the journal until it is told to stop.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::progress::Progress;
use super::setup::Setup;
use super::{Globals, listen, power, scan, signals};
use crate::config::listening::{self, Listening};
use crate::domain::event::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::state_dir::StateDir;
use crate::worker::scan::work_and_scan;
use crate::worker::{Ended, Role, Until, presence, work};

/// Work the journal until told to stop
///
/// It also scans the drop directories of auto-dispatcher.cfg. SIGTERM or SIGINT ends it within seconds and leaves its
/// work resumable; a second one ends it at once.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// End when nothing is queued, waiting or unplanned
    #[arg(long)]
    until_idle: bool,
    /// Serve the page of this site meanwhile, with /metrics, /health and /status.json; for example on 127.0.0.1:9797
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = listening::address)]
    listen: Option<SocketAddr>,
    /// As a hook starts it: one is enough, and it ends when it was idle for `idle_exit`
    #[arg(long, hide = true, conflicts_with_all = ["until_idle", "listen"])]
    detached: bool,
}

pub(super) fn run(args: &Args, globals: &Globals) -> Result<u8> {
    let setup = Setup::new(globals, None, !args.detached)?;
    let state = setup.state()?;
    if !args.detached {
        setup.start_logging(&state, false)?;
        return serve(args, &setup, globals, state);
    }
    let kept = state.clone();
    setup
        .start_logging_anyhow(&state)
        .and_then(|()| serve(args, &setup, globals, state))
        .inspect_err(|error| presence::keep_failure(&kept, &error.one_line()))
}

fn serve(args: &Args, setup: &Setup, globals: &Globals, state: StateDir) -> Result<u8> {
    // A service's log is all that it shows.
    let progress = args.until_idle.then(Progress::begin);
    if let Some(progress) = &progress {
        progress.follow(&state, None, false);
    }
    let context = setup.context(state, move |event| {
        if let Some(progress) = &progress {
            progress.event(event, None);
        }
    })?;
    if let Some(message) = power::excess() {
        let message = message.to_owned();
        (context.report)(&Event::Notice { message });
    }
    signals::watch(&context)?;
    let (role, until) = if args.detached {
        let limit = Duration::from_secs(setup.settings.idle_exit_s);
        (Role::Detached, Until::IdleFor(limit))
    } else if args.until_idle {
        (Role::Background, Until::Idle)
    } else {
        (Role::Background, Until::Told)
    };
    let listening = listening(args, setup, until == Until::Told)?;
    let ended = listen::while_serving(listening.as_ref(), (setup, globals), &context, || {
        if until != Until::Told {
            return work(&context, role, &until);
        }
        // Without rules nothing is dispatched; it is said, and tried on.
        let rules_file = setup.places.anchor();
        let netrc_file = globals.netrc.as_ref().and(setup.places.netrc.as_deref());
        let jobs = scan::jobs(scan::configured(setup)?, &rules_file, netrc_file, false);
        work_and_scan(&context, &jobs)
    })?;
    match ended {
        Ended::Stopped if args.until_idle => Err(Error::new(
            ErrorKind::Interrupted,
            "told to stop before everything was settled",
        )),
        _ if args.until_idle => Ok(u8::from(context.trouble.load(Ordering::SeqCst))),
        _ => Ok(0),
    }
}

/// Where the page is served: where it was typed, and, by a service, where the settings say.
fn listening(args: &Args, setup: &Setup, is_service: bool) -> Result<Option<Listening>> {
    let settings = &setup.settings;
    let Some(address) = args.listen.or(settings.listen.filter(|_| is_service)) else {
        return Ok(None);
    };
    let listening = Listening {
        address,
        token_file: settings.listen_token_file.clone(),
    };
    match listening.mistake() {
        Some(mistake) => Err(Error::config(format!("--listen {mistake}"))),
        None => Ok(Some(listening)),
    }
}
