//! The tables of what is told to people: the fifth migration.

/// Notices: what is to be told, the messages that are made of it, and which troubles were told and are not over.
pub(super) const VERSION_5: &str = "
CREATE TABLE notices (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  -- NAME of [notify:NAME]
  notifier TEXT NOT NULL,
  -- What it is told together with.
  topic    TEXT NOT NULL,
  -- An `Occurrence`, as JSON.
  body     TEXT NOT NULL,
  at       INTEGER NOT NULL
) STRICT;
CREATE INDEX notices_by_topic ON notices (notifier, topic, at);

CREATE TABLE messages (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  notifier    TEXT NOT NULL,
  -- All topics in it, as JSON.
  topics      TEXT NOT NULL,
  -- A `Message`, as JSON.
  body        TEXT NOT NULL,
  made_at     INTEGER NOT NULL,
  -- Who is at sending it.
  worker_id   INTEGER,
  tries       INTEGER NOT NULL DEFAULT 0,
  due_at      INTEGER NOT NULL,
  waits_from  INTEGER NOT NULL,
  sent_at     INTEGER,
  given_up_at INTEGER,
  error       TEXT
) STRICT;
CREATE INDEX messages_by_time ON messages (notifier, made_at);
CREATE INDEX messages_unsent ON messages (notifier, id) WHERE sent_at IS NULL AND given_up_at IS NULL;

CREATE TABLE troubles (
  notifier TEXT NOT NULL,
  subject  TEXT NOT NULL,
  since    INTEGER NOT NULL,
  PRIMARY KEY (notifier, subject)
) STRICT, WITHOUT ROWID;
";
