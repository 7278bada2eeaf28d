//! Deliveries that meet conditions, the newest first, found by indices whatever the conditions are: a million deliveries
//! are never read for a few. What is asked for often is among the newest; only where it is not, the index is asked that
//! narrows the search most.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::query::{COLUMNS, TABLES, delivery_from_row};
use super::rows::DeliveryRow;
use super::{Journal, millis};
use crate::domain::delivery::State;
use crate::domain::pattern::Pattern;
use crate::error::{Error, ErrorKind, Result};

/// What is looked for; what is empty or none excludes nothing.
#[derive(Debug, Default)]
pub struct Search {
    /// Paths of repositories, as recorded.
    pub repositories: Vec<String>,
    /// The first and the last revision.
    pub revisions: Option<(u64, u64)>,
    /// Matches the package's name at its start.
    pub package: Option<Arc<Pattern>>,
    /// Hosts, in any case.
    pub hosts: Vec<String>,
    /// Names of rules.
    pub rules: Vec<String>,
    /// Who committed it.
    pub authors: Vec<String>,
    /// Where it stands.
    pub states: Vec<State>,
    /// Queued then or later.
    pub since: Option<DateTime<Utc>>,
    /// Queued then or earlier.
    pub until: Option<DateTime<Utc>>,
    /// At most this many; none: all.
    pub limit: Option<u64>,
}

/// How many of the newest are looked at one by one before an index is asked.
const NEWEST: usize = 1_000;
/// So many are counted at most to learn which index narrows the search most.
const COUNTED: u64 = 20_000;
/// Rows that are read at a time.
const PAGE: usize = 500;

/// A condition, and the index that finds what meets it.
struct Condition {
    sql: String,
    values: Vec<Value>,
    index: Option<&'static str>,
    /// How that index is asked, where it is not by the condition itself.
    asked: Option<String>,
    /// Whether that takes long.
    is_dear: bool,
}

impl Condition {
    fn by(index: &'static str, sql: String, values: Vec<Value>) -> Self {
        Self {
            sql,
            values,
            index: Some(index),
            asked: None,
            is_dear: false,
        }
    }

    /// `column` is one of `words`.
    fn one_of(column: &str, words: &[String]) -> Option<Self> {
        let marks = vec!["?"; words.len()].join(", ");
        (!words.is_empty()).then(|| Self {
            sql: format!("{column} IN ({marks})"),
            values: words.iter().cloned().map(Value::Text).collect(),
            index: None,
            asked: None,
            is_dear: false,
        })
    }
}

impl Search {
    /// Host, rule, author and repository, in any combination.
    fn facets(&self) -> Option<Condition> {
        let hosts: Vec<String> = self.hosts.iter().map(|host| host.to_lowercase()).collect();
        let parts: Vec<Condition> = [
            Condition::one_of("lower(f.host)", &hosts),
            Condition::one_of("f.rule", &self.rules),
            Condition::one_of("f.author", &self.authors),
            self.repositories_as("f.repository_id"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() {
            return None;
        }
        let sql: Vec<&str> = parts.iter().map(|part| part.sql.as_str()).collect();
        Some(Condition::by(
            "deliveries_by_facet",
            format!(
                "d.facet_id IN (SELECT f.id FROM facets f WHERE {})",
                sql.join(" AND ")
            ),
            parts.into_iter().flat_map(|part| part.values).collect(),
        ))
    }

    fn repositories_as(&self, column: &str) -> Option<Condition> {
        let found = Condition::one_of("path", &self.repositories)?;
        Some(Condition {
            sql: format!(
                "{column} IN (SELECT id FROM repositories WHERE {})",
                found.sql
            ),
            ..found
        })
    }

    fn state(&self) -> Option<Condition> {
        if self.states.is_empty() {
            return None;
        }
        let words: Vec<String> = self
            .states
            .iter()
            .map(|state| format!("'{state}'"))
            .collect();
        let is_partial = !self.states.contains(&State::Done);
        let partial = if is_partial {
            " AND d.state <> 'done'"
        } else {
            ""
        };
        Some(Condition {
            sql: format!("d.state IN ({}){partial}", words.join(", ")),
            values: Vec::new(),
            index: is_partial.then_some("deliveries_by_state"),
            asked: None,
            is_dear: false,
        })
    }

    /// Batches of the revisions, for a subquery.
    fn batches(&self) -> Option<Condition> {
        let (low, high) = self.revisions?;
        let repositories = self.repositories_as("repository_id");
        let (repositories, values) = match repositories {
            Some(found) => (found.sql, found.values),
            None => (
                "repository_id IN (SELECT id FROM repositories)".to_owned(),
                Vec::new(),
            ),
        };
        Some(Condition::by(
            "deliveries_of_batch",
            format!(
                "batches INDEXED BY batches_by_revision
                 WHERE revision IS NOT NULL AND {repositories} AND revision BETWEEN {low} AND {high}"
            ),
            values,
        ))
    }

    fn revision(&self) -> Option<Condition> {
        let batches = self.batches()?;
        Some(Condition {
            sql: format!("d.batch_id IN (SELECT id FROM {})", batches.sql),
            ..batches
        })
    }

    /// The same search with the time in which the revisions were planned, which is when their deliveries were queued.
    fn bounded(&self, connection: &Connection) -> rusqlite::Result<(i64, i64)> {
        let (since, until) = (
            self.since.map_or(i64::MIN, millis),
            self.until.map_or(i64::MAX, millis),
        );
        let Some(batches) = self.batches() else {
            return Ok((since, until));
        };
        let sql = format!(
            "SELECT min(planned_at), max(planned_at) FROM {}",
            batches.sql
        );
        connection
            .prepare(&sql)?
            .query_row(params_from_iter(batches.values), |row| {
                let (first, last): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
                Ok((
                    since.max(first.unwrap_or(i64::MAX)),
                    until.min(last.unwrap_or(i64::MIN)),
                ))
            })
    }

    fn named(&self) -> Option<Condition> {
        let prefix = self.package.as_ref()?.prefix();
        let (range, values) = match after(prefix) {
            Some(end) => (
                "name >= ? AND name < ? AND ",
                vec![Value::Text(prefix.to_owned()), Value::Text(end)],
            ),
            None => ("", Vec::new()),
        };
        let names = format!("SELECT name FROM names WHERE {range}is_wanted(name)");
        Some(Condition {
            sql: format!(
                "{}is_wanted(d.package)",
                range.replace("name ", "d.package ")
            ),
            values,
            index: Some("deliveries_by_package"),
            asked: Some(format!("d.package IN ({names})")),
            is_dear: prefix.is_empty(),
        })
    }
}

/// A search made ready: conditions, and the time in which all lies that is looked for.
struct Ready {
    conditions: Vec<Condition>,
    since: i64,
    until: i64,
    limit: Option<u64>,
}

impl Ready {
    fn of(connection: &Connection, search: &Search) -> rusqlite::Result<Self> {
        let (since, until) = search.bounded(connection)?;
        let is_bounded = since > i64::MIN || until < i64::MAX;
        let time = is_bounded.then(|| {
            Condition::by(
                "deliveries_by_time",
                format!("d.queued_at BETWEEN {since} AND {until}"),
                Vec::new(),
            )
        });
        let conditions = [
            search.facets(),
            search.state(),
            time,
            search.revision(),
            search.named(),
        ];
        Ok(Self {
            conditions: conditions.into_iter().flatten().collect(),
            since,
            until,
            limit: search.limit,
        })
    }

    /// The conditions joined, with their values; `index` is asked in its own way.
    fn all(&self, index: Option<&str>) -> (String, Vec<Value>) {
        let sql = self.conditions.iter().map(|condition| {
            let asked = condition.asked.as_ref();
            let asked = asked.filter(|_| index.is_some() && condition.index == index);
            asked.unwrap_or(&condition.sql).as_str()
        });
        let sql: Vec<&str> = sql.collect();
        let sql = if sql.is_empty() {
            "TRUE".to_owned()
        } else {
            sql.join(" AND ")
        };
        let values = self.conditions.iter();
        let values = values.flat_map(|condition| condition.values.clone());
        (sql, values.collect())
    }

    /// What the whole search asks of `index`.
    fn narrowed(&self, index: &str) -> (String, Vec<Value>) {
        let (condition, values) = self.all(Some(index));
        let limit = self.limit.unwrap_or(u64::MAX);
        let sql = format!(
            "SELECT d.id FROM deliveries d INDEXED BY {index} WHERE {condition}
             ORDER BY d.queued_at DESC, d.id DESC LIMIT {}",
            i64::try_from(limit).unwrap_or(i64::MAX)
        );
        (sql, values)
    }

    /// The walk over the newest, each with whether it is looked for.
    fn walk(&self) -> (String, Vec<Value>) {
        let (condition, values) = self.all(None);
        let sql = format!(
            "SELECT d.id, {condition} FROM deliveries d INDEXED BY deliveries_by_time
             WHERE d.queued_at BETWEEN {} AND {} ORDER BY d.queued_at DESC, d.id DESC",
            self.since, self.until
        );
        (sql, values)
    }
}

/// The first text behind all that begin with `prefix`; none where there is no such one.
fn after(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    let last = chars.pop()?;
    let next = char::from_u32(u32::from(last) + 1)?;
    chars.push(next);
    Some(chars.into_iter().collect())
}

impl Journal {
    /// Shows each delivery that is looked for to `visit`, the newest first.
    pub fn search(
        &self,
        search: &Search,
        visit: &mut dyn FnMut(DeliveryRow) -> Result<()>,
    ) -> Result<()> {
        let what = "cannot read the deliveries of";
        let trouble = self.read(what, |connection| offer_pattern(connection, search))?;
        let ids = self.read(what, |connection| found(connection, search))?;
        let trouble = trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(message) = trouble {
            return Err(Error::new(ErrorKind::Usage, format!("--package: {message}"))
                .with_hint("write a simpler expression; without look-around and references each is matched in no time"));
        }
        for page in ids.chunks(PAGE) {
            let marks = vec!["?"; page.len()].join(", ");
            let sql = format!(
                "SELECT {COLUMNS} FROM {TABLES} WHERE d.id IN ({marks}) ORDER BY d.queued_at DESC, d.id DESC"
            );
            let rows = self.read(what, |connection| {
                connection
                    .prepare_cached(&sql)?
                    .query_map(params_from_iter(page), delivery_from_row)?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })?;
            rows.into_iter().try_for_each(&mut *visit)?;
        }
        Ok(())
    }
}

/// Has SQL know the pattern as `is_wanted`. What it could not decide is found in the returned place.
fn offer_pattern(
    connection: &Connection,
    search: &Search,
) -> rusqlite::Result<Arc<Mutex<Option<String>>>> {
    let trouble = Arc::new(Mutex::new(None));
    if let Some(pattern) = &search.package {
        let (pattern, told) = (Arc::clone(pattern), Arc::clone(&trouble));
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
        connection.create_scalar_function("is_wanted", 1, flags, move |context| {
            let name = context.get_raw(0).as_str().unwrap_or_default();
            Ok(pattern.matches_at_start(name).unwrap_or_else(|error| {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.message);
                false
            }))
        })?;
    }
    Ok(trouble)
}

/// The numbers of what is looked for, the newest first.
fn found(connection: &Connection, search: &Search) -> rusqlite::Result<Vec<i64>> {
    let ready = Ready::of(connection, search)?;
    if let Some(ids) = among_the_newest(connection, &ready)? {
        return Ok(ids);
    }
    let (sql, values) = ready.narrowed(narrowest(connection, &ready.conditions)?);
    connection
        .prepare(&sql)?
        .query_map(params_from_iter(values), |row| row.get(0))?
        .collect()
}

/// Looks at the newest one by one; none where that does not find all.
fn among_the_newest(connection: &Connection, ready: &Ready) -> rusqlite::Result<Option<Vec<i64>>> {
    let most = ready.limit.unwrap_or(u64::MAX);
    let (sql, values) = ready.walk();
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut ids = Vec::new();
    for _ in 0..NEWEST {
        if ids.len() as u64 >= most {
            return Ok(Some(ids));
        }
        let Some(row) = rows.next()? else {
            return Ok(Some(ids));
        };
        if row.get(1)? {
            ids.push(row.get(0)?);
        }
    }
    Ok(None)
}

/// The index that finds the fewest, as far as counting is cheap.
fn narrowest(connection: &Connection, conditions: &[Condition]) -> rusqlite::Result<&'static str> {
    let mut best = None;
    for condition in conditions.iter().filter(|condition| !condition.is_dear) {
        let Some(index) = condition.index else {
            continue;
        };
        let (sql, values) = counted(condition, index);
        let count: u64 = connection
            .prepare(&sql)?
            .query_row(params_from_iter(values), |row| row.get(0))?;
        if count < best.map_or(COUNTED, |(least, _)| least) {
            best = Some((count, index));
        }
        // No other one can spare much more.
        if count < COUNTED / 20 {
            break;
        }
    }
    if let Some((_, index)) = best {
        return Ok(index);
    }
    // All find many: the narrow ones, which hold most of what is asked, come first.
    let asked = |index: &&str| {
        let mut indices = conditions.iter().filter_map(|condition| condition.index);
        indices.any(|known| known == *index)
    };
    let by_width = ["deliveries_by_package", "deliveries_by_facet"];
    let index = by_width.into_iter().find(asked);
    Ok(index.unwrap_or("deliveries_by_time"))
}

fn counted(condition: &Condition, index: &str) -> (String, Vec<Value>) {
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM deliveries d INDEXED BY {index} WHERE {} LIMIT {COUNTED})",
        condition.asked.as_ref().unwrap_or(&condition.sql)
    );
    (sql, condition.values.clone())
}

#[cfg(test)]
mod tests;
