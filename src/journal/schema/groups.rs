//! The migration that lets deliveries of a lane travel together. Knows nothing of how they do.

/// A group: its first delivery stands for the lane, as one that is alone does; two of those exclude each other as
/// before. The others are claimed only behind it, and carry their own number.
pub(super) const VERSION_7: &str = "
ALTER TABLE deliveries ADD COLUMN grouped INTEGER NOT NULL DEFAULT 0;
DROP INDEX deliveries_one_at_a_time;
CREATE UNIQUE INDEX deliveries_one_at_a_time ON deliveries (lane, grouped) WHERE state = 'running';

-- A third kind of leftover: the directory that a group is unpacked in; `token` is its name. The group's first delivery
-- stands for it.
CREATE TABLE leftovers_of_kinds (
  id          INTEGER PRIMARY KEY,
  delivery_id INTEGER NOT NULL REFERENCES deliveries (id),
  lane        TEXT NOT NULL,
  kind        TEXT NOT NULL CHECK (kind IN ('upload', 'install', 'group')),
  transport   TEXT NOT NULL,
  -- Of an upload: the absolute directory and the name the package gets there.
  dir         TEXT NOT NULL DEFAULT '',
  name        TEXT NOT NULL DEFAULT '',
  -- The temporary name, or the token of the install.
  token       TEXT NOT NULL,
  UNIQUE (delivery_id, kind, token, dir, transport)
) STRICT;
INSERT INTO leftovers_of_kinds (id, delivery_id, lane, kind, transport, dir, name, token)
  SELECT id, delivery_id, lane, kind, transport, dir, name, token FROM leftovers;
DROP TABLE leftovers;
ALTER TABLE leftovers_of_kinds RENAME TO leftovers;
CREATE INDEX leftovers_of_lane ON leftovers (lane);
";
