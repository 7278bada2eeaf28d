//! Two repositories side by side, whose packages share lanes, hooks that are missing in either, and workers that
//! are killed: nothing of the one is lost to, doubled by or mixed up with the other.

use std::fs;
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use rusqlite::Connection;
use rustix::process::Signal;

use super::say;
use super::world::{Hook, Way, World, put};
use crate::pipeline::{LIMIT, signal};
use crate::servers::svn::Svn;
use crate::testenv::wait_until;

const HOOK: &str = "hooks/post-commit";

/// The world's own repository and one more, with the same rules and settings.
struct Neighbours {
    world: World,
    second: Svn,
    /// What each was given, by revision: names of packages.
    given: [Vec<Vec<String>>; 2],
}

impl Neighbours {
    fn new() -> Self {
        let world = World::new(&[Way::Ssh, Way::Ssh]);
        let second = Svn::create_named(&world.pipeline.env, "second");
        let first = &world.pipeline.svn.repository;
        for file in ["general-dispatch-info.cfg", "auto-dispatcher.cfg"] {
            let (from, to) = (
                first.join("conf").join(file),
                second.repository.join("conf").join(file),
            );
            fs::copy(from, to).expect("copy");
        }
        Self {
            world,
            second,
            given: [Vec::new(), Vec::new()],
        }
    }

    fn repository(&self, number: usize) -> &Path {
        match number {
            0 => &self.world.pipeline.svn.repository,
            _ => &self.second.repository,
        }
    }

    fn commit(&mut self, number: usize, hook: &Hook, random: &mut Rng) {
        let mut files = Vec::new();
        for _ in 0..random.usize(1..4) {
            let place = ["a", "b", "ab"][random.usize(0..3)];
            let name = self.world.name(place, "ok");
            files.push((name, vec![b'x'; random.usize(0..50_000)]));
        }
        let names = files.iter().map(|(name, _)| name.clone()).collect();
        self.given[number].push(names);
        if number == 0 {
            self.world.commit(hook, files);
            return;
        }
        self.world
            .lay_hook(&self.second.repository.join(HOOK), hook);
        put(&self.world.pipeline.env, &self.second.url(), &files);
        assert_eq!(self.second.youngest(), self.given[1].len() as u64);
    }

    /// What is wrong in the journal and on the hosts.
    fn complaints(&self) -> Vec<String> {
        let journal = Connection::open(self.world.pipeline.state().join("journal.sqlite"));
        let journal = journal.expect("the journal");
        let mut wrong = Vec::new();
        let mut owed = 0;
        for (number, given) in self.given.iter().enumerate() {
            let path = self.repository(number).to_str().expect("UTF-8");
            for (revision, names) in (1..).zip(given) {
                let revision: u64 = revision;
                owed += names
                    .iter()
                    .map(|name| letters_of(name).len())
                    .sum::<usize>();
                self.look_at(&journal, (path, revision), names, &mut wrong);
            }
        }
        if count(&journal, "SELECT count(*) FROM deliveries", &[]) != owed {
            wrong.push(format!("there are not {owed} deliveries"));
        }
        let mixed_up = count(&journal, OUT_OF_ORDER, &[]);
        if mixed_up != 0 {
            wrong.push(format!("{mixed_up} deliveries are out of order"));
        }
        for place in &self.world.places {
            let ran = place.host.lines("ran");
            for pair in ran.chunks(2) {
                if pair.len() < 2 || pair[0].replacen("begin", "end", 1) != pair[1] {
                    wrong.push(format!("side by side: {pair:?}"));
                }
            }
        }
        wrong
    }

    /// What is wrong with one revision.
    fn look_at(
        &self,
        journal: &Connection,
        (path, revision): (&str, u64),
        names: &[String],
        wrong: &mut Vec<String>,
    ) {
        let number = revision.to_string();
        let batches = count(
            journal,
            &format!("SELECT count(*) {OF_REVISION} AND b.state = 'planned'"),
            &[path, &number],
        );
        if batches != 1 {
            wrong.push(format!("{batches} batches of r{revision} of {path}"));
        }
        for name in names {
            let done = format!(
                "SELECT count(*) FROM deliveries WHERE package = ?3 AND state = 'done'
                 AND batch_id IN (SELECT b.id {OF_REVISION})"
            );
            let done = count(journal, &done, &[path, &number, name]);
            if done != letters_of(name).len() {
                wrong.push(format!(
                    "{done} deliveries of {name} of r{revision} of {path}"
                ));
            }
            for letter in letters_of(name).bytes() {
                let place = &self.world.places[usize::from(letter - b'a')];
                let ran = place.host.lines("ran");
                for word in ["begin ", "end "] {
                    let rest = format!(" {name} {revision}");
                    let is_it = |line: &&String| line.starts_with(word) && line.ends_with(&rest);
                    let times = ran.iter().filter(is_it).count();
                    if times != 1 {
                        wrong.push(format!("{word}{rest} of {path}: {times} times"));
                    }
                }
            }
        }
    }
}

const OF_REVISION: &str = "FROM batches b JOIN repositories r ON r.id = b.repository_id
    WHERE r.path = ?1 AND b.source = 'revision' AND b.revision = CAST(?2 AS INTEGER)";
const OUT_OF_ORDER: &str =
    "SELECT count(*) FROM deliveries x JOIN deliveries y ON y.lane = x.lane AND y.id > x.id
       JOIN batches a ON a.id = x.batch_id JOIN batches b ON b.id = y.batch_id
     WHERE a.repository_id = b.repository_id AND a.revision > b.revision";

fn count(journal: &Connection, sql: &str, words: &[&str]) -> usize {
    let words = rusqlite::params_from_iter(words);
    let count: u32 = journal
        .query_row(sql, words, |row| row.get(0))
        .expect("a number");
    count as usize
}

/// A letter for each place that a package goes to.
fn letters_of(name: &str) -> &str {
    name.split('-').next().unwrap_or_default()
}

/// Commits to either, with or without a hook, while workers come and are killed.
fn run(seed: u64) -> usize {
    let mut random = Rng::with_seed(seed);
    let mut kills = 0;
    let mut both = Neighbours::new();
    for number in 0..2 {
        both.commit(number, &Hook::DiesAt("hook.recorded"), &mut random);
    }
    let mut started = Vec::new();
    for _ in 0..random.usize(15..30) {
        match random.u8(0..6) {
            0..3 => {
                let hook = match random.u8(0..5) {
                    0 | 1 => Hook::Missing,
                    2 => Hook::DiesAt("hook.recorded"),
                    _ => Hook::Real,
                };
                let number = random.usize(0..2);
                both.commit(number, &hook, &mut random);
            }
            3 => started.push(both.world.start(&["worker", "--until-idle"], None)),
            4 => {
                // A hook that comes late, or once more.
                let number = random.usize(0..2);
                let path = both.repository(number).to_string_lossy().into_owned();
                let revision = random.usize(0..both.given[number].len()) + 1;
                started.push(
                    both.world
                        .start(&["hook", &path, &revision.to_string()], None),
                );
            }
            _ => {
                for pid in both.world.processes() {
                    signal(pid, Signal::KILL);
                    kills += 1;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(random.u64(5..250)));
    }
    for number in 0..2 {
        both.commit(number, &Hook::Real, &mut random);
    }
    both.world.work();
    both.world.end_all(Signal::TERM);
    both.world.work();
    for mut child in started {
        wait_until("it ends", LIMIT, || {
            child.try_wait().expect("wait").is_some()
        });
    }
    let wrong = both.complaints();
    assert!(
        wrong.is_empty(),
        "{}\nAD_SEED={seed}:\n{}",
        both.world.log(),
        wrong.join("\n")
    );
    kills
}

#[test]
fn two_repositories_share_lanes_and_lose_nothing_to_each_other() {
    let (first, runs) = super::random::seed_and_runs(1);
    let kills: usize = (first..first + runs).map(run).sum();
    say(&format!(
        "AD_SEED={first}: {runs} runs with two repositories, {kills} kills"
    ));
}
