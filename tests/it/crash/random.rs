//! Runs in which a seed decides what is committed, killed, cut and held back, and when. Afterwards all is healed,
//! and every promise has to have been kept.
//!
//! `AD_SEED` is the seed of the first run, `AD_CRASH_RUNS` how many there are; the seed of a run that failed is
//! in its message. A seed repeats the decisions, and not the moments at which they meet the workers.

use std::ops::AddAssign;
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use auto_dispatcher::fail_points::ALL;
use fastrand::Rng;
use rustix::process::Signal;

use super::proxy::{Direction, Doom, Mode};
use super::say;
use super::twist::Twist;
use super::world::{Hook, Way, World};
use crate::pipeline::signal;

/// Runs without `AD_CRASH_RUNS`: what fits into scripts/test.
const RUNS: u64 = 22;
/// Runs at the same time; they wait more than they work.
const JOBS: u64 = 3;
/// Processes that work at the same time.
const WORKERS_MAX: usize = 3;

/// Kinds of packages.
const KINDS: [&str; 10] = [
    "file", "file", "ok", "ok", "ok", "slow", "bad", "shot", "loud", "fork",
];

/// What happened in all runs.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    runs: u64,
    kills: u64,
    faults: u64,
    deliveries: u64,
    attempts: u64,
    unknown: u64,
    /// Cancelled, dismissed, or installed again because the operator said so.
    decided: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.kills += other.kills;
        self.faults += other.faults;
        self.deliveries += other.deliveries;
        self.attempts += other.attempts;
        self.unknown += other.unknown;
        self.decided += other.decided;
    }
}

struct Run {
    world: World,
    random: Rng,
    commits_left: usize,
    /// Revisions whose hook did not run yet.
    late: Vec<u64>,
    started: Vec<Child>,
    figures: Figures,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let twist = Twist::of(seed);
        let mut world = World::new(&[
            Way::Ssh,
            if twist.dropbear {
                Way::Dropbear
            } else {
                Way::Ssh
            },
            if twist.ftps { Way::Ftps } else { Way::Ftp },
        ]);
        world.take(twist);
        // The ledger begins with the first revision that a hook records.
        let first = (world.name("ab", "ok"), b"the first one".to_vec());
        world.commit(&Hook::DiesAt("hook.recorded"), vec![first]);
        Self {
            world,
            commits_left: random.usize(3..8),
            random,
            late: Vec::new(),
            started: Vec::new(),
            figures: Figures::default(),
        }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let size = match self.random.u8(0..10) {
            0 => 0,
            1 => 1,
            2..6 => self.random.usize(2..20_000),
            6..8 => self.random.usize(20_000..300_000),
            _ => self.random.usize(1_000_000..3_000_000),
        };
        (0..size).map(|_| self.random.u8(..)).collect()
    }

    /// A name that is new, or, now and then, one that an earlier commit had.
    fn package(&mut self) -> String {
        if self.random.u8(0..4) == 0 {
            let commit = self.random.usize(0..self.world.commits.len());
            let files = &self.world.commits[commit].files;
            return files[self.random.usize(0..files.len())].0.clone();
        }
        let places = ["a", "a", "b", "b", "c", "c", "ab", "ab", "z"];
        let place = places[self.random.usize(0..places.len())];
        let kind = KINDS[self.random.usize(0..KINDS.len())];
        self.world.name(place, kind)
    }

    fn commit(&mut self) {
        self.commits_left -= 1;
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        for _ in 0..self.random.usize(1..6) {
            let name = self.package();
            if files.iter().all(|(known, _)| *known != name) {
                files.push((name, self.bytes()));
            }
        }
        let hook = match self.random.u8(0..8) {
            0 | 1 => Hook::Missing,
            2 => Hook::DiesAt("hook.recorded"),
            3 => Hook::DiesAt("hook.opened"),
            4 => Hook::KilledAfter(Duration::from_millis(self.random.u64(3..60))),
            _ => Hook::Real,
        };
        if matches!(hook, Hook::DiesAt(_) | Hook::KilledAfter(_)) {
            self.figures.kills += 1;
        }
        let is_late = hook == Hook::Missing && self.random.bool();
        let revision = self.world.commit(&hook, files);
        if is_late {
            self.late.push(revision);
        }
    }

    fn start(&mut self) {
        self.started
            .retain_mut(|child| child.try_wait().expect("wait").is_none());
        if self.started.len() >= WORKERS_MAX {
            return;
        }
        let repository = self.world.pipeline.repository().to_owned();
        let revision = self.random.usize(0..self.world.commits.len()) + 1;
        let revision = revision.to_string();
        let (mut args, file): (Vec<&str>, String);
        let sends = !self.world.twist.prunes;
        match self.random.u8(0..8) {
            2 if sends => args = vec!["replay", &repository, &revision],
            3 if sends => {
                let name = self
                    .world
                    .name(["a", "b", "c", "ab"][self.random.usize(0..4)], "ok");
                let bytes = self.bytes();
                let path = self
                    .world
                    .pipeline
                    .env
                    .write(format!("send/{name}"), &bytes);
                self.world.sent.push((name, bytes));
                file = path.to_string_lossy().into_owned();
                args = vec!["send", &file];
            }
            _ => args = vec!["worker"],
        }
        if args == ["worker"] && self.random.bool() {
            args.push("--until-idle");
        }
        let point = (self.random.u8(0..4) == 0).then(|| {
            let point = ALL[self.random.usize(0..ALL.len())];
            format!("{point}:{}", self.random.u8(1..6))
        });
        let child = self.world.start(&args, point.as_deref());
        self.started.push(child);
    }

    /// Ends one of our processes, whichever it is.
    fn end_one(&mut self, by: Signal) {
        let living = self.world.processes();
        if !living.is_empty() {
            signal(living[self.random.usize(0..living.len())], by);
            self.figures.kills += 1;
        }
    }

    /// Breaks the network of one place, or its server.
    fn disturb(&mut self) {
        let number = self.random.usize(0..self.world.places.len());
        let place = &mut self.world.places[number];
        let direction = if self.random.bool() {
            Direction::Up
        } else {
            Direction::Down
        };
        // Most of a conversation is short; a few packages are large.
        let after = match self.random.u8(0..3) {
            0 => self.random.u64(0..3_000),
            1 => self.random.u64(0..30_000),
            _ => self.random.u64(0..3_000_000),
        };
        match self.random.u8(0..13) {
            0 => place.proxy.set(Mode::Closed),
            1 => place.proxy.set(Mode::Refuse),
            2 => place.proxy.set(Mode::BlackHole),
            3 => place
                .proxy
                .set(Mode::Throttle(self.random.u64(2_000..500_000))),
            4..6 => place.proxy.trip(direction, after, Doom::Stall),
            6..9 => place.proxy.trip(direction, after, Doom::Cut),
            9 => {
                place.proxy.cut_all();
                self.figures.faults += 1;
            }
            10 | 11 => self.figures.faults += place.host.kill_sessions() as u64,
            _ if place.host.is_up() => {
                place.host.stop();
                self.figures.faults += 1;
            }
            _ => place.host.resume(),
        }
    }

    fn mend_one(&mut self) {
        let number = self.random.usize(0..self.world.places.len());
        let place = &mut self.world.places[number];
        place.proxy.heal();
        if !place.host.is_up() {
            place.host.resume();
        }
    }

    fn step(&mut self) {
        if self.world.twist.operator && self.random.u8(0..4) == 0 {
            let child = self.world.decide(&mut self.random);
            self.started.extend(child);
        }
        match self.random.u8(0..20) {
            0..5 if self.commits_left > 0 => self.commit(),
            0..8 => self.start(),
            8..11 => self.end_one(Signal::KILL),
            11 => self.end_one(Signal::TERM),
            12..16 => self.disturb(),
            16 | 17 => self.mend_one(),
            18 => self.world.let_pauses_pass(),
            _ => {
                // A hook that comes late, or once more.
                let any = self.random.u64(0..self.world.commits.len() as u64) + 1;
                let revision = self.late.pop().unwrap_or(any).to_string();
                let repository = self.world.pipeline.repository().to_owned();
                let mut args = vec!["hook", &repository, &revision];
                if self.random.bool() {
                    args.push("--wait");
                }
                let child = self.world.start(&args, None);
                self.started.push(child);
            }
        }
        std::thread::sleep(Duration::from_millis(self.random.u64(5..200)));
    }

    /// To the end: the figures, if every promise was kept.
    fn go_to_the_end(mut self, seed: u64) -> Figures {
        let most = self.random.usize(12..36);
        for _ in 0..most {
            self.step();
        }
        while self.commits_left > 0 {
            self.commit();
        }
        if self.random.bool() {
            self.figures.kills += self.world.processes().len() as u64;
            self.world.end_all(Signal::KILL);
        }
        self.world.finish();
        for mut child in self.started {
            child.wait().expect("wait");
        }
        self.world
            .kept_every_promise(&format!("AD_SEED={seed} AD_CRASH_RUNS=1"));
        let fired: u64 = self
            .world
            .places
            .iter()
            .map(|place| place.proxy.fired())
            .sum();
        self.figures.faults += fired;
        let count = |sql| {
            self.world.pipeline.sql(sql)[0]
                .unwrap_or_default()
                .unsigned_abs()
        };
        self.figures.runs = 1;
        self.figures.deliveries = count("SELECT count(*) FROM deliveries");
        self.figures.attempts = count("SELECT count(*) FROM attempts");
        self.figures.unknown = count("SELECT count(*) FROM deliveries WHERE state = 'unknown'");
        self.figures.decided = count(
            "SELECT count(*) FROM deliveries
             WHERE state = 'cancelled' OR run > 1 OR dismissed_at IS NOT NULL",
        );
        self.figures
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}: {text:?} is no number")),
    )
}

/// The first seed, and how many runs there are unless somebody wants another number of them.
pub fn seed_and_runs(runs: u64) -> (u64, u64) {
    let first = number("AD_SEED").unwrap_or_else(|| fastrand::u64(0..1_000_000_000));
    (first, number("AD_CRASH_RUNS").unwrap_or(runs))
}

#[test]
fn whatever_is_killed_or_cut_at_random_no_promise_is_broken() {
    let (first, runs) = seed_and_runs(RUNS);
    say(&format!("AD_SEED={first} AD_CRASH_RUNS={runs}"));
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Figures::default()));
    std::thread::scope(|scope| {
        for _ in 0..JOBS.min(runs) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= runs {
                        return;
                    }
                    let seed = first + number;
                    let figures = Run::new(seed).go_to_the_end(seed);
                    *sum.lock().unwrap() += figures;
                }
            });
        }
    });
    let sum = *sum.lock().unwrap();
    assert_eq!(sum.runs, runs);
    // A promise that was broken has ended its run before it is counted here.
    say(&format!(
        "{} random runs, {} kills, {} faults, {} deliveries in {} attempts, {} unknown, {} decided, 0 losses, 0 doubles",
        sum.runs, sum.kills, sum.faults, sum.deliveries, sum.attempts, sum.unknown, sum.decided
    ));
}
