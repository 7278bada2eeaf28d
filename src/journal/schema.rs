//! The journal's tables, as numbered migrations. A migration that was released is never changed; a
//! new one is added behind it.

use rusqlite_migration::{M, Migrations};

mod groups;
mod notices;
mod tallies;

/// Times are milliseconds since 1970 in UTC. Words are those of `domain` (`State::as_str` and so on).
const VERSION_1: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE repositories (
  id             INTEGER PRIMARY KEY,
  uuid           TEXT NOT NULL,
  path           TEXT NOT NULL,
  -- The first one that a hook named; the ledger begins there.
  first_revision INTEGER,
  recorded_at    INTEGER NOT NULL,
  UNIQUE (uuid, path)
) STRICT;

CREATE TABLE batches (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  source        TEXT NOT NULL CHECK (source IN ('revision', 'replay', 'send', 'directory')),
  repository_id INTEGER REFERENCES repositories (id),
  revision      INTEGER,
  cites         INTEGER REFERENCES batches (id),
  author        TEXT,
  rules_file    TEXT,
  netrc_file    TEXT,
  stamp         TEXT NOT NULL,
  recorded_at   INTEGER NOT NULL,
  state         TEXT NOT NULL CHECK (state IN ('recorded', 'plan_failed', 'planned')),
  plan_error    TEXT,
  plan_exit     INTEGER,
  plan_attempts INTEGER NOT NULL DEFAULT 0,
  due_at        INTEGER NOT NULL DEFAULT 0,
  planned_at    INTEGER
) STRICT;
-- The ledger: a revision is recorded once, whoever names it.
CREATE UNIQUE INDEX batches_ledger ON batches (repository_id, revision) WHERE source = 'revision';
CREATE INDEX batches_unplanned ON batches (id) WHERE state <> 'planned';

CREATE TABLE packages (
  id       INTEGER PRIMARY KEY,
  batch_id INTEGER NOT NULL REFERENCES batches (id),
  path     TEXT NOT NULL,
  action   TEXT NOT NULL,
  skipped  TEXT,
  trouble  INTEGER NOT NULL DEFAULT 0,
  sha256   TEXT,
  size     INTEGER
) STRICT;
CREATE INDEX packages_of_batch ON packages (batch_id);
CREATE INDEX packages_by_digest ON packages (sha256) WHERE sha256 IS NOT NULL;

CREATE TABLE workers (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  pid        INTEGER NOT NULL,
  role       TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at   INTEGER
) STRICT;

CREATE TABLE deliveries (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  batch_id      INTEGER NOT NULL REFERENCES batches (id),
  package_id    INTEGER NOT NULL REFERENCES packages (id),
  package       TEXT NOT NULL,
  rule          TEXT NOT NULL,
  rule_line     INTEGER NOT NULL,
  lane          TEXT NOT NULL,
  host          TEXT NOT NULL,
  login         TEXT NOT NULL,
  ssh_port      INTEGER NOT NULL,
  ftp_port      INTEGER NOT NULL,
  dest_dir      TEXT NOT NULL,
  connection    TEXT NOT NULL,
  service       TEXT NOT NULL,
  stops_lane    INTEGER NOT NULL,
  state         TEXT NOT NULL CHECK
    (state IN ('queued', 'running', 'waiting', 'done', 'failed', 'unknown', 'cancelled')),
  step          TEXT NOT NULL CHECK (step IN ('export', 'upload', 'verify', 'install')),
  attempts      INTEGER NOT NULL DEFAULT 0,
  tries_used    INTEGER NOT NULL DEFAULT 0,
  worker_id     INTEGER REFERENCES workers (id),
  -- An attached install command runs: its outcome dies with the worker.
  attached      INTEGER NOT NULL DEFAULT 0,
  -- A detached one may have begun: its outcome is on the host until it is collected.
  install_began INTEGER NOT NULL DEFAULT 0,
  -- Counts the operator's decisions to run the install command again.
  run           INTEGER NOT NULL DEFAULT 1,
  due_at        INTEGER NOT NULL DEFAULT 0,
  transport     TEXT,
  remote_path   TEXT,
  exit_status   INTEGER,
  fault         TEXT,
  error         TEXT,
  queued_at     INTEGER NOT NULL,
  settled_at    INTEGER
) STRICT;
CREATE INDEX deliveries_open ON deliveries (lane, id) WHERE state IN ('queued', 'running', 'waiting');
CREATE INDEX deliveries_stopping ON deliveries (lane, id)
  WHERE stops_lane = 1 AND state IN ('failed', 'unknown');
CREATE INDEX deliveries_troubled ON deliveries (id) WHERE state IN ('failed', 'unknown');
CREATE INDEX deliveries_of_batch ON deliveries (batch_id);
CREATE INDEX deliveries_of_package ON deliveries (package_id);

CREATE TABLE attempts (
  id             INTEGER PRIMARY KEY,
  delivery_id    INTEGER NOT NULL REFERENCES deliveries (id),
  number         INTEGER NOT NULL,
  worker_id      INTEGER NOT NULL REFERENCES workers (id),
  started_at     INTEGER NOT NULL,
  ended_at       INTEGER,
  step           TEXT,
  outcome        TEXT,
  transport      TEXT,
  fingerprint    TEXT,
  detail         TEXT,
  verified       TEXT,
  fault          TEXT,
  error          TEXT,
  exit_status    INTEGER,
  output         BLOB,
  output_cut     INTEGER,
  UNIQUE (delivery_id, number)
) STRICT;
";

/// What recovery needs: what may lie on the hosts still, what the operator decided, gaps that wait for that,
/// and when a wait began, so that a clock that jumps back cannot stretch it.
const VERSION_2: &str = "
-- Another repository lies under the path now, and the operator has let this one go.
ALTER TABLE repositories ADD COLUMN retired_at INTEGER;

-- The operator has done with it: a failed plan that is not tried again.
ALTER TABLE batches ADD COLUMN dismissed_at INTEGER;
-- Its packages, deliveries and attempts are gone (keep_history); the ledger keeps the revision.
ALTER TABLE batches ADD COLUMN pruned_at INTEGER;
ALTER TABLE batches ADD COLUMN waits_from INTEGER NOT NULL DEFAULT 0;
-- No hook has named this revision: it was found missing.
ALTER TABLE batches ADD COLUMN unnamed INTEGER NOT NULL DEFAULT 0;

ALTER TABLE deliveries ADD COLUMN waits_from INTEGER NOT NULL DEFAULT 0;
-- Failed or unknown, and the operator has done with it: it stops no lane and needs no artifact.
ALTER TABLE deliveries ADD COLUMN dismissed_at INTEGER;
-- The operator has said again: an install whose outcome cannot be had is run again.
ALTER TABLE deliveries ADD COLUMN rerun INTEGER NOT NULL DEFAULT 0;
-- Another delivery has put its package under the same path of the host since: this one is to be brought again.
ALTER TABLE deliveries ADD COLUMN replaced INTEGER NOT NULL DEFAULT 0;
-- Bytes that it waits for in the spool; 0: it waits for something else.
ALTER TABLE deliveries ADD COLUMN room INTEGER NOT NULL DEFAULT 0;
CREATE INDEX deliveries_open_of_batch ON deliveries (batch_id, lane)
  WHERE state IN ('queued', 'running', 'waiting');

DROP INDEX deliveries_stopping;
CREATE INDEX deliveries_stopping ON deliveries (lane, id)
  WHERE stops_lane = 1 AND state IN ('failed', 'unknown') AND dismissed_at IS NULL;
DROP INDEX deliveries_troubled;
CREATE INDEX deliveries_troubled ON deliveries (id)
  WHERE state IN ('failed', 'unknown') AND dismissed_at IS NULL;
-- One at a time, although a retried delivery comes before one that runs.
CREATE UNIQUE INDEX deliveries_one_at_a_time ON deliveries (lane) WHERE state = 'running';
-- Packages on hosts that somebody may still install.
CREATE INDEX deliveries_lying ON deliveries (remote_path)
  WHERE remote_path IS NOT NULL AND state NOT IN ('done', 'cancelled');
-- What may be pruned one day, oldest first.
CREATE INDEX batches_kept ON batches (planned_at) WHERE state = 'planned' AND pruned_at IS NULL;
-- Asked for by the foreign key whenever a batch goes.
CREATE INDEX batches_citing ON batches (cites) WHERE cites IS NOT NULL;

-- The transitions that there are (`State::may_become`): whoever writes another one is wrong, and is not obeyed.
CREATE TRIGGER deliveries_transitions BEFORE UPDATE OF state ON deliveries
WHEN OLD.state || ' ' || NEW.state NOT IN (
  'queued running', 'queued cancelled', 'waiting running', 'waiting cancelled',
  'running done', 'running waiting', 'running failed', 'running unknown', 'running queued',
  'failed queued', 'unknown queued')
BEGIN SELECT RAISE(ABORT, 'a delivery has no such transition'); END;

-- Revisions that no hook recorded, too many to dispatch unasked.
CREATE TABLE gaps (
  id            INTEGER PRIMARY KEY,
  repository_id INTEGER NOT NULL REFERENCES repositories (id),
  low           INTEGER NOT NULL,
  high          INTEGER NOT NULL,
  noticed_at    INTEGER NOT NULL,
  dismissed_at  INTEGER
) STRICT;
CREATE INDEX gaps_of_repository ON gaps (repository_id, low);
-- What version 1 left out of the ledger below a planned revision was more than catch_up_max.
INSERT INTO gaps (repository_id, low, high, noticed_at)
  SELECT b.repository_id, b.below + 1, b.revision - 1, b.recorded_at
  FROM (SELECT repository_id, revision, recorded_at, state,
          lag(revision) OVER (PARTITION BY repository_id ORDER BY revision) AS below
        FROM batches WHERE source = 'revision') b
  JOIN repositories r ON r.id = b.repository_id AND r.first_revision <= b.below
  WHERE b.state = 'planned' AND b.revision > b.below + 1;

-- What attempts may have left on a host: a temporary file, or the record of an install.
CREATE TABLE leftovers (
  id          INTEGER PRIMARY KEY,
  delivery_id INTEGER NOT NULL REFERENCES deliveries (id),
  lane        TEXT NOT NULL,
  kind        TEXT NOT NULL CHECK (kind IN ('upload', 'install')),
  transport   TEXT NOT NULL,
  -- Of an upload: the absolute directory and the name the package gets there.
  dir         TEXT NOT NULL DEFAULT '',
  name        TEXT NOT NULL DEFAULT '',
  -- The temporary name, or the token of the install.
  token       TEXT NOT NULL,
  UNIQUE (delivery_id, kind, token, dir, transport)
) STRICT;
CREATE INDEX leftovers_of_lane ON leftovers (lane);
";

/// Drop directories, and the files that were seen there.
const VERSION_3: &str = "
-- The drop directory that the file lay in.
ALTER TABLE batches ADD COLUMN directory TEXT;

CREATE TABLE drop_directories (
  id          INTEGER PRIMARY KEY,
  path        TEXT NOT NULL UNIQUE,
  -- When it was first looked at, and when everything that had been there before was known.
  first_at    INTEGER NOT NULL,
  stocked_at  INTEGER,
  -- Where the file system was mounted that it lay on.
  mount_point TEXT,
  -- What keeps it from being scanned, or its files from being dispatched.
  trouble     TEXT,
  -- The terms on which its files were last looked for, as JSON.
  terms       TEXT
) STRICT;

CREATE TABLE dropped (
  id           INTEGER PRIMARY KEY,
  directory_id INTEGER NOT NULL REFERENCES drop_directories (id),
  -- Below the directory, and its last part. A path that ends in a slash is a directory that could not be read when
  -- stock was taken: what is in it has still to be taken stock of.
  path         TEXT NOT NULL,
  name         TEXT NOT NULL,
  -- The file as it was when it was last judged. Device and inode are unsigned, wrapped.
  device       INTEGER NOT NULL,
  inode        INTEGER NOT NULL,
  size         INTEGER NOT NULL,
  modified_ns  INTEGER NOT NULL,
  changed_ns   INTEGER NOT NULL,
  sha256       TEXT,
  -- Whether it was there before the first start, and was never dispatched.
  is_stock     INTEGER NOT NULL,
  -- Whether no rule took it.
  is_skipped   INTEGER NOT NULL DEFAULT 0,
  batch_id     INTEGER REFERENCES batches (id) ON DELETE SET NULL,
  -- 1: it is to leave once all its deliveries are done. 2: it is on its way out.
  leaves       INTEGER NOT NULL DEFAULT 0,
  -- Since when it is not there.
  gone_at      INTEGER,
  UNIQUE (directory_id, path)
) STRICT;
CREATE INDEX dropped_here ON dropped (directory_id) WHERE gone_at IS NULL;
CREATE INDEX dropped_by_name ON dropped (directory_id, name);
CREATE INDEX dropped_of_batch ON dropped (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX dropped_leaving ON dropped (directory_id) WHERE leaves > 0;
CREATE INDEX dropped_undigested ON dropped (directory_id, id) WHERE sha256 IS NULL;
CREATE INDEX dropped_gone ON dropped (gone_at) WHERE gone_at IS NOT NULL;
CREATE INDEX batches_of_directory ON batches (directory, id) WHERE directory IS NOT NULL;
";

/// What `history` looks for deliveries by, and who committed what when.
const VERSION_4: &str = "
-- From the repository, read when the batch was planned.
ALTER TABLE batches ADD COLUMN committed_at INTEGER;
ALTER TABLE batches ADD COLUMN message TEXT;
CREATE INDEX batches_by_revision ON batches (repository_id, revision, planned_at) WHERE revision IS NOT NULL;

-- Where deliveries come from and go to, each combination once: a million deliveries have a few thousand. One narrow
-- index of deliveries by it serves every question about host, rule, author and repository, and all of them together.
CREATE TABLE facets (
  id            INTEGER PRIMARY KEY,
  host          TEXT NOT NULL,
  rule          TEXT NOT NULL,
  -- '' and 0 where there is none.
  author        TEXT NOT NULL,
  repository_id INTEGER NOT NULL,
  UNIQUE (host, rule, author, repository_id)
) STRICT;
INSERT INTO facets (host, rule, author, repository_id)
  SELECT DISTINCT d.host, d.rule, ifnull(b.author, ''), ifnull(b.repository_id, 0)
  FROM deliveries d JOIN batches b ON b.id = d.batch_id;
ALTER TABLE deliveries ADD COLUMN facet_id INTEGER;
UPDATE deliveries SET facet_id = (
  SELECT f.id FROM batches b JOIN facets f ON f.host = deliveries.host AND f.rule = deliveries.rule
    AND f.author = ifnull(b.author, '') AND f.repository_id = ifnull(b.repository_id, 0)
  WHERE b.id = deliveries.batch_id);
CREATE TRIGGER deliveries_facet AFTER INSERT ON deliveries BEGIN
  INSERT INTO facets (host, rule, author, repository_id)
    SELECT NEW.host, NEW.rule, ifnull(b.author, ''), ifnull(b.repository_id, 0)
    FROM batches b WHERE b.id = NEW.batch_id ON CONFLICT DO NOTHING;
  UPDATE deliveries SET facet_id = (
    SELECT f.id FROM batches b JOIN facets f ON f.host = NEW.host AND f.rule = NEW.rule
      AND f.author = ifnull(b.author, '') AND f.repository_id = ifnull(b.repository_id, 0)
    WHERE b.id = NEW.batch_id)
  WHERE id = NEW.id;
  INSERT INTO names VALUES (NEW.package) ON CONFLICT DO NOTHING;
END;
-- Names of packages, each once: an expression that tells nothing of their beginning is held against all of them.
CREATE TABLE names (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
INSERT INTO names SELECT DISTINCT package FROM deliveries;
CREATE TRIGGER deliveries_name AFTER DELETE ON deliveries
WHEN NOT EXISTS (SELECT 1 FROM deliveries WHERE package = OLD.package)
BEGIN DELETE FROM names WHERE name = OLD.package; END;
CREATE INDEX deliveries_by_facet ON deliveries (facet_id, queued_at);
CREATE INDEX deliveries_by_time ON deliveries (queued_at);
CREATE INDEX deliveries_by_package ON deliveries (package, queued_at);
CREATE INDEX deliveries_by_state ON deliveries (state, queued_at, dismissed_at) WHERE state <> 'done';
";

/// The version of the schema after all migrations: how many there are.
pub(super) const LATEST: i64 = 7;

/// All migrations, oldest first.
pub(super) fn migrations() -> Migrations<'static> {
    Migrations::new(vec![
        M::up(VERSION_1),
        M::up(VERSION_2),
        M::up(VERSION_3),
        M::up(VERSION_4),
        M::up(notices::VERSION_5),
        M::up(tallies::VERSION_6),
        M::up(groups::VERSION_7),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_applies() {
        migrations().validate().expect("valid migrations");
        let mut connection = rusqlite::Connection::open_in_memory().expect("SQLite");
        migrations().to_latest(&mut connection).expect("migrated");
        let version: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .expect("a version");
        assert_eq!(version, LATEST);
    }
}
