//! The worker's main loop: wakes, has batches planned, hands lanes to threads, rescues what dead workers
//! left, and knows when to end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

use chrono::Utc;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::catch_up::CatchUp;
use super::ending::{Ended, Until};
use super::incoming::{Taken, Taking};
use super::pause::{Outlook, Pause, SLEEP_WAITING, Woken};
use super::planners::Planners;
use super::pruner::Pruner;
use super::role::Role;
use super::{Context, lane, presence, tellers, upkeep};
use crate::domain::event::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::fail_points;
use crate::journal::{Awaited, Journal, LaneHead, UnplannedOutlook};

/// How long a lane rests after its thread failed for a reason of ours (journal, disk).
const LANE_REST: Duration = Duration::from_secs(2);

/// How long a worker bears a journal that refuses.
const GIVE_UP_AFTER: Duration = Duration::from_mins(1);

/// What the main loop does next.
enum Turn {
    Sleep(Pause),
    End(Ended),
}

enum Finished {
    Lane(String, Result<()>),
    Planner(i64, Result<()>),
    CatchUp(Result<()>),
    Taking(Result<Taken>),
    Pruner(Result<()>),
}

struct Coordinator<'a> {
    context: &'a Context,
    journal: Journal,
    worker: i64,
    until: &'a Until,
    active: HashSet<String>,
    resting: HashMap<String, Instant>,
    planners: Planners,
    /// None: somebody waits at a terminal, and what others forgot is not his business.
    catch_up: Option<CatchUp>,
    /// None: notes of other users are the service's business.
    taking: Option<Taking>,
    idle_since: Instant,
    kept_up: bool,
    pruner: Pruner,
    /// Told to lanes: claim nothing more.
    finishing: &'a AtomicBool,
    /// Since when the journal refuses.
    failing_since: Option<Instant>,
    /// The journal's version when it was last looked at.
    seen: Option<i64>,
}

/// Works the journal until `until` says so or the stop flag is raised.
pub fn work(context: &Arc<Context>, role: Role, until: &Until) -> Result<Ended> {
    let detached = match role {
        Role::Detached => {
            if let Some(lock) = presence::be_the_detached_one(&context.state)? {
                Some(lock)
            } else {
                // Two hooks started one each; the other one does it all.
                presence::wake_all(&context.state);
                return Ok(Ended::Idle);
            }
        }
        _ => None,
    };
    let mut journal = upkeep::journal_to_work_on(context, role)?;
    let worker = upkeep::enter(context, &mut journal, role)?;
    let mut presence = presence::Presence::enter(
        &context.state,
        worker,
        role != Role::Foreground,
        detached,
        &context.wake.sender,
    )?;
    context.board.open(&context.state, worker);
    fail_points::hit("worker.entered");
    presence::bury_the_dead(&context.state);
    if role != Role::Foreground {
        presence::forget_failure(&context.state);
    }
    context.emit(&Event::WorkerStarted { worker });
    // What those left who died; later ones are swept in pauses. Somebody at a terminal is not kept waiting for it.
    if role != Role::Foreground {
        upkeep::sweep(context, &journal);
    }
    let finishing = AtomicBool::new(false);
    let mut coordinator = Coordinator {
        context,
        journal,
        worker,
        until,
        active: HashSet::new(),
        resting: HashMap::new(),
        planners: Planners::default(),
        catch_up: (role != Role::Foreground).then(CatchUp::default),
        taking: (role == Role::Background && context.notes.is_some()).then(Taking::default),
        idle_since: Instant::now(),
        kept_up: false,
        pruner: Pruner::new(),
        finishing: &finishing,
        failing_since: None,
        seen: None,
    };
    let ended = std::thread::scope(|scope| {
        let (sender, receiver) = unbounded();
        let (tellers_stay, ends) = bounded(0);
        tellers::start(scope, context, worker, &finishing, &ends);
        let ended = coordinator.run(scope, &sender, &receiver, &mut presence);
        // Hooks start another worker from here on, whatever the last threads still have to do.
        presence.resign();
        fail_points::hit("worker.resigned");
        finishing.store(true, Ordering::SeqCst);
        drop(tellers_stay);
        if ended.is_err() {
            context.stop.raise();
        }
        coordinator.drain(&receiver);
        ended
    });
    let why = match &ended {
        Ok(ended) => ended.as_str().to_owned(),
        Err(error) => error.message.clone(),
    };
    coordinator.keep_up();
    // A row without an end is told dead by its lock; the end itself is what matters.
    let left = coordinator.journal.leave_worker(worker, Utc::now());
    let ended = ended.and_then(|ended| left.map(|()| ended));
    context.board.close();
    drop(presence);
    context.emit(&Event::WorkerEnded { worker, why });
    ended
}

impl<'a> Coordinator<'a> {
    fn run<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, 'a>,
        sender: &Sender<Finished>,
        finished: &Receiver<Finished>,
        presence: &mut presence::Presence,
    ) -> Result<Ended>
    where
        'a: 'scope,
    {
        let mut resigned = false;
        loop {
            if self.context.stop.is_raised() {
                return Ok(Ended::Stopped);
            }
            let pause = match self.turn(scope, sender) {
                Ok(Turn::Sleep(pause)) => {
                    self.failing_since = None;
                    self.context.pulse.beat();
                    pause
                }
                Ok(Turn::End(ended)) if resigned => return Ok(ended),
                Ok(Turn::End(_)) => {
                    // A hook that recorded a moment ago saw this worker and started none: look once more.
                    presence.resign();
                    resigned = true;
                    continue;
                }
                Err(error) => Pause::of(self.rest_or_give_up(error)?),
            };
            let is_over = || {
                // Trouble with the journal is seen to by whoever looks at it next.
                self.context.stop.is_raised() || self.journal.version().ok() != self.seen
            };
            match pause.sleep(finished, &self.context.wake.receiver, &is_over) {
                Woken::Work(done) => self.note(done),
                Woken::Others => self.taking.iter_mut().for_each(Taking::hasten),
                Woken::Nobody => {}
            }
            while let Ok(done) = finished.try_recv() {
                self.note(done);
            }
        }
    }

    /// Looks at the journal once: rescues, starts what can be started, and says what comes next.
    fn turn<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, 'a>,
        sender: &Sender<Finished>,
    ) -> Result<Turn>
    where
        'a: 'scope,
    {
        self.context.board.catch_up();
        self.journal.check_that_it_is_still_there()?;
        // First: what is written while we look is looked at next.
        self.seen = Some(self.journal.version()?);
        upkeep::rescue(self.context, &mut self.journal, self.worker)?;
        if let Some(catch_up) = &mut self.catch_up {
            let looked = sender.clone();
            catch_up.start(self.context, scope, move |result| {
                let _ = looked.send(Finished::CatchUp(result));
            });
        }
        if let Some(taking) = &mut self.taking {
            let looked = sender.clone();
            taking.start(self.context, scope, move |result| {
                let _ = looked.send(Finished::Taking(result));
            });
        }
        let unplanned = self.journal.unplanned_outlook(Utc::now())?;
        let planned = sender.clone();
        self.planners.start(
            self.context,
            scope,
            &unplanned.due,
            &move |repository, result| {
                // The receiver outlives the scope's threads.
                let _ = planned.send(Finished::Planner(repository, result));
            },
        );
        let mut heads = self.journal.lane_heads()?;
        upkeep::see_to_room(self.context, &mut self.journal, &mut heads)?;
        self.start_lanes(scope, sender, &heads)?;
        if self.context.parking.is_over_for_some() {
            let context = self.context;
            scope.spawn(|| context.parking.close_old());
        }
        let told = sender.clone();
        let done = move |result| drop(told.send(Finished::Pruner(result)));
        self.pruner.start(scope, self.context, self.finishing, done);
        // A revision that cannot be planned keeps even a worker that a hook started: it is tried again every
        // `plan_retry` seconds, and when its cause is mended nobody but a worker would notice. What only the
        // operator can decide is not counted, for his command starts another one.
        let at_work = self.is_at_work();
        let busy = at_work || unplanned.count > 0 || !heads.is_empty();
        if busy {
            self.idle_since = Instant::now();
            self.kept_up = false;
        } else {
            self.keep_up();
        }
        Ok(match self.end(busy, &heads)? {
            Some(ended) => Turn::End(ended),
            None => Turn::Sleep(self.pause(busy, &heads, &unplanned)),
        })
    }

    /// A journal that refuses (locked, disk full) may recover: waits, and says so once. Gives up where it
    /// cannot, and otherwise after a while, so that the next hook starts a worker afresh; but never for want
    /// of room, for no hook may come when there is some.
    fn rest_or_give_up(&mut self, error: Error) -> Result<Duration> {
        let since = *self.failing_since.get_or_insert_with(|| {
            self.context.emit(&Event::Notice {
                message: format!("{}; trying on", error.one_line()),
            });
            Instant::now()
        });
        let is_over = match error.kind {
            ErrorKind::NoRoom => false,
            ErrorKind::Damaged => true,
            _ => since.elapsed() >= GIVE_UP_AFTER,
        };
        if is_over || !self.journal.is_still_there() {
            return Err(error);
        }
        Ok(LANE_REST)
    }

    /// Whether this is the end.
    fn end(&self, busy: bool, heads: &[LaneHead]) -> Result<Option<Ended>> {
        // Looking whether something was forgotten keeps nobody from being idle, but it may find something.
        let idle = !busy
            && !self.is_catching_up()
            && !self.taking.as_ref().is_some_and(Taking::may_find_more);
        match self.until {
            Until::Told => Ok(None),
            Until::Idle => Ok(idle.then_some(Ended::Idle)),
            Until::IdleFor(limit) => {
                let beyond = self.idle_since.elapsed().checked_sub(*limit);
                Ok((idle && tellers::let_go(&self.journal, beyond)?).then_some(Ended::Idle))
            }
            Until::Settled(awaited) => self.end_of(awaited, heads),
        }
    }

    fn end_of(&self, awaited: &Awaited, heads: &[LaneHead]) -> Result<Option<Ended>> {
        if self.journal.is_settled(awaited)? {
            return Ok(Some(Ended::Settled));
        }
        for &batch in awaited.batches() {
            if self.journal.unplannable(batch, Utc::now())?.is_some() {
                return Ok(Some(Ended::Unplannable));
            }
        }
        let lanes = self.journal.open_lanes_of(awaited)?;
        let held = !lanes.is_empty()
            && !lanes.iter().any(|lane| {
                self.active.contains(lane) || heads.iter().any(|head| head.lane == *lane)
            });
        Ok(held.then_some(Ended::Held))
    }

    fn is_catching_up(&self) -> bool {
        self.catch_up.as_ref().is_some_and(CatchUp::is_at_work)
    }

    fn start_lanes<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, 'a>,
        sender: &Sender<Finished>,
        heads: &[LaneHead],
    ) -> Result<()>
    where
        'a: 'scope,
    {
        // Somebody who waits for something of his own is not kept waiting by a host of others.
        let awaited = self.until.awaited();
        let own = awaited
            .map(|awaited| self.journal.open_lanes_of(awaited))
            .transpose()?;
        let now = Utc::now();
        self.resting.retain(|_, until| *until > Instant::now());
        for head in heads {
            if self.active.len() >= self.context.settings.workers {
                break;
            }
            if own.as_ref().is_some_and(|own| !own.contains(&head.lane))
                || !head.is_ready(now)
                || self.active.contains(&head.lane)
                || self.resting.contains_key(&head.lane)
            {
                continue;
            }
            self.active.insert(head.lane.clone());
            let (context, worker, sender, name) =
                (self.context, self.worker, sender.clone(), head.lane.clone());
            let end = lane::End {
                finishing: self.finishing,
                awaited,
            };
            scope.spawn(move || {
                let result = upkeep::catch(|| lane::run(context, &name, worker, end));
                let _ = sender.send(Finished::Lane(name, result));
            });
        }
        Ok(())
    }

    fn note(&mut self, finished: Finished) {
        match finished {
            Finished::Lane(lane, result) => {
                self.active.remove(&lane);
                if let Err(error) = result {
                    self.context.emit(&Event::Notice {
                        message: format!("lane {lane}: {}", error.one_line()),
                    });
                    // What it was at is nobody's now; where even this is refused, our own end frees it.
                    let _ = self.journal.rescue_lane(self.worker, &lane, Utc::now());
                    self.resting.insert(lane, Instant::now() + LANE_REST);
                }
            }
            Finished::Pruner(result) => self.pruner.note(self.context, result),
            Finished::Planner(repository, result) => {
                // Another process may hold the plan lock, or the journal refuse: not again at once.
                let pause = if result.is_ok() {
                    SLEEP_WAITING
                } else {
                    LANE_REST
                };
                self.planners.ended(repository, pause);
                self.complain("planning", result);
            }
            Finished::CatchUp(result) => {
                if let Some(catch_up) = &mut self.catch_up {
                    catch_up.ended();
                }
                self.complain("catching up", result);
            }
            Finished::Taking(result) => {
                if let Some(taking) = &mut self.taking {
                    taking.ended(self.context, result);
                }
            }
        }
    }

    fn complain(&self, what: &str, result: Result<()>) {
        if let Err(error) = result {
            self.context.emit(&Event::Notice {
                message: format!("{what}: {}", error.one_line()),
            });
        }
    }

    /// Once in each pause.
    fn keep_up(&mut self) {
        if !std::mem::replace(&mut self.kept_up, true) {
            upkeep::sweep(self.context, &self.journal);
        }
    }

    fn is_at_work(&self) -> bool {
        !self.active.is_empty() || self.planners.are_at_work() || self.pruner.is_busy
    }

    /// Waits for the threads; they look at the stop flag, or have nothing left to do.
    fn drain(&mut self, finished: &Receiver<Finished>) {
        self.finish_threads(finished);
        self.context.parking.close_all();
    }

    fn finish_threads(&mut self, finished: &Receiver<Finished>) {
        let takes = |taking: &Option<Taking>| taking.as_ref().is_some_and(Taking::is_at_work);
        while self.is_at_work() || self.is_catching_up() || takes(&self.taking) {
            match finished.recv() {
                Ok(done) => self.note(done),
                Err(_) => return,
            }
        }
    }

    fn pause(&self, busy: bool, heads: &[LaneHead], unplanned: &UnplannedOutlook) -> Pause {
        let now = Utc::now();
        let waiting = heads
            .iter()
            .filter(|head| head.due_at > now && !self.active.contains(&head.lane))
            .map(|head| head.due_at);
        let outlook = Outlook {
            busy,
            idle_for: self.idle_since.elapsed(),
            waiting: waiting.min(),
            unplanned: unplanned.next_due,
            notes: self.taking.as_ref().and_then(Taking::pause),
        };
        Pause::before(self.until, &outlook, now)
    }
}
