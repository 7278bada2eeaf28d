//! The outbox: messages that are made of what is to be told, and that leave it by being sent or given up. Each
//! belongs to one worker while that one sends it; what a dead one held is free again. Sends nothing itself.

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{Journal, millis, time};
use crate::domain::notice::Occurrence;
use crate::domain::notice::digest::{Made, Next, Pending, next};
use crate::domain::notice::message::{Making, Message, compose};
use crate::error::Result;

/// So many occurrences go into one message; the rest into the next.
const OCCURRENCES_MAX: usize = 20_000;
/// How long it is kept what was sent.
const SENT_KEPT: TimeDelta = TimeDelta::days(7);

/// How messages of a notifier are made.
#[derive(Debug, Clone, Copy)]
pub struct MessageTerms<'a> {
    /// The notifier.
    pub notifier: &'a str,
    /// The site.
    pub site: &'a str,
    /// What a command begins with that finds this place.
    pub program: &'a str,
    /// The zone of the machine.
    pub zone: FixedOffset,
    /// `digest_after`.
    pub window: TimeDelta,
    /// How long something new waits for what happens at the same moment.
    pub gather: TimeDelta,
}

/// A message that its worker alone may send.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Its row.
    pub row: i64,
    /// How often it was tried, this time included.
    pub tries: u32,
    /// When it was made.
    pub made_at: DateTime<Utc>,
    /// What it says.
    pub message: Message,
}

/// A message that could not be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsent {
    /// To whom.
    pub notifier: String,
    /// When it was made.
    pub made_at: DateTime<Utc>,
    /// How often it was tried.
    pub tries: u32,
    /// Whether it is not tried any more.
    pub is_given_up: bool,
    /// When it is tried again.
    pub due_at: DateTime<Utc>,
    /// Why it could not be sent.
    pub error: String,
}

impl Journal {
    /// Makes a message of what waits to be told, if its time has come and no other message of the notifier is on its
    /// way. Says what comes next.
    pub fn make_message(&mut self, terms: &MessageTerms<'_>, now: DateTime<Utc>) -> Result<Next> {
        let decided = self.read("cannot read the notices of", |connection| {
            decide(connection, terms, now)
        })?;
        if decided != Next::Now {
            return Ok(decided);
        }
        let journal_id = self.id.clone();
        // Another worker may have made it meanwhile: looked at once more, with the lock.
        self.write("cannot make a message in", |tx| {
            let decided = decide(tx, terms, now)?;
            if decided == Next::Now {
                make(tx, &journal_id, terms, now)?;
            }
            Ok(decided)
        })
    }

    /// Takes the notifier's message for a worker, if there is one and it is due.
    pub fn claim_message(
        &mut self,
        notifier: &str,
        worker: i64,
        now: DateTime<Utc>,
    ) -> Result<Option<Outgoing>> {
        const DUE: &str = "SELECT id, tries, made_at, body FROM messages
             WHERE notifier = ?1 AND sent_at IS NULL AND given_up_at IS NULL AND worker_id IS NULL
               AND (due_at <= ?2 OR ?2 < waits_from) ORDER BY id LIMIT 1";
        let due = params![notifier, millis(now)];
        let is_due = self.read("cannot read the messages of", |connection| {
            connection.prepare_cached(DUE)?.exists(due)
        })?;
        if !is_due {
            return Ok(None);
        }
        self.write("cannot claim a message in", |tx| {
            let found: Option<(i64, u32, i64, String)> = tx
                .prepare_cached(DUE)?
                .query_row(due, |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })
                .optional()?;
            let Some((row, tries, made_at, body)) = found else {
                return Ok(None);
            };
            tx.prepare_cached(
                "UPDATE messages SET worker_id = ?2, tries = tries + 1 WHERE id = ?1",
            )?
            .execute(params![row, worker])?;
            Ok(Some(Outgoing {
                row,
                tries: tries + 1,
                made_at: time(made_at),
                message: parsed(&body)?,
            }))
        })
    }

    /// Notes that a message was sent.
    pub fn message_sent(&mut self, row: i64, worker: i64, now: DateTime<Utc>) -> Result<()> {
        self.write("cannot note a sent message in", |tx| {
            tx.prepare_cached(
                "UPDATE messages SET sent_at = ?3, worker_id = NULL, error = NULL WHERE id = ?1 AND worker_id = ?2",
            )?
            .execute(params![row, worker, millis(now)])
        })
        .map(|_| ())
    }

    /// Notes that a message was not sent, and when that is tried again; none: it is given up.
    pub fn message_failed(
        &mut self,
        row: i64,
        worker: i64,
        error: &str,
        again: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        self.write("cannot note an unsent message in", |tx| {
            tx.prepare_cached(
                "UPDATE messages SET worker_id = NULL, error = ?3, due_at = coalesce(?4, due_at), waits_from = ?5,
                   given_up_at = CASE WHEN ?4 IS NULL THEN ?5 END
                 WHERE id = ?1 AND worker_id = ?2",
            )?
            .execute(params![row, worker, error, again.map(millis), millis(now)])
        })
        .map(|_| ())
    }

    /// The workers that hold messages, but for `me`.
    pub fn workers_with_messages(&self, me: i64) -> Result<Vec<i64>> {
        self.read("cannot read the messages of", |connection| {
            connection
                .prepare_cached(
                    "SELECT DISTINCT worker_id FROM messages
                     WHERE sent_at IS NULL AND given_up_at IS NULL AND worker_id IS NOT NULL AND worker_id <> ?1",
                )?
                .query_map([me], |row| row.get(0))?
                .collect()
        })
    }

    /// Frees the messages of a dead worker: nobody knows whether they were sent, so they are sent again.
    pub fn free_messages(&mut self, dead_worker: i64) -> Result<()> {
        self.write("cannot free messages in", |tx| {
            tx.execute(
                "UPDATE messages SET worker_id = NULL
                 WHERE worker_id = ?1 AND sent_at IS NULL AND given_up_at IS NULL",
                [dead_worker],
            )
        })
        .map(|_| ())
    }

    /// Whether something waits to be told to one of those that this journal writes notices for.
    pub fn has_notices(&self) -> Result<bool> {
        self.read("cannot read the notices of", |connection| {
            let mut found = connection.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM notices WHERE notifier = ?1)
                 OR EXISTS (SELECT 1 FROM messages
                            WHERE notifier = ?1 AND sent_at IS NULL AND given_up_at IS NULL)",
            )?;
            for one in self.subscriptions.iter() {
                if found.query_row([&one.name], |row| row.get(0))? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// Messages that were tried in vain: those on their way, and those that were given up since the notifier last got
    /// one.
    pub fn unsent_messages(&self) -> Result<Vec<Unsent>> {
        self.read("cannot read the messages of", |connection| {
            connection
                .prepare(
                    "SELECT notifier, made_at, tries, given_up_at IS NOT NULL, due_at, error FROM messages m
                     WHERE sent_at IS NULL AND error IS NOT NULL
                       AND NOT EXISTS (SELECT 1 FROM messages s
                         WHERE s.notifier = m.notifier AND s.id > m.id AND s.sent_at IS NOT NULL)
                     ORDER BY id",
                )?
                .query_map([], |row| {
                    Ok(Unsent {
                        notifier: row.get(0)?,
                        made_at: time(row.get(1)?),
                        tries: row.get(2)?,
                        is_given_up: row.get(3)?,
                        due_at: time(row.get(4)?),
                        error: row.get(5)?,
                    })
                })?
                .collect()
        })
    }

    /// Removes what nobody has taken for so long: messages that were given up, and notices and troubles of notifiers
    /// that are no more.
    pub fn prune_notices(&mut self, before: DateTime<Utc>) -> Result<()> {
        let before = millis(before);
        let has_any = self.read("cannot read the notices of", |connection| {
            connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM notices WHERE at < ?1)
                       OR EXISTS (SELECT 1 FROM messages WHERE made_at < ?1)
                       OR EXISTS (SELECT 1 FROM troubles WHERE since < ?1)",
                )?
                .query_row([before], |row| row.get::<_, bool>(0))
        })?;
        if !has_any {
            return Ok(());
        }
        self.write("cannot prune the notices of", |tx| {
            for (table, column) in [
                ("notices", "at"),
                ("messages", "made_at"),
                ("troubles", "since"),
            ] {
                tx.execute(
                    &format!("DELETE FROM {table} WHERE {column} < ?1"),
                    [before],
                )?;
            }
            Ok(())
        })
    }
}

fn decide(
    connection: &rusqlite::Connection,
    terms: &MessageTerms<'_>,
    now: DateTime<Utc>,
) -> rusqlite::Result<Next> {
    let pending = connection
        .prepare_cached("SELECT topic, min(at) FROM notices WHERE notifier = ?1 GROUP BY topic")?
        .query_map([terms.notifier], |row| {
            Ok(Pending {
                topic: row.get(0)?,
                since: time(row.get(1)?),
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    if pending.is_empty() {
        return Ok(Next::Nothing);
    }
    let is_on_its_way: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM messages
             WHERE notifier = ?1 AND sent_at IS NULL AND given_up_at IS NULL)",
        )?
        .query_row([terms.notifier], |row| row.get(0))?;
    if is_on_its_way {
        return Ok(Next::At(now + terms.gather));
    }
    let made = connection
        .prepare_cached(
            "SELECT made_at, topics FROM messages WHERE notifier = ?1 AND made_at > ?2",
        )?
        .query_map(params![terms.notifier, millis(now - terms.window)], |row| {
            let topics: String = row.get(1)?;
            Ok(Made {
                at: time(row.get(0)?),
                topics: parsed(&topics)?,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(next(&pending, &made, terms.window, terms.gather, now))
}

fn make(
    tx: &Transaction<'_>,
    journal_id: &str,
    terms: &MessageTerms<'_>,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    let rows = tx
        .prepare_cached("SELECT id, body FROM notices WHERE notifier = ?1 ORDER BY id LIMIT ?2")?
        .query_map(params![terms.notifier, OCCURRENCES_MAX], |row| {
            let body: String = row.get(1)?;
            Ok((row.get(0)?, parsed::<Occurrence>(&body)?))
        })?
        .collect::<rusqlite::Result<Vec<(i64, Occurrence)>>>()?;
    let Some(&(last, _)) = rows.last() else {
        return Ok(());
    };
    let occurrences: Vec<Occurrence> = rows.into_iter().map(|(_, told)| told).collect();
    let mut topics: Vec<String> = occurrences.iter().map(Occurrence::topic).collect();
    topics.sort_unstable();
    topics.dedup();
    tx.prepare_cached(
        "INSERT INTO messages (notifier, topics, body, made_at, due_at, waits_from) VALUES (?1, ?2, '', ?3, ?3, ?3)",
    )?
    .execute(params![terms.notifier, written(&topics)?, millis(now)])?;
    let row = tx.last_insert_rowid();
    let making = Making {
        id: format!("{journal_id}-{row}"),
        site: terms.site,
        notifier: terms.notifier,
        program: terms.program,
        zone: terms.zone,
        now: millis(now),
    };
    let message = compose(&making, &occurrences, |lane| {
        tx.prepare_cached(
            "SELECT count(*) FROM deliveries WHERE lane = ?1 AND state IN ('queued', 'running', 'waiting')",
        )?
        .query_row([lane], |row| row.get(0))
    })?;
    tx.prepare_cached("UPDATE messages SET body = ?2 WHERE id = ?1")?
        .execute(params![row, written(&message)?])?;
    tx.prepare_cached("DELETE FROM notices WHERE notifier = ?1 AND id <= ?2")?
        .execute(params![terms.notifier, last])?;
    tx.prepare_cached(
        "DELETE FROM messages WHERE notifier = ?1 AND sent_at < ?2 AND made_at < ?2",
    )?
    .execute(params![
        terms.notifier,
        millis(now - SENT_KEPT.max(terms.window))
    ])?;
    Ok(())
}

fn written(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn parsed<T: serde::de::DeserializeOwned>(json: &str) -> rusqlite::Result<T> {
    serde_json::from_str(json).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}
