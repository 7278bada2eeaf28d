//! The migration that lets deliveries of a lane travel together, and that makes each of many cost less. Knows nothing of
//! how they travel.

/// A group: its first delivery stands for the lane, as one that is alone does; two of those exclude each other as
/// before. The others are claimed only behind it, and carry their own number.
pub(super) const VERSION_7: &str = "
ALTER TABLE deliveries ADD COLUMN grouped INTEGER NOT NULL DEFAULT 0;
DROP INDEX deliveries_one_at_a_time;
CREATE UNIQUE INDEX deliveries_one_at_a_time ON deliveries (grouped, lane) WHERE state = 'running';

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

-- The same rules as before, without a list: one of more than two words is made a table of, for each row anew.
DROP TRIGGER deliveries_transitions;
CREATE TRIGGER deliveries_transitions BEFORE UPDATE OF state ON deliveries
WHEN NOT CASE OLD.state
  WHEN 'queued' THEN NEW.state = 'running' OR NEW.state = 'cancelled'
  WHEN 'waiting' THEN NEW.state = 'running' OR NEW.state = 'cancelled'
  WHEN 'running' THEN NEW.state = 'done' OR NEW.state = 'waiting' OR NEW.state = 'failed' OR NEW.state = 'unknown'
    OR NEW.state = 'queued'
  WHEN 'failed' THEN NEW.state = 'queued'
  WHEN 'unknown' THEN NEW.state = 'queued'
  ELSE 0 END
BEGIN SELECT RAISE(ABORT, 'a delivery has no such transition'); END;

DROP TRIGGER deliveries_settled;
CREATE TRIGGER deliveries_settled AFTER UPDATE OF state ON deliveries
WHEN NEW.state = 'done' OR NEW.state = 'failed' OR NEW.state = 'unknown' OR NEW.state = 'cancelled'
BEGIN
  INSERT INTO settled_hours (hour, outcome, deliveries, bytes)
    VALUES (coalesce(NEW.settled_at, 0) / 3600000, NEW.state, 1, CASE NEW.state WHEN 'done'
      THEN coalesce((SELECT size FROM packages WHERE id = NEW.package_id), 0) ELSE 0 END)
    ON CONFLICT (hour, outcome) DO UPDATE SET deliveries = deliveries + 1, bytes = bytes + excluded.bytes;
  INSERT INTO settled_lanes (lane, host, login) VALUES (NEW.lane, NEW.host, NEW.login)
    ON CONFLICT (lane) DO NOTHING;
  UPDATE settled_lanes SET
    done_at = CASE NEW.state WHEN 'done' THEN NEW.settled_at ELSE done_at END,
    done_id = CASE NEW.state WHEN 'done' THEN NEW.id ELSE done_id END,
    failing_since = CASE NEW.state WHEN 'done' THEN NULL WHEN 'cancelled' THEN failing_since
      ELSE coalesce(failing_since, NEW.settled_at) END
    WHERE lane = NEW.lane;
END;

-- Whoever plans a batch knows where its deliveries come from and go to, and looks it up once for all of them.
DROP TRIGGER deliveries_facet;
CREATE TRIGGER deliveries_named AFTER INSERT ON deliveries BEGIN
  INSERT INTO names VALUES (NEW.package) ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER deliveries_facet AFTER INSERT ON deliveries WHEN NEW.facet_id IS NULL BEGIN
  INSERT INTO facets (host, rule, author, repository_id)
    SELECT NEW.host, NEW.rule, ifnull(b.author, ''), ifnull(b.repository_id, 0)
    FROM batches b WHERE b.id = NEW.batch_id ON CONFLICT DO NOTHING;
  UPDATE deliveries SET facet_id = (
    SELECT f.id FROM batches b JOIN facets f ON f.host = NEW.host AND f.rule = NEW.rule
      AND f.author = ifnull(b.author, '') AND f.repository_id = ifnull(b.repository_id, 0)
    WHERE b.id = NEW.batch_id)
  WHERE id = NEW.id;
END;
";
