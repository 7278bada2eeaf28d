//! What a world may have beside the usual: an operator who decides at random, lanes that a failure stops, a spool
//! too small for what is under way, a record that is pruned at once.

use std::process::Child;

use fastrand::Rng;
use rusqlite::{Connection, OpenFlags};

use super::world::World;
use crate::testenv::is_root;

/// What is unusual in a world.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is there or not, whatever the others are"
)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Twist {
    /// `retry`, `cancel` and `dismiss` at random.
    pub operator: bool,
    /// A failure stops its lane.
    pub stops: bool,
    /// The spool holds hardly more than the largest package.
    pub is_tight: bool,
    /// The record is pruned after a second. Then nothing is replayed, sent or decided, so that what was
    /// committed says what is owed.
    pub prunes: bool,
    /// The second place has dropbear.
    pub dropbear: bool,
    /// The third place has TLS.
    pub ftps: bool,
}

impl Twist {
    /// What the seed says.
    pub fn of(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed ^ 0x7715);
        let prunes = random.u8(0..4) == 0;
        let stops = random.u8(0..3) == 0;
        Self {
            operator: !prunes && random.u8(0..3) > 0,
            stops,
            // What stands in a stopped lane may hold the room that others wait for until the operator acts.
            is_tight: !stops && random.u8(0..2) == 0,
            prunes,
            dropbear: is_root() && random.u8(0..3) == 0,
            ftps: random.u8(0..3) == 0,
        }
    }
}

/// Failures that hold something up.
const HOLDING: &str = "SELECT x.id FROM deliveries x
    WHERE x.stops_lane = 1 AND x.state IN ('failed', 'unknown') AND x.dismissed_at IS NULL
      AND EXISTS (SELECT 1 FROM deliveries y WHERE y.lane = x.lane AND y.id > x.id
                  AND y.state IN ('queued', 'waiting', 'running'))";

impl World {
    /// Makes the world so.
    pub fn take(&mut self, twist: Twist) {
        self.twist = twist;
        let mut settings = String::new();
        if twist.is_tight {
            settings.push_str("spool_max = 3000000\n");
        }
        if twist.prunes {
            settings.push_str("keep_history = 1\n");
        }
        self.pipeline.settings(&settings);
        if twist.stops {
            self.write_rules(&|rule| rule.with("on_failure", "stop"));
        }
    }

    /// The operator decides something about some deliveries, sensible or not.
    pub fn decide(&mut self, random: &mut Rng) -> Option<Child> {
        let (word, states) = match random.u8(0..5) {
            0 | 1 => ("retry", "('failed', 'unknown')"),
            2 | 3 => ("cancel", "('queued', 'waiting')"),
            _ => ("dismiss", "('failed', 'unknown')"),
        };
        let mut ids = match random.u8(0..8) {
            0 => self.ids("SELECT id FROM deliveries"),
            _ => self.ids(&format!(
                "SELECT id FROM deliveries WHERE state IN {states}"
            )),
        };
        random.shuffle(&mut ids);
        ids.truncate(random.usize(1..4));
        if ids.is_empty() {
            return None;
        }
        self.note(word, &ids);
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut args = vec![word];
        if word == "retry" && random.u8(0..3) == 0 {
            args.push("--wait");
        }
        args.extend(ids.iter().map(String::as_str));
        Some(self.start(&args, None))
    }

    fn note(&mut self, word: &str, ids: &[i64]) {
        for &id in ids {
            match word {
                "retry" => *self.asked.retries.entry(id).or_default() += 1,
                "cancel" => drop(self.asked.cancels.insert(id)),
                _ => drop(self.asked.dismissals.insert(id)),
            }
        }
    }

    /// Puts away what holds a lane up; whether there was anything.
    pub fn lets_a_lane_go_on(&mut self) -> bool {
        let ids = self.ids(HOLDING);
        self.note("dismiss", &ids);
        let words: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut args = vec!["dismiss"];
        args.extend(words.iter().map(String::as_str));
        if !ids.is_empty() {
            self.pipeline.ad(&args).exits(0);
        }
        !ids.is_empty()
    }

    /// What a query says, if the journal is there and free.
    fn ids(&self, sql: &str) -> Vec<i64> {
        let path = self.pipeline.state().join("journal.sqlite");
        let read = || {
            let journal = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            let mut statement = journal.prepare(sql)?;
            let ids = statement.query_map([], |row| row.get(0))?;
            ids.collect::<rusqlite::Result<Vec<i64>>>()
        };
        read().unwrap_or_default()
    }
}
