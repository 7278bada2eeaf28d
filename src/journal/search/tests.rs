//! Searches, held against a plain reading of all rows, and their plans.

use super::super::fixture::{at, journal};
use super::*;

const HOSTS: [&str; 3] = ["alpha", "beta", "gamma"];
const RULES: [&str; 2] = ["app-.*", "core"];
const AUTHORS: [Option<&str>; 3] = [Some("ann"), Some("bob"), None];

/// Revisions of two repositories and replays, with deliveries of all kinds, more than are looked at one by one.
fn filled() -> (tempfile::TempDir, Journal) {
    let (dir, journal) = journal();
    journal.sql("BEGIN");
    journal.batch_of("send", None, at(0));
    journal
        .sql("INSERT INTO repositories (id, uuid, path, recorded_at) VALUES (2, 'w', '/svn/y', 0)");
    for number in 0..600_usize {
        let source = if number % 10 == 9 {
            "replay"
        } else {
            "revision"
        };
        let seconds = i64::try_from(number).expect("small");
        let batch = journal.batch_of(source, Some(number as u64), at(seconds));
        let author = AUTHORS[number % 3].map_or("NULL".to_owned(), |name| format!("'{name}'"));
        journal.sql(&format!(
            "UPDATE batches SET author = {author}, repository_id = {} WHERE id = {batch}",
            1 + number % 2
        ));
        for (part, host) in HOSTS.iter().enumerate() {
            let state = State::ALL[(number / 7 + part) % 7];
            let state = if state == State::Running {
                State::Done
            } else {
                state
            };
            let id = journal.delivery_of(batch, host, state.as_str(), None);
            // The columns that a plan gives are not changed later, so they are given by hand to what finds them.
            journal.sql(&format!(
                "UPDATE deliveries SET host = '{0}', rule = '{1}', package = '{2}', queued_at = {3} WHERE id = {id};
                 INSERT INTO names VALUES ('{2}') ON CONFLICT DO NOTHING;
                 INSERT INTO facets (host, rule, author, repository_id)
                   VALUES ('{0}', '{1}', ifnull({author}, ''), {4}) ON CONFLICT DO NOTHING;
                 UPDATE deliveries SET facet_id = (SELECT id FROM facets WHERE host = '{0}' AND rule = '{1}'
                   AND author = ifnull({author}, '') AND repository_id = {4}) WHERE id = {id}",
                host,
                RULES[number % 2],
                if number == 3 { "once".to_owned() } else { format!("app-{}.tar", number % 40) },
                millis(at(seconds)),
                1 + number % 2
            ));
        }
    }
    journal.sql("COMMIT");
    (dir, journal)
}

fn ids(journal: &Journal, search: &Search) -> Vec<i64> {
    let mut ids = Vec::new();
    let visited = journal.search(search, &mut |row| {
        ids.push(row.id);
        Ok(())
    });
    visited.expect("searched");
    ids
}

/// What reading everything finds.
fn plainly(journal: &Journal, search: &Search) -> Vec<i64> {
    let mut found: Vec<(DateTime<Utc>, i64)> = Vec::new();
    let is_one = |words: &[String], word: Option<&str>| {
        words.is_empty() || words.iter().any(|known| Some(known.as_str()) == word)
    };
    let visited = journal.each_delivery(&super::super::HistoryFilter::default(), &mut |row| {
        let wanted = is_one(&search.hosts, Some(&row.host))
            && is_one(&search.rules, Some(&row.rule))
            && is_one(&search.authors, row.author.as_deref())
            && is_one(&search.repositories, row.repository.as_deref())
            && (search.states.is_empty() || search.states.contains(&row.state))
            && search.since.is_none_or(|since| row.queued_at >= since)
            && search.until.is_none_or(|until| row.queued_at <= until)
            && search.revisions.is_none_or(|(low, high)| {
                row.revision
                    .is_some_and(|revision| (low..=high).contains(&revision))
            })
            && search
                .package
                .as_ref()
                .is_none_or(|pattern| pattern.matches_at_start(&row.package).expect("decided"));
        if wanted {
            found.push((row.queued_at, row.id));
        }
        Ok(())
    });
    visited.expect("read");
    found.sort_unstable_by(|one, other| other.cmp(one));
    let most = search.limit.unwrap_or(u64::MAX);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    found.into_iter().take(most).map(|(_, id)| id).collect()
}

fn pattern(source: &str) -> Arc<Pattern> {
    Arc::new(Pattern::new(source).expect("a pattern"))
}

/// A search with some of the conditions, as the bits of `number` say.
fn some_of(number: u32, random: &mut fastrand::Rng) -> Search {
    let mut search = Search::default();
    let mut word = |words: &[&str]| vec![words[random.usize(..words.len())].to_owned()];
    if number & 1 != 0 {
        search.hosts = word(&["alpha", "beta", "nosuch"]);
    }
    if number & 2 != 0 {
        search.rules = word(&["app-.*", "core", "nosuch"]);
    }
    if number & 4 != 0 {
        search.authors = word(&["ann", "bob", "nosuch"]);
    }
    if number & 8 != 0 {
        search.repositories = word(&["/svn/x", "/svn/y", "/svn/none"]);
    }
    if number & 16 != 0 {
        let all = State::ALL;
        search.states = (0..2).map(|_| all[random.usize(..all.len())]).collect();
    }
    if number & 32 != 0 {
        let low = random.u64(..620);
        search.revisions = Some((low, low + random.u64(..200)));
    }
    if number & 64 != 0 {
        let sources = [
            "app-3",
            "app-3\\.tar",
            ".*-7\\.tar$",
            "once",
            "nosuch",
            "(?i)APP-1",
        ];
        search.package = Some(pattern(sources[random.usize(..sources.len())]));
    }
    if number & 128 != 0 {
        search.since = Some(at(random.i64(-10..610)));
    }
    if number & 256 != 0 {
        search.until = Some(at(random.i64(-10..610)));
    }
    if random.bool() {
        search.limit = Some(random.u64(..30));
    }
    search
}

#[test]
fn every_combination_finds_what_reading_everything_finds() {
    let (_dir, journal) = filled();
    let mut random = fastrand::Rng::with_seed(6);
    let mut met = 0;
    for number in 0..512 {
        let search = some_of(number, &mut random);
        let found = ids(&journal, &search);
        assert_eq!(found, plainly(&journal, &search), "{search:?}");
        met += usize::from(!found.is_empty());
        // The index that is asked decides nothing but the time that it takes.
        let ready = journal.read("", |connection| {
            offer_pattern(connection, &search)?;
            Ready::of(connection, &search)
        });
        let ready = ready.expect("ready");
        for condition in &ready.conditions {
            let Some(index) = condition.index else {
                continue;
            };
            let (sql, values) = ready.narrowed(index);
            let by_index: Vec<i64> = journal
                .connection
                .prepare(&sql)
                .and_then(|mut statement| {
                    let rows = statement.query_map(params_from_iter(values), |row| row.get(0))?;
                    rows.collect()
                })
                .expect("asked");
            assert_eq!(by_index, found, "{index}: {search:?}");
        }
    }
    assert!(met > 100, "only {met} searches found anything");
}

#[test]
fn no_search_and_no_question_of_the_status_reads_all_deliveries() {
    let (_dir, journal) = filled();
    let mut random = fastrand::Rng::with_seed(7);
    let mut asked = Vec::new();
    for number in 0..512 {
        let search = some_of(number, &mut random);
        let ready = journal.read("", |connection| {
            offer_pattern(connection, &search)?;
            Ready::of(connection, &search)
        });
        let ready = ready.expect("ready");
        asked.push(ready.walk());
        for condition in &ready.conditions {
            let Some(index) = condition.index else {
                continue;
            };
            asked.push(ready.narrowed(index));
            asked.push(counted(condition, index));
        }
        for (sql, values) in asked.drain(..) {
            let mut statement = journal
                .connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .expect("a plan");
            let lines: Vec<String> = statement
                .query_map(params_from_iter(values), |row| row.get(3))
                .and_then(Iterator::collect)
                .expect("lines");
            // The walk alone scans, by its index, and is ended after a thousand rows.
            let scans = |line: &&String| {
                line.starts_with("SCAN d")
                    || line.starts_with("SCAN batches")
                    || line.contains("SCAN b")
            };
            let scans: Vec<&String> = lines.iter().filter(scans).collect();
            assert!(scans.is_empty(), "{scans:?} in {sql}");
        }
    }
}

#[test]
fn what_is_inserted_and_pruned_keeps_facets_and_names() {
    let (_dir, journal) = journal();
    let batch = journal.batch_of("revision", Some(1), at(0));
    journal.sql(&format!(
        "UPDATE batches SET author = 'ann' WHERE id = {batch}"
    ));
    let first = journal.delivery_of(batch, "l@h", "done", Some(at(1)));
    let second = journal.delivery_of(batch, "l@h", "done", Some(at(1)));
    let facets = "SELECT count(*) FROM facets WHERE host = 'h' AND rule = 'app' AND author = 'ann' AND repository_id = 1";
    assert_eq!(journal.number(facets), Some(1));
    let named = "SELECT count(*) FROM deliveries d JOIN facets f ON f.id = d.facet_id JOIN names n ON n.name = d.package";
    assert_eq!(journal.number(named), Some(2));
    journal.sql(&format!(
        "DELETE FROM attempts; DELETE FROM deliveries WHERE id = {first}"
    ));
    assert_eq!(journal.number("SELECT count(*) FROM names"), Some(1));
    journal.sql(&format!("DELETE FROM deliveries WHERE id = {second}"));
    assert_eq!(journal.number("SELECT count(*) FROM names"), Some(0));
}

#[test]
fn the_end_of_a_prefix_lies_behind_all_that_begin_with_it() {
    assert_eq!(after(""), None);
    assert_eq!(after("app-"), Some("app.".to_owned()));
    assert_eq!(after("核"), Some("\u{6839}".to_owned()));
    assert_eq!(after("\u{d7ff}"), None);
}
