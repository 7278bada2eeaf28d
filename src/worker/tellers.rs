//! Tellers: one thread of the worker for each notifier, which makes messages of what happened, sends them, and tries
//! again what could not be sent. No delivery waits for them; what they leave is in the outbox for the next worker.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use chrono::{Local, Offset as _, TimeDelta, Utc};
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::upkeep::catch;
use super::{Context, presence};
use crate::config::notifiers::secrets::SecretPlaces;
use crate::domain::event::Event;
use crate::domain::notice::Subscription;
use crate::domain::notice::digest::Next;
use crate::domain::notice::message::Message;
use crate::domain::notice::notifier::Notifier;
use crate::error::Result;
use crate::fail_points;
use crate::journal::{Journal, MessageTerms, Outgoing};
use crate::notify::{self, Sending};
use crate::transport::StopFlag;

/// How often a teller looks.
const EVERY: Duration = Duration::from_secs(1);
/// How often it looks whether it has to end.
const STEP: Duration = Duration::from_millis(50);
/// How long something new waits for what happens at the same moment.
const GATHER: TimeDelta = TimeDelta::seconds(1);
/// How long a worker that ends by itself sends on.
const END_MAX: Duration = Duration::from_secs(10);
/// How long a worker that a hook started stays for the sake of what is not told yet.
const STAY_MAX: Duration = Duration::from_mins(30);
/// Pause after the first vain try; it doubles.
const AGAIN_AFTER: TimeDelta = TimeDelta::seconds(5);
/// And is never longer than this.
const AGAIN_AFTER_MAX: TimeDelta = TimeDelta::minutes(30);
/// A way that minds no time limit, as a server that sends a byte now and then can have it, is left alone after this.
const BEYOND_LIMIT: Duration = Duration::from_secs(5);
/// How long a way that is left has to clear up.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// What it takes to tell people.
#[derive(Debug, Clone)]
pub struct Telling {
    /// Who is told of what.
    pub subscriptions: Arc<[Subscription]>,
    /// `site`, or the host name.
    pub site: String,
    /// What a command begins with that finds this place.
    pub program: String,
    /// Where secrets are looked for.
    pub secrets: SecretPlaces,
}

/// Starts them; they end when the worker is told to stop, or soon after `finishing` is set. Then `ends` has no sender
/// any more, which wakes them.
pub(super) fn start<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    context: &'env Context,
    worker: i64,
    finishing: &'scope AtomicBool,
    ends: &Receiver<()>,
) {
    for notifier in &context.settings.notifiers {
        let teller = Teller {
            context,
            notifier,
            worker,
            finishing,
            ends: ends.clone(),
        };
        // What is wrong was said where it happened; a panic ends this teller alone.
        scope.spawn(move || {
            let ended = catch(|| {
                teller.run();
                Ok(())
            });
            if let Err(error) = ended {
                teller.complain(&error.one_line());
            }
        });
    }
}

/// Whether a worker that has nothing else to do may end: it stays for a while if it has something to tell. `beyond`:
/// how long ago it could have ended; none: it could not yet.
pub(super) fn let_go(journal: &Journal, beyond: Option<Duration>) -> Result<bool> {
    Ok(match beyond {
        None => false,
        Some(beyond) => beyond >= STAY_MAX || !journal.has_notices()?,
    })
}

struct Teller<'a> {
    context: &'a Context,
    notifier: &'a Notifier,
    worker: i64,
    finishing: &'a AtomicBool,
    ends: Receiver<()>,
}

/// What came of one look.
enum Looked {
    /// There was nothing to do.
    Idle,
    /// A message was sent, or tried in vain.
    Tried,
    /// The worker ends, and nobody knows what becomes of the message.
    Left,
}

impl Teller<'_> {
    fn run(&self) {
        let mut journal = None;
        let mut complained = false;
        let mut end = None;
        while !self.context.stop.is_raised() {
            let is_finishing = self.finishing.load(Ordering::SeqCst);
            if is_finishing {
                end.get_or_insert_with(|| Instant::now() + END_MAX);
            }
            let looked = self.look(&mut journal, is_finishing, end);
            let is_over = end.is_some_and(|end: Instant| Instant::now() >= end);
            match looked {
                Ok(Looked::Left) => return,
                Ok(Looked::Tried) if !is_over => continue,
                Ok(_) => complained = false,
                Err(error) => {
                    journal = None;
                    if !std::mem::replace(&mut complained, true) {
                        self.complain(&format!("{}; trying on", error.one_line()));
                    }
                }
            }
            if is_finishing {
                return;
            }
            // An end is no message, and no message is the pause.
            let _ = self.ends.recv_timeout(EVERY);
        }
    }

    fn complain(&self, what: &str) {
        self.context.emit(&Event::Notice {
            message: format!("notifier {}: {what}", self.notifier.name),
        });
    }

    /// Makes a message if it is time, and sends what is due.
    fn look(
        &self,
        journal: &mut Option<Journal>,
        is_finishing: bool,
        end: Option<Instant>,
    ) -> Result<Looked> {
        let journal = match journal {
            Some(journal) => journal,
            None => journal.insert(self.context.journal()?),
        };
        let now = Utc::now();
        for dead in journal.workers_with_messages(self.worker)? {
            if presence::bury_if_dead(&self.context.state, dead) {
                journal.free_messages(dead)?;
            }
        }
        let terms = MessageTerms {
            notifier: &self.notifier.name,
            site: &self.context.telling.site,
            program: &self.context.telling.program,
            zone: Local::now().offset().fix(),
            window: seconds(self.notifier.digest_after_s),
            gather: if is_finishing {
                TimeDelta::zero()
            } else {
                GATHER
            },
        };
        if journal.make_message(&terms, now)? == Next::Now {
            fail_points::hit("notice.made");
        }
        let claimed = journal.claim_message(&self.notifier.name, self.worker, now)?;
        let Some(outgoing) = claimed else {
            return Ok(Looked::Idle);
        };
        fail_points::hit("notice.claimed");
        let Some(sent) = self.send(&outgoing.message, end) else {
            return Ok(Looked::Left);
        };
        fail_points::hit("notice.sent");
        self.note(journal, &outgoing, sent)?;
        fail_points::hit("notice.marked");
        Ok(Looked::Tried)
    }

    /// Sends a message. None: the worker has to end meanwhile, and does not wait for a receiver that hangs.
    fn send(&self, message: &Message, end: Option<Instant>) -> Option<Result<String, String>> {
        let limit = Duration::from_secs(self.notifier.timeout_s);
        let until = Instant::now() + limit + BEYOND_LIMIT;
        let telling = &self.context.telling;
        let abandoned = StopFlag::default();
        let receiver = send_aside(
            self.notifier.clone(),
            message.clone(),
            telling.secrets.clone(),
            [self.context.stop.clone(), abandoned.clone()],
        );
        // Ends what a command has started.
        let leave = || {
            abandoned.raise();
            let _ended = receiver.recv_timeout(LEAVE_MAX);
        };
        let mut end = end;
        loop {
            match receiver.recv_timeout(STEP) {
                Ok(sent) => return Some(sent),
                Err(RecvTimeoutError::Disconnected) => {
                    return Some(Err("a bug in auto-dispatcher: a thread panicked".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.finishing.load(Ordering::SeqCst) {
                end.get_or_insert_with(|| Instant::now() + END_MAX);
            }
            if self.context.stop.is_raised() || end.is_some_and(|end| Instant::now() >= end) {
                leave();
                return None;
            }
            if Instant::now() >= until {
                leave();
                return Some(Err(format!(
                    "the receiver took longer than {} s",
                    self.notifier.timeout_s
                )));
            }
        }
    }

    fn note(
        &self,
        journal: &mut Journal,
        outgoing: &Outgoing,
        sent: Result<String, String>,
    ) -> Result<()> {
        let now = Utc::now();
        let id = &outgoing.message.id;
        match sent {
            Ok(said) => {
                journal.message_sent(outgoing.row, self.worker, now)?;
                self.context.emit(&Event::News {
                    message: format!(
                        "notifier {}: notice {id} is sent: {said}",
                        self.notifier.name
                    ),
                });
            }
            Err(why) => {
                let again = again_at(outgoing, self.notifier, now);
                journal.message_failed(outgoing.row, self.worker, &why, again, now)?;
                let next = match again {
                    Some(again) => {
                        let pause = (again - now).num_seconds();
                        format!("tried again in {pause} s (tries: {})", outgoing.tries)
                    }
                    None => format!("given up after {} tries (give_up_after)", outgoing.tries),
                };
                self.complain(&format!("notice {id} could not be sent: {why}; {next}"));
            }
        }
        Ok(())
    }
}

/// When a message is tried again; none: it is too old.
fn again_at(
    outgoing: &Outgoing,
    notifier: &Notifier,
    now: chrono::DateTime<Utc>,
) -> Option<chrono::DateTime<Utc>> {
    let doubled = outgoing.tries.saturating_sub(1).min(16);
    let pause = (AGAIN_AFTER * 2_i32.pow(doubled)).min(AGAIN_AFTER_MAX);
    (now - outgoing.made_at < seconds(notifier.give_up_after_s)).then(|| now + pause)
}

fn seconds(count: u64) -> TimeDelta {
    i64::try_from(count)
        .ok()
        .and_then(TimeDelta::try_seconds)
        .unwrap_or(TimeDelta::MAX)
}

/// Sends in a thread of its own, which nobody has to wait for.
fn send_aside(
    notifier: Notifier,
    message: Message,
    places: SecretPlaces,
    stops: [StopFlag; 2],
) -> Receiver<Result<String, String>> {
    let (sender, receiver) = bounded(1);
    thread::spawn(move || {
        let is_stopped = || stops.iter().any(StopFlag::is_raised);
        // Nobody listens any more where the worker has ended.
        let _late = sender.send(send_now(&notifier, &message, &places, &is_stopped));
    });
    receiver
}

/// Sends a message and waits for what comes of it, in words.
pub fn send_now(
    notifier: &Notifier,
    message: &Message,
    places: &SecretPlaces,
    is_stopped: &dyn Fn() -> bool,
) -> Result<String, String> {
    let secrets = places.secrets_of(notifier, is_stopped)?;
    let home: Option<PathBuf> = places.home.clone();
    notify::send(&Sending {
        notifier,
        secrets: &secrets,
        message,
        home: home.as_deref(),
        now_s: Utc::now().timestamp(),
        is_stopped,
    })
}
