//! The checks of hosts: all targets of the rules at once, as many as a worker serves, their results in the order of the
//! rules as they come.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crossbeam_channel::unbounded;

use super::aims::{Aim, Only, aims};
use super::check::{Grouped, Teller};
use super::here::us;
use super::target;
use crate::cli::setup::Setup;
use crate::config::credentials::CredentialStore;
use crate::domain::artifact::Digester;
use crate::error::{Error, Result};
use crate::transport::{StopFlag, Surroundings};

/// What a trial writes.
const TRIAL: &[u8] = b"auto-dispatcher doctor: this file is removed at once\n";

/// What all targets have in common.
pub(super) struct Common<'a> {
    pub store: &'a CredentialStore,
    pub surroundings: Surroundings,
    pub stop: &'a StopFlag,
    /// The file that is brought, with its size and digest.
    pub file: PathBuf,
    pub size: u64,
    pub sha256: String,
    /// Gone when all is over: keys that are new are recorded here, and so nowhere.
    pub scratch: &'a Path,
    /// How this program is called so that it finds the same configuration, for messages.
    pub us: String,
    /// The size of the largest package of late.
    pub largest: u64,
}

/// Tries every target.
pub(super) fn look(
    (setup, store): (&Setup, &CredentialStore),
    only: &Only,
    known_hosts: &Path,
    largest: u64,
    stop: &StopFlag,
    tell: &dyn Fn(Grouped),
) -> Result<()> {
    let scratch = tempfile::tempdir()
        .map_err(|error| Error::state(format!("cannot make a scratch directory: {error}")))?;
    let file = scratch.path().join("trial");
    std::fs::write(&file, TRIAL).map_err(|error| {
        Error::io(
            crate::error::ErrorKind::State,
            "cannot write",
            &file,
            &error,
        )
    })?;
    let common = Common {
        store,
        surroundings: setup.surroundings_of(known_hosts.to_owned()),
        stop,
        file,
        size: TRIAL.len() as u64,
        sha256: Digester::of(TRIAL),
        us: us(setup),
        scratch: scratch.path(),
        largest,
    };
    let aims = aims(store, only);
    if aims.is_empty() {
        let teller = Teller::new("targets".to_owned(), tell);
        let why = "no rule that can serve names such a target";
        teller.warn(
            ("target", only.host.as_deref().unwrap_or("all")),
            why,
            Some(format!("{} check", us(setup))),
        );
        return Ok(());
    }
    all(&aims, &common, setup.settings.workers, tell);
    Ok(())
}

/// One lane after the other within itself: a refused login must not be tried again with other terms.
fn lanes(aims: &[Aim]) -> Vec<Vec<usize>> {
    let mut lanes: Vec<Vec<usize>> = Vec::new();
    for (at, aim) in aims.iter().enumerate() {
        let same = |lane: &&mut Vec<usize>| {
            lane.first()
                .is_some_and(|&first| aims[first].lane == aim.lane)
        };
        match lanes.iter_mut().find(same) {
            Some(lane) => lane.push(at),
            None => lanes.push(vec![at]),
        }
    }
    lanes
}

fn all(aims: &[Aim], common: &Common<'_>, workers: usize, tell: &dyn Fn(Grouped)) {
    let lanes = lanes(aims);
    let order: Vec<usize> = lanes.iter().flatten().copied().collect();
    let next = Mutex::new(lanes.into_iter());
    // None: that target is done.
    let (sender, receiver) = unbounded::<(usize, Option<Grouped>)>();
    std::thread::scope(|scope| {
        for _ in 0..workers.max(1).min(aims.len()) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                let take = || next.lock().ok().and_then(|mut lanes| lanes.next());
                while let Some(lane) = take() {
                    let mut is_denied = false;
                    for at in lane {
                        let send = |grouped: Grouped| drop(sender.send((at, Some(grouped))));
                        let teller = Teller::new(aims[at].lane.clone(), &send);
                        is_denied |= target::look(&aims[at], common, at, is_denied, &teller);
                        let _ = sender.send((at, None));
                    }
                }
            });
        }
        drop(sender);
        in_order(&order, &receiver, tell);
    });
}

/// Passes on what comes, one target after the other.
fn in_order(
    order: &[usize],
    receiver: &crossbeam_channel::Receiver<(usize, Option<Grouped>)>,
    tell: &dyn Fn(Grouped),
) {
    let mut waiting: Vec<(usize, Option<Grouped>)> = Vec::new();
    for &at in order {
        let mut come: Vec<(usize, Option<Grouped>)> = Vec::new();
        std::mem::swap(&mut come, &mut waiting);
        let mut come = come.into_iter();
        while let Some((from, grouped)) = come.next().or_else(|| receiver.recv().ok()) {
            match grouped {
                other if from != at => waiting.push((from, other)),
                Some(grouped) => tell(grouped),
                None => {
                    waiting.extend(come);
                    break;
                }
            }
        }
    }
}
