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
const NEWEST: usize = 5_000;
/// So many are counted at most to learn which index narrows the search most.
const COUNTED: u64 = 20_000;
/// Rows that are read at a time.
const PAGE: usize = 500;

/// A condition, and the index that finds what meets it.
struct Condition {
    sql: String,
    values: Vec<Value>,
    index: Option<&'static str>,
    /// Whether that index has to be read as a whole.
    is_whole: bool,
}

impl Condition {
    fn by(index: &'static str, sql: String, values: Vec<Value>) -> Self {
        Self {
            sql,
            values,
            index: Some(index),
            is_whole: false,
        }
    }

    /// `column` is one of `words`.
    fn one_of(column: &str, words: &[String]) -> Option<Self> {
        let marks = vec!["?"; words.len()].join(", ");
        (!words.is_empty()).then(|| Self {
            sql: format!("{column} IN ({marks})"),
            values: words.iter().cloned().map(Value::Text).collect(),
            index: None,
            is_whole: false,
        })
    }
}

impl Search {
    fn conditions(&self) -> Vec<Condition> {
        [
            self.facets(),
            self.state(),
            self.revision(),
            self.time(),
            self.named(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

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
            is_whole: false,
        })
    }

    fn revision(&self) -> Option<Condition> {
        let (low, high) = self.revisions?;
        let (repositories, names) = match self.repositories_as("repository_id") {
            Some(found) => (found.sql, found.values),
            None => (
                "repository_id IN (SELECT id FROM repositories)".to_owned(),
                Vec::new(),
            ),
        };
        let of = |source: &str| {
            format!(
                "SELECT id FROM batches WHERE source = '{source}' AND {repositories}
                 AND revision BETWEEN {low} AND {high}"
            )
        };
        Some(Condition::by(
            "deliveries_of_batch",
            format!(
                "d.batch_id IN ({} UNION ALL {})",
                of("revision"),
                of("replay")
            ),
            [names.clone(), names].concat(),
        ))
    }

    fn time(&self) -> Option<Condition> {
        if self.since.is_none() && self.until.is_none() {
            return None;
        }
        let (since, until) = self.bounds();
        Some(Condition::by(
            "deliveries_by_time",
            format!("d.queued_at BETWEEN {since} AND {until}"),
            Vec::new(),
        ))
    }

    fn bounds(&self) -> (i64, i64) {
        (
            self.since.map_or(i64::MIN, millis),
            self.until.map_or(i64::MAX, millis),
        )
    }

    fn named(&self) -> Option<Condition> {
        let prefix = self.package.as_ref()?.prefix();
        let (range, values) = match after(prefix) {
            Some(end) => (
                "d.package >= ? AND d.package < ? AND ",
                vec![Value::Text(prefix.to_owned()), Value::Text(end)],
            ),
            None => ("", Vec::new()),
        };
        Some(Condition {
            sql: format!("{range}is_wanted(d.package)"),
            values,
            index: Some("deliveries_by_package"),
            is_whole: prefix.is_empty(),
        })
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

/// The conditions joined, with their values.
fn all_of(conditions: &[Condition]) -> (String, Vec<Value>) {
    let sql: Vec<&str> = conditions
        .iter()
        .map(|condition| condition.sql.as_str())
        .collect();
    let sql = if sql.is_empty() {
        "TRUE".to_owned()
    } else {
        sql.join(" AND ")
    };
    let values = conditions
        .iter()
        .flat_map(|condition| condition.values.clone());
    (sql, values.collect())
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
    let conditions = search.conditions();
    if let Some(ids) = among_the_newest(connection, search, &conditions)? {
        return Ok(ids);
    }
    let index = narrowest(connection, &conditions)?;
    let (sql, values) = narrowed(search, &conditions, index);
    connection
        .prepare(&sql)?
        .query_map(params_from_iter(values), |row| row.get(0))?
        .collect()
}

/// What the whole search asks of `index`.
fn narrowed(search: &Search, conditions: &[Condition], index: &str) -> (String, Vec<Value>) {
    let (condition, values) = all_of(conditions);
    let limit = search
        .limit
        .map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let sql = format!(
        "SELECT d.id FROM deliveries d INDEXED BY {index} WHERE {condition}
         ORDER BY d.queued_at DESC, d.id DESC LIMIT {limit}"
    );
    (sql, values)
}

/// The walk over the newest, each with whether it is looked for.
fn walk(search: &Search, conditions: &[Condition]) -> (String, Vec<Value>) {
    let (condition, values) = all_of(conditions);
    let (since, until) = search.bounds();
    let sql = format!(
        "SELECT d.id, {condition} FROM deliveries d INDEXED BY deliveries_by_time
         WHERE d.queued_at BETWEEN {since} AND {until} ORDER BY d.queued_at DESC, d.id DESC"
    );
    (sql, values)
}

/// Looks at the newest one by one; none where that does not find all.
fn among_the_newest(
    connection: &Connection,
    search: &Search,
    conditions: &[Condition],
) -> rusqlite::Result<Option<Vec<i64>>> {
    let most = search.limit.unwrap_or(u64::MAX);
    let (sql, values) = walk(search, conditions);
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
    for condition in conditions.iter().filter(|condition| !condition.is_whole) {
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
        condition.sql
    );
    (sql, condition.values.clone())
}

#[cfg(test)]
mod tests;
