//! Takes up the notes that hooks of other users left: when to look, and what a look does. What a note is worth is decided
//! in `judge`, what is said of it in `tidings`.

mod judge;
mod tidings;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::{Context, upkeep};
use crate::config::locate::{Environment, Request};
use crate::domain::event::Event;
use crate::error::Result;
use crate::fail_points;
use crate::source::incoming::{Fate, Incoming, Watch};
use judge::{Judge, Unknown};
use tidings::Tidings;

/// Longest pause between two looks: the net under lost wake-ups.
const EVERY: Duration = Duration::from_secs(1);
/// Shortest pause: whoever writes there without end keeps nobody busy.
const REST: Duration = Duration::from_millis(20);
/// A look that took long is followed by a pause of so many times as much.
const REST_FACTOR: u32 = 4;
/// How long a look lasts at most; the next one goes on where it stopped.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// What the operator says about notes.
#[derive(Debug, Clone)]
pub struct Notes {
    /// The directory that they are left in.
    pub directory: PathBuf,
    /// Repositories, and directories of them (`DIR/*`), that they may name.
    pub repositories: Vec<PathBuf>,
    /// Where rules are looked for.
    pub environment: Environment,
    /// The files that were named on the command line.
    pub request: Request,
}

/// The directory between two looks.
struct Post {
    incoming: Incoming,
    /// None: its events cannot be had.
    _watch: Option<Watch>,
    /// What the present pass through it has met of repositories that are in no ledger.
    unknown: Unknown,
    stuck: usize,
}

/// When to look next.
#[derive(Default)]
pub(super) struct Taking {
    post: Arc<Mutex<Option<Post>>>,
    is_at_work: bool,
    may_find_more: bool,
    rests_until: Option<Instant>,
    began: Option<Instant>,
    /// End of the last look, and the shortest pause after it.
    last: Option<(Instant, Duration)>,
    tidings: Tidings,
}

/// What a look came to.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Whether something lies there that another look will take up.
    more: bool,
    /// Whether that look may come at once.
    soon: bool,
    refused: Vec<(u32, String)>,
    waiting: Vec<(u32, String)>,
    /// What cannot be removed; told at the end of a pass.
    stuck: Option<usize>,
    trouble: Option<String>,
}

impl Taking {
    /// Whether a look is under way.
    pub(super) fn is_at_work(&self) -> bool {
        self.is_at_work
    }

    /// Whether something may lie there that was not taken up.
    pub(super) fn may_find_more(&self) -> bool {
        self.is_at_work || self.may_find_more || self.last.is_none()
    }

    /// How long until the next look; none: one is under way.
    pub(super) fn pause(&self) -> Option<Duration> {
        let until = self.rests_until?;
        (!self.is_at_work).then(|| until.saturating_duration_since(Instant::now()))
    }

    /// Something came.
    pub(super) fn hasten(&mut self) {
        self.rests_until = self.last.map(|(last, rest)| last + rest);
    }

    /// Looks in a thread of its own, for a file system that hangs must hold up nothing else; `done` hears of its end.
    pub(super) fn start<'scope, 'env: 'scope>(
        &mut self,
        context: &'env Context,
        scope: &'scope Scope<'scope, 'env>,
        done: impl FnOnce(Result<Taken>) + Send + 'scope,
    ) {
        let Some(notes) = &context.notes else {
            return;
        };
        let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
        if self.is_at_work || rests {
            return;
        }
        self.is_at_work = true;
        self.began = Some(Instant::now());
        let post = Arc::clone(&self.post);
        scope.spawn(move || {
            done(upkeep::catch(|| {
                let mut post = post.lock().unwrap_or_else(PoisonError::into_inner);
                take_up(context, notes, &mut post)
            }));
        });
    }

    /// A look has ended.
    pub(super) fn ended(&mut self, context: &Context, result: Result<Taken>) {
        let now = Instant::now();
        self.is_at_work = false;
        // Whoever fills the directory with what cannot be removed makes looks long, and not frequent.
        let took = self.began.map_or(Duration::ZERO, |began| now - began);
        let rest = REST.max(took * REST_FACTOR);
        self.last = Some((now, rest));
        let taken = result.unwrap_or_else(|error| Taken {
            trouble: Some(format!("{}; trying on", error.one_line())),
            ..Taken::default()
        });
        self.may_find_more = taken.more;
        let pause = if taken.soon { rest } else { rest.max(EVERY) };
        self.rests_until = Some(now + pause);
        self.tidings.add(taken.refused, taken.waiting);
        if taken.trouble.is_some() || taken.stuck.is_some() {
            self.tidings.set_trouble(taken.trouble.or_else(|| {
                (taken.stuck > Some(0)).then(|| {
                    "some of what lies there cannot be removed (somebody's directories that are not empty): root can"
                        .to_owned()
                })
            }));
        }
        if let Some(notes) = &context.notes {
            self.tidings.tell(&notes.directory, &mut |message| {
                context.emit(&Event::Notice { message });
            });
        }
    }
}

/// Looks once, for as long as a look may last.
fn take_up(context: &Context, notes: &Notes, post: &mut Option<Post>) -> Result<Taken> {
    let incoming = Incoming::own(&notes.directory)?;
    let mut taken = Taken::default();
    let mut here = match post.take() {
        Some(post) if post.incoming.is(&incoming) => post,
        _ => opened(context, incoming, &mut taken),
    };
    let end = Instant::now() + LOOK_MAX;
    let is_over = || context.stop.is_raised() || Instant::now() >= end;
    let mut judge = Judge::new(context, notes)?;
    let mut is_new = false;
    let look = here.incoming.look(&is_over, &mut |left| {
        let (fate, recorded) = judge.of(left, &mut here.unknown, &mut taken.waiting)?;
        is_new |= recorded;
        if fate == Fate::Taken {
            fail_points::hit("incoming.recorded");
        }
        Ok(fate)
    })?;
    taken.refused = look.refused;
    here.stuck += look.stuck;
    taken.soon = !look.is_whole;
    taken.more = !look.is_whole;
    if look.is_whole {
        let begun = judge.begin(std::mem::take(&mut here.unknown), &mut taken.waiting)?;
        is_new |= begun.recorded;
        taken.more = begun.recorded || begun.waits;
        taken.soon = begun.recorded;
        taken.stuck = Some(std::mem::take(&mut here.stuck));
    }
    if is_new {
        context.wake.now();
    }
    *post = Some(here);
    Ok(taken)
}

fn opened(context: &Context, incoming: Incoming, taken: &mut Taken) -> Post {
    let wake = context.wake.clone();
    let watch = incoming
        .watch(move || wake.now())
        .map_err(|error| {
            taken.trouble = Some(format!(
                "their coming cannot be watched ({error}); they are looked for every second"
            ));
        })
        .ok();
    Post {
        incoming,
        _watch: watch,
        unknown: Unknown::default(),
        stuck: 0,
    }
}
